"""One table over every layer of the catalogue: its tensors in torch and in Keras, their fans, and what draws them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pytest

from service.initializers.fans import Fans
from service.schema.catalogue import layer_models, type_of
from service.schema.layers import LAYER_ALIASES
from service.stream.dtypes import DType
from tests.plan.planned import Array, Layer, by_name, group, linear, planned, repeat, tensor, values

Shape = tuple[int, ...]


class Keras(NamedTuple):
    """A tensor in Keras' file; its axes as torch's, where it is a tensor of torch in another order of axes."""

    name: str
    shape: Shape
    axes: Shape | None = None


class Expected(NamedTuple):
    """A tensor in torch's file, and the tensors in Keras' file that stand for it: a part each, or none."""

    name: str
    shape: Shape
    keras: tuple[Keras, ...]
    fans: Fans | None = None
    initializer: str = "zeros"


class Row(NamedTuple):
    """A layer as a caller writes it, and its tensors, in torch's order and, where that is another, in Keras'."""

    layer: Layer
    tensors: tuple[Expected, ...]
    in_keras: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.layer['type']} {self.layer['name']}"


def same(
    name: str, shape: Shape, keras_name: str = "", fans: Fans | None = None, initializer: str = "zeros"
) -> Expected:
    """A tensor that is the same in both."""
    return Expected(name, shape, (Keras(keras_name or name, shape, tuple(range(len(shape)))),), fans, initializer)


def moved(
    name: str, shape: Shape, keras: tuple[str, Shape], fans: Fans, initializer: str = "xavier_uniform"
) -> Expected:
    """A tensor whose axes have another order in Keras, which is given by axes of torch."""
    keras_name, axes = keras
    return Expected(name, shape, (Keras(keras_name, tuple(shape[axis] for axis in axes), axes),), fans, initializer)


def convolution(kind: str, name: str, kernel_size: Any, **more: Any) -> Layer:
    channels = {"in_channels": 6, "out_channels": 9}
    return {"type": kind, "name": name, **channels, "kernel_size": kernel_size} | more


def depthwise(name: str, kernel_size: Any, **more: Any) -> Layer:
    return {"type": "depthwise_conv", "name": name, "in_channels": 6, "kernel_size": kernel_size} | more


def recurrent(kind: str, name: str, **more: Any) -> Layer:
    return {"type": kind, "name": name, "input_size": 5, "hidden_size": 7} | more


def attention(name: str, **more: Any) -> Layer:
    return {"type": "multihead_attention", "name": name, "embed_dim": 12, "num_heads": 3} | more


def cell(name: str, path: str, gates: int, inputs: int, suffix: str = "_l0") -> tuple[Expected, Expected]:
    """Both weights of a cell of 7 units."""
    return (
        Expected(
            f"{name}.weight_ih{suffix}",
            (gates * 7, inputs),
            (Keras(f"{path}.kernel", (inputs, gates * 7)),),
            Fans(inputs, 7),
            XAVIER,
        ),
        Expected(
            f"{name}.weight_hh{suffix}",
            (gates * 7, 7),
            (Keras(f"{path}.recurrent_kernel", (7, gates * 7)),),
            Fans(7, 7),
            XAVIER,
        ),
    )


def biases(
    name: str, keras: Keras, length: int, suffix: str = "_l0", initializer: str = "zeros"
) -> tuple[Expected, Expected]:
    """Both biases of a cell of torch; Keras has one tensor."""
    return (
        Expected(f"{name}.bias_ih{suffix}", (length,), (keras,), None, initializer),
        Expected(f"{name}.bias_hh{suffix}", (length,), (), None, initializer),
    )


def with_biases(name: str) -> tuple[str, ...]:
    """The order of Keras' attention: every kernel is followed by its bias."""
    parts = ("query", "key", "value", "attention_output")
    return tuple(f"{name}.{part}.{last}" for part in parts for last in ("kernel", "bias"))


def projections(name: str, last: str, shape: Shape) -> tuple[Keras, ...]:
    return tuple(Keras(f"{name}.{each}.{last}", shape) for each in ("query", "key", "value"))


