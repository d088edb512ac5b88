"""Verification: a file of weights is drawn again and held against what it should be.

The file says itself how its tensors came about (the metadata key `xavier`); a specification may be given instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from service.errors import InvalidFile
from service.initializers.fans import Fans
from service.plan import Parameter, TensorPlan
from service.plan.parameters import distribution_of
from service.spec.initializers import Initializer
from service.stream import STREAM_VERSION
from service.stream.dtypes import DType, widen

COMPARED_ELEMENTS: Final = 1 << 19
_INITIALIZER: Final = TypeAdapter[Any](Initializer)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as a file has it; offsets in bytes from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A safetensors file: its tensors in file order, and the metadata of this service where it has any."""

    path: Path
    tensors: tuple[StoredTensor, ...]
    metadata: Mapping[str, Any] | None


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
    ours = json.loads(metadata["xavier"]) if "xavier" in metadata else None
    return StoredFile(path, tuple(sorted(tensors, key=lambda tensor: (tensor.start, tensor.stop))), ours)


def planned_by_metadata(file: StoredFile) -> tuple[TensorPlan, ...]:
    """The tensors that a file's own metadata promises.

    Raises:
        InvalidFile: it has no metadata of ours, or of another stream version, or metadata that means nothing.
    """
    if file.metadata is None:
        raise InvalidFile(f"{file.path} does not say how it was made; give its specification")
    if file.metadata.get("stream") != STREAM_VERSION:
        raise InvalidFile(f"{file.path} is of stream version {file.metadata.get('stream')}; this is {STREAM_VERSION}")
    try:
        seed, described = int(file.metadata["seed"]), file.metadata["tensors"]
        return tuple(_planned(tensor, described[tensor.name], seed) for tensor in file.tensors)
    except (KeyError, TypeError, ValueError, ValidationError) as error:
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


def _planned(tensor: StoredTensor, described: Mapping[str, Any], seed: int) -> TensorPlan:
    fans = Fans(described["fan_in"], described["fan_out"]) if "fan_in" in described else None
    initializer = _INITIALIZER.validate_python(described["initializer"])
    axes = tuple(described["axes"]) if "axes" in described else None
    parameter = Parameter(
        suffix="",
        output_suffix="",
        canonical_shape=tensor.shape if axes is None else _canonical_shape(tensor.shape, axes),
        axes=axes,
        dtype=DType(tensor.dtype),
        fans=fans,
        initializer=initializer,
        distribution=distribution_of(initializer, fans),
        pointer="",
    )
    return TensorPlan(tensor.name, described.get("canonical_name", tensor.name), seed, parameter)


def _canonical_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    if sorted(axes) != list(range(len(shape))):
        raise ValueError(f"axes {list(axes)} do not order a shape of rank {len(shape)}")
    return tuple(size for _, size in sorted(zip(axes, shape, strict=True)))


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
    at = [int(index) for index in np.unravel_index(first + place, plan.shape)]
    values = (float(widen(values[place : place + 1], dtype)[0]) for values in (stored, drawn))
    return Difference(plan.name, "differs first at {}: it is {!r}, and should be {!r}".format(at, *values))


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return values.view(f"u{values.itemsize}")
