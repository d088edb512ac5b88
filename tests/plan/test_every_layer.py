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


def row(layer: Layer, *tensors: Expected, in_keras: tuple[str, ...] = ()) -> Row:
    """A layer and its tensors, each by what stands in its name after the layer's."""

    def named(rest: str) -> str:
        return f"{layer['name']}.{rest}".removesuffix(".")

    full = (
        each._replace(
            name=named(each.name), keras=tuple(keras._replace(name=named(keras.name)) for keras in each.keras)
        )
        for each in tensors
    )
    return Row(layer, tuple(full), tuple(map(named, in_keras)))


def same(
    name: str, shape: Shape, fans: Fans | None = None, initializer: str = "zeros", keras: str | None = None
) -> Expected:
    """A tensor that is the same in both."""
    in_keras = Keras(name if keras is None else keras, shape, tuple(range(len(shape))))
    return Expected(name, shape, (in_keras,), fans, initializer)


def moved(
    name: str, shape: Shape, axes: Shape, fans: Fans, *, initializer: str = "xavier_uniform", keras: str = ""
) -> Expected:
    """A weight whose axes have another order in Keras, which is given by axes of torch."""
    in_keras = Keras(keras or name.replace("weight", "kernel"), tuple(shape[axis] for axis in axes), axes)
    return Expected(name, shape, (in_keras,), fans, initializer)


def parts(
    name: str, shape: Shape, fans: Fans | None, *keras: tuple[str, Shape], initializer: str = "xavier_uniform"
) -> Expected:
    """A tensor that lies otherwise in Keras, or in parts."""
    usual = initializer if fans or initializer != "xavier_uniform" else "zeros"
    return Expected(name, shape, tuple(Keras(*each) for each in keras), fans, usual)


def layer(kind: str, name: str, **fields: Any) -> Layer:
    return {"type": kind, "name": name} | fields


def convolution(kind: str, name: str, kernel_size: Any, **more: Any) -> Layer:
    channels = {"in_channels": 6, "out_channels": 9}
    return {"type": kind, "name": name, **channels, "kernel_size": kernel_size} | more


def depthwise(name: str, kernel_size: Any, **more: Any) -> Layer:
    return {"type": "depthwise_conv", "name": name, "in_channels": 6, "kernel_size": kernel_size} | more


def recurrent(kind: str, name: str, **more: Any) -> Layer:
    return {"type": kind, "name": name, "input_size": 5, "hidden_size": 7} | more


def attention(name: str, **more: Any) -> Layer:
    return {"type": "multihead_attention", "name": name, "embed_dim": 12, "num_heads": 3} | more


def cell(gates: int, path: str = "", inputs: int = 5, suffix: str = "_l0", name: str = "") -> tuple[Expected, Expected]:
    """Both weights of a cell of 7 units."""
    rows = gates * 7
    return (
        parts(f"{name}weight_ih{suffix}", (rows, inputs), Fans(inputs, 7), (f"{path}kernel", (inputs, rows))),
        parts(f"{name}weight_hh{suffix}", (rows, 7), Fans(7, 7), (f"{path}recurrent_kernel", (7, rows))),
    )


def biases(
    length: int, in_keras: Shape, path: str = "", suffix: str = "_l0", *, initializer: str = "zeros", name: str = ""
) -> tuple[Expected, Expected]:
    """Both biases of a cell of torch; Keras has one tensor."""
    return (
        Expected(f"{name}bias_ih{suffix}", (length,), (Keras(f"{path}bias", in_keras),), None, initializer),
        Expected(f"{name}bias_hh{suffix}", (length,), (), None, initializer),
    )


def projections(last: str, shape: Shape) -> tuple[tuple[str, Shape], ...]:
    return tuple((f"{each}.{last}", shape) for each in ("query", "key", "value"))


