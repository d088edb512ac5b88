"""Structured laws: what an element is depends on where it stands, or on other elements of its tensor.

Sources: Saxe et al. 2013, section 3, and Mezzadri 2007, section 5 (orthogonal); Xiao et al. 2018, section 3.3
(delta-orthogonal); Martens 2010, section 5 (sparse); `torch.nn.init` (dirac, sparse: per column).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.distributions.cache import Whole, check_wanted, kept
from service.distributions.elementwise import Array, BaseLaw, Constant, Normal
from service.distributions.numerics.factorisation import TOGETHER, orthogonal_factor
from service.distributions.stored import Placed, Stored, Unrounded, ends, rounded, sparsely, sphere
from service.stream.dtypes import DType, narrow
from service.stream.precision import Precision
from service.stream.words import MOST_WORDS, Elements, Indices, Shape, WordSource

Center = tuple[tuple[int, int], ...]
"""Axes of the kernel, each with its central place."""

_NORMAL = Normal(0.0, 1.0)
MASK_LANE = 2
"""The lane of the words that choose the zeros of a sparse tensor."""
COLUMNS_AT_ONCE = 1 << 16
LIMIT_BYTES = 8
"""Of what is kept of a column of a sparse tensor."""
ELEMENT_NANOSECONDS = 256
"""How long an element of an orthogonal matrix takes, apart from its share of the shorter side."""
STEPS_IN_NANOSECOND = 3
"""How much of the shorter side is worked off in a nanosecond, for an element."""
WORD_NANOSECONDS = 8
"""How long an element of a sparse tensor takes."""


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
        """See Distribution."""
        return prod(self._sides)

    @property
    def whole_elements(self) -> int:
        """See Distribution."""
        return self.held * self._matrices

    def whole_bytes(self, elements: range, dtype: DType) -> int:
        """See Distribution."""
        matrices = min(len(self._pieces(elements)) * self._in_piece, self._matrices)
        return matrices * self.held * dtype.precision.bits // 8

    def wholes(self, source: WordSource, elements: range, dtype: DType) -> list[Whole]:
        """See Distribution."""
        return [self._whole(source, dtype.precision, piece) for piece in self._pieces(elements)]

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

    @property
    def _sides(self) -> tuple[int, int]:
        """Rows and columns of a matrix."""
        rows, columns = (prod(self.shape[axis] for axis in axes) for axes in (self.row_axes, self._column_axes))
        return rows, columns

    @property
    def _matrices(self) -> int:
        return prod(self.shape[axis] for axis in self.batch_axes)

    @property
    def _one_by_one(self) -> bool:
        """Whether the matrices lie one after the other, so that a part of the tensor needs only some of them."""
        return self.batch_axes == tuple(range(len(self.batch_axes)))

    @property
    def _in_piece(self) -> int:
        """How many matrices are kept together: some small ones, or a large one, or all where they lie across."""
        return max(1, TOGETHER // self.held) if self._one_by_one else self._matrices

    def _pieces(self, elements: range) -> range:
        """The pieces that some elements are of."""
        length = self._in_piece * (prod(self.shape) // self._matrices)
        return range(elements.start // length, -(-elements.stop // length)) if elements else range(0)

    def _numbers(self, piece: int) -> range:
        """The matrices of a piece."""
        return range(piece * self._in_piece, min((piece + 1) * self._in_piece, self._matrices))

    def _whole(self, source: WordSource, p: Precision, piece: int) -> Whole:
        elements = len(self._numbers(piece)) * self.held
        work = elements * (ELEMENT_NANOSECONDS + min(self._sides) // STEPS_IN_NANOSECOND)
        return Whole(kept, (self, source, p.bits, piece), elements, work, partial(self._drawn, source, p, piece))

    def _values(self, source: WordSource, indices: Indices, p: Precision) -> Array:
        if not self.center:
            return self._taken(source, indices, p)
        there = np.flatnonzero(_at_center(indices, self.shape, self.center))
        values = np.zeros(indices.size, p.floating)
        values[there] = self._taken(source, self._within(indices[there]), p)
        return values

    def _within(self, indices: Indices) -> Indices:
        """Of elements at the centre, their places among those alone."""
        within = np.zeros(indices.size, np.int64)
        for axis in self._matrix_axes:
            within = within * self.shape[axis] + _places(indices, self.shape, axis)
        return within

    def _taken(self, source: WordSource, places: Indices, p: Precision) -> Array:
        """Elements of the matrices, by their places among all of them in canonical order."""
        if self._in_piece >= self._matrices:
            return self._whole(source, p, 0).get()[places]
        length = self._in_piece * self.held
        pieces = (places // length).astype(np.min_scalar_type(self._matrices))  # short numbers are sorted faster
        values = np.empty(places.size, p.floating)
        for piece, chosen in _by_number(pieces):
            values[chosen] = self._whole(source, p, piece).get()[places[chosen] - piece * length]
        return values

    def _drawn(self, source: WordSource, p: Precision, piece: int) -> Array:
        """The matrices of a piece in canonical order; no more of them are in work at once than TOGETHER says."""
        numbers, at_once = self._numbers(piece), max(1, TOGETHER // self.held)
        drawn = np.empty(len(numbers) * self.held, p.floating)
        stack = self._stack(drawn)
        batch = stack.shape[: stack.ndim - len(self.row_axes + self._column_axes)]
        for first in range(0, len(numbers), at_once):
            some = numbers[first : first + at_once]
            places = np.unravel_index(np.arange(first, first + len(some)), batch)
            stack[places] = self._factors(source, some).reshape(-1, *stack.shape[len(batch) :])
        return drawn

    def _stack(self, elements: Array) -> Array:
        """A view of whole matrices in canonical order: by their places, then by the axes of rows, then of columns."""
        across = () if self._one_by_one else self.batch_axes
        order = across + self.row_axes + self._column_axes
        axes = sorted(order)
        stack = elements.reshape(-1, *(self.shape[axis] for axis in axes))
        return stack.transpose(0, *(1 + axes.index(axis) for axis in order))

    def _factors(self, source: WordSource, numbers: range) -> NDArray[np.float64]:
        """Some matrices, shape (b, rows, columns)."""
        factors = _orthogonal(self._normals(source, numbers))
        np.clip(factors, -1, 1, out=factors)
        factors *= self.gain
        return factors

    def _normals(self, source: WordSource, numbers: range) -> NDArray[np.float64]:
        """The normals of the elements that make some matrices, shape (b, rows, columns)."""
        normals = np.empty(len(numbers) * self.held)
        in_a_row = self._one_by_one and not self.center
        elements = range(numbers.start * self.held, numbers.stop * self.held) if in_a_row else self._elements(numbers)
        for first in range(0, normals.size, MOST_WORDS):
            check_wanted()
            block = slice(first, first + MOST_WORDS)
            _NORMAL.fill(source, elements[block], DType.F64, normals[block])
        stack = self._stack(normals) if in_a_row else normals
        return stack.reshape(-1, *self._sides)

    def _elements(self, numbers: range) -> Indices:
        """The indices of the elements of some matrices, row by row."""
        center = sum(place * prod(self.shape[axis + 1 :]) for axis, place in self.center)
        firsts = _grid(self.shape, self.batch_axes)[numbers.start : numbers.stop] + center
        return (firsts[:, np.newaxis] + _grid(self.shape, self.row_axes + self._column_axes)).reshape(-1)


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
        """See Distribution. The parts of a fused tensor stand before the two axes of a matrix."""
        return prod(self.shape[-2:]) if self.zeros else 0

    @property
    def whole_elements(self) -> int:
        """See Distribution."""
        return prod(self.shape) if self.zeros else 0

    def whole_bytes(self, elements: range, dtype: DType) -> int:
        """See Distribution."""
        return self.whole_elements // self.shape[self.row_axis] * LIMIT_BYTES

    def wholes(self, source: WordSource, elements: range, dtype: DType) -> list[Whole]:
        """See Distribution."""
        return [self._whole(source)] if self.zeros and elements else []

    def reach(self, dtype: DType) -> tuple[float, float]:
        return Normal(0.0, self.std_before).reach(dtype)

    def stored(self, dtype: DType) -> Stored:
        return sparsely(Normal(0.0, self.std_before).stored(dtype), 1 - self.zeros / self.shape[self.row_axis])

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """See Distribution."""
        limits = self._whole(source).get() if self.zeros else None
        for first in range(0, len(elements), MOST_WORDS):
            block = slice(first, first + MOST_WORDS)
            Normal(0.0, self.std_before).fill(source, elements[block], dtype, out[block])
            if limits is not None:
                indices = _indices(elements[block])
                out[block][self._keys(source, indices) <= limits[self._columns(indices)]] = 0

    def _whole(self, source: WordSource) -> Whole:
        elements = self.whole_elements
        return Whole(kept, (self, source), elements, elements * WORD_NANOSECONDS, partial(self._limits, source))

    def _columns(self, indices: Indices) -> Indices:
        inner = prod(self.shape[self.row_axis + 1 :])
        return indices // (inner * self.shape[self.row_axis]) * inner + indices % inner

    def _keys(self, source: WordSource, indices: Indices) -> NDArray[np.uint64]:
        rows = _places(indices, self.shape, self.row_axis).astype(np.uint64)
        return (source.lane(MASK_LANE, indices).astype(np.uint64) << np.uint64(32)) | rows

    def _limits(self, source: WordSource) -> NDArray[np.uint64]:
        """Of every column the largest key that is a zero's."""
        rows, inner = self.shape[self.row_axis], prod(self.shape[self.row_axis + 1 :])
        limits = np.empty(self.whole_elements // rows, np.uint64)
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


def _orthogonal(matrices: NDArray[Any]) -> NDArray[np.float64]:
    """Of each matrix the factor with orthonormal columns, or rows where it has fewer rows."""
    rows, columns = matrices.shape[1:]
    if rows >= columns:
        return orthogonal_factor(matrices)
    return orthogonal_factor(matrices.transpose(0, 2, 1)).transpose(0, 2, 1)


def _indices(elements: Elements) -> Indices:
    return np.arange(elements.start, elements.stop) if isinstance(elements, range) else elements


def _by_number(numbers: NDArray[np.integer[Any]]) -> Iterator[tuple[int, Indices | slice]]:
    """Where each number stands."""
    ascending = bool((numbers[1:] >= numbers[:-1]).all())  # as in every part of a tensor in canonical order
    order = slice(None) if ascending else np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    for first, last in pairwise([0, *ends.tolist(), numbers.size]):
        if first < last:
            chosen = slice(first, last) if isinstance(order, slice) else order[first:last]
            yield int(numbers[chosen][0]), chosen


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
