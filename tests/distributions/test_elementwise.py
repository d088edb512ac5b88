"""What distributions promise, how far they reach, whether they fit, and that any part is part of the whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import erf, exp, inf, nextafter, pi, sqrt
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from service.distributions.base import Distribution
from service.distributions.elementwise import STD_OF_TRUNCATED, Constant, Normal, TruncatedNormal, Uniform
from service.stream.dtypes import DType, narrow, widen
from service.stream.words import WordSource

SOURCE: Final = WordSource(11, "block.0.weight")
DISTRIBUTIONS: Final[tuple[Distribution, ...]] = (
    Uniform(-0.3, 0.3),
    Uniform(-1.0, 3.0),
    Normal(0.0, 0.02),
    Normal(1.5, 0.25),
    TruncatedNormal(0.0, 0.1),
    TruncatedNormal(-0.5, 2.0),
    Constant(0.7),
)
each_dtype = pytest.mark.parametrize("dtype", DType)
each_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)


def drawn(distribution: Distribution, elements: range | NDArray[np.int64], dtype: DType) -> NDArray[Any]:
    out = np.empty(len(elements), dtype.storage)
    distribution.fill(SOURCE, elements, dtype, out)
    return out


# The largest value that every dtype holds, as binary64, before it rounds to infinity (NaN in F8_E4M3). All but F64 are
# rounded to binary32 first, so that half a unit of binary32 below a dtype's own threshold is already too much; except
# for F8_E4M3, whose threshold 464 itself goes down to the even 448.
FINITE_BELOW: Final = {
    DType.F32: 2.0**128 - 2.0**103,
    DType.F16: 65520.0 - 2.0**-9,
    DType.BF16: 2.0**128 - 2.0**119 - 2.0**103,
    DType.F8_E5M2: 61440.0 - 2.0**-9,
}
LARGEST: Final = {dtype: nextafter(bound, 0) for dtype, bound in FINITE_BELOW.items()} | {
    DType.F64: 1.7976931348623157e308,
    DType.F8_E4M3: 464.0 + 2.0**-16,
}


def test_the_thresholds_have_every_dtype() -> None:
    assert set(LARGEST) == set(DType)


@each_dtype
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_finite_constant_fits_and_the_next_does_not(dtype: DType, sign: int) -> None:
    assert Constant(sign * LARGEST[dtype]).fits(dtype)
    assert not Constant(sign * nextafter(LARGEST[dtype], inf)).fits(dtype)


@each_dtype
def test_a_constant_that_fits_is_finite_when_it_is_drawn(dtype: DType) -> None:
    assert np.isfinite(widen(drawn(Constant(LARGEST[dtype]), range(3), dtype), dtype)).all()


@each_dtype
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_uniform_end_fits_and_the_next_does_not(dtype: DType, sign: int) -> None:
    def distribution(end: float) -> Uniform:
        return Uniform(*sorted((0.0, sign * end)))

    assert distribution(LARGEST[dtype]).fits(dtype)
    assert not distribution(nextafter(LARGEST[dtype], inf)).fits(dtype)


@each_dtype
def test_a_normal_fits_as_far_as_its_most_sigmas_go(dtype: DType) -> None:
    most = float.fromhex(dtype.precision.most_sigmas)

    assert most == pytest.approx(9.155 if dtype is DType.F64 else 6.338, abs=5e-4)
    assert Normal(0.0, LARGEST[dtype] / most * (1 - 1e-6)).fits(dtype)
    assert not Normal(0.0, LARGEST[dtype] / most * (1 + 1e-6)).fits(dtype)
    assert not Normal(LARGEST[dtype] / 2, LARGEST[dtype] / most * 0.51).fits(dtype)
    assert not Normal(-LARGEST[dtype] / 2, LARGEST[dtype] / most * 0.51).fits(dtype)


@each_dtype
def test_a_truncated_normal_fits_as_far_as_two_sigmas_go(dtype: DType) -> None:
    assert TruncatedNormal(0.0, LARGEST[dtype] / 2 * (1 - 1e-6)).fits(dtype)
    assert not TruncatedNormal(0.0, LARGEST[dtype] / 2 * (1 + 1e-6)).fits(dtype)
    assert not TruncatedNormal(-LARGEST[dtype] / 2, LARGEST[dtype] / 4 * (1 + 1e-6)).fits(dtype)


def test_what_overflows_binary64_fits_nowhere() -> None:
    distributions = (Uniform(-1.7e308, 1.7e308), Normal(0.0, 1e308), TruncatedNormal(1e308, 1e308))

    assert not any(distribution.fits(dtype) for distribution in distributions for dtype in DType)


@pytest.mark.parametrize("distribution", [Uniform(1e308, 1.7e308), Uniform(-1.7e308, -1e308)], ids=str)
def test_uniform_ends_whose_midpoint_overflows_fit_nowhere(distribution: Distribution) -> None:
    assert not any(distribution.fits(dtype) for dtype in DType)


def last_scale_that_fits(distribution: Callable[[float], Distribution], scale: float, dtype: DType) -> float:
    """The largest scale that fits, found near to another."""
    fitting, beyond = scale * (1 - 2.0**-16), scale * (1 + 2.0**-16)
    assert distribution(fitting).fits(dtype)
    assert not distribution(beyond).fits(dtype)
    while (middle := fitting / 2 + beyond / 2) not in (fitting, beyond):
        fitting, beyond = (middle, beyond) if distribution(middle).fits(dtype) else (fitting, middle)
    return fitting


@each_dtype
@pytest.mark.parametrize("share", [0.0, 0.3, -0.3], ids=["centred", "above", "below"])
def test_whatever_fits_is_finite_for_the_extreme_words(dtype: DType, share: float) -> None:
    """The very last scales that fit, too, where the roundings on the way to a value count."""
    p, mean, rest = dtype.precision, share * LARGEST[dtype], (1 - abs(share)) * LARGEST[dtype]
    ends = np.array([np.iinfo(p.signed).max, np.iinfo(p.signed).min], p.signed).view(p.word)
    for distribution, sigmas in (
        (partial(Normal, mean), float.fromhex(p.most_sigmas)),
        (partial(TruncatedNormal, mean), 2.0),
    ):
        last = last_scale_that_fits(distribution, rest / sigmas, dtype)
        for step in range(300):
            scale = last * (1 - step / 100 * 2.0**-p.mantissa)
            with np.errstate(over="ignore"):
                values = distribution(scale).at(ends.copy(), p)
                stored = values if dtype.drawn_directly else narrow(values, dtype, np.empty(2, dtype.storage))
            assert np.isfinite(widen(stored, dtype)).all(), distribution(scale)


def test_changing_the_scale_keeps_the_pattern() -> None:
    one, eight = (drawn(Normal(0.0, std), range(1000), DType.F32) for std in (1.0, 8.0))

    np.testing.assert_array_equal(eight, one * np.float32(8))


def test_the_deviation_of_a_truncated_normal_is_the_one_of_the_formula() -> None:
    density, mass = exp(-2) / sqrt(2 * pi), erf(2 / sqrt(2))

    assert pytest.approx(sqrt(1 - 4 * density / mass), rel=1e-15, abs=0) == STD_OF_TRUNCATED


@pytest.mark.parametrize(
    ("distribution", "mean", "std"),
    [
        (Uniform(-1.0, 3.0), 1.0, 2 / sqrt(3)),
        (Normal(0.5, 2.0), 0.5, 2.0),
        (TruncatedNormal(-1.0, 3.0), -1.0, 3 * STD_OF_TRUNCATED),
        (Constant(4.0), 4.0, 0.0),
    ],
    ids=str,
)
def test_distributions_promise_their_mean_and_deviation_to_the_last_bit(
    distribution: Distribution, mean: float, std: float
) -> None:
    assert (distribution.mean, distribution.std) == (mean, std)


@each_distribution
def test_a_distribution_of_one_word_an_element_draws_each_alone(distribution: Distribution) -> None:
    assert distribution.matrix_elements == 0


@pytest.mark.parametrize("distribution", [Uniform(-0.3, 0.3), Uniform(-1.0, 3.0), Uniform(0.25, 0.5)], ids=str)
@pytest.mark.parametrize("multiplier", [0.5, 4.0, 0.0625])
def test_a_scaled_uniform_has_its_width_times_the_multiplier_about_the_same_midpoint(
    distribution: Uniform, multiplier: float
) -> None:
    scaled = distribution.scaled(multiplier)

    assert scaled.mean == distribution.mean
    assert scaled.high - scaled.low == (distribution.high - distribution.low) * multiplier
    assert scaled.std == distribution.std * multiplier


def test_a_uniform_times_one_is_itself_to_the_last_bit() -> None:
    distribution = Uniform(-0.1, 0.3)

    assert distribution.scaled(1) is distribution
    assert (0.3 - 0.1) / 2 - (0.3 + 0.1) / 2 != -0.1  # so that it would be another by the formula


def test_a_uniform_about_0_stays_about_0() -> None:
    distribution = Uniform(-0.1, 0.1).scaled(1 / 3)

    assert (distribution.low, distribution.high) == (-(0.1 * (1 / 3)), 0.1 * (1 / 3))


def test_a_scaled_uniform_keeps_the_pattern() -> None:
    one, eight = (
        drawn(distribution, range(1000), DType.F32)
        for distribution in (Uniform(-0.3, 0.3), Uniform(-0.3, 0.3).scaled(8))
    )

    np.testing.assert_array_equal(eight, one * np.float32(8))