XAVIER: Final = "xavier_uniform"
ROWS: Final = (
    Row(
        linear("fc", 5, 7),
        (
            moved("fc.weight", (7, 5), ("fc.kernel", (1, 0)), Fans(5, 7)),
            same("fc.bias", (7,)),
        ),
    ),
    Row(linear("head", 3, 1, bias=False), (moved("head.weight", (1, 3), ("head.kernel", (1, 0)), Fans(3, 1)),)),
    Row(
        linear("c_attn", 5, 9, layout="in_out", bias_initializer="normal"),
        (
            same("c_attn.weight", (5, 9), "c_attn.kernel", Fans(5, 9), XAVIER),
            same("c_attn.bias", (9,), initializer="normal"),
        ),
    ),
    Row(
        {"type": "dense", "name": "dense", "in_features": 2, "out_features": 3, "bias": False},
        (moved("dense.weight", (3, 2), ("dense.kernel", (1, 0)), Fans(2, 3)),),
    ),
    Row(
        {"type": "bilinear", "name": "bi", "in1_features": 3, "in2_features": 4, "out_features": 5},
        (
            moved("bi.weight", (5, 3, 4), ("bi.kernel", (1, 2, 0)), Fans(12, 5)),
            same("bi.bias", (5,)),
        ),
    ),
    Row(
        {"type": "bilinear", "name": "bi.one", "in1_features": 7, "in2_features": 1, "out_features": 2, "bias": False},
        (moved("bi.one.weight", (2, 7, 1), ("bi.one.kernel", (1, 2, 0)), Fans(7, 2)),),
    ),
    Row(
        convolution("conv1d", "c1", 5),
        (
            moved("c1.weight", (9, 6, 5), ("c1.kernel", (2, 1, 0)), Fans(30, 45)),
            same("c1.bias", (9,)),
        ),
    ),
    Row(
        convolution("conv1d", "c1.grouped", [3], groups=3, bias=False),
        (moved("c1.grouped.weight", (9, 2, 3), ("c1.grouped.kernel", (2, 1, 0)), Fans(6, 9)),),
    ),
    Row(
        convolution("conv2d", "c2", [3, 5], bias_initializer={"type": "constant", "value": 0.5}),
        (
            moved("c2.weight", (9, 6, 3, 5), ("c2.kernel", (2, 3, 1, 0)), Fans(90, 135)),
            same("c2.bias", (9,), initializer="constant"),
        ),
    ),
    Row(
        convolution("conv2d", "c2.grouped", 3, groups=3, bias=False),
        (moved("c2.grouped.weight", (9, 2, 3, 3), ("c2.grouped.kernel", (2, 3, 1, 0)), Fans(18, 27)),),
    ),
    Row(
        convolution("conv2d", "c2.each", 3, groups=6, out_channels=6, bias=False),
        (moved("c2.each.weight", (6, 1, 3, 3), ("c2.each.kernel", (2, 3, 1, 0)), Fans(9, 9)),),
    ),
    Row(
        convolution("conv3d", "c3", [1, 2, 3], groups=3, initializer="kaiming_normal"),
        (
            moved("c3.weight", (9, 2, 1, 2, 3), ("c3.kernel", (2, 3, 4, 1, 0)), Fans(12, 18), "kaiming_normal"),
            same("c3.bias", (9,)),
        ),
    ),
    Row(
        convolution("conv_transpose1d", "t1", 5),
        (
            moved("t1.weight", (6, 9, 5), ("t1.kernel", (2, 1, 0)), Fans(30, 45)),
            same("t1.bias", (9,)),
        ),
    ),
    Row(
        convolution("conv_transpose2d", "t2", [3, 5], groups=3, bias=False),
        (moved("t2.weight", (6, 3, 3, 5), ("t2.kernel", (2, 3, 1, 0)), Fans(30, 45)),),
    ),
    Row(
        convolution("conv_transpose2d", "t2.up", 4, out_channels=3, initializer="kaiming_uniform"),
        (
            moved("t2.up.weight", (6, 3, 4, 4), ("t2.up.kernel", (2, 3, 1, 0)), Fans(96, 48), "kaiming_uniform"),
            same("t2.up.bias", (3,)),
        ),
    ),
    Row(
        convolution("conv_transpose3d", "t3", [1, 2, 3], groups=3),
        (
            moved("t3.weight", (6, 3, 1, 2, 3), ("t3.kernel", (2, 3, 4, 1, 0)), Fans(12, 18)),
            same("t3.bias", (9,)),
        ),
    ),
    Row(
        depthwise("d1", [5]),
        (
            moved("d1.weight", (6, 1, 5), ("d1.kernel", (2, 0, 1)), Fans(5, 5)),
            same("d1.bias", (6,)),
        ),
    ),
    Row(
        depthwise("d2", [3, 5], depth_multiplier=2, bias_initializer="normal"),
        (
            Expected("d2.weight", (12, 1, 3, 5), (Keras("d2.kernel", (3, 5, 6, 2)),), Fans(15, 30), XAVIER),
            same("d2.bias", (12,), initializer="normal"),
        ),
    ),
    Row(
        depthwise("d2.short", 3, type="depthwise", bias=False),
        (moved("d2.short.weight", (6, 1, 3, 3), ("d2.short.kernel", (2, 3, 0, 1)), Fans(9, 9)),),
    ),
    Row(
        depthwise("d3", [1, 2, 3], depth_multiplier=3, bias=False),
        (Expected("d3.weight", (18, 1, 1, 2, 3), (Keras("d3.kernel", (1, 2, 3, 6, 3)),), Fans(6, 18), XAVIER),),
    ),
    Row(
        convolution("separable_conv", "s1", [5]),
        (
            moved("s1.depthwise.weight", (6, 1, 5), ("s1.depthwise_kernel", (2, 0, 1)), Fans(5, 5)),
            moved("s1.pointwise.weight", (9, 6, 1), ("s1.pointwise_kernel", (2, 1, 0)), Fans(6, 9)),
            same("s1.pointwise.bias", (9,), "s1.bias"),
        ),
    ),
    Row(
        convolution("separable_conv", "s2", 3, depth_multiplier=2, pointwise_initializer="lecun_normal", bias=False),
        (
            Expected(
                "s2.depthwise.weight", (12, 1, 3, 3), (Keras("s2.depthwise_kernel", (3, 3, 6, 2)),), Fans(9, 18), XAVIER
            ),
            moved(
                "s2.pointwise.weight", (9, 12, 1, 1), ("s2.pointwise_kernel", (2, 3, 1, 0)), Fans(12, 9), "lecun_normal"
            ),
        ),
    ),
    Row(
        convolution("separable_conv", "s3", [1, 2, 3], initializer="lecun_uniform", bias_initializer="normal"),
        (
            moved(
                "s3.depthwise.weight",
                (6, 1, 1, 2, 3),
                ("s3.depthwise_kernel", (2, 3, 4, 0, 1)),
                Fans(6, 6),
                "lecun_uniform",
            ),
            moved(
                "s3.pointwise.weight",
                (9, 6, 1, 1, 1),
                ("s3.pointwise_kernel", (2, 3, 4, 1, 0)),
                Fans(6, 9),
                "lecun_uniform",
            ),
            same("s3.pointwise.bias", (9,), "s3.bias", initializer="normal"),
        ),
    ),
    Row(recurrent("rnn", "rnn"), (*cell("rnn", "rnn", 1, 5), *biases("rnn", Keras("rnn.bias", (7,)), 7))),
    Row(
        recurrent("rnn", "rnn.deep", num_layers=2, bias=False),
        (*cell("rnn.deep", "rnn.deep.0", 1, 5), *cell("rnn.deep", "rnn.deep.1", 1, 7, "_l1")),
    ),
    Row(
        recurrent("lstm", "lstm", bias_initializer="normal"),
        (*cell("lstm", "lstm", 4, 5), *biases("lstm", Keras("lstm.bias", (28,)), 28, initializer="normal")),
    ),
    Row(
        recurrent("lstm", "lstm.forget", forget_bias=1),
        (*cell("lstm.forget", "lstm.forget", 4, 5), *biases("lstm.forget", Keras("lstm.forget.bias", (28,)), 28)),
    ),
    Row(
        recurrent("lstm", "lstm.plain", bias=False, bidirectional=True),
        (
            *cell("lstm.plain", "lstm.plain.forward", 4, 5),
            *cell("lstm.plain", "lstm.plain.backward", 4, 5, "_l0_reverse"),
        ),
    ),
    Row(
        recurrent("lstm", "lstm.deep", num_layers=2, bidirectional=True),
        tuple(
            expected
            for number, inputs in ((0, 5), (1, 14))
            for direction, suffix in (("forward", f"_l{number}"), ("backward", f"_l{number}_reverse"))
            for path in (f"lstm.deep.{number}.{direction}",)
            for expected in (
                *cell("lstm.deep", path, 4, inputs, suffix),
                *biases("lstm.deep", Keras(f"{path}.bias", (28,)), 28, suffix),
            )
        ),
    ),
    Row(
        recurrent("gru", "gru", bias_initializer="normal"),
        (*cell("gru", "gru", 3, 5), *biases("gru", Keras("gru.bias", (2, 21)), 21, initializer="normal")),
    ),
    Row(
        recurrent("gru", "gru.deep", num_layers=3, bias=False),
        (
            *cell("gru.deep", "gru.deep.0", 3, 5),
            *cell("gru.deep", "gru.deep.1", 3, 7, "_l1"),
            *cell("gru.deep", "gru.deep.2", 3, 7, "_l2"),
        ),
    ),
    Row(
        attention("mha"),
        (
            Expected("mha.in_proj_weight", (36, 12), projections("mha", "kernel", (12, 3, 4)), Fans(12, 12), XAVIER),
            Expected("mha.in_proj_bias", (36,), projections("mha", "bias", (3, 4))),
            Expected(
                "mha.out_proj.weight",
                (12, 12),
                (Keras("mha.attention_output.kernel", (3, 4, 12)),),
                Fans(12, 12),
                XAVIER,
            ),
            same("mha.out_proj.bias", (12,), "mha.attention_output.bias"),
        ),
        with_biases("mha"),
    ),
    Row(
        attention("mha.plain", num_heads=12, bias=False, out_initializer="lecun_normal"),
        (
            Expected(
                "mha.plain.in_proj_weight",
                (36, 12),
                projections("mha.plain", "kernel", (12, 12, 1)),
                Fans(12, 12),
                XAVIER,
            ),
            Expected(
                "mha.plain.out_proj.weight",
                (12, 12),
                (Keras("mha.plain.attention_output.kernel", (12, 1, 12)),),
                Fans(12, 12),
                "lecun_normal",
            ),
        ),
    ),
    Row(
        attention("mha.cross", kdim=5, vdim=7, bias_initializer="normal"),
        (
            Expected(
                "mha.cross.q_proj_weight",
                (12, 12),
                (Keras("mha.cross.query.kernel", (12, 3, 4)),),
                Fans(12, 12),
                XAVIER,
            ),
            Expected(
                "mha.cross.k_proj_weight", (12, 5), (Keras("mha.cross.key.kernel", (5, 3, 4)),), Fans(5, 12), XAVIER
            ),
            Expected(
                "mha.cross.v_proj_weight", (12, 7), (Keras("mha.cross.value.kernel", (7, 3, 4)),), Fans(7, 12), XAVIER
            ),
            Expected("mha.cross.in_proj_bias", (36,), projections("mha.cross", "bias", (3, 4)), initializer="normal"),
            Expected(
                "mha.cross.out_proj.weight",
                (12, 12),
                (Keras("mha.cross.attention_output.kernel", (3, 4, 12)),),
                Fans(12, 12),
                XAVIER,
            ),
            same("mha.cross.out_proj.bias", (12,), "mha.cross.attention_output.bias", initializer="normal"),
        ),
        with_biases("mha.cross"),
    ),
    Row(
        attention("mha.apart", num_heads=2, kdim=12, fused=False, bias=False),
        (
            *(
                Expected(
                    f"mha.apart.{name[0]}_proj_weight",
                    (12, 12),
                    (Keras(f"mha.apart.{name}.kernel", (12, 2, 6)),),
                    Fans(12, 12),
                    XAVIER,
                )
                for name in ("query", "key", "value")
            ),
            Expected(
                "mha.apart.out_proj.weight",
                (12, 12),
                (Keras("mha.apart.attention_output.kernel", (2, 6, 12)),),
                Fans(12, 12),
                XAVIER,
            ),
        ),
    ),
    Row(
        {"type": "embedding", "name": "wte", "num_embeddings": 11, "embedding_dim": 3},
        (same("wte.weight", (11, 3), "wte.embeddings", Fans(11, 3), "normal"),),
    ),
    Row(
        {"type": "layer_norm", "name": "ln", "normalized_shape": 5},
        (
            same("ln.weight", (5,), "ln.gamma", initializer="ones"),
            same("ln.bias", (5,), "ln.beta"),
        ),
    ),
    Row(
        {"type": "layer_norm", "name": "ln.2d", "normalized_shape": [3, 5], "bias": False, "initializer": "uniform"},
        (same("ln.2d.weight", (3, 5), "ln.2d.gamma", initializer="uniform"),),
    ),
    Row(
        {"type": "rms_norm", "name": "rms", "normalized_shape": 5},
        (same("rms.weight", (5,), "rms.scale", initializer="ones"),),
    ),
    Row(
        {"type": "rms_norm", "name": "rms.2d", "normalized_shape": [3, 5], "initializer": "normal"},
        (same("rms.2d.weight", (3, 5), "rms.2d.scale", initializer="normal"),),
    ),
    Row(
        {"type": "group_norm", "name": "gn", "num_groups": 2, "num_channels": 6, "bias_initializer": "normal"},
        (
            same("gn.weight", (6,), "gn.gamma", initializer="ones"),
            same("gn.bias", (6,), "gn.beta", initializer="normal"),
        ),
    ),
    Row(
        {"type": "batch_norm", "name": "bn", "num_features": 7, "bias_initializer": "truncated_normal"},
        (
            same("bn.weight", (7,), "bn.gamma", initializer="ones"),
            same("bn.bias", (7,), "bn.beta", initializer="truncated_normal"),
            same("bn.running_mean", (7,), "bn.moving_mean"),
            same("bn.running_var", (7,), "bn.moving_variance", initializer="ones"),
        ),
    ),
    Row(
        {"type": "batch_norm", "name": "bn.plain", "num_features": 7, "affine": False},
        (
            same("bn.plain.running_mean", (7,), "bn.plain.moving_mean"),
            same("bn.plain.running_var", (7,), "bn.plain.moving_variance", initializer="ones"),
        ),
    ),
    Row(
        {"type": "batch_norm", "name": "bn.untracked", "num_features": 7, "track_running_stats": False},
        (
            same("bn.untracked.weight", (7,), "bn.untracked.gamma", initializer="ones"),
            same("bn.untracked.bias", (7,), "bn.untracked.beta"),
        ),
    ),
    Row(
        {"type": "instance_norm", "name": "in", "num_features": 7, "initializer": "uniform"},
        (
            same("in.weight", (7,), "in.gamma", initializer="uniform"),
            same("in.bias", (7,), "in.beta"),
        ),
    ),
    Row(
        {
            "type": "instance_norm",
            "name": "in.tracked",
            "num_features": 7,
            "affine": False,
            "track_running_stats": True,
        },
        (
            same("in.tracked.running_mean", (7,), "in.tracked.moving_mean"),
            same("in.tracked.running_var", (7,), "in.tracked.moving_variance", initializer="ones"),
        ),
    ),
    Row(
        {"type": "tensor", "name": "bare", "shape": [3, 5, 7]},
        (same("bare", (3, 5, 7), fans=Fans(35, 21), initializer=XAVIER),),
    ),
    Row(
        {"type": "tensor", "name": "bare.in_out", "shape": [3, 5, 7], "layout": "in_out"},
        (same("bare.in_out", (3, 5, 7), fans=Fans(15, 21), initializer=XAVIER),),
    ),
    Row(
        {"type": "tensor", "name": "axes", "shape": [2, 3, 5, 7], "in_axes": [-1], "out_axes": [1], "batch_axes": [0]},
        (same("axes", (2, 3, 5, 7), fans=Fans(35, 15), initializer=XAVIER),),
    ),
    Row(tensor("scalar", (), "ones"), (same("scalar", (), initializer="ones"),)),
    Row(
        group("encoder", linear("fc", 3, 5, bias=False), group("", tensor("scale", (2,)))),
        (
            moved("encoder.fc.weight", (5, 3), ("encoder.fc.kernel", (1, 0)), Fans(3, 5)),
            same("encoder.scale", (2,), initializer="ones"),
        ),
    ),
    Row(
        repeat("h", 2, linear("", 3, 5, bias=False), tensor("scale", (2,)), start=9),
        (
            moved("h.9.weight", (5, 3), ("h.9.kernel", (1, 0)), Fans(3, 5)),
            same("h.9.scale", (2,), initializer="ones"),
            moved("h.10.weight", (5, 3), ("h.10.kernel", (1, 0)), Fans(3, 5)),
            same("h.10.scale", (2,), initializer="ones"),
        ),
    ),
    Row(
        repeat("cells", 2, recurrent("gru", "", bidirectional=True)),
        tuple(
            expected
            for number in (0, 1)
            for direction, suffix in (("forward", "_l0"), ("backward", "_l0_reverse"))
            for path in (f"cells.{number}.{direction}",)
            for expected in (
                *cell(f"cells.{number}", path, 3, 5, suffix),
                *biases(f"cells.{number}", Keras(f"{path}.bias", (2, 21)), 21, suffix),
            )
        ),
    ),
)
NETWORK: Final = [row.layer for row in ROWS]
TENSORS: Final = [expected for row in ROWS for expected in row.tensors]
each_row = pytest.mark.parametrize("row", ROWS, ids=str)
each_dtype = pytest.mark.parametrize("dtype", DType)


