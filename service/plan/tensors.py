"""Planned tensors: names, shapes and laws, and the drawing of any of their elements."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.initializers.distributions import Constant, Distribution
from service.initializers.fans import Fans
from service.spec.canonical import digest_of, encode_permalink
from service.spec.initializers import AnyInitializer
from service.spec.model import ModelSpec
from service.stream.dtypes import DType
from service.stream.words import MOST_WORDS, Indices, WordSource

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """One parameter of a layer, whatever its prefix; repeats share it.

    Attributes:
        suffix: its name in the canonical naming, empty for a bare tensor.
        output_suffix: its name in the framework's naming.
        canonical_shape: shape in the canonical order of axes, which is the order of words.
        axes: the canonical axis behind each output axis, or None where the order is the canonical one.
        dtype: storage format.
        fans: connections in and out, None where the parameter has none.
        initializer: as asked for.
        distribution: the law that its values follow.
        pointer: where the layer stands in the caller's document.
    """

    suffix: str
    output_suffix: str
    canonical_shape: Shape
    axes: Shape | None
    dtype: DType
    fans: Fans | None
    initializer: AnyInitializer
    distribution: Distribution
    pointer: str

    @property
    def shape(self) -> Shape:
        """Shape in the file."""
        return self.canonical_shape if self.axes is None else tuple(self.canonical_shape[axis] for axis in self.axes)

    @property
    def elements(self) -> int:
        """Number of values."""
        return prod(self.canonical_shape)

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
        axes, law = self.parameter.axes, self.distribution
        if axes is None or isinstance(law, Constant):
            return self.fill_canonical(first, out)
        source = WordSource(self.seed, self.canonical_name)
        for start in range(0, out.size, MOST_WORDS):
            block = out[start : start + MOST_WORDS]
            indices = _permuted(self.parameter.canonical_shape, axes, first + start, block.size)
            law.fill(source, indices, self.parameter.dtype, block)
        return None

    def fill_canonical(self, first: int, out: NDArray[Any]) -> None:
        """Draw consecutive elements in canonical order, in which every framework's tensor has the same values."""
        source = WordSource(self.seed, self.canonical_name)
        self.distribution.fill(source, range(first, first + out.size), self.parameter.dtype, out)


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
        """Names that are different here, yet may not be to a file system or a reader."""
        uses = Counter(unicodedata.normalize("NFC", tensor.name) for tensor in self.tensors)
        return tuple(f"{name!r} stands {n} times after Unicode normalisation" for name, n in uses.items() if n > 1)


def _permuted(canonical_shape: Shape, axes: Shape, first: int, count: int) -> Indices:
    """The canonical indices of consecutive elements of a tensor whose axes were put into another order."""
    strides = [prod(canonical_shape[axis + 1 :]) for axis in axes]
    *outer, columns = (canonical_shape[axis] for axis in axes)
    top, bottom = first // columns, -(-(first + count) // columns)
    rows = np.zeros(bottom - top, np.int64)
    row = np.arange(top, bottom, dtype=np.int64)
    for size, stride in zip(reversed(outer), reversed(strides[:-1]), strict=True):
        row, place = np.divmod(row, size)
        rows += place * stride
    grid = rows[:, np.newaxis] + np.arange(columns, dtype=np.int64) * strides[-1]
    return grid.reshape(-1)[first - top * columns :][:count]
