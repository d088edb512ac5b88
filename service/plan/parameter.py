"""Parameters, as a layer defines them and as they are planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Final, Literal, NamedTuple, get_args

from service.distributions.base import Distribution
from service.initializers import fans
from service.initializers.fans import Connectivity, Fans
from service.plan.rearrangement import Rearrangement
from service.schema import initializers as wire
from service.schema.fields import FanRule
from service.schema.initializers import AnyInitializer
from service.stream.dtypes import DType
from service.stream.words import Shape

Rule = FanRule | Literal["axes"]
Assumption = Literal["convolution", "one-hot inputs"]
RULES: Final[tuple[FanRule, ...]] = get_args(FanRule)
NUMBER: Final = "#"
"""The placeholder for the number of a layer in the names of a stack of layers."""
Default = AnyInitializer | Callable[[], Distribution]
"""A framework's own default: an initializer, with the fans that the framework counts, or a distribution."""

XAVIER: Final = wire.XavierUniform(type="xavier_uniform")
ZEROS: Final = wire.Zeros(type="zeros")
ONES: Final = wire.Ones(type="ones")


class Connections(NamedTuple):
    """What the axes of a parameter connect, exactly and as the frameworks count.

    Attributes:
        exact: the true connectivity; None for a bias or a norm.
        torch: the connectivity by PyTorch, if it differs from PyTorch's rule for the canonical shape.
        keras: the connectivity by Keras, if it differs from PyTorch's.
        assumed: the assumption behind `exact`; None if the layer states its connections.
    """

    exact: Connectivity | None = None
    torch: Connectivity | None = None
    keras: Connectivity | None = None
    assumed: Assumption | None = None

    def by(self, rule: Rule, shape: Shape) -> Connectivity | None:
        """What the axes of a parameter connect by a rule, given its shape; None if they connect nothing."""
        match rule:
            case "torch":
                return self.torch or fans.by_torch(shape)
            case "keras":
                return self.keras or fans.by_torch(shape) or fans.by_keras(shape)
            case _:
                return self.exact


class Defaults(NamedTuple):
    """What the frameworks draw if no initializer is given; None where a framework has no such layer."""

    torch: Default | None = ZEROS
    keras: Default | None = ZEROS


class LayerParameter(NamedTuple):
    """A parameter as its layer defines it.

    Attributes:
        name: the canonical name, empty for a bare tensor.
        output_name: the name in the framework's naming.
        shape: the canonical shape.
        initializer: the initializer that draws it.
        rule: the rule by which its fans are counted.
        connections: what its axes connect.
        defaults: what the frameworks draw by default.
        rearrangement: how the framework's tensor maps to the canonical one; None where they are the same.
        field: the member of the layer that names the initializer.
        parts: the parameters whose distributions are combined into the distribution of this one.
        combine: combines their distributions, given these and the tuple of their names.
        numbers: the numbers of the layers of a stack that have this parameter, in whose names NUMBER stands for them;
            None for a parameter that occurs once.
    """

    name: str
    output_name: str
    shape: Shape
    initializer: AnyInitializer
    rule: Rule = "exact"
    connections: Connections = Connections()
    defaults: Defaults = Defaults()
    rearrangement: Rearrangement | None = None
    field: str = "initializer"
    parts: tuple[LayerParameter, ...] = ()
    combine: Callable[..., Distribution] | None = None
    numbers: range | None = None

    @property
    def others(self) -> tuple[str, ...]:
        """The canonical names of the other parameters that this one contains."""
        return tuple(part.name for part in self.parts if part.name != self.name)

    def numbered(self, number: int) -> LayerParameter:
        """The parameter in one layer of a stack."""
        return self._replace(
            name=self.name.replace(NUMBER, str(number)),
            output_name=self.output_name.replace(NUMBER, str(number)),
            parts=tuple(part.numbered(number) for part in self.parts),
            numbers=None,
        )

    def fans(self, rule: Rule) -> Fans | None:
        """The fans by a rule; None if the axes connect nothing."""
        connected = self.connectivity(rule)
        return connected.fans if connected else None

    def connectivity(self, rule: Rule) -> Connectivity | None:
        """What the axes connect by a rule; None if they connect nothing."""
        return self.parts[0].connectivity(rule) if self.parts else self.connections.by(rule, self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A planned parameter, without its name in the file: repeats, and layers that differ only in their names, share it.

    Attributes:
        defined: its definition by the layer.
        dtype: the storage format.
        fans: the numbers of connections in and out; None if the parameter has none.
        rule: the rule by which the fans were counted; None if there are none.
        distribution: the distribution of its values.
    """

    defined: LayerParameter
    dtype: DType
    fans: Fans | None
    rule: Rule | None
    distribution: Distribution

    @property
    def canonical_shape(self) -> Shape:
        """The shape in the canonical order of axes, which is also the order of the random words."""
        return self.defined.shape

    @property
    def rearrangement(self) -> Rearrangement | None:
        """How the tensor in the file maps to the canonical one; None if they are the same."""
        return self.defined.rearrangement

    @property
    def initializer(self) -> AnyInitializer:
        """The initializer that was asked for."""
        return self.defined.initializer

    @property
    def shape(self) -> Shape:
        """The shape in the file."""
        return self.canonical_shape if self.rearrangement is None else self.rearrangement.output_shape

    @property
    def elements(self) -> int:
        """The number of values."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes in the file."""
        return self.elements * self.dtype.itemsize

    @property
    def materialized_elements(self) -> int:
        """The number of elements of matrices that must be drawn as a whole, divided among tensors that share them."""
        parts = self.rearrangement.view[0] if self.rearrangement and self.rearrangement.part is not None else 1
        return -(-self.distribution.materialized_elements // parts)

    @property
    def materialized_bytes(self) -> int:
        """The bytes of matrices that must be in memory while a single element is drawn."""
        some = self.rearrangement.taken if self.rearrangement else range(min(1, self.elements))
        return self.distribution.materialized_bytes(some, self.dtype)
