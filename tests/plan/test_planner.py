"""What a specification means: names, counts, offsets of repeats, and what a plan carries."""

from __future__ import annotations

from typing import Any

import pytest

from service.plan import make_plan
from service.schema.parsing import read_spec
from service.schema.permalinks import inflate_permalink, read_linked
from service.stream.dtypes import DType
from tests.plan.planned import Layer, group, linear, planned, repeat, spec, stored, tensor


def names(*layers: Layer, **more: Any) -> list[str]:
    return [each.name for each in planned(*layers, **more).tensors]


def norm(name: str, **more: Any) -> Layer:
    return {"type": "layer_norm", "name": name, "normalized_shape": 3} | more


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


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 5), (0, 0)], ids=str)
def test_a_tensor_without_elements_is_planned_where_it_needs_no_fans(shape: tuple[int, ...]) -> None:
    [plan] = planned(tensor("w", shape, "normal")).tensors

    assert plan.shape == shape
    assert plan.elements == 0
    assert stored(plan).size == 0


@pytest.mark.parametrize("name", ["\u00ad", "\u200b", "\ue000", "\u2028", " "], ids=ascii)
def test_unprintable_characters_that_are_no_control_characters_are_allowed(name: str) -> None:
    assert names(tensor(name, ())) == [name]


def test_a_plan_is_the_same_for_the_same_specification() -> None:
    document = spec(linear("a"), seed=5)

    assert make_plan(read_spec(document)).digest == make_plan(read_spec(document)).digest
