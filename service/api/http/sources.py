"""Where a specification comes from: the body of a request, or its address."""

from __future__ import annotations

from functools import partial

from service.api.guard.work import Source
from service.schema.parsing import read_spec
from service.schema.permalinks import inflate_permalink, read_linked


def posted(raw: bytes) -> Source:
    """The specification in a body."""
    return Source(lambda: raw, read_spec)


def linked(permalink: str) -> Source:
    """The specification that a permalink carries."""
    return Source(partial(inflate_permalink, permalink), read_linked)
