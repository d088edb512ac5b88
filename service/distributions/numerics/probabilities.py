"""Probabilities and moments of a normal between two ends: exact, then rounded to binary64.

`decimal` rounds its operations correctly on every platform, and it carries enough digits here that each result is the
exact number, rounded once. No libm is involved.

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
"""The least probability between the ends, so that no step is subnormal. From 36 to infinity it is reached, not from
36.2."""
LEAST_NORMAL: Final = 2.0**-1022
DIGITS: Final = 60
"""Decimal digits; where the ends are neighbouring floats, differences cancel up to 17 of them."""
FARTHEST: Final = 40.0
"""Ends farther out are moved here: the probability beyond is 4e-350, which vanishes in these digits even beside
`LEAST_MASS`."""
SERIES_END: Final = 6
"""The series converges faster below this point, and the continued fraction from this point on."""
REMEMBERED: Final = 1 << 12
"""The number of pairs of ends whose results are cached."""


class TailProbabilities(NamedTuple):
    """The probabilities of a standard normal about two ends; see `service.stream.truncation.Cut`."""

    below: float
    above: float
    half: float
    anchor: int
    origin: float
    slope: float


class Moments(NamedTuple):
    """The mean and the standard deviation of a truncated standard normal."""

    mean: float
    std: float


@lru_cache(REMEMBERED)
def tail_probabilities(low: float, high: float) -> TailProbabilities:
    """The probabilities below, between and above two ends, in sigmas; either may be infinite.

    Raises:
        ValueError: `low` is not below `high`, one of them is NaN, or the probability between them is below 2^-950.
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
    """The mean and the standard deviation of a standard normal truncated at two ends that `tail_probabilities` accepts.

    Source: Johnson, Kotz & Balakrishnan 1994, Continuous Univariate Distributions, volume 1, chapter 13, section 10.1.
    """
    a, b = _ends(low, high)
    with _digits(DIGITS):
        small = max(0, -(b - a).adjusted())
    with _digits(DIGITS + 4 * small):  # the mean of a narrow interval differs from its middle by its squared width
        mass, at_a, at_b = _between(a, b), _density(a), _density(b)
        mean = (at_a - at_b) / mass
        variance = 1 + (a * at_a - b * at_b) / mass - mean * mean
        return Moments(float(mean), float(variance.sqrt()))


def _ends(low: float, high: float) -> tuple[Decimal, Decimal]:
    if not low < high:
        raise ValueError(f"the cut is from {low} to {high} sigmas; the lower end must be below the upper")
    with _digits(DIGITS):
        return Decimal(max(low, -FARTHEST)), Decimal(min(high, FARTHEST))


def _too_little(low: float, high: float) -> str:
    return (
        f"the cut from {low} to {high} sigmas leaves less than 2^-950 of the normal;"
        " it must begin within 36 sigmas of the mean, or be wider"
    )


@contextmanager
def _digits(count: int) -> Iterator[None]:
    """Arithmetic with a number of digits, whatever the caller's own context is."""
    traps = [InvalidOperation, DivisionByZero]
    with localcontext(Context(count, ROUND_HALF_EVEN, MIN_EMIN, MAX_EMAX, capitals=1, clamp=0, flags=[], traps=traps)):
        yield


def _rounded(probability: Decimal) -> float:
    """Round to binary64; a subnormal result becomes 0, as it vanishes beside the least probability between two ends."""
    nearest = float(probability)
    return nearest if abs(nearest) >= LEAST_NORMAL else 0.0


# From here on, the density is e^(-z^2/2) without the factor 1 / sqrt(2 pi), which cancels.


def _density(z: Decimal) -> Decimal:
    return (-z * z / 2).exp()


def _between(a: Decimal, b: Decimal) -> Decimal:
    """The integral from a to b: a difference of areas, or of tails where the areas are nearly equal."""
    if a >= SERIES_END:
        return _tail(a) - _tail(b)
    if b <= -SERIES_END:
        return _tail(-b) - _tail(-a)
    return _area(b) - _area(a)


def _area(z: Decimal) -> Decimal:
    """The integral from 0 to z, with the sign of z."""
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
    """The integral from 0 to infinity, sqrt(pi / 2), as the sum of the integrals on both sides of one point."""
    z = Decimal(SERIES_END)
    with _digits(digits):
        return _series(z, digits) + _fraction(z, digits)


@lru_cache(REMEMBERED)
def _series(z: Decimal, digits: int) -> Decimal:
    """The area as e^(-z^2/2) (z + z^3/3 + z^5/(3.5) + ...), whose terms have the same sign."""
    with _digits(digits):
        square, total, term, odd = z * z, Decimal(0), z, 1
        while (longer := total + term) != total:
            total = longer
            odd += 2
            term = term * square / odd
        return _density(z) * total


@lru_cache(REMEMBERED)
def _fraction(z: Decimal, digits: int) -> Decimal:
    """The tail as e^(-z^2/2) / (z + 1 / (z + 2 / (z + 3 / ...))), for z from `SERIES_END` on.

    The relative error of n terms is about e^(-2 z sqrt(n)) for large n, and below n! / z^(2 n) for large z.
    """
    with _digits(digits):
        denominator = z
        for n in range(int(2 * (digits / z) ** 2) + digits, 0, -1):
            denominator = z + n / denominator
        return _density(z) / denominator
