"""How the fans of a layer are counted: by connections, or as PyTorch or Keras count, in whatever framework's naming."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import pytest

from service.distributions.elementwise import Uniform
from service.errors import InvalidSpec
from service.formats.json import plan_json
from service.formats.safetensors import SafetensorsFile
from service.initializers.fans import Fans
from service.plan import TensorPlan
from service.plan.parameter import RULES
from tests.formats.files import read
from tests.plan.planned import Layer, group, linear, planned, repeat, tensor
from tests.plan.test_every_layer import ROWS, Row, attention, convolution, depthwise, recurrent

Shape = tuple[int, ...]
FRAMEWORKS: Final = ("torch", "keras")
COUNTED: Final = [row for row in ROWS if "in_axes" not in row.layer]
each_row = pytest.mark.parametrize("row", COUNTED, ids=str)


@each_row
@pytest.mark.parametrize("rule", RULES)
def test_fans_are_the_same_in_the_naming_of_either_framework(row: Row, rule: str) -> None:
    torch, keras = (
        {each.canonical_name: each.parameter.fans for each in planned(row.layer, fans=rule, framework=name).tensors}
        for name in FRAMEWORKS
    )

    assert keras.items() <= torch.items()


class Count(NamedTuple):
    """A tensor of a layer, and its fans by each rule."""

    layer: Layer
    tensor: str
    exact: Fans | None
    torch: Fans | None
    keras: Fans

    def __str__(self) -> str:
        return f"{self.layer['type']} {self.tensor}"


def embedding(rows: int, columns: int) -> Layer:
    return {"type": "embedding", "name": "x", "num_embeddings": rows, "embedding_dim": columns}


COUNTS: Final = (
    Count(linear("x", 5, 7), "weight", Fans(5, 7), Fans(5, 7), Fans(5, 7)),
    Count(linear("x", 5, 7), "bias", None, None, Fans(7, 7)),
    Count(linear("x", 5, 7, layout="in_out"), "weight", Fans(5, 7), Fans(7, 5), Fans(5, 7)),
    # out, in / groups: both frameworks see all outputs.
    Count(convolution("conv2d", "x", 3, groups=3), "weight", Fans(18, 27), Fans(18, 81), Fans(18, 81)),
    # in, out / groups: both take the one for the other.
    Count(convolution("conv_transpose1d", "x", 5), "weight", Fans(30, 45), Fans(45, 30), Fans(45, 30)),
    Count(convolution("conv_transpose2d", "x", 3, groups=3), "weight", Fans(18, 27), Fans(27, 54), Fans(27, 54)),
    # Keras has (*kernel, in, multiplier), and takes all channels for inputs of each.
    Count(depthwise("x", 3), "weight", Fans(9, 9), Fans(9, 54), Fans(54, 9)),
    Count(depthwise("x", [3], depth_multiplier=2), "weight", Fans(3, 6), Fans(3, 36), Fans(18, 6)),
    Count(
        convolution("separable_conv", "x", 3, depth_multiplier=2),
        "depthwise.weight",
        Fans(9, 18),
        Fans(9, 108),
        Fans(54, 18),
    ),
    Count(convolution("separable_conv", "x", 3), "pointwise.weight", Fans(6, 9), Fans(6, 9), Fans(6, 9)),
    # Of the inputs of a bilinear layer PyTorch takes the second for a kernel, and Keras would take the first.
    Count(
        {"type": "bilinear", "name": "x", "in1_features": 3, "in2_features": 4, "out_features": 5},
        "weight",
        Fans(12, 5),
        Fans(12, 20),
        Fans(12, 15),
    ),
    # All gates together.
    Count(recurrent("rnn", "x"), "weight_ih_l0", Fans(5, 7), Fans(5, 7), Fans(5, 7)),
    Count(recurrent("lstm", "x"), "weight_ih_l0", Fans(5, 7), Fans(5, 28), Fans(5, 28)),
    Count(recurrent("lstm", "x"), "weight_hh_l0", Fans(7, 7), Fans(7, 28), Fans(7, 28)),
    Count(recurrent("lstm", "x"), "bias_ih_l0", None, None, Fans(28, 28)),
    Count(recurrent("lstm", "x", forget_bias=1), "bias_ih_l0", None, None, Fans(28, 28)),
    Count(recurrent("gru", "x"), "weight_hh_l0", Fans(7, 7), Fans(7, 21), Fans(7, 21)),
    Count(recurrent("gru", "x"), "bias_ih_l0", None, None, Fans(2, 21)),
    # All projections together in PyTorch, one by one in Keras.
    Count(attention("x"), "in_proj_weight", Fans(12, 12), Fans(12, 36), Fans(12, 12)),
    Count(attention("x"), "in_proj_bias", None, None, Fans(3, 4)),
    Count(attention("x", kdim=5), "k_proj_weight", Fans(5, 12), Fans(5, 12), Fans(5, 12)),
    Count(attention("x"), "out_proj.weight", Fans(12, 12), Fans(12, 12), Fans(12, 12)),
    Count(attention("x"), "out_proj.bias", None, None, Fans(12, 12)),
    # (rows, columns) is (out, in) to PyTorch.
    Count(embedding(11, 3), "weight", Fans(11, 3), Fans(3, 11), Fans(11, 3)),
    Count({"type": "layer_norm", "name": "x", "normalized_shape": 5}, "weight", None, None, Fans(5, 5)),
    Count({"type": "layer_norm", "name": "x", "normalized_shape": [3, 5]}, "weight", None, Fans(5, 3), Fans(3, 5)),
    Count(tensor("x", (3, 5, 7)), "", Fans(35, 21), Fans(35, 21), Fans(15, 21)),
    Count(tensor("x", (3, 5, 7), layout="in_out"), "", Fans(15, 21), Fans(35, 21), Fans(15, 21)),
    Count(tensor("x", (5,)), "", None, None, Fans(5, 5)),
    Count(tensor("x", ()), "", None, None, Fans(1, 1)),
)
each_count = pytest.mark.parametrize("count", COUNTS, ids=str)


def found(count: Count, layer: Layer, framework: str = "torch", **more: Any) -> TensorPlan:
    """The tensor that is counted; in Keras' naming the first that stands for it."""
    name = f"x.{count.tensor}".removesuffix(".")
    return next(each for each in planned(layer, framework=framework, **more).tensors if each.canonical_name == name)


