"""What a specification means: names, counts, offsets of repeats, and every fault of meaning with its place."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import MOST_FAULTS, LimitExceeded
from service.limits import Limits
from service.plan import make_plan
from service.schema.parsing import read_spec
from service.schema.permalinks import inflate_permalink, read_linked
from service.stream.dtypes import DType
from tests.plan.planned import Layer, faults, group, linear, planned, repeat, spec, stored, tensor


def names(*layers: Layer, **more: Any) -> list[str]:
    return [each.name for each in planned(*layers, **more).tensors]


def norm(name: str, **more: Any) -> Layer:
    return {"type": "layer_norm", "name": name, "normalized_shape": 3} | more


NEEDS_FANS = (
    "it needs fan_in and fan_out, which a bias, a norm, and a tensor below rank 2 or without elements has not;"
    " use normal, truncated_normal, uniform, constant, zeros or ones"
)
EMPTY_NORM = norm("", elementwise_affine=False)


def test_groups_and_repeats_prefix_the_names_of_their_layers() -> None:
    layers = group("encoder", repeat("h", 2, group("attn", linear("q")), norm("ln")), tensor("scale", ()))

    assert names(layers) == [
        "encoder.h.0.attn.q.weight",
        "encoder.h.0.attn.q.bias",
        "encoder.h.0.ln.weight",
        "encoder.h.0.ln.bias",
        "encoder.h.1.attn.q.weight",
        "encoder.h.1.attn.q.bias",
        "encoder.h.1.ln.weight",
        "encoder.h.1.ln.bias",
        "encoder.scale",
    ]


def test_nested_repeats_number_each_level() -> None:
    layers = repeat("a", 2, repeat("b", 3, tensor("w", ()), start=7), start=1)

    assert names(layers) == [f"a.{i}.b.{j}.w" for i in (1, 2) for j in (7, 8, 9)]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (linear("", bias=False), ["weight"]),
        (repeat("layers", 2, linear("", bias=False)), ["layers.0.weight", "layers.1.weight"]),
        (repeat("", 2, linear("", bias=False)), ["0.weight", "1.weight"]),
        (group("", group("", tensor("w", ()))), ["w"]),
        (repeat("w", 2, tensor("", ())), ["w.0", "w.1"]),
        (group("w", tensor("", ())), ["w"]),
    ],
    ids=str,
)
def test_empty_names_leave_no_dots(layer: Layer, expected: list[str]) -> None:
    assert names(layer) == expected


def test_the_prefix_stands_before_output_names_only() -> None:
    with_prefix = planned(linear("fc"), prefix="model/").tensors
    without = planned(linear("fc")).tensors

    assert [each.name for each in with_prefix] == ["model/fc.weight", "model/fc.bias"]
    assert [each.canonical_name for each in with_prefix] == [each.name for each in without]
    assert [stored(each).tobytes() for each in with_prefix] == [stored(each).tobytes() for each in without]


def test_names_are_neither_normalised_nor_trimmed() -> None:
    odd = [" w", "w ", "\u00e9", "e\u0301", "a..b", ".", "層/0", '"\\', "\U0001f600"]

    assert names(*(tensor(name, ()) for name in odd)) == odd


def test_a_dtype_of_a_layer_stands_before_the_one_of_the_model() -> None:
    plan = planned(linear("a", dtype="F64"), linear("b"), dtype="BF16")

    assert [each.parameter.dtype for each in plan.tensors] == [DType.F64, DType.F64, DType.BF16, DType.BF16]


def test_a_plan_counts_its_elements_and_bytes() -> None:
    plan = planned(linear("a", 3, 5, dtype="F64"), repeat("b", 4, tensor("w", (7,), dtype="F8_E4M3")), tensor("s", ()))

    assert plan.elements == 15 + 5 + 4 * 7 + 1
    assert plan.nbytes == 20 * 8 + 28 + 4


def test_a_plan_carries_its_canonical_form_digest_and_permalink() -> None:
    plan = planned(repeat("b", 4, tensor("w", (7,))), seed="3")

    assert plan.canonical == (
        b'{"layers":[{"layers":[{"initializer":"ones","name":"w","shape":[7],"type":"tensor"}],"name":"b","times":4,'
        b'"type":"repeat"}],"seed":"3","stream":1}'
    )
    assert read_linked(inflate_permalink(plan.permalink)) == plan.spec
    assert make_plan(plan.spec).digest == plan.digest


def test_ten_thousand_tensors_are_planned_one_by_one() -> None:
    plan = planned(repeat("h", 2500, linear("fc", 8, 4), norm("ln")))

    assert len(plan.tensors) == 10_000
    assert len({each.name for each in plan.tensors}) == 10_000
    assert plan.tensors[-1].name == "h.2499.ln.bias"
    assert plan.elements == 2500 * (8 * 4 + 4 + 3 + 3)


# Faults of meaning.


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 5), (0, 0)], ids=str)
def test_a_tensor_without_elements_is_planned_where_it_needs_no_fans(shape: tuple[int, ...]) -> None:
    [plan] = planned(tensor("w", shape, "normal")).tensors

    assert plan.shape == shape
    assert plan.elements == 0
    assert stored(plan).size == 0


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 5)], ids=str)
def test_a_scheme_refuses_tensors_without_elements(shape: tuple[int, ...]) -> None:
    [(pointer, message)] = faults(tensor("w", shape, "xavier_uniform"))

    assert pointer == "/layers/0/initializer"
    assert message == "xavier_uniform for the tensor: " + NEEDS_FANS


@pytest.mark.parametrize(
    ("layer", "pointer", "start"),
    [
        (tensor("w", (), "xavier_uniform"), "/layers/0/initializer", "xavier_uniform for the tensor: "),
        (tensor("w", (9,), "kaiming_normal"), "/layers/0/initializer", "kaiming_normal for the tensor: "),
        (linear("w", bias_initializer="lecun_normal"), "/layers/0/bias_initializer", "lecun_normal for bias: "),
        (norm("w", initializer="variance_scaling"), "/layers/0/initializer", "variance_scaling for weight: "),
        (norm("w", bias_initializer="he_normal"), "/layers/0/bias_initializer", "kaiming_normal for bias: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_scheme_refuses_parameters_without_fans(layer: Layer, pointer: str, start: str) -> None:
    [(found, message)] = faults(layer)

    assert found == pointer
    assert message == start + NEEDS_FANS


def test_the_model_initializer_is_not_asked_of_biases_and_norms() -> None:
    assert len(planned(linear("a"), norm("b"), initializer="kaiming_uniform").tensors) == 4


@pytest.mark.parametrize(("channels", "groups", "wrong"), [((3, 4), 2, 3), ((4, 3), 2, 3), ((4, 4), 3, 4)])
def test_groups_must_divide_the_channels(channels: tuple[int, int], groups: int, wrong: int) -> None:
    convolution = {"type": "conv2d", "name": "c", "in_channels": channels[0], "out_channels": channels[1]}

    found = faults(convolution | {"kernel_size": 3, "groups": groups})

    assert found == [
        ("/layers/0", f"groups must divide in_channels and out_channels; {groups} does not divide {wrong}")
    ]


@pytest.mark.parametrize(
    ("initializer", "dtype", "fits"),
    [
        ({"type": "constant", "value": 448}, "F8_E4M3", True),
        ({"type": "constant", "value": 465}, "F8_E4M3", False),
        ({"type": "constant", "value": -465}, "F8_E4M3", False),
        ({"type": "constant", "value": 57344}, "F8_E5M2", True),
        ({"type": "constant", "value": 61440}, "F8_E5M2", False),
        ({"type": "constant", "value": 65504}, "F16", True),
        ({"type": "constant", "value": 65520}, "F16", False),
        ({"type": "uniform", "low": -70000, "high": 0}, "F16", False),
        ({"type": "normal", "std": 10337}, "F16", True),
        ({"type": "normal", "std": 10338}, "F16", False),
        ({"type": "normal", "mean": 400, "std": 11}, "F8_E4M3", False),
        ({"type": "truncated_normal", "mean": 400, "std": 11}, "F8_E4M3", True),
        ({"type": "constant", "value": 3.3e38}, "BF16", True),
        ({"type": "constant", "value": 3.4e38}, "BF16", False),
        ({"type": "constant", "value": 3.4e38}, "F32", True),
        ({"type": "constant", "value": 3.5e38}, "F32", False),
        ({"type": "normal", "std": 1e307}, "F64", True),
        ({"type": "normal", "std": 1e308}, "F64", False),
        ({"type": "xavier_uniform", "gain": 1e5}, "F16", False),
        ({"type": "uniform", "low": -1.7e308, "high": 1.7e308}, "F64", False),
        ({"type": "uniform", "low": 1e308, "high": 1.7e308}, "F64", False),
    ],
    ids=str,
)
def test_what_may_overflow_its_dtype_is_refused(initializer: Layer, dtype: str, fits: bool) -> None:
    layer = tensor("w", (2, 3), initializer, dtype=dtype)
    if fits:
        assert planned(layer).elements == 6
    else:
        [(pointer, message)] = faults(layer)
        assert pointer == "/layers/0/initializer"
        assert message == (
            f"{initializer['type']} for the tensor: its largest value overflows {dtype}:"
            " use a wider dtype or a smaller scale"
        )


def test_a_bias_may_overflow_as_well() -> None:
    [(pointer, message)] = faults(linear("a", bias_initializer={"type": "constant", "value": 1e6}), dtype="F16")

    assert pointer == "/layers/0/bias_initializer"
    assert message.startswith("constant for bias: its largest value overflows F16")


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        (
            {"type": "xavier_normal", "gain": {"nonlinearity": "leaky_relu", "negative_slope": 1e200}},
            "xavier_normal for weight: its gain is 0.0; it must be above 0",
        ),
        (
            {"type": "kaiming_normal", "negative_slope": 1e200},
            "kaiming_normal for weight: its gain is 0.0; it must be above 0",
        ),
        (
            {"type": "xavier_uniform", "gain": 5e-324},
            "xavier_uniform for weight: its standard deviation is 0.0; it must be above 0 and finite",
        ),
    ],
    ids=["slope", "kaiming slope", "gain"],
)
def test_scalars_that_vanish_are_refused(initializer: Layer, message: str) -> None:
    assert faults(linear("a", 100, 100, initializer=initializer)) == [("/layers/0/initializer", message)]


# Names.


@pytest.mark.parametrize(
    ("layers", "fault"),
    [
        ((tensor("w", ()), tensor("w", ())), ("/layers/1/name", "'w'", "/layers/0")),
        ((linear("a"), tensor("a.bias", ())), ("/layers/1/name", "'a.bias'", "/layers/0")),
        ((group("g", tensor("w", ())), tensor("g.w", ())), ("/layers/1/name", "'g.w'", "/layers/0/layers/0")),
        ((tensor("h.1.w", ()), repeat("h", 2, tensor("w", ()))), ("/layers/1/layers/0/name", "'h.1.w'", "/layers/0")),
        (
            (repeat("h", 2, tensor("w", ())), repeat("h", 1, tensor("w", ()), start=1)),
            ("/layers/1/layers/0/name", "'h.1.w'", "/layers/0/layers/0"),
        ),
    ],
    ids=["same", "parameter", "group", "repeat", "numbers"],
)
def test_two_tensors_of_one_name_are_refused(layers: tuple[Layer, ...], fault: tuple[str, str, str]) -> None:
    pointer, name, owner = fault

    assert faults(*layers) == [
        (pointer, f"the tensor {name} is already made by {owner}: give the layers different names")
    ]


def test_repeats_of_one_name_with_other_numbers_are_different_tensors() -> None:
    assert len(names(repeat("h", 2, tensor("w", ())), repeat("h", 2, tensor("w", ()), start=2))) == 4


def test_names_must_differ_in_the_file_and_in_the_canonical_naming() -> None:
    in_the_file = faults(linear("a", bias=False), tensor("a.kernel", ()), framework="keras")
    canonical = faults(linear("a", bias=False), tensor("a.weight", ()), framework="keras")

    assert [pointer for pointer, _ in in_the_file] == ["/layers/1/name"]
    assert "'a.kernel' is already made by /layers/0" in in_the_file[0][1]
    assert "'a.weight' is already made by /layers/0" in canonical[0][1]
    assert len(names(linear("a", bias=False), tensor("a.kernel", ()))) == 2


@pytest.mark.parametrize("name", ["a\nb", "\x00", "a\x7f", "a\x85b", "\x1b[0m"], ids=ascii)
def test_control_characters_in_names_are_refused(name: str) -> None:
    assert faults(tensor(name, ())) == [("/layers/0/name", f"names must be free of control characters; got {name!a}")]


def test_control_characters_in_the_prefix_are_blamed_on_the_prefix() -> None:
    assert {pointer for pointer, _ in faults(tensor("w", ()), prefix="a\nb")} == {"/prefix"}


@pytest.mark.parametrize("name", ["\u00ad", "\u200b", "\ue000", "\u2028", " "], ids=ascii)
def test_unprintable_characters_that_are_no_control_characters_are_allowed(name: str) -> None:
    assert names(tensor(name, ())) == [name]


def test_a_tensor_needs_a_name() -> None:
    for layer in (tensor("", ()), group("", tensor("", ()))):
        [(pointer, message)] = faults(layer, prefix="p")
        assert pointer == ("/layers/0/name" if layer["type"] == "tensor" else "/layers/0/layers/0/name")
        assert message == "a tensor needs a name; this one is empty"


def test_the_name_of_the_metadata_is_reserved() -> None:
    [(pointer, message)] = faults(tensor("__metadata__", ()))

    assert pointer == "/layers/0/name"
    assert message == "__metadata__ is reserved by the file format: choose another name"
    assert faults(tensor("data__", ()), prefix="__meta") == [(pointer, message)]


@pytest.mark.parametrize("layers", [(EMPTY_NORM,), (group("g", EMPTY_NORM),), (repeat("g", 2**50, EMPTY_NORM),)])
def test_layers_without_any_tensor_are_refused(layers: tuple[Layer, ...]) -> None:
    assert faults(*layers) == [("/layers", "the layers have no tensors; at least one is needed")]


# Stages.


def test_all_faults_of_a_stage_are_named_together() -> None:
    found = faults(
        tensor("w", (), "xavier_uniform"),
        group("g", linear("a", bias_initializer="lecun_uniform"), norm("b", initializer="he_uniform")),
        tensor("v", (2, 2), {"type": "constant", "value": 1e39}),
    )

    assert [pointer for pointer, _ in found] == [
        "/layers/0/initializer",
        "/layers/1/layers/0/bias_initializer",
        "/layers/1/layers/1/initializer",
        "/layers/2/initializer",
    ]


def test_a_fault_inside_a_repeat_is_named_once() -> None:
    assert len(faults(repeat("h", 50, tensor("w", (), "xavier_uniform")))) == 1


def test_meaning_comes_before_limits_and_limits_before_names() -> None:
    meaningless = tensor("w", (), "xavier_uniform")
    large, twice = tensor("v", (1000,)), [tensor("x", ()), tensor("x", ())]
    small = Limits(dimension=999)

    assert [pointer for pointer, _ in faults(meaningless, large, *twice, limits=small)] == ["/layers/0/initializer"]
    with pytest.raises(LimitExceeded):
        planned(large, *twice, limits=small)
    assert [pointer for pointer, _ in faults(*twice, limits=small)] == ["/layers/1/name"]


def test_of_very_many_faults_the_first_are_told() -> None:
    found = faults(*(tensor(f"{number}", (), "xavier_uniform") for number in range(MOST_FAULTS + 17)))

    assert len(found) == MOST_FAULTS + 1
    assert found[-1] in (("", "and 17 more faults"), ("", "and more faults"))


def test_a_plan_is_the_same_for_the_same_specification() -> None:
    document = spec(linear("a"), seed=5)

    assert make_plan(read_spec(document)).digest == make_plan(read_spec(document)).digest
