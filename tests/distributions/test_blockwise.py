"""Several distributions in one tensor, and two tensors in one, element by element from their parts."""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from service.distributions.base import Distribution
from service.distributions.blockwise import Blockwise, Concatenated, Sum, blockwise, concatenated, summed
from service.distributions.elementwise import Constant, Normal, TruncatedNormal, Uniform
from service.distributions.truncated import CutNormal
from service.stream.dtypes import DType, narrow, widen
from service.stream.words import Elements, WordSource
from tests.plan.planned import Layer, planned, stored, values

Array = NDArray[Any]

FIRST, SECOND = "bias_ih_l0", "bias_hh_l0"
SOURCE: Final = WordSource(11, f"block.0.{FIRST}")
OTHER: Final = WordSource(11, f"block.0.{SECOND}")
LENGTH: Final = 37
GATES: Final[tuple[Distribution, ...]] = (
    Uniform(-0.3, 0.3),
    Constant(0.7),
    Normal(0.5, 0.1),
    CutNormal(0.0, 0.2, -1.0, 3.0),
)
STACKED: Final = Blockwise(GATES, LENGTH)
SUM: Final = Sum(Normal(0.25, 0.5), Uniform(-1.0, 0.5), FIRST, SECOND)
JOINED: Final = Concatenated(TruncatedNormal(0.0, 0.5), Uniform(-0.5, 1.0), FIRST, SECOND, (1, 0, 2), LENGTH)
NESTED: Final = summed(STACKED, Blockwise(GATES[::-1], LENGTH), (FIRST, SECOND))
each_dtype = pytest.mark.parametrize("dtype", DType)


def drawn(distribution: Distribution, elements: Elements, dtype: DType, source: WordSource = SOURCE) -> Array:
    out = np.empty(len(elements), dtype.storage)
    distribution.fill(source, elements, dtype, out)
    return out


def sum_of(one: Array, other: Array, dtype: DType) -> Array:
    """The sum of stored values, through the working precision."""
    wide = [widen(part, dtype).astype(dtype.precision.floating) for part in (one, other)]
    return narrow(wide[0] + wide[1], dtype, np.empty(one.size, dtype.storage))


@each_dtype
def test_a_block_of_stacked_is_its_distribution_at_the_same_elements(dtype: DType) -> None:
    whole = drawn(STACKED, range(4 * LENGTH), dtype)

    for number, distribution in enumerate(GATES):
        block = range(number * LENGTH, (number + 1) * LENGTH)
        assert whole[block.start : block.stop].tobytes() == drawn(distribution, block, dtype).tobytes()


@each_dtype
def test_a_sum_is_that_of_both_tensors_as_they_are_stored(dtype: DType) -> None:
    elements = range(4 * LENGTH)

    expected = sum_of(drawn(SUM.first, elements, dtype), drawn(SUM.second, elements, dtype, OTHER), dtype)

    assert drawn(SUM, elements, dtype).tobytes() == expected.tobytes()


@each_dtype
def test_a_sum_of_stacked_distributions_is_that_of_both_tensors_as_they_are_stored(dtype: DType) -> None:
    elements = range(4 * LENGTH)
    parts = drawn(STACKED, elements, dtype), drawn(Blockwise(GATES[::-1], LENGTH), elements, dtype, OTHER)

    assert drawn(NESTED, elements, dtype).tobytes() == sum_of(*parts, dtype).tobytes()


@each_dtype
def test_joined_tensors_stand_one_after_the_other_with_their_blocks_in_order(dtype: DType) -> None:
    elements = range(3 * LENGTH)
    parts = [drawn(JOINED.first, elements, dtype), drawn(JOINED.second, elements, dtype, OTHER)]

    expected = [part.reshape(3, LENGTH)[[1, 0, 2]] for part in parts]

    assert drawn(JOINED, range(6 * LENGTH), dtype).tobytes() == np.concatenate(expected).tobytes()


def test_the_moments_of_combined_distributions_are_those_of_their_parts() -> None:
    distributions = (Uniform(-1.0, 1.0), Constant(3.0), Normal(-1.0, 2.0), Constant(0.0))
    stack = Blockwise(distributions, 5)

    # Means 0, 3, -1 and 0; variances 1/3, 0, 4 and 0.
    assert stack.mean == pytest.approx(0.5, rel=1e-15, abs=0)
    variance = (1 / 3 + 4 + 0.25 + 6.25 + 2.25 + 0.25) / 4
    assert stack.std == pytest.approx(sqrt(variance), rel=1e-15, abs=0)
    assert SUM.mean == 0.25 - 0.25
    assert SUM.std == pytest.approx(sqrt(0.25 + 2.25 / 12), rel=1e-15, abs=0)
    assert JOINED.mean == pytest.approx(0.125, rel=1e-15, abs=0)
    spread = (TruncatedNormal(0.0, 0.5).std ** 2 + 2.25 / 12) / 2 + 0.125**2
    assert JOINED.std == pytest.approx(sqrt(spread), rel=1e-15, abs=0)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300, 1.7e308], ids=str)
def test_moments_neither_overflow_nor_underflow(size: float) -> None:
    distributions = (Constant(size), Constant(size), Constant(-size), Uniform(-size / 2, size / 2))
    total = Sum(Uniform(-size / 4, size / 4), Uniform(-size / 4, size / 4), FIRST, SECOND)

    assert Blockwise(distributions, 1).mean == pytest.approx(size / 4, rel=1e-15, abs=0)
    assert Blockwise(distributions, 1).std == pytest.approx(size * sqrt(3 / 4 + 1 / 48 - 1 / 16), rel=1e-15, abs=0)
    assert total.std == pytest.approx(size / 4 * sqrt(2 / 3), rel=1e-15, abs=0)
    assert Blockwise((Constant(size), Constant(-size)), 1).std == pytest.approx(size, rel=1e-15, abs=0)


