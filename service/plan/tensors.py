"""Planned tensors: their names, shapes and distributions, and the drawing of their elements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from numpy.typing import NDArray

from service.distributions.base import Distribution
from service.distributions.cache import Materialization
from service.distributions.elementwise import Constant
from service.distributions.known_answers import Drawn
from service.plan.parameter import Parameter
from service.plan.warnings import warnings_of
from service.schema.canonical import digest_of
from service.schema.model import ModelSpec
from service.schema.permalinks import encode_permalink
from service.stream.words import MOST_WORDS, Shape, WordSource

SPEC_MEMORY: Final = 20
TENSOR_MEMORY: Final = 300
PARAMETER_MEMORY: Final = 1500
"""Bytes of memory per byte of a canonical specification, per tensor besides its names, and per parameter; these are
generous estimates."""


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor of the file: a parameter with its names and the seed."""

    name: str
    canonical_name: str
    seed: int
    parameter: Parameter

    @property
    def shape(self) -> Shape:
        """The shape in the file."""
        return self.parameter.shape

    @property
    def elements(self) -> int:
        """The number of values."""
        return self.parameter.elements

    @property
    def distribution(self) -> Distribution:
        """The distribution of its values."""
        return self.parameter.distribution

    def fill(self, first: int, out: NDArray[Any]) -> None:
        """Draw consecutive elements of the tensor, in the order of the file.

        Args:
            first: the index of the first element, row-major over the shape in the file.
            out: receives the values, shape (n,), of the dtype's storage type.
        """
        rearrangement, distribution = self.parameter.rearrangement, self.distribution
        if rearrangement is None or isinstance(distribution, Constant):
            return self.fill_canonical(first, out)
        for start in range(0, out.size, MOST_WORDS):
            block = out[start : start + MOST_WORDS]
            distribution.fill(
                self._source, rearrangement.indices(first + start, block.size), self.parameter.dtype, block
            )
        return None

    def fill_canonical(self, first: int, out: NDArray[Any]) -> None:
        """Draw consecutive elements in canonical order, in which the values are the same for every framework."""
        first += self.parameter.rearrangement.first if self.parameter.rearrangement else 0
        self.distribution.fill(self._source, range(first, first + out.size), self.parameter.dtype, out)

    def materializations(self, elements: range) -> Sequence[Materialization]:
        """The parts that must be drawn as a whole before some elements of the tensor, in the order of the file.

        If this order is not the canonical one, a few elements may need everything that the tensor takes.
        """
        return self._materializations(self.parameter.rearrangement.taken if self.parameter.rearrangement else elements)

    def canonical_materializations(self, first: int, count: int) -> Sequence[Materialization]:
        """The parts that must be drawn as a whole before consecutive elements in canonical order."""
        first += self.parameter.rearrangement.first if self.parameter.rearrangement else 0
        return self._materializations(range(first, first + count))

    def _materializations(self, elements: range) -> Sequence[Materialization]:
        distribution = self.distribution
        return (
            distribution.materializations(self._source, elements, self.parameter.dtype)
            if distribution.matrix_elements
            else ()
        )

    @property
    def _source(self) -> WordSource:
        return WordSource(self.seed, self.canonical_name)


def drawn_by(tensors: Iterable[TensorPlan]) -> set[Drawn]:
    """The kinds of distribution that are drawn for some tensors, and their dtypes."""
    parameters = {tensor.parameter for tensor in tensors}
    return {(kind, of.dtype) for of in parameters for kind in _kinds(of.distribution)}


def _kinds(distribution: Distribution) -> set[type[Distribution]]:
    return {type(distribution)}.union(*map(_kinds, distribution.parts))


@dataclass(frozen=True)
class Plan:
    """Everything about a file except its bytes.

    Attributes:
        spec: the specification.
        canonical: its canonical form, RFC 8785 JSON.
        tensors: the tensors, in model order.
        materializes: whether a part must be drawn as a whole, and not each element on its own.
    """

    spec: ModelSpec
    canonical: bytes
    tensors: tuple[TensorPlan, ...]
    materializes: bool = False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical form."""
        return digest_of(self.canonical)

    @cached_property
    def permalink(self) -> str:
        """The part of a URL that carries the specification."""
        return encode_permalink(self.canonical)

    @cached_property
    def memory(self) -> int:
        """A rough estimate of the plan's memory, in bytes."""
        names = sum(len(tensor.name) for tensor in self.tensors)
        parameters = len({id(tensor.parameter) for tensor in self.tensors})
        return (
            len(self.canonical) * SPEC_MEMORY
            + 2 * names
            + TENSOR_MEMORY * len(self.tensors)
            + PARAMETER_MEMORY * parameters
        )

    @cached_property
    def elements(self) -> int:
        """The number of values in all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @cached_property
    def nbytes(self) -> int:
        """The number of bytes of all tensors."""
        return sum(tensor.parameter.nbytes for tensor in self.tensors)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """The warnings about what may not be intended."""
        return warnings_of(self.spec, self.tensors)