@each_count
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_rule_counts_in_its_own_way(count: Count, framework: str) -> None:
    for rule, expected in zip(RULES, (count.exact, count.torch, count.keras), strict=True):
        parameter = found(count, count.layer, framework, fans=rule).parameter

        assert parameter.fans == expected, rule
        assert parameter.rule == (rule if expected else None)


@each_count
def test_the_rule_of_a_layer_stands_before_the_one_of_the_model(count: Count) -> None:
    for of_model in RULES:
        for rule, expected in zip(RULES, (count.exact, count.torch, count.keras), strict=True):
            assert found(count, count.layer | {"fans": rule}, fans=of_model).parameter.fans == expected


@each_count
def test_a_plan_names_the_rule_and_tells_the_fans_by_every_rule(count: Count) -> None:
    for rule, expected in zip(RULES, (count.exact, count.torch, count.keras), strict=True):
        plan = planned(count.layer, fans=rule)
        name = f"x.{count.tensor}".removesuffix(".")
        [told] = [each for each in read(plan_json(SafetensorsFile(plan, "none")))["tensors"] if each["name"] == name]

        assert told["fan_rule"] == (rule if expected else None)
        assert (told["fan_in"], told["fan_out"]) == (expected and expected.fan_in, expected and expected.fan_out)
        assert told["fans"] == {
            name: fans and {"fan_in": fans.fan_in, "fan_out": fans.fan_out}
            for name, fans in (("exact", count.exact), ("torch", count.torch), ("keras", count.keras))
        }


