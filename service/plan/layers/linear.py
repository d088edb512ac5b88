"""The parameters of linear layers, which have a matrix; of bilinear layers, a matrix per output; and of embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from service.initializers import fans
from service.initializers.fans import Connectivity
from service.plan.layers.builder import Builder, reset, within
from service.plan.parameter import Connections, LayerParameter
from service.plan.rearrangement import Rearrangement
from service.schema import initializers as wire
from service.schema import layers

STANDARD_NORMAL: Final = wire.Normal(type="normal")
KERAS_EMBEDDING: Final = wire.Uniform(type="uniform", low=-0.05, high=0.05)


def linear(layer: layers.Linear, build: Builder) -> Iterator[LayerParameter]:
    """Weight (out, in) and bias; the weight is (in, out) in Keras, and in PyTorch with the layout in_out."""
    inputs, outputs, stored_in_out = layer.in_features, layer.out_features, layer.layout == "in_out"
    in_out = Rearrangement((outputs, inputs), (1, 0))
    # In this layout, PyTorch's rule takes the outputs for inputs.
    as_torch_counts = Connectivity((outputs, inputs), in_axes=(0,), out_axes=(1,)) if stored_in_out else None
    connections = Connections(fans.linear(inputs, outputs), torch=as_torch_counts)
    torch_axes = in_out if stored_in_out else None
    yield build.kernel((outputs, inputs), connections, partial(reset, inputs), in_out, torch_axes=torch_axes)
    if layer.bias:
        yield build.bias(outputs, partial(within, inputs))


def bilinear(layer: layers.Bilinear, build: Builder) -> Iterator[LayerParameter]:
    """Weight (out, in1, in2) and bias; Keras has no such layer, but its layout would be (in1, in2, out)."""
    one, other, outputs = layer.in1_features, layer.in2_features, layer.out_features
    shape, default = (outputs, one, other), partial(within, one)
    as_keras_counts = Connectivity(shape, in_axes=(2,), out_axes=(0,))
    connections = Connections(fans.bilinear(one, other, outputs), keras=as_keras_counts)
    yield build.kernel(shape, connections, default, Rearrangement(shape, (1, 2, 0)), keras_default=None)
    if layer.bias:
        yield build.bias(outputs, default, keras_default=None)


def embedding(layer: layers.Embedding, build: Builder) -> Iterator[LayerParameter]:
    """A table (num, dim)."""
    shape = layer.num_embeddings, layer.embedding_dim
    lookup = fans.embedding(*shape)
    connections = Connections(lookup, keras=lookup, assumed="one-hot inputs")
    yield build.table(("weight", "embeddings"), shape, connections, STANDARD_NORMAL, KERAS_EMBEDDING)
