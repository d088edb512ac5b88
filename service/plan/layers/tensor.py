"""A bare tensor, which itself specifies what its axes connect."""

from __future__ import annotations

from collections.abc import Iterator

from service.initializers import fans
from service.initializers.fans import Connectivity
from service.plan.layers.builder import Builder
from service.plan.parameter import Connections, Defaults, LayerParameter
from service.schema import layers


def tensor(layer: layers.Tensor, build: Builder) -> Iterator[LayerParameter]:
    """The tensor, with its own order of axes in every framework."""
    has_axes = layer.in_axes is not None and layer.out_axes is not None
    yield LayerParameter(
        name="",
        output_name="",
        shape=layer.shape,
        initializer=build.kernel_initializer,
        rule="axes" if has_axes else build.rule,
        connections=_by_axes(layer) if has_axes else _by_layout(layer),
        defaults=Defaults(None, None),
    )


def _by_layout(layer: layers.Tensor) -> Connections:
    is_kernel = layer.layout == "out_in" and len(layer.shape) > 2
    return Connections(
        exact=fans.bare(layer.shape, layer.layout),
        keras=fans.by_keras(layer.shape),
        assumed="convolution" if is_kernel else None,
    )


def _by_axes(layer: layers.Tensor) -> Connections:
    assert layer.in_axes is not None
    assert layer.out_axes is not None
    named = Connectivity(layer.shape, layer.in_axes, layer.out_axes, layer.batch_axes or ())
    return Connections(exact=None if 0 in layer.shape else named, keras=fans.by_keras(layer.shape))
