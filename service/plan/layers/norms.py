"""The parameters of norms: a scale, a shift, and running statistics."""

from __future__ import annotations

from collections.abc import Iterator

from service.plan.layers.builder import Builder
from service.plan.parameter import ONES, ZEROS, LayerParameter
from service.schema import layers
from service.stream.words import Shape


def norm(layer: layers.Norm, build: Builder) -> Iterator[LayerParameter]:
    """Ones and zeros of the normalized shape.

    Raises:
        ValueError: the groups do not divide the channels.
    """
    shape, scaled, shifted = _affine(layer)
    if scaled:
        scale = "scale" if isinstance(layer, layers.RMSNorm) else "gamma"
        yield build.vector(("weight", scale), shape, ONES)
    if shifted:
        yield build.vector(("bias", "beta"), shape, ZEROS, field="bias_initializer")
    if isinstance(layer, layers.BatchNorm | layers.InstanceNorm) and layer.track_running_stats:
        yield build.vector(("running_mean", "moving_mean"), shape, ZEROS, field=None)
        yield build.vector(("running_var", "moving_variance"), shape, ONES, field=None)


def _affine(layer: layers.Norm) -> tuple[Shape, bool, bool]:
    """The shape of scale and shift, and whether the layer has each of them."""
    match layer:
        case layers.LayerNorm(normalized_shape=shape, elementwise_affine=affine):
            return shape, affine, affine and layer.bias
        case layers.RMSNorm(normalized_shape=shape, elementwise_affine=affine):
            return shape, affine, False
        case layers.GroupNorm(num_channels=channels, num_groups=groups, affine=affine):
            if channels % groups:
                raise ValueError(f"num_groups must divide num_channels; {groups} does not divide {channels}")
            return (channels,), affine, affine
        case _:
            return (layer.num_features,), layer.affine, layer.affine
