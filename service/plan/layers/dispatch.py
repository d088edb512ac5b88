"""From layers to parameters: the one `match` over all layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from service.plan.layers.attention import attention
from service.plan.layers.builder import Builder
from service.plan.layers.convolution import convolution, depthwise, separable, transposed
from service.plan.layers.linear import bilinear, embedding, linear
from service.plan.layers.norms import norm
from service.plan.layers.recurrent import recurrent
from service.plan.layers.tensor import tensor
from service.plan.parameter import LayerParameter
from service.schema import layers
from service.schema.layers import Leaf
from service.schema.model import ModelSpec


def layer_parameters(  # noqa: C901, PLR0911 - one case per kind of layer
    layer: Leaf, spec: ModelSpec
) -> Iterator[LayerParameter]:
    """The parameters of one layer, in order.

    Raises:
        ValueError: the layer's numbers contradict each other.
    """
    build = Builder(layer, spec)
    match layer:
        case layers.Linear():
            return linear(layer, build)
        case layers.Bilinear():
            return bilinear(layer, build)
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
            return embedding(layer, build)
        case layers.LayerNorm() | layers.RMSNorm() | layers.GroupNorm() | layers.BatchNorm() | layers.InstanceNorm():
            return norm(layer, build)
        case layers.Tensor():
            return tensor(layer, build)
        case _:
            assert_never(layer)
