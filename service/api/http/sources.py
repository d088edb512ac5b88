"""Where a specification comes from: the body of a request, or its address."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from service.limits import Limits
from service.schema.model import ModelSpec
from service.schema.parsing import read_spec
from service.schema.permalinks import inflate_permalink, read_linked


class Source(NamedTuple):
    """A specification as it was received: its JSON text, and the function that reads it."""

    text: Callable[[], bytes]
    read: Callable[[bytes, Limits], ModelSpec]


def posted(raw: bytes) -> Source:
    """The specification in the body of a request."""
    return Source(lambda: raw, read_spec)


def linked(permalink: str) -> Source:
    """The specification that a permalink carries."""
    return Source(partial(inflate_permalink, permalink), read_linked)
