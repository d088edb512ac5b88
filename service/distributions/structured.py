"""Structured distributions: an element depends on its position, or on the other elements of its column.

Sources: Martens 2010, section 5 (sparse); `torch.nn.init` (dirac, and sparse by column).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.distributions.base import Array, Distribution
from service.distributions.cache import Materialization, cache, check_wanted
from service.distributions.elementwise import Constant, Normal
from service.distributions.members import Member, count, counts, number, pairs
from service.distributions.stored import Stored, sparsely
from service.stream.dtypes import DType, narrow
from service.stream.precision import Precision
from service.stream.words import MOST_WORDS, Elements, Indices, Shape, WordSource

Center = tuple[tuple[int, int], ...]
"""The axes of the kernel, each with the index of its centre."""

MOST_AXES: Final = 32
"""The most axes of a view; NumPy supports 64."""
MASK_LANE: Final = 2
"""The lane of the words that select the zeros of a sparse tensor."""
COLUMNS_AT_ONCE: Final = 1 << 16
LIMIT_BYTES: Final = 8
"""The bytes that are cached per column of a sparse tensor."""
WORD_NANOSECONDS: Final = 8
"""The time per element of a sparse tensor."""


def central(shape: Shape, axes: Sequence[int], *, upper: bool) -> Center:
    """The centre tap of a kernel: k // 2 on each axis, or (k - 1) // 2 for the lower of two middle positions."""
    return tuple((axis, (shape[axis] - (not upper)) // 2) for axis in axes)


class ByPlace(Distribution):
    """A distribution whose values depend on the positions of the elements."""

    __slots__ = ()
    shape: Shape

    def covers(self, elements: int) -> bool:
        """See Distribution."""
        return prod(self.shape) == elements

    @abstractmethod
    def _values(self, source: WordSource, indices: Indices, p: Precision) -> Array:
        """The values of some elements, in the working precision."""

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """See Distribution."""
        for first in range(0, len(elements), MOST_WORDS):
            block = slice(first, first + MOST_WORDS)
            narrow(self._values(source, indices_of(elements[block]), dtype.precision), dtype, out[block])


@dataclass(frozen=True, slots=True)
class Identity(ByPlace):
    """A value where input and output coincide, at the centre of the kernel; 0 elsewhere.

    Attributes:
        value: the value on the diagonal.
        shape: a view of the tensor.
        diagonal: the two axes on which the index of a diagonal element is the same.
        center: the position of the diagonal on the axes of the kernel.
    """

    tag = "identity"
    etag_name = "Identity"
    members = (
        Member("value", number),
        Member("shape", counts),
        Member("diagonal", counts),
        Member("center", pairs),
    )

    value: float
    shape: Shape
    diagonal: Shape
    center: Center = ()

    def is_sound(self) -> bool:
        return len(self.diagonal) == 2 and is_view(self.shape, self.diagonal, self.center)

    @property
    def mean(self) -> float:
        return self.value * self._share

    @property
    def std(self) -> float:
        return abs(self.value) * sqrt(self._share * (1 - self._share))

    @property
    def _share(self) -> float:
        """The share of the elements that are on the diagonal."""
        one, other = (self.shape[axis] for axis in self.diagonal)
        kernel = prod(self.shape[axis] for axis, _ in self.center)
        return min(one, other) / (one * other * kernel)

    def support(self, dtype: DType) -> tuple[float, float]:
        return min(self.value, 0.0), max(self.value, 0.0)

    def stored(self, dtype: DType) -> Stored:
        return sparsely(Constant(self.value).stored(dtype), self._share)

    def _values(self, source: WordSource, indices: Indices, p: Precision) -> Array:
        one, other = (places_on(indices, self.shape, axis) for axis in self.diagonal)
        there = (one == other) & at_center(indices, self.shape, self.center)
        return np.where(there, p.floating(self.value), p.floating(0))


@dataclass(frozen=True, slots=True)
class Sparse(Distribution):
    """Normal, with the same number of zeros in every column.

    The zeros of a column are in the rows with the smallest pairs (word of lane 2, row).

    Attributes:
        std_before: the standard deviation of the elements that are not zero.
        zeros: the number of zeros in a column.
        shape: a view of the tensor.
        row_axis: the axis of the row index, along which a column extends.
    """

    tag = "sparse"
    etag_name = "Sparse"
    members = (
        Member("std_before", number),
        Member("zeros", count),
        Member("shape", counts),
        Member("row_axis", count),
    )

    std_before: float
    zeros: int
    shape: Shape
    row_axis: int

    def is_sound(self) -> bool:
        is_placed = is_view(self.shape, (self.row_axis,)) and self.zeros <= self.shape[self.row_axis]
        return self.std_before > 0 and is_placed

    def covers(self, elements: int) -> bool:
        return prod(self.shape) == elements

    @property
    def parts(self) -> tuple[Distribution, ...]:
        return (Normal(0.0, self.std_before),)

    @property
    def mean(self) -> float:
        return 0.0

    @property
    def std(self) -> float:
        return self.std_before * sqrt(1 - self.zeros / self.shape[self.row_axis])

    @property
    def matrix_elements(self) -> int:
        """See Distribution. The last two axes are those of a matrix; an axis before them counts the fused parts."""
        return prod(self.shape[-2:]) if self.zeros else 0

    @property
    def materialized_elements(self) -> int:
        """See Distribution."""
        return prod(self.shape) if self.zeros else 0

    def materialized_bytes(self, elements: range, dtype: DType) -> int:
        """See Distribution."""
        return self.materialized_elements // self.shape[self.row_axis] * LIMIT_BYTES

    def materializations(self, source: WordSource, elements: range, dtype: DType) -> list[Materialization]:
        """See Distribution."""
        return [self._materialization(source)] if self.zeros and elements else []

    def support(self, dtype: DType) -> tuple[float, float]:
        return Normal(0.0, self.std_before).support(dtype)

    def stored(self, dtype: DType) -> Stored:
        return sparsely(Normal(0.0, self.std_before).stored(dtype), 1 - self.zeros / self.shape[self.row_axis])

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """See Distribution."""
        limits = self._materialization(source).get() if self.zeros else None
        for first in range(0, len(elements), MOST_WORDS):
            block = slice(first, first + MOST_WORDS)
            Normal(0.0, self.std_before).fill(source, elements[block], dtype, out[block])
            if limits is not None:
                indices = indices_of(elements[block])
                out[block][self._keys(source, indices) <= limits[self._columns(indices)]] = 0

    def _materialization(self, source: WordSource) -> Materialization:
        elements = self.materialized_elements
        return Materialization(
            cache, (self, source), elements, elements * WORD_NANOSECONDS, partial(self._limits, source)
        )

    def _columns(self, indices: Indices) -> Indices:
        inner = prod(self.shape[self.row_axis + 1 :])
        return indices // (inner * self.shape[self.row_axis]) * inner + indices % inner

    def _keys(self, source: WordSource, indices: Indices) -> NDArray[np.uint64]:
        rows = places_on(indices, self.shape, self.row_axis).astype(np.uint64)
        return (source.lane(MASK_LANE, indices).astype(np.uint64) << np.uint64(32)) | rows

    def _limits(self, source: WordSource) -> NDArray[np.uint64]:
        """The largest key of a zero in each column."""
        rows, inner = self.shape[self.row_axis], prod(self.shape[self.row_axis + 1 :])
        limits = np.empty(self.materialized_elements // rows, np.uint64)
        at_once = max(1, COLUMNS_AT_ONCE // rows)
        for first in range(0, limits.size, at_once):
            check_wanted()
            columns = np.arange(first, min(first + at_once, limits.size))
            tops = columns // inner * (inner * rows) + columns % inner
            indices = (tops[:, np.newaxis] + np.arange(rows) * inner).reshape(-1)
            keys = np.concatenate(
                [self._keys(source, indices[at : at + MOST_WORDS]) for at in range(0, indices.size, MOST_WORDS)]
            ).reshape(columns.size, rows)
            limits[columns] = np.partition(keys, self.zeros - 1, axis=1)[:, self.zeros - 1]
        return limits


def indices_of(elements: Elements) -> Indices:
    """The indices of elements, shape (n,)."""
    return np.arange(elements.start, elements.stop) if isinstance(elements, range) else elements


def places_on(indices: Indices, shape: Shape, axis: int) -> Indices:
    """The indices of elements on one axis, shape (n,)."""
    return indices // prod(shape[axis + 1 :]) % shape[axis]


def at_center(indices: Indices, shape: Shape, center: Center) -> NDArray[np.bool_]:
    """Whether elements are at the centre of the kernel, shape (n,)."""
    there = np.ones(indices.size, np.bool_)
    for axis, place in center:
        there &= places_on(indices, shape, axis) == place
    return there


def is_view(shape: Shape, axes: Shape, center: Center = ()) -> bool:
    """Whether a shape has these axes, and a centre on others."""
    used = [*axes, *(axis for axis, _ in center)]
    return (
        len(shape) <= MOST_AXES
        and 0 not in shape
        and len(set(used)) == len(used)
        and all(axis < len(shape) for axis in used)
        and all(place < shape[axis] for axis, place in center)
    )
