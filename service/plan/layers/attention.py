"""The parameters of attention: projections of queries, keys and values, in one tensor or in three, and of the output.

PyTorch stacks the projections in one weight where all sizes are the same; Keras has one kernel each, with an axis
for the heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from service.initializers import fans
from service.initializers.fans import Connectivity
from service.plan.parameter import XAVIER, ZEROS, Builder, LayerParameter
from service.plan.rearrangement import Rearrangement
from service.schema.layers import MultiheadAttention
from service.stream.words import Shape

PROJECTIONS: Final = ("query", "key", "value")


def attention(layer: MultiheadAttention, build: Builder) -> Iterator[LayerParameter]:
    """The parameters of a layer.

    Raises:
        ValueError: the heads do not divide the size, or projections of different sizes are to be one tensor.
    """
    if layer.embed_dim % layer.num_heads:
        raise ValueError(f"num_heads must divide embed_dim; {layer.num_heads} does not divide {layer.embed_dim}")
    yield from _Attention(layer, build).parameters()


@dataclass(frozen=True, slots=True)
class _Attention:
    layer: MultiheadAttention
    build: Builder

    def parameters(self) -> Iterator[LayerParameter]:
        """In the order of the framework: in Keras every kernel is followed by its bias."""
        kernels = tuple(self._fused() if self._is_fused() else self._separate())
        biases = tuple(self._biases() if self.layer.bias else ())
        yield from chain(*zip(kernels, biases, strict=True)) if self.build.in_keras and biases else (*kernels, *biases)
        yield self._output()
        if self.layer.bias:
            bias = self.build.bias(self.size, self.layer.bias_initializer, self.size)
            names = ("out_proj.bias", "attention_output.bias")
            yield bias._replace(name=names[0], output_name=names[self.build.in_keras], torch_default=ZEROS)

    @property
    def size(self) -> int:
        """Of all heads together."""
        return self.layer.embed_dim

    @property
    def heads(self) -> tuple[int, int]:
        """How many, and the size of each."""
        return self.layer.num_heads, self.layer.embed_dim // self.layer.num_heads

    @property
    def inputs(self) -> tuple[int, int, int]:
        """Sizes of queries, keys and values."""
        return self.size, self.layer.kdim or self.size, self.layer.vdim or self.size

    def _is_fused(self) -> bool:
        alike = len(set(self.inputs)) == 1
        if self.layer.fused and not alike:
            raise ValueError("projections of different sizes cannot be one tensor: leave out fused, or kdim and vdim")
        return alike if self.layer.fused is None else self.layer.fused

    def _fused(self) -> Iterator[LayerParameter]:
        exact = fans.fused(3, self.size, self.size)
        names = ("in_proj_weight", "kernel")
        weight = self.build.kernel((3 * self.size, self.size), exact, self.size, None, names=names)
        view = (3, *self.heads, self.size)
        counted = Connectivity(view, in_axes=(3,), out_axes=(1, 2), batch_axes=(0,), rows=(2,))
        weight = weight._replace(keras=counted, torch_default=XAVIER)
        yield from self._in_keras(weight, view) if self.build.in_keras else (weight,)

    def _biases(self) -> Iterator[LayerParameter]:
        bias = self.build.bias(3 * self.size, self.layer.bias_initializer, self.size)
        counted = Connectivity((3, *self.heads), in_axes=(1,), out_axes=(2,), batch_axes=(0,))
        bias = bias._replace(name="in_proj_bias", output_name="in_proj_bias", keras=counted, torch_default=ZEROS)
        yield from self._in_keras(bias, (3, *self.heads)) if self.build.in_keras else (bias,)

    def _in_keras(self, defined: LayerParameter, view: Shape) -> Iterator[LayerParameter]:
        """The projections of a fused tensor one by one; a kernel has its inputs first."""
        axes = (*range(3, len(view)), 1, 2)
        last = "kernel" if len(view) > 3 else "bias"
        for part, projection in enumerate(PROJECTIONS):
            rearrangement = Rearrangement(view, axes, part=part)
            yield defined._replace(output_name=f"{projection}.{last}", rearrangement=rearrangement)

    def _separate(self) -> Iterator[LayerParameter]:
        for projection, inputs in zip(PROJECTIONS, self.inputs, strict=True):
            view = (*self.heads, inputs)
            names = (f"{projection[0]}_proj_weight", f"{projection}.kernel")
            exact = fans.linear(inputs, self.size)
            weight = self.build.kernel((self.size, inputs), exact, inputs, Rearrangement(view, (2, 0, 1)), names=names)
            counted = Connectivity(view, in_axes=(2,), out_axes=(0, 1), rows=(1,))
            yield weight._replace(keras=counted, torch_default=XAVIER)

    def _output(self) -> LayerParameter:
        view = (self.size, *self.heads)
        names = ("out_proj.weight", "attention_output.kernel")
        exact, rearrangement = fans.linear(self.size, self.size), Rearrangement(view, (1, 2, 0))
        initializer = self.layer.out_initializer
        weight = self.build.kernel(
            (self.size, self.size), exact, self.size, rearrangement, initializer=initializer, names=names
        )
        field = "initializer" if initializer is None else "out_initializer"
        return weight._replace(keras=Connectivity(view, in_axes=(1, 2), out_axes=(0,)), field=field)
