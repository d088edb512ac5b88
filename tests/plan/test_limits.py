"""Limits: each is checked in plain integers, before anything is expanded or drawn, whatever the numbers are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from unittest.mock import ANY

import pytest

from service.distributions import orthogonal
from service.errors import InvalidSpec, LimitExceeded, LimitFault
from service.formats.safetensors import SafetensorsFile
from service.limits import Limits
from service.plan import make_outline, planner
from service.plan.findings import MOST_TOLD
from service.plan.layers import recurrent
from service.plan.parameter import LayerParameter
from service.schema.parsing import read_spec
from service.stream.words import WordSource
from tests.plan.planned import Layer, excesses, group, linear, planned, repeat, spec, tensor
from tests.plan.test_every_layer import NETWORK, convolution, depthwise

HUGE: Final = 2**50
MOST: Final = 2**53 - 1
DIMENSION: Final = 2**31 - 1
FRAMEWORKS: Final = ("torch", "keras")
NOTHING: Final[Layer] = {"type": "layer_norm", "name": "n", "normalized_shape": 3, "elementwise_affine": False}
SCALAR: Final = tensor("w", ())
SPARSE: Final = {"type": "sparse", "sparsity": 0.5}


@pytest.fixture(name="never_expanded")
def _never_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the expansion of repeats, and drawing, a failure."""

    def expand(*_: Any) -> Iterator[Any]:
        pytest.fail("a specification beyond the limits was expanded")

    monkeypatch.setattr(planner._Planner, "expand", expand)
    monkeypatch.setattr(WordSource, "lane", expand)
    monkeypatch.setattr(orthogonal, "orthogonal_factor", expand)


def named(found: list[LimitFault]) -> list[tuple[str, str, int, int]]:
    return [(excess.pointer, excess.name, excess.limit, excess.requested) for excess in found]


def layer(kind: str, **fields: Any) -> Layer:
    return {"type": kind, "name": "a"} | fields


def cells(kind: str = "lstm", **more: Any) -> Layer:
    return layer(kind, **{"input_size": 3, "hidden_size": 2} | more)


def heads(**more: Any) -> Layer:
    return layer("multihead_attention", **{"embed_dim": 12, "num_heads": 3} | more)


def experts(count: int, rows: int, columns: int, **fields: Any) -> Layer:
    axes = {"batch_axes": [0], "out_axes": [1], "in_axes": [2]} | fields
    return tensor("experts", (count, rows, columns), "orthogonal", **axes)


