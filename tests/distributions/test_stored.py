"""Distributions after rounding: moments, ends and lost values, against sums by an independent normal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import erfc, inf, sqrt
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.distributions.base import Distribution
from service.distributions.blockwise import Blockwise, Concatenated, Sum
from service.distributions.elementwise import Constant, Elementwise, Normal, TruncatedNormal, Uniform
from service.distributions.orthogonal import Orthogonal
from service.distributions.stored import NEGLIGIBLE, EvenWords, hypotenuse, sphere
from service.distributions.structured import Identity, Sparse
from service.distributions.truncated import CutNormal
from service.stream.dtypes import DType, widen
from service.stream.words import WordSource

NARROW: Final = (DType.F16, DType.BF16, DType.F8_E4M3, DType.F8_E5M2)
MANY: Final = 1 << 16
each_dtype = pytest.mark.parametrize("dtype", DType)
each_narrow_dtype = pytest.mark.parametrize("dtype", NARROW)


def drawn(distribution: Distribution, dtype: DType, count: int = MANY) -> NDArray[np.float64]:
    out = np.empty(count, dtype.storage)
    distribution.fill(WordSource(5, "w"), range(count), dtype, out)
    return widen(out, dtype).astype(np.float64)


def phi(z: float) -> float:
    return erfc(-z / sqrt(2)) / 2


def normal_below(mean: float, std: float, low: float = -inf, high: float = inf) -> Callable[[float], float]:
    """The share of a normal, cut in sigmas, below a value."""
    below, mass = phi(low), phi(high) - phi(low)
    return lambda value: (phi(min(max((value - mean) / std, low), high)) - below) / mass


def uniform_below(low: float, high: float) -> Callable[[float], float]:
    return lambda value: min(max((value - low) / (high - low), 0.0), 1.0)


def all_values(dtype: DType) -> list[float]:
    codes = np.arange(1 << (8 * dtype.itemsize), dtype=np.int64).astype(f"<u{dtype.itemsize}").view(dtype.storage)
    with np.errstate(invalid="ignore"):
        values = widen(codes, dtype).astype(np.float64)
    return sorted(set(values[np.isfinite(values)].tolist()))


VALUES: Final = {dtype: all_values(dtype) for dtype in NARROW}


def summed(below: Callable[[float], float], dtype: DType) -> tuple[float, float, float]:
    """Mean, standard deviation and the share of zeros of what is rounded to the nearest value of a dtype."""
    values = VALUES[dtype]
    turns = [(one + other) / 2 for one, other in pairwise(values)]
    shares = np.diff([0.0, *map(below, turns), 1.0])
    mean = float(np.dot(shares, values))
    return mean, sqrt(float(np.dot(shares, (np.array(values) - mean) ** 2))), float(shares[values.index(0.0)])


SCALES: Final = (1.0, 1e-3, 1e-5)
CASES: Final[dict[str, tuple[Callable[[float], Elementwise], Callable[[float], Callable[[float], float]]]]] = {
    "normal": (partial(Normal, 0.0), partial(normal_below, 0.0)),
    "normal beside zero": (lambda s: Normal(1.7 * s, s), lambda s: normal_below(1.7 * s, s)),
    "normal far from zero": (lambda s: Normal(0.3, s), lambda s: normal_below(float(np.float32(0.3)), s)),
    "truncated normal": (partial(TruncatedNormal, 0.0), lambda s: normal_below(0.0, s, -2, 2)),
    "cut normal": (lambda s: CutNormal(s / 7, s, -0.7, 1.5), lambda s: normal_below(s / 7, s, -0.7, 1.5)),
    "one tail": (lambda s: CutNormal(-3 * s, s, 3.0, inf), lambda s: normal_below(-3 * s, s, 3, inf)),
    "uniform": (lambda s: Uniform(-1.1 * s, 1.1 * s), lambda s: uniform_below(-1.1 * s, 1.1 * s)),
    "uniform from zero": (partial(Uniform, 0.0), partial(uniform_below, 0.0)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scale", SCALES)
@each_narrow_dtype
def test_a_stored_distribution_has_the_moments_of_its_values_each_with_its_share(
    case: str, scale: float, dtype: DType
) -> None:
    distribution, below = (make(scale) for make in CASES[case])
    assert isinstance(distribution, Elementwise)
    assert not isinstance(below, Elementwise)
    stored = distribution.stored(dtype)

    mean, std, zeros = summed(below, dtype)

    assert stored.mean == pytest.approx(mean, rel=2e-4, abs=2e-4 * std + 1e-9 * distribution.std)
    assert stored.std == pytest.approx(std, rel=2e-4, abs=1e-4 * distribution.std if stored.std == 0 else 0)
    assert stored.lost == pytest.approx(zeros, rel=1e-3, abs=0.01)
    assert stored.nonzero == 1.0


DISTRIBUTIONS: Final[tuple[Distribution, ...]] = (
    Normal(0.0, 1.0),
    Normal(6.0, 1.0),
    Normal(0.3, 4e-8),
    Normal(1e-3, 1e-12),
    Uniform(-1.1, 1.1),
    Uniform(18.644283, 18.644391),
    Uniform(-3e-5, 1e-4),
    Uniform(1.0625 - 2.0**-21, 1.0625 + 2.0**-21),  # in F8_E4M3 the middle of 1 and 1.125 goes down
    Uniform(1.1875 - 2.0**-21, 1.1875 + 2.0**-21),  # and that of 1.125 and 1.25 goes up: each to the even one
    TruncatedNormal(0.0, 0.01),
    TruncatedNormal(-2.7, 1e-3),
    CutNormal(0.0, 0.1, -0.02, inf),
    CutNormal(-30.0, 1.0, 30.0, inf),
    CutNormal(5.0, 1e-3, 1.0, 1.0 + 2.0**-20),
    Constant(0.1),
    Constant(-1e-60),
    Sparse(3e-3, 3, (1 << 8, 1 << 8), 0),
    Blockwise((Constant(1.0), Normal(0.0, 1e-3), Uniform(-3.0, 0.0), Constant(0.0)), MANY // 4),
    Concatenated(Normal(0.5, 0.2), Constant(-0.3), "w", "v", (1, 0), MANY // 4),
    Sum(Normal(0.3, 0.02), Normal(0.3, 0.02), "w", "v"),
    Sum(Uniform(-1.1e-3, 1.1e-3), Uniform(-1.1e-3, 1.1e-3), "w", "v"),
    Sum(Normal(6.0, 1.0), Constant(0.1), "w", "v"),
    Sum(Constant(1.0), Normal(0.1, 1e-9), "w", "v"),
    Sum(Normal(0.0, 3e-7), Normal(0.0, 3e-7), "w", "v"),
)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@each_dtype
def test_what_is_drawn_is_what_a_stored_distribution_promises(distribution: Distribution, dtype: DType) -> None:
    # Five deviations of the mean, and of the standard deviation, which depends on the fourth moment.
    values, stored = drawn(distribution, dtype), distribution.stored(dtype)
    mean, std = float(values.mean()), float(values.std())
    if stored.std == 0:
        assert set(values.tolist()) == {stored.mean}
        return
    fourth = float(np.mean(((values - mean) / std) ** 4))

    assert abs(mean - stored.mean) <= 5 * std / sqrt(MANY) + NEGLIGIBLE * distribution.std
    assert std == pytest.approx(stored.std, rel=5 * sqrt((fourth - 1) / 4 / MANY) + 2 * NEGLIGIBLE)
    assert stored.min <= values.min() <= values.max() <= stored.max


@pytest.mark.parametrize(
    "distribution", [distribution for distribution in DISTRIBUTIONS if isinstance(distribution, Elementwise)], ids=str
)
@each_dtype
def test_the_ends_are_the_values_of_the_extreme_words(distribution: Elementwise, dtype: DType) -> None:
    class Extremes(WordSource):
        def words(self, elements: Any, bits: int) -> Any:
            del elements
            return np.array([1 << (bits - 1), (1 << (bits - 1)) - 1], f"u{bits // 8}")

    out = np.empty(2, dtype.storage)
    distribution.fill(Extremes(0, ""), range(2), dtype, out)

    assert list(distribution.stored(dtype)[2:4]) == (widen(out, dtype).astype(np.float64) + 0.0).tolist()


@pytest.mark.parametrize(
    ("distribution", "dtype", "low", "high"),
    [
        (Uniform(-1.1, 1.1), DType.BF16, -1.1015625, 1.1015625),
        (Uniform(0.53, 0.86), DType.F32, float(np.float32(0.53)), float(np.float32(0.86))),
        (CutNormal(0.0, 1.0, -1.1, 1.1), DType.F8_E5M2, -1.0, 1.0),
        (CutNormal(0.0, 1.0, -1.2, 1.2), DType.F8_E5M2, -1.25, 1.25),
    ],
    ids=str,
)
def test_rounding_may_pass_an_end(distribution: Elementwise, dtype: DType, low: float, high: float) -> None:
    stored = distribution.stored(dtype)

    assert (stored.min, stored.max) == (low, high)
    assert {low, high} <= set(drawn(distribution, dtype, 1 << 16).tolist()) or dtype is DType.F32


@pytest.mark.parametrize("distribution", [Normal(0.0, 0.02), Uniform(-0.1, 0.1), TruncatedNormal(0.0, 0.02)], ids=str)
def test_rounding_in_fine_steps_leaves_the_numbers_of_the_distribution(distribution: Elementwise) -> None:
    for dtype in (DType.F64, DType.F32, DType.BF16):
        stored = distribution.stored(dtype)

        assert (stored.mean, stored.std, stored.lost) == (0.0, distribution.std, 0.0)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 10), st.floats(-8, 8), st.sampled_from([DType.F16, DType.BF16]))
def test_what_is_not_counted_is_negligible(std: float, far: float, dtype: DType) -> None:
    mean = float(np.float32(far * std))
    stored = Normal(mean, std).stored(dtype)
    assume((stored.mean, stored.std) == (mean, std))

    true_mean, true_std, _ = summed(normal_below(mean, std), dtype)

    assert abs(true_mean - mean) <= 2 * NEGLIGIBLE * std
    assert abs(true_std - std) <= 2 * NEGLIGIBLE * std


@each_dtype
@pytest.mark.parametrize("scale", SCALES)
def test_a_symmetric_distribution_stays_symmetric(scale: float, dtype: DType) -> None:
    for distribution in (Normal(0.0, scale), Uniform(-scale, scale), CutNormal(0.0, scale, -1.0, 1.0)):
        stored = distribution.stored(dtype)

        assert stored.mean == 0.0
        assert stored.min == -stored.max


@each_dtype
def test_what_rounds_to_zero_is_lost(dtype: DType) -> None:
    dead = Normal(0.0, 1e-320)
    for distribution in (dead, Constant(5e-324), Sum(dead, dead, "w", "v")) if dtype is not DType.F64 else ():
        assert distribution.stored(dtype) == (0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
    assert Constant(0.0).stored(dtype) == (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_zeros_of_the_distribution_itself_are_not_lost() -> None:
    for distribution in (
        Identity(1.0, (8, 8), (0, 1)),
        Sparse(1.0, 6, (8, 8), 0),
        Orthogonal(1.0, (8, 8, 3), (), (0,), ((2, 1),)),
    ):
        stored = distribution.stored(DType.F32)
        assert 0 < stored.nonzero < 0.5
        assert stored.lost == 0
    for lost in (Identity(1e-9, (8, 8), (0, 1)), Sparse(1e-12, 6, (8, 8), 0)):
        stored = lost.stored(DType.F16)
        assert stored.lost == stored.nonzero > 0
        assert stored[:4] == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 8)])
@each_dtype
def test_an_identity_has_its_value_as_it_is_stored(shape: tuple[int, int], dtype: DType) -> None:
    distribution = Identity(0.3, shape, (0, 1))
    values = drawn(distribution, dtype, distribution.shape[0] * distribution.shape[1])

    stored = distribution.stored(dtype)

    assert stored.mean == pytest.approx(values.mean(), rel=1e-15)
    assert stored.std == pytest.approx(values.std(), rel=1e-15)
    assert (stored.min, stored.max) == (values.min(), values.max())


def test_a_sparse_distribution_without_values_is_zero() -> None:
    assert Sparse(1.0, 8, (8, 8), 0).stored(DType.F32)[:4] == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("gain", [1.0, 3e-3])
@each_narrow_dtype
def test_an_orthogonal_distribution_has_the_moments_of_what_is_drawn(size: int, gain: float, dtype: DType) -> None:
    # The elements of a matrix depend on each other; a stack of many has the distribution's own moments all the same.
    matrices = (1 << 15) // size**2
    distribution = Orthogonal(gain, (matrices, size, size), (0,), (1,))
    values, stored = drawn(distribution, dtype, matrices * size * size), distribution.stored(dtype)

    fourth = float(np.mean(values**4)) / max(float(values.std()) ** 4, 1e-300)
    assert values.std() == pytest.approx(stored.std, rel=5 * sqrt(fourth / values.size), abs=1e-3 * gain / sqrt(size))
    assert abs(values.mean()) <= 5 * stored.std / 181
    assert stored.mean == 0
    assert stored.min == -stored.max <= values.min()


@pytest.mark.parametrize("dimension", [1, 2, 3, 7, 100, 4096, 1 << 20])
def test_a_coordinate_on_the_sphere_has_mean_square_one_by_the_dimension(dimension: int) -> None:
    share, mean, mean_square = sphere(dimension).sums[:, -1]

    assert share == pytest.approx(1, rel=1e-12)
    assert mean == pytest.approx(0, abs=1e-12)
    assert mean_square == pytest.approx(1 / dimension, rel=1e-3)


def test_a_coordinate_on_the_sphere_in_three_dimensions_is_uniform() -> None:
    ends = np.linspace(-1, 1, 77)

    assert sphere(3).below(ends)[0] == pytest.approx((ends + 1) / 2, abs=1e-6)


@pytest.mark.parametrize(
    "distribution", [Normal(0.0, 1.0), TruncatedNormal(0.0, 1.0), CutNormal(0.0, 1.0, 2.0, inf)], ids=str
)
def test_the_shares_of_a_standard_distribution_are_those_of_the_normal(distribution: Elementwise) -> None:
    low, high = {Normal: (-inf, inf), TruncatedNormal: (-2.0, 2.0), CutNormal: (2.0, inf)}[type(distribution)]
    z = np.linspace(max(low, -6), min(high, 6), 201)
    mean = distribution.mean

    share = distribution._tabulated().below(z - mean)[0]

    true = np.array(list(map(normal_below(0.0, 1.0, low, high), z)))
    assert share == pytest.approx(true, abs=1e-5)
    rare = true > 0.5
    assert (1 - share)[rare] == pytest.approx(1 - true[rare], rel=2e-3, abs=1e-11)


@pytest.mark.parametrize("count", [2, 64, 4096])
@pytest.mark.parametrize("bits", [32, 64])
def test_even_words_stand_in_the_middles_of_equal_shares(count: int, bits: int) -> None:
    words = EvenWords(0, "").words(range(count), bits)

    shares = (words ^ words.dtype.type(1 << (bits - 1))).astype(np.float64) / 2.0**bits
    assert shares == pytest.approx((np.arange(count) + 0.5) / count, abs=2.0**-30)


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_a_hypotenuse_neither_overflows_nor_vanishes(one: float, other: float) -> None:
    assert hypotenuse(one, other) == pytest.approx(np.hypot(one, other), rel=1e-15, abs=1e-320)
