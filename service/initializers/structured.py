"""Structured laws: what an element is depends on where it stands, or on other elements of its tensor.

Sources: Saxe et al. 2013, section 3, and Mezzadri 2007, section 5 (orthogonal); Xiao et al. 2018, section 3.3
(delta-orthogonal); Martens 2010, section 5 (sparse); `torch.nn.init` (dirac, sparse: per column).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.initializers.distributions import Array, BaseLaw, Constant, Normal
from service.initializers.factorisation import orthogonal_factor
from service.initializers.fans import Shape
from service.initializers.stored import Placed, Stored, Unrounded, ends, rounded, sparsely, sphere
from service.initializers.whole import kept
from service.stream.dtypes import DType, narrow
from service.stream.precision import Precision
from service.stream.words import MOST_WORDS, Elements, Indices, WordSource

Center = tuple[tuple[int, int], ...]
"""Axes of the kernel, each with its central place."""

_NORMAL = Normal(0.0, 1.0)
MASK_LANE = 2
"""The lane of the words that choose the zeros of a sparse tensor."""
COLUMNS_AT_ONCE = 1 << 16


def central(shape: Shape, axes: Sequence[int], *, upper: bool) -> Center:
    """The centre tap of a kernel: k // 2 on each axis, or (k - 1) // 2 where the lower of two middles is wanted."""
    return tuple((axis, (shape[axis] - (not upper)) // 2) for axis in axes)


class _Placed(BaseLaw):
    """A law whose values are found by the places of elements."""

    __slots__ = ()

    @abstractmethod
    def _values(self, source: WordSource, indices: Indices, p: Precision) -> Array:
        """The values of some elements, in the working precision."""

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """See Distribution."""
        for first in range(0, len(elements), MOST_WORDS):
            block = slice(first, first + MOST_WORDS)
            narrow(self._values(source, _indices(elements[block]), dtype.precision), dtype, out[block])


@dataclass(frozen=True, slots=True)
class Identity(_Placed):
    """A value where input and output are the same, at the centre of the kernel; 0 elsewhere.

    Attributes:
        value: what stands there.
        shape: a view of the tensor.
        diagonal: the two axes that must agree.
        center: where on the axes of the kernel.
    """

    value: float
    shape: Shape
    diagonal: tuple[int, int]
    center: Center = ()

    @property
    def mean(self) -> float:
        return self.value * self._share

    @property
    def std(self) -> float:
        return abs(self.value) * sqrt(self._share * (1 - self._share))

    @property
    def _share(self) -> float:
        """How many of the elements are on the diagonal."""
        one, other = (self.shape[axis] for axis in self.diagonal)
        kernel = prod(self.shape[axis] for axis, _ in self.center)
        return min(one, other) / (one * other * kernel)

    def reach(self, dtype: DType) -> tuple[float, float]:
        return min(self.value, 0.0), max(self.value, 0.0)

    def stored(self, dtype: DType) -> Stored:
        return sparsely(Constant(self.value).stored(dtype), self._share)

    def _values(self, source: WordSource, indices: Indices, p: Precision) -> Array:
        one, other = (_places(indices, self.shape, axis) for axis in self.diagonal)
        there = (one == other) & _at_center(indices, self.shape, self.center)
        return np.where(there, p.floating(self.value), p.floating(0))


@dataclass(frozen=True, slots=True)
class Orthogonal(_Placed):
    """A matrix with orthonormal rows or columns, times a gain: Q sign(diag R) of normals, so Haar-distributed.

    The normals are drawn in binary64 from the elements' own words, whatever the dtype, and the matrix is rounded once.

    Attributes:
        gain: factor, above 0.
        shape: a view of the tensor.
        batch_axes: axes along which there is a matrix for each place.
        row_axes: axes that together make the rows; all others, without the kernel's, make the columns.
        center: where on the axes of the kernel the matrix stands; empty where they belong to its columns.
    """

    gain: float
    shape: Shape
    batch_axes: Shape
    row_axes: Shape
    center: Center = ()

    @property
    def mean(self) -> float:
        return 0.0

    @property
    def std(self) -> float:
        return self.gain / sqrt(self._longer * prod(self.shape[axis] for axis, _ in self.center))

    @property
    def held(self) -> int:
        """Elements that are drawn at once."""
        return prod(self.shape[axis] for axis in self._matrix_axes)

    def reach(self, dtype: DType) -> tuple[float, float]:
        return -self.gain, self.gain

    def stored(self, dtype: DType) -> Stored:
        working = dtype.precision.floating
        placed = Placed(0.0, self.gain)  # drawn in binary64, and rounded at the very end
        law = Unrounded(partial(sphere, self._longer), placed, placed, 0.0, self.gain / sqrt(self._longer))
        elements = rounded(law, dtype, ends(np.array([-self.gain, self.gain], working), dtype))
        return sparsely(elements, 1 / prod(self.shape[axis] for axis, _ in self.center))

    @property
    def _longer(self) -> int:
        """Rows or columns of the matrix, whichever are more."""
        return max(prod(self.shape[axis] for axis in axes) for axes in (self.row_axes, self._column_axes))

    @property
    def _matrix_axes(self) -> Shape:
        outside = {axis for axis, _ in self.center}
        return tuple(axis for axis in range(len(self.shape)) if axis not in outside)

    @property
    def _column_axes(self) -> Shape:
        elsewhere = {*self.batch_axes, *self.row_axes}
        return tuple(axis for axis in self._matrix_axes if axis not in elsewhere)

    def _values(self, source: WordSource, indices: Indices, p: Precision) -> Array:
        whole = self._kept(source, p)
        if not self.center:
            return whole[indices]
        there = np.flatnonzero(_at_center(indices, self.shape, self.center))
        values = np.zeros(indices.size, p.floating)
        values[there] = whole[self._within(indices[there])]
        return values

    def whole(self, source: WordSource, dtype: DType) -> Callable[[], object] | None:
        """See Distribution."""
        p = dtype.precision
        return None if kept.has((self, source, p.bits)) else partial(self._kept, source, p)

    def _kept(self, source: WordSource, p: Precision) -> Array:
        return kept.get((self, source, p.bits), lambda: self._whole(source, p))

    def _within(self, indices: Indices) -> Indices:
        """Of elements at the centre, their places among those alone."""
        within = np.zeros(indices.size, np.int64)
        for axis in self._matrix_axes:
            within = within * self.shape[axis] + _places(indices, self.shape, axis)
        return within

    def _whole(self, source: WordSource, p: Precision) -> Array:
        """All elements of the matrices in canonical order."""
        order = self.batch_axes + self.row_axes + self._column_axes
        places = [self._matrix_axes.index(axis) for axis in order]
        sizes = [self.shape[axis] for axis in self._matrix_axes]
        stack = self._normals(source).reshape(sizes).transpose(places)
        arranged = stack.shape
        rows, columns = (prod(self.shape[axis] for axis in axes) for axes in (self.row_axes, self._column_axes))
        factors = _orthogonal(stack.reshape(-1, rows, columns))
        np.clip(factors, -1, 1, out=factors)
        factors *= self.gain
        canonical = factors.reshape(arranged).transpose(np.argsort(places))
        return np.ascontiguousarray(canonical, p.floating).reshape(-1)

    def _normals(self, source: WordSource) -> NDArray[np.float64]:
        """The normals of the elements that make the matrices, in canonical order."""
        elements: Elements = range(self.held)
        if self.center:
            elements = sum(place * prod(self.shape[axis + 1 :]) for axis, place in self.center) + _grid(
                self.shape, self._matrix_axes
            )
        normals = np.empty(self.held)
        _NORMAL.fill(source, elements, DType.F64, normals)
        return normals


@dataclass(frozen=True, slots=True)
class Sparse(BaseLaw):
    """Normal, with the same number of zeros in every column.

    The zeros of a column are its rows with the smallest pair (word of lane 2, row).

    Attributes:
        std_before: standard deviation of what is not zero.
        zeros: how many zeros a column has.
        shape: a view of the tensor.
        row_axis: the axis along which a column lies.
    """

    std_before: float
    zeros: int
    shape: Shape
    row_axis: int

    @property
    def mean(self) -> float:
        return 0.0

    @property
    def std(self) -> float:
        return self.std_before * sqrt(1 - self.zeros / self.shape[self.row_axis])

    @property
    def held(self) -> int:
        """Elements whose words are drawn at once."""
        return prod(self.shape)

    def reach(self, dtype: DType) -> tuple[float, float]:
        return Normal(0.0, self.std_before).reach(dtype)

    def stored(self, dtype: DType) -> Stored:
        return sparsely(Normal(0.0, self.std_before).stored(dtype), 1 - self.zeros / self.shape[self.row_axis])

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """See Distribution."""
        limits = self._kept(source) if self.zeros else None
        for first in range(0, len(elements), MOST_WORDS):
            block = slice(first, first + MOST_WORDS)
            Normal(0.0, self.std_before).fill(source, elements[block], dtype, out[block])
            if limits is not None:
                indices = _indices(elements[block])
                out[block][self._keys(source, indices) <= limits[self._columns(indices)]] = 0

    def whole(self, source: WordSource, dtype: DType) -> Callable[[], object] | None:
        """See Distribution."""
        return None if not self.zeros or kept.has((self, source)) else partial(self._kept, source)

    def _kept(self, source: WordSource) -> NDArray[np.uint64]:
        return kept.get((self, source), lambda: self._limits(source))

    def _columns(self, indices: Indices) -> Indices:
        inner = prod(self.shape[self.row_axis + 1 :])
        return indices // (inner * self.shape[self.row_axis]) * inner + indices % inner

    def _keys(self, source: WordSource, indices: Indices) -> NDArray[np.uint64]:
        rows = _places(indices, self.shape, self.row_axis).astype(np.uint64)
        return (source.lane(MASK_LANE, indices).astype(np.uint64) << np.uint64(32)) | rows

    def _limits(self, source: WordSource) -> NDArray[np.uint64]:
        """Of every column the largest key that is a zero's."""
        rows, inner = self.shape[self.row_axis], prod(self.shape[self.row_axis + 1 :])
        limits = np.empty(self.held // rows, np.uint64)
        at_once = max(1, COLUMNS_AT_ONCE // rows)
        for first in range(0, limits.size, at_once):
            columns = np.arange(first, min(first + at_once, limits.size))
            tops = columns // inner * (inner * rows) + columns % inner
            indices = (tops[:, np.newaxis] + np.arange(rows) * inner).reshape(-1)
            keys = np.concatenate(
                [self._keys(source, indices[at : at + MOST_WORDS]) for at in range(0, indices.size, MOST_WORDS)]
            ).reshape(columns.size, rows)
            limits[columns] = np.partition(keys, self.zeros - 1, axis=1)[:, self.zeros - 1]
        return limits


def _orthogonal(matrices: NDArray[Any]) -> NDArray[np.float64]:
    """Of each matrix the factor with orthonormal columns, or rows where it has fewer rows."""
    rows, columns = matrices.shape[1:]
    if rows >= columns:
        return orthogonal_factor(matrices)
    return orthogonal_factor(matrices.transpose(0, 2, 1)).transpose(0, 2, 1)


def _indices(elements: Elements) -> Indices:
    return np.arange(elements.start, elements.stop) if isinstance(elements, range) else elements


def _places(indices: Indices, shape: Shape, axis: int) -> Indices:
    """Where elements stand on an axis."""
    return indices // prod(shape[axis + 1 :]) % shape[axis]


def _at_center(indices: Indices, shape: Shape, center: Center) -> NDArray[np.bool_]:
    there = np.ones(indices.size, np.bool_)
    for axis, place in center:
        there &= _places(indices, shape, axis) == place
    return there


def _grid(shape: Shape, axes: Shape) -> Indices:
    """The indices of all places on some axes, at place 0 of the others, in canonical order."""
    grid = np.zeros(1, np.int64)
    for axis in axes:
        grid = (grid[:, np.newaxis] + np.arange(shape[axis]) * prod(shape[axis + 1 :])).reshape(-1)
    return grid