ACROSS: Final = experts(100, 1000, 4, batch_axes=[1], out_axes=[0])
FUSED: Final = layer(
    "conv2d", in_channels=256, out_channels=4096, kernel_size=1, groups=2, bias=False, initializer="orthogonal"
)
PROJECTIONS: Final = heads(embed_dim=64, num_heads=32, bias=False, initializer="orthogonal")
ONE_MORE: Final[list[tuple[tuple[Layer, ...], str, int, str]]] = [
    ((repeat("h", 50, linear("fc")), SCALAR), "tensors", 101, "/layers"),
    ((cells(num_layers=10),), "tensors", 40, "/layers"),
    ((repeat("h", 3, tensor("w", (100,), dtype="F64")),), "file_bytes", 2400, "/layers"),
    ((tensor("w", (1, 1, 1, 1)),), "rank", 4, "/layers/0"),
    ((group("g", linear("fc", 8, 5)),), "dimension", 8, "/layers/0/layers/0"),
    ((tensor("é" * 8, ()),), "name_bytes", 16, "/layers/0/name"),
    ((repeat("h", 11, SCALAR),), "name_bytes", 6, "/layers/0/layers/0/name"),
    ((tensor("w", (11, 11), "orthogonal"),), "whole_elements", 121, "/layers/0"),
    ((tensor("w", (11, 11), SPARSE),), "whole_elements", 121, "/layers/0"),
    ((tensor("w", (4, 4, 1), "delta_orthogonal"),), "whole_elements", 16, "/layers/0"),
    ((tensor("v", (4, 4), "orthogonal"), tensor("w", (4, 5), "orthogonal")), "whole_elements", 20, "/layers/1"),
    ((cells(hidden_size=64, recurrent_initializer="orthogonal"),), "whole_elements", 64 * 64, "/layers/0"),
    (
        (repeat("h", 10, experts(3, 5, 7)), tensor("w", (6, 4), SPARSE)),
        "whole_total_elements",
        10 * 3 * 5 * 7 + 24,
        "/layers",
    ),
    ((PROJECTIONS,), "whole_total_elements", 4 * 64 * 64, "/layers"),
    ((experts(1000, 100, 4),), "whole_bytes", 131_072 // 400 * 400 * 4, "/layers/0"),
    ((ACROSS,), "whole_bytes", 400_000 * 4, "/layers/0"),
    ((ACROSS | {"dtype": "F64"},), "whole_bytes", 400_000 * 8, "/layers/0"),
    ((FUSED,), "whole_bytes", 2048 * 128 * 4, "/layers/0"),
]
WHAT: Final = {
    "whole_elements": "elements of a matrix that is drawn whole",
    "whole_total_elements": "elements of matrices that are drawn whole",
    "whole_bytes": "bytes of interleaved matrices in a tensor",
}


@pytest.mark.parametrize(("layers", "name", "requested", "pointer"), ONE_MORE, ids=str)
def test_as_much_as_a_limit_is_allowed_and_one_more_is_refused(
    layers: tuple[Layer, ...], name: str, requested: int, pointer: str, request: pytest.FixtureRequest
) -> None:
    planned(*layers, limits=Limits(**{name: requested}))

    request.getfixturevalue("never_expanded")
    [excess] = excesses(*layers, limits=Limits(**{name: requested - 1}))

    assert named([excess]) == [(pointer, name, requested - 1, requested)]
    assert excess.message.startswith(f"at most {requested - 1} {WHAT.get(name, '')}")
    assert excess.message.endswith(f"; this asks for {requested}: make it smaller, or raise XAVIER_MAX_{name.upper()}")


@pytest.mark.parametrize(
    ("subject", "name", "in_torch", "in_keras"),
    [
        (cells(num_layers=10), "tensors", 40, 30),
        (heads(), "rank", 2, 3),
        (cells(hidden_size=64, recurrent_initializer="orthogonal"), "whole_elements", 64 * 64, 64 * 64),
        (PROJECTIONS, "whole_total_elements", 4 * 64 * 64, 4 * 64 * 64),
        (FUSED, "whole_bytes", 2048 * 128 * 4, 2 * 2048 * 128 * 4),
    ],
    ids=str,
)
def test_what_lies_in_the_file_of_a_framework_counts(subject: Layer, name: str, in_torch: int, in_keras: int) -> None:
    for framework, requested in zip(FRAMEWORKS, (in_torch, in_keras), strict=True):
        planned(subject, framework=framework, limits=Limits(**{name: requested}))
        found = excesses(subject, framework=framework, limits=Limits(**{name: requested - 1}))
        assert {(excess.name, excess.requested) for excess in found} == {(name, requested)}


BY_DEFAULT: Final[list[tuple[tuple[Layer, ...], list[tuple[str, str, int, int]]]]] = [
    (
        (repeat("h", 100_000, group("n" * 1000, tensor("w" * 30, ()))),),
        [
            ("/layers/0/layers/0/layers/0/name", "name_bytes", 1024, 1000 + 30 + 9),
            ("/layers", "header_bytes", 24_999_999, 215_000_000),
        ],
    ),
    (
        (group("n" * 1025, repeat("h", 3, SCALAR, tensor("v", ()))),),
        [(f"/layers/0/layers/0/layers/{n}/name", "name_bytes", 1024, 1025 + len(".h.2.w")) for n in (0, 1)],
    ),
    (
        (tensor("n" * 2000, ()), tensor("w", (2**31, 2)), tensor("v", (1,) * 9), repeat("h", 200_000, SCALAR)),
        [
            ("/layers/0/name", "name_bytes", 1024, 2000),
            ("/layers/1", "dimension", DIMENSION, 2**31),
            ("/layers/2", "rank", 8, 9),
            ("/layers", "tensors", 100_000, ANY),
        ],
    ),
    *(
        ((layer("rms_norm", normalized_shape=[MOST] * rank),), [("/layers/0", "rank", 8, rank)])
        for rank in (9, 300, 1000)
    ),
    (
        (repeat("h", 100, tensor("w", (4096, 4096), "orthogonal")),),
        [("/layers", "whole_total_elements", 2**30, 100 * 4096 * 4096)],
    ),
]


@pytest.mark.usefixtures("never_expanded")
@pytest.mark.parametrize(("layers", "expected"), BY_DEFAULT, ids=lambda value: str(value)[:60])
def test_every_excess_is_named(layers: tuple[Layer, ...], expected: list[tuple[str, str, int, int]]) -> None:
    assert named(excesses(*layers)) == expected


@pytest.mark.usefixtures("never_expanded")
@pytest.mark.parametrize(
    ("subject", "requested"),
    [
        (cells(hidden_size=2**29), 2**31),
        (cells("gru", hidden_size=MOST), 3 * MOST),
        (cells(input_size=MOST), MOST),
        (cells("rnn", hidden_size=2**30, bidirectional=True, num_layers=2), 2**31),
        (heads(embed_dim=2**30, num_heads=2), 3 * 2**30),
        (heads(kdim=MOST), MOST),
        (depthwise("a", 3, in_channels=2**20, depth_multiplier=2**20), 2**40),
        (depthwise("a", [MOST]), MOST),
        (convolution("separable_conv", "a", 3, in_channels=MOST, depth_multiplier=MOST), MOST**2),
        (convolution("conv_transpose3d", "a", MOST), MOST),
        (convolution("conv3d", "a", MOST, in_channels=MOST, out_channels=MOST), MOST),
        (layer("bilinear", in1_features=3, in2_features=MOST, out_features=2), MOST),
        (layer("group_norm", num_groups=1, num_channels=MOST), MOST),
        (layer("rms_norm", normalized_shape=[2, MOST]), MOST),
        (layer("instance_norm", num_features=MOST), MOST),
        (tensor("w", (MOST,) * 8, "variance_scaling"), MOST),
        (tensor("w", (2**31, 2), "orthogonal"), 2**31),
    ],
    ids=str,
)
def test_sizes_beyond_the_limit_of_a_dimension_are_refused(subject: Layer, requested: int) -> None:
    for framework in FRAMEWORKS:
        found = excesses(subject, framework=framework)
        dimensions = [excess for excess in found if excess.name == "dimension"]

        assert {excess.pointer for excess in dimensions} == {"/layers/0"}
        assert requested in {excess.requested for excess in dimensions}
        assert len(set(found)) == len(found)


@pytest.mark.usefixtures("never_expanded")
@pytest.mark.parametrize(
    "subject",
    [
        cells(hidden_size=2**17),
        cells(hidden_size=2**28),
        heads(embed_dim=2**18, num_heads=2),
        layer("bilinear", in1_features=2**17, in2_features=2**18, out_features=2),
        convolution("conv_transpose2d", "a", 2**12, in_channels=2**7, out_channels=2**7),
    ],
    ids=str,
)
def test_tensors_of_too_many_bytes_are_refused(subject: Layer) -> None:
    for framework in FRAMEWORKS:
        assert [(excess.pointer, excess.name) for excess in excesses(subject, framework=framework)] == [
            ("/layers", "file_bytes")
        ]


@pytest.mark.usefixtures("never_expanded")
@pytest.mark.parametrize("size", [2, MOST], ids=["small", "large"])
@pytest.mark.parametrize("rank", [9, 300, 1000])
def test_a_shape_of_any_rank_is_refused_by_its_rank(rank: int, size: int) -> None:
    assert ("/layers/0", "rank", 8, rank) in named(excesses(tensor("w", (size,) * rank)))


# In integers of any size.


@pytest.mark.usefixtures("never_expanded")
def test_repeats_and_what_is_drawn_whole_are_multiplied_not_expanded_and_told_up_to_a_bound() -> None:
    def requested(subject: Layer) -> dict[str, int]:
        return {excess.name: excess.requested for excess in excesses(subject)}

    twice = repeat("h", 2**40, repeat("h", 2**40, tensor("w", (3,))))
    deep = tensor("w", (3,))
    for _ in range(40):
        deep = repeat("h", HUGE, deep)

    assert requested(twice).items() >= {"tensors": 2**80, "file_bytes": 12 * 2**80}.items()
    assert requested(deep) == dict.fromkeys(("tensors", "file_bytes", "header_bytes"), MOST_TOLD)
    assert requested(repeat("h", HUGE, experts(DIMENSION, 4, 4)))["whole_total_elements"] == HUGE * DIMENSION * 16
    assert requested(tensor("w", (DIMENSION, 2), "orthogonal"))["whole_elements"] == 2**32 - 2


def test_repeats_of_layers_without_tensors_cost_nothing_however_many() -> None:
    plan = planned(repeat("h", HUGE, repeat("i", HUGE, NOTHING)), group("g", NOTHING), SCALAR)

    assert [each.name for each in plan.tensors] == ["w"]


def test_a_start_of_any_size_is_a_number_in_names() -> None:
    [only] = planned(repeat("h", 1, SCALAR, start=MOST)).tensors

    assert only.name == f"h.{MOST}.w"


def test_fans_of_any_size_are_refused_rather_than_crash_where_limits_are_raised() -> None:
    with pytest.raises((LimitExceeded, InvalidSpec)):
        planned(tensor("w", (MOST,) * 40, "xavier_uniform"), limits=Limits(rank=40, dimension=2**53))


@pytest.fixture(name="cells_made")
def _cells_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inputs of every cell whose parameters are made."""
    made: list[int] = []
    parameters = recurrent._Cell.parameters

    def counted(cell: recurrent._Cell, inputs: int) -> Iterator[LayerParameter]:
        made.append(inputs)
        return parameters(cell, inputs)

    monkeypatch.setattr(recurrent._Cell, "parameters", counted)
    return made


@pytest.mark.usefixtures("never_expanded")
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(
    ("more", "in_torch", "in_keras"), [({}, 4, 3), ({"bias": False}, 2, 2), ({"bidirectional": True}, 8, 6)], ids=str
)
def test_of_very_many_layers_the_first_two_are_made_and_all_are_counted(
    kind: str, more: Layer, in_torch: int, in_keras: int, cells_made: list[int]
) -> None:
    for framework, each in zip(FRAMEWORKS, (in_torch, in_keras), strict=True):
        cells_made.clear()
        found = excesses(cells(kind, num_layers=MOST, **more), framework=framework)

        assert [excess.name for excess in found] == ["tensors", "file_bytes", "header_bytes"]
        assert found[0].requested == each * MOST
        assert len(cells_made) == (4 if "bidirectional" in more else 2)


def test_the_layers_of_a_stack_share_their_parameters_also_where_one_has_the_distribution_of_two() -> None:
    for framework, bias in (("torch", "torch_default"), ("keras", {"type": "constant", "value": 0.5})):
        plan = planned(cells(num_layers=50, bias_initializer=bias), framework=framework)

        assert len({id(each.parameter) for each in plan.tensors}) == 2 * len(plan.tensors) // 50


# The header.


@pytest.mark.usefixtures("never_expanded")
@pytest.mark.parametrize("times", [26_000, 100_000])
def test_a_header_that_must_be_too_long_is_refused_without_being_written(times: int) -> None:
    [excess] = excesses(repeat("n" * 500, times, SCALAR))

    assert (excess.pointer, excess.name, excess.limit) == ("/layers", "header_bytes", 24_999_999)


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


# What is allowed.


def test_deep_groups_are_planned_as_far_as_json_goes() -> None:
    deep = SCALAR
    for _ in range(95):
        deep = group("g", deep)

    [only] = planned(deep).tensors

    assert only.name == "g." * 95 + "w"


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    "subject",
    [
        experts(8, 4096, 1024),
        experts(64, 1024, 2048, dtype="F64"),
        heads(embed_dim=4096, num_heads=32, initializer="orthogonal", bias=False),
        heads(embed_dim=4096, num_heads=32, initializer=SPARSE, bias=False),
        cells(hidden_size=4096, recurrent_initializer="orthogonal"),
        tensor("i", (100_000, 1000), "identity"),
        tensor("w", (4, 3, 1000, 1000), "delta_orthogonal"),
    ],
    ids=str,
)
def test_matrices_each_within_the_limit_are_planned_by_default(subject: Layer, framework: str) -> None:
    planned(subject, framework=framework)
