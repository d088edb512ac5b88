"""Haar-distributed orthogonal matrices: as the tensor itself, or at the centre of a kernel.

Sources: Saxe et al. 2013, section 3, and Mezzadri 2007, section 5; Xiao et al. 2018, section 3.3 (delta-orthogonal).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.distributions.base import Array
from service.distributions.cache import Materialization, cache, check_wanted
from service.distributions.elementwise import STANDARD_NORMAL
from service.distributions.members import Member, counts, number, pairs
from service.distributions.numerics.factorisation import TOGETHER, orthogonal_factor
from service.distributions.stored import Placed, Stored, Unrounded, ends, rounded, sparsely, sphere
from service.distributions.structured import ByPlace, Center, at_center, is_view, places_on
from service.stream.dtypes import DType
from service.stream.precision import Precision
from service.stream.words import MOST_WORDS, Indices, Shape, WordSource

ELEMENT_NANOSECONDS = 256
"""The time per element of an orthogonal matrix, apart from the part that grows with the shorter side."""
STEPS_IN_NANOSECOND = 3
"""The length of the shorter side that adds a nanosecond to the time per element."""


@dataclass(frozen=True, slots=True)
class Orthogonal(ByPlace):
    """A matrix with orthonormal rows or columns, times a gain: Q sign(diag R) of Gaussian A = Q R, so Haar-distributed.

    For every dtype, the normals are drawn in binary64 from the elements' own words, and the matrix is rounded once.

    Attributes:
        gain: the factor, above 0.
        shape: a view of the tensor.
        batch_axes: the axes with a separate matrix at each index.
        row_axes: the axes that together form the rows; all others, except those of the kernel, form the columns.
        center: the position of the matrix on the axes of the kernel; empty where these axes are part of the columns.
    """

    tag = "orthogonal"
    etag_name = "Orthogonal"
    members = (
        Member("gain", number),
        Member("shape", counts),
        Member("batch_axes", counts),
        Member("row_axes", counts),
        Member("center", pairs),
    )

    gain: float
    shape: Shape
    batch_axes: Shape
    row_axes: Shape
    center: Center = ()

    def is_sound(self) -> bool:
        return self.gain > 0 and is_view(self.shape, self.batch_axes + self.row_axes, self.center)

    @property
    def mean(self) -> float:
        return 0.0

    @property
    def std(self) -> float:
        return self.gain / sqrt(self._longer * prod(self.shape[axis] for axis, _ in self.center))

    @property
    def matrix_elements(self) -> int:
        """See Distribution."""
        return prod(self._sides)

    @property
    def materialized_elements(self) -> int:
        """See Distribution."""
        return self.matrix_elements * self._matrices

    def materialized_bytes(self, elements: range, dtype: DType) -> int:
        """See Distribution."""
        matrices = min(len(self._pieces(elements)) * self._in_piece, self._matrices)
        return matrices * self.matrix_elements * dtype.precision.bits // 8

    def materializations(self, source: WordSource, elements: range, dtype: DType) -> list[Materialization]:
        """See Distribution."""
        return [self._materialization(source, dtype.precision, piece) for piece in self._pieces(elements)]

    def support(self, dtype: DType) -> tuple[float, float]:
        return -self.gain, self.gain

    def stored(self, dtype: DType) -> Stored:
        working = dtype.precision.floating
        placed = Placed(0.0, self.gain)  # values are drawn in binary64, and rounded at the very end
        distribution = Unrounded(partial(sphere, self._longer), placed, placed, 0.0, self.gain / sqrt(self._longer))
        elements = rounded(distribution, dtype, ends(np.array([-self.gain, self.gain], working), dtype))
        return sparsely(elements, 1 / prod(self.shape[axis] for axis, _ in self.center))

    @property
    def _longer(self) -> int:
        """The number of rows or of columns of a matrix, whichever is larger."""
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
        """The numbers of rows and columns of a matrix."""
        rows, columns = (prod(self.shape[axis] for axis in axes) for axes in (self.row_axes, self._column_axes))
        return rows, columns

    @property
    def _matrices(self) -> int:
        return prod(self.shape[axis] for axis in self.batch_axes)

    @property
    def _one_by_one(self) -> bool:
        """Whether the matrices are stored one after the other, so that a part of the tensor needs only some of them."""
        return self.batch_axes == tuple(range(len(self.batch_axes)))

    @property
    def _in_piece(self) -> int:
        """How many matrices are cached together: several small ones, one large one, or all if they are interleaved."""
        return max(1, TOGETHER // self.matrix_elements) if self._one_by_one else self._matrices

    def _pieces(self, elements: range) -> range:
        """The pieces to which some elements belong."""
        length = self._in_piece * (prod(self.shape) // self._matrices)
        return range(elements.start // length, -(-elements.stop // length)) if elements else range(0)

    def _numbers(self, piece: int) -> range:
        """The numbers of the matrices in a piece."""
        return range(piece * self._in_piece, min((piece + 1) * self._in_piece, self._matrices))

    def _materialization(self, source: WordSource, p: Precision, piece: int) -> Materialization:
        elements = len(self._numbers(piece)) * self.matrix_elements
        work = elements * (ELEMENT_NANOSECONDS + min(self._sides) // STEPS_IN_NANOSECOND)
        return Materialization(
            cache, (self, source, p.bits, piece), elements, work, partial(self._drawn, source, p, piece)
        )

    def _values(self, source: WordSource, indices: Indices, p: Precision) -> Array:
        if not self.center:
            return self._taken(source, indices, p)
        there = np.flatnonzero(at_center(indices, self.shape, self.center))
        values = np.zeros(indices.size, p.floating)
        values[there] = self._taken(source, self._within(indices[there]), p)
        return values

    def _within(self, indices: Indices) -> Indices:
        """Map elements at the centre to their positions among all elements at the centre."""
        within = np.zeros(indices.size, np.int64)
        for axis in self._matrix_axes:
            within = within * self.shape[axis] + places_on(indices, self.shape, axis)
        return within

    def _taken(self, source: WordSource, places: Indices, p: Precision) -> Array:
        """Elements of the matrices, by their positions among all matrix elements in canonical order."""
        if self._in_piece >= self._matrices:
            return self._materialization(source, p, 0).get()[places]
        length = self._in_piece * self.matrix_elements
        pieces = (places // length).astype(np.min_scalar_type(self._matrices))  # small integers sort faster
        values = np.empty(places.size, p.floating)
        for piece, chosen in _by_number(pieces):
            values[chosen] = self._materialization(source, p, piece).get()[places[chosen] - piece * length]
        return values

    def _drawn(self, source: WordSource, p: Precision, piece: int) -> Array:
        """The matrices of a piece in canonical order, drawn about TOGETHER elements at a time."""
        numbers, at_once = self._numbers(piece), max(1, TOGETHER // self.matrix_elements)
        drawn = np.empty(len(numbers) * self.matrix_elements, p.floating)
        stack = self._stack(drawn)
        batch = stack.shape[: stack.ndim - len(self.row_axes + self._column_axes)]
        for first in range(0, len(numbers), at_once):
            some = numbers[first : first + at_once]
            places = np.unravel_index(np.arange(first, first + len(some)), batch)
            stack[places] = self._factors(source, some).reshape(-1, *stack.shape[len(batch) :])
        return drawn

    def _stack(self, elements: Array) -> Array:
        """View the elements of complete matrices by matrix, then by the axes of the rows, then of the columns."""
        across = () if self._one_by_one else self.batch_axes
        order = across + self.row_axes + self._column_axes
        axes = sorted(order)
        stack = elements.reshape(-1, *(self.shape[axis] for axis in axes))
        return stack.transpose(0, *(1 + axes.index(axis) for axis in order))

    def _factors(self, source: WordSource, numbers: range) -> NDArray[np.float64]:
        """The matrices with the given numbers, shape (b, rows, columns)."""
        factors = _orthogonal(self._normals(source, numbers))
        np.clip(factors, -1, 1, out=factors)
        factors *= self.gain
        return factors

    def _normals(self, source: WordSource, numbers: range) -> NDArray[np.float64]:
        """The normals from which the matrices with the given numbers are made, shape (b, rows, columns)."""
        normals = np.empty(len(numbers) * self.matrix_elements)
        in_a_row = self._one_by_one and not self.center
        elements = (
            range(numbers.start * self.matrix_elements, numbers.stop * self.matrix_elements)
            if in_a_row
            else self._elements(numbers)
        )
        for first in range(0, normals.size, MOST_WORDS):
            check_wanted()
            block = slice(first, first + MOST_WORDS)
            STANDARD_NORMAL.fill(source, elements[block], DType.F64, normals[block])
        stack = self._stack(normals) if in_a_row else normals
        return stack.reshape(-1, *self._sides)

    def _elements(self, numbers: range) -> Indices:
        """The indices of the elements of the matrices with the given numbers, row by row."""
        center = sum(place * prod(self.shape[axis + 1 :]) for axis, place in self.center)
        firsts = _grid(self.shape, self.batch_axes)[numbers.start : numbers.stop] + center
        return (firsts[:, np.newaxis] + _grid(self.shape, self.row_axes + self._column_axes)).reshape(-1)


def _orthogonal(matrices: NDArray[Any]) -> NDArray[np.float64]:
    """The factor of each matrix with orthonormal columns, or orthonormal rows if it has fewer rows than columns."""
    rows, columns = matrices.shape[1:]
    if rows >= columns:
        return orthogonal_factor(matrices)
    return orthogonal_factor(matrices.transpose(0, 2, 1)).transpose(0, 2, 1)


def _by_number(numbers: NDArray[np.integer[Any]]) -> Iterator[tuple[int, Indices | slice]]:
    """Each different number, and the positions at which it occurs."""
    ascending = bool((numbers[1:] >= numbers[:-1]).all())  # true for every part of a tensor in canonical order
    order = slice(None) if ascending else np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    for first, last in pairwise([0, *ends.tolist(), numbers.size]):
        if first < last:
            chosen = slice(first, last) if isinstance(order, slice) else order[first:last]
            yield int(numbers[chosen][0]), chosen


def _grid(shape: Shape, axes: Shape) -> Indices:
    """The indices of all elements that are at 0 on every other axis, in canonical order."""
    grid = np.zeros(1, np.int64)
    for axis in axes:
        grid = (grid[:, np.newaxis] + np.arange(shape[axis]) * prod(shape[axis + 1 :])).reshape(-1)
    return grid