WITH_BIASES: Final = tuple(
    f"{part}.{last}" for part in ("query", "key", "value", "attention_output") for last in ("kernel", "bias")
)
"""The order of Keras' attention: every kernel is followed by its bias."""
XAVIER: Final = "xavier_uniform"
ROWS: Final = (
    row(linear("fc", 5, 7), moved("weight", (7, 5), (1, 0), Fans(5, 7)), same("bias", (7,))),
    row(linear("head", 3, 1, bias=False), moved("weight", (1, 3), (1, 0), Fans(3, 1))),
    row(
        linear("c_attn", 5, 9, layout="in_out", bias_initializer="normal"),
        same("weight", (5, 9), Fans(5, 9), initializer="xavier_uniform", keras="kernel"),
        same("bias", (9,), initializer="normal"),
    ),
    row(
        layer("dense", "dense", in_features=2, out_features=3, bias=False), moved("weight", (3, 2), (1, 0), Fans(2, 3))
    ),
    row(
        layer("bilinear", "bi", in1_features=3, in2_features=4, out_features=5),
        moved("weight", (5, 3, 4), (1, 2, 0), Fans(12, 5)),
        same("bias", (5,)),
    ),
    row(
        layer("bilinear", "bi.one", in1_features=7, in2_features=1, out_features=2, bias=False),
        moved("weight", (2, 7, 1), (1, 2, 0), Fans(7, 2)),
    ),
    row(convolution("conv1d", "c1", 5), moved("weight", (9, 6, 5), (2, 1, 0), Fans(30, 45)), same("bias", (9,))),
    row(
        convolution("conv1d", "c1.grouped", [3], groups=3, bias=False),
        moved("weight", (9, 2, 3), (2, 1, 0), Fans(6, 9)),
    ),
    row(
        convolution("conv2d", "c2", [3, 5], bias_initializer={"type": "constant", "value": 0.5}),
        moved("weight", (9, 6, 3, 5), (2, 3, 1, 0), Fans(90, 135)),
        same("bias", (9,), initializer="constant"),
    ),
    row(
        convolution("conv2d", "c2.grouped", 3, groups=3, bias=False),
        moved("weight", (9, 2, 3, 3), (2, 3, 1, 0), Fans(18, 27)),
    ),
    row(
        convolution("conv2d", "c2.each", 3, groups=6, out_channels=6, bias=False),
        moved("weight", (6, 1, 3, 3), (2, 3, 1, 0), Fans(9, 9)),
    ),
    row(
        convolution("conv3d", "c3", [1, 2, 3], groups=3, initializer="kaiming_normal"),
        moved("weight", (9, 2, 1, 2, 3), (2, 3, 4, 1, 0), Fans(12, 18), initializer="kaiming_normal"),
        same("bias", (9,)),
    ),
    row(
        convolution("conv_transpose1d", "t1", 5),
        moved("weight", (6, 9, 5), (2, 1, 0), Fans(30, 45)),
        same("bias", (9,)),
    ),
    row(
        convolution("conv_transpose2d", "t2", [3, 5], groups=3, bias=False),
        moved("weight", (6, 3, 3, 5), (2, 3, 1, 0), Fans(30, 45)),
    ),
    row(
        convolution("conv_transpose2d", "t2.up", 4, out_channels=3, initializer="kaiming_uniform"),
        moved("weight", (6, 3, 4, 4), (2, 3, 1, 0), Fans(96, 48), initializer="kaiming_uniform"),
        same("bias", (3,)),
    ),
    row(
        convolution("conv_transpose3d", "t3", [1, 2, 3], groups=3),
        moved("weight", (6, 3, 1, 2, 3), (2, 3, 4, 1, 0), Fans(12, 18)),
        same("bias", (9,)),
    ),
    row(depthwise("d1", [5]), moved("weight", (6, 1, 5), (2, 0, 1), Fans(5, 5)), same("bias", (6,))),
    row(
        depthwise("d2", [3, 5], depth_multiplier=2, bias_initializer="normal"),
        parts("weight", (12, 1, 3, 5), Fans(15, 30), ("kernel", (3, 5, 6, 2))),
        same("bias", (12,), initializer="normal"),
    ),
    row(
        depthwise("d2.short", 3, type="depthwise", bias=False), moved("weight", (6, 1, 3, 3), (2, 3, 0, 1), Fans(9, 9))
    ),
    row(
        depthwise("d3", [1, 2, 3], depth_multiplier=3, bias=False),
        parts("weight", (18, 1, 1, 2, 3), Fans(6, 18), ("kernel", (1, 2, 3, 6, 3))),
    ),
    row(
        convolution("separable_conv", "s1", [5]),
        moved("depthwise.weight", (6, 1, 5), (2, 0, 1), Fans(5, 5), keras="depthwise_kernel"),
        moved("pointwise.weight", (9, 6, 1), (2, 1, 0), Fans(6, 9), keras="pointwise_kernel"),
        same("pointwise.bias", (9,), keras="bias"),
    ),
    row(
        convolution("separable_conv", "s2", 3, depth_multiplier=2, pointwise_initializer="lecun_normal", bias=False),
        parts("depthwise.weight", (12, 1, 3, 3), Fans(9, 18), ("depthwise_kernel", (3, 3, 6, 2))),
        moved(
            "pointwise.weight",
            (9, 12, 1, 1),
            (2, 3, 1, 0),
            Fans(12, 9),
            initializer="lecun_normal",
            keras="pointwise_kernel",
        ),
    ),
    row(
        convolution("separable_conv", "s3", [1, 2, 3], initializer="lecun_uniform", bias_initializer="normal"),
        moved(
            "depthwise.weight",
            (6, 1, 1, 2, 3),
            (2, 3, 4, 0, 1),
            Fans(6, 6),
            initializer="lecun_uniform",
            keras="depthwise_kernel",
        ),
        moved(
            "pointwise.weight",
            (9, 6, 1, 1, 1),
            (2, 3, 4, 1, 0),
            Fans(6, 9),
            initializer="lecun_uniform",
            keras="pointwise_kernel",
        ),
        same("pointwise.bias", (9,), initializer="normal", keras="bias"),
    ),
    row(recurrent("rnn", "rnn"), *cell(1), *biases(7, (7,))),
    row(recurrent("rnn", "rnn.deep", num_layers=2, bias=False), *cell(1, "0."), *cell(1, "1.", 7, "_l1")),
    row(recurrent("lstm", "lstm", bias_initializer="normal"), *cell(4), *biases(28, (28,), initializer="normal")),
    row(recurrent("lstm", "lstm.forget", forget_bias=1), *cell(4), *biases(28, (28,))),
    row(
        recurrent("lstm", "lstm.plain", bias=False, bidirectional=True),
        *cell(4, "forward."),
        *cell(4, "backward.", suffix="_l0_reverse"),
    ),
    row(
        recurrent("lstm", "lstm.deep", num_layers=2, bidirectional=True),
        *(
            expected
            for number, inputs in ((0, 5), (1, 14))
            for direction, suffix in (("forward", f"_l{number}"), ("backward", f"_l{number}_reverse"))
            for path in (f"{number}.{direction}.",)
            for expected in (*cell(4, path, inputs, suffix), *biases(28, (28,), path, suffix))
        ),
    ),
    row(recurrent("gru", "gru", bias_initializer="normal"), *cell(3), *biases(21, (2, 21), initializer="normal")),
    row(
        recurrent("gru", "gru.deep", num_layers=3, bias=False),
        *cell(3, "0."),
        *cell(3, "1.", 7, "_l1"),
        *cell(3, "2.", 7, "_l2"),
    ),
    row(
        attention("mha"),
        parts("in_proj_weight", (36, 12), Fans(12, 12), *projections("kernel", (12, 3, 4))),
        parts("in_proj_bias", (36,), None, *projections("bias", (3, 4))),
        parts("out_proj.weight", (12, 12), Fans(12, 12), ("attention_output.kernel", (3, 4, 12))),
        same("out_proj.bias", (12,), keras="attention_output.bias"),
        in_keras=WITH_BIASES,
    ),
    row(
        attention("mha.plain", num_heads=12, bias=False, out_initializer="lecun_normal"),
        parts("in_proj_weight", (36, 12), Fans(12, 12), *projections("kernel", (12, 12, 1))),
        parts(
            "out_proj.weight",
            (12, 12),
            Fans(12, 12),
            ("attention_output.kernel", (12, 1, 12)),
            initializer="lecun_normal",
        ),
    ),
    row(
        attention("mha.cross", kdim=5, vdim=7, bias_initializer="normal"),
        parts("q_proj_weight", (12, 12), Fans(12, 12), ("query.kernel", (12, 3, 4))),
        parts("k_proj_weight", (12, 5), Fans(5, 12), ("key.kernel", (5, 3, 4))),
        parts("v_proj_weight", (12, 7), Fans(7, 12), ("value.kernel", (7, 3, 4))),
        parts("in_proj_bias", (36,), None, *projections("bias", (3, 4)), initializer="normal"),
        parts("out_proj.weight", (12, 12), Fans(12, 12), ("attention_output.kernel", (3, 4, 12))),
        same("out_proj.bias", (12,), initializer="normal", keras="attention_output.bias"),
        in_keras=WITH_BIASES,
    ),
    row(
        attention("mha.apart", num_heads=2, kdim=12, fused=False, bias=False),
        parts("q_proj_weight", (12, 12), Fans(12, 12), ("query.kernel", (12, 2, 6))),
        parts("k_proj_weight", (12, 12), Fans(12, 12), ("key.kernel", (12, 2, 6))),
        parts("v_proj_weight", (12, 12), Fans(12, 12), ("value.kernel", (12, 2, 6))),
        parts("out_proj.weight", (12, 12), Fans(12, 12), ("attention_output.kernel", (2, 6, 12))),
    ),
    row(
        layer("embedding", "wte", num_embeddings=11, embedding_dim=3),
        same("weight", (11, 3), Fans(11, 3), initializer="normal", keras="embeddings"),
    ),
    row(
        layer("layer_norm", "ln", normalized_shape=5),
        same("weight", (5,), initializer="ones", keras="gamma"),
        same("bias", (5,), keras="beta"),
    ),
    row(
        layer("layer_norm", "ln.2d", normalized_shape=[3, 5], bias=False, initializer="uniform"),
        same("weight", (3, 5), initializer="uniform", keras="gamma"),
    ),
    row(layer("rms_norm", "rms", normalized_shape=5), same("weight", (5,), initializer="ones", keras="scale")),
    row(
        layer("rms_norm", "rms.2d", normalized_shape=[3, 5], initializer="normal"),
        same("weight", (3, 5), initializer="normal", keras="scale"),
    ),
    row(
        layer("group_norm", "gn", num_groups=2, num_channels=6, bias_initializer="normal"),
        same("weight", (6,), initializer="ones", keras="gamma"),
        same("bias", (6,), initializer="normal", keras="beta"),
    ),
    row(
        layer("batch_norm", "bn", num_features=7, bias_initializer="truncated_normal"),
        same("weight", (7,), initializer="ones", keras="gamma"),
        same("bias", (7,), initializer="truncated_normal", keras="beta"),
        same("running_mean", (7,), keras="moving_mean"),
        same("running_var", (7,), initializer="ones", keras="moving_variance"),
    ),
    row(
        layer("batch_norm", "bn.plain", num_features=7, affine=False),
        same("running_mean", (7,), keras="moving_mean"),
        same("running_var", (7,), initializer="ones", keras="moving_variance"),
    ),
    row(
        layer("batch_norm", "bn.untracked", num_features=7, track_running_stats=False),
        same("weight", (7,), initializer="ones", keras="gamma"),
        same("bias", (7,), keras="beta"),
    ),
    row(
        layer("instance_norm", "in", num_features=7, initializer="uniform"),
        same("weight", (7,), initializer="uniform", keras="gamma"),
        same("bias", (7,), keras="beta"),
    ),
    row(
        layer("instance_norm", "in.tracked", num_features=7, affine=False, track_running_stats=True),
        same("running_mean", (7,), keras="moving_mean"),
        same("running_var", (7,), initializer="ones", keras="moving_variance"),
    ),
    row(layer("tensor", "bare", shape=[3, 5, 7]), same("", (3, 5, 7), Fans(35, 21), initializer="xavier_uniform")),
    row(
        layer("tensor", "bare.in_out", shape=[3, 5, 7], layout="in_out"),
        same("", (3, 5, 7), Fans(15, 21), initializer="xavier_uniform"),
    ),
    row(
        layer("tensor", "axes", shape=[2, 3, 5, 7], in_axes=[-1], out_axes=[1], batch_axes=[0]),
        same("", (2, 3, 5, 7), Fans(35, 15), initializer="xavier_uniform"),
    ),
    row(tensor("scalar", (), "ones"), same("", (), initializer="ones")),
    row(
        group("encoder", linear("fc", 3, 5, bias=False), group("", tensor("scale", (2,)))),
        moved("fc.weight", (5, 3), (1, 0), Fans(3, 5)),
        same("scale", (2,), initializer="ones"),
    ),
    row(
        repeat("h", 2, linear("", 3, 5, bias=False), tensor("scale", (2,)), start=9),
        moved("9.weight", (5, 3), (1, 0), Fans(3, 5)),
        same("9.scale", (2,), initializer="ones"),
        moved("10.weight", (5, 3), (1, 0), Fans(3, 5)),
        same("10.scale", (2,), initializer="ones"),
    ),
    row(
        repeat("cells", 2, recurrent("gru", "", bidirectional=True)),
        *(
            expected
            for number in (0, 1)
            for direction, suffix in (("forward", "_l0"), ("backward", "_l0_reverse"))
            for path in (f"{number}.{direction}.",)
            for expected in (
                *cell(3, path, suffix=suffix, name=f"{number}."),
                *biases(21, (2, 21), path, suffix, name=f"{number}."),
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
