"""Matrix products as accurate as binary64 allows, at the speed of BLAS, with the same bits on every machine.

Both operands are cut into slices of so few bits that products of slices are added without any rounding. The order of
the additions, the blocks, the number of threads and the instructions then make no difference. All other steps are
correctly rounded IEEE 754 operations on single elements, each in a NumPy call of its own.

Source: Ozaki, Ogita, Oishi & Rump 2012, "Error-free transformations of matrix multiplication by using fast routines of
matrix multiplication and its applications", Numerical Algorithms 59.
"""

from __future__ import annotations

from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.distributions.cache import check_wanted
from service.stream.scratch import scratch

Matrix = NDArray[np.float64]

SLICES: Final = 3
BITS: Final = 20
"""A slice of a row or column is a multiple of one power of two u, and at most 2^19 u in magnitude."""

BLOCK: Final = 2**12
"""The most products that are added without rounding; another number would give other bits.

At most SLICES . BLOCK products of two slices are added, each at most 2^38 times their common unit: whatever the order,
all sums on the way are below 2^52 units, where binary64 holds every integer.
"""

UNIT: Final = 64
"""The longest side of a matrix that is given to BLAS. It does not affect the bits.

OpenBLAS does not divide matrices this small among threads, which would wait long for each other on busy processors.
"""

TILE: Final = 2**17
"""Roughly the number of elements that are processed at once. It does not affect the bits."""


def product(left: Matrix, right: Matrix) -> Matrix:
    """The product of two matrices, or of two stacks of them.

    For inner dimensions k up to 2^12, the error of an element is at most 2^-53 of the element plus k . 2^-56 of the
    largest magnitude of its row times that of its column. For larger k, sums of 2^12 products are added in binary64, in
    their order.

    Args:
        left: shape (..., p, k), finite. The largest magnitude of a row, times that of a column of `right`, must be 0 or
            from 2^-900 to 2^900, so that the products of slices are normal numbers.
        right: shape (..., k, q), finite.

    Returns:
        An array of shape (..., p, q) without negative zeros.
    """
    return add_product(left, right, np.zeros((*left.shape[:-1], right.shape[-1])))


def add_product(left: Matrix, right: Matrix, out: Matrix) -> Matrix:
    """Add the product of two matrices, or stacks of them, to `out` in place; see `product`.

    Args:
        left: shape (..., p, k).
        right: shape (..., k, q).
        out: the summand and the result, shape (..., p, q), in memory of its own.

    Raises:
        Abandoned: no one is waiting for the result any longer; `out` is then incomplete.
    """
    *stack, _, columns = out.shape
    for inner in _blocks(left.shape[-1], BLOCK):
        for across in _blocks(columns, _at_once(prod(stack) * (inner.stop - inner.start))):
            _add_block(left[..., inner], _column_slices(right[..., inner, across]), out[..., across])
    return out


def _blocks(size: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, size)) for first in range(0, size, step)]


