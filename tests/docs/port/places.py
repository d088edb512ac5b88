"""Where elements stand: row-major indices, and the order of elements of section 16."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any


def canonical_index(arrangement: dict[str, Any], element: int) -> int:
    """Where an element of an arranged tensor stands in the canonical one."""
    view, axes = arrangement["view"], arrangement["axes"]
    places = dict(zip(axes, coordinates(element, [view[axis] for axis in axes]), strict=True))
    if arrangement["part"] is not None:
        places[0] = arrangement["part"]
    elif arrangement["order"] is not None:
        places[0] = arrangement["order"][places[0]]
    return index_of(view, places)


def coordinates(index: int, shape: Sequence[int]) -> list[int]:
    found = []
    for size in reversed(shape):
        index, place = divmod(index, size)
        found.append(place)
    return found[::-1]


def index_of(shape: Sequence[int], places: dict[int, int]) -> int:
    index = 0
    for axis, size in enumerate(shape):
        index = index * size + places[axis]
    return index


def grid(shape: Sequence[int], axes: Sequence[int]) -> list[dict[int, int]]:
    """All places on some axes, the last changing fastest."""
    return [dict(zip(axes, places, strict=True)) for places in product(*(range(shape[axis]) for axis in axes))]
