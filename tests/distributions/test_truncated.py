"""Cut normals: what they promise, how far they reach, and that any part of a draw is part of the whole."""

from __future__ import annotations

import json
from math import erfc, inf, isfinite, nan, sqrt
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from service.distributions.elementwise import Normal, TruncatedNormal
from service.distributions.truncated import CutNormal
from service.stream.dtypes import DType, widen
from service.stream.words import WordSource

SOURCE: Final = WordSource(11, "block.0.weight")
DISTRIBUTIONS: Final = (
    CutNormal(0.0, 0.02, -2.5, 2.5),
    CutNormal(0.5, 2.0, -3.0, 1.0),
    CutNormal(0.0, 1.0, 0.0, inf),
    CutNormal(1.0, 0.1, -inf, -1.5),
    CutNormal(-2.0, 0.5, 3.0, inf),
    CutNormal(0.0, 0.1, 20.0, 21.0),
    CutNormal(0.0, 1.0, -0.01, 0.02),
    CutNormal(0.0, 1.0, -2.0, 2.0),
    CutNormal(0.0, 1.0, -inf, inf),
)
COUNT: Final = 1 << 15
# One false alarm in ten million draws of a right distribution for each number; the draws are always the same.
KOLMOGOROV: Final = 2.90  # 2 exp(-2 . 2.90^2) = 1e-7

each_dtype = pytest.mark.parametrize("dtype", DType)
each_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)


def drawn(distribution: CutNormal, elements: range | NDArray[np.int64], dtype: DType) -> NDArray[Any]:
    out = np.empty(len(elements), dtype.storage)
    distribution.fill(SOURCE, elements, dtype, out)
    return out


def values_of(distribution: CutNormal, dtype: DType, count: int = COUNT) -> NDArray[np.float64]:
    return widen(drawn(distribution, range(count), dtype), dtype).astype(np.float64)


