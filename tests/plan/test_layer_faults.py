"""What layers mean wrongly or ask too much of, each with its place and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from service.errors import InvalidSpec
from service.limits import Limits
from service.plan import planner
from service.plan.layers import recurrent
from service.plan.parameter import LayerParameter
from tests.plan.planned import Layer, excesses, faults, group, linear, planned, repeat, tensor
from tests.plan.test_every_layer import attention, convolution, depthwise

HUGE: Final = 2**53 - 1
FRAMEWORKS: Final = ("torch", "keras")
NEEDS_FANS: Final = (
    "it needs fan_in and fan_out, which a bias, a norm, and a tensor below rank 2 or without elements has not;"
    " use normal, truncated_normal, uniform, constant, zeros or ones"
)
NO_DEFAULT: Final = "has no layer of this kind, so no default for it; name an initializer"
SIZES_DIFFER: Final = "projections of different sizes cannot be one tensor: leave out fused, or kdim and vdim"


def cells(kind: str = "lstm", **more: Any) -> Layer:
    return {"type": kind, "name": "a", "input_size": 3, "hidden_size": 2} | more


def heads(**more: Any) -> Layer:
    return {"type": "multihead_attention", "name": "a", "embed_dim": 12, "num_heads": 3} | more


def bilinear(**more: Any) -> Layer:
    return {"type": "bilinear", "name": "a", "in1_features": 3, "in2_features": 4, "out_features": 2} | more


def group_norm(groups: int, channels: int, **more: Any) -> Layer:
    return {"type": "group_norm", "name": "a", "num_groups": groups, "num_channels": channels} | more


# Numbers that contradict each other.


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        *(
            (convolution(kind, "a", 3, groups=groups), f"groups must divide in_channels and out_channels; {wrong}")
            for kind in ("conv1d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
            for groups, wrong in ((4, "4 does not divide 6"), (2, "2 does not divide 9"))
        ),
        (heads(num_heads=5), "num_heads must divide embed_dim; 5 does not divide 12"),
        (heads(num_heads=24), "num_heads must divide embed_dim; 24 does not divide 12"),
        (heads(num_heads=5, kdim=5, fused=True), "num_heads must divide embed_dim; 5 does not divide 12"),
        (heads(fused=True, kdim=5), SIZES_DIFFER),
        (heads(fused=True, vdim=5), SIZES_DIFFER),
        (heads(fused=True, kdim=5, vdim=5), SIZES_DIFFER),
        (group_norm(4, 6), "num_groups must divide num_channels; 4 does not divide 6"),
        (group_norm(4, 6, affine=False), "num_groups must divide num_channels; 4 does not divide 6"),
    ],
    ids=str,
)
def test_numbers_of_a_layer_must_fit_together(layer: Layer, message: str, framework: str) -> None:
    assert faults(layer, framework=framework) == [("/layers/0", message)]


def test_sizes_that_are_written_out_may_be_fused() -> None:
    for layer in (heads(fused=True), heads(fused=True, kdim=12, vdim=12), heads(kdim=12), heads(fused=None, vdim=12)):
        assert "a.in_proj_weight" in {each.name for each in planned(layer).tensors}


# Initializers that a parameter cannot have.


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("layer", "field", "message"),
    [
        (
            cells(hidden_size=100, recurrent_initializer={"type": "xavier_normal", "gain": 5e-324}),
            "recurrent_initializer",
            "xavier_normal for weight_hh_l0: its standard deviation is 0.0; it must be above 0 and finite",
        ),
        (
            cells("gru", recurrent_initializer="delta_orthogonal"),
            "recurrent_initializer",
            (
                "delta_orthogonal for weight_hh_l0: it needs a weight of rank at least 3, and this has rank 2;"
                " use orthogonal"
            ),
        ),
        (
            convolution("separable_conv", "a", 3, pointwise_initializer="identity"),
            "pointwise_initializer",
            (
                "identity for pointwise.weight: it needs a weight of rank 2, and this has rank 4;"
                " use dirac for a convolution"
            ),
        ),
        (
            heads(out_initializer="dirac"),
            "out_initializer",
            (
                "dirac for out_proj.weight: it needs a weight of rank at least 3, and this has rank 2;"
                " use identity for a matrix"
            ),
        ),
        (
            cells(bias_initializer="xavier_uniform", name=""),
            "bias_initializer",
            f"xavier_uniform for bias_ih_l0: {NEEDS_FANS}",
        ),
        (heads(bias_initializer="lecun_normal"), "bias_initializer", f"lecun_normal for in_proj_bias: {NEEDS_FANS}"),
        (
            convolution("separable_conv", "a", 3, bias_initializer="he_normal"),
            "bias_initializer",
            f"kaiming_normal for pointwise.bias: {NEEDS_FANS}",
        ),
        (depthwise("a", 3, bias_initializer="he_normal"), "bias_initializer", f"kaiming_normal for bias: {NEEDS_FANS}"),
        (group_norm(1, 2, initializer="lecun_normal"), "initializer", f"lecun_normal for weight: {NEEDS_FANS}"),
        (group_norm(1, 2, bias_initializer="lecun_normal"), "bias_initializer", f"lecun_normal for bias: {NEEDS_FANS}"),
        (
            {"type": "rms_norm", "name": "a", "normalized_shape": [2, 3], "initializer": "lecun_normal"},
            "initializer",
            f"lecun_normal for weight: {NEEDS_FANS}",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_a_fault_of_an_initializer_points_to_the_field_that_says_it(
    layer: Layer, field: str, message: str, framework: str
) -> None:
    found = faults(layer, framework=framework)

    assert found[0] == (f"/layers/0/{field}", message)
    assert {pointer for pointer, _ in found} == {f"/layers/0/{field}"}


def test_a_recurrent_initializer_that_is_left_out_is_no_place_of_a_fault() -> None:
    found = faults(cells(input_size=9, hidden_size=9, initializer={"type": "lecun_normal", "multiplier": 5e-324}))

    assert {pointer for pointer, _ in found} == {"/layers/0/initializer"}
    assert [message.partition(":")[0] for _, message in found] == [
        "lecun_normal for weight_ih_l0",
        "lecun_normal for weight_hh_l0",
    ]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_same_fault_of_several_projections_is_told_once(framework: str) -> None:
    assert [pointer for pointer, _ in faults(heads(bias_initializer="lecun_normal"), framework=framework)] == [
        "/layers/0/bias_initializer",  # of in_proj_bias
        "/layers/0/bias_initializer",  # of out_proj.bias
    ]


@pytest.mark.parametrize("default", ["torch_default", "keras_default"])
def test_a_bare_tensor_has_no_default_of_a_framework(default: str) -> None:
    expected = [("/layers/0/initializer", f"{default} for the tensor: {default.partition('_')[0]} {NO_DEFAULT}")]

    assert faults(tensor("w", (2, 3), default)) == expected
    assert faults({"type": "tensor", "name": "w", "shape": [2, 3]}, initializer=default) == expected


def test_keras_has_no_default_for_a_bilinear_layer() -> None:
    expected = [
        ("/layers/0/initializer", f"keras_default for {name}: keras {NO_DEFAULT}") for name in ("weight", "bias")
    ]

    assert faults(bilinear(initializer="keras_default")) == expected
    assert faults(bilinear(), initializer="keras_default") == expected
    assert len(planned(bilinear(initializer="torch_default")).tensors) == 2
    assert faults(bilinear(bias_initializer="keras_default")) == [
        ("/layers/0/bias_initializer", f"keras_default for bias: keras {NO_DEFAULT}")
    ]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("layer", "field"),
    [
        (cells(bias_initializer={"type": "constant", "value": 1e6}), "bias_initializer"),
        (cells(forget_bias=-1e6), "forget_bias"),
        (heads(bias_initializer={"type": "constant", "value": 1e6}), "bias_initializer"),
        (cells("rnn", recurrent_initializer={"type": "constant", "value": 1e6}), "recurrent_initializer"),
        (heads(out_initializer={"type": "constant", "value": 1e6}), "out_initializer"),
    ],
    ids=str,
)
def test_what_may_overflow_its_dtype_is_refused(layer: Layer, field: str, framework: str) -> None:
    found = faults(layer, framework=framework, dtype="F16")

    assert {pointer for pointer, _ in found} == {f"/layers/0/{field}"}
    assert all(
        message.endswith("its largest value overflows F16: use a wider dtype or a smaller scale")
        for _, message in found
    )


def test_two_biases_may_fit_where_their_sum_does_not() -> None:
    layer = cells(bias_initializer={"type": "constant", "value": 60_000})

    assert len(planned(layer, dtype="F16").tensors) == 4
    assert [pointer for pointer, _ in faults(layer, dtype="F16", framework="keras")] == ["/layers/0/bias_initializer"]


def test_all_faults_of_layers_are_named_together() -> None:
    found = faults(
        convolution("conv_transpose2d", "a", 3, groups=4),
        group("g", heads(num_heads=5), repeat("h", 3, cells(recurrent_initializer="dirac"))),
        group_norm(4, 6),
        heads(name="b", fused=True, kdim=1),
        tensor("w", (2, 3), "torch_default"),
    )

    assert [pointer for pointer, _ in found] == [
        "/layers/0",
        "/layers/1/layers/0",
        "/layers/1/layers/1/layers/0/recurrent_initializer",
        "/layers/2",
        "/layers/3",
        "/layers/4/initializer",
    ]


# Names.


@pytest.mark.parametrize(
    ("layer", "name", "framework"),
    [
        *((heads(), f"a.{name}", framework) for name in ("in_proj_weight", "in_proj_bias") for framework in FRAMEWORKS),
        *((cells(kind), "a.bias_hh_l0", framework) for kind in ("rnn", "lstm", "gru") for framework in FRAMEWORKS),
        (cells(num_layers=2, bidirectional=True), "a.bias_hh_l1_reverse", "keras"),
        (cells(bias_initializer="normal", forget_bias=1), "a.bias_hh_l0", "keras"),
        (cells(), "a.weight_hh_l0", "keras"),
        (cells(), "a.bias", "keras"),
        (heads(), "a.query.kernel", "keras"),
        (heads(), "a.value.bias", "keras"),
        (convolution("separable_conv", "a", 3), "a.pointwise.bias", "keras"),
        (heads(name=""), "in_proj_weight", "keras"),
        (cells("gru", name=""), "bias_hh_l0", "keras"),
    ],
    ids=str,
)
def test_a_tensor_must_not_have_the_name_of_one_of_a_layer_in_the_file_or_in_the_canonical_naming(
    layer: Layer, name: str, framework: str
) -> None:
    message = f"the tensor {name!r} is already made by /layers/0: give the layers different names"

    assert faults(layer, tensor(name, (2,)), framework=framework) == [("/layers/1/name", message)]


def test_the_names_of_another_framework_are_free() -> None:
    for layer, name in ((cells(), "a.bias"), (heads(), "a.query.kernel"), (heads(bias=False), "a.in_proj_bias")):
        assert planned(layer, tensor(name, (2,))).tensors[-1].name == name


def test_of_two_layers_that_are_one_all_names_are_told() -> None:
    torch, keras = (faults(heads(), heads(), framework=framework) for framework in FRAMEWORKS)

    assert len(torch) == 4
    assert len(keras) == 8 + 4  # of the file, and canonical
    assert {pointer for pointer, _ in torch + keras} == {"/layers/1/name"}


# Limits.


@pytest.fixture(name="cells_made")
def _cells_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inputs of every cell whose parameters are made; the expansion of layers is a failure."""
    made: list[int] = []
    parameters = recurrent._Cell.parameters

    def counted(cell: recurrent._Cell, inputs: int) -> Iterator[LayerParameter]:
        made.append(inputs)
        return parameters(cell, inputs)

    def expand(*_: Any) -> Iterator[Any]:
        pytest.fail("a specification beyond the limits was expanded")

    monkeypatch.setattr(planner._Planner, "expand", expand)
    monkeypatch.setattr(recurrent._Cell, "parameters", counted)
    return made


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(
    ("more", "framework", "each"),
    [
        ({}, "torch", 4),
        ({}, "keras", 3),
        ({"bias": False}, "torch", 2),
        ({"bias": False}, "keras", 2),
        ({"bidirectional": True}, "torch", 8),
        ({"bidirectional": True}, "keras", 6),
    ],
    ids=str,
)
def test_of_very_many_layers_the_first_two_are_made_and_all_are_counted(
    kind: str, more: Layer, framework: str, each: int, cells_made: list[int]
) -> None:
    found = excesses(cells(kind, num_layers=HUGE, **more), framework=framework)

    assert [(excess.pointer, excess.name) for excess in found] == [
        ("/layers", "tensors"),
        ("/layers", "file_bytes"),
        ("/layers", "header_bytes"),
    ]
    assert found[0].requested == each * HUGE
    assert len(cells_made) == (4 if "bidirectional" in more else 2)


