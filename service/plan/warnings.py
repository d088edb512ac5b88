"""Warnings about specifications that are valid but may not be intended.

They depend only on the canonical form, so equal specifications have equal warnings: it makes no difference whether an
initializer is a bare name or an object without parameters, or whether a default is left out or written.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from service.plan.layers.linear import STANDARD_NORMAL
from service.plan.parameter import LayerParameter, Rule
from service.plan.rounding import rounding_warnings
from service.schema import initializers as wire
from service.schema.initializers import AnyInitializer
from service.schema.model import ModelSpec

if TYPE_CHECKING:
    from service.plan.parameter import Parameter
    from service.plan.tensors import TensorPlan

MOST_SHOWN: Final = 100
"""The most warnings that are reported; no more are computed."""
AXIS_SCHEMES: Final = (wire.FanScheme, wire.Orthogonal, wire.DeltaOrthogonal, wire.Dirac)
"""The schemes that, for tensors above rank 2, depend on which axes are the inputs."""
KERAS_MEANINGS: Final[dict[AnyInitializer, str]] = {
    wire.XavierNormal(type="xavier_normal"): (
        "xavier_normal (glorot_normal) is a plain normal; for Keras' own, which is truncated, write 'GlorotNormal'"
    ),
    wire.KaimingNormal(type="kaiming_normal"): (
        "kaiming_normal (he_normal) is a plain normal; for Keras' own, which is truncated, write 'HeNormal'"
    ),
    wire.LecunNormal(type="lecun_normal"): (
        "lecun_normal is a plain normal; for Keras' own, which is truncated, write 'LecunNormal'"
    ),
    wire.TruncatedNormal(type="truncated_normal"): (
        "truncated_normal has a std of 1 before the cut; for Keras' own, of 0.05, write 'TruncatedNormal'"
    ),
    wire.Normal(type="normal"): "normal has a std of 1; for Keras' own, of 0.05, write 'RandomNormal'",
    wire.Uniform(type="uniform"): "uniform is on (0, 1); for Keras' own, on (-0.05, 0.05), write 'RandomUniform'",
}
"""The initializers whose bare name means something else in Keras 3.15, keras.initializers.get."""


def warnings_of(spec: ModelSpec, tensors: Sequence[TensorPlan]) -> tuple[str, ...]:
    """The warnings of a plan, at most MOST_SHOWN of them; they are the same for the same canonical form.

    Args:
        spec: the specification.
        tensors: the tensors of the plan, in model order.
    """
    found = chain(_alike(tensors), _doubtful(spec, tensors), rounding_warnings(tensors))
    shown, more = tuple(islice(found, MOST_SHOWN)), next(found, None)
    return shown if more is None else (*shown, "and more warnings")


def _alike(tensors: Sequence[TensorPlan]) -> Iterator[str]:
    """Different names that a file system or a reader may take for the same."""
    uses = Counter(unicodedata.normalize("NFC", tensor.name) for tensor in tensors)
    return (f"{name!r} occurs {n} times after Unicode normalisation" for name, n in uses.items() if n > 1)


def _doubtful(spec: ModelSpec, tensors: Sequence[TensorPlan]) -> Iterator[str]:
    """Parameters that may not be intended; those with the same doubt are reported as one, by the name of the first."""
    parameters: dict[str, list[Parameter]] = defaultdict(list)
    uses = Counter(tensor.parameter for tensor in tensors)
    for parameter in uses:
        for doubt in _doubts(spec, parameter):
            parameters[doubt].append(parameter)
    first = {tensor.parameter: tensor.name for tensor in reversed(tensors)} if parameters else {}
    for doubt, doubted in parameters.items():
        more = sum(uses[parameter] for parameter in doubted) - 1
        yield f"{first[doubted[0]]!r}{f' and {more} more' if more else ''}: {doubt}"


def _doubts(spec: ModelSpec, parameter: Parameter) -> Iterator[str]:
    initializer, defined = parameter.initializer, parameter.defined
    was_named = initializer is not STANDARD_NORMAL  # the object that embeddings have if nothing is specified
    if spec.framework == "keras" and was_named and initializer in KERAS_MEANINGS:
        yield KERAS_MEANINGS[initializer]
    if defined.connections.assumed is None or _rule(defined) != "exact":
        return
    if defined.connections.assumed == "convolution" and isinstance(initializer, AXIS_SCHEMES):
        yield (
            f"{initializer.type} reads the shape {list(defined.shape)} as that of a convolution, (out, in, *kernel);"
            " if it is not one, give in_axes, out_axes and batch_axes, or layout in_out"
        )
    if defined.connections.assumed == "one-hot inputs" and isinstance(initializer, wire.FanScheme):
        yield (
            f"{initializer.type} counts the {defined.shape[0]} rows of an embedding as inputs, although only one is"
            " read at a time; if that is not intended, use normal with a std, or fans: torch, which counts the columns"
        )


def _rule(defined: LayerParameter) -> Rule:
    """The rule by which the initializer identifies the axes of inputs."""
    match defined.initializer:
        case wire.Orthogonal(matricisation=str(rule)):
            return rule
        case wire.DeltaOrthogonal() | wire.Dirac():
            return "exact"
        case _:
            return defined.rule
