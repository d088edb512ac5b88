"""What the layers have in common in defining their parameters."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

from service.distributions.base import Distribution
from service.distributions.elementwise import Uniform
from service.initializers import fans
from service.plan.parameter import XAVIER, ZEROS, Connections, Default, Defaults, LayerParameter, Rule
from service.plan.rearrangement import Rearrangement
from service.schema.initializers import AnyInitializer, KerasDefault, TorchDefault
from service.schema.layers import Leaf
from service.schema.model import ModelSpec
from service.stream.words import Shape

Names = tuple[str, str]
"""The canonical name of a parameter, which is PyTorch's, and Keras' name."""
BIAS: Final = ("bias", "bias")
UNCONNECTED: Final = Connections()


@dataclass(frozen=True, slots=True)
class Builder:
    """Defines the parameters of a layer, with what the layer leaves to the model."""

    layer: Leaf
    spec: ModelSpec

    @property
    def in_keras(self) -> bool:
        """Whether the file has Keras' names and axes."""
        return self.spec.framework == "keras"

    @property
    def rule(self) -> Rule:
        """How fans are counted."""
        return self.layer.fans or self.spec.fans

    @property
    def kernel_initializer(self) -> AnyInitializer:
        """What kernels are drawn by."""
        return self.layer.initializer or self.spec.initializer

    def kernel(  # noqa: PLR0913 - what a kernel is takes this many words
        self,
        shape: Shape,
        connections: Connections,
        torch_default: Default | None,
        keras_axes: Rearrangement | None = None,
        *,
        names: Names = ("weight", "kernel"),
        keras_default: Default | None = XAVIER,
        torch_axes: Rearrangement | None = None,
        field: str = "initializer",
    ) -> LayerParameter:
        """A weight, drawn by the initializer that a field of the layer names, or else by that of all its kernels."""
        own = self._own(field)
        return LayerParameter(
            name=names[0],
            output_name=names[self.in_keras],
            shape=shape,
            initializer=own or self.kernel_initializer,
            rule=self.rule,
            connections=connections,
            defaults=Defaults(torch_default, keras_default),
            rearrangement=keras_axes if self.in_keras else torch_axes,
            field=field if own else "initializer",
        )

    def bias(  # noqa: PLR0913 - the same
        self,
        size: int,
        torch_default: Default | None,
        *,
        names: Names = BIAS,
        keras_default: Default | None = ZEROS,
        connections: Connections = UNCONNECTED,
        keras_axes: Rearrangement | None = None,
    ) -> LayerParameter:
        """A bias."""
        return LayerParameter(
            name=names[0],
            output_name=names[self.in_keras],
            shape=(size,),
            initializer=self._initializer("bias_initializer", ZEROS),
            rule=self.rule,
            connections=connections,
            defaults=Defaults(torch_default, keras_default),
            rearrangement=keras_axes if self.in_keras else None,
            field="bias_initializer" if self._own("bias_initializer") else "initializer",
        )

    def vector(
        self, names: Names, shape: Shape, usual: AnyInitializer, *, field: str | None = "initializer"
    ) -> LayerParameter:
        """A parameter without connections: drawn as a field of the layer says, or as usual, also by the frameworks."""
        return LayerParameter(
            name=names[0],
            output_name=names[self.in_keras],
            shape=shape,
            initializer=usual if field is None else self._initializer(field, usual),
            rule=self.rule,
            connections=Connections(keras=fans.by_keras(shape)),
            defaults=Defaults(usual, usual),
            field=field or "initializer",
        )

    def table(
        self, names: Names, shape: Shape, connections: Connections, usual: AnyInitializer, keras_default: Default
    ) -> LayerParameter:
        """A table of rows, of which one is read at a time."""
        return LayerParameter(
            name=names[0],
            output_name=names[self.in_keras],
            shape=shape,
            initializer=self._initializer("initializer", usual),
            rule=self.rule,
            connections=connections,
            defaults=Defaults(usual, keras_default),
        )

    def _own(self, field: str) -> AnyInitializer | None:
        """The initializer that a field of the layer names; None where it names none."""
        own: AnyInitializer | None = getattr(self.layer, field)
        return own

    def _initializer(self, field: str, usual: AnyInitializer) -> AnyInitializer:
        """What any parameter but a kernel is drawn by: its own initializer, a framework's default, or the usual."""
        if own := self._own(field):
            return own
        for said in (self.layer.initializer, self.spec.initializer):
            if isinstance(said, TorchDefault | KerasDefault):
                return said
        return usual


def reset(fan_in: int) -> Distribution:
    """What PyTorch draws the weights of linear layers and convolutions from: kaiming_uniform_(a=sqrt(5))."""
    slope = sqrt(5.0)
    gain = sqrt(2.0 / (1 + slope * slope))
    bound = sqrt(3.0) * (gain / sqrt(fan_in))
    return Uniform(-bound, bound)


def within(fan_in: int) -> Distribution:
    """Uniform on +-1 / sqrt(fan_in), as PyTorch has it for biases, bilinear and recurrent layers."""
    bound = 1.0 / sqrt(fan_in)
    return Uniform(-bound, bound)