def share_below(distribution: CutNormal, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability below each value, from the upper tail of libm, or from its mirror image."""
    z = (values - distribution.location) / distribution.std_before
    sign, low, high = (
        (-1, -distribution.high, -distribution.low)
        if distribution.high <= 0
        else (1, distribution.low, distribution.high)
    )
    beyond, beyond_low, beyond_high = (np.array([erfc(t / sqrt(2)) for t in ts]) for ts in (sign * z, [low], [high]))
    above: NDArray[np.float64] = (beyond - beyond_high) / (beyond_low - beyond_high)
    return 1 - above if sign > 0 else above


@each_distribution
def test_drawn_values_follow_the_distribution(distribution: CutNormal) -> None:
    shares = np.sort(share_below(distribution, values_of(distribution, DType.F64)))

    steps = np.arange(COUNT + 1) / COUNT
    distance = max((steps[1:] - shares).max(), (shares - steps[:-1]).max())
    assert distance * sqrt(COUNT) < KOLMOGOROV


@pytest.mark.parametrize(
    ("distribution", "mean", "std"),
    [
        (CutNormal(1.0, 2.0, -2.0, 2.0), 1.0, 2 * 0.8796256610342398),
        (CutNormal(1.0, 2.0, -inf, inf), 1.0, 2.0),
        (CutNormal(0.0, 1.0, 0.0, inf), 0.7978845608028654, 0.6028102749890869),
        (CutNormal(1.0, 0.5, -inf, 0.0), 1 - 0.3989422804014327, 0.30140513749454346),
        (CutNormal(5.0, 1.0, -1e-6, 1e-6), 5.0, 1e-6 / sqrt(3)),
    ],
    ids=str,
)
def test_distributions_promise_their_mean_and_deviation_after_the_cut(
    distribution: CutNormal, mean: float, std: float
) -> None:
    assert distribution.mean == pytest.approx(mean, rel=1e-15, abs=0)
    assert distribution.std == pytest.approx(std, rel=1e-12, abs=0)


def test_finite_ends_are_the_reach() -> None:
    assert CutNormal(0.5, 2.0, -3.0, 1.0).support(DType.F16) == (-5.5, 2.5)


@each_dtype
def test_an_infinite_end_reaches_as_far_as_the_extreme_word(dtype: DType) -> None:
    least, greatest = CutNormal(0.0, 1.0, -inf, inf).support(dtype)

    assert least == -greatest
    assert greatest == pytest.approx(9.0044 if dtype is DType.F64 else 6.338, abs=1e-3)
    assert CutNormal(1.0, 2.0, -1.0, inf).support(dtype)[0] == -1.0


@each_dtype
def test_a_distribution_fits_as_far_as_its_ends_do(dtype: DType) -> None:
    for low, high in ((-2.5, 1.0), (-1.0, 2.5)):
        assert CutNormal(0.0, dtype.largest / 2.5 * (1 - 1e-6), low, high).fits(dtype)
        assert not CutNormal(0.0, dtype.largest / 2.5 * (1 + 0.1), low, high).fits(dtype)
    assert CutNormal(0.0, dtype.largest / 9.1, 0.0, inf).fits(dtype)
    assert not CutNormal(0.0, dtype.largest / 5, 0.0, inf).fits(dtype)
    assert not CutNormal(0.0, dtype.largest, 20.0, inf).fits(dtype)


@each_distribution
@each_dtype
def test_what_a_distribution_promises_is_finite(distribution: CutNormal, dtype: DType) -> None:
    assert distribution.fits(dtype)
    assert all(isfinite(number) for number in (distribution.mean, distribution.std, *distribution.support(dtype)))
    assert distribution.support(dtype)[0] < distribution.mean < distribution.support(dtype)[1]
    assert 0 < distribution.std <= distribution.std_before


def test_the_scalars_are_json_with_null_for_an_infinite_end() -> None:
    scalars = CutNormal(0.5, 2.0, -inf, 1.5).scalars

    assert json.dumps(scalars, allow_nan=False) == '{"location": 0.5, "std_before": 2.0, "low": null, "high": 1.5}'


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.0), (1.0, -1.0), (nan, 1.0), (37.0, inf), (-inf, -1e9), (0.0, 1e-290)]
)
def test_cuts_that_leave_nothing_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="cut"):
        CutNormal(0.0, 1.0, low, high)


@each_distribution
def test_a_binary64_draw_refines_the_binary32_draw(distribution: CutNormal) -> None:
    """Fractions differ by less than 2^-32, so shares by half of that; and rounding moves a value by half a place."""
    coarse, fine = (values_of(distribution, dtype) for dtype in (DType.F32, DType.F64))
    place = np.spacing(np.abs(coarse).astype(np.float32)).astype(np.float64)

    rounding = share_below(distribution, coarse + place) - share_below(distribution, coarse - place)
    apart = np.abs(share_below(distribution, fine) - share_below(distribution, coarse))
    assert (apart < 2.0**-33 + rounding + 1e-12).all()


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
def test_every_distribution_shows_the_same_pattern(dtype: DType) -> None:
    """A wide cut differs from no cut, and a cut at two sigmas from the contract's, by roundings alone."""
    normal, truncated = (np.empty(COUNT, dtype.storage) for _ in range(2))
    Normal(0.5, 2.0).fill(SOURCE, range(COUNT), dtype, normal)
    TruncatedNormal(0.5, 2.0).fill(SOURCE, range(COUNT), dtype, truncated)

    allowed = {DType.F32: 1e-5, DType.F64: 1e-14}[dtype]
    np.testing.assert_allclose(values_of(CutNormal(0.5, 2.0, -9.0, 10.0), dtype), normal, atol=allowed)
    np.testing.assert_allclose(values_of(CutNormal(0.5, 2.0, -2.0, 2.0), dtype), truncated, atol=allowed)


def test_the_mirrored_distribution_has_the_mirrored_promises() -> None:
    distribution, mirrored = CutNormal(0.5, 2.0, -3.0, inf), CutNormal(-0.5, 2.0, -inf, 3.0)

    assert (mirrored.mean, mirrored.std) == (-distribution.mean, distribution.std)
    assert mirrored.support(DType.F32) == tuple(-end for end in reversed(distribution.support(DType.F32)))
