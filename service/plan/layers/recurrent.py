"""The parameters of recurrent layers: consecutive gates, layer by layer and direction by direction.

PyTorch has two biases per layer, and the gates i, f, g, o (LSTM) or r, z, n (GRU). Keras has one bias, which is the sum
of the two, or for a GRU both in one tensor, and the gates i, f, c, o or z, r, h.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from service.distributions.base import Distribution
from service.distributions.blockwise import blockwise, concatenated, summed
from service.distributions.elementwise import Constant
from service.initializers import fans
from service.initializers.fans import Connectivity
from service.plan.layers.builder import Builder, within
from service.plan.parameter import NUMBER, XAVIER, ZEROS, Connections, LayerParameter
from service.plan.rearrangement import Rearrangement
from service.schema import initializers as wire
from service.schema import layers
from service.schema.initializers import AnyInitializer

GATES: Final = {"rnn": 1, "lstm": 4, "gru": 3}
GRU_IN_KERAS: Final = (1, 0, 2)
"""The positions of Keras' gates z, r, h among PyTorch's gates r, z, n."""
FORGET_GATE: Final = 1
ORTHOGONAL: Final = wire.Orthogonal(type="orthogonal")


def recurrent(layer: layers.Recurrent, build: Builder) -> Iterator[LayerParameter]:
    """The parameters of every layer and direction; they are the same for all layers except the first."""
    yield from _parameters(layer, build, range(1), layer.input_size)
    if layer.num_layers > 1:
        yield from _parameters(layer, build, range(1, layer.num_layers), layer.hidden_size * (1 + layer.bidirectional))


def _parameters(layer: layers.Recurrent, build: Builder, numbers: range, inputs: int) -> Iterator[LayerParameter]:
    """The parameters of some layers of a stack, direction by direction."""
    for direction in ("forward", "backward") if layer.bidirectional else ("forward",):
        suffix = f"_l{NUMBER}" + ("_reverse" if direction == "backward" else "")
        path = f"{NUMBER}." if layer.num_layers > 1 else ""
        path += f"{direction}." if layer.bidirectional else ""
        for defined in _Cell(layer, build, suffix, path).parameters(inputs):
            yield defined._replace(numbers=numbers)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One direction of one layer.

    Attributes:
        layer: the layer.
        build: defines the parameters.
        suffix: the end of the names in PyTorch; NUMBER stands for the number of the layer.
        path: what comes before the names in Keras.
    """

    layer: layers.Recurrent
    build: Builder
    suffix: str
    path: str

    def parameters(self, inputs: int) -> Iterator[LayerParameter]:
        """Both weights, and one or two biases, as the framework has them."""
        yield self._weight("weight_ih", "kernel", inputs, "initializer", XAVIER)
        yield self._weight("weight_hh", "recurrent_kernel", self.hidden, "recurrent_initializer", ORTHOGONAL)
        if self.layer.bias:
            both = self._bias("bias_ih", self.forget_bias, 1.0), self._bias("bias_hh", self.forget_bias and 0.0, 0.0)
            yield from (self._one_bias(*both),) if self.build.in_keras else both

    @property
    def hidden(self) -> int:
        """The size of the state."""
        return self.layer.hidden_size

    @property
    def gates(self) -> int:
        """The number of gates."""
        return GATES[self.layer.type]

    @property
    def forget_bias(self) -> float | None:
        """The bias of the forget gate, if the layer specifies one."""
        return self.layer.forget_bias if isinstance(self.layer, layers.LSTM) else None

    def _weight(
        self, name: str, keras_name: str, inputs: int, field: str, keras_default: AnyInitializer
    ) -> LayerParameter:
        return self.build.kernel(
            (self.gates * self.hidden, inputs),
            Connections(fans.fused(self.gates, inputs, self.hidden)),
            partial(within, self.hidden),
            Rearrangement(
                view=(self.gates, self.hidden, inputs),
                axes=(2, 0, 1),
                shape=(inputs, self.gates * self.hidden),
                order=GRU_IN_KERAS if self.layer.type == "gru" else None,
            ),
            names=(name + self.suffix, self.path + keras_name),
            keras_default=keras_default,
            field=field,
        )

    def _bias(self, name: str, forget: float | None, keras_forget: float) -> LayerParameter:
        """One of PyTorch's two biases; Keras' default adds 1 to the forget gate of an LSTM."""
        size, adds_one = self.gates * self.hidden, self.layer.type == "lstm" and forget is None
        # Keras has both biases of a GRU in one tensor, and counts the fans of that.
        both = Connectivity((2, size), in_axes=(0,), out_axes=(1,)) if self.layer.type == "gru" else None
        bias = self.build.bias(
            size,
            partial(within, self.hidden),
            names=(name + self.suffix, name + self.suffix),
            keras_default=partial(self._forgetting, keras_forget, Constant(0.0)) if adds_one else ZEROS,
            connections=Connections(keras=both),
        )
        return bias if forget is None else self._with_forget_bias(bias, forget)

    def _with_forget_bias(self, bias: LayerParameter, forget: float) -> LayerParameter:
        """A bias with the layer's value for the forget gate."""
        field = "forget_bias" if self.layer.bias_initializer is None else bias.field
        return bias._replace(field=field, parts=(bias,), combine=partial(self._forgetting, forget))

    def _forgetting(self, forget: float, distribution: Distribution, *_: object) -> Distribution:
        distributions = [distribution] * self.gates
        distributions[FORGET_GATE] = Constant(forget)
        return blockwise(distributions, self.hidden)

    def _one_bias(self, first: LayerParameter, second: LayerParameter) -> LayerParameter:
        """Keras' single bias: the sum of both, or for a GRU both, one after the other."""
        one = first._replace(output_name=self.path + "bias", parts=(first, second), combine=summed)
        if self.layer.type != "gru":
            return one
        join = partial(concatenated, order=GRU_IN_KERAS, length=self.hidden)
        return one._replace(shape=(2, *first.shape), combine=join)
