"""Distributions as they are stored: what rounding to a dtype does to mean, standard deviation and ends.

Each value of the dtype has a share of the distribution: what lies between the two points where rounding turns to its
neighbours. Every step is one IEEE 754 operation in a fixed order, so these numbers are the same on every machine.
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
"""A step of a dtype, in standard deviations, up to which rounding is as good as none."""
NEGLIGIBLE: Final = 2.0**-16
"""What rounding in fine steps changes at most, in standard deviations; less is not counted."""
FARTHEST: Final = 16.0
"""Standard deviations beyond which no step matters: little lies there, and the values are precise enough."""
TYPICAL: Final = 2.0
"""Standard deviations within which most of a distribution lies."""


class Stored(NamedTuple):
    """A distribution after rounding.

    Attributes:
        mean: of the stored values.
        std: of the stored values.
        min: the least value that can be stored.
        max: the greatest value that can be stored.
        nonzero: the share of values that are not zero before rounding.
        lost: the share of values that are zero by rounding alone.
    """

    mean: float
    std: float
    min: float
    max: float
    nonzero: float
    lost: float


class Placed(NamedTuple):
    """Where a distribution stands: location + scale . z, where z follows a distribution of mean 0."""

    location: float
    scale: float


@dataclass(frozen=True, eq=False, slots=True)
class Tabulated:
    """A distribution of mean 0 by its values at growing shares; between two of them its density is even.

    Attributes:
        values: shape (n,), not falling; a value that stands twice has the share between.
        sums: share, mean and mean square of what lies below each value, shape (3, n).
        density: above each value, up to the next, shape (n,).
    """

    values: Floats
    sums: Floats
    density: Floats

    def below(self, ends: Floats) -> Floats:
        """Share, mean and mean square of what lies below some ends, shape (3, m) for ends of shape (m,)."""
        z = np.clip(ends, self.values[0], self.values[-1])
        place = np.searchsorted(self.values, z, side="right") - 1
        below = self.sums[:, place] + self.density[place] * _powers(self.values[place], z)
        below[:, ends < self.values[0]] = 0.0
        return below


class Unrounded(NamedTuple):
    """A distribution of one word an element, before rounding.

    Attributes:
        standard: gives the distribution at mean 0 and some scale.
        exact: where it stands, in binary64.
        drawn: where it stands in the working precision.
        mean: of the distribution.
        std: of the distribution.
    """

    standard: Callable[[], Tabulated]
    exact: Placed
    drawn: Placed
    mean: float
    std: float


def tabulated(values: Floats, cumulative: Floats) -> Tabulated:
    """A distribution from its values, shape (n,), not falling, at cumulative shares from 0 to 1."""
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
    """One coordinate of a point of the unit sphere, as the elements of an orthogonal matrix are.

    Its density goes as (1 - x^2)^((n - 3) / 2); by x = 2 u / (1 + u^2) that becomes rational.
    Source: Muirhead 1982, Aspects of Multivariate Statistical Theory, theorem 1.5.7.
    """
    if dimension == 1:
        return tabulated(np.array([-1.0, -1.0, 1.0, 1.0]), np.array([0.0, 0.5, 0.5, 1.0]))
    u = np.arange(-1024, 1025) / 1024 * min(1.0, FARTHEST / 2 / sqrt(dimension))
    weight = _power((1 - u * u) / (1 + u * u), dimension - 2) / (1 + u * u)
    cumulative = np.append(0.0, np.cumsum((weight[1:] + weight[:-1]) * np.diff(u)))
    return tabulated(2 * u / (1 + u * u), cumulative / cumulative[-1])


def _power(base: Floats, exponent: int) -> Floats:
    """By squaring; a power function would be libm's."""
    result = np.ones_like(base)
    while exponent:
        if exponent & 1:
            result = result * base
        base, exponent = base * base, exponent >> 1
    return result


def quantile_words() -> tuple[NDArray[np.uint64], Floats]:
    """Words of 64 bits, growing as signed numbers, and the share of all words below each; close in both tails."""
    tails = [np.arange(32, 64, dtype=np.uint64) << np.uint64(59 - octave) for octave in range(40, 5, -1)]
    lower = np.concatenate([np.zeros(1, np.uint64), *tails, np.arange(32, 513, dtype=np.uint64) << np.uint64(54)])
    upper = ~lower[-2::-1]
    sharesbelow = lower / 2.0**64
    return np.append(lower, upper) ^ np.uint64(1 << 63), np.append(sharesbelow, 1 - sharesbelow[-2::-1])


class EvenWords(WordSource):
    """A source whose words stand in the middles of equal shares."""

    __slots__ = ()

    def words(self, elements: Elements, bits: int) -> Words:
        """See WordSource; the elements only say how many, a power of two."""
        count = len(elements)
        words = np.arange(1, 2 * count, 2, dtype=np.uint64) << np.uint64(64 - count.bit_length())
        words ^= np.uint64(1 << 63)
        return words if bits == 64 else (words >> np.uint64(32)).astype(np.uint32)


