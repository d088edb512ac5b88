"""Planned tensors: names, shapes and laws, and the drawing of any of their elements."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from numpy.typing import NDArray

from service.initializers.distributions import Constant, Distribution
from service.initializers.fans import Fans, Shape
from service.plan.arrangement import Arrangement
from service.plan.role import Role, Rule
from service.plan.rounding import rounding_warnings
from service.spec.canonical import digest_of, encode_permalink
from service.spec.initializers import AnyInitializer
from service.spec.model import ModelSpec
from service.stream.dtypes import DType
from service.stream.words import MOST_WORDS, WordSource


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """One parameter of a layer, whatever its prefix; repeats share it.

    Attributes:
        suffix: its name in the canonical naming, empty for a bare tensor.
        output_suffix: its name in the framework's naming.
        canonical_shape: shape in the canonical order of axes, which is the order of words.
        arrangement: how the file's tensor lies in the canonical one, or None where they are the same.
        dtype: storage format.
        fans: connections in and out, None where the parameter has none.
        rule: how the fans were counted, None where there are none.
        role: what the layer makes of it; None for a tensor that only a file describes.
        initializer: as asked for.
        distribution: the law that its values follow.
        pointer: where the layer stands in the caller's document.
    """

    suffix: str
    output_suffix: str
    canonical_shape: Shape
    arrangement: Arrangement | None
    dtype: DType
    fans: Fans | None
    rule: Rule | None
    role: Role | None
    initializer: AnyInitializer
    distribution: Distribution
    pointer: str

    @property
    def shape(self) -> Shape:
        """Shape in the file."""
        return self.canonical_shape if self.arrangement is None else self.arrangement.output_shape

    @property
    def elements(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.elements * self.dtype.itemsize


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
        """The law that its values follow."""
        return self.parameter.distribution

    def fill(self, first: int, out: NDArray[Any]) -> None:
        """Draw consecutive elements of the tensor as it lies in the file.

        Args:
            first: index of the first element, row-major over the output shape.
            out: where they go, shape (n,), of the dtype's storage type.
        """
        arrangement, law = self.parameter.arrangement, self.distribution
        if arrangement is None or isinstance(law, Constant):
            return self.fill_canonical(first, out)
        for start in range(0, out.size, MOST_WORDS):
            block = out[start : start + MOST_WORDS]
            law.fill(self._source, arrangement.indices(first + start, block.size), self.parameter.dtype, block)
        return None

    def fill_canonical(self, first: int, out: NDArray[Any]) -> None:
        """Draw consecutive elements in canonical order, in which every framework's tensor has the same values."""
        first += self.parameter.arrangement.first if self.parameter.arrangement else 0
        self.distribution.fill(self._source, range(first, first + out.size), self.parameter.dtype, out)

    def whole(self) -> Callable[[], object] | None:
        """What draws the part that must be drawn together; None where there is none, or it is kept already."""
        return self.distribution.whole(self._source, self.parameter.dtype)

    @property
    def _source(self) -> WordSource:
        return WordSource(self.seed, self.canonical_name)


@dataclass(frozen=True)
class Plan:
    """Everything about a file but its bytes.

    Attributes:
        spec: what was asked for.
        canonical: its canonical form, RFC 8785 JSON.
        tensors: in model order.
    """

    spec: ModelSpec
    canonical: bytes
    tensors: tuple[TensorPlan, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical form."""
        return digest_of(self.canonical)

    @cached_property
    def permalink(self) -> str:
        """The part of a URL that carries the specification."""
        return encode_permalink(self.canonical)

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
        """Names that may not be different to a file system or a reader, and values that rounding loses."""
        uses = Counter(unicodedata.normalize("NFC", tensor.name) for tensor in self.tensors)
        alike = (f"{name!r} stands {n} times after Unicode normalisation" for name, n in uses.items() if n > 1)
        return (*alike, *rounding_warnings(self.tensors))
