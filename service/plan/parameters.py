"""Layers to parameters: shapes, fans and laws. One `match` over all layers and one over all initializers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, assert_never

from service.initializers import distributions, schemes
from service.initializers.distributions import Distribution
from service.initializers.fans import Fans, convolution_fans, embedding_fans, linear_fans, tensor_fans
from service.initializers.gains import Nonlinearity, gain_of
from service.plan.tensors import Shape
from service.spec import initializers as wire
from service.spec.initializers import AnyInitializer, GainOf
from service.spec.layers import BatchNorm, Conv1d, Conv2d, Conv3d, Embedding, LayerNorm, Leaf, Linear, Tensor
from service.spec.model import ModelSpec

STANDARD_NORMAL: Final = wire.Normal(type="normal")
ZEROS: Final = wire.Zeros(type="zeros")
ONES: Final = wire.Ones(type="ones")

KERAS_NAMES: Final = {
    "linear": {"weight": "kernel"},
    "conv1d": {"weight": "kernel"},
    "conv2d": {"weight": "kernel"},
    "conv3d": {"weight": "kernel"},
    "embedding": {"weight": "embeddings"},
    "layer_norm": {"weight": "gamma", "bias": "beta"},
    "batch_norm": {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
}
"""What Keras calls the parameters of a layer, where it differs from PyTorch."""


@dataclass(frozen=True, slots=True)
class Role:
    """A parameter as its layer defines it.

    Attributes:
        name: canonical name, empty for a bare tensor.
        shape: canonical shape.
        fans: connections in and out, None where there are none.
        initializer: what it is drawn by.
        axes: the canonical axis behind each output axis; None where the order is canonical.
    """

    name: str
    shape: Shape
    fans: Fans | None
    initializer: AnyInitializer
    axes: Shape | None = None


def roles_of(layer: Leaf, spec: ModelSpec) -> Iterator[Role]:
    """The parameters of one layer, in order.

    Raises:
        ValueError: the layer's numbers contradict each other.
    """
    keras = spec.framework == "keras"
    match layer:
        case Linear(in_features=fan_in, out_features=fan_out):
            axes = (1, 0) if keras or layer.layout == "in_out" else None
            initializer = layer.initializer or spec.initializer
            yield Role("weight", (fan_out, fan_in), linear_fans(fan_in, fan_out), initializer, axes)
            yield from _bias(layer.bias, (fan_out,), layer.bias_initializer)
        case Conv1d() | Conv2d() | Conv3d():
            yield _kernel(layer, layer.initializer or spec.initializer, keras)
            yield from _bias(layer.bias, (layer.out_channels,), layer.bias_initializer)
        case Embedding(num_embeddings=rows, embedding_dim=columns):
            yield Role("weight", (rows, columns), embedding_fans(rows, columns), layer.initializer or STANDARD_NORMAL)
        case LayerNorm(normalized_shape=shape):
            if layer.elementwise_affine:
                yield Role("weight", shape, None, layer.initializer or ONES)
                yield from _bias(layer.bias, shape, layer.bias_initializer)
        case BatchNorm(num_features=channels):
            if layer.affine:
                yield Role("weight", (channels,), None, layer.initializer or ONES)
                yield from _bias(True, (channels,), layer.bias_initializer)
            if layer.track_running_stats:
                yield Role("running_mean", (channels,), None, ZEROS)
                yield Role("running_var", (channels,), None, ONES)
        case Tensor(shape=shape):
            yield Role("", shape, tensor_fans(shape, layer.layout), layer.initializer or spec.initializer)
        case _:
            assert_never(layer)


def _bias(there: bool, shape: Shape, initializer: AnyInitializer | None) -> Iterator[Role]:
    if there:
        yield Role("bias", shape, None, initializer or ZEROS)


def _kernel(layer: Conv1d | Conv2d | Conv3d, initializer: AnyInitializer, keras: bool) -> Role:
    for channels in (layer.in_channels, layer.out_channels):
        if channels % layer.groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels; {layer.groups} does not divide {channels}"
            )
    kernel = layer.kernel_size
    shape = (layer.out_channels, layer.in_channels // layer.groups, *kernel)
    fans = convolution_fans(layer.in_channels, layer.out_channels, kernel, layer.groups)
    return Role("weight", shape, fans, initializer, (*range(2, len(shape)), 1, 0) if keras else None)


def distribution_of(  # noqa: C901, PLR0911, PLR0912 - one case an initializer, each a line
    initializer: AnyInitializer, fans: Fans | None
) -> Distribution:
    """The law that an initializer gives a parameter.

    Raises:
        ValueError: the scheme needs fans that the parameter lacks, or its scalars are out of range.
    """
    match initializer:
        case wire.XavierUniform(mode=mode):
            return schemes.xavier(_needed(fans), "uniform", _gain(initializer.gain), mode)
        case wire.XavierNormal(mode=mode):
            return schemes.xavier(_needed(fans), "normal", _gain(initializer.gain), mode)
        case wire.KaimingUniform(mode=mode):
            return schemes.kaiming(_needed(fans), "uniform", _kaiming_gain(initializer), mode)
        case wire.KaimingNormal(mode=mode):
            return schemes.kaiming(_needed(fans), "normal", _kaiming_gain(initializer), mode)
        case wire.LecunUniform():
            return schemes.lecun(_needed(fans), "uniform")
        case wire.LecunNormal():
            return schemes.lecun(_needed(fans), "normal")
        case wire.VarianceScaling(scale=scale, mode=mode, distribution=law):
            return schemes.variance_scaling(_needed(fans), scale, mode, law)
        case wire.Uniform(low=low, high=high):
            return distributions.Uniform(low, high)
        case wire.Normal(mean=mean, std=std):
            return distributions.Normal(mean, std)
        case wire.TruncatedNormal(mean=mean, std=std):
            return distributions.TruncatedNormal(mean, std)
        case wire.Constant(value=value):
            return distributions.Constant(value)
        case wire.Zeros():
            return distributions.Constant(0.0)
        case wire.Ones():
            return distributions.Constant(1.0)
        case _:
            assert_never(initializer)


def _needed(fans: Fans | None) -> Fans:
    if fans is None:
        raise ValueError(
            "it needs fan_in and fan_out, which a bias, a norm, and a tensor below rank 2 or without elements has not;"
            " use normal, truncated_normal, uniform, constant, zeros or ones"
        )
    return fans


def _gain(gain: float | Nonlinearity | GainOf) -> float:
    match gain:
        case GainOf(nonlinearity=nonlinearity, negative_slope=slope):
            value = gain_of(nonlinearity, slope)
        case str():
            value = gain_of(gain)
        case _:
            value = gain
    if not value > 0:
        raise ValueError(f"its gain is {value}; it must be above 0")
    return value


def _kaiming_gain(initializer: wire.KaimingUniform | wire.KaimingNormal) -> float:
    if initializer.gain is not None:
        return _gain(initializer.gain)
    return _gain(
        GainOf.model_construct(nonlinearity=initializer.nonlinearity, negative_slope=initializer.negative_slope)
    )
