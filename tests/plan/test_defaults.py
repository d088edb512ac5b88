"""What draws a parameter: its own initializer, its layer's, a framework's default for all, or what is usual."""

from __future__ import annotations

from math import sqrt
from typing import Any, Final, NamedTuple

import pytest

from service.distributions.base import Distribution
from service.distributions.elementwise import Constant, Normal, Uniform
from service.distributions.orthogonal import Orthogonal
from tests.plan.planned import Layer, group, linear, planned, repeat, values
from tests.plan.test_every_layer import ROWS, Row, attention, convolution, depthwise, recurrent

ZEROS: Final = Constant(0.0)
ONES: Final = Constant(1.0)
STANDARD: Final = Normal(0.0, 1.0)
DEFAULTS: Final = ("torch_default", "keras_default")


def symmetric(bound: float) -> Uniform:
    return Uniform(-bound, bound)


def xavier(fan_in: int, fan_out: int) -> Uniform:
    return symmetric(sqrt(6 / (fan_in + fan_out)))


class Case(NamedTuple):
    """A layer, and the distribution of each of its tensors by default in PyTorch and in Keras."""

    layer: Layer
    distributions: dict[str, tuple[Distribution, Distribution]]

    def __str__(self) -> str:
        return str(self.layer["type"])


def norm(kind: str, **more: Any) -> Layer:
    return {"type": kind, "name": "x"} | more


CASES: Final = (
    Case(linear("x", 5, 7), {"weight": (symmetric(5**-0.5), xavier(5, 7)), "bias": (symmetric(5**-0.5), ZEROS)}),
    Case(
        convolution("conv2d", "x", 3, groups=3),
        {"weight": (symmetric(18**-0.5), xavier(18, 81)), "bias": (symmetric(18**-0.5), ZEROS)},
    ),
    Case(
        convolution("conv_transpose2d", "x", 3),
        {"weight": (symmetric(81**-0.5), xavier(81, 54)), "bias": (symmetric(81**-0.5), ZEROS)},
    ),
    Case(
        depthwise("x", 3, depth_multiplier=2),
        {"weight": (symmetric(1 / 3), xavier(54, 18)), "bias": (symmetric(1 / 3), ZEROS)},
    ),
    Case(
        convolution("separable_conv", "x", 3, depth_multiplier=2),
        {
            "depthwise.weight": (symmetric(1 / 3), xavier(54, 18)),
            "pointwise.weight": (symmetric(12**-0.5), xavier(12, 9)),
            "pointwise.bias": (symmetric(12**-0.5), ZEROS),
        },
    ),
    Case(
        recurrent("rnn", "x"),
        {
            "weight_ih_l0": (symmetric(7**-0.5), xavier(5, 7)),
            "weight_hh_l0": (symmetric(7**-0.5), Orthogonal(1.0, (7, 7), (), (0,))),
            "bias_ih_l0": (symmetric(7**-0.5), ZEROS),
            "bias_hh_l0": (symmetric(7**-0.5), ZEROS),
        },
    ),
    Case(
        recurrent("gru", "x"),
        {
            "weight_ih_l0": (symmetric(7**-0.5), xavier(5, 21)),
            "weight_hh_l0": (symmetric(7**-0.5), Orthogonal(1.0, (21, 7), (), (0,))),
            "bias_ih_l0": (symmetric(7**-0.5), ZEROS),
            "bias_hh_l0": (symmetric(7**-0.5), ZEROS),
        },
    ),
    Case(
        attention("x"),
        {
            "in_proj_weight": (xavier(12, 36), xavier(12, 12)),
            "in_proj_bias": (ZEROS, ZEROS),
            "out_proj.weight": (symmetric(12**-0.5), xavier(12, 12)),
            "out_proj.bias": (ZEROS, ZEROS),
        },
    ),
    Case(
        attention("x", kdim=5),
        {
            "q_proj_weight": (xavier(12, 12), xavier(12, 12)),
            "k_proj_weight": (xavier(5, 12), xavier(5, 12)),
            "v_proj_weight": (xavier(12, 12), xavier(12, 12)),
            "in_proj_bias": (ZEROS, ZEROS),
            "out_proj.weight": (symmetric(12**-0.5), xavier(12, 12)),
            "out_proj.bias": (ZEROS, ZEROS),
        },
    ),
    Case(
        {"type": "embedding", "name": "x", "num_embeddings": 11, "embedding_dim": 3},
        {"weight": (STANDARD, symmetric(0.05))},
    ),
    Case(norm("layer_norm", normalized_shape=5), {"weight": (ONES, ONES), "bias": (ZEROS, ZEROS)}),
    Case(norm("rms_norm", normalized_shape=[3, 5]), {"weight": (ONES, ONES)}),
    Case(norm("group_norm", num_groups=2, num_channels=6), {"weight": (ONES, ONES), "bias": (ZEROS, ZEROS)}),
    Case(norm("instance_norm", num_features=6), {"weight": (ONES, ONES), "bias": (ZEROS, ZEROS)}),
    Case(
        norm("batch_norm", num_features=6),
        {"weight": (ONES, ONES), "bias": (ZEROS, ZEROS), "running_mean": (ZEROS, ZEROS), "running_var": (ONES, ONES)},
    ),
)
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_default = pytest.mark.parametrize("default", DEFAULTS)


