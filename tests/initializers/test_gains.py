"""Gains are those of `torch.nn.init.calculate_gain`, to the last bit; the rest are integrals, taken here once more."""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, exp, expm1, fsum, log, log1p, pi, sin, sqrt, tanh
from typing import Final, get_args

import pytest
from numpy.polynomial.legendre import leggauss

from service.initializers.gains import (
    DEFAULT_NEGATIVE_SLOPE,
    FORMULAS,
    FORWARD,
    GAINS,
    NONLINEARITIES,
    NONLINEARITY_ALIASES,
    TORCH,
    Nonlinearity,
    NonlinearityAlias,
    gain_of,
)

Function = Callable[[float], float]

# What torch 2 answers, as Python prints it.
TORCH_GAINS: Final[dict[Nonlinearity, float]] = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 1.6666666666666667,
    "relu": 1.4142135623730951,
    "leaky_relu": 1.4141428569978354,
    "selu": 0.75,
}

# 1 / sqrt(E[f(z)^2]) by Gauss-Legendre quadrature in 50 decimal digits, half of which are here.
DIGITS: Final[dict[Nonlinearity, str]] = {
    "gelu": "1.5335304411955352337677455",
    "gelu_tanh": "1.5335805216661469180568218",
    "quick_gelu": "1.5394587622988314282514626",
    "silu": "1.6765324703310911586042575",
    "elu": "1.2451983007007065502869524",
    "mish": "1.4868475812732081020076126",
    "softsign": "2.3375333631085396598562243",
    "softplus": "1.0418668355353017080439606",
    "logsigmoid": "1.0418668355353017080439606",
    "hardswish": "1.7366572127665416196547623",
    "hardsigmoid": "1.8978404247295589878719100",
    "hardtanh": "1.3920361404483097513236094",
    "relu6": "1.4142135650950736514497876",
    "relu_squared": "0.8164965809277260327324280",
    "tanhshrink": "2.3383675301021214498530530",
    "softshrink": "1.5443605282801334436977566",
    "sine": "1.5208666231788148830340221",
}

# What 1 / sqrt(E[f(z)^2]) is where torch answers something else.
CONVENTIONS: Final[dict[Nonlinearity, float]] = {"tanh": 1.592537, "sigmoid": 1.846229, "selu": 1.0}


def identity(z: float) -> float:
    return z


def sigmoid(z: float) -> float:
    return 1.0 / (1.0 + exp(-z))


def normal_cdf(z: float) -> float:
    return erfc(-z / sqrt(2.0)) / 2.0


def softplus(z: float) -> float:
    return log1p(exp(z))


def elu(z: float) -> float:
    return z if z > 0.0 else expm1(z)


def selu(z: float) -> float:
    return 1.0507009873554805 * (z if z > 0.0 else 1.6732632423543772 * expm1(z))


def clipped(z: float, low: float, high: float) -> float:
    return max(low, min(z, high))


def softshrink(z: float) -> float:
    return z - 0.5 if z > 0.5 else z + 0.5 if z < -0.5 else 0.0


FUNCTIONS: Final[dict[Nonlinearity, Function]] = {
    "linear": identity,
    "conv1d": identity,
    "conv2d": identity,
    "conv3d": identity,
    "conv_transpose1d": identity,
    "conv_transpose2d": identity,
    "conv_transpose3d": identity,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": lambda z: max(0.0, z),
    "leaky_relu": lambda z: z if z > 0.0 else DEFAULT_NEGATIVE_SLOPE * z,
    "selu": selu,
    "gelu": lambda z: z * normal_cdf(z),
    "gelu_tanh": lambda z: 0.5 * z * (1.0 + tanh(sqrt(2.0 / pi) * (z + 0.044715 * z**3))),
    "quick_gelu": lambda z: z * sigmoid(1.702 * z),
    "silu": lambda z: z * sigmoid(z),
    "elu": elu,
    "mish": lambda z: z * tanh(softplus(z)),
    "softsign": lambda z: z / (1.0 + abs(z)),
    "softplus": softplus,
    "logsigmoid": lambda z: -softplus(-z),
    "hardswish": lambda z: z * clipped(z + 3.0, 0.0, 6.0) / 6.0,
    "hardsigmoid": lambda z: clipped(z / 6.0 + 0.5, 0.0, 1.0),
    "hardtanh": lambda z: clipped(z, -1.0, 1.0),
    "relu6": lambda z: clipped(z, 0.0, 6.0),
    "relu_squared": lambda z: z * z if z > 0.0 else 0.0,
    "tanhshrink": lambda z: z - tanh(z),
    "softshrink": softshrink,
    "sine": sin,
}
VOCABULARY: Final = {"Phi": normal_cdf, "exp": exp, "log": log, "pi": pi, "sin": sin, "sqrt": sqrt, "tanh": tanh}

