"""Any elements of any tensor can be drawn alone, and equal the same elements of the whole, in either framework."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.distributions.blockwise import Blockwise, Concatenated, Sum
from service.limits import Limits
from service.plan import TensorPlan
from service.schema.layers import LayerUnion
from service.stream.dtypes import DType
from service.stream.words import MOST_WORDS
from tests.plan.planned import Array, Layer, by_name, linear, planned, stored, values
from tests.plan.test_every_layer import NETWORK, ROWS, Row

MODELS: Final = {model.model_fields["type"].annotation.__args__[0]: model for model in LayerUnion.__args__}


def with_random_biases(layer: Layer) -> Layer:
    """The layer with random numbers wherever it may have some."""
    if "layers" in layer:
        return layer | {"layers": [with_random_biases(inside) for inside in layer["layers"]]}
    random = {"initializer": "normal", "bias_initializer": "uniform"}
    model = MODELS.get(layer["type"])
    return layer | {
        field: distribution for field, distribution in random.items() if model and field in model.model_fields
    }


class Drawn(NamedTuple):
    """A tensor in one of the frameworks, and all its elements."""

    framework: str
    plan: TensorPlan
    whole: Array

    def __str__(self) -> str:
        return f"{self.framework} {self.plan.name}"


def drawn(framework: str, dtype: str = "F32") -> list[Drawn]:
    layers = [with_random_biases(layer) for layer in NETWORK]
    return [Drawn(framework, each, stored(each)) for each in planned(*layers, framework=framework, dtype=dtype).tensors]


DRAWN: Final = [*drawn("torch"), *drawn("keras")]
REARRANGED: Final = [each for each in DRAWN if each.plan.parameter.rearrangement]
each_row = pytest.mark.parametrize("row", ROWS, ids=str)


def drawn_of(row: Row) -> list[Drawn]:
    """The tensors of a layer in both frameworks."""
    names = {expected.name for expected in row.tensors}
    return [each for each in DRAWN if each.plan.canonical_name in names]


def test_the_tensors_are_of_all_kinds() -> None:
    rearrangements = [each.plan.parameter.rearrangement for each in REARRANGED]
    distributions = {type(each.plan.distribution) for each in DRAWN}

    assert {rearrangement.part for rearrangement in rearrangements if rearrangement} == {None, 0, 1, 2}
    assert any(rearrangement.order for rearrangement in rearrangements if rearrangement)
    assert any(rearrangement.shape for rearrangement in rearrangements if rearrangement)
    assert {Blockwise, Sum, Concatenated} <= distributions


@each_row
def test_tensors_are_drawn_in_small_chunks(row: Row) -> None:
    for _, plan, whole in drawn_of(row):
        total = min(whole.size, 280)
        chunks = [stored(plan, first, min(7, total - first)) for first in range(0, total, 7)]

        assert np.concatenate(chunks).tobytes() == whole[:total].tobytes(), plan.name


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(DRAWN), st.data())
def test_any_slice_of_any_tensor_is_a_slice_of_the_whole(tensor: Drawn, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, tensor.whole.size))
    last = data.draw(st.integers(first, tensor.whole.size))

    assert stored(tensor.plan, first, last - first).tobytes() == tensor.whole[first:last].tobytes()


@pytest.mark.parametrize("dtype", DType)
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_chunks_equal_the_whole_in_every_dtype(dtype: DType, framework: str) -> None:
    for _, plan, whole in drawn(framework, dtype):
        middle = whole.size // 2
        chunks = [stored(plan, 0, middle), stored(plan, middle, whole.size - middle)]

        assert np.concatenate(chunks).tobytes() == whole.tobytes(), plan.name


@pytest.mark.parametrize(
    "row", [row for row in ROWS if "hidden_size" in row.layer or "embed_dim" in row.layer], ids=str
)
def test_orthogonal_tensors_are_drawn_in_chunks_too(row: Row) -> None:
    for framework in ("torch", "keras"):
        for plan in planned(row.layer, framework=framework, initializer="orthogonal").tensors:
            whole = stored(plan)
            chunks = [stored(plan, first, min(17, whole.size - first)) for first in range(0, whole.size, 17)]

            assert np.concatenate(chunks).tobytes() == whole.tobytes(), plan.name


# Canonical order.


def canonical(plan: TensorPlan, first: int = 0, count: int | None = None) -> Array:
    out = np.empty(plan.elements - first if count is None else count, plan.parameter.dtype.storage)
    plan.fill_canonical(first, out)
    return out


def test_canonical_order_is_the_same_in_every_framework() -> None:
    torch = {each.plan.canonical_name: each for each in DRAWN if each.framework == "torch"}
    found: dict[str, list[Array]] = {}
    for _, plan, _ in (each for each in DRAWN if each.framework == "keras"):
        if ".bias_ih" not in plan.canonical_name:  # both biases in one
            found.setdefault(plan.canonical_name, []).append(canonical(plan))

    assert {len(parts) for parts in found.values()} == {1, 3}
    assert sum(len(parts) == 3 for parts in found.values()) == 4
    for name, parts in found.items():
        assert np.concatenate(parts).tobytes() == canonical(torch[name].plan).tobytes(), name


@each_row
def test_canonical_order_is_drawn_in_chunks_of_any_size(row: Row) -> None:
    for _, plan, stored_whole in drawn_of(row):
        whole = canonical(plan)

        assert sorted(whole.tolist()) == sorted(stored_whole.tolist()), plan.name
        for first, last in ((0, 1), (whole.size // 3, whole.size), (whole.size // 2, whole.size // 2)):
            assert canonical(plan, first, last - first).tobytes() == whole[first:last].tobytes(), plan.name


# Tensors longer than one call for words.


def test_a_permuted_tensor_longer_than_one_call_for_words_is_the_transpose() -> None:
    layer = linear("fc", 1031, 1033, bias=False)
    [torch], [keras] = (planned(layer, framework=name).tensors for name in ("torch", "keras"))

    assert torch.elements > 2 * MOST_WORDS
    np.testing.assert_array_equal(values(keras), values(torch).T)


def test_a_row_longer_than_one_call_for_words_is_drawn_in_pieces() -> None:
    layer = linear("fc", 2, MOST_WORDS + 11, bias=False)
    [torch], [keras] = (planned(layer, framework=name).tensors for name in ("torch", "keras"))

    np.testing.assert_array_equal(values(keras), values(torch).T)
    np.testing.assert_array_equal(stored(keras, MOST_WORDS, 30), stored(keras)[MOST_WORDS : MOST_WORDS + 30])


def test_a_projection_longer_than_one_call_for_words_is_a_part_of_the_one_of_torch() -> None:
    layer = {"type": "multihead_attention", "name": "mha", "embed_dim": 738, "num_heads": 6, "bias": False}
    torch, keras = (by_name(planned(layer, framework=name)) for name in ("torch", "keras"))

    assert torch["mha.out_proj.weight"].size > MOST_WORDS
    for part, name in zip(np.split(torch["mha.in_proj_weight"], 3), ("query", "key", "value"), strict=True):
        np.testing.assert_array_equal(keras[f"mha.{name}.kernel"], part.reshape(6, 123, 738).transpose(2, 0, 1))


@pytest.mark.parametrize(("kind", "order"), [("gru", [1, 0, 2]), ("lstm", [0, 1, 2, 3])])
def test_biases_longer_than_one_call_for_words_are_those_of_torch(kind: str, order: list[int]) -> None:
    hidden = MOST_WORDS // 3 + 5
    layer = {"type": kind, "name": "a", "input_size": 3, "hidden_size": hidden, "bias_initializer": "normal"}
    plans = (planned(layer, framework=name, limits=Limits(file_bytes=1 << 50)) for name in ("torch", "keras"))
    torch, keras = ({each.name: each for each in plan.tensors} for plan in plans)
    both = [stored(torch[f"a.bias_{of}_l0"]).reshape(-1, hidden)[order] for of in ("ih", "hh")]

    expected = np.stack(both) if kind == "gru" else both[0] + both[1]

    assert expected.size > MOST_WORDS
    np.testing.assert_array_equal(stored(keras["a.bias"]), expected.reshape(-1))
