"""Statistics of tensors: what the distribution promises, and what was drawn.

Sums are folded in binary64 in a fixed order, and partial sums are added with `math.fsum`, which rounds once. Measured
numbers are therefore the same on every machine, for every chunk size and number of threads. Tensors are measured in
canonical order, so the layouts of all frameworks have the same statistics.

The terms are deviations from the mean of the distribution, which is near that of the values, in units near its
standard deviation. If rounding leaves a single value, that value is known without sums, which could be far off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from math import frexp, fsum, isfinite, sqrt
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.distributions.base import stored
from service.plan import TensorPlan
from service.stream.dtypes import widen

BLOCK: Final = 1 << 17
"""Elements that are folded into one sum; measured numbers are reproducible only if this never changes."""
BLOCKS_IN_BATCH: Final = 4


class Summary(NamedTuple):
    """Four numbers that describe a tensor's values; all None for a tensor without elements."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive elements of a tensor that are summed together."""

    place: int
    """Position of the tensor in the plan."""
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Moments:
    """What a block contributes: sums of the scaled deviations from the expected mean, and the extremes."""

    place: int
    deviation: float
    squared: float
    least: float
    greatest: float


def expected(tensor: TensorPlan) -> Summary:
    """What the distribution promises before rounding, for the metadata of files; rounding may pass the ends."""
    least, greatest = tensor.distribution.support(tensor.parameter.dtype)
    return Summary(tensor.distribution.mean, tensor.distribution.std, least, greatest)


def expected_as_stored(tensor: TensorPlan) -> Summary:
    """What the distribution promises about the stored values, for answers; no value passes the ends."""
    distribution = stored(tensor.distribution, tensor.parameter.dtype)
    return Summary(distribution.mean, distribution.std, distribution.min, distribution.max)


def batches(tensors: Sequence[TensorPlan]) -> Iterator[list[Block]]:
    """All blocks of the tensors, in order, in batches of about equal work."""
    batch: list[Block] = []
    elements = 0
    for block in _blocks(tensors):
        batch.append(block)
        elements += block.count
        if elements >= BLOCKS_IN_BATCH * BLOCK:
            yield batch
            batch, elements = [], 0
    if batch:
        yield batch


def measure(tensors: Sequence[TensorPlan], batch: Iterable[Block]) -> list[Moments]:
    """Draw some blocks and sum them up."""
    return [_moments(tensors[block.place], block) for block in batch]


def summarise(tensors: Sequence[TensorPlan], moments: Iterable[Moments]) -> list[Summary]:
    """One summary per tensor, from the moments of all blocks in order. The variance is divided by n."""
    summaries = [Summary(None, None, None, None)] * len(tensors)
    for place, parts in groupby(moments, key=attrgetter("place")):
        summaries[place] = _summary(tensors[place], list(parts))
    return summaries


def misstated(tensor: TensorPlan) -> bool:
    """Whether sums about the expected mean, the only method of version 0.1, misstate a tensor of a single value.

    This is known without drawing, because a file whose measured numbers have changed needs another ETag.
    """
    value, n = _single_value(tensor), tensor.elements
    if not n or value is None or value == tensor.distribution.mean:
        return False
    deviation = (value - tensor.distribution.mean) / _unit(tensor)
    square = deviation * deviation
    if not isfinite(square * n):
        return True
    return _about_expected(tensor, _sum_of(deviation, n) / n, _sum_of(square, n) / n) != (value, 0.0)


def _sum_of(value: float, n: int) -> float:
    """The sum of equal values: whole blocks are folded without rounding."""
    return float(n // BLOCK * BLOCK * Fraction(value) + Fraction(_folded(value, n % BLOCK)))


def _folded(value: float, size: int) -> float:
    """`_fold` of equal values; after each step, all but a few values at the end are still equal."""
    if not size:
        return 0.0
    last: list[float] = []
    while size > 1:
        half, equal = (size + 1) // 2, size - len(last)
        at = [value, *last]
        last = [
            at[max(0, place - equal + 1)] + (at[max(0, place + half - equal + 1)] if place + half < size else 0.0)
            for place in range(max(equal - half, 0), half)
        ]
        value, size = value + value, half
    return last[0] if last else value


def _blocks(tensors: Sequence[TensorPlan]) -> Iterator[Block]:
    for place, tensor in enumerate(tensors):
        for first in range(0, tensor.elements, BLOCK):
            yield Block(place, first, min(BLOCK, tensor.elements - first))


def _moments(tensor: TensorPlan, block: Block) -> Moments:
    dtype = tensor.parameter.dtype
    drawn = np.empty(block.count, dtype.storage)
    tensor.fill_canonical(block.first, drawn)
    values = widen(drawn, dtype)
    least, greatest = float(values.min()) + 0.0, float(values.max()) + 0.0
    if _single_value(tensor) is not None:
        return Moments(block.place, 0.0, 0.0, least, greatest)
    deviations = (values.astype(np.float64) - tensor.distribution.mean) / _unit(tensor)
    return Moments(block.place, _fold(deviations), _fold(deviations * deviations), least, greatest)


def _single_value(tensor: TensorPlan) -> float | None:
    """The value of every element if rounding leaves only one; None otherwise."""
    distribution = stored(tensor.distribution, tensor.parameter.dtype)
    return distribution.min + 0.0 if distribution.min == distribution.max else None


def _unit(tensor: TensorPlan) -> float:
    """A power of two near the standard deviation: dividing by it is exact, and squares stay in range."""
    _, exponent = frexp(tensor.distribution.std)
    return 2.0 ** min(max(exponent, -1000), 1000)


def _fold(values: NDArray[Any]) -> float:
    """The sum, by adding the second half to the first until one value is left."""
    while values.size > 1:
        half = (values.size + 1) // 2
        folded = values[:half].copy()
        folded[: values.size - half] += values[half:]
        values = folded
    return float(values[0])


def _summary(tensor: TensorPlan, parts: Sequence[Moments]) -> Summary:
    n, value = tensor.elements, _single_value(tensor)
    if value is not None:
        return Summary(value, 0.0, value, value)
    deviation, square = fsum(part.deviation for part in parts) / n, fsum(part.squared for part in parts) / n
    mean, std = _about_expected(tensor, deviation, square)
    return Summary(mean, std, min(part.least for part in parts), max(part.greatest for part in parts))


def _about_expected(tensor: TensorPlan, deviation: float, square: float) -> tuple[float, float]:
    """The mean and the standard deviation, from the mean and the mean square of deviations from the expected mean."""
    std = sqrt(max(square - deviation * deviation, 0.0)) * _unit(tensor)
    return tensor.distribution.mean + deviation * _unit(tensor), std
