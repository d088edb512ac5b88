"""Distributions as they are stored: how rounding to a dtype changes the mean, the standard deviation and the extremes.

Each value of the dtype has a probability: that of the interval whose numbers are rounded to it. Every step is one
IEEE 754 operation in a fixed order, so the results are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import frexp, inf, ldexp, sqrt
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.stream.dtypes import DType, narrow, widen
from service.stream.words import Elements, Words, WordSource

Floats = NDArray[np.float64]

FINE: Final = 2.0**-6
"""The largest step of a dtype, in standard deviations, at which rounding changes nothing that matters."""
NEGLIGIBLE: Final = 2.0**-16
"""The most that rounding in fine steps changes a moment, in standard deviations; smaller changes are ignored."""
FARTHEST: Final = 16.0
"""The distance from the mean, in standard deviations, beyond which rounding is ignored: few values lie there."""
TYPICAL: Final = 2.0
"""The distance from the mean, in standard deviations, within which most values lie."""


class Stored(NamedTuple):
    """A distribution after rounding.

    Attributes:
        mean: the mean of the stored values.
        std: the standard deviation of the stored values.
        min: the smallest value that can be stored.
        max: the largest value that can be stored.
        nonzero: the share of values that are not zero before rounding.
        lost: the share of values that only rounding makes zero.
    """

    mean: float
    std: float
    min: float
    max: float
    nonzero: float
    lost: float


class Placed(NamedTuple):
    """The location and scale of a distribution: location + scale . z, where z has mean 0."""

    location: float
    scale: float


@dataclass(frozen=True, eq=False, slots=True)
class Tabulated:
    """A distribution of mean 0 as a table of quantiles, with a uniform density between neighbours.

    Attributes:
        values: shape (n,), in ascending order; a value that occurs twice is an atom.
        sums: the integrals of 1, z and z^2 over everything below each value, shape (3, n).
        density: the density between each value and the next, shape (n,).
    """

    values: Floats
    sums: Floats
    density: Floats

    def below(self, ends: Floats) -> Floats:
        """The integrals of 1, z and z^2 over everything below some ends: shape (m,) to (3, m)."""
        z = np.clip(ends, self.values[0], self.values[-1])
        place = np.searchsorted(self.values, z, side="right") - 1
        below = self.sums[:, place] + self.density[place] * _powers(self.values[place], z)
        below[:, ends < self.values[0]] = 0.0
        return below


class Unrounded(NamedTuple):
    """An elementwise distribution before rounding.

    Attributes:
        standard: returns the distribution with mean 0 and some scale.
        exact: its location and scale in binary64.
        drawn: its location and scale in the working precision.
        mean: its mean.
        std: its standard deviation.
    """

    standard: Callable[[], Tabulated]
    exact: Placed
    drawn: Placed
    mean: float
    std: float


def tabulated(values: Floats, cumulative: Floats) -> Tabulated:
    """A distribution from its quantiles, shape (n,), ascending, at cumulative probabilities from 0 to 1."""
    start, end, share = values[:-1], values[1:], np.diff(cumulative)
    width = end - start
    density = np.divide(share, width, out=np.zeros_like(width), where=width > 0)
    atoms = np.where(width > 0, 0.0, share) * np.stack([np.ones_like(start), start, start * start])
    sums = np.zeros((3, values.size))
    np.cumsum(density * _powers(start, end) + atoms, axis=1, out=sums[:, 1:])
    return Tabulated(values, sums, np.append(density, 0.0))


def _powers(start: Floats, end: Floats) -> Floats:
    """The integrals of 1, z and z^2 from each start to each end."""
    width = end - start
    squares = start * start + start * end + end * end
    return np.stack([width, width * (start + end) / 2, width * squares / 3])


EVEN: Final = tabulated(np.array([-1.0, 1.0]), np.array([0.0, 1.0]))
"""Uniform on (-1, 1)."""


@lru_cache(64)
def sphere(dimension: int) -> Tabulated:
    """One coordinate of a random point on the unit sphere; an element of an orthogonal matrix is distributed like it.

    Its density is proportional to (1 - x^2)^((n - 3) / 2); the substitution x = 2 u / (1 + u^2) makes it rational.
    Source: Muirhead 1982, Aspects of Multivariate Statistical Theory, theorem 1.5.7.
    """
    if dimension == 1:
        return tabulated(np.array([-1.0, -1.0, 1.0, 1.0]), np.array([0.0, 0.5, 0.5, 1.0]))
    u = np.arange(-1024, 1025) / 1024 * min(1.0, FARTHEST / 2 / sqrt(dimension))
    weight = _power((1 - u * u) / (1 + u * u), dimension - 2) / (1 + u * u)
    cumulative = np.append(0.0, np.cumsum((weight[1:] + weight[:-1]) * np.diff(u)))
    return tabulated(2 * u / (1 + u * u), cumulative / cumulative[-1])


def _power(base: Floats, exponent: int) -> Floats:
    """The power by repeated squaring, without libm."""
    result = np.ones_like(base)
    while exponent:
        if exponent & 1:
            result = result * base
        base, exponent = base * base, exponent >> 1
    return result


def quantile_words() -> tuple[NDArray[np.uint64], Floats]:
    """64-bit words in ascending signed order, dense in both tails, and the share of all words below each."""
    tails = [np.arange(32, 64, dtype=np.uint64) << np.uint64(59 - octave) for octave in range(40, 5, -1)]
    lower = np.concatenate([np.zeros(1, np.uint64), *tails, np.arange(32, 513, dtype=np.uint64) << np.uint64(54)])
    upper = ~lower[-2::-1]
    shares_below = lower / 2.0**64
    return np.append(lower, upper) ^ np.uint64(1 << 63), np.append(shares_below, 1 - shares_below[-2::-1])


class EvenWords(WordSource):
    """A source whose words are the midpoints of equal shares of all words."""

    __slots__ = ()

    def words(self, elements: Elements, bits: int) -> Words:
        """See WordSource; only the number of the elements matters, and it must be a power of two."""
        count = len(elements)
        words = np.arange(1, 2 * count, 2, dtype=np.uint64) << np.uint64(64 - count.bit_length())
        words ^= np.uint64(1 << 63)
        return words if bits == 64 else (words >> np.uint64(32)).astype(np.uint32)


def ends(values: NDArray[Any], dtype: DType) -> tuple[float, float]:
    """The smallest and the largest of some values of the working precision, once they are stored."""
    stored = [dtype.nearest(value) + 0.0 for value in values.tolist()]
    return min(stored), max(stored)


def is_coarse(mean: float, std: float, dtype: DType) -> bool:
    """Whether the steps of a dtype are so coarse for a distribution that rounding changes more than its extremes."""
    return dtype.step(abs(mean) + TYPICAL * std) > FINE * std


def constant(value: float, *, nonzero: float = 1.0) -> Stored:
    """A distribution with only one value after rounding."""
    return Stored(value, 0.0, value, value, nonzero, nonzero if value == 0 else 0.0)


def power_of_two(numbers: Sequence[float]) -> float:
    """The largest power of two up to the largest magnitude: dividing by it is exact, and no square overflows."""
    _, exponent = frexp(max(map(abs, numbers)))
    return ldexp(1.0, exponent - 1)


def square(number: float) -> float:
    """The square, without libm."""
    return number * number


def hypotenuse(one: float, other: float) -> float:
    """The square root of the sum of two squares."""
    unit = power_of_two([one, other])
    return sqrt(square(one / unit) + square(other / unit)) * unit


def sparsely(elements: Stored, share: float) -> Stored:
    """The distribution where only a share of the elements follow the given one, and the others are zero."""
    if share == 1:
        return elements
    mean, std = elements.mean, elements.std
    return Stored(
        mean=mean * share,
        std=hypotenuse(std * sqrt(share), mean * sqrt(share * (1 - share))),
        min=min(elements.min, 0.0) if share else 0.0,
        max=max(elements.max, 0.0) if share else 0.0,
        nonzero=elements.nonzero * share,
        lost=elements.lost * share,
    )


def rounded(distribution: Unrounded, dtype: DType, between: tuple[float, float]) -> Stored:
    """An elementwise distribution as it is stored.

    Args:
        distribution: the distribution before rounding.
        dtype: the dtype to which it is rounded.
        between: the smallest and the largest value that can be stored.
    """
    if between[0] == between[1]:
        return constant(between[0])
    mean, square_, lost = 0.0, square(distribution.std / distribution.exact.scale), 0.0
    if is_coarse(distribution.mean, distribution.std, dtype):
        mean, square_, lost = _moments(distribution, dtype, between)
    std = sqrt(max(square_ - mean * mean, 0.0))
    after = distribution.drawn.location + distribution.drawn.scale * mean, distribution.drawn.scale * std
    return Stored(*_counted((distribution.mean, distribution.std), after), *between, 1.0, lost)


def rounded_again(
    values: Floats, shares: Floats, before: tuple[float, float], dtype: DType, between: tuple[float, float]
) -> Stored:
    """A distribution of values that were stored already and are rounded once more.

    Args:
        values: the values before the second rounding, shape (n,).
        shares: the share of each value, shape (n,).
        before: the mean and the standard deviation before the second rounding.
        dtype: the dtype to which the values are rounded.
        between: the smallest and the largest value that can be stored.
    """
    mean, std = before
    drawn = values.astype(dtype.precision.floating)
    stored = widen(narrow(drawn, dtype, np.empty(drawn.size, dtype.storage)), dtype).astype(np.float64)
    z, after = (values - mean) / std, (stored - mean) / std
    changes = np.stack([after - z, after * after - z * z, stored == 0]) * shares
    first, second, lost = np.cumsum(changes, axis=1)[:, -1].tolist()
    moved = mean + std * first, std * sqrt(max(1 + second - first * first, 0.0))
    return Stored(*_counted(before, moved), *between, 1.0, lost)


def _counted(before: tuple[float, float], after: tuple[float, float]) -> tuple[float, float]:
    """The mean and the standard deviation after rounding, or those before it where the change is negligible."""
    least = NEGLIGIBLE * before[1]
    mean, std = (old if abs(new - old) <= least else new for old, new in zip(before, after, strict=True))
    return mean, std


def _moments(distribution: Unrounded, dtype: DType, between: tuple[float, float]) -> list[float]:
    """The mean and the mean square of z after rounding, and the share that becomes zero."""
    standard = distribution.standard()
    before = np.append(standard.sums[1:, -1], 0.0).reshape(3, 1)
    changes = [_changes(standard, distribution.drawn, dtype, bins) for bins in _coarse(distribution, dtype, between)]
    moments: list[float] = np.cumsum(np.concatenate([before, *changes], axis=1), axis=1)[:, -1].tolist()
    return moments


class _Bins(NamedTuple):
    """A range of values of a dtype, by their codes; no value of the distribution lies beyond an open end."""

    first: int
    last: int
    open_below: bool
    open_above: bool


def _coarse(distribution: Unrounded, dtype: DType, between: tuple[float, float]) -> Iterator[_Bins]:
    """The ranges of values with coarse steps: one on each side of zero if the steps at zero are fine."""
    least, greatest = (dtype.code(end) for end in between)
    low, high = distribution.mean - FARTHEST * distribution.std, distribution.mean + FARTHEST * distribution.std
    first = least if low <= between[0] else dtype.code(dtype.nearest(low))
    last = greatest if high >= between[1] else dtype.code(dtype.nearest(high))
    start = dtype.code(dtype.reaching(FINE * distribution.std))
    for one, other in [(first, min(last, -start)), (max(first, start), last)] if start else [(first, last)]:
        if one <= other:
            yield _Bins(one, other, open_below=one == least, open_above=other == greatest)


def _changes(distribution: Tabulated, placed: Placed, dtype: DType, bins: _Bins) -> Floats:
    """The contribution of each value to the changes by rounding, shape (3, n)."""
    below, above = not bins.open_below, not bins.open_above
    values, turns = _values(bins.first - below, bins.last + above, placed.location, dtype)
    edges = np.concatenate([[-inf] * (not below), turns, [inf] * (not above)])
    share, mean, square_ = np.diff(distribution.below(edges / placed.scale))
    z = values[below : values.size - above] / placed.scale
    changes = np.zeros((3, z.size))
    np.subtract(share * z, mean, out=changes[0])
    np.subtract(share * z * z, square_, out=changes[1])
    if bins.first <= 0 <= bins.last:
        changes[2, -bins.first] = share[-bins.first]
    return changes


def _values(first: int, last: int, location: float, dtype: DType) -> tuple[Floats, Floats]:
    """Neighbouring values and the points where rounding switches from each to the next, all relative to a location."""
    if dtype.drawn_directly:
        values = _by_code(np.arange(first, last + 1), dtype) - location
        return values, values[:-1] / 2 + values[1:] / 2
    values, turns = _narrow_values(dtype)
    middle = values.size // 2
    return values[middle + first : middle + last + 1] - location, turns[middle + first : middle + last] - location


@lru_cache
def _narrow_values(dtype: DType) -> tuple[Floats, Floats]:
    """All finite values, and the points between them where rounding switches; a binary32 tie goes to the even value."""
    most = dtype.code(dtype.largest)
    codes = np.arange(-most, most + 1)
    values = _by_code(codes, dtype)
    turns = values[:-1] / 2 + values[1:] / 2
    half = np.spacing(np.abs(turns).astype(np.float32)).astype(np.float64) / 2
    return values, turns + np.where(codes[:-1] % 2 == 0, half, -half)


def _by_code(codes: NDArray[np.int64], dtype: DType) -> Floats:
    stored = np.abs(codes).astype(f"<u{dtype.itemsize}").view(dtype.storage)
    return np.copysign(widen(stored, dtype).astype(np.float64), codes)