def test_a_constant_part_is_no_spread() -> None:
    assert Blockwise((Constant(0.0), Constant(0.0)), 3).std == 0
    assert Sum(Constant(1.0), Constant(2.0), FIRST, SECOND).std == 0


@each_dtype
def test_a_combined_distribution_fits_where_its_parts_and_their_sum_do(dtype: DType) -> None:
    half, large = Constant(dtype.largest / 2), Constant(dtype.largest * 0.75)
    beyond = Constant(dtype.largest * 4) if dtype is not DType.F64 else Normal(0.0, 1e308)

    assert Blockwise((large, large), 2).fits(dtype)
    assert not Blockwise((large, beyond), 2).fits(dtype)
    assert not Blockwise((beyond, large), 2).fits(dtype)
    assert Concatenated(large, large, FIRST, SECOND, (0,), 2).fits(dtype)
    assert not Concatenated(large, beyond, FIRST, SECOND, (0,), 2).fits(dtype)
    assert not Concatenated(beyond, large, FIRST, SECOND, (0,), 2).fits(dtype)
    assert Sum(half, half, FIRST, SECOND).fits(dtype)
    assert not Sum(large, large, FIRST, SECOND).fits(dtype)
    assert not Sum(large, beyond, FIRST, SECOND).fits(dtype)


def test_what_is_the_same_everywhere_is_a_plain_distribution() -> None:
    distribution, other = Uniform(-1.0, 1.0), Uniform(-2.0, 1.0)

    assert blockwise([distribution, distribution, distribution], 5) is distribution
    assert blockwise([distribution, distribution, other], 5) == Blockwise((distribution, distribution, other), 5)
    assert summed(distribution, Constant(0.0), (FIRST, SECOND)) is distribution
    assert summed(Constant(0.0), distribution, (FIRST, SECOND)) == Sum(Constant(0.0), distribution, FIRST, SECOND)
    assert summed(Constant(1.0), Constant(1.0), (FIRST, SECOND)) == Constant(2.0)
    blocks = summed(Blockwise((distribution, Constant(3.0)), 5), Blockwise((other, Constant(0.0)), 5), (FIRST, SECOND))
    assert blocks == Blockwise((Sum(distribution, other, FIRST, SECOND), Constant(3.0)), 5)
    assert summed(Constant(1.0), Blockwise((distribution, Constant(0.0)), 5), (FIRST, SECOND)) == Blockwise(
        (Sum(Constant(1.0), distribution, FIRST, SECOND), Constant(1.0)), 5
    )
    assert concatenated(Constant(2.0), Constant(2.0), (FIRST, SECOND), (1, 0), 3) == Constant(2.0)
    assert concatenated(distribution, distribution, (FIRST, SECOND), (1, 0), 3) == Concatenated(
        distribution, distribution, FIRST, SECOND, (1, 0), 3
    )


# In layers.


def recurrent(kind: str, **more: Any) -> Layer:
    return {"type": kind, "name": "r", "input_size": 3, "hidden_size": 5} | more


def biases(layer: Layer, framework: str, dtype: DType) -> dict[str, Array]:
    plan = planned(layer, framework=framework, dtype=dtype)
    return {each.name: stored(each) for each in plan.tensors if "bias" in each.name}


RANDOM: Final = {"type": "normal", "mean": 0.25, "std": 0.5}


@each_dtype
@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_the_bias_of_keras_is_the_sum_of_both_of_torch(kind: str, dtype: DType) -> None:
    layer = recurrent(kind, bias_initializer=RANDOM) | ({"forget_bias": 1.5} if kind == "lstm" else {})
    both = biases(layer, "torch", dtype)

    found = biases(layer, "keras", dtype)["r.bias"]

    assert found.tobytes() == sum_of(both["r.bias_ih_l0"], both["r.bias_hh_l0"], dtype).tobytes()


@each_dtype
def test_the_bias_of_keras_gru_is_both_of_torch_with_two_gates_exchanged(dtype: DType) -> None:
    layer = recurrent("gru", bias_initializer=RANDOM)
    both = biases(layer, "torch", dtype)

    [bias] = [each for each in planned(layer, framework="keras", dtype=dtype).tensors if each.name == "r.bias"]

    assert bias.shape == (2, 15)
    expected = [both[name].reshape(3, 5)[[1, 0, 2]] for name in ("r.bias_ih_l0", "r.bias_hh_l0")]
    assert stored(bias).tobytes() == np.concatenate(expected).tobytes()


@each_dtype
def test_the_forget_bias_stands_in_one_bias_and_zero_in_the_other(dtype: DType) -> None:
    layer = recurrent("lstm", bias_initializer=RANDOM, forget_bias=1.5)
    plain = recurrent("lstm", bias_initializer=RANDOM)
    with_forget, without = (biases(each, "torch", dtype) for each in (layer, plain))

    for name, constant in (("r.bias_ih_l0", 1.5), ("r.bias_hh_l0", 0.0)):
        gates, usual = (widen(each[name], dtype).reshape(4, 5) for each in (with_forget, without))
        np.testing.assert_array_equal(gates[1], constant)
        np.testing.assert_array_equal(gates[[0, 2, 3]], usual[[0, 2, 3]])


def test_the_two_biases_have_words_of_their_own() -> None:
    layer = recurrent("gru", bias_initializer="uniform")

    both = biases(layer, "torch", DType.F32)

    assert not np.array_equal(both["r.bias_ih_l0"], both["r.bias_hh_l0"])
    [bias] = [each for each in planned(layer, framework="keras").tensors if each.name == "r.bias"]
    assert not np.array_equal(*values(bias))
