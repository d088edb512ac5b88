"""Gains are those of `torch.nn.init.calculate_gain`, to the last bit."""

from __future__ import annotations

from typing import Final

import pytest

from service.initializers.gains import FORMULAS, NONLINEARITIES, Nonlinearity, gain_of

# What torch 2 answers, as Python prints it.
TORCH: Final[dict[Nonlinearity, float]] = {
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


def test_the_table_has_every_nonlinearity() -> None:
    assert set(TORCH) == set(NONLINEARITIES)
    assert set(FORMULAS) <= set(NONLINEARITIES)


@pytest.mark.parametrize(("nonlinearity", "gain"), TORCH.items())
def test_a_gain_is_the_one_of_torch(nonlinearity: Nonlinearity, gain: float) -> None:
    assert gain_of(nonlinearity) == gain


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
