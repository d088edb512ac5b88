"""Probabilities and moments of cut normals: held against a slower way to the same real numbers, to the last bit."""

from __future__ import annotations

from decimal import Context, Decimal, FloatOperation, Inexact, getcontext, localcontext
from functools import lru_cache
from itertools import pairwise
from math import erfc, inf, nan, nextafter, sqrt
from statistics import NormalDist
from typing import Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.distributions.numerics.probabilities import LEAST_MASS, moments, tail_probabilities

CUTS: Final = (
    (-2.0, 2.0),
    (-2.5, 2.5),
    (-inf, inf),
    (0.0, inf),
    (-inf, 0.0),
    (-0.5, 6.0),
    (-3.0, nextafter(3.0, 4.0)),
    (-30.0, 31.0),
    (-1e300, 1e300),
    (3.0, inf),
    (8.0, inf),
    (20.0, 21.0),
    (36.0, inf),
    (-inf, -36.1),
    (-36.0, -35.9),
    (-50.0, 35.5),
    (0.3, 37.6),
    (1.0, 1.0 + 1e-12),
    (1.0, nextafter(1.0, 2.0)),
    (5.9999999, 6.0000001),
    (nextafter(6.0, 0.0), 6.0),
    (6.0, nextafter(6.0, 7.0)),
    (30.0, nextafter(30.0, 31.0)),
    (-1e-12, 2e-12),
    (0.0, 1e-280),
    (-1e-280, 2e-280),
    (1e-200, 1.1e-200),
)
"""Cuts that a user may ask for, and those where digits cancel or a formula ends."""

STANDARD: Final = NormalDist()
each_cut = pytest.mark.parametrize(("low", "high"), CUTS)


def exact_context(*ends: float) -> Context:
    """So many digits that neither the alternating series nor a difference of neighbours leaves less than forty."""
    farthest = max(min(abs(end), 40.0) for end in ends)
    width = min(Decimal(b) - Decimal(a) for a, b in pairwise(sorted({*ends}))) if len({*ends}) > 1 else Decimal(1)
    return Context(prec=120 + int(farthest * farthest / 2) + 5 * max(0, -width.adjusted()), Emin=-99999, Emax=99999)


@lru_cache
def pi_of(digits: int) -> Decimal:
    """By Machin's formula, in whole units of 10^-(digits + 9)."""

    def arctangent_of_one_over(n: int) -> int:
        term: int = 10 ** (digits + 9) // n
        total = term
        odd = 1
        while term:
            term //= -n * n
            odd += 2
            total += term // odd
        return total

    return Decimal(4 * (4 * arctangent_of_one_over(5) - arctangent_of_one_over(239))).scaleb(-digits - 9)


@lru_cache(1 << 12)
def _centred(z: float, digits: int) -> Decimal:
    if abs(z) > 40:
        return Decimal("0.5").copy_sign(Decimal(z))
    x, n = Decimal(z), 0
    total, power = Decimal(0), x
    while abs(power) > Decimal(10) ** (x.adjusted() - digits):
        total += power / (2 * n + 1)
        n += 1
        power *= -x * x / (2 * n)
    return total / (2 * pi_of(digits)).sqrt()


def centred(z: float) -> Decimal:
    """Phi(z) - 1/2 in the current context, term by term: sum of (-1)^n z^(2n+1) / (2^n n! (2n+1)), over sqrt(2 pi)."""
    return _centred(z, getcontext().prec)


def density(z: float) -> Decimal:
    if abs(z) > 40:
        return Decimal(0)
    return (-(Decimal(z) ** 2) / 2).exp() / (2 * pi_of(getcontext().prec)).sqrt()


def to_binary64(number: Decimal) -> float:
    return float(number) if abs(number) >= 2.0**-1022 else 0.0


def exact_shares(low: float, high: float) -> tuple[float, ...]:
    with localcontext(exact_context(low, high, 2.0)):
        at_low, at_high, unit = centred(low), centred(high), centred(2.0)
        middle = (at_low + at_high) / 2
        anchor, origin = (-1, at_low) if low >= 0 else (1, at_high) if high <= 0 else (0, middle)
        half = (at_high - at_low) / 2
        numbers = (Decimal("0.5") + at_low, Decimal("0.5") - at_high, half, Decimal(anchor), origin / unit, half / unit)
        return tuple(to_binary64(number) for number in numbers)


def exact_moments(low: float, high: float) -> tuple[float, float]:
    with localcontext(exact_context(low, high)):
        mass, at_low, at_high = centred(high) - centred(low), density(low), density(high)
        mean = (at_low - at_high) / mass
        at_ends = (Decimal(z) * d if d else Decimal(0) for z, d in ((low, at_low), (high, at_high)))
        variance = 1 + (next(at_ends) - next(at_ends)) / mass - mean**2
        return float(mean), float(variance.sqrt())


