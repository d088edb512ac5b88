"""The parameters of attention: the projections of queries, keys and values, in one tensor or three, and of the output.

PyTorch stacks the projections in one weight if all sizes are the same; Keras has a kernel for each, with an axis for
the heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

from service.initializers import fans
from service.initializers.fans import Connectivity
from service.plan.layers.builder import Builder, reset
from service.plan.parameter import XAVIER, ZEROS, Connections, LayerParameter
from service.plan.rearrangement import Rearrangement
from service.schema.layers import MultiheadAttention
from service.stream.words import Shape

PROJECTIONS: Final = ("query", "key", "value")


def attention(layer: MultiheadAttention, build: Builder) -> Iterator[LayerParameter]:
    """The parameters of a layer.

    Raises:
        ValueError: the heads do not divide the size, or projections of different sizes should be one tensor.
    """
    if layer.embed_dim % layer.num_heads:
        raise ValueError(f"num_heads must divide embed_dim; {layer.num_heads} does not divide {layer.embed_dim}")
    yield from _Attention(layer, build).parameters()


@dataclass(frozen=True, slots=True)
class _Attention:
    layer: MultiheadAttention
    build: Builder

    def parameters(self) -> Iterator[LayerParameter]:
        """The parameters in the order of the framework: in Keras, each kernel is followed by its bias."""
        kernels = tuple(self._fused() if self._is_fused() else self._separate())
        biases = tuple(self._biases() if self.layer.bias else ())
        yield from chain(*zip(kernels, biases, strict=True)) if self.build.in_keras and biases else (*kernels, *biases)
        yield self._output()
        if self.layer.bias:
            yield self.build.bias(self.size, ZEROS, names=("out_proj.bias", "attention_output.bias"))

    @property
    def size(self) -> int:
        """The size of all heads together."""
        return self.layer.embed_dim

    @property
    def heads(self) -> tuple[int, int]:
        """The number of heads, and the size of each."""
        return self.layer.num_heads, self.layer.embed_dim // self.layer.num_heads

    @property
    def inputs(self) -> tuple[int, int, int]:
        """The sizes of queries, keys and values."""
        return self.size, self.layer.kdim or self.size, self.layer.vdim or self.size

    def _is_fused(self) -> bool:
        alike = len(set(self.inputs)) == 1
        if self.layer.fused and not alike:
            raise ValueError("projections of different sizes cannot be one tensor: leave out fused, or kdim and vdim")
        return alike if self.layer.fused is None else self.layer.fused

    def _fused(self) -> Iterator[LayerParameter]:
        """One weight; in Keras, a kernel for each projection, with the inputs first."""
        view = (3, *self.heads, self.size)
        connections = Connections(
            exact=fans.fused(3, self.size, self.size),
            keras=Connectivity(view, in_axes=(3,), out_axes=(1, 2), batch_axes=(0,), rows=(2,)),
        )
        for keras_name, keras_axes in self._projections("kernel", view, (3, 1, 2)):
            names = ("in_proj_weight", keras_name)
            yield self.build.kernel((3 * self.size, self.size), connections, XAVIER, keras_axes, names=names)

    def _biases(self) -> Iterator[LayerParameter]:
        view = (3, *self.heads)
        connections = Connections(keras=Connectivity(view, in_axes=(1,), out_axes=(2,), batch_axes=(0,)))
        for keras_name, keras_axes in self._projections("bias", view, (1, 2)):
            names = ("in_proj_bias", keras_name)
            yield self.build.bias(3 * self.size, ZEROS, names=names, connections=connections, keras_axes=keras_axes)

    def _projections(self, last: str, view: Shape, axes: Shape) -> Iterator[tuple[str, Rearrangement | None]]:
        """Keras' name and rearrangement for each projection; PyTorch has a single tensor, which needs neither."""
        if not self.build.in_keras:
            yield "", None
            return
        for part, projection in enumerate(PROJECTIONS):
            yield f"{projection}.{last}", Rearrangement(view, axes, part=part)

    def _separate(self) -> Iterator[LayerParameter]:
        for projection, inputs in zip(PROJECTIONS, self.inputs, strict=True):
            view = (*self.heads, inputs)
            connections = Connections(
                exact=fans.linear(inputs, self.size),
                keras=Connectivity(view, in_axes=(2,), out_axes=(0, 1), rows=(1,)),
            )
            names = (f"{projection[0]}_proj_weight", f"{projection}.kernel")
            keras_axes = Rearrangement(view, (2, 0, 1))
            yield self.build.kernel((self.size, inputs), connections, XAVIER, keras_axes, names=names)

    def _output(self) -> LayerParameter:
        view = (self.size, *self.heads)
        return self.build.kernel(
            (self.size, self.size),
            Connections(fans.linear(self.size, self.size), keras=Connectivity(view, in_axes=(1, 2), out_axes=(0,))),
            partial(reset, self.size),
            Rearrangement(view, (1, 2, 0)),
            names=("out_proj.weight", "attention_output.kernel"),
            field="out_initializer",
        )
