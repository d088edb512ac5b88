"""One table over every layer of the catalogue: its tensors, their fans, and the same network in torch and in Keras."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pytest

from service.initializers.fans import Fans
from service.plan import Plan
from service.spec.catalogue import layer_models, type_of
from service.stream.dtypes import DType
from tests.plan.planned import Array, Layer, group, linear, planned, repeat, stored, tensor, values

Shape = tuple[int, ...]


class Expected(NamedTuple):
    """A tensor in torch's file, what Keras calls it, and Keras' axes as torch's (None where they are the same)."""

    name: str
    shape: Shape
    keras_name: str
    axes: Shape | None = None
    fans: Fans | None = None
    initializer: str = "zeros"


class Row(NamedTuple):
    """A layer as a caller writes it, and its tensors, in order."""

    layer: Layer
    tensors: tuple[Expected, ...]

    def __str__(self) -> str:
        return f"{self.layer['type']} {self.layer['name']}"


def convolution(kind: str, name: str, kernel_size: Any, **more: Any) -> Layer:
    channels = {"in_channels": 6, "out_channels": 9}
    return {"type": kind, "name": name, **channels, "kernel_size": kernel_size} | more


XAVIER: Final = "xavier_uniform"
ROWS: Final = (
    Row(
        linear("fc", 5, 7),
        (
            Expected("fc.weight", (7, 5), "fc.kernel", (1, 0), Fans(5, 7), XAVIER),
            Expected("fc.bias", (7,), "fc.bias"),
        ),
    ),
    Row(
        linear("head", 3, 1, bias=False), (Expected("head.weight", (1, 3), "head.kernel", (1, 0), Fans(3, 1), XAVIER),)
    ),
    Row(
        linear("c_attn", 5, 9, layout="in_out", bias_initializer="normal"),
        (
            Expected("c_attn.weight", (5, 9), "c_attn.kernel", None, Fans(5, 9), XAVIER),
            Expected("c_attn.bias", (9,), "c_attn.bias", initializer="normal"),
        ),
    ),
    Row(
        convolution("conv1d", "c1", 5),
        (
            Expected("c1.weight", (9, 6, 5), "c1.kernel", (2, 1, 0), Fans(30, 45), XAVIER),
            Expected("c1.bias", (9,), "c1.bias"),
        ),
    ),
    Row(
        convolution("conv1d", "c1.grouped", [3], groups=3, bias=False),
        (Expected("c1.grouped.weight", (9, 2, 3), "c1.grouped.kernel", (2, 1, 0), Fans(6, 9), XAVIER),),
    ),
    Row(
        convolution("conv2d", "c2", [3, 5], bias_initializer={"type": "constant", "value": 0.5}),
        (
            Expected("c2.weight", (9, 6, 3, 5), "c2.kernel", (2, 3, 1, 0), Fans(90, 135), XAVIER),
            Expected("c2.bias", (9,), "c2.bias", initializer="constant"),
        ),
    ),
    Row(
        convolution("conv2d", "c2.grouped", 3, groups=3, bias=False),
        (Expected("c2.grouped.weight", (9, 2, 3, 3), "c2.grouped.kernel", (2, 3, 1, 0), Fans(18, 27), XAVIER),),
    ),
    Row(
        convolution("conv2d", "depthwise", 3, groups=6, out_channels=6, bias=False),
        (Expected("depthwise.weight", (6, 1, 3, 3), "depthwise.kernel", (2, 3, 1, 0), Fans(9, 9), XAVIER),),
    ),
    Row(
        convolution("conv3d", "c3", [1, 2, 3], groups=3, initializer="kaiming_normal"),
        (
            Expected("c3.weight", (9, 2, 1, 2, 3), "c3.kernel", (2, 3, 4, 1, 0), Fans(12, 18), "kaiming_normal"),
            Expected("c3.bias", (9,), "c3.bias"),
        ),
    ),
    Row(
        {"type": "embedding", "name": "wte", "num_embeddings": 11, "embedding_dim": 3},
        (Expected("wte.weight", (11, 3), "wte.embeddings", None, Fans(11, 3), "normal"),),
    ),
    Row(
        {"type": "layer_norm", "name": "ln", "normalized_shape": 5},
        (
            Expected("ln.weight", (5,), "ln.gamma", initializer="ones"),
            Expected("ln.bias", (5,), "ln.beta"),
        ),
    ),
    Row(
        {"type": "layer_norm", "name": "ln.2d", "normalized_shape": [3, 5], "bias": False, "initializer": "uniform"},
        (Expected("ln.2d.weight", (3, 5), "ln.2d.gamma", initializer="uniform"),),
    ),
    Row(
        {"type": "batch_norm", "name": "bn", "num_features": 7, "bias_initializer": "truncated_normal"},
        (
            Expected("bn.weight", (7,), "bn.gamma", initializer="ones"),
            Expected("bn.bias", (7,), "bn.beta", initializer="truncated_normal"),
            Expected("bn.running_mean", (7,), "bn.moving_mean"),
            Expected("bn.running_var", (7,), "bn.moving_variance", initializer="ones"),
        ),
    ),
    Row(
        {"type": "batch_norm", "name": "bn.plain", "num_features": 7, "affine": False},
        (
            Expected("bn.plain.running_mean", (7,), "bn.plain.moving_mean"),
            Expected("bn.plain.running_var", (7,), "bn.plain.moving_variance", initializer="ones"),
        ),
    ),
    Row(
        {"type": "batch_norm", "name": "bn.untracked", "num_features": 7, "track_running_stats": False},
        (
            Expected("bn.untracked.weight", (7,), "bn.untracked.gamma", initializer="ones"),
            Expected("bn.untracked.bias", (7,), "bn.untracked.beta"),
        ),
    ),
    Row(
        {"type": "tensor", "name": "bare", "shape": [3, 5, 7]},
        (Expected("bare", (3, 5, 7), "bare", None, Fans(35, 21), XAVIER),),
    ),
    Row(
        {"type": "tensor", "name": "bare.in_out", "shape": [3, 5, 7], "layout": "in_out"},
        (Expected("bare.in_out", (3, 5, 7), "bare.in_out", None, Fans(15, 21), XAVIER),),
    ),
    Row(tensor("scalar", (), "ones"), (Expected("scalar", (), "scalar", initializer="ones"),)),
    Row(
        group("encoder", linear("fc", 3, 5, bias=False), group("", tensor("scale", (2,)))),
        (
            Expected("encoder.fc.weight", (5, 3), "encoder.fc.kernel", (1, 0), Fans(3, 5), XAVIER),
            Expected("encoder.scale", (2,), "encoder.scale", initializer="ones"),
        ),
    ),
    Row(
        repeat("h", 2, linear("", 3, 5, bias=False), tensor("scale", (2,)), start=9),
        (
            Expected("h.9.weight", (5, 3), "h.9.kernel", (1, 0), Fans(3, 5), XAVIER),
            Expected("h.9.scale", (2,), "h.9.scale", initializer="ones"),
            Expected("h.10.weight", (5, 3), "h.10.kernel", (1, 0), Fans(3, 5), XAVIER),
            Expected("h.10.scale", (2,), "h.10.scale", initializer="ones"),
        ),
    ),
)
NETWORK: Final = [row.layer for row in ROWS]
TENSORS: Final = [expected for row in ROWS for expected in row.tensors]
PERMUTED: Final = [expected for expected in TENSORS if expected.axes]
each_row = pytest.mark.parametrize("row", ROWS, ids=str)
each_dtype = pytest.mark.parametrize("dtype", DType)
each_permuted_tensor = pytest.mark.parametrize("expected", PERMUTED, ids=[each.name for each in PERMUTED])