def test_the_table_has_every_layer_of_the_catalogue() -> None:
    models = {type_of(model) for model in layer_models()}

    assert {row.layer["type"] for row in ROWS} == models | LAYER_ALIASES.keys()
    assert len({expected.name for expected in TENSORS}) == len(TENSORS)


@each_row
def test_every_layer_has_its_tensors_in_torch(row: Row) -> None:
    tensors = planned(row.layer).tensors

    assert [(each.name, each.shape) for each in tensors] == [(each.name, each.shape) for each in row.tensors]
    assert [each.name for each in tensors] == [each.canonical_name for each in tensors]


@each_row
def test_every_layer_has_its_tensors_in_keras(row: Row) -> None:
    tensors = planned(row.layer, framework="keras").tensors
    expected = {keras.name: (keras.shape, each.name) for each in row.tensors for keras in each.keras}

    assert [each.name for each in tensors] == list(row.in_keras or expected)
    assert {each.name: (each.shape, each.canonical_name) for each in tensors} == expected


@each_row
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_every_layer_has_exact_fans_and_default_initializers(row: Row, framework: str) -> None:
    expected = {each.name: (each.fans, each.initializer) for each in row.tensors}
    for each in planned(row.layer, framework=framework).tensors:
        parameter = each.parameter

        assert (parameter.fans, parameter.initializer.type) == expected[each.canonical_name]
        assert parameter.rule == (None if parameter.fans is None else "axes" if "in_axes" in row.layer else "exact")


