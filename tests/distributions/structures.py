"""Structured distributions once more: element by element by definition, slow, and without `service` or NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from statistics import NormalDist

from tests.stream import reference

Matrix = list[list[float]]
Shape = tuple[int, ...]

MASK_LANE = 2
STANDARD = NormalDist()


def places(shape: Shape) -> Iterator[tuple[int, ...]]:
    """The indices of all elements, row-major."""
    return product(*map(range, shape))


def identity(shape: Shape, value: float) -> list[float]:
    """(out, in)."""
    return [value if row == column else 0.0 for row, column in places(shape)]


def dirac(shape: Shape, value: float, *, upper: bool = True, groups: int = 1) -> list[float]:
    """(out, in, *kernel), as `torch.nn.init.dirac_` fills it."""
    center = [size // 2 if upper else (size - 1) // 2 for size in shape[2:]]
    outputs = shape[0] // groups
    return [value if row % outputs == column and kernel == center else 0.0 for row, column, *kernel in places(shape)]


def delta(shape: Shape, factor: Matrix, *, upper: bool = False) -> list[float]:
    """(out, in, *kernel) with a matrix at the centre."""
    center = [size // 2 if upper else (size - 1) // 2 for size in shape[2:]]
    return [factor[row][column] if kernel == center else 0.0 for row, column, *kernel in places(shape)]


def normals(seed: int, name: str, indices: Sequence[int]) -> list[float]:
    """Standard normals in binary64."""
    f = reference.BINARY64
    return [reference.normal_quantile(reference.word64(seed, name, index), f) for index in indices]


def rows_of(values: Sequence[float], columns: int) -> Matrix:
    """A matrix of consecutive rows."""
    return [list(values[first : first + columns]) for first in range(0, len(values), columns)]


def orthogonal(matrix: Matrix) -> Matrix:
    """The factor Q of a matrix whose R has a positive diagonal, of its transpose where that is the taller.

    Gram and Schmidt in fractions, so that each element is right to its last digit but one.
    """
    if len(matrix) < len(matrix[0]):
        return transposed(orthogonal(transposed(matrix)))
    columns = [[Fraction(value) for value in column] for column in transposed(matrix)]
    directions: list[list[Fraction]] = []
    for column in columns:
        rest = column
        for other in directions:
            share = dot(column, other) / dot(other, other)
            rest = [value - share * along for value, along in zip(rest, other, strict=True)]
        directions.append(rest)
    return transposed([[signed_root(value, dot(each, each)) for value in each] for each in directions])


def signed_root(value: Fraction, square: Fraction) -> float:
    """A value over the root of a square."""
    return math.copysign(math.sqrt(value * value / square), value)


def dot(one: Sequence[Fraction], other: Sequence[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(one, other, strict=True)), Fraction(0))


def transposed(matrix: Sequence[Sequence[float]]) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def zero_rows(seed: int, name: str, indices: Sequence[int], zeros: int) -> set[int]:
    """Of a column, given by the indices of its elements, the rows that are zeros."""
    keys = sorted((reference.word(seed, name, index, MASK_LANE), row) for row, index in enumerate(indices))
    return {row for _, row in keys[:zeros]}


def sparse(seed: int, name: str, shape: Shape, sparsity: float, std: float, *, f: reference.Format) -> list[float]:
    """(rows, columns), with ceil(sparsity . rows) zeros in each column."""
    rows, columns = shape
    zeros = math.ceil(sparsity * rows)
    masked = [zero_rows(seed, name, range(column, rows * columns, columns), zeros) for column in range(columns)]
    draw_word = reference.word64 if f is reference.BINARY64 else reference.word
    return [
        0.0 if row in masked[column] else reference.normal(draw_word(seed, name, row * columns + column), 0.0, std, f)
        for row, column in places(shape)
    ]


def cut_normal(word: int, f: reference.Format, low: float, high: float) -> float:
    """A standard normal between two ends: the quantile of the word's probability, right to about 12 digits.

    A word of 32 bits stands for the middle of all words of 64 bits that begin with it.
    """
    k = f.signed(word) << 31 | 1 << 30 if f.bits == 32 else f.signed(word) >> 1 | 1
    below, above = beyond(-low), beyond(high)
    mass = beyond(-high) - below if low + high < 0 else beyond(low) - above
    under, over = below + mass * (2**62 + k) / 2**63, above + mass * (2**62 - k) / 2**63
    return STANDARD.inv_cdf(under) if under < over else -STANDARD.inv_cdf(over)


def beyond(end: float) -> float:
    """The probability above an end."""
    return math.erfc(end / math.sqrt(2)) / 2