def by_name(plan: Plan) -> dict[str, Array]:
    return {each.name: values(each) for each in plan.tensors}


def test_the_table_has_every_layer_of_the_catalogue() -> None:
    assert {row.layer["type"] for row in ROWS} == {type_of(model) for model in layer_models()}


@each_row
def test_every_layer_has_its_tensors_in_torch(row: Row) -> None:
    tensors = planned(row.layer).tensors

    assert [(each.name, each.shape) for each in tensors] == [(each.name, each.shape) for each in row.tensors]
    assert [each.name for each in tensors] == [each.canonical_name for each in tensors]


@each_row
def test_every_layer_has_its_tensors_in_keras(row: Row) -> None:
    tensors = planned(row.layer, framework="keras").tensors

    assert [(each.name, each.shape) for each in tensors] == [
        (each.keras_name, tuple(each.shape[axis] for axis in each.axes or range(len(each.shape))))
        for each in row.tensors
    ]
    assert [each.canonical_name for each in tensors] == [each.name for each in row.tensors]


@each_row
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_every_layer_has_exact_fans_and_default_initializers(row: Row, framework: str) -> None:
    parameters = [each.parameter for each in planned(row.layer, framework=framework).tensors]

    assert [each.fans for each in parameters] == [each.fans for each in row.tensors]
    assert [each.initializer.type for each in parameters] == [each.initializer for each in row.tensors]


