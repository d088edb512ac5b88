"""Orthonormal factors against exact Gram-Schmidt and LAPACK, and their bits in processes of every kind."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from math import isqrt
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from service.distributions.numerics import factorisation, products
from service.distributions.numerics.factorisation import LANES, PANEL, orthogonal_factor
from service.distributions.numerics.products import product
from tests.distributions.numerics import matrices
from tests.distributions.numerics.matrices import FACTORISED, GOLDEN, dependent, entries

Matrix = NDArray[np.float64]

EPSILON: Final = 2.0**-52
SHAPES: Final = [
    (1, 1),
    (2, 1),
    (2, 2),
    (7, 5),
    (PANEL, PANEL),
    (PANEL + 1, PANEL + 1),
    (3 * PANEL, 2 * PANEL),
    (200, 131),
    (512, 512),
    (LANES + 1, 3),
    (2 * LANES + 5, PANEL + 2),
]
DEFICIENT: Final[dict[str, Callable[[], Matrix]]] = {
    "zeros": lambda: np.zeros((9, 6)),
    "negative zeros": lambda: np.full((9, 6), -0.0),
    "one zero": lambda: np.zeros((1, 1)),
    "ones": lambda: np.ones((100, 100)),
    "rank one": lambda: entries(150, 1) * entries(90),
    "equal columns": lambda: np.repeat(entries(130, 1), 130, axis=1),
    "zero columns": lambda: entries(80, 75) * (np.arange(75) % 3 > 0),
    "zero rows": lambda: entries(80, 75) * (np.arange(80) % 3 > 0)[:, np.newaxis],
    "dependent": dependent,
    "of one row": lambda: np.eye(70)[:, :1] * entries(70),
    "of tiny columns": lambda: np.ldexp(dependent(), -80 * (np.arange(70) % 2)),
}
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_deficient = pytest.mark.parametrize("matrix", DEFICIENT.values(), ids=DEFICIENT)


@cache
def factor(shape: tuple[int, int]) -> Matrix:
    q = orthogonal_factor(entries(*shape))
    q.setflags(write=False)
    return q


def distance_from_orthonormal(q: Matrix) -> float:
    """The largest element of Q^T Q - I, in units of binary64 at 1; measured at most 4, where LAPACK has 12."""
    return float(np.abs(product(q.mT, q) - np.eye(q.shape[-1])).max()) / EPSILON


def root(x: Fraction) -> Fraction:
    """The square root, within 2^-200 of itself and better."""
    scale = x.denominator << 200
    return Fraction(isqrt(x.numerator * x.denominator << 400), scale)


def gram_schmidt(matrix: Matrix) -> tuple[Matrix, float]:
    """The exact factor of small matrices, each element rounded once, and the least element of R's diagonal."""
    found: list[list[Fraction]] = []
    norms = []
    for column in matrix.T:
        rest = [Fraction(x) for x in column]
        for q in found:
            along = sum((a * b for a, b in zip(q, rest, strict=True)), Fraction(0)) / sum(a * a for a in q)
            rest = [a - along * b for a, b in zip(rest, q, strict=True)]
        found.append(rest)
        norms.append(root(sum((a * a for a in rest), Fraction(0))))
    columns = [[float(a / norm) for a in q] for q, norm in zip(found, norms, strict=True)]
    return np.array(columns).T, float(min(norms))


@each_shape
def test_columns_are_orthonormal_to_binary64(shape: tuple[int, int]) -> None:
    q = factor(shape)

    assert q.shape == shape
    assert q.dtype == np.float64
    assert distance_from_orthonormal(q) <= 10


@each_shape
def test_what_remains_is_a_triangle_with_a_positive_diagonal(shape: tuple[int, int]) -> None:
    matrix, q = entries(*shape), factor(shape)

    r = product(q.mT, matrix)

    norms = np.linalg.norm(matrix, axis=0)
    assert (r.diagonal() > 0).all()
    assert (np.abs(np.tril(r, -1)) <= 50 * EPSILON * norms).all()
    assert (np.abs(product(q, np.triu(r)) - matrix) <= 50 * EPSILON * norms).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (6, 1), (9, 4), (8, 8)], ids=str)
