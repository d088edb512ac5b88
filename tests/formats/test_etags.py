"""The text behind an ETag: the words of the first release, whatever classes and fields are called today.

That it is still the same text for every distribution and rearrangement, the golden files show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from service.distributions import DISTRIBUTIONS
from service.formats import etags
from service.formats.etags import etag
from service.plan import Parameter, Plan
from service.plan.rearrangement import Rearrangement
from tests.formats.files import STRUCTURED
from tests.plan.planned import linear, planned, repeat

HEADER: Final = b"header"
KINDS: Final[tuple[type[Any], ...]] = (*DISTRIBUTIONS, Rearrangement)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def etag_of(plan: Plan) -> str:
    return etag(HEADER, plan.tensors)


@contextmanager
def called(kind: type[Any], name: str) -> Iterator[None]:
    before = kind.__name__, kind.__qualname__
    kind.__name__ = kind.__qualname__ = name
    try:
        yield
    finally:
        kind.__name__, kind.__qualname__ = before


@each_kind
def test_another_name_or_repr_of_a_class_changes_no_etag(monkeypatch: pytest.MonkeyPatch, kind: type[Any]) -> None:
    plan = planned(*STRUCTURED, framework="keras")
    before = etag_of(plan)

    with called(kind, "Renamed"):
        monkeypatch.setattr(kind, "__repr__", lambda _: "renamed")
        renamed = etag_of(plan)

    assert renamed == before


def test_the_header_and_the_stream_version_are_in_the_etag(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(linear("fc"))
    before = etag_of(plan)

    assert etag(b"another header", plan.tensors) != before
    monkeypatch.setattr(etags, "STREAM_VERSION", 2)
    assert etag_of(plan) != before


def test_what_tensors_of_one_parameter_share_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Parameter] = []
    how_drawn = etags._how_drawn

    def counted(parameter: Parameter) -> str:
        written.append(parameter)
        return how_drawn(parameter)

    monkeypatch.setattr(etags, "_how_drawn", counted)

    etag_of(planned(repeat("h", 1000, linear("fc"))))

    assert len(written) == 2