@each_row
def test_the_initializer_of_the_model_is_the_default_for_kernels_and_bare_tensors_only(row: Row) -> None:
    parameters = [each.parameter for each in planned(row.layer, initializer="lecun_normal").tensors]

    assert [each.initializer.type for each in parameters] == [
        "lecun_normal" if each.initializer == XAVIER else each.initializer for each in row.tensors
    ]


@each_dtype
def test_keras_has_the_same_values_under_its_names_and_axes(dtype: DType) -> None:
    torch, keras = (by_name(planned(*NETWORK, dtype=dtype, framework=name)) for name in ("torch", "keras"))

    assert set(keras) == {each.keras_name for each in TENSORS}
    for each in TENSORS:
        same = torch[each.name] if each.axes is None else np.transpose(torch[each.name], each.axes)
        np.testing.assert_array_equal(keras[each.keras_name], same, err_msg=each.name)


def test_a_linear_layer_stored_in_out_is_the_transpose_of_one_stored_out_in() -> None:
    [usual, _], [stored_in_out, _] = (
        planned(linear("fc", 37, 23, layout=layout)).tensors for layout in ("out_in", "in_out")
    )

    np.testing.assert_array_equal(values(stored_in_out), values(usual).T)
    assert stored_in_out.parameter.fans == usual.parameter.fans == Fans(37, 23)


@each_dtype
@each_permuted_tensor
def test_permuted_tensors_are_drawn_in_chunks_of_any_size(expected: Expected, dtype: DType) -> None:
    keras = planned(*NETWORK, dtype=dtype, framework="keras").tensors
    [plan] = [each for each in keras if each.name == expected.keras_name]
    whole = stored(plan)

    for size in (1, 2, 3, 7, 64):
        chunks = [stored(plan, first, min(size, whole.size - first)) for first in range(0, whole.size, size)]
        assert np.concatenate(chunks).tobytes() == whole.tobytes()


@each_permuted_tensor
def test_every_slice_of_a_permuted_tensor_is_a_slice_of_the_whole(expected: Expected) -> None:
    keras = planned(*NETWORK, framework="keras").tensors
    [plan] = [each for each in keras if each.name == expected.keras_name]
    whole = stored(plan)

    for first in range(min(whole.size, 40)):
        for last in range(first, min(whole.size, 40) + 1):
            np.testing.assert_array_equal(stored(plan, first, last - first), whole[first:last])


def test_a_permuted_tensor_longer_than_one_call_for_words_is_the_transpose() -> None:
    layer = linear("fc", 1031, 1033, bias=False)
    [torch], [keras] = (planned(layer, framework=name).tensors for name in ("torch", "keras"))

    np.testing.assert_array_equal(values(keras), values(torch).T)


def test_canonical_order_is_the_same_in_every_framework() -> None:
    torch, keras = (planned(*NETWORK, framework=name).tensors for name in ("torch", "keras"))
    for one, other in zip(torch, keras, strict=True):
        of_one, of_other = (np.empty(one.elements, np.float32) for _ in range(2))
        one.fill_canonical(0, of_one)
        other.fill_canonical(0, of_other)

        np.testing.assert_array_equal(of_one, of_other)


def test_names_and_seeds_and_nothing_else_make_the_words() -> None:
    def normal(name: str, **more: Any) -> Array:
        [plan] = planned(tensor(name, (6, 10), "normal"), **more).tensors
        return values(plan)

    assert not np.array_equal(normal("a"), normal("b"))
    assert not np.array_equal(normal("a"), normal("a", seed=2))
    np.testing.assert_array_equal(normal("a"), normal("a", prefix="model."))
    np.testing.assert_array_equal(normal("a", seed=2**64 - 1), normal("a", seed=str(2**64 - 1)))
    [reshaped] = planned(tensor("a", (5, 4, 3), "normal")).tensors
    np.testing.assert_array_equal(values(reshaped).reshape(6, 10), normal("a"))
