"""QR factorisation of a matrix into orthonormal columns Q and a triangle R, by Householder reflectors.

Matrices are kept transposed, so that each column is contiguous in memory. The reflectors of a panel of columns are
computed by elementwise arithmetic in a fixed order. They are applied to all other columns by three reproducible
products, so the bits are the same on every machine.

Sources: Golub & Van Loan 2013, "Matrix Computations", sections 5.1 and 5.2; Schreiber & Van Loan 1989, "A
storage-efficient WY representation for products of Householder transformations" (compact WY); Mezzadri 2007, "How to
generate random matrices from the classical compact groups" (why the diagonal of R must be positive).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from service.distributions.cache import check_wanted
from service.distributions.numerics.products import Matrix, add_product, product

PANEL: Final = 64
"""The number of columns whose reflectors are applied together. Another number would give other bits."""

LANES: Final = 2**12
"""The number of partial sums, each from first to last, of a sum over rows. Another number would give other bits."""

NEGLIGIBLE: Final = 2.0**-900
"""The largest squared norm of a column that counts as zero: only rounding errors are left of it."""

TOGETHER: Final = 2**17
"""The number of elements of small matrices that are processed together. It does not affect the bits."""


def orthogonal_factor(matrix: Matrix) -> Matrix:
    """The factor Q of A = Q R where the diagonal of R is positive: Haar distributed if A is Gaussian (Mezzadri 2007).

    Where a column depends on those before it, Q is still orthonormal, but the element on the diagonal of R is about 0
    and has either sign.

    Args:
        matrix: A, shape (..., m, n) with m >= n >= 1: one matrix or a stack of them, in any layout; elements are 0 or
            have magnitudes from 2^-100 to 2^100.

    Returns:
        An array of shape (..., m, n), with orthonormal columns, each of which is contiguous in memory.

    Raises:
        Abandoned: no one is waiting for the result any longer.
    """
    *_, m, n = matrix.shape
    columns = _transposed(matrix)
    stack, together = columns.reshape(-1, n, m), max(1, TOGETHER // (m * n))
    for first in range(0, len(stack), together):
        _orthogonalise(stack[first : first + together])
    return np.swapaxes(columns, -1, -2)


def _transposed(matrix: Matrix) -> Matrix:
    """A transposed copy, in which each column is contiguous in memory."""
    columns = np.empty((*matrix.shape[:-2], *matrix.shape[:-3:-1]))
    for first in range(0, matrix.shape[-1], PANEL):
        check_wanted()
        some = slice(first, first + PANEL)
        columns[..., some, :] = np.swapaxes(matrix[..., some], -1, -2)
    return columns


def _orthogonalise(columns: Matrix) -> None:
    """Replace A by Q, both transposed, shape (b, n, m)."""
    corners = [columns[:, first:, first:] for first in range(0, columns.shape[-2], PANEL)]
    eliminated = [_eliminate(corner) for corner in corners]
    for corner, (triangle, signs) in zip(reversed(corners), reversed(eliminated), strict=True):
        _form(corner, triangle, signs)


def _eliminate(corner: Matrix) -> tuple[Matrix, Matrix]:
    """Replace the first panel by the vectors V of its reflectors, and apply these to the columns after it.

    Returns:
        S such that the reflectors are I + V S V^T, shape (b, k, k), and the signs of the diagonal of R, shape (b, k).
    """
    panel, after = corner[:, :PANEL], corner[:, PANEL:]
    signs = _reduce(panel)
    triangle = _triangle(panel)
    _apply(panel, triangle, after)
    return triangle, signs


def _form(corner: Matrix, triangle: Matrix, signs: Matrix) -> None:
    """Apply the reflectors of the first panel to signed columns of the identity, and to the part of Q after them."""
    panel, after = corner[:, :PANEL].copy(), corner[:, PANEL:]
    own, backwards = corner[:, :PANEL], triangle.mT
    size = panel.shape[-2]
    corner[..., :size] = 0
    own[...] = np.eye(*own.shape[1:])
    add_product(product(panel[..., :size].mT, backwards), panel, out=own)
    np.multiply(own, signs[..., np.newaxis], out=own)
    _apply(panel, backwards, after)


def _apply(panel: Matrix, triangle: Matrix, columns: Matrix) -> None:
    """Reflect columns: replace C^T by C^T + ((C^T V) S) V^T, shape (b, c, m)."""
    if columns.size:
        add_product(product(product(columns, panel.mT), triangle), panel, out=columns)


def _reduce(panel: Matrix) -> Matrix:
    """Replace columns by the vectors of their reflectors, V^T with a unit triangle in front; return the signs of R."""
    size = panel.shape[-2]
    ends = [_reflect(panel[:, first:, first:]) for first in range(size)]
    panel[..., :size] = np.triu(panel[..., :size])
    return np.where(np.stack(ends, axis=-1) > 0, 1.0, -1.0)


def _reflect(columns: Matrix) -> Matrix:
    """Compute the reflector that zeroes the first column x below its head, and apply it to the columns after it.

    The reflector is I - 2 v v^T / v.v with v = x - end . e, scaled to a head of 1. It maps x to end . e, so the head of
    another column y becomes x.y / end, and y loses the multiple of v that this takes. For a column that counts as zero,
    end is infinite and v is e.

    Returns:
        The ends, shape (b,), where |end| is the norm of x and the sign avoids cancellation.
    """
    check_wanted()
    dots, heads = _dots(columns), columns[..., 0].copy()
    square, head = dots[:, :1], heads[:, :1]
    norm = np.sqrt(square)
    end = np.where(square > NEGLIGIBLE, np.where(head < 0, norm, -norm), -np.inf)
    vector = columns[:, :1]
    np.divide(vector, (head - end)[..., np.newaxis], out=vector)
    vector[..., 0] = 1
    _subtract_outer((heads - dots / end)[:, 1:, np.newaxis], vector, columns[:, 1:])
    return end[:, 0]


def _dots(columns: Matrix) -> Matrix:
    """The dot products of the first column with every column, shape (b, c, m) to (b, c)."""
    lanes = np.zeros((*columns.shape[:-1], min(LANES, columns.shape[-1])))
    for first in range(0, columns.shape[-1], LANES):
        block = columns[..., first : first + LANES]
        part = lanes[..., : block.shape[-1]]
        np.add(part, block[:, :1] * block, out=part)
    return _fold(lanes)


def _fold(terms: Matrix) -> Matrix:
    """Sums over the last axis, whose length is at least 1. The terms are overwritten.

    The second half is added to the first, which is the longer one, until one term is left.
    """
    size = terms.shape[-1]
    while size > 1:
        half = (size + 1) // 2
        np.add(terms[..., : size - half], terms[..., half:size], out=terms[..., : size - half])
        size = half
    return terms[..., 0]


def _subtract_outer(factors: Matrix, vector: Matrix, columns: Matrix) -> None:
    """Subtract from each column its factor, shape (b, c, 1), times the vector, shape (b, 1, m)."""
    for first in range(0, columns.shape[-1], LANES):
        block = columns[..., first : first + LANES]
        np.subtract(block, factors * vector[..., first : first + LANES], out=block)


def _triangle(panel: Matrix) -> Matrix:
    """The triangle S of I + V S V^T = H_1 ... H_k; column j is s_j (S V^T v_j) above s_j = -2 / v_j.v_j.

    As V^T V is accurate, the product of the reflectors is orthogonal to binary64, however V was rounded.
    """
    gram = product(panel, panel.mT)
    triangle = np.zeros_like(gram)
    for j in range(gram.shape[-1]):
        scale = -2 / gram[:, j, j]
        triangle[:, j, j] = scale
        if j:
            above = _fold(triangle[:, :j, :j] * gram[:, np.newaxis, :j, j])
            triangle[:, :j, j] = above * scale[:, np.newaxis]
    return triangle
