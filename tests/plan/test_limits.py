"""Limits: each is checked in plain integers, before a repeat is expanded, whatever the numbers are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from service.errors import InvalidSpec, LimitExceeded, LimitFault
from service.formats.safetensors import SafetensorsFile
from service.limits import Limits
from service.plan import make_outline, planner
from service.plan.findings import MOST_TOLD
from service.schema.parsing import read_spec
from tests.plan.planned import Layer, excesses, group, linear, planned, repeat, spec, tensor
from tests.plan.test_every_layer import NETWORK

HUGE = 2**50
NOTHING: Layer = {"type": "layer_norm", "name": "n", "normalized_shape": 3, "elementwise_affine": False}


@pytest.fixture(name="never_expanded")
def _never_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the expansion of repeats a failure."""

    def expand(*_: Any) -> Iterator[Any]:
        pytest.fail("a specification beyond the limits was expanded")

    monkeypatch.setattr(planner._Planner, "expand", expand)


def named(found: list[LimitFault]) -> list[tuple[str, str, int, int]]:
    return [(excess.pointer, excess.name, excess.limit, excess.requested) for excess in found]


@pytest.mark.usefixtures("never_expanded")
@pytest.mark.parametrize(
    ("layers", "limits", "expected"),
    [
        (
            (repeat("h", 50, linear("fc")), tensor("w", ())),
            Limits(tensors=100),
            ("/layers", "tensors", 100, 101),
        ),
        (
            (repeat("h", 3, tensor("w", (100,), dtype="F64")),),
            Limits(file_bytes=2399),
            ("/layers", "file_bytes", 2399, 2400),
        ),
        (
            (tensor("w", (1, 1, 1, 1)),),
            Limits(rank=3),
            ("/layers/0", "rank", 3, 4),
        ),
        (
            (group("g", linear("fc", 8, 5)),),
            Limits(dimension=7),
            ("/layers/0/layers/0", "dimension", 7, 8),
        ),
        (
            (tensor("é" * 8, ()),),
            Limits(name_bytes=15),
            ("/layers/0/name", "name_bytes", 15, 16),
        ),
    ],
    ids=["tensors", "file_bytes", "rank", "dimension", "name_bytes"],
)
def test_one_more_than_a_limit_is_refused(
    layers: tuple[Layer, ...], limits: Limits, expected: tuple[str, str, int, int]
) -> None:
    [excess] = excesses(*layers, limits=limits)

    assert named([excess]) == [expected]
    _, name, limit, requested = expected
    assert excess.message.startswith(f"at most {limit} ")
    assert f"this asks for {requested}: make it smaller, or raise XAVIER_MAX_{name.upper()}" in excess.message


def test_as_much_as_a_limit_is_allowed() -> None:
    limits = Limits(tensors=101, file_bytes=50 * 8 * 4 + 4, rank=2, dimension=3, name_bytes=14)

    plan = planned(repeat("h", 50, linear("fc")), tensor("w", ()), limits=limits)

    assert len(plan.tensors) == 101
    assert max(len(each.name) for each in plan.tensors) == 14


@pytest.mark.usefixtures("never_expanded")
def test_nested_repeats_are_multiplied_not_expanded() -> None:
    layer = tensor("w", (3,))
    for _ in range(40):
        layer = repeat("h", HUGE, layer)

    found = {excess.name: excess.requested for excess in excesses(layer)}

    assert found == dict.fromkeys(("tensors", "file_bytes", "header_bytes"), MOST_TOLD)


@pytest.mark.usefixtures("never_expanded")
def test_what_is_asked_for_is_told_exactly_up_to_a_bound() -> None:
    layer = repeat("h", 2**40, repeat("h", 2**40, tensor("w", (3,))))

    found = {excess.name: excess.requested for excess in excesses(layer)}

    assert (found["tensors"], found["file_bytes"]) == (2**80, 12 * 2**80)


def test_repeats_of_layers_without_tensors_cost_nothing_however_many() -> None:
    plan = planned(repeat("h", HUGE, repeat("i", HUGE, NOTHING)), group("g", NOTHING), tensor("w", ()))

    assert [each.name for each in plan.tensors] == ["w"]


def test_a_start_of_any_size_is_a_number_in_names() -> None:
    [only] = planned(repeat("h", 1, tensor("w", ()), start=2**53 - 1)).tensors

    assert only.name == f"h.{2**53 - 1}.w"


@pytest.mark.usefixtures("never_expanded")
def test_the_longest_number_of_a_repeat_counts_for_the_length_of_a_name() -> None:
    layer = repeat("h", 11, tensor("w", ()))

    [excess] = excesses(layer, limits=Limits(name_bytes=5))

    assert named([excess]) == [("/layers/0/layers/0/name", "name_bytes", 5, 6)]


@pytest.mark.usefixtures("never_expanded")
def test_a_long_name_many_times_is_refused_without_being_written() -> None:
    long = "n" * 1000

    first, *others = excesses(repeat("h", 100_000, group(long, tensor("w" * 30, ()))))

    assert named([first]) == [("/layers/0/layers/0/layers/0/name", "name_bytes", 1024, 1000 + 30 + 9)]
    assert [excess.name for excess in others] == ["header_bytes"]


