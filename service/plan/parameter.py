"""Parameters: as a layer defines them, and as they are planned."""

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
"""What stands for the number of a layer in the names of a stack of layers."""
Default = AnyInitializer | Callable[[], Distribution]
"""What a framework draws by itself: an initializer under its own fans, or a distribution."""

XAVIER: Final = wire.XavierUniform(type="xavier_uniform")
ZEROS: Final = wire.Zeros(type="zeros")
ONES: Final = wire.Ones(type="ones")


class Connections(NamedTuple):
    """What the axes of a parameter connect, in truth and as frameworks count it.

    Attributes:
        exact: None for a bias or a norm.
        torch: as PyTorch counts, where that is not by its rule for the canonical shape.
        keras: as Keras counts, where that is not as PyTorch does.
        assumed: what `exact` takes for granted; None where the layer says it.
    """

    exact: Connectivity | None = None
    torch: Connectivity | None = None
    keras: Connectivity | None = None
    assumed: Assumption | None = None

    def by(self, rule: Rule, shape: Shape) -> Connectivity | None:
        """What the axes of a parameter of a shape connect by a rule; None where it sees no connection."""
        match rule:
            case "torch":
                return self.torch or fans.by_torch(shape)
            case "keras":
                return self.keras or fans.by_torch(shape) or fans.by_keras(shape)
            case _:
                return self.exact


class Defaults(NamedTuple):
    """What the frameworks draw where nobody says anything; None where they have no such layer."""

    torch: Default | None = ZEROS
    keras: Default | None = ZEROS


class LayerParameter(NamedTuple):
    """A parameter as its layer defines it.

    Attributes:
        name: canonical name, empty for a bare tensor.
        output_name: its name in the framework's naming.
        shape: canonical shape.
        initializer: what it is drawn by.
        rule: how its fans are counted.
        connections: what its axes connect.
        defaults: what the frameworks draw.
        rearrangement: how the framework's tensor lies in the canonical one; None where it is the same.
        field: the member of the layer that names the initializer.
        parts: parameters whose distributions together make the distribution of this one.
        combine: how they make it, from their distributions and the tuple of their names.
        numbers: the numbers of the layers of a stack that have such a parameter, for which NUMBER stands in its names;
            None for a parameter that a layer has once.
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
        return self.parts[0].connectivity(rule) if self.parts else self.connections.by(rule, self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A planned parameter, whatever it is called: repeats, and layers that are equal but for their names, share it.

    Attributes:
        defined: what its layer makes of it.
        dtype: storage format.
        fans: connections in and out, None where the parameter has none.
        rule: how the fans were counted, None where there are none.
        distribution: what its values follow.
    """

    defined: LayerParameter
    dtype: DType
    fans: Fans | None
    rule: Rule | None
    distribution: Distribution

    @property
    def canonical_shape(self) -> Shape:
        """Shape in the canonical order of axes, which is the order of words."""
        return self.defined.shape

    @property
    def rearrangement(self) -> Rearrangement | None:
        """How the file's tensor lies in the canonical one, or None where they are the same."""
        return self.defined.rearrangement

    @property
    def initializer(self) -> AnyInitializer:
        """As asked for."""
        return self.defined.initializer

    @property
    def shape(self) -> Shape:
        """Shape in the file."""
        return self.canonical_shape if self.rearrangement is None else self.rearrangement.output_shape

    @property
    def elements(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.elements * self.dtype.itemsize

    @property
    def materialized_elements(self) -> int:
        """Elements that are drawn together with others, where one tensor of several is taken its share of them."""
        parts = self.rearrangement.view[0] if self.rearrangement and self.rearrangement.part is not None else 1
        return -(-self.distribution.materialized_elements // parts)

    @property
    def materialized_bytes(self) -> int:
        """Bytes of matrices that are held while any one element is drawn."""
        some = self.rearrangement.taken if self.rearrangement else range(min(1, self.elements))
        return self.distribution.materialized_bytes(some, self.dtype)