def distributions(layer: Layer, **more: Any) -> dict[str, Distribution]:
    """The distribution of each tensor of a layer that is called x."""
    return {each.name.removeprefix("x."): each.distribution for each in planned(layer, **more).tensors}


def assert_alike(found: Distribution, expected: Distribution) -> None:
    """Of one kind, with the same numbers to rounding."""
    assert type(found) is type(expected)
    for name, scalar in expected.scalars.items():
        assert found.scalars[name] == (pytest.approx(scalar, rel=1e-15) if isinstance(scalar, float) else scalar)


@each_case
@each_default
@pytest.mark.parametrize("said_of", ["model", "layer"])
def test_a_framework_has_a_default_for_every_parameter(case: Case, default: str, said_of: str) -> None:
    found = (
        distributions(case.layer, initializer=default)
        if said_of == "model"
        else distributions(case.layer | {"initializer": default})
    )

    assert list(found) == list(case.distributions)
    for name, of_frameworks in case.distributions.items():
        assert_alike(found[name], of_frameworks[DEFAULTS.index(default)])


def test_torch_divides_by_the_first_input_of_a_bilinear_layer() -> None:
    layer = {"type": "bilinear", "name": "x", "in1_features": 3, "in2_features": 4, "out_features": 5}
    found = distributions(layer, initializer="torch_default")

    assert list(found) == ["weight", "bias"]
    for distribution in found.values():
        assert_alike(distribution, symmetric(3**-0.5))


def test_keras_starts_with_a_forget_bias_of_one() -> None:
    torch, keras = (
        {each.name: values(each).reshape(-1, 7).tolist() for each in plan.tensors if "bias" in each.name}
        for plan in (
            planned(recurrent("lstm", "x"), initializer="keras_default", framework=name) for name in ("torch", "keras")
        )
    )
    forgetting = [[0.0] * 7, [1.0] * 7, [0.0] * 7, [0.0] * 7]

    assert torch == {"x.bias_ih_l0": forgetting, "x.bias_hh_l0": [[0.0] * 7] * 4}
    assert keras == {"x.bias": forgetting}