# Gauss-Legendre on panels of width 1/2: every kink of every function is the end of one, and nothing is left beyond 12.
POINTS: Final = [
    (panel / 2.0 + (1.0 + float(node)) / 4.0, float(weight) / 4.0)
    for panel in range(-24, 24)
    for node, weight in zip(*leggauss(16), strict=True)
]


def by_quadrature(function: Function) -> float:
    squares = fsum(weight * exp(-z * z / 2.0) * function(z) ** 2 for z, weight in POINTS)
    return 1.0 / sqrt(squares / sqrt(2.0 * pi))


def as_written(nonlinearity: Nonlinearity, z: float) -> float:
    expression = GAINS[nonlinearity].function.partition(", Phi the ")[0].replace("^", "**")
    names = {"z": z, "negative_slope": DEFAULT_NEGATIVE_SLOPE}
    return float(eval(expression, VOCABULARY | names))  # noqa: S307 - our own table


each = pytest.mark.parametrize("nonlinearity", NONLINEARITIES)


def test_the_tables_have_every_nonlinearity_once() -> None:
    assert list(GAINS) == list(FORMULAS) == list(FUNCTIONS) == list(NONLINEARITIES)
    assert len(set(NONLINEARITIES)) == len(NONLINEARITIES)


def test_every_alias_points_to_a_name_and_is_none() -> None:
    assert list(NONLINEARITY_ALIASES) == list(get_args(NonlinearityAlias))
    assert set(NONLINEARITY_ALIASES.values()) <= set(NONLINEARITIES)
    assert not set(NONLINEARITY_ALIASES) & set(NONLINEARITIES)


@each
def test_every_gain_says_what_defines_it(nonlinearity: Nonlinearity) -> None:
    assert GAINS[nonlinearity].definition == (TORCH if nonlinearity in TORCH_GAINS else FORWARD)


@pytest.mark.parametrize(("nonlinearity", "gain"), TORCH_GAINS.items())
def test_a_gain_is_the_one_of_torch(nonlinearity: Nonlinearity, gain: float) -> None:
    assert gain_of(nonlinearity) == gain


@pytest.mark.parametrize("nonlinearity", [name for name in NONLINEARITIES if name not in TORCH_GAINS])
def test_any_other_gain_is_the_integral_rounded_once(nonlinearity: Nonlinearity) -> None:
    assert gain_of(nonlinearity) == float(DIGITS[nonlinearity])


@pytest.mark.parametrize("nonlinearity", [name for name in NONLINEARITIES if name not in CONVENTIONS])
def test_a_gain_keeps_the_second_moment(nonlinearity: Nonlinearity) -> None:
    assert gain_of(nonlinearity) == pytest.approx(by_quadrature(FUNCTIONS[nonlinearity]), rel=1e-14, abs=0.0)


@pytest.mark.parametrize(("nonlinearity", "gain"), CONVENTIONS.items())
def test_three_gains_of_torch_are_conventions(nonlinearity: Nonlinearity, gain: float) -> None:
    assert by_quadrature(FUNCTIONS[nonlinearity]) == pytest.approx(gain, abs=5e-7)
    assert abs(gain_of(nonlinearity) - gain) > 0.07


@each
def test_a_function_is_the_one_that_is_written(nonlinearity: Nonlinearity) -> None:
    for z in (-7.5, -3.25, -1.5, -0.75, -0.25, 0.0, 0.25, 0.75, 1.5, 3.25, 7.5):
        assert as_written(nonlinearity, z) == pytest.approx(FUNCTIONS[nonlinearity](z), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("slope", "gain"),
    [(0.0, 1.4142135623730951), (0.01, 1.4141428569978354), (0.2, 1.3867504905630728), (1.0, 1.0), (-1.0, 1.0)],
)
def test_the_gain_of_leaky_relu_follows_its_slope(slope: float, gain: float) -> None:
    assert gain_of("leaky_relu", slope) == gain


@pytest.mark.parametrize("nonlinearity", [name for name in NONLINEARITIES if name != "leaky_relu"])
def test_the_slope_means_nothing_to_other_nonlinearities(nonlinearity: Nonlinearity) -> None:
    assert gain_of(nonlinearity, 0.7) == gain_of(nonlinearity)


def test_the_gain_of_an_extremely_steep_slope_is_not_above_0() -> None:
    assert gain_of("leaky_relu", 1e200) == 0.0
