"""Laws as documents: a name and scalars, from which the law can be made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from math import inf, isfinite, isinf, prod
from typing import Any, Final

from service.distributions.blockwise import Joined, Stacked, Sum
from service.distributions.elementwise import Constant, Distribution, Normal, TruncatedNormal, Uniform
from service.distributions.structured import Identity, Orthogonal, Sparse
from service.distributions.truncated import CutNormal
from service.schema.fields import MOST_INTEGER
from service.stream.words import Shape

LAWS: Final[dict[type[Any], str]] = {
    Uniform: "uniform",
    Normal: "normal",
    TruncatedNormal: "truncated_normal",
    CutNormal: "cut_normal",
    Constant: "constant",
    Identity: "identity",
    Orthogonal: "orthogonal",
    Sparse: "sparse",
    Stacked: "stacked",
    Sum: "sum",
    Joined: "joined",
}
"""Every law, and what it is called."""
MOST_AXES: Final = 32
"""Axes of a view; NumPy takes 64."""
_BY_NAME: Final = {name: law for law, name in LAWS.items()}


def law_document(law: Distribution) -> dict[str, Any]:
    """A law and its scalars as JSON values; an infinite end is null."""
    return {"type": LAWS[type(law)]} | {name: _written(value) for name, value in law.scalars.items()}


def read_law(document: Any) -> Distribution:
    """The law that a document describes.

    Raises:
        ValueError: it describes none.
    """
    try:
        kind = _BY_NAME[document["type"]]
        readers = {field.name: _READERS[str(field.type)] for field in fields(kind)}
        if document.keys() != {"type", *readers}:
            raise ValueError(f"a {LAWS[kind]} law has the members {', '.join(readers)}")
        law: Distribution = kind(**{name: read(document[name], name) for name, read in readers.items()})
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValueError("a distribution describes no law") from None
    if not _SOUND[kind](law):
        raise ValueError(f"a {LAWS[kind]} law contradicts itself")
    return law


def covers(law: Distribution, elements: int) -> bool:
    """Whether a law can be that of a tensor of so many elements, in canonical order."""
    match law:
        case Identity() | Orthogonal() | Sparse():
            return prod(law.shape) == elements
        case Stacked(laws=laws, length=length):
            return len(laws) * length == elements and all(covers(part, elements) for part in laws)
        case Sum(first=first, second=second):
            return covers(first, elements) and covers(second, elements)
        case Joined(first=first, second=second, order=order, length=length):
            half = len(order) * length
            return 2 * half == elements and covers(first, half) and covers(second, half)
        case _:
            return True


def _written(value: Any) -> Any:
    if type(value) in LAWS:
        return law_document(value)
    if isinstance(value, tuple):
        return [_written(member) for member in value]
    return None if isinstance(value, float) and isinf(value) else value


def _number(value: Any, name: str) -> float:
    if value is None:
        return {"low": -inf, "high": inf}[name]
    if type(value) not in (int, float) or not isfinite(value):
        raise TypeError(f"{name} is no number")
    return float(value)


def _count(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= MOST_INTEGER:
        raise TypeError(f"{name} is no count")
    return value


def _counts(value: Any, name: str) -> tuple[int, ...]:
    return tuple(_count(member, name) for member in _members(value, name))


def _pairs(value: Any, name: str) -> tuple[tuple[int, ...], ...]:
    return tuple(_counts(member, name) for member in _members(value, name))


def _laws(value: Any, name: str) -> tuple[Distribution, ...]:
    return tuple(read_law(member) for member in _members(value, name))


def _members(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{name} is no array")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


_READERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "float": _number,
    "int": _count,
    "str": _text,
    "Shape": _counts,
    "tuple[int, ...]": _counts,
    "tuple[int, int]": _counts,
    "Center": _pairs,
    "Distribution": lambda value, _: read_law(value),
    "tuple[Distribution, ...]": _laws,
}
"""By the type of a member."""


def _is_view(shape: Shape, axes: Shape, center: Sequence[Sequence[int]] = ()) -> bool:
    """Whether a shape has these axes, and places of a centre on others."""
    used = [*axes, *(axis for axis, _ in center)]
    return (
        len(shape) <= MOST_AXES
        and 0 not in shape
        and len(set(used)) == len(used)
        and all(axis < len(shape) for axis in used)
        and all(place < shape[axis] for axis, place in center)
    )


_SOUND: Final[dict[type[Any], Callable[[Any], bool]]] = {
    Uniform: lambda law: -inf < law.low < law.high < inf,
    Normal: lambda law: law.std > 0,
    TruncatedNormal: lambda law: law.std_before > 0,
    CutNormal: lambda law: law.std_before > 0,  # it looks at its ends itself
    Constant: lambda _: True,
    Identity: lambda law: len(law.diagonal) == 2 and _is_view(law.shape, law.diagonal, law.center),
    Orthogonal: lambda law: law.gain > 0 and _is_view(law.shape, law.batch_axes + law.row_axes, law.center),
    Sparse: lambda law: (
        law.std_before > 0 and _is_view(law.shape, (law.row_axis,)) and law.zeros <= law.shape[law.row_axis]
    ),
    Stacked: lambda law: bool(law.laws and law.length),
    Sum: lambda _: True,
    Joined: lambda law: law.length > 0 and len(law.order) > 0 and sorted(law.order) == [*range(len(law.order))],
}
"""Of each law whether its scalars go together."""
