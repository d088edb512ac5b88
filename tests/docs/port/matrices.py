"""The factor Q, and exact products: sections 12.2 and 12.3."""

from __future__ import annotations

import math
from collections.abc import Sequence

Matrix = list[list[float]]
Slices = tuple[int, list[list[int]]]
PANEL, LANES, BLOCK = 64, 4096, 4096


def orthonormal(matrix: Matrix) -> Matrix:
    """Q, whose columns are orthonormal, or its rows where those are fewer."""
    if len(matrix) < len(matrix[0]):
        return orthogonalised(matrix)
    return transposed(orthogonalised(transposed(matrix)))


def orthogonalised(columns: Matrix) -> Matrix:
    """The columns of Q, from those of A."""
    columns = [list(column) for column in columns]
    panels = [(first, *_eliminate(columns, first)) for first in range(0, len(columns), PANEL)]
    for first, vectors, triangle, signs in reversed(panels):
        _form(columns, first, vectors, triangle, signs)
    return columns


def _eliminate(columns: Matrix, first: int) -> tuple[Matrix, Matrix, list[float]]:
    """Section 12.2, steps 1 to 3, for one panel."""
    panel = [column[first:] for column in columns[first : first + PANEL]]
    ends = [_reflect(panel, j) for j in range(len(panel))]
    vectors = [[0.0] * j + column[j:] for j, column in enumerate(panel)]
    triangle = _triangle(vectors)
    _apply(columns, first, first + PANEL, vectors, triangle)
    return vectors, triangle, [1.0 if end > 0 else -1.0 for end in ends]


def _reflect(panel: Matrix, j: int) -> float:
    x = panel[j][j:]
    dots = [_dot(x, column[j:]) for column in panel[j:]]
    norm = math.sqrt(dots[0])
    end = (norm if x[0] < 0 else -norm) if dots[0] > 2.0**-900 else -math.inf
    vector = [1.0, *(value / (x[0] - end) for value in x[1:])]
    for column, dot in zip(panel[j + 1 :], dots[1:], strict=True):
        factor = column[j] - dot / end
        column[j:] = [value - factor * along for value, along in zip(column[j:], vector, strict=True)]
    panel[j][j:] = vector
    return end


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    lanes = [0.0] * min(LANES, len(one))
    for row, (a, b) in enumerate(zip(one, other, strict=True)):
        lanes[row % LANES] += a * b
    return folded(lanes)


def folded(terms: Sequence[float]) -> float:
    """The second half is added to the first, which is the longer one, until one is left."""
    terms = list(terms)
    while len(terms) > 1:
        half = (len(terms) + 1) // 2
        terms = [a + b for a, b in zip(terms, terms[half:], strict=False)] + terms[len(terms) - half : half]
    return terms[0]


def _triangle(vectors: Matrix) -> Matrix:
    gram = product(vectors, transposed(vectors))
    size = len(gram)
    triangle = [[0.0] * size for _ in range(size)]
    for j in range(size):
        scale = -2 / gram[j][j]
        for i in range(j):
            triangle[i][j] = folded([triangle[i][k] * gram[k][j] for k in range(j)]) * scale
        triangle[j][j] = scale
    return triangle


def _apply(columns: Matrix, first: int, after: int, vectors: Matrix, triangle: Matrix) -> None:
    rest = [column[first:] for column in columns[after:]]
    if rest:
        added = add_product(product(product(rest, transposed(vectors)), triangle), vectors, rest)
        for column, values in zip(columns[after:], added, strict=True):
            column[first:] = values


def _form(columns: Matrix, first: int, vectors: Matrix, triangle: Matrix, signs: list[float]) -> None:
    size, backwards = len(vectors), transposed(triangle)
    for column in columns[first:]:
        column[first : first + size] = [0.0] * size
    unit = [[float(row == j) for row in range(len(vectors[0]))] for j in range(size)]
    top = transposed([vector[:size] for vector in vectors])
    own = add_product(product(top, backwards), vectors, unit)
    for column, values, sign in zip(columns[first : first + size], own, signs, strict=True):
        column[first:] = [value * sign for value in values]
    _apply(columns, first, first + size, vectors, backwards)


def product(left: Matrix, right: Matrix) -> Matrix:
    return add_product(left, right, [[0.0] * len(right[0]) for _ in left])


def add_product(left: Matrix, right: Matrix, out: Matrix) -> Matrix:
    """Section 12.3; the sums of products of slices are exact, so that integers may make them."""
    for first in range(0, len(right), BLOCK):
        rows = [_slices(row[first : first + BLOCK]) for row in left]
        columns = [_slices(column[first : first + BLOCK]) for column in transposed(right)]
        out = [
            [have + _of_slices(r, c) for have, c in zip(line, columns, strict=True)]
            for line, r in zip(out, rows, strict=True)
        ]
    return out


def _slices(values: Sequence[float]) -> Slices:
    """The exponent of the smallest unit, and the slices h, m, l, each in its own units."""
    exponent = math.frexp(max(map(abs, values)))[1]
    rest, slices = list(values), []
    for place in range(3):
        anchor = math.ldexp(1.5, exponent + 33 - 20 * place)
        cut = [(value + anchor) - anchor for value in rest]
        rest = [value - part for value, part in zip(rest, cut, strict=True)]
        slices.append([int(math.ldexp(part, 19 + 20 * place - exponent)) for part in cut])
    return exponent - 19, slices


def _of_slices(row: Slices, column: Slices) -> float:
    (one, left), (other, right) = row, column
    total = 0.0
    for level in (2, 1, 0):
        pairs = [(left[i], right[level - i]) for i in range(level + 1)]
        count = sum(a * b for one_, other_ in pairs for a, b in zip(one_, other_, strict=True))
        total += math.ldexp(float(count), one + other - 20 * level)
    return total


def transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]
