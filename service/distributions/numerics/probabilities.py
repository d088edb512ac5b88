"""Probabilities of a normal between two ends, and the moments of what lies there: exact, then rounded to binary64.

`decimal` rounds its operations correctly on every platform, and so many digits are carried that each number given back
is the real one, rounded once. No libm takes part.

Source: Abramowitz & Stegun 1964, 26.2.11 (series) and 26.2.14 (continued fraction).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    getcontext,
    localcontext,
)
from functools import lru_cache
from typing import Final, NamedTuple

LEAST_MASS: Final = 2.0**-950
"""What must lie between the ends, so that no step is subnormal: it does between 36 and infinity, not 36.2."""
LEAST_NORMAL: Final = 2.0**-1022
DIGITS: Final = 60
"""Decimal digits; differences cancel up to 17 of them where neighbouring floats are the ends."""
FARTHEST: Final = 40.0
"""Ends beyond it count as it: only 4e-350 lies there, nothing even beside `LEAST_MASS` in so many digits."""
SERIES_END: Final = 6
"""Below it the series converges sooner, from it on the continued fraction."""
REMEMBERED: Final = 1 << 12
"""How many pairs of ends are remembered."""


class TailProbabilities(NamedTuple):
    """How a standard normal lies about two ends; see `service.stream.truncation.Cut`."""

    below: float
    above: float
    half: float
    anchor: int
    origin: float
    slope: float


class Moments(NamedTuple):
    """Mean and standard deviation of a standard normal that is cut."""

    mean: float
    std: float


@lru_cache(REMEMBERED)
def tail_probabilities(low: float, high: float) -> TailProbabilities:
    """The probabilities below, between and above two ends, in sigmas; either may be infinite.

    Raises:
        ValueError: `low` is not below `high`, one is no number, or less than 2^-950 lies between them.
    """
    a, b = _ends(low, high)
    with _digits(DIGITS):
        whole, unit, mass = 2 * _half_line(DIGITS), 2 * _area(Decimal(2)), _between(a, b)
        if mass < Decimal(LEAST_MASS) * whole:
            raise ValueError(_too_little(low, high))
        anchor = -1 if a >= 0 else 1 if b <= 0 else 0
        origin = {-1: 2 * _area(a), 0: _between(-a, b), 1: 2 * _area(b)}[anchor]
        below, above, half = (_rounded(part / whole) for part in (_tail(-a), _tail(b), mass / 2))
        return TailProbabilities(below, above, half, anchor, _rounded(origin / unit), _rounded(mass / unit))


@lru_cache(REMEMBERED)
def moments(low: float, high: float) -> Moments:
    """Mean and standard deviation of a standard normal cut at two ends that `tail_probabilities` takes.

    Source: Johnson, Kotz & Balakrishnan 1994, Continuous Univariate Distributions, volume 1, chapter 13, section 10.1.
    """
    a, b = _ends(low, high)
    with _digits(DIGITS):
        small = max(0, -(b - a).adjusted())
    with _digits(DIGITS + 4 * small):  # the mean of a narrow cut is its middle but for the square of its width
        mass, at_a, at_b = _between(a, b), _density(a), _density(b)
        mean = (at_a - at_b) / mass
        variance = 1 + (a * at_a - b * at_b) / mass - mean * mean
        return Moments(float(mean), float(variance.sqrt()))


def _ends(low: float, high: float) -> tuple[Decimal, Decimal]:
    if not low < high:
        raise ValueError(f"it is cut at {low} and {high}; the lower end must be below the upper")
    with _digits(DIGITS):
        return Decimal(max(low, -FARTHEST)), Decimal(min(high, FARTHEST))


def _too_little(low: float, high: float) -> str:
    return (
        f"the cut from {low} to {high} sigmas leaves less than 2^-950 of the normal;"
        " it must begin within 36 sigmas of the mean, or be wider"
    )


@contextmanager
def _digits(count: int) -> Iterator[None]:
    """Arithmetic of some digits whatever the caller's own context is."""
    traps = [InvalidOperation, DivisionByZero]
    with localcontext(Context(count, ROUND_HALF_EVEN, MIN_EMIN, MAX_EMAX, capitals=1, clamp=0, flags=[], traps=traps)):
        yield


def _rounded(probability: Decimal) -> float:
    """To binary64; what would be subnormal is nothing beside the least probability between two ends."""
    nearest = float(probability)
    return nearest if abs(nearest) >= LEAST_NORMAL else 0.0


# From here on e^(-z^2/2) without its factor, 1 / sqrt(2 pi), which cancels.


def _density(z: Decimal) -> Decimal:
    return (-z * z / 2).exp()


def _between(a: Decimal, b: Decimal) -> Decimal:
    """The integral from a to b: a difference of areas, or of tails where the areas are nearly alike."""
    if a >= SERIES_END:
        return _tail(a) - _tail(b)
    if b <= -SERIES_END:
        return _tail(-b) - _tail(-a)
    return _area(b) - _area(a)


def _area(z: Decimal) -> Decimal:
    """The integral from 0 to z, of the sign of z."""
    digits = getcontext().prec
    if abs(z) < SERIES_END:
        return _series(z, digits)
    return (_half_line(digits) - _fraction(abs(z), digits)).copy_sign(z)


def _tail(z: Decimal) -> Decimal:
    """The integral from z to infinity."""
    digits = getcontext().prec
    return _fraction(z, digits) if z >= SERIES_END else _half_line(digits) - _area(z)


@lru_cache
def _half_line(digits: int) -> Decimal:
    """The integral from 0 to infinity, sqrt(pi / 2), as what lies on both sides of one point."""
    z = Decimal(SERIES_END)
    with _digits(digits):
        return _series(z, digits) + _fraction(z, digits)


@lru_cache(REMEMBERED)
def _series(z: Decimal, digits: int) -> Decimal:
    """The area as e^(-z^2/2) (z + z^3/3 + z^5/(3.5) + ...), whose terms are of one sign."""
    with _digits(digits):
        square, total, term, odd = z * z, Decimal(0), z, 1
        while (longer := total + term) != total:
            total = longer
            odd += 2
            term = term * square / odd
        return _density(z) * total


@lru_cache(REMEMBERED)
def _fraction(z: Decimal, digits: int) -> Decimal:
    """The tail as e^(-z^2/2) / (z + 1 / (z + 2 / (z + 3 / ...))), z at least `SERIES_END`.

    n terms leave a relative error near e^(-2 z sqrt(n)) where n is large, and below n! / z^(2 n) where z is.
    """
    with _digits(digits):
        denominator = z
        for n in range(int(2 * (digits / z) ** 2) + digits, 0, -1):
            denominator = z + n / denominator
        return _density(z) / denominator