@pytest.mark.parametrize(
    ("forget_bias", "more", "mean", "std"),
    [
        (2.0, {"initializer": "keras_default"}, 0.5, sqrt(0.75)),
        (2.0, {"bias_initializer": "ones"}, 1.25, sqrt(3 / 16)),
        (1.0, {"bias_initializer": "ones"}, 1.0, 0.0),
        (0.0, {"bias_initializer": "normal"}, 0.0, sqrt(0.75)),
        (-1.0, {"bias_initializer": "normal"}, -0.25, sqrt(0.75 + 3 / 16)),
        (2.0, {"initializer": "torch_default"}, 0.5, sqrt(0.75 / 21 + 0.75)),
    ],
    ids=str,
)
def test_a_forget_bias_stands_before_what_draws_the_rest(
    forget_bias: float, more: Layer, mean: float, std: float
) -> None:
    tensors = planned(recurrent("lstm", "x", forget_bias=forget_bias, **more)).tensors
    of_input, of_state = (values(each).reshape(4, 7) for each in tensors[2:])

    assert set(of_input[1]) == {forget_bias}
    assert set(of_state[1]) == {0.0}
    assert tensors[2].distribution.mean == pytest.approx(mean, abs=1e-15)
    assert tensors[2].distribution.std == pytest.approx(std, abs=1e-15)


@pytest.mark.parametrize(
    ("more", "mean", "std"),
    [
        ({}, 0.0, 0.0),
        ({"forget_bias": 2.0}, 0.5, sqrt(0.75)),
        ({"bias_initializer": "ones", "forget_bias": 2.0}, 2.0, 0.0),
        ({"bias_initializer": "normal"}, 0.0, sqrt(2)),
        ({"bias_initializer": "normal", "forget_bias": 2.0}, 0.5, sqrt(1.5 + 0.75)),
    ],
    ids=str,
)
def test_of_one_bias_in_keras_is_expected_what_both_of_torch_come_to(more: Layer, mean: float, std: float) -> None:
    *_, bias = planned(recurrent("lstm", "x", hidden_size=4096, **more), framework="keras").tensors

    assert bias.distribution.mean == pytest.approx(mean, abs=1e-15)
    assert bias.distribution.std == pytest.approx(std, abs=1e-15)
    assert values(bias).mean() == pytest.approx(mean, abs=0.05)
    assert values(bias).std() == pytest.approx(std, abs=0.05)


# Who says otherwise.


def drawn_by(layer: Layer, **more: Any) -> dict[str, str]:
    """The initializer of each tensor of a layer that is called x."""
    return {each.name.removeprefix("x."): each.parameter.initializer.type for each in planned(layer, **more).tensors}


STATISTICS: Final = ("running_mean", "running_var")
WITH_DEFAULTS: Final = [
    pytest.param(row, default, id=f"{default} {row}")
    for row in ROWS
    for default in DEFAULTS
    if not ({"shape", "layers"} & row.layer.keys()) and (row.layer["type"], default) != ("bilinear", "keras_default")
]


@pytest.mark.parametrize(("row", "default"), WITH_DEFAULTS)
def test_a_default_of_the_model_is_for_all_that_the_layer_says_nothing_of(row: Row, default: str) -> None:
    bare = {field: value for field, value in row.layer.items() if not field.endswith("initializer")}
    for name, initializer in drawn_by(bare, initializer=default).items():
        assert (initializer == default) == (not name.endswith(STATISTICS)), name


