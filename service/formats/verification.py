"""Verification: the weights of a file are drawn again and compared with what it contains.

The file itself says how its tensors were made (the metadata key `xavier`); a specification may be given instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from service.errors import InvalidFile, XavierError
from service.formats.metadata import planned_tensors
from service.limits import Limits
from service.plan import TensorPlan
from service.stream.dtypes import widen

COMPARED_ELEMENTS: Final = 1 << 19


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as stored in a file; offsets are in bytes from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A safetensors file: its tensors in file order, and the metadata of this service if it has any."""

    path: Path
    tensors: tuple[StoredTensor, ...]
    metadata: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A tensor that is not what it should be, and why."""

    name: str
    reason: str


def open_stored(path: Path) -> StoredFile:
    """Read the header of a file, checked by the reference reader.

    Raises:
        InvalidFile: it is not safetensors.
        OSError: it cannot be read.
    """
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise InvalidFile(f"{path} is not a safetensors file: {error}") from None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    metadata = header.pop("__metadata__", None) or {}
    tensors = [
        StoredTensor(
            name, entry["dtype"], tuple(entry["shape"]), *(8 + length + place for place in entry["data_offsets"])
        )
        for name, entry in header.items()
    ]
    in_order = sorted(tensors, key=lambda tensor: (tensor.start, tensor.stop))
    return StoredFile(path, tuple(in_order), metadata.get("xavier"))


def planned_by_metadata(file: StoredFile, limits: Limits | None = None) -> tuple[TensorPlan, ...]:
    """The tensors that a file's own metadata describes.

    Args:
        file: a file of weights.
        limits: how much may be drawn whole; the defaults if None.

    Raises:
        InvalidFile: it has no metadata of this service, or of another stream version, or it makes no sense.
    """
    if file.metadata is None:
        raise InvalidFile(f"{file.path} does not say how it was made; give its specification")
    try:
        stored = {tensor.name: (tensor.dtype, tensor.shape) for tensor in file.tensors}
        return planned_tensors(file.metadata, stored, limits or Limits())
    except (XavierError, ValueError, OverflowError) as error:
        raise InvalidFile(f"the metadata of {file.path} cannot be used: {error!r}") from None


def comparisons(file: StoredFile, planned: Sequence[TensorPlan]) -> Iterator[Callable[[], Difference | None]]:
    """Tasks, each of which compares a part of the file; a tensor may differ in several parts."""
    stored = {tensor.name: tensor for tensor in file.tensors}
    wanted = {tensor.name for tensor in planned}
    for tensor in file.tensors:
        if tensor.name not in wanted:
            yield partial(Difference, tensor.name, "is in the file, but not in the specification")
    for plan in planned:
        found = stored.get(plan.name)
        if found is None:
            yield partial(Difference, plan.name, "is missing from the file")
        elif (reason := _mismatch(found, plan)) is not None:
            yield partial(Difference, plan.name, reason)
        else:
            for first in range(0, plan.elements, COMPARED_ELEMENTS):
                yield partial(_compare, file.path, found, plan, first)


def _mismatch(found: StoredTensor, plan: TensorPlan) -> str | None:
    if found.dtype != plan.parameter.dtype:
        return f"has dtype {found.dtype}, and should have {plan.parameter.dtype}"
    if found.shape != plan.shape:
        return f"has shape {list(found.shape)}, and should have {list(plan.shape)}"
    return None


def _compare(path: Path, found: StoredTensor, plan: TensorPlan, first: int) -> Difference | None:
    dtype = plan.parameter.dtype
    count = min(COMPARED_ELEMENTS, plan.elements - first)
    drawn = np.empty(count, dtype.storage)
    plan.fill(first, drawn)
    stored = np.fromfile(path, dtype.storage, count, offset=found.start + first * dtype.itemsize)
    wrong = np.flatnonzero(_bits(stored) != _bits(drawn))
    if not wrong.size:
        return None
    place = int(wrong[0])
    at = _indices(first + place, plan.shape)
    values = (float(widen(values[place : place + 1], dtype)[0]) for values in (stored, drawn))
    return Difference(plan.name, "differs first at {}: it is {!r}, and should be {!r}".format(at, *values))


def _indices(element: int, shape: tuple[int, ...]) -> list[int]:
    """The index of an element on each axis; NumPy's own function stops at 64 axes."""
    places = []
    for size in reversed(shape):
        element, place = divmod(element, size)
        places.append(place)
    return places[::-1]


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return values.view(f"u{values.itemsize}")
