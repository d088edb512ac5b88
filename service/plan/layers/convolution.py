"""The parameters of convolutions: plain, transposed, depthwise and separable."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from service.initializers import fans
from service.initializers.fans import Connectivity
from service.plan.parameter import Builder, LayerParameter
from service.plan.rearrangement import Rearrangement
from service.schema import layers
from service.stream.words import Shape


def convolution(layer: layers.Convolution, build: Builder) -> Iterator[LayerParameter]:
    """Weight (out, in / groups, *kernel) and bias; Keras: (*kernel, in / groups, out)."""
    kernel, groups = layer.kernel_size, layer.groups
    _check_groups(layer)
    shape = (layer.out_channels, layer.in_channels // groups, *kernel)
    exact = fans.convolution(layer.in_channels, layer.out_channels, kernel, groups)
    yield from _with_bias(layer, build, shape, exact)


def transposed(layer: layers.ConvTranspose, build: Builder) -> Iterator[LayerParameter]:
    """Weight (in, out / groups, *kernel) and bias; Keras: (*kernel, out / groups, in)."""
    kernel, groups = layer.kernel_size, layer.groups
    _check_groups(layer)
    shape = (layer.in_channels, layer.out_channels // groups, *kernel)
    exact = fans.transposed(layer.in_channels, layer.out_channels, kernel, groups)
    yield from _with_bias(layer, build, shape, exact)


def depthwise(layer: layers.DepthwiseConv, build: Builder) -> Iterator[LayerParameter]:
    """Weight (in . multiplier, 1, *kernel) and bias; Keras: (*kernel, in, multiplier)."""
    channels, kernel = layer.in_channels * layer.depth_multiplier, layer.kernel_size
    yield _depthwise(layer, build, ("weight", "kernel"))
    if layer.bias:
        yield build.bias(channels, layer.bias_initializer, prod(kernel))


def separable(layer: layers.SeparableConv, build: Builder) -> Iterator[LayerParameter]:
    """A depthwise weight without bias, then a convolution with a kernel of one place."""
    channels, ones = layer.in_channels * layer.depth_multiplier, (1,) * len(layer.kernel_size)
    yield _depthwise(layer, build, ("depthwise.weight", "depthwise_kernel"))
    shape = (layer.out_channels, channels, *ones)
    exact = fans.convolution(channels, layer.out_channels, ones, 1)
    names = ("pointwise.weight", "pointwise_kernel")
    pointwise = build.kernel(
        shape, exact, channels, _in_keras(shape), initializer=layer.pointwise_initializer, names=names
    )
    yield pointwise._replace(field="initializer" if layer.pointwise_initializer is None else "pointwise_initializer")
    if layer.bias:
        bias = build.bias(layer.out_channels, layer.bias_initializer, channels)
        bias_names = ("pointwise.bias", "bias")
        yield bias._replace(name=bias_names[0], output_name=bias_names[build.in_keras])


def _with_bias(
    layer: layers.Convolution | layers.ConvTranspose, build: Builder, shape: Shape, exact: Connectivity
) -> Iterator[LayerParameter]:
    fan_in = prod(shape[1:])
    yield build.kernel(shape, exact, fan_in, _in_keras(shape))
    if layer.bias:
        yield build.bias(layer.out_channels, layer.bias_initializer, fan_in)


def _depthwise(
    layer: layers.DepthwiseConv | layers.SeparableConv, build: Builder, names: tuple[str, str]
) -> LayerParameter:
    channels, multiplier, kernel = layer.in_channels, layer.depth_multiplier, layer.kernel_size
    shape, view = (channels * multiplier, 1, *kernel), (channels, multiplier, *kernel)
    keras_axes = Rearrangement(view, (*range(2, len(view)), 0, 1))
    exact = fans.convolution(channels, channels * multiplier, kernel, channels)
    weight = build.kernel(shape, exact, prod(kernel), keras_axes, names=names)
    return weight._replace(keras=Connectivity(view, in_axes=(0,), out_axes=(1,)))


def _in_keras(shape: Shape) -> Rearrangement:
    return Rearrangement(shape, (*range(2, len(shape)), 1, 0))


def _check_groups(layer: layers.Convolution | layers.ConvTranspose) -> None:
    for channels in (layer.in_channels, layer.out_channels):
        if channels % layer.groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels; {layer.groups} does not divide {channels}"
            )
