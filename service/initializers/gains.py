"""Gains: the factor on the standard deviation that compensates for what a nonlinearity does to the variance.

They come from two definitions, and every entry names its own:

- `TORCH`: what PyTorch's `torch.nn.init.calculate_gain` returns. Three of its values are conventions: tanh 5/3,
  sigmoid 1 and selu 3/4, where the second definition would give 1.592537, 1.846229 and 1.
- `FORWARD`: 1 / sqrt(E[f(z)^2]) for a standard normal z, where PyTorch's table has no entry. This is the forward
  condition of He et al. 2015 (eq. 10, where relu gives sqrt(2)) for any f: fan_in * Var[w] * E[f(z)^2] = 1. Unless f
  is homogeneous, it holds only for inputs of variance 1.

The gamma of normalizer-free networks (Brock et al. 2021) is a different number: 1 / std[f(z)], which leaves out the
mean of f, as their weights are centred; it is 1.7009 for gelu.
"""

from __future__ import annotations

from math import sqrt
from typing import Final, Literal, NamedTuple, get_args

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
    "gelu",
    "gelu_tanh",
    "quick_gelu",
    "silu",
    "elu",
    "mish",
    "softsign",
    "softplus",
    "logsigmoid",
    "hardswish",
    "hardsigmoid",
    "hardtanh",
    "relu6",
    "relu_squared",
    "tanhshrink",
    "softshrink",
    "sine",
]
NONLINEARITIES: Final[tuple[Nonlinearity, ...]] = get_args(Nonlinearity)
NonlinearityAlias = Literal["swish", "gelu_erf", "gelu_new", "hard_swish"]
NONLINEARITY_ALIASES: Final[dict[str, Nonlinearity]] = {
    "swish": "silu",
    "gelu_erf": "gelu",
    "gelu_new": "gelu_tanh",
    "hard_swish": "hardswish",
}
DEFAULT_NEGATIVE_SLOPE: Final = 0.01
TORCH: Final = "PyTorch's torch.nn.init.calculate_gain"
FORWARD: Final = "1 / sqrt(E[f(z)^2]), z ~ N(0, 1)"


class Entry(NamedTuple):
    """The gain of a nonlinearity f, f itself in PyTorch's form, the formula of the gain, and its definition."""

    gain: float
    function: str
    formula: str = "1 / sqrt(E[f(z)^2])"
    definition: str = FORWARD


def _torch(gain: float, function: str = "z", formula: str = "1") -> Entry:
    return Entry(gain, function, formula, TORCH)


def _leaky_relu(negative_slope: float) -> float:
    return sqrt(2.0 / (1.0 + negative_slope * negative_slope))


# Literals, because an integral would not give the same bits everywhere. Each was computed to 60 digits in two ways, and
# rounded once.
GAINS: Final[dict[Nonlinearity, Entry]] = {
    "linear": _torch(1.0),
    "conv1d": _torch(1.0),
    "conv2d": _torch(1.0),
    "conv3d": _torch(1.0),
    "conv_transpose1d": _torch(1.0),
    "conv_transpose2d": _torch(1.0),
    "conv_transpose3d": _torch(1.0),
    "sigmoid": _torch(1.0, "1 / (1 + exp(-z))"),
    "tanh": _torch(5.0 / 3.0, "tanh(z)", "5/3"),
    "relu": _torch(sqrt(2.0), "max(0, z)", "sqrt(2)"),
    "leaky_relu": _torch(
        _leaky_relu(DEFAULT_NEGATIVE_SLOPE),
        "max(0, z) + negative_slope * min(0, z)",
        "sqrt(2 / (1 + negative_slope^2))",
    ),
    "selu": _torch(0.75, "1.0507009873554805 * (max(0, z) + 1.6732632423543772 * (exp(min(0, z)) - 1))", "3/4"),
    "gelu": Entry(1.5335304411955353, "z * Phi(z), Phi the standard normal distribution function"),
    "gelu_tanh": Entry(1.5335805216661469, "z / 2 * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 * z^3)))"),
    "quick_gelu": Entry(1.5394587622988314, "z / (1 + exp(-1.702 * z))"),
    "silu": Entry(1.6765324703310911, "z / (1 + exp(-z))"),
    "elu": Entry(1.2451983007007066, "max(0, z) + exp(min(0, z)) - 1"),
    "mish": Entry(1.4868475812732080, "z * tanh(log(1 + exp(z)))"),
    "softsign": Entry(2.3375333631085398, "z / (1 + abs(z))"),
    "softplus": Entry(1.0418668355353018, "log(1 + exp(z))"),
    "logsigmoid": Entry(1.0418668355353018, "-log(1 + exp(-z))"),
    "hardswish": Entry(1.7366572127665416, "z * min(max(0, z + 3), 6) / 6"),
    "hardsigmoid": Entry(1.8978404247295591, "min(max(0, z + 3), 6) / 6"),
    "hardtanh": Entry(1.3920361404483097, "min(max(-1, z), 1)"),
    "relu6": Entry(1.4142135650950736, "min(max(0, z), 6)"),
    "relu_squared": Entry(0.81649658092772603, "max(0, z)^2"),
    "tanhshrink": Entry(2.3383675301021216, "z - tanh(z)"),
    "softshrink": Entry(1.5443605282801334, "z - min(max(-0.5, z), 0.5)"),
    "sine": Entry(1.5208666231788148, "sin(z)"),
}
FORMULAS: Final = {nonlinearity: entry.formula for nonlinearity, entry in GAINS.items()}


def gain_of(nonlinearity: Nonlinearity, negative_slope: float = DEFAULT_NEGATIVE_SLOPE) -> float:
    """The gain of a nonlinearity, in binary64.

    Args:
        nonlinearity: its name.
        negative_slope: the slope of leaky_relu below 0; ignored for every other nonlinearity.
    """
    return _leaky_relu(negative_slope) if nonlinearity == "leaky_relu" else GAINS[nonlinearity].gain
