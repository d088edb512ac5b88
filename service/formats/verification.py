"""Verification: a file of weights is drawn again and held against what it should be.

The file says itself how its tensors came about (the metadata key `xavier`); a specification may be given instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError, safe_open

from service.distributions.base import Distribution
from service.distributions.blockwise import summed
from service.distributions.members import read_distribution
from service.distributions.structured import MOST_AXES
from service.errors import InvalidFile, XavierError
from service.initializers.fans import Fans
from service.limits import Limits
from service.plan import TensorPlan
from service.plan.parameter import LayerParameter, Parameter
from service.plan.rearrangement import Rearrangement
from service.plan.resolve import distribution_of
from service.schema.fields import MOST_INTEGER, Count, Seed, Size, Wire
from service.schema.initializers import Initializer
from service.schema.parsing import read_document
from service.stream.dtypes import DType, widen

COMPARED_ELEMENTS: Final = 1 << 19
MOST_ELEMENTS: Final = 1 << 63
"""Elements that indices can count."""
TWO_BIASES: Final = re.compile(r"(?s).*bias_ih_l[0-9]+(_reverse)?")
"""The canonical names of what is one bias in Keras, and two in PyTorch."""


Axes = Annotated[tuple[Annotated[int, Field(ge=0, le=MOST_INTEGER)], ...], Field(strict=False)]
"""Axes as the service writes them; 1.0 is an integer to a caller, and no index."""


class ArrangementDescription(Wire):
    """How a tensor lies in the canonical one."""

    view: Axes
    axes: Axes
    shape: Axes | None
    order: Axes | None
    part: Size | None


class TensorDescription(Wire):
    """How a tensor came about, as the metadata says."""

    initializer: Initializer
    arrangement: ArrangementDescription | None = None
    canonical_name: str | None = None
    distribution: dict[str, Any] | None = None
    fan_in: Count | None = None
    fan_out: Count | None = None
    permutation: Axes | None = None
    statistics: Any = None


class Description(Wire):
    """The metadata key `xavier`."""

    digest: str
    seed: Seed
    stream: Literal[1]
    tensors: dict[str, TensorDescription]


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
    """The tensors that a file's own metadata promises.

    Args:
        file: a file of weights.
        limits: how much may be drawn whole; the defaults where None.

    Raises:
        InvalidFile: it has no metadata of ours, or of another stream version, or metadata that means nothing.
    """
    if file.metadata is None:
        raise InvalidFile(f"{file.path} does not say how it was made; give its specification")
    try:
        described = Description.model_validate(read_document(file.metadata.encode()))
        stored = {tensor.name: tensor for tensor in file.tensors}
        planned = tuple(
            _planned(stored.get(name), name, how, described.seed) for name, how in described.tensors.items()
        )
        present = [tensor for tensor in planned if tensor.name in stored]
        for tensor in present:
            _check_parameter(tensor.parameter, stored[tensor.name].shape)
        _check_wholes([tensor.parameter for tensor in present], limits or Limits())
    except (XavierError, ValueError, OverflowError) as error:
        raise InvalidFile(f"the metadata of {file.path} cannot be used: {error!r}") from None
    return planned


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


def _planned(tensor: StoredTensor | None, name: str, described: TensorDescription, seed: int) -> TensorPlan:
    missing = (1,) * len(described.permutation or ()), DType.F32
    shape, dtype = (tensor.shape, DType(tensor.dtype)) if tensor else missing
    fans = None
    if described.fan_in is not None and described.fan_out is not None:
        fans = Fans(described.fan_in, described.fan_out)
    canonical_name = described.canonical_name or name
    rearrangement = _arrangement(described, shape)
    defined = LayerParameter(
        name=canonical_name,
        output_name=name,
        shape=shape if rearrangement is None else rearrangement.view,
        initializer=described.initializer,
        rearrangement=rearrangement,
    )
    distribution = _distribution(described, fans, is_sum=_is_sum(name, canonical_name, shape))
    return TensorPlan(name, canonical_name, seed, Parameter(defined, dtype, fans, None, distribution))


def _distribution(described: TensorDescription, fans: Fans | None, *, is_sum: bool) -> Distribution:
    if described.distribution is not None:
        return read_distribution(described.distribution)
    distribution = distribution_of(described.initializer, fans)
    return summed(distribution, distribution, ("", "")) if is_sum else distribution


def _is_sum(name: str, canonical_name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor is Keras' bias of an RNN or LSTM, the sum of two; that of a GRU has both, and rank 2."""
    return name.endswith("bias") and len(shape) == 1 and TWO_BIASES.fullmatch(canonical_name) is not None


def _check_parameter(parameter: Parameter, shape: Sequence[int]) -> None:
    _check_arrangement(parameter.rearrangement, tuple(shape))
    _check_distribution(parameter.distribution, prod(parameter.canonical_shape), parameter.dtype)


def _arrangement(described: TensorDescription, shape: tuple[int, ...]) -> Rearrangement | None:
    if described.arrangement is not None:
        return Rearrangement(**dict(described.arrangement))
    if described.permutation is None:
        return None
    return Rearrangement(_canonical_shape(shape, described.permutation), described.permutation)


def _check_arrangement(rearrangement: Rearrangement | None, shape: tuple[int, ...]) -> None:
    if rearrangement is None:
        return
    view, order, part = rearrangement.view, rearrangement.order, rearrangement.part
    taken = range(part is not None, len(view))
    if not (
        0 < len(taken) <= len(view) <= MOST_AXES
        and sorted(rearrangement.axes) == [*taken]
        and rearrangement.output_shape == shape
        and prod(shape) == prod(view[axis] for axis in taken)
        and prod(view) < MOST_ELEMENTS
    ):
        raise ValueError(f"a rearrangement does not give the shape {list(shape)}")
    if part is not None and (order is not None or part >= view[0]):
        raise ValueError(f"a rearrangement takes part {part} of {view[0]}")
    if order is not None and (len(order) != view[0] or sorted(order) != [*range(len(order))]):
        raise ValueError(f"a rearrangement orders {len(order)} places of {view[0]}")


def _check_distribution(distribution: Distribution, elements: int, dtype: DType) -> None:
    if not distribution.covers(elements):
        raise ValueError(f"a distribution is not that of a tensor of {elements} elements")
    if not distribution.fits(dtype):
        raise ValueError(f"a distribution overflows {dtype}")


def _check_wholes(parameters: Sequence[Parameter], limits: Limits) -> None:
    """Refuse what would take too long, or too much memory, to draw."""
    for name, asked in (
        ("whole_elements", max((of.distribution.matrix_elements for of in parameters), default=0)),
        ("whole_total_elements", sum(of.materialized_elements for of in parameters)),
        ("whole_bytes", max((of.materialized_bytes for of in parameters), default=0)),
    ):
        most, unit = getattr(limits, name), name.rpartition("_")[2]
        if asked > most:
            way_out = f"raise XAVIER_MAX_{name.upper()}"
            raise ValueError(f"at most {most} {unit} may be drawn whole; this asks for {asked}: {way_out}")


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
    at = _indices(first + place, plan.shape)
    values = (float(widen(values[place : place + 1], dtype)[0]) for values in (stored, drawn))
    return Difference(plan.name, "differs first at {}: it is {!r}, and should be {!r}".format(at, *values))


def _indices(element: int, shape: tuple[int, ...]) -> list[int]:
    """The place of an element on each axis; NumPy stops at 64 axes."""
    places = []
    for size in reversed(shape):
        element, place = divmod(element, size)
        places.append(place)
    return places[::-1]


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return values.view(f"u{values.itemsize}")