@each_row
def test_the_initializer_of_the_model_is_the_default_for_kernels_and_bare_tensors_only(row: Row) -> None:
    parameters = [each.parameter for each in planned(row.layer, initializer="lecun_normal").tensors]

    assert [each.initializer.type for each in parameters] == [
        "lecun_normal" if each.initializer == XAVIER else each.initializer for each in row.tensors
    ]


@each_row
def test_as_many_values_are_drawn_in_keras_as_in_torch_but_for_biases_that_are_one(row: Row) -> None:
    torch, keras = (planned(row.layer, framework=name) for name in ("torch", "keras"))
    together = sum(each.shape[0] for each in row.tensors if not each.keras and "gru" not in str(row.layer))

    assert keras.elements == torch.elements - together


@each_dtype
def test_keras_has_the_same_values_under_its_names_and_axes(dtype: DType) -> None:
    torch, keras = (by_name(planned(*NETWORK, dtype=dtype, framework=name)) for name in ("torch", "keras"))

    assert set(keras) == {each.name for expected in TENSORS for each in expected.keras}
    for expected in TENSORS:
        for name, _, axes in expected.keras:
            if axes is not None:
                np.testing.assert_array_equal(keras[name], np.transpose(torch[expected.name], axes), err_msg=name)


def test_a_linear_layer_stored_in_out_is_the_transpose_of_one_stored_out_in() -> None:
    [usual, _], [stored_in_out, _] = (
        planned(linear("fc", 37, 23, layout=layout)).tensors for layout in ("out_in", "in_out")
    )

    np.testing.assert_array_equal(values(stored_in_out), values(usual).T)
    assert stored_in_out.parameter.fans == usual.parameter.fans == Fans(37, 23)


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


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_both_biases_and_directions_and_all_layers_have_words_of_their_own(kind: str) -> None:
    tensors = planned(
        recurrent(kind, "a", input_size=14, num_layers=2, bidirectional=True, bias_initializer="normal"),
        initializer="normal",
    ).tensors

    assert len({values(each).tobytes() for each in tensors}) == len(tensors) == 16