def test_the_distribution_follows_the_rule() -> None:
    layer = convolution("conv_transpose2d", "x", 4, out_channels=3, initializer="lecun_uniform", bias=False)
    for rule, fan_in in (("exact", 96), ("torch", 48), ("keras", 48)):
        [plan] = planned(layer, fans=rule).tensors

        assert isinstance(plan.distribution, Uniform)
        assert plan.distribution.high == pytest.approx((3 / fan_in) ** 0.5, rel=1e-15)


def test_the_rule_reaches_into_groups_and_repeats() -> None:
    layers = group("g", repeat("h", 2, convolution("conv_transpose1d", "a", 5, bias=False), embedding(11, 3)))
    own = group("g", embedding(11, 3) | {"fans": "exact"}, convolution("conv_transpose1d", "a", 5, bias=False))

    assert [each.parameter.fans for each in planned(layers, fans="torch").tensors] == [Fans(45, 30), Fans(3, 11)] * 2
    assert [each.parameter.fans for each in planned(own, fans="torch").tensors] == [Fans(11, 3), Fans(45, 30)]


def test_keras_draws_even_biases_by_schemes_and_nobody_else_does() -> None:
    layer = linear("x", 5, 7, bias_initializer="lecun_uniform")
    [_, bias] = planned(layer, fans="keras").tensors

    assert bias.distribution.std == pytest.approx((1 / 7) ** 0.5)
    for rule in ("exact", "torch"):
        with pytest.raises(InvalidSpec) as refusal:
            planned(layer, fans=rule)
        assert [fault.pointer for fault in refusal.value.faults] == ["/layers/0/bias_initializer"]


# Axes.


def axes(**more: Any) -> Layer:
    return tensor("x", (2, 3, 5, 7), "xavier_uniform") | more


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"in_axes": [3], "out_axes": [1]}, Fans(70, 30)),
        ({"in_axes": [3], "out_axes": [1], "batch_axes": [0]}, Fans(35, 15)),
        ({"in_axes": [-1], "out_axes": [-3], "batch_axes": [-4, 2]}, Fans(7, 3)),
        ({"in_axes": [0, 3], "out_axes": [1, 2]}, Fans(14, 15)),
        ({"in_axes": [0, 1, 2, 3], "out_axes": []}, Fans(210, 1)),
        ({"in_axes": [3], "out_axes": [1], "batch_axes": []}, Fans(70, 30)),
    ],
    ids=str,
)
@pytest.mark.parametrize("rule", RULES)
def test_axes_count_as_they_say_whatever_the_rule_of_the_model(more: Layer, expected: Fans, rule: str) -> None:
    plan = planned(axes(**more), fans=rule)
    [told] = read(plan_json(SafetensorsFile(plan, "none")))["tensors"]

    assert plan.tensors[0].parameter.fans == expected
    assert told["fan_rule"] == "axes"
    assert told["fans"] == {
        "exact": {"fan_in": expected.fan_in, "fan_out": expected.fan_out},
        "torch": {"fan_in": 105, "fan_out": 70},
        "keras": {"fan_in": 30, "fan_out": 42},
    }


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_axes_move_nothing(framework: str) -> None:
    [with_axes], [without] = (
        planned(tensor("x", (2, 3, 5, 7), "normal", **more), framework=framework).tensors
        for more in ({"in_axes": [0], "out_axes": [3]}, {})
    )

    assert with_axes.shape == without.shape
    assert with_axes.parameter.rearrangement is None


# Defaults of frameworks have the fans of their frameworks.


@each_count
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_default_is_counted_as_its_framework_counts(count: Count, framework: str) -> None:
    expected = count.torch if framework == "torch" else count.keras
    has_none = count.layer["type"] == "tensor" or (count.layer["type"], framework) == ("bilinear", "keras")
    for rule in RULES:
        if has_none:
            with pytest.raises(InvalidSpec):
                planned(count.layer | {"initializer": f"{framework}_default"}, fans=rule)
        else:
            parameter = found(count, count.layer, fans=rule, initializer=f"{framework}_default").parameter
            assert parameter.fans == expected
            assert parameter.rule == (framework if expected else None)