def ends(values: NDArray[Any], dtype: DType) -> tuple[float, float]:
    """The least and the greatest of some values of the working precision, once they are stored."""
    stored = [dtype.nearest(value) + 0.0 for value in values.tolist()]
    return min(stored), max(stored)


def is_coarse(mean: float, std: float, dtype: DType) -> bool:
    """Whether the steps of a dtype are so long beside a distribution that rounding changes more than its ends."""
    return dtype.step(abs(mean) + TYPICAL * std) > FINE * std


def constant(value: float, *, nonzero: float = 1.0) -> Stored:
    """One value, whatever it was before rounding."""
    return Stored(value, 0.0, value, value, nonzero, nonzero if value == 0 else 0.0)


def power_of_two(numbers: Sequence[float]) -> float:
    """The one below the largest of some numbers: dividing by it is exact, and no square overflows."""
    _, exponent = frexp(max(map(abs, numbers)))
    return ldexp(1.0, exponent - 1)


def square(number: float) -> float:
    """The square; a power would be libm's."""
    return number * number


def hypotenuse(one: float, other: float) -> float:
    """The root of the sum of two squares."""
    unit = power_of_two([one, other])
    return sqrt(square(one / unit) + square(other / unit)) * unit


def sparsely(elements: Stored, share: float) -> Stored:
    """A distribution that only a share of the elements follow; the others are zero."""
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
    """A distribution of one word an element, as it is stored.

    Args:
        distribution: the distribution.
        dtype: what it is rounded to.
        between: the least and the greatest value that can be stored.
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
    """A distribution of what is stored already, and rounded once more.

    Args:
        values: values before that, shape (n,).
        shares: the share of each, shape (n,).
        before: mean and standard deviation of the distribution before that.
        dtype: what it is rounded to.
        between: the least and the greatest value that can be stored.
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
    """Mean and standard deviation after rounding, or those before it where the change is nothing."""
    least = NEGLIGIBLE * before[1]
    mean, std = (old if abs(new - old) <= least else new for old, new in zip(before, after, strict=True))
    return mean, std


def _moments(distribution: Unrounded, dtype: DType, between: tuple[float, float]) -> list[float]:
    """Mean and mean square of z after rounding, and the share that becomes zero, where steps are coarse."""
    standard = distribution.standard()
    before = np.append(standard.sums[1:, -1], 0.0).reshape(3, 1)
    changes = [_changes(standard, distribution.drawn, dtype, bins) for bins in _coarse(distribution, dtype, between)]
    moments: list[float] = np.cumsum(np.concatenate([before, *changes], axis=1), axis=1)[:, -1].tolist()
    return moments


class _Bins(NamedTuple):
    """Neighbouring values of a dtype by their codes; an open end has nothing of the distribution beyond it."""

    first: int
    last: int
    open_below: bool
    open_above: bool


def _coarse(distribution: Unrounded, dtype: DType, between: tuple[float, float]) -> Iterator[_Bins]:
    """The values whose neighbours are not near, on both sides of zero where that has near ones."""
    least, greatest = (dtype.code(end) for end in between)
    low, high = distribution.mean - FARTHEST * distribution.std, distribution.mean + FARTHEST * distribution.std
    first = least if low <= between[0] else dtype.code(dtype.nearest(low))
    last = greatest if high >= between[1] else dtype.code(dtype.nearest(high))
    start = dtype.code(dtype.reaching(FINE * distribution.std))
    for one, other in [(first, min(last, -start)), (max(first, start), last)] if start else [(first, last)]:
        if one <= other:
            yield _Bins(one, other, open_below=one == least, open_above=other == greatest)


def _changes(distribution: Tabulated, placed: Placed, dtype: DType, bins: _Bins) -> Floats:
    """Of each value what it changes, shape (3, n)."""
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
    """Neighbouring values less a location, and where rounding turns from each to the next."""
    if dtype.drawn_directly:
        values = _by_code(np.arange(first, last + 1), dtype) - location
        return values, values[:-1] / 2 + values[1:] / 2
    values, turns = _narrow_values(dtype)
    middle = values.size // 2
    return values[middle + first : middle + last + 1] - location, turns[middle + first : middle + last] - location


@lru_cache
def _narrow_values(dtype: DType) -> tuple[Floats, Floats]:
    """All finite values, and the turns: a binary32 value in the middle of two goes to the even one."""
    most = dtype.code(dtype.largest)
    codes = np.arange(-most, most + 1)
    values = _by_code(codes, dtype)
    turns = values[:-1] / 2 + values[1:] / 2
    half = np.spacing(np.abs(turns).astype(np.float32)).astype(np.float64) / 2
    return values, turns + np.where(codes[:-1] % 2 == 0, half, -half)


def _by_code(codes: NDArray[np.int64], dtype: DType) -> Floats:
    stored = np.abs(codes).astype(f"<u{dtype.itemsize}").view(dtype.storage)
    return np.copysign(widen(stored, dtype).astype(np.float64), codes)
