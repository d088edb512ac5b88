"""Gains: the factor on the standard deviation that makes up for what a nonlinearity does to the variance.

The values are those of PyTorch's `torch.nn.init.calculate_gain`.
"""

from __future__ import annotations

from math import sqrt
from typing import Final, Literal, get_args

Nonlinearity = Literal[
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "selu",
]
NONLINEARITIES: Final[tuple[Nonlinearity, ...]] = get_args(Nonlinearity)
DEFAULT_NEGATIVE_SLOPE: Final = 0.01

FORMULAS: Final[dict[Nonlinearity, str]] = {
    "tanh": "5/3",
    "relu": "sqrt(2)",
    "leaky_relu": "sqrt(2 / (1 + negative_slope^2))",
    "selu": "3/4",
}
"""How each gain is defined; those not named here are 1."""


def gain_of(nonlinearity: Nonlinearity, negative_slope: float = DEFAULT_NEGATIVE_SLOPE) -> float:
    """The gain of a nonlinearity, in binary64.

    Args:
        nonlinearity: its name.
        negative_slope: the slope of leaky_relu below 0; ignored for every other.
    """
    match nonlinearity:
        case "tanh":
            return 5.0 / 3.0
        case "relu":
            return sqrt(2.0)
        case "leaky_relu":
            return sqrt(2.0 / (1.0 + negative_slope * negative_slope))
        case "selu":
            return 0.75
        case _:
            return 1.0
