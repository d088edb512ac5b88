"""Statistics of tensors: what the law promises, and what was drawn.

Sums are folded in a fixed order in binary64 and their parts added with `math.fsum`, which rounds once,
so measured numbers too are the same on every machine, for every chunk size and thread count.
Tensors are measured in canonical order: every framework's layout has the same statistics.

What is summed are deviations from the mean of the law, which is near that of the values, in units of about its standard
deviation. Where rounding has moved the values far from both, sums about the values themselves, block by block, are put
together without rounding instead. Source: Chan, Golub & LeVeque 1983, Algorithms for computing the sample variance.
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

from service.initializers.distributions import stored
from service.plan import TensorPlan
from service.stream.dtypes import widen

BLOCK: Final = 1 << 17
"""Elements whose sums are folded together; part of what makes measured numbers reproducible."""
BLOCKS_IN_BATCH: Final = 4
SOUND: Final = 2.0**-24
"""The least share of a variance in a mean square that roundings, of at most 2^-47 of it, do not reach."""
TOLERATED: Final = 2.0**-20
"""How far off, relatively, a measured number may be; files have such numbers, and their bytes are promised."""


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


class Sums(NamedTuple):
    """Sums of (value - center) / unit and of its square, over some values; the unit is a power of two."""

    center: float
    unit: float
    first: float
    second: float


@dataclass(frozen=True, slots=True)
class Moments:
    """What a block contributes."""

    place: int
    count: int
    expected: Sums
    """About the expected mean, in units of about the expected standard deviation."""
    near: Sums
    """About the values themselves where they lie elsewhere; the same sums where they do not."""
    least: float
    greatest: float


def expected(tensor: TensorPlan) -> Summary:
    """What the law of a tensor promises before rounding, as metadata of files has it; rounding may pass the ends."""
    least, greatest = tensor.distribution.reach(tensor.parameter.dtype)
    return Summary(tensor.distribution.mean, tensor.distribution.std, least, greatest)


def expected_as_stored(tensor: TensorPlan) -> Summary:
    """What the law of a tensor promises of the stored values, as answers have it; no value passes the ends."""
    law = stored(tensor.distribution, tensor.parameter.dtype)
    return Summary(law.mean, law.std, law.min, law.max)


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


def misstated(tensor: TensorPlan) -> bool:
    """Whether earlier versions measured values that are all the same as something else than they are.

    Known without drawing, as the ETag of such a file has to be another one.
    """
    law, n = stored(tensor.distribution, tensor.parameter.dtype), tensor.elements
    if not n or law.min != law.max or law.min == tensor.distribution.mean:
        return False
    deviation = (law.min - tensor.distribution.mean) / _unit(tensor.distribution.std)
    square = deviation * deviation
    if not isfinite(square * n):
        return True
    return _about_expected(tensor, _sum_of(deviation, n) / n, _sum_of(square, n) / n) != (law.min, 0.0)


def _sum_of(value: float, n: int) -> float:
    """The sum of equal values: whole blocks are folded without rounding."""
    return float(n // BLOCK * BLOCK * Fraction(value) + Fraction(_folded(value, n % BLOCK)))


def _folded(value: float, size: int) -> float:
    """`_fold` of equal values; in each step only a few at the end are not twice as much as in the step before."""
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
    values = widen(drawn, dtype).astype(np.float64, copy=False)
    least, greatest = float(values.min()) + 0.0, float(values.max()) + 0.0
    sums = _sums(values, tensor.distribution.mean, tensor.distribution.std)
    near = sums if _is_sound(sums.first, sums.second, block.count) else _near(values, least, greatest)
    return Moments(block.place, block.count, sums, near, least, greatest)


def _sums(values: NDArray[np.float64], center: float, spread: float) -> Sums:
    unit = _unit(spread)
    with np.errstate(over="ignore", invalid="ignore"):  # such sums are not sound
        deviations = (values - center) / unit
        return Sums(center, unit, _fold(deviations), _fold(deviations * deviations))


def _near(values: NDArray[np.float64], least: float, greatest: float) -> Sums:
    if least == greatest:
        return Sums(least, 1.0, 0.0, 0.0)
    about_least = _sums(values, least, greatest - least)
    return _sums(values, least + about_least.first / values.size * about_least.unit, greatest - least)


def _is_sound(first: float, second: float, n: int) -> bool:
    """Whether sums of deviations and of their squares give the variance."""
    return second - first * first / n > SOUND * second


def _unit(std: float) -> float:
    """A power of two near a standard deviation: dividing by it is exact, and squares stay in range."""
    _, exponent = frexp(std)
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
    least, greatest = min(part.least for part in parts), max(part.greatest for part in parts)
    if least == greatest:
        return Summary(least, 0.0, least, greatest)
    first, second = fsum(part.expected.first for part in parts), fsum(part.expected.second for part in parts)
    mean, std = _about_expected(tensor, first / n, second / n)
    within = least <= mean <= greatest
    if not (within and _is_sound(first, second, n)):
        exact = _exact(parts, _unit(greatest - least))
        mean, std = (mean, std) if within and _agree((mean, std), exact) else exact
    return Summary(mean, std, least, greatest)


def _about_expected(tensor: TensorPlan, deviation: float, square: float) -> tuple[float, float]:
    """Mean and standard deviation, by the mean deviation from what was expected, and its mean square."""
    unit = _unit(tensor.distribution.std)
    std = sqrt(max(square - deviation * deviation, 0.0)) * unit
    return tensor.distribution.mean + deviation * unit, std


def _agree(found: tuple[float, float], exact: tuple[float, float]) -> bool:
    mean, std = exact
    return abs(found[0] - mean) <= TOLERATED * max(abs(mean), std) and abs(found[1] - std) <= TOLERATED * std


def _exact(parts: Sequence[Moments], unit: float) -> tuple[float, float]:
    """Mean and standard deviation, by the sums about the values themselves, rounded once at the end."""
    n = sum(part.count for part in parts)
    means = [_mean(part) for part in parts]
    mean = sum((part.count * of for part, of in zip(parts, means, strict=True)), Fraction()) / n
    squares = (
        (_square(part) + part.count * (of - mean) ** 2) / Fraction(unit) ** 2
        for part, of in zip(parts, means, strict=True)
    )
    return float(mean), sqrt(sum(squares, Fraction()) / n) * unit


def _mean(part: Moments) -> Fraction:
    center, unit, first, _ = map(Fraction, part.near)
    return center + unit * first / part.count


def _square(part: Moments) -> Fraction:
    """The sum of the squared deviations from the block's own mean."""
    _, unit, first, second = map(Fraction, part.near)
    return unit**2 * (second - first**2 / part.count)