@pytest.mark.usefixtures("never_expanded")
def test_names_that_are_too_long_with_their_prefixes_are_named_leaf_by_leaf() -> None:
    found = excesses(group("n" * 1025, repeat("h", 3, tensor("w", ()), tensor("v", ()))))

    assert named(found) == [
        (f"/layers/0/layers/0/layers/{number}/name", "name_bytes", 1024, 1025 + len(".h.2.w")) for number in (0, 1)
    ]


@pytest.mark.usefixtures("never_expanded")
@pytest.mark.parametrize("times", [26_000, 100_000])
def test_a_header_that_must_be_too_long_is_refused_without_being_written(times: int) -> None:
    found = excesses(repeat("n" * 500, times, tensor("w", ())))

    assert [(excess.pointer, excess.name, excess.limit) for excess in found] == [
        ("/layers", "header_bytes", 24_999_999)
    ]


def test_a_header_is_never_counted_longer_than_it_is() -> None:
    numbered = repeat("h", 120, tensor("w", (), dtype="F16"), start=95)
    layers = (numbered, tensor("v", (0,), "zeros"), group("n", *NETWORK))
    for framework, prefix in (("torch", ""), ("keras", ""), ("torch", "p.")):
        plan = planned(*layers, framework=framework, prefix=prefix)
        limits = Limits(header_bytes=len(SafetensorsFile(plan, "none").header) - 8)

        assert planned(*layers, framework=framework, prefix=prefix, limits=limits).digest == plan.digest


def test_a_header_of_the_smallest_tensors_is_not_counted_longer_than_it_is_either() -> None:
    layers = repeat("", 1000, tensor("", (0,)), start=1000)
    plan = planned(layers)
    limits = Limits(header_bytes=len(SafetensorsFile(plan, "none").header) - 8)

    assert planned(layers, limits=limits).digest == plan.digest


def test_names_are_never_counted_longer_than_they_are() -> None:
    inner = repeat("i", 3, tensor("w", ()), linear("fc"), start=99)
    outline = make_outline(read_spec(spec(repeat("h", 2, inner, start=9), prefix="p.", framework="keras")))

    names = [tensor.name for tensor in outline.expanded().tensors]

    assert {"p.h.9.i.99.w", "p.h.10.i.101.fc.kernel"} <= {*names}
    assert outline.name_bytes <= sum(map(len, names))


@pytest.mark.parametrize("prefix", ["", "p", "model."])
def test_a_name_with_its_prefix_may_be_exactly_as_long_as_the_limit(prefix: str) -> None:
    name = "n" * (1024 - len(prefix))

    [only] = planned(tensor(name, ()), prefix=prefix).tensors

    assert len(only.name) == 1024
    with pytest.raises(LimitExceeded):
        planned(tensor(name + "n", ()), prefix=prefix)


@pytest.mark.usefixtures("never_expanded")
def test_every_excess_of_a_specification_is_named() -> None:
    found = excesses(
        tensor("n" * 2000, ()),
        tensor("w", (2**31, 2)),
        tensor("v", (1,) * 9),
        repeat("h", 200_000, tensor("x", ())),
    )

    assert [(excess.pointer, excess.name) for excess in found] == [
        ("/layers/0/name", "name_bytes"),
        ("/layers/1", "dimension"),
        ("/layers/2", "rank"),
        ("/layers", "tensors"),
    ]


@pytest.mark.usefixtures("never_expanded")
@pytest.mark.parametrize("size", [2, 2**53 - 1], ids=["small", "large"])
@pytest.mark.parametrize("rank", [9, 300, 1000])
def test_a_shape_of_any_rank_is_refused_by_its_rank(rank: int, size: int) -> None:
    found = excesses(tensor("w", (size,) * rank))

    assert ("/layers/0", "rank", 8, rank) in named(found)


@pytest.mark.usefixtures("never_expanded")
def test_a_scheme_on_dimensions_beyond_the_limit_is_not_computed() -> None:
    found = excesses(tensor("w", (2**53 - 1,) * 8, "variance_scaling"))

    assert ("/layers/0", "dimension", 2**31 - 1, 2**53 - 1) in named(found)


@pytest.mark.usefixtures("never_expanded")
def test_a_convolution_of_huge_numbers_is_refused() -> None:
    channels = 2**53 - 1
    layer = {"type": "conv3d", "name": "c", "in_channels": channels, "out_channels": channels, "kernel_size": channels}

    found = excesses(layer)

    assert "dimension" in {excess.name for excess in found}


def test_deep_groups_are_planned_as_far_as_json_goes() -> None:
    layer = tensor("w", ())
    for _ in range(95):
        layer = group("g", layer)

    [only] = planned(layer).tensors

    assert only.name == "g." * 95 + "w"


def test_raising_a_limit_lets_more_through() -> None:
    layers = repeat("h", 5, tensor("w", (1,) * 9))

    with pytest.raises(LimitExceeded):
        planned(layers)
    assert len(planned(layers, limits=Limits(rank=9)).tensors) == 5


