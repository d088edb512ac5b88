"""What all layers share in the definition of their parameters."""

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
"""The canonical name of a parameter, which is PyTorch's, and its name in Keras."""
BIAS: Final = ("bias", "bias")
UNCONNECTED: Final = Connections()


@dataclass(frozen=True, slots=True)
class Builder:
    """Defines the parameters of a layer; what the layer does not specify comes from the model."""

    layer: Leaf
    spec: ModelSpec

    @property
    def in_keras(self) -> bool:
        """Whether the file has Keras' names and axes."""
        return self.spec.framework == "keras"

    @property
    def rule(self) -> Rule:
        """The rule by which fans are counted."""
        return self.layer.fans or self.spec.fans

    @property
    def kernel_initializer(self) -> AnyInitializer:
        """The initializer of kernels."""
        return self.layer.initializer or self.spec.initializer

    def kernel(  # noqa: PLR0913 - the definition of a kernel has this many parts
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
        """A weight, drawn by the initializer in a field of the layer, or by that of all kernels if there is none."""
        own = self._own(field)
        return self._parameter(
            names,
            shape,
            own or self.kernel_initializer,
            connections,
            Defaults(torch_default, keras_default),
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
        return self._parameter(
            names,
            (size,),
            self._initializer("bias_initializer", ZEROS),
            connections,
            Defaults(torch_default, keras_default),
            rearrangement=keras_axes if self.in_keras else None,
            field="bias_initializer" if self._own("bias_initializer") else "initializer",
        )

    def vector(
        self, names: Names, shape: Shape, usual: AnyInitializer, *, field: str | None = "initializer"
    ) -> LayerParameter:
        """A parameter without connections, drawn by the initializer in a field of the layer, or by the usual one."""
        initializer = usual if field is None else self._initializer(field, usual)
        connections, defaults = Connections(keras=fans.by_keras(shape)), Defaults(usual, usual)
        return self._parameter(names, shape, initializer, connections, defaults, field=field or "initializer")

    def table(
        self, names: Names, shape: Shape, connections: Connections, usual: AnyInitializer, keras_default: Default
    ) -> LayerParameter:
        """A table, of which one row is read at a time."""
        initializer = self._initializer("initializer", usual)
        return self._parameter(names, shape, initializer, connections, Defaults(usual, keras_default))

    def _parameter(  # noqa: PLR0913, PLR0917 - the same
        self,
        names: Names,
        shape: Shape,
        initializer: AnyInitializer,
        connections: Connections,
        defaults: Defaults,
        rearrangement: Rearrangement | None = None,
        field: str = "initializer",
    ) -> LayerParameter:
        """A parameter under the framework's name, whose fans are counted by the rule of the layer or the model."""
        name, output_name = names[0], names[self.in_keras]
        return LayerParameter(
            name, output_name, shape, initializer, self.rule, connections, defaults, rearrangement, field
        )

    def _own(self, field: str) -> AnyInitializer | None:
        """The initializer in a field of the layer; None if there is none."""
        own: AnyInitializer | None = getattr(self.layer, field)
        return own

    def _initializer(self, field: str, usual: AnyInitializer) -> AnyInitializer:
        """The initializer of a parameter that is not a kernel: its own, a framework's default, or the usual one."""
        if own := self._own(field):
            return own
        for said in (self.layer.initializer, self.spec.initializer):
            if isinstance(said, TorchDefault | KerasDefault):
                return said
        return usual


def reset(fan_in: int) -> Distribution:
    """PyTorch's default for the weights of linear layers and convolutions: kaiming_uniform_(a=sqrt(5))."""
    slope = sqrt(5.0)
    gain = sqrt(2.0 / (1 + slope * slope))
    bound = sqrt(3.0) * (gain / sqrt(fan_in))
    return Uniform(-bound, bound)


def within(fan_in: int) -> Distribution:
    """Uniform on +-1 / sqrt(fan_in), PyTorch's default for biases and for bilinear and recurrent layers."""
    bound = 1.0 / sqrt(fan_in)
    return Uniform(-bound, bound)
