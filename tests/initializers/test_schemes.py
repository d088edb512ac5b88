"""Schemes, held against formulas written down here once more."""

from __future__ import annotations

from decimal import Decimal, localcontext
from math import inf, isqrt, prod, sqrt
from typing import Final, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.distributions.elementwise import Normal, TruncatedNormal, Uniform
from service.initializers.fans import Fans
from service.initializers.schemes import (
    ComputedShape,
    Mode,
    Shape,
    fan,
    kaiming,
    lecun,
    positive_std,
    variance_scaling,
    xavier,
)
from service.stream.dtypes import DType

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
SHAPES: Final[tuple[Shape, ...]] = get_args(Shape)
COMPUTED: Final[tuple[ComputedShape, ...]] = (*SHAPES, "uniform_by_keras")
SIZES: Final = (1, 2, 3, 7, 10, 147, 256, 784, 1000, 3072, 50257, 2**31 - 1)

counts = st.integers(1, 2**31 - 1)
positive = st.floats(1e-6, 1e6)


def exact_std(fans: Fans, scale: float, mode: Mode, *factors: float) -> float:
    """The standard deviation times some factors in fifty digits, rounded once."""
    with localcontext() as context:
        context.prec = 50
        n = {
            "fan_in": Decimal(fans.fan_in),
            "fan_out": Decimal(fans.fan_out),
            "fan_avg": Decimal(fans.fan_in + fans.fan_out) / 2,
            "fan_geo_avg": Decimal(fans.fan_in * fans.fan_out).sqrt(),
        }[mode]
        return float(prod(map(Decimal, factors)) * (Decimal(scale) / n).sqrt())


@pytest.mark.parametrize("gain", [1.0, 5.0 / 3.0, sqrt(2.0), 0.75, 1.4141428569978354])
def test_the_scalar_of_xavier_is_the_one_of_torch_bit_for_bit(gain: float) -> None:
    for fan_in in (*SIZES, *range(1, 400)):
        for fan_out in SIZES:
            std = gain * sqrt(2.0 / float(fan_in + fan_out))
            assert xavier(Fans(fan_in, fan_out), "normal", gain) == Normal(0.0, std)
            bound = sqrt(3.0) * std
            assert xavier(Fans(fan_in, fan_out), "uniform", gain) == Uniform(-bound, bound)


@settings(max_examples=300, deadline=None)
@given(counts, counts, positive, st.sampled_from(MODES), positive)
def test_the_standard_deviation_is_the_exact_one_within_a_few_roundings(
    fan_in: int, fan_out: int, scale: float, mode: Mode, gain: float
) -> None:
    fans = Fans(fan_in, fan_out)

    distribution = variance_scaling(fans, scale, mode, "normal", gain=gain)

    assert distribution.std == pytest.approx(exact_std(fans, scale, mode, gain), rel=5e-16, abs=0)