def _at_once(elements: int) -> int:
    """The number of rows or columns to process at once, given the number of elements of each."""
    return max(1, TILE // max(1, elements) // UNIT) * UNIT


def _add_block(left: Matrix, right: Matrix, out: Matrix) -> None:
    """Add the product with a right operand that is already sliced, a few rows at a time."""
    *stack, rows, columns = out.shape
    for down in _blocks(rows, _at_once(prod(stack) * max(left.shape[-1], columns))):
        check_wanted()
        tile = out[..., down, :]
        np.add(tile, _multiplied(_row_slices(left[..., down, :]), right)[..., : tile.shape[-2], :columns], out=tile)


def _multiplied(left: Matrix, right: Matrix) -> Matrix:
    """The significant products of slices, smallest first: h.l + m.m + l.h, then h.m + m.h, then h.h.

    The products in each of these three sums have a common unit, so each sum is exact in any order. BLAS libraries may
    differ in the signs of zeros; these are lost at the first addition, as 0 + -0 = 0.

    Args:
        left: blocks of slices, shape (..., P, 3 K, h, c).
        right: blocks of slices, shape (..., Q, 3 K, c, w).

    Returns:
        An array of shape (..., P h, Q w).
    """
    *stack, down, _, rows, _ = left.shape
    across, slices, _, columns = right.shape[-4:]
    total, line = (_space(use, *stack, down, across, rows, columns) for use in ("total", "line"))
    total.fill(0)
    for inner in range(slices, 0, -slices // SLICES):
        terms = _space("terms", *stack, down, across, inner, rows, columns)
        np.matmul(left[..., np.newaxis, :inner, :, :], right[..., np.newaxis, :, slices - inner :, :, :], out=terms)
        np.add(total, np.sum(terms, axis=-3, out=line), out=total)
    return total.swapaxes(-3, -2).reshape(*stack, down * rows, across * columns)


def _row_slices(matrix: Matrix) -> Matrix:
    """Blocks of rows with their slices side by side, (h, m, l): shape (..., p, k) to (..., P, 3 K, h, c)."""
    *stack, rows, inner = matrix.shape
    (down, height), (along, width) = _units(rows), _units(inner)
    slices = _space("slices", *stack, down * height, SLICES, along * width)
    if slices.size > SLICES * matrix.size:
        slices.fill(0)
    _cut(matrix, -1, *np.moveaxis(slices[..., :rows, :, :inner], -2, 0))
    return slices.reshape(*stack, down, height, SLICES * along, width).swapaxes(-3, -2)


def _column_slices(matrix: Matrix) -> Matrix:
    """Blocks of columns with their slices one above the other, (l, m, h): shape (..., k, q) to (..., Q, 3 K, c, w)."""
    *stack, inner, columns = matrix.shape
    (along, height), (across, width) = _units(inner), _units(columns)
    slices = np.zeros((*stack, SLICES, along * height, across * width))
    _cut(np.ascontiguousarray(matrix), -2, *np.moveaxis(slices[..., :inner, :columns], -3, 0)[::-1])
    return np.moveaxis(slices.reshape(*stack, SLICES * along, height, across, width), -2, -4)


def _space(use: str, *shape: int) -> Matrix:
    return scratch(f"product {use}", np.float64, prod(shape)).reshape(shape)


def _units(size: int) -> tuple[int, int]:
    """The number of blocks into which a side is divided, and the length of each."""
    return -(-size // UNIT), min(size, UNIT)


def _cut(matrix: Matrix, axis: int, high: Matrix, middle: Matrix, low: Matrix) -> None:
    """Cut rows (axis -1) or columns (axis -2) of magnitudes below 2^e into slices of units 2^(e - 19 - 20 i).

    Rounding to nearest leaves a remainder of at most half a unit, which is 2^19 units of the next slice, and of at most
    2^(e - 60) in the end. Each remainder is exact: it is smaller than the element, and a multiple of its last place.
    """
    anchor = _anchor(matrix, axis)
    _round(matrix, anchor, out=high)
    np.subtract(matrix, high, out=low)
    _round(low, anchor * 2.0**-BITS, out=middle)
    np.subtract(low, middle, out=low)
    _round(low, anchor * 2.0 ** (-2 * BITS), out=low)


def _anchor(matrix: Matrix, axis: int) -> Matrix:
    """1.5 . 2^(e + 33): if a number of magnitude 2^e or less is added, the sum is rounded to a multiple of 2^(e - 19).

    The largest magnitude does not depend on an order, and frexp and ldexp are exact.
    """
    largest = np.maximum(matrix.max(axis, keepdims=True), -matrix.min(axis, keepdims=True))
    anchor: Matrix = np.ldexp(1.5, np.frexp(largest)[1] + (53 - BITS))
    return anchor


def _round(values: Matrix, anchor: Matrix, out: Matrix) -> None:
    np.add(values, anchor, out=out)
    np.subtract(out, anchor, out=out)
