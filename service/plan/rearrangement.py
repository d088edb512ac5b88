"""Rearrangements: how the elements of a framework's tensor map to those of the canonical tensor."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from service.stream.words import Indices, Shape


@dataclass(frozen=True, slots=True)
class Rearrangement:
    """A framework's order of axes, and possibly its order of gates, or its choice of one projection of several.

    Attributes:
        view: the canonical shape, finer where an axis holds gates, heads or multiples of channels.
        axes: for each axis of the framework's tensor, the axis of the view.
        shape: the shape of the framework's tensor, if it merges neighbouring axes; None if it does not.
        order: for each index on the first axis of the view, the canonical index; None if the order is the same.
        part: the only index on the first axis that the tensor takes; `axes` then leaves out this axis. None for all.
    """

    view: Shape
    axes: Shape
    shape: Shape | None = None
    order: Shape | None = None
    part: int | None = None

    @property
    def output_shape(self) -> Shape:
        """The shape of the framework's tensor."""
        return tuple(self.view[axis] for axis in self.axes) if self.shape is None else self.shape

    def permutes_only(self, canonical_shape: Shape) -> bool:
        """Whether it only permutes the axes of a shape."""
        moved = self.shape is None and self.order is None and self.part is None
        return moved and self.view == canonical_shape and len(self.axes) == len(self.view)

    @property
    def first(self) -> int:
        """The smallest canonical index that the tensor takes."""
        return (self.part or 0) * prod(self.view[1:])

    @property
    def taken(self) -> range:
        """The range of canonical indices that the tensor takes."""
        return range(self.first, self.first + prod(self.view[self.part is not None :]))

    def indices(self, first: int, count: int) -> Indices:
        """The canonical indices of consecutive elements of the framework's tensor.

        Args:
            first: the row-major index of the first element in the framework's tensor.
            count: the number of elements.
        """
        columns = self.view[self.axes[-1]]
        if count < columns:  # the indices of a whole row may not fit into memory
            row, column = np.divmod(np.arange(first, first + count, dtype=np.int64), columns)
            return self._rows(row) + self._offsets(self.axes[-1], column)
        top, bottom = first // columns, -(-(first + count) // columns)
        rows = self._rows(np.arange(top, bottom, dtype=np.int64))
        grid = rows[:, np.newaxis] + self._offsets(self.axes[-1], np.arange(columns, dtype=np.int64))
        return grid.reshape(-1)[first - top * columns :][:count]

    def _rows(self, row: Indices) -> Indices:
        """The canonical indices of the first elements of rows; a row extends along the last axis of the tensor."""
        starts = np.full(row.size, self.first, np.int64)
        for axis in reversed(self.axes[:-1]):
            row, places = np.divmod(row, self.view[axis])
            starts += self._offsets(axis, places)
        return starts

    def _offsets(self, axis: int, places: Indices) -> Indices:
        """The contributions of indices on an axis to the canonical index."""
        if axis == 0 and self.order is not None:
            places = np.asarray(self.order, np.int64)[places]
        return places * prod(self.view[axis + 1 :])