@pytest.mark.parametrize("mode", MODES)
def test_the_three_distributions_of_a_scheme_have_the_same_mean_and_deviation(mode: Mode) -> None:
    fans = Fans(300, 100)
    std = sqrt(2.0 / fan(fans, mode))

    uniform, normal, truncated = (
        variance_scaling(fans, 2.0, mode, distribution) for distribution in ("uniform", "normal", "truncated_normal")
    )

    assert uniform == Uniform(-sqrt(3.0) * std, sqrt(3.0) * std)
    assert normal == Normal(0.0, std)
    assert truncated == TruncatedNormal(0.0, std / 0.8796256610342398)
    assert [distribution.mean for distribution in (uniform, normal, truncated)] == [0.0, 0.0, 0.0]
    assert [distribution.std for distribution in (uniform, normal, truncated)] == pytest.approx(
        [std] * 3, rel=4e-16, abs=0
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", MODES)
def test_xavier_is_variance_scaling_of_scale_1(shape: Shape, mode: Mode) -> None:
    fans = Fans(17, 5)

    assert xavier(fans, shape, 0.75, mode) == variance_scaling(fans, 1.0, mode, shape, gain=0.75)
    assert xavier(fans, shape) == variance_scaling(fans, 1.0, "fan_avg", shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_lecun_has_variance_1_over_fan_in(shape: Shape) -> None:
    assert lecun(Fans(64, 9), shape) == variance_scaling(Fans(64, 9), 1.0, "fan_in", shape)
    assert lecun(Fans(64, 9), shape).std == pytest.approx(0.125, rel=4e-16, abs=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_kaiming_has_the_variance_of_relu_by_default(shape: Shape) -> None:
    assert kaiming(Fans(50, 7), shape).std == pytest.approx(0.2, rel=4e-16, abs=0)
    assert kaiming(Fans(7, 50), shape, 1.0, "fan_out").std == pytest.approx(sqrt(0.02), rel=4e-16, abs=0)


@pytest.mark.parametrize("multiplier", [0.1, 1.0, 1 / 3, sqrt(1 / 24), 1e-30, 7.0])
@pytest.mark.parametrize("mode", MODES)
def test_a_multiplier_is_the_last_factor_on_the_standard_deviation(mode: Mode, multiplier: float) -> None:
    fans = Fans(300, 77)
    std = 1.7 * sqrt(0.3 / fan(fans, mode)) * multiplier
    bound = sqrt(3.0) * std

    uniform, normal, truncated = (
        variance_scaling(fans, 0.3, mode, shape, gain=1.7, multiplier=multiplier) for shape in SHAPES
    )

    assert normal == Normal(0.0, std)
    assert uniform == Uniform(-bound, bound)
    assert truncated == TruncatedNormal(0.0, std / 0.8796256610342398)


@settings(max_examples=200, deadline=None)
@given(st.builds(Fans, counts, counts), st.sampled_from(MODES), positive, positive, st.sampled_from(COMPUTED))
def test_the_standard_deviation_of_any_distribution_is_the_exact_one_times_the_multiplier(
    fans: Fans, mode: Mode, gain: float, multiplier: float, distribution: ComputedShape
) -> None:
    found = variance_scaling(fans, 2.5, mode, distribution, gain=gain, multiplier=multiplier)

    assert found.std == pytest.approx(exact_std(fans, 2.5, mode, gain, multiplier), rel=1e-15, abs=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("multiplier", [0.5, 4.0, 2.0**-40])
def test_a_power_of_two_multiplies_the_scalars_of_named_schemes_exactly(shape: Shape, multiplier: float) -> None:
    fans = Fans(17, 5)

    for one, many in (
        (xavier(fans, shape, 0.75), xavier(fans, shape, 0.75, multiplier=multiplier)),
        (kaiming(fans, shape), kaiming(fans, shape, multiplier=multiplier)),
        (lecun(fans, shape), lecun(fans, shape, multiplier)),
    ):
        assert type(one) is type(many)
        assert many.scalars == {name: value * multiplier for name, value in one.scalars.items()}


@pytest.mark.parametrize("fan_in", SIZES)
@pytest.mark.parametrize("fan_out", SIZES)
def test_the_bound_of_keras_is_one_root_and_the_usual_one_but_for_rounding(fan_in: int, fan_out: int) -> None:
    fans = Fans(fan_in, fan_out)
    limit = sqrt(3.0 * (1.0 / ((fan_in + fan_out) / 2.0)))  # as keras.initializers.VarianceScaling has it

    by_keras, usual = (
        variance_scaling(fans, 1.0, "fan_avg", distribution) for distribution in ("uniform_by_keras", "uniform")
    )

    assert by_keras == Uniform(-limit, limit)
    assert by_keras.scalars == pytest.approx(usual.scalars, rel=4e-16, abs=0)


@pytest.mark.parametrize("fan_in", SIZES)
def test_the_bound_of_kaiming_uniform_is_the_one_of_the_paper(fan_in: int) -> None:
    distribution = kaiming(Fans(fan_in, 3), "uniform")

    assert distribution.support(DType.F32)[1] == pytest.approx(sqrt(6.0 / fan_in), rel=5e-16, abs=0)


@pytest.mark.parametrize(("mode", "n"), [("fan_in", 12.0), ("fan_out", 3.0), ("fan_avg", 7.5), ("fan_geo_avg", 6.0)])
def test_a_mode_divides_by_its_fan(mode: Mode, n: float) -> None:
    assert fan(Fans(12, 3), mode) == n


def test_the_geometric_mean_of_huge_fans_does_not_overflow() -> None:
    huge = 2**500

    assert fan(Fans(huge, huge), "fan_geo_avg") == float(isqrt(huge * huge))


@pytest.mark.parametrize("multiplier", [0.0, 5e-324, 1e308, inf])
@pytest.mark.parametrize("distribution", COMPUTED)
def test_a_multiplier_that_leaves_no_standard_deviation_is_refused(
    distribution: ComputedShape, multiplier: float
) -> None:
    with pytest.raises(ValueError, match="must be above 0 and finite"):
        variance_scaling(Fans(3, 4), 100.0 if multiplier > 1 else 0.01, "fan_avg", distribution, multiplier=multiplier)


@pytest.mark.parametrize("std", [5e-324, 0.02, 1.7976931348623157e308])
def test_a_standard_deviation_above_0_can_be_drawn_with(std: float) -> None:
    assert positive_std(std) == std


@pytest.mark.parametrize("std", [0.0, -1.0, inf, float("nan")])
def test_no_other_standard_deviation_can_be_drawn_with(std: float) -> None:
    with pytest.raises(ValueError, match="must be above 0 and finite"):
        positive_std(std)


@pytest.mark.parametrize(
    ("scale", "gain"), [(5e-324, 1e-300), (1e308, 1e200), (1.0, 0.0), (1.0, float("inf")), (float("inf"), 1.0)]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_standard_deviation_of_0_or_infinity_is_refused(shape: Shape, scale: float, gain: float) -> None:
    with pytest.raises(ValueError, match="must be above 0 and finite"):
        variance_scaling(Fans(3, 4), scale, "fan_avg", shape, gain=gain)