def test_fans_of_any_size_are_refused_rather_than_crash_where_limits_are_raised() -> None:
    limits = Limits(rank=40, dimension=2**53)

    with pytest.raises((LimitExceeded, InvalidSpec)):
        planned(tensor("w", (2**53 - 1,) * 40, "xavier_uniform"), limits=limits)


# what is drawn whole


def experts(count: int, rows: int, columns: int, **fields: Any) -> Layer:
    axes = {"batch_axes": [0], "out_axes": [1], "in_axes": [2]} | fields
    return tensor("experts", (count, rows, columns), "orthogonal", **axes)


ATTENTION: Layer = {
    "type": "multihead_attention",
    "name": "a",
    "embed_dim": 4096,
    "num_heads": 32,
    "initializer": "orthogonal",
    "bias": False,
}
FUSED: Layer = {
    "type": "conv2d",
    "name": "c",
    "in_channels": 256,
    "out_channels": 512,
    "kernel_size": 1,
    "groups": 2,
    "bias": False,
    "initializer": "orthogonal",
}
"""Two groups of 128 x 256."""


@pytest.mark.parametrize("framework", ["torch", "keras"])
@pytest.mark.parametrize(
    "layer",
    [
        experts(8, 4096, 1024),
        experts(64, 1024, 2048, dtype="F64"),
        ATTENTION,
        ATTENTION | {"initializer": {"type": "sparse", "sparsity": 0.5}},
        {"type": "lstm", "name": "l", "input_size": 9, "hidden_size": 4096, "recurrent_initializer": "orthogonal"},
    ],
    ids=["experts", "many experts", "fused attention", "sparse attention", "lstm"],
)
def test_a_stack_of_matrices_each_within_the_limit_is_planned_by_default(layer: Layer, framework: str) -> None:
    planned(layer, framework=framework)


@pytest.mark.usefixtures("never_expanded")
def test_all_matrices_of_a_file_are_counted_with_repeats_multiplied() -> None:
    layers = repeat("h", 10, experts(3, 5, 7)), tensor("w", (6, 4), {"type": "sparse", "sparsity": 0.5})
    total = 10 * 3 * 5 * 7 + 24

    [excess] = excesses(*layers, limits=Limits(whole_total_elements=total - 1))

    assert named([excess]) == [("/layers", "whole_total_elements", total - 1, total)]
    assert excess.message == (
        f"at most {total - 1} elements of matrices that are drawn whole; this asks for {total}:"
        " make it smaller, or raise XAVIER_MAX_WHOLE_TOTAL_ELEMENTS"
    )


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_projection_that_is_a_tensor_of_its_own_counts_as_its_share(framework: str) -> None:
    layer, total = ATTENTION | {"embed_dim": 64}, 4 * 64 * 64

    planned(layer, framework=framework, limits=Limits(whole_total_elements=total, whole_bytes=64 * 64 * 4 * 8))
    [excess] = excesses(layer, framework=framework, limits=Limits(whole_total_elements=total - 1))
    assert excess.requested == total


@pytest.mark.usefixtures("never_expanded")
def test_a_hundred_of_the_largest_matrices_are_refused_by_default() -> None:
    [excess] = excesses(repeat("h", 100, tensor("w", (4096, 4096), "orthogonal")))

    assert (excess.name, excess.requested) == ("whole_total_elements", 100 * 4096 * 4096)


@pytest.mark.parametrize(
    ("layer", "framework", "nbytes"),
    [
        (experts(1000, 100, 4), "torch", 131_072 // 400 * 400 * 4),
        (experts(100, 1000, 4, batch_axes=[1], out_axes=[0]), "torch", 400_000 * 4),
        (experts(100, 1000, 4, batch_axes=[1], out_axes=[0], dtype="F64"), "torch", 400_000 * 8),
        (FUSED | {"out_channels": 4096}, "torch", 2048 * 128 * 4),
        (FUSED | {"out_channels": 4096}, "keras", 2 * 2048 * 128 * 4),
    ],
    ids=["one by one", "across", "across in F64", "groups", "groups in Keras' order"],
)
def test_matrices_that_lie_across_each_other_are_counted_in_bytes_as_they_are_held_together(
    layer: Layer, framework: str, nbytes: int
) -> None:
    planned(layer, framework=framework, limits=Limits(whole_bytes=nbytes))

    [excess] = excesses(layer, framework=framework, limits=Limits(whole_bytes=nbytes - 1))

    assert named([excess]) == [("/layers/0", "whole_bytes", nbytes - 1, nbytes)]
    assert "bytes of matrices that lie across each other in a tensor; this asks for" in excess.message


@pytest.mark.usefixtures("never_expanded")
def test_what_is_drawn_whole_is_counted_in_integers_of_any_size() -> None:
    found = excesses(repeat("h", HUGE, experts(2**31 - 1, 4, 4)))

    assert {excess.name: excess.requested for excess in found}["whole_total_elements"] == HUGE * (2**31 - 1) * 16
