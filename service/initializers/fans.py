"""Fans: how many inputs feed one output of a layer, and how many outputs one input feeds.

Fans follow from what the axes of a weight connect. They are counted by exact connectivity, or by the rules of PyTorch
(`torch.nn.init._calculate_fan_in_and_fan_out`) or Keras (`keras.initializers.compute_fans`), which differ from it for
groups, transposed convolutions, fused gates and embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal, NamedTuple

from service.stream.words import Shape

Layout = Literal["out_in", "in_out"]


class Fans(NamedTuple):
    """The numbers of connections into an output and out of an input, as exact integers."""

    fan_in: int
    fan_out: int


class Connectivity(NamedTuple):
    """What the axes of a weight connect; the axes that are not listed belong to the kernel.

    Attributes:
        shape: the weight's shape, or a finer view of the same elements in the same order, in which groups and gates
            have an axis of their own.
        in_axes: the axes along which the inputs of an output lie.
        out_axes: the axes along which the outputs of an input lie.
        batch_axes: the axes of independent maps.
        rows: the axes that form the rows of the weight as a matrix; all others, except those of the batch, form its
            columns. None stands for the axes of the outputs.
    """

    shape: Shape
    in_axes: Shape
    out_axes: Shape
    batch_axes: Shape = ()
    rows: Shape | None = None

    @property
    def kernel_axes(self) -> Shape:
        """The axes of the receptive field."""
        named = {*self.in_axes, *self.out_axes, *self.batch_axes}
        return tuple(axis for axis in range(len(self.shape)) if axis not in named)

    @property
    def fans(self) -> Fans:
        """The numbers of inputs and of outputs, each times the receptive field."""
        fan_in, fan_out = self.size(self.in_axes), self.size(self.out_axes)
        receptive_field = self.size(self.kernel_axes)
        return Fans(fan_in * receptive_field, fan_out * receptive_field)

    @property
    def row_axes(self) -> Shape:
        """The axes that form the rows of the matrix."""
        return self.out_axes if self.rows is None else self.rows

    @property
    def column_axes(self) -> Shape:
        """The axes that form the columns of the matrix."""
        elsewhere = {*self.row_axes, *self.batch_axes}
        return tuple(axis for axis in range(len(self.shape)) if axis not in elsewhere)

    def size(self, axes: Sequence[int]) -> int:
        """The product of the sizes of some axes."""
        return prod(map(self.shape.__getitem__, axes))


def linear(in_features: int, out_features: int) -> Connectivity:
    """(out, in): every output sees every input."""
    return Connectivity((out_features, in_features), in_axes=(1,), out_axes=(0,))


def fused(parts: int, in_features: int, out_features: int) -> Connectivity:
    """(parts . out, in): consecutive gates or projections, each a separate linear map."""
    return Connectivity((parts, out_features, in_features), in_axes=(2,), out_axes=(1,), batch_axes=(0,))


def bilinear(in1_features: int, in2_features: int, out_features: int) -> Connectivity:
    """(out, in1, in2): a linear map of all products of the two inputs."""
    return Connectivity((out_features, in1_features, in2_features), in_axes=(1, 2), out_axes=(0,))


def convolution(in_channels: int, out_channels: int, kernel_size: Sequence[int], groups: int) -> Connectivity:
    """(out, in / groups, *kernel): groups divide both fans; stride is ignored."""
    shape = (groups, out_channels // groups, in_channels // groups, *kernel_size)
    return Connectivity(shape, in_axes=(2,), out_axes=(1,), batch_axes=(0,))


def transposed(in_channels: int, out_channels: int, kernel_size: Sequence[int], groups: int) -> Connectivity:
    """(in, out / groups, *kernel): the fans are those of the map, not swapped; its matrix has a row for each input."""
    shape = (groups, in_channels // groups, out_channels // groups, *kernel_size)
    return Connectivity(shape, in_axes=(1,), out_axes=(2,), batch_axes=(0,), rows=(1,))


def embedding(num_embeddings: int, embedding_dim: int) -> Connectivity:
    """(num, dim): a linear layer whose input is one-hot."""
    return Connectivity((num_embeddings, embedding_dim), in_axes=(0,), out_axes=(1,), rows=(0,))


def bare(shape: Shape, layout: Layout) -> Connectivity | None:
    """A bare tensor, (out, in, *kernel) or (*kernel, in, out); None if it is below rank 2 or has no elements."""
    if len(shape) < 2 or 0 in shape:
        return None
    if layout == "out_in":
        return Connectivity(shape, in_axes=(1,), out_axes=(0,))
    return Connectivity(shape, in_axes=(len(shape) - 2,), out_axes=(len(shape) - 1,))


def by_torch(shape: Shape) -> Connectivity | None:
    """PyTorch's rule for a tensor in its layout, whatever the layer: axis 1 in, axis 0 out; None as in `bare`."""
    return bare(shape, "out_in")


def by_keras(shape: Shape) -> Connectivity | None:
    """Keras' rule for a tensor in its layout: the last axis but one in, the last out; (n,) is (n, n), () is (1, 1)."""
    if len(shape) >= 2 or 0 in shape:
        return bare(shape, "in_out")
    every = tuple(range(len(shape)))
    return Connectivity(shape, in_axes=every, out_axes=every)


def grouped(connectivity: Connectivity, groups: int) -> Connectivity:
    """The same weight with its outputs in groups, each a separate map of all inputs.

    Raises:
        ValueError: the groups do not divide the outputs.
    """
    [axis] = connectivity.out_axes
    shape, outputs = connectivity.shape, connectivity.shape[axis]
    if outputs % groups:
        raise ValueError(f"groups must divide the {outputs} outputs; {groups} does not")
    finer = (*shape[:axis], groups, outputs // groups, *shape[axis + 1 :])
    in_axes = tuple(place + (place > axis) for place in connectivity.in_axes)
    return Connectivity(finer, in_axes, out_axes=(axis + 1,), batch_axes=(axis,))