def test_the_factor_is_that_of_exact_gram_schmidt(shape: tuple[int, int]) -> None:
    matrix = entries(*shape)
    expected, least = gram_schmidt(matrix)

    bound = 4 * EPSILON * np.linalg.norm(matrix) / least

    assert np.abs(orthogonal_factor(matrix) - expected).max() <= bound


def test_the_identity_and_positive_triangles_leave_the_identity() -> None:
    for matrix in (np.eye(5), np.triu(np.abs(entries(70, 70))), np.eye(4, 1), np.zeros((6, 4))):
        assert np.array_equal(orthogonal_factor(matrix), np.eye(*matrix.shape))


@each_deficient
def test_dependent_columns_leave_orthonormal_ones(matrix: Callable[[], Matrix]) -> None:
    q = orthogonal_factor(matrix())

    assert np.isfinite(q).all()
    assert distance_from_orthonormal(q) <= 10


@each_deficient
def test_dependent_columns_are_still_factorised(matrix: Callable[[], Matrix]) -> None:
    q, a = orthogonal_factor(matrix()), matrix()

    r = product(q.mT, a)

    assert (np.abs(np.tril(r, -1)) <= 50 * EPSILON * np.linalg.norm(a, axis=0)).all()


def test_powers_of_two_on_columns_change_no_bit() -> None:
    matrix = entries(150, 100)
    scaled = np.ldexp(matrix, (np.arange(100) * 37 % 81) - 40)

    assert orthogonal_factor(scaled).tobytes() == orthogonal_factor(matrix).tobytes()


def test_stacks_are_factorised_one_by_one() -> None:
    stack = entries(2, 3, 90, 70)
    stack[1, 1, :, 5] = 0

    q = orthogonal_factor(stack)

    assert q.shape == stack.shape
    for place in np.ndindex(2, 3):
        assert q[place].tobytes() == orthogonal_factor(stack[place]).tobytes()


def test_an_empty_stack_has_no_factors() -> None:
    assert orthogonal_factor(np.empty((0, 4, 3))).shape == (0, 4, 3)


@pytest.mark.parametrize(("together", "tile"), [(1, 1), (500, 1000), (2**24, 2**24)])
def test_how_much_is_in_work_at_once_changes_no_bit(together: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = entries(40, 9, 4), entries(150, 130)
    expected = [orthogonal_factor(matrix).tobytes() for matrix in matrices]

    monkeypatch.setattr(factorisation, "TOGETHER", together)
    monkeypatch.setattr(products, "TILE", tile)

    assert [orthogonal_factor(matrix).tobytes() for matrix in matrices] == expected


@pytest.mark.parametrize("shape", [(130, 100), (3, 20, 20)], ids=str)
def test_layout_and_alignment_change_no_bit(shape: tuple[int, ...]) -> None:
    matrix = entries(*shape)
    memory = np.empty(matrix.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(shape)
    memory[...] = matrix
    layouts = [
        memory,
        np.asfortranarray(matrix),
        np.repeat(matrix, 2, -1)[..., ::2],
        matrix[..., ::-1].copy()[..., ::-1],
    ]

    expected = orthogonal_factor(matrix).tobytes()

    assert {orthogonal_factor(layout).tobytes() for layout in layouts} == {expected}


def test_the_matrix_stays_as_it_is() -> None:
    for matrix in (entries(100, 80), np.asfortranarray(entries(100, 80)), entries(5, 1), entries(1, 1)):
        copy = matrix.copy()
        matrix.setflags(write=False)

        q = orthogonal_factor(matrix)

        assert np.array_equal(matrix, copy)
        assert not np.shares_memory(q, matrix)


@pytest.mark.parametrize("name", FACTORISED)
def test_bits_never_change(name: str) -> None:
    assert matrices.sha(orthogonal_factor(FACTORISED[name]())) == GOLDEN[name]
