"""Layers to parameters: the one `match` over all layers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final, assert_never

from service.initializers import fans
from service.initializers.fans import Connectivity
from service.plan.layers.attention import attention
from service.plan.layers.convolution import convolution, depthwise, separable, transposed
from service.plan.layers.recurrent import recurrent
from service.plan.parameter import ONES, ZEROS, Builder, LayerParameter, within
from service.plan.rearrangement import Rearrangement
from service.schema import initializers as wire
from service.schema import layers
from service.schema.layers import Leaf
from service.schema.model import ModelSpec

STANDARD_NORMAL: Final = wire.Normal(type="normal")
KERAS_EMBEDDING: Final = wire.Uniform(type="uniform", low=-0.05, high=0.05)


def layer_parameters(layer: Leaf, spec: ModelSpec) -> Iterator[LayerParameter]:  # noqa: C901, PLR0911 - one case a kind of layer
    """The parameters of one layer, in order.

    Raises:
        ValueError: the layer's numbers contradict each other.
    """
    build = Builder(layer, spec)
    match layer:
        case layers.Linear():
            return _linear(layer, build)
        case layers.Bilinear():
            return _bilinear(layer, build)
        case layers.Conv1d() | layers.Conv2d() | layers.Conv3d():
            return convolution(layer, build)
        case layers.ConvTranspose1d() | layers.ConvTranspose2d() | layers.ConvTranspose3d():
            return transposed(layer, build)
        case layers.DepthwiseConv():
            return depthwise(layer, build)
        case layers.SeparableConv():
            return separable(layer, build)
        case layers.RNN() | layers.LSTM() | layers.GRU():
            return recurrent(layer, build)
        case layers.MultiheadAttention():
            return attention(layer, build)
        case layers.Embedding():
            return _embedding(layer, build)
        case layers.LayerNorm() | layers.RMSNorm() | layers.GroupNorm() | layers.BatchNorm() | layers.InstanceNorm():
            return _norm(layer, build)
        case layers.Tensor():
            return _tensor(layer, build)
        case _:
            assert_never(layer)


def _linear(layer: layers.Linear, build: Builder) -> Iterator[LayerParameter]:
    inputs, outputs = layer.in_features, layer.out_features
    shape, in_out = (outputs, inputs), Rearrangement((outputs, inputs), (1, 0))
    weight = build.kernel(shape, fans.linear(inputs, outputs), inputs, in_out)
    if layer.layout == "in_out":  # stored so, PyTorch's rule takes the outputs for inputs
        weight = weight._replace(rearrangement=in_out, torch=Connectivity(shape, in_axes=(0,), out_axes=(1,)))
    yield weight
    if layer.bias:
        yield build.bias(outputs, layer.bias_initializer, inputs)


def _bilinear(layer: layers.Bilinear, build: Builder) -> Iterator[LayerParameter]:
    one, other, outputs = layer.in1_features, layer.in2_features, layer.out_features
    shape = (outputs, one, other)
    weight = build.kernel(shape, fans.bilinear(one, other, outputs), one, Rearrangement(shape, (1, 2, 0)))
    counted = Connectivity(shape, in_axes=(2,), out_axes=(0,))
    yield weight._replace(keras=counted, torch_default=partial(within, one), keras_default=None)
    if layer.bias:
        yield build.bias(outputs, layer.bias_initializer, one)._replace(keras_default=None)


def _embedding(layer: layers.Embedding, build: Builder) -> Iterator[LayerParameter]:
    rows, columns = layer.num_embeddings, layer.embedding_dim
    initializer = build.initializer(layer.initializer, STANDARD_NORMAL)
    table = build.plain(("weight", "embeddings"), (rows, columns), initializer, STANDARD_NORMAL)
    lookup = fans.embedding(rows, columns)
    yield table._replace(exact=lookup, assumed="one-hot inputs", keras=lookup, keras_default=KERAS_EMBEDDING)


def _norm(layer: layers.Norm, build: Builder) -> Iterator[LayerParameter]:
    match layer:
        case layers.LayerNorm(normalized_shape=shape, elementwise_affine=affine):
            biased = affine and layer.bias
        case layers.RMSNorm(normalized_shape=shape, elementwise_affine=affine):
            biased = False
        case layers.GroupNorm(num_channels=channels, num_groups=groups, affine=affine):
            shape, biased = (channels,), affine
            if channels % groups:
                raise ValueError(f"num_groups must divide num_channels; {groups} does not divide {channels}")
        case _:
            shape, affine, biased = (layer.num_features,), layer.affine, layer.affine
    if affine:
        scale = "scale" if isinstance(layer, layers.RMSNorm) else "gamma"
        yield build.plain(("weight", scale), shape, build.initializer(layer.initializer, ONES), ONES)
    if biased and not isinstance(layer, layers.RMSNorm):
        beta = build.plain(("bias", "beta"), shape, build.initializer(layer.bias_initializer, ZEROS))
        yield beta._replace(field="bias_initializer")
    if isinstance(layer, layers.BatchNorm | layers.InstanceNorm) and layer.track_running_stats:
        yield build.plain(("running_mean", "moving_mean"), shape, ZEROS)
        yield build.plain(("running_var", "moving_variance"), shape, ONES, ONES)


def _tensor(layer: layers.Tensor, build: Builder) -> Iterator[LayerParameter]:
    by_axes = layer.in_axes is not None and layer.out_axes is not None
    yield LayerParameter(
        name="",
        output_name="",
        shape=layer.shape,
        initializer=build.kernel_initializer,
        rule="axes" if by_axes else build.rule,
        exact=_named_axes(layer) if by_axes else fans.bare(layer.shape, layer.layout),
        assumed="convolution" if not by_axes and layer.layout == "out_in" and len(layer.shape) > 2 else None,
        keras=fans.by_keras(layer.shape),
        torch_default=None,
        keras_default=None,
    )


def _named_axes(layer: layers.Tensor) -> Connectivity | None:
    assert layer.in_axes is not None
    assert layer.out_axes is not None
    if 0 in layer.shape:
        return None
    return Connectivity(layer.shape, layer.in_axes, layer.out_axes, layer.batch_axes or ())