@each_default
@pytest.mark.parametrize(
    ("layer", "otherwise"),
    [
        (linear("x", initializer="normal"), {"weight": "normal"}),
        (linear("x", bias_initializer="uniform"), {"bias": "uniform"}),
        (recurrent("gru", "x", initializer="normal"), {"weight_ih_l0": "normal", "weight_hh_l0": "normal"}),
        (recurrent("lstm", "x", recurrent_initializer="normal"), {"weight_hh_l0": "normal"}),
        (recurrent("rnn", "x", bias_initializer="ones"), {"bias_ih_l0": "ones", "bias_hh_l0": "ones"}),
        (
            convolution("separable_conv", "x", 3, initializer="normal"),
            {"depthwise.weight": "normal", "pointwise.weight": "normal"},
        ),
        (convolution("separable_conv", "x", 3, pointwise_initializer="normal"), {"pointwise.weight": "normal"}),
        (attention("x", initializer="normal"), {"in_proj_weight": "normal", "out_proj.weight": "normal"}),
        (attention("x", out_initializer="normal"), {"out_proj.weight": "normal"}),
        (attention("x", bias_initializer="ones"), {"in_proj_bias": "ones", "out_proj.bias": "ones"}),
        (norm("group_norm", num_groups=1, num_channels=2, initializer="zeros"), {"weight": "zeros"}),
        (norm("layer_norm", normalized_shape=2, bias_initializer="normal"), {"bias": "normal"}),
        (
            {"type": "embedding", "name": "x", "num_embeddings": 3, "embedding_dim": 2, "initializer": "zeros"},
            {"weight": "zeros"},
        ),
    ],
    ids=str,
)
def test_a_layer_may_say_otherwise(layer: Layer, otherwise: dict[str, str], default: str) -> None:
    found = drawn_by(layer, initializer=default)

    assert found == dict.fromkeys(found, default) | otherwise


def test_a_default_of_a_layer_stands_before_that_of_the_model() -> None:
    for layer in (linear("x"), recurrent("lstm", "x"), attention("x"), norm("layer_norm", normalized_shape=3)):
        for of_model, of_layer in (DEFAULTS, DEFAULTS[::-1]):
            found = drawn_by(layer | {"initializer": of_layer}, initializer=of_model)

            assert set(found.values()) == {of_layer}


def test_other_initializers_of_the_model_are_not_for_biases_embeddings_and_norms() -> None:
    for layer, usual in (
        (linear("x"), {"bias": "zeros"}),
        (recurrent("gru", "x"), {"bias_ih_l0": "zeros", "bias_hh_l0": "zeros"}),
        (attention("x"), {"in_proj_bias": "zeros", "out_proj.bias": "zeros"}),
        (norm("rms_norm", normalized_shape=3), {"weight": "ones"}),
        ({"type": "embedding", "name": "x", "num_embeddings": 3, "embedding_dim": 2}, {"weight": "normal"}),
    ):
        found = drawn_by(layer, initializer="orthogonal")

        assert found == dict.fromkeys(found, "orthogonal") | usual


def test_a_default_of_the_model_reaches_into_groups_and_repeats() -> None:
    layers = group("g", repeat("h", 2, linear("a"), recurrent("gru", "b")))

    types = {each.parameter.initializer.type for each in planned(layers, initializer="torch_default").tensors}

    assert types == {"torch_default"}


# Multipliers.


@each_case
@each_default
def test_a_multiplier_scales_what_a_framework_draws_and_no_constants(case: Case, default: str) -> None:
    found = distributions(case.layer, initializer={"type": default, "multiplier": 0.25})
    for name, of_frameworks in case.distributions.items():
        expected = of_frameworks[DEFAULTS.index(default)]

        assert type(found[name]) is type(expected)
        assert found[name].mean == expected.mean
        assert found[name].std == pytest.approx(expected.std / 4, rel=1e-15)


def test_a_multiplier_scales_the_values_themselves() -> None:
    layer = recurrent("lstm", "x", num_layers=2, bidirectional=True)
    for framework in ("torch", "keras"):
        usual, scaled = (
            planned(layer, initializer={"type": "torch_default", "multiplier": multiplier}, framework=framework).tensors
            for multiplier in (1, 2)
        )
        for one, other in zip(usual, scaled, strict=True):
            assert values(other) == pytest.approx(2 * values(one), rel=1e-6, abs=1e-7)


def test_a_multiplier_is_for_the_parameter_that_it_is_given_for() -> None:
    half = {"type": "xavier_normal", "multiplier": 0.5}
    found = distributions(attention("x", initializer="xavier_normal", out_initializer=half))

    assert found["in_proj_weight"].std == pytest.approx(12**-0.5)
    assert found["out_proj.weight"].std == pytest.approx(12**-0.5 / 2)
