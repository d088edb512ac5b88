"""Products of matrices: as accurate as binary64 allows, at the speed of BLAS, and the same bits on every machine.

Both operands are cut into slices of so few bits that BLAS multiplies slices without any rounding. Then it is of no
matter in which order, in which blocks, by how many threads or with which instructions it adds. All else is one
correctly rounded IEEE 754 operation an element, each a NumPy call of its own.

Source: Ozaki, Ogita, Oishi & Rump 2012, "Error-free transformations of matrix multiplication by using fast routines of
matrix multiplication and its applications", Numerical Algorithms 59.
"""

from __future__ import annotations

from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

SLICES: Final = 3
BITS: Final = 20
"""A slice of a row or column is a multiple of one power of two u, and at most 2^19 u in magnitude."""

BLOCK: Final = 2**12
"""The most products that are added without rounding; another number would give other bits.

BLAS adds at most SLICES . BLOCK products of two slices, each at most 2^38 times their common unit: whatever it adds on
the way is below 2^52 units, where binary64 holds every integer.
"""

TILE: Final = 2**17
"""Elements in work at once, 1 MiB of them; has no part in the bits."""


def product(left: Matrix, right: Matrix) -> Matrix:
    """The product of two matrices, or of two stacks of them.

    An element is off by at most 2^-53 of itself and, for inner dimensions k up to 2^12, by k . 2^-56 of the largest
    magnitude of its row times that of its column. Beyond, sums of 2^12 products are added in binary64, in their order.

    Args:
        left: shape (..., p, k), finite. The largest magnitude of a row, times that of a column of `right`, must be 0 or
            from 2^-900 to 2^900, or the products of slices leave the normal numbers.
        right: shape (..., k, q), finite.

    Returns:
        An array of shape (..., p, q) without negative zeros.
    """
    return add_product(left, right, np.zeros((*left.shape[:-1], right.shape[-1])))


def add_product(left: Matrix, right: Matrix, out: Matrix) -> Matrix:
    """Add the product of two matrices, or stacks of them, to others, where they are; see `product`.

    Args:
        left: shape (..., p, k).
        right: shape (..., k, q).
        out: what is added to, shape (..., p, q), apart from the other two.
    """
    for inner in _blocks(left.shape[-1], BLOCK):
        for across in _blocks(out.shape[-1], BLOCK):
            _add_block(left[..., inner], _column_slices(right[..., inner, across]), out[..., across])
    return out


def _blocks(size: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, size)) for first in range(0, size, step)]


def _add_block(left: Matrix, right: Matrix, out: Matrix) -> None:
    """Add the product by a right operand that is cut already, a few rows at a time."""
    *stack, rows, columns = out.shape
    for down in _blocks(rows, max(1, TILE // (prod(stack) * max(left.shape[-1], columns)))):
        tile = out[..., down, :]
        np.add(tile, _multiplied(_row_slices(left[..., down, :]), right), out=tile)


def _multiplied(left: Matrix, right: Matrix) -> Matrix:
    """The products of slices that matter, smallest first: h.l + m.m + l.h, then h.m + m.h, then h.h.

    Those of one line have a common unit, and are one product of BLAS. The signs of its zeros, which may vary, are lost
    in the first sum, as 0 + -0 = 0.
    """
    total = np.zeros((*left.shape[:-1], right.shape[-1]))
    inner = right.shape[-2] // SLICES
    for slices in range(SLICES, 0, -1):
        np.add(total, left[..., : slices * inner] @ right[..., (SLICES - slices) * inner :, :], out=total)
    return total


def _row_slices(matrix: Matrix) -> Matrix:
    """The slices of each row side by side, (h, m, l): shape (..., p, k) to (..., p, 3 k)."""
    *stack, rows, inner = matrix.shape
    slices = np.empty((*stack, rows, SLICES, inner))
    _cut(matrix, -1, *np.moveaxis(slices, -2, 0))
    return slices.reshape(*stack, rows, SLICES * inner)


def _column_slices(matrix: Matrix) -> Matrix:
    """The slices of each column one above the other, (l, m, h): shape (..., k, q) to (..., 3 k, q)."""
    *stack, inner, columns = matrix.shape
    slices = np.empty((*stack, SLICES, inner, columns))
    _cut(np.ascontiguousarray(matrix), -2, *np.moveaxis(slices, -3, 0)[::-1])
    return slices.reshape(*stack, SLICES * inner, columns)


def _cut(matrix: Matrix, axis: int, high: Matrix, middle: Matrix, low: Matrix) -> None:
    """Cut rows (axis -1) or columns (axis -2) of magnitudes below 2^e into slices of units 2^(e - 19 - 20 i).

    Rounding to the nearest leaves at most half a unit, 2^19 units of the next slice, and 2^(e - 60) in the end. What a
    slice leaves is exact: it is a multiple of the last place of the element, and smaller.
    """
    anchor = _anchor(matrix, axis)
    _round(matrix, anchor, out=high)
    np.subtract(matrix, high, out=low)
    _round(low, anchor * 2.0**-BITS, out=middle)
    np.subtract(low, middle, out=low)
    _round(low, anchor * 2.0 ** (-2 * BITS), out=low)


def _anchor(matrix: Matrix, axis: int) -> Matrix:
    """1.5 . 2^(e + 33): numbers next to it are 2^(e - 19) apart, and it is so far from powers of two that none is near.

    The largest magnitude is the same in any order, and frexp and ldexp are exact.
    """
    largest = np.maximum(matrix.max(axis, keepdims=True), -matrix.min(axis, keepdims=True))
    anchor: Matrix = np.ldexp(1.5, np.frexp(largest)[1] + (53 - BITS))
    return anchor


def _round(values: Matrix, anchor: Matrix, out: Matrix) -> None:
    np.add(values, anchor, out=out)
    np.subtract(out, anchor, out=out)
