"""Planned tensors: names, shapes and distributions, and the drawing of any of their elements."""

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
"""Bytes of memory for a byte of a canonical specification, a tensor besides its names, and a parameter; generous."""


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor of the file: a parameter under its names, and the seed."""

    name: str
    canonical_name: str
    seed: int
    parameter: Parameter

    @property
    def shape(self) -> Shape:
        """Shape in the file."""
        return self.parameter.shape

    @property
    def elements(self) -> int:
        """Number of values."""
        return self.parameter.elements

    @property
    def distribution(self) -> Distribution:
        """The distribution that its values follow."""
        return self.parameter.distribution

    def fill(self, first: int, out: NDArray[Any]) -> None:
        """Draw consecutive elements of the tensor as it lies in the file.

        Args:
            first: index of the first element, row-major over the output shape.
            out: where they go, shape (n,), of the dtype's storage type.
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
        """Draw consecutive elements in canonical order, in which every framework's tensor has the same values."""
        first += self.parameter.rearrangement.first if self.parameter.rearrangement else 0
        self.distribution.fill(self._source, range(first, first + out.size), self.parameter.dtype, out)

    def materializations(self, elements: range) -> Sequence[Materialization]:
        """What must be drawn together for some elements of the tensor as it lies in the file.

        Where it lies otherwise than the canonical one, a few elements may need all that is taken of that.
        """
        return self._materializations(self.parameter.rearrangement.taken if self.parameter.rearrangement else elements)

    def canonical_materializations(self, first: int, count: int) -> Sequence[Materialization]:
        """What must be drawn together for consecutive elements in canonical order."""
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
    """Which distributions are drawn for some tensors, and in which dtypes."""
    parameters = {tensor.parameter for tensor in tensors}
    return {(kind, of.dtype) for of in parameters for kind in _kinds(of.distribution)}


def _kinds(distribution: Distribution) -> set[type[Distribution]]:
    return {type(distribution)}.union(*map(_kinds, distribution.parts))


@dataclass(frozen=True)
class Plan:
    """Everything about a file but its bytes.

    Attributes:
        spec: what was asked for.
        canonical: its canonical form, RFC 8785 JSON.
        tensors: in model order.
        materializes: whether something must be drawn together, and not each element alone.
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
        """About how many bytes of memory it takes."""
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
        """Values in all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.parameter.nbytes for tensor in self.tensors)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What may not be meant as it was asked for."""
        return warnings_of(self.spec, self.tensors)