def test_as_many_layers_as_there_may_be_tensors_are_allowed() -> None:
    for framework, most in (("torch", 40), ("keras", 30)):
        layer = cells(num_layers=10)

        assert len(planned(layer, framework=framework, limits=Limits(tensors=most)).tensors) == most
        [excess] = excesses(layer, framework=framework, limits=Limits(tensors=most - 1))
        assert excess.requested == most


def test_the_layers_of_a_stack_share_their_parameters_also_where_one_has_the_distribution_of_two() -> None:
    for framework, bias in (("torch", "torch_default"), ("keras", {"type": "constant", "value": 0.5})):
        plan = planned(cells(num_layers=50, bias_initializer=bias), framework=framework)

        assert len({id(each.parameter) for each in plan.tensors}) == 2 * len(plan.tensors) // 50


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("layer", "requested"),
    [
        (cells(hidden_size=2**29), 2**31),
        (cells("gru", hidden_size=HUGE), 3 * HUGE),
        (cells(input_size=HUGE), HUGE),
        (cells("rnn", hidden_size=2**30, bidirectional=True, num_layers=2), 2**31),
        (heads(embed_dim=2**30, num_heads=2), 3 * 2**30),
        (heads(kdim=HUGE), HUGE),
        (depthwise("a", 3, in_channels=2**20, depth_multiplier=2**20), 2**40),
        (depthwise("a", [HUGE]), HUGE),
        (convolution("separable_conv", "a", 3, in_channels=HUGE, depth_multiplier=HUGE), HUGE**2),
        (convolution("conv_transpose3d", "a", HUGE), HUGE),
        (bilinear(in2_features=HUGE), HUGE),
        (group_norm(1, HUGE), HUGE),
        ({"type": "rms_norm", "name": "a", "normalized_shape": [2, HUGE]}, HUGE),
        ({"type": "instance_norm", "name": "a", "num_features": HUGE}, HUGE),
    ],
    ids=lambda value: str(value.values()) if isinstance(value, dict) else "",
)
def test_sizes_beyond_the_limit_of_a_dimension_are_refused(layer: Layer, requested: int, framework: str) -> None:
    found = excesses(layer, framework=framework)
    dimensions = [excess for excess in found if excess.name == "dimension"]

    assert {excess.pointer for excess in dimensions} == {"/layers/0"}
    assert requested in {excess.requested for excess in dimensions}
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    "layer",
    [
        cells(hidden_size=2**17),
        cells(hidden_size=2**28),
        heads(embed_dim=2**18, num_heads=2),
        bilinear(in1_features=2**17, in2_features=2**18),
        convolution("conv_transpose2d", "a", 2**12, in_channels=2**7, out_channels=2**7),
    ],
    ids=lambda layer: str(layer.values()),
)
def test_tensors_of_too_many_bytes_are_refused(layer: Layer, framework: str) -> None:
    assert [(excess.pointer, excess.name) for excess in excesses(layer, framework=framework)] == [
        ("/layers", "file_bytes")
    ]