@each_cut
def test_every_probability_is_the_real_one_rounded_once(low: float, high: float) -> None:
    assert tuple(tail_probabilities(low, high)) == exact_shares(low, high)


@each_cut
def test_every_moment_is_the_real_one_rounded_once(low: float, high: float) -> None:
    assert tuple(moments(low, high)) == exact_moments(low, high)


@settings(max_examples=60, deadline=None)
@given(start=st.floats(-12, 12), width=st.floats(1e-9, 20))
def test_the_numbers_of_any_cut_are_the_real_ones_rounded_once(start: float, width: float) -> None:
    assume(start < start + width)

    assert tuple(tail_probabilities(start, start + width)) == exact_shares(start, start + width)
    assert tuple(moments(start, start + width)) == exact_moments(start, start + width)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-8, 8), min_size=2, max_size=2).map(sorted))
def test_probabilities_are_near_those_of_the_standard_library(ends: list[float]) -> None:
    low, high = ends
    assume(high - low > 1e-6)

    found = tail_probabilities(low, high)

    assert found.below == pytest.approx(STANDARD.cdf(low), rel=1e-12, abs=1e-16)
    assert found.above == pytest.approx(erfc(high / sqrt(2)) / 2, rel=1e-12, abs=0)
    assert 2 * found.half == pytest.approx(STANDARD.cdf(high) - STANDARD.cdf(low), rel=1e-8, abs=1e-15)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-36, 36), min_size=2, max_size=2, unique=True).map(sorted))
def test_the_mirror_image_of_a_cut_has_the_mirror_image_of_its_numbers(ends: list[float]) -> None:
    low, high = ends
    assume(high - low > 1e-9)
    found, mirrored = tail_probabilities(low, high), tail_probabilities(-high, -low)

    assert mirrored == (found.above, found.below, found.half, -found.anchor, -found.origin, found.slope)
    assert moments(-high, -low) == (-moments(low, high).mean, moments(low, high).std)


def test_the_half_normal_has_the_moments_of_the_textbook() -> None:
    with localcontext(Context(prec=50)):
        mean, variance = (2 / pi_of(50)).sqrt(), 1 - 2 / pi_of(50)

        assert moments(0.0, inf) == (float(mean), float(variance.sqrt()))


def test_a_cut_at_two_sigmas_has_the_deviation_of_the_contract() -> None:
    assert moments(-2.0, 2.0) == (0.0, 0.8796256610342398)
    assert tail_probabilities(-2.0, 2.0).slope == 1


def test_what_is_not_cut_has_the_moments_of_the_normal() -> None:
    assert moments(-inf, inf) == (0.0, 1.0)
    assert tail_probabilities(-inf, inf)[:4] == (0.0, 0.0, 0.5, 0)


@pytest.mark.parametrize(("low", "high"), [(2.0, 2.0), (3.0, -3.0), (inf, inf), (inf, -inf), (nan, 1.0), (1.0, nan)])
def test_ends_that_are_not_in_order_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="the lower end must be below the upper"):
        tail_probabilities(low, high)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (36.2, inf),
        (-inf, -36.2),
        (38.0, 39.0),
        (40.0, 41.0),
        (1e300, inf),
        (-inf, -1e300),
        (0.0, 1e-287),
        (36.0, 36.00001),
    ],
)
def test_cuts_that_leave_next_to_nothing_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="must begin within 36 sigmas of the mean, or be wider"):
        tail_probabilities(low, high)


def test_no_number_that_is_used_in_drawing_is_subnormal() -> None:
    for low, high in [*CUTS, (36.1, inf), (0.1, 37.52), (0.1, 37.51), (-37.6, 1.0)]:
        found = tail_probabilities(low, high)

        assert found.half >= LEAST_MASS / 2
        assert min(found.half, found.slope) * 2.0**-62 >= 2.0**-1022
        assert all(number == 0 or abs(number) >= 2.0**-1022 for number in found)


def test_the_context_of_the_caller_neither_matters_nor_changes() -> None:
    expected = tail_probabilities.__wrapped__(-1e-9, 0.1), moments.__wrapped__(-1e-9, 0.1)

    with localcontext(Context(prec=3, Emin=-5, Emax=5, traps=[Inexact, FloatOperation])) as mine:
        assert (tail_probabilities.__wrapped__(-1e-9, 0.1), moments.__wrapped__(-1e-9, 0.1)) == expected
        assert (mine.prec, getcontext().prec) == (3, 3)
        assert not mine.flags[Inexact]
