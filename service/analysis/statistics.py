"""Statistics of tensors: what the law promises, and what was drawn.

Sums are folded in a fixed order in binary64 and their parts added with `math.fsum`, which rounds once,
so measured numbers too are the same on every machine, for every chunk size and thread count.
Tensors are measured in canonical order: every framework's layout has the same statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import frexp, fsum, sqrt
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.plan import TensorPlan
from service.stream.dtypes import widen

BLOCK: Final = 1 << 17
"""Elements whose sums are folded together; part of what makes measured numbers reproducible."""
BLOCKS_IN_BATCH: Final = 4


class Summary(NamedTuple):
    """Four numbers that describe a tensor's values; all None for a tensor without elements."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive elements of a tensor, measured by themselves."""

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
    """What the law of a tensor promises: mean, standard deviation, and the ends that no value can pass."""
    least, greatest = tensor.distribution.reach(tensor.parameter.dtype)
    return Summary(tensor.distribution.mean, tensor.distribution.std, least, greatest)


def batches(tensors: Sequence[TensorPlan]) -> Iterator[list[Block]]:
    """All blocks of some tensors, in order, in batches of about equal work."""
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
    """One summary a tensor, from the moments of all blocks in order. The standard deviation divides by n."""
    summaries = [Summary(None, None, None, None)] * len(tensors)
    for place, parts in groupby(moments, key=attrgetter("place")):
        summaries[place] = _summary(tensors[place], list(parts))
    return summaries


def _blocks(tensors: Sequence[TensorPlan]) -> Iterator[Block]:
    for place, tensor in enumerate(tensors):
        for first in range(0, tensor.elements, BLOCK):
            yield Block(place, first, min(BLOCK, tensor.elements - first))


def _moments(tensor: TensorPlan, block: Block) -> Moments:
    dtype = tensor.parameter.dtype
    stored = np.empty(block.count, dtype.storage)
    tensor.fill_canonical(block.first, stored)
    values = widen(stored, dtype)
    deviations = (values.astype(np.float64) - tensor.distribution.mean) / _unit(tensor)
    least, greatest = float(values.min()) + 0.0, float(values.max()) + 0.0
    return Moments(block.place, _fold(deviations), _fold(deviations * deviations), least, greatest)


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
    n = tensor.elements
    deviation = fsum(part.deviation for part in parts) / n
    variance = fsum(part.squared for part in parts) / n - deviation * deviation
    return Summary(
        mean=tensor.distribution.mean + deviation * _unit(tensor),
        std=sqrt(max(variance, 0.0)) * _unit(tensor),
        min=min(part.least for part in parts),
        max=max(part.greatest for part in parts),
    )
