"""Schemes: from fans to a distribution. `variance_scaling` is the general scheme; the others are named cases of it.

Sources: Glorot & Bengio 2010, eq. 12 and 16 (Xavier); He et al. 2015, eq. 10 and 14 (Kaiming);
LeCun et al. 1998, "Efficient BackProp", section 4.6 (LeCun).
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Literal

from service.distributions.base import Distribution
from service.distributions.elementwise import STD_OF_TRUNCATED, Normal, TruncatedNormal, Uniform
from service.initializers.fans import Fans

Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
Shape = Literal["uniform", "normal", "truncated_normal"]
"""The shape of a scheme's distribution, without its scale."""
ComputedShape = Shape | Literal["uniform_by_keras"]
"""A shape and how it is computed: Keras takes a single root for the bound of a uniform, so its last bit may differ."""


def variance_scaling(  # noqa: PLR0913 - the general scheme, of which every other is a case
    fans: Fans, scale: float, mode: Mode, shape: ComputedShape, *, gain: float = 1.0, multiplier: float = 1.0
) -> Distribution:
    """Weights with the variance (multiplier . gain)^2 . scale / n, where n is the fan that `mode` names.

    Args:
        fans: both above 0.
        scale: above 0, finite.
        mode: fan_in, fan_out, their mean (fan_avg) or their geometric mean (fan_geo_avg).
        shape: uniform on +-sqrt(3) std; uniform_by_keras, on +-sqrt(3 scale / n) gain multiplier, which is the same
            apart from rounding; normal; or truncated_normal, truncated at 2 sigmas and corrected to this variance.
        gain: above 0, finite.
        multiplier: above 0, finite; applied last.

    Raises:
        ValueError: the standard deviation is 0 or not finite.
    """
    std = positive_std(gain * sqrt(scale / fan(fans, mode)) * multiplier)
    match shape:
        case "uniform":
            bound = sqrt(3.0) * std
            return Uniform(-bound, bound)
        case "uniform_by_keras":
            bound = positive_std(sqrt(3.0 * (scale / fan(fans, mode))) * gain * multiplier)
            return Uniform(-bound, bound)
        case "normal":
            return Normal(0.0, std)
        case "truncated_normal":
            return TruncatedNormal(0.0, std / STD_OF_TRUNCATED)


def fan(fans: Fans, mode: Mode) -> float:
    """The number of connections by which a mode divides, in binary64."""
    match mode:
        case "fan_in":
            return float(fans.fan_in)
        case "fan_out":
            return float(fans.fan_out)
        case "fan_avg":
            return (fans.fan_in + fans.fan_out) / 2.0
        case "fan_geo_avg":
            return sqrt(fans.fan_in * fans.fan_out)


def positive_std(std: float) -> float:
    """Check that a standard deviation can be drawn with, and return it.

    Raises:
        ValueError: the standard deviation is 0 or not finite.
    """
    if not 0 < std < inf:
        raise ValueError(f"its standard deviation is {std}; it must be above 0 and finite")
    return std


def xavier(
    fans: Fans, shape: ComputedShape, gain: float = 1.0, mode: Mode = "fan_avg", multiplier: float = 1.0
) -> Distribution:
    """Xavier (Glorot): the variance is gain^2 . 2 / (fan_in + fan_out), or gain^2 / fan_in, or gain^2 / fan_out."""
    return variance_scaling(fans, 1.0, mode, shape, gain=gain, multiplier=multiplier)


def kaiming(
    fans: Fans, shape: ComputedShape, gain: float = sqrt(2.0), mode: Mode = "fan_in", multiplier: float = 1.0
) -> Distribution:
    """Kaiming (He): the variance is gain^2 / fan, with the gain of the nonlinearity."""
    return variance_scaling(fans, 1.0, mode, shape, gain=gain, multiplier=multiplier)


def lecun(fans: Fans, shape: ComputedShape, multiplier: float = 1.0) -> Distribution:
    """LeCun: the variance is 1 / fan_in."""
    return variance_scaling(fans, 1.0, "fan_in", shape, multiplier=multiplier)
