"""The members of distributions in documents: how they are written as JSON and read back."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite, isinf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from service.distributions.base import Distribution

MOST_INTEGER: Final = (1 << 53) - 1
"""The largest integer that every reader of JSON holds exactly (RFC 7493 section 2.2)."""
BY_TAG: Final[dict[str, type[Distribution]]] = {}
"""Every distribution by its tag; `service.distributions` fills it."""


class Member(NamedTuple):
    """A member of a distribution: a number, an array or another distribution.

    Attributes:
        name: its name in files and answers.
        read: converts a JSON value, or raises TypeError.
    """

    name: str
    read: Callable[[Any], Any]


def read_distribution(document: Any) -> Distribution:
    """The distribution that a document describes.

    Raises:
        ValueError: the document does not describe a distribution.
    """
    try:
        kind = BY_TAG[document["type"]]
        if document.keys() != {"type", *(member.name for member in kind.members)}:
            raise ValueError(f"{kind.tag} must have the members {', '.join(member.name for member in kind.members)}")
        distribution = kind(*(member.read(document[member.name]) for member in kind.members))
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValueError("the document does not describe a distribution") from None
    if not distribution.is_sound():
        raise ValueError(f"the members of {kind.tag} contradict each other")
    return distribution


def written(value: Any) -> Any:
    """A member as a JSON value; an infinite end is null."""
    if isinstance(value, tuple):
        return [written(member) for member in value]
    if isinstance(value, float):
        return None if isinf(value) else value
    return value if isinstance(value, int | str) else value.document


def number(value: Any) -> float:
    """A finite number."""
    if type(value) not in (int, float) or not isfinite(value):
        raise TypeError(f"{value!r} is not a finite number")
    return float(value)


def lower_end(value: Any) -> float:
    """A finite number, or minus infinity for null."""
    return -inf if value is None else number(value)


def upper_end(value: Any) -> float:
    """A finite number, or infinity for null."""
    return inf if value is None else number(value)


def count(value: Any) -> int:
    """An integer from 0 to MOST_INTEGER."""
    if type(value) is not int or not 0 <= value <= MOST_INTEGER:
        raise TypeError(f"{value!r} is not a count")
    return value


def counts(value: Any) -> tuple[int, ...]:
    """An array of counts, such as a shape or axes."""
    return tuple(map(count, _array(value)))


def pairs(value: Any) -> tuple[tuple[int, ...], ...]:
    """An array of arrays of counts."""
    return tuple(map(counts, _array(value)))


def text(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def distributions(value: Any) -> tuple[Distribution, ...]:
    """An array of distributions."""
    return tuple(map(read_distribution, _array(value)))


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not an array")
    return value
