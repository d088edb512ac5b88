"""The parameters of convolutions: forward, transposed, depthwise and separable."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod

from service.initializers import fans
from service.initializers.fans import Connectivity
from service.plan.layers.builder import BIAS, Builder, Names, reset, within
from service.plan.parameter import Connections, LayerParameter
from service.plan.rearrangement import Rearrangement
from service.schema import layers
from service.stream.words import Shape


def convolution(layer: layers.Convolution, build: Builder) -> Iterator[LayerParameter]:
    """Weight (out, in / groups, *kernel) and bias; Keras: (*kernel, in / groups, out).

    Raises:
        ValueError: the groups do not divide the channels.
    """
    _check_groups(layer)
    shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    exact = fans.convolution(layer.in_channels, layer.out_channels, layer.kernel_size, layer.groups)
    return _with_bias(layer, build, shape, exact)


def transposed(layer: layers.ConvTranspose, build: Builder) -> Iterator[LayerParameter]:
    """Weight (in, out / groups, *kernel) and bias; Keras: (*kernel, out / groups, in).

    Raises:
        ValueError: the groups do not divide the channels.
    """
    _check_groups(layer)
    shape = (layer.in_channels, layer.out_channels // layer.groups, *layer.kernel_size)
    exact = fans.transposed(layer.in_channels, layer.out_channels, layer.kernel_size, layer.groups)
    return _with_bias(layer, build, shape, exact)


def depthwise(layer: layers.DepthwiseConv, build: Builder) -> Iterator[LayerParameter]:
    """Weight (in . multiplier, 1, *kernel) and bias; Keras: (*kernel, in, multiplier)."""
    yield _depthwise(layer, build, ("weight", "kernel"))
    if layer.bias:
        yield build.bias(layer.in_channels * layer.depth_multiplier, partial(within, prod(layer.kernel_size)))


def separable(layer: layers.SeparableConv, build: Builder) -> Iterator[LayerParameter]:
    """A depthwise weight without a bias, then a convolution with a kernel of size 1."""
    yield _depthwise(layer, build, ("depthwise.weight", "depthwise_kernel"))
    channels, ones = layer.in_channels * layer.depth_multiplier, (1,) * len(layer.kernel_size)
    yield build.kernel(
        (layer.out_channels, channels, *ones),
        Connections(fans.convolution(channels, layer.out_channels, ones, 1)),
        partial(reset, channels),
        _in_keras((layer.out_channels, channels, *ones)),
        names=("pointwise.weight", "pointwise_kernel"),
        field="pointwise_initializer",
    )
    if layer.bias:
        yield build.bias(layer.out_channels, partial(within, channels), names=("pointwise.bias", BIAS[1]))


def _with_bias(
    layer: layers.Convolution | layers.ConvTranspose, build: Builder, shape: Shape, exact: Connectivity
) -> Iterator[LayerParameter]:
    fan_in = prod(shape[1:])
    yield build.kernel(shape, Connections(exact), partial(reset, fan_in), _in_keras(shape))
    if layer.bias:
        yield build.bias(layer.out_channels, partial(within, fan_in))


def _depthwise(layer: layers.DepthwiseConv | layers.SeparableConv, build: Builder, names: Names) -> LayerParameter:
    channels, multiplier, kernel = layer.in_channels, layer.depth_multiplier, layer.kernel_size
    view = (channels, multiplier, *kernel)
    return build.kernel(
        (channels * multiplier, 1, *kernel),
        Connections(
            exact=fans.convolution(channels, channels * multiplier, kernel, channels),
            keras=Connectivity(view, in_axes=(0,), out_axes=(1,)),
        ),
        partial(reset, prod(kernel)),
        Rearrangement(view, (*range(2, len(view)), 0, 1)),
        names=names,
    )


def _in_keras(shape: Shape) -> Rearrangement:
    return Rearrangement(shape, (*range(2, len(shape)), 1, 0))


def _check_groups(layer: layers.Convolution | layers.ConvTranspose) -> None:
    for channels in (layer.in_channels, layer.out_channels):
        if channels % layer.groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels; {layer.groups} does not divide {channels}"
            )
