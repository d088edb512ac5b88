"""Rearrangements: where the elements of a framework's tensor stand in the canonical one."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from service.stream.words import Indices, Shape


@dataclass(frozen=True, slots=True)
class Rearrangement:
    """Another order of axes; also another order of gates, or one projection of several.

    Attributes:
        view: the canonical shape, finer where an axis holds gates, heads or multiples of channels.
        axes: the axis of the view behind each axis of the arranged tensor.
        shape: the arranged tensor's own shape, in which neighbouring axes may be one; None where none are.
        order: for the first axis of the view, the canonical place behind each arranged one; None where it is kept.
        part: the only place on the first axis that is taken, which is then not among the axes; None for all.
    """

    view: Shape
    axes: Shape
    shape: Shape | None = None
    order: Shape | None = None
    part: int | None = None

    @property
    def output_shape(self) -> Shape:
        """The shape of the arranged tensor."""
        return tuple(self.view[axis] for axis in self.axes) if self.shape is None else self.shape

    def permutes_only(self, canonical_shape: Shape) -> bool:
        """Whether it is another order of the axes of a shape, and nothing else."""
        moved = self.shape is None and self.order is None and self.part is None
        return moved and self.view == canonical_shape and len(self.axes) == len(self.view)

    @property
    def first(self) -> int:
        """The canonical index of the first element that is taken, in canonical order."""
        return (self.part or 0) * prod(self.view[1:])

    @property
    def taken(self) -> range:
        """The canonical indices between which all that is taken lies."""
        return range(self.first, self.first + prod(self.view[self.part is not None :]))

    def indices(self, first: int, count: int) -> Indices:
        """The canonical indices of consecutive elements of the arranged tensor.

        Args:
            first: index of the first, row-major over the arranged shape.
            count: how many.
        """
        columns = self.view[self.axes[-1]]
        if count < columns:  # a row may be longer than memory
            row, column = np.divmod(np.arange(first, first + count, dtype=np.int64), columns)
            return self._rows(row) + self._offsets(self.axes[-1], column)
        top, bottom = first // columns, -(-(first + count) // columns)
        rows = self._rows(np.arange(top, bottom, dtype=np.int64))
        grid = rows[:, np.newaxis] + self._offsets(self.axes[-1], np.arange(columns, dtype=np.int64))
        return grid.reshape(-1)[first - top * columns :][:count]

    def _rows(self, row: Indices) -> Indices:
        """The canonical indices of the first elements of rows, along the last axis, of the arranged tensor."""
        starts = np.full(row.size, self.first, np.int64)
        for axis in reversed(self.axes[:-1]):
            row, places = np.divmod(row, self.view[axis])
            starts += self._offsets(axis, places)
        return starts

    def _offsets(self, axis: int, places: Indices) -> Indices:
        """What places on an axis add to the canonical index."""
        if axis == 0 and self.order is not None:
            places = np.asarray(self.order, np.int64)[places]
        return places * prod(self.view[axis + 1 :])
