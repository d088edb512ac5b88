"""Factorisation: of a matrix into orthonormal columns Q and a triangle R, by Householder reflectors.

Matrices are kept transposed, one row of memory for each column. The reflectors of a panel of columns are found by
elementwise arithmetic in a fixed order; what they do to all other columns is three exact products, so that the bits are
the same on every machine.

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
"""Columns whose reflectors are applied together; a part of the bits, as the next is."""

LANES: Final = 2**12
"""A sum over rows is made in as many lanes, each from first to last, which are then folded."""

NEGLIGIBLE: Final = 2.0**-900
"""The square of the norm of a column that counts as zero: nothing but what rounding has left of it."""

TOGETHER: Final = 2**17
"""Elements of small matrices that are in work at once; has no part in the bits."""


def orthogonal_factor(matrix: Matrix) -> Matrix:
    """The factor Q of A = Q R where the diagonal of R is positive: Haar distributed if A is Gaussian (Mezzadri 2007).

    Where columns depend on those before them, Q is still orthonormal, and the diagonal of R about 0, of either sign.

    Args:
        matrix: A, shape (..., m, n) with m >= n >= 1: one matrix or a stack of them, in any layout, of magnitudes 0 or
            from 2^-100 to 2^100.

    Returns:
        An array of shape (..., m, n), column after column in memory, with orthonormal columns.

    Raises:
        Abandoned: nobody waits for it any more.
    """
    *_, m, n = matrix.shape
    columns = _transposed(matrix)
    stack, together = columns.reshape(-1, n, m), max(1, TOGETHER // (m * n))
    for first in range(0, len(stack), together):
        _orthogonalise(stack[first : first + together])
    return np.swapaxes(columns, -1, -2)


def _transposed(matrix: Matrix) -> Matrix:
    """A copy, one row of memory for each column."""
    columns = np.empty((*matrix.shape[:-2], *matrix.shape[:-3:-1]))
    for first in range(0, matrix.shape[-1], PANEL):
        check_wanted()
        some = slice(first, first + PANEL)
        columns[..., some, :] = np.swapaxes(matrix[..., some], -1, -2)
    return columns


def _orthogonalise(columns: Matrix) -> None:
    """Put Q in the place of A, both transposed, shape (b, n, m)."""
    corners = [columns[:, first:, first:] for first in range(0, columns.shape[-2], PANEL)]
    eliminated = [_eliminate(corner) for corner in corners]
    for corner, (triangle, signs) in zip(reversed(corners), reversed(eliminated), strict=True):
        _form(corner, triangle, signs)


def _eliminate(corner: Matrix) -> tuple[Matrix, Matrix]:
    """Put the vectors V of the first panel in its place, and apply its reflectors to the columns after it.

    Returns:
        S such that the reflectors are I + V S V^T, shape (b, k, k), and the signs of the diagonal of R, shape (b, k).
    """
    panel, after = corner[:, :PANEL], corner[:, PANEL:]
    signs = _reduce(panel)
    triangle = _triangle(panel)
    _apply(panel, triangle, after)
    return triangle, signs


def _form(corner: Matrix, triangle: Matrix, signs: Matrix) -> None:
    """Apply the reflectors of the first panel to columns of the identity, signed, and to the part of Q after them."""
    panel, after = corner[:, :PANEL].copy(), corner[:, PANEL:]
    own, backwards = corner[:, :PANEL], triangle.mT
    size = panel.shape[-2]
    corner[..., :size] = 0
    own[...] = np.eye(*own.shape[1:])
    add_product(product(panel[..., :size].mT, backwards), panel, out=own)
    np.multiply(own, signs[..., np.newaxis], out=own)
    _apply(panel, backwards, after)


def _apply(panel: Matrix, triangle: Matrix, columns: Matrix) -> None:
    """Reflect columns: C^T + ((C^T V) S) V^T in the place of C^T, shape (b, c, m)."""
    if columns.size:
        add_product(product(product(columns, panel.mT), triangle), panel, out=columns)


def _reduce(panel: Matrix) -> Matrix:
    """Put the vectors of reflectors, V^T with a unit triangle in front, in the place of columns; the signs of R."""
    size = panel.shape[-2]
    ends = [_reflect(panel[:, first:, first:]) for first in range(size)]
    panel[..., :size] = np.triu(panel[..., :size])
    return np.where(np.stack(ends, axis=-1) > 0, 1.0, -1.0)


def _reflect(columns: Matrix) -> Matrix:
    """Find the reflector that leaves of the first column x only its head, and apply it to the columns after it.

    It is I - 2 v v^T / v.v with v = x - end . e, scaled to a head of 1. It sends x to end . e, so the head of any other
    column y becomes x.y / end, and y minus as much of v as is missing there. A column that counts as zero has no end:
    then v is e.

    Returns:
        The ends, where |end| is the norm of x and the sign is that which does not cancel; shape (b,).
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
    """Sums over the last axis, at least 1 long and overwritten: the second half is added to the first until 1 is left.

    The first half is the longer one.
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

    As V^T V is accurate, the product of reflectors is orthogonal to binary64 whatever was rounded to find V.
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
