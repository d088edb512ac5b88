"""Errors: one tree, drawn in the docstring of its module, and none without an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from service import errors
from service.api.http import problems
from service.errors import (
    MOST_FAULTS,
    Fault,
    InvalidOption,
    InvalidSpec,
    LimitExceeded,
    LimitFault,
    Refused,
    UnknownPermalink,
    XavierError,
)

FAULT = LimitFault("/layers", "at most 1; this asks for 2", "tensors", 1, 2)


def below(kind: type[XavierError]) -> Iterator[type[XavierError]]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


ALL: list[type[XavierError]] = [XavierError, *below(XavierError)]
CONCRETE = [kind for kind in below(XavierError) if not kind.__subclasses__()]


def example(kind: type[XavierError]) -> XavierError:
    if issubclass(kind, Refused):
        return kind([FAULT])
    return kind("what was wrong")


@pytest.mark.parametrize("kind", CONCRETE)
def test_every_error_has_a_status_and_a_kind_of_problem(kind: type[XavierError]) -> None:
    document = problems.describe(example(kind))

    assert document["status"] == problems.STATUSES[kind]
    assert 400 <= document["status"] <= 599
    assert document["status"] != 500
    assert document["type"].startswith("urn:xavier:problem:")
    assert document["title"]
    assert document["detail"]


def test_no_two_errors_are_the_same_problem() -> None:
    documents = [problems.describe(example(kind)) for kind in CONCRETE]

    assert len({document["type"] for document in documents}) == len(CONCRETE)
    assert len({document["title"] for document in documents}) == len(CONCRETE)


def test_nothing_is_mapped_that_cannot_be_raised() -> None:
    assert set(problems.STATUSES) == set(CONCRETE)


def test_the_docstring_draws_the_whole_tree() -> None:
    drawn = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ]*(?:[├└]── )?)([A-Z]\w+)", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1] if depth else "Exception"

    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in ALL}


def test_every_error_is_described() -> None:
    for kind in ALL:
        assert kind.__doc__
        assert kind.__doc__ != (kind.__bases__[0].__doc__ or "")


def test_faults_are_named_by_pointer_or_by_parameter() -> None:
    fault = Fault("/seed", "must be an integer")

    assert problems.describe(InvalidSpec([fault]))["errors"] == [{"pointer": "/seed", "message": "must be an integer"}]
    assert problems.describe(InvalidOption([fault]))["errors"] == [
        {"parameter": "/seed", "message": "must be an integer"}
    ]


def test_an_excess_tells_the_limit_and_what_was_asked_for() -> None:
    document = problems.describe(LimitExceeded([FAULT, LimitFault("/x", "too long", "rank", 8, 9)]))

    assert (document["name"], document["limit"], document["requested"]) == ("tensors", 1, 2)
    assert document["detail"] == "2 faults; see errors"


def test_faults_beyond_a_hundred_are_counted_only() -> None:
    refused = InvalidSpec([Fault(f"/{number}", "is wrong") for number in range(MOST_FAULTS + 7)])

    assert len(refused.faults) == MOST_FAULTS + 1
    assert refused.faults[-1] == Fault("", "and 7 more faults")


def test_the_text_of_an_error_says_it_all() -> None:
    assert str(InvalidSpec([Fault("/a", "is wrong"), Fault("", "is late")])) == "/a: is wrong; is late"
    assert str(UnknownPermalink("it does not decode")) == "it does not decode"
