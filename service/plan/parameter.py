"""A parameter as its layer defines it, and what the layers have in common in defining one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Final, Literal, NamedTuple, get_args

from service.distributions.base import Distribution
from service.distributions.elementwise import Uniform
from service.initializers import fans
from service.initializers.fans import Connectivity, Fans
from service.plan.rearrangement import Rearrangement
from service.schema import initializers as wire
from service.schema.fields import FanRule
from service.schema.initializers import AnyInitializer
from service.schema.layers import Leaf
from service.schema.model import ModelSpec
from service.stream.words import Shape

Rule = FanRule | Literal["axes"]
Assumption = Literal["convolution", "one-hot inputs"]
RULES: Final[tuple[FanRule, ...]] = get_args(FanRule)
NUMBER: Final = "#"
"""What stands for the number of a layer in the names of a stack of layers."""
Default = AnyInitializer | Callable[[], Distribution]
"""What a framework draws by itself: an initializer under its own fans, or a distribution."""

XAVIER: Final = wire.XavierUniform(type="xavier_uniform")
ZEROS: Final = wire.Zeros(type="zeros")
ONES: Final = wire.Ones(type="ones")


class LayerParameter(NamedTuple):
    """A parameter as its layer defines it.

    Attributes:
        name: canonical name, empty for a bare tensor.
        output_name: its name in the framework's naming.
        shape: canonical shape.
        rearrangement: how the framework's tensor lies in the canonical one; None where it is the same.
        initializer: what it is drawn by.
        field: the member of the layer that says so.
        rule: how its fans are counted.
        exact: what its axes connect; None for a bias or a norm.
        assumed: what that takes for granted; None where the layer says it.
        torch: the same as PyTorch counts, where that is not by its rule for the canonical shape.
        keras: the same as Keras counts, where that is not as PyTorch does.
        torch_default: what PyTorch draws; None where it has no such layer.
        keras_default: what Keras draws; None where it has no such layer.
        parts: parameters whose distributions together make the distribution of this one.
        combine: how they make it, from their distributions and the tuple of their names.
        numbers: the numbers of the layers of a stack that have such a parameter, for which NUMBER stands in its names;
            None for a parameter that a layer has once.
    """

    name: str
    output_name: str
    shape: Shape
    initializer: AnyInitializer
    rule: Rule
    rearrangement: Rearrangement | None = None
    field: str = "initializer"
    exact: Connectivity | None = None
    assumed: Assumption | None = None
    torch: Connectivity | None = None
    keras: Connectivity | None = None
    torch_default: Default | None = ZEROS
    keras_default: Default | None = ZEROS
    parts: tuple[LayerParameter, ...] = ()
    combine: Callable[..., Distribution] | None = None
    numbers: range | None = None

    @property
    def others(self) -> tuple[str, ...]:
        """Canonical names of the further parameters that are in this one."""
        return tuple(part.name for part in self.parts if part.name != self.name)

    def numbered(self, number: int) -> LayerParameter:
        """The parameter of one layer of a stack."""
        return self._replace(
            name=self.name.replace(NUMBER, str(number)),
            output_name=self.output_name.replace(NUMBER, str(number)),
            parts=tuple(part.numbered(number) for part in self.parts),
            numbers=None,
        )

    def fans(self, rule: Rule) -> Fans | None:
        """The fans by a rule; None where it sees no connection."""
        connected = self.connectivity(rule)
        return connected.fans if connected else None

    def connectivity(self, rule: Rule) -> Connectivity | None:
        """What the axes connect by a rule; None where it sees no connection."""
        if self.parts:
            return self.parts[0].connectivity(rule)
        match rule:
            case "torch":
                return self.torch or fans.by_torch(self.shape)
            case "keras":
                return self.keras or fans.by_torch(self.shape) or fans.by_keras(self.shape)
            case _:
                return self.exact


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes the parameters of a layer, with what the layer leaves to the model."""

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

    def initializer(self, own: AnyInitializer | None, usual: AnyInitializer) -> AnyInitializer:
        """What any other parameter is drawn by: its own initializer, a framework's default, or the usual one."""
        if own is not None:
            return own
        for said in (self.layer.initializer, self.spec.initializer):
            if isinstance(said, wire.TorchDefault | wire.KerasDefault):
                return said
        return usual

    def plain(
        self, names: tuple[str, str], shape: Shape, initializer: AnyInitializer, default: Default = ZEROS
    ) -> LayerParameter:
        """A parameter without connections, by its name and Keras' name, and what both frameworks draw."""
        return LayerParameter(
            name=names[0],
            output_name=names[self.in_keras],
            shape=shape,
            initializer=initializer,
            rule=self.rule,
            keras=fans.by_keras(shape),
            torch_default=default,
            keras_default=default,
        )

    def kernel(  # noqa: PLR0913 - what a kernel is takes this many words
        self,
        shape: Shape,
        exact: Connectivity,
        fan_in: int,
        keras_axes: Rearrangement | None,
        *,
        initializer: AnyInitializer | None = None,
        names: tuple[str, str] = ("weight", "kernel"),
    ) -> LayerParameter:
        """A weight; `fan_in` is what PyTorch's own default divides by."""
        return LayerParameter(
            name=names[0],
            output_name=names[self.in_keras],
            shape=shape,
            rearrangement=keras_axes if self.in_keras else None,
            initializer=initializer or self.kernel_initializer,
            rule=self.rule,
            exact=exact,
            torch_default=partial(reset, fan_in),
            keras_default=XAVIER,
        )

    def bias(self, size: int, own: AnyInitializer | None, fan_in: int) -> LayerParameter:
        """A bias; `fan_in` is what PyTorch's own default divides by."""
        return LayerParameter(
            name="bias",
            output_name="bias",
            shape=(size,),
            initializer=self.initializer(own, ZEROS),
            field="initializer" if own is None else "bias_initializer",
            rule=self.rule,
            torch_default=partial(within, fan_in),
        )


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
