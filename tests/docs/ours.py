"""The service, as the tests of its documentation see it: whatever they import of it stands here."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.distributions import DISTRIBUTIONS, elementwise, structured
from service.distributions.elementwise import Uniform
from service.distributions.numerics import factorisation, products
from service.distributions.numerics.probabilities import tail_probabilities
from service.initializers.gains import GAINS
from service.plan import Plan, TensorPlan, make_plan
from service.schema.canonical import canonical_document
from service.schema.catalogue import initializer_catalogue, layer_catalogue, nonlinearity_catalogue
from service.schema.dialects import NAMES
from service.schema.parsing import read_spec
from service.stream import words
from service.stream.dtypes import DType, narrow, widen
from service.stream.precision import BINARY32, BINARY64, Precision
from service.stream.truncation import TAIL_P, TAIL_Q, Cut, cut_normal
from service.stream.words import WordSource, derive_key
from tests.formats.files import MIXED, OPTIONS, STRUCTURED, file_of
from tests.stream.drawing import values_of

__all__ = [
    "BINARY32",
    "BINARY64",
    "DTYPE_ORDER",
    "GAINS",
    "MIXED",
    "NAMES",
    "OPTIONS",
    "STRUCTURED",
    "TAGS",
    "TAIL_P",
    "TAIL_Q",
    "DType",
    "Precision",
    "Tensor",
    "WordSource",
    "cut_values",
    "derive_key",
    "file",
    "initializer_catalogue",
    "initializer_of",
    "initializers",
    "layer_catalogue",
    "narrow",
    "nonlinearity_catalogue",
    "plan",
    "tail_probabilities",
    "tensors",
    "uniform_values",
    "values_of",
    "widen",
]
Array = NDArray[Any]
Spec = dict[str, Any]

DTYPE_ORDER: Final = sorted(DType, key=lambda dtype: dtype.rank)
STD_OF_TRUNCATED: Final = elementwise.STD_OF_TRUNCATED
CONSTANTS: Final = {
    "columns of a panel": factorisation.PANEL,
    "lanes of a dot product": factorisation.LANES,
    "square of a norm that counts as zero": factorisation.NEGLIGIBLE,
    "products added without rounding (12.3)": products.BLOCK,
    "bits of a slice (12.3)": products.BITS,
    "slices (12.3)": products.SLICES,
}
"""What section 12.2 of docs/stream.md has."""
TAGS: Final = {distribution.tag for distribution in DISTRIBUTIONS}
TAG: Final = words.TAG
MASK_LANE: Final = structured.MASK_LANE


class Tensor(NamedTuple):
    """A planned tensor in plain values: its names, its place in the canonical one, and how it is drawn."""

    name: str
    canonical_name: str
    shape: tuple[int, ...]
    canonical_shape: tuple[int, ...]
    seed: int
    dtype: str
    distribution: dict[str, Any]
    arrangement: dict[str, Any] | None
    fans: tuple[int, ...] | None
    stored: bytes


def plan(spec: Spec) -> Plan:
    return make_plan(read_spec(json.dumps(spec).encode()))


def tensors(spec: Spec) -> dict[str, Tensor]:
    """Every tensor of a specification, by its name in the file."""
    return {tensor.name: _tensor(tensor) for tensor in plan(spec).tensors}


def _tensor(tensor: TensorPlan) -> Tensor:
    parameter = tensor.parameter
    place = parameter.rearrangement
    members = ("view", "axes", "order", "part")
    stored = np.empty(tensor.elements, parameter.dtype.storage)
    tensor.fill(0, stored)
    return Tensor(
        tensor.name,
        tensor.canonical_name,
        tensor.shape,
        parameter.canonical_shape,
        tensor.seed,
        str(parameter.dtype),
        parameter.distribution.document,
        {member: getattr(place, member) for member in members} if place else None,
        parameter.fans and tuple(parameter.fans),
        stored.tobytes(),
    )


def file(spec: Spec, statistics: Any = "expected") -> bytes:
    """The whole file of a specification."""
    whole = file_of(plan(spec), statistics)
    return bytes(whole.read(0, whole.length))


def initializer_of(written: Any) -> Any:
    """The canonical form of an initializer, as any framework writes it."""
    layer = {"type": "tensor", "name": "w", "shape": [2, 2], "initializer": written}
    spec = {"seed": 1, "framework": "keras", "layers": [layer]}
    return canonical_document(read_spec(json.dumps(spec).encode()))["layers"][0]["initializer"]


def initializers(spec: Spec) -> dict[str, str]:
    """The kind of initializer of every tensor."""
    return {tensor.name: tensor.parameter.initializer.type for tensor in plan(spec).tensors}


def cut_values(chosen: Array, low: float, high: float, mean: float = 0.0, std: float = 1.0) -> Array:
    """Values of the normal cut at two ends, in binary64."""
    return cut_normal(
        chosen.copy(), Cut(low, high, **tail_probabilities(low, high)._asdict()), mean, std, np.empty(chosen.size)
    )


def uniform_values(chosen: Array, low: float, high: float, precision: Precision) -> Array:
    return Uniform(low, high).at(chosen.copy(), precision)