def test_a_tensor_counts_its_dimensions_as_it_lies_in_the_file() -> None:
    limits = Limits(rank=2)

    assert len(planned(heads(), limits=limits).tensors) == 4
    assert {(excess.name, excess.requested) for excess in excesses(heads(), limits=limits, framework="keras")} == {
        ("rank", 3)
    }


@pytest.mark.usefixtures("cells_made")
@pytest.mark.parametrize("rank", [9, 300, 1000])
def test_a_normalized_shape_of_any_rank_is_refused_by_its_rank(rank: int) -> None:
    found = excesses({"type": "rms_norm", "name": "a", "normalized_shape": [HUGE] * rank})

    assert [(excess.pointer, excess.name, excess.requested) for excess in found] == [("/layers/0", "rank", rank)]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_matrix_that_is_drawn_whole_must_not_be_too_large(framework: str) -> None:
    layer = cells(hidden_size=64, recurrent_initializer="orthogonal")
    most = 64 * 64

    assert planned(layer, framework=framework, limits=Limits(whole_elements=most)).tensors
    [excess] = excesses(layer, framework=framework, limits=Limits(whole_elements=most - 1))
    assert (excess.pointer, excess.name, excess.requested) == ("/layers/0", "whole_elements", most)


def test_meaning_comes_before_limits_for_layers_too() -> None:
    found = faults(cells(num_layers=HUGE), heads(num_heads=5, embed_dim=2**40 + 1), attention("b"), linear("c"))

    assert [pointer for pointer, _ in found] == ["/layers/1"]


def test_a_forget_bias_without_a_bias_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="forget_bias goes with a bias"):
        planned(cells(bias=False, forget_bias=1))
