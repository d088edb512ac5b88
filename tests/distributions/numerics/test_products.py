"""Products against exact arithmetic, and their bits against everything that must have no part in them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from service.distributions.numerics import products
from service.distributions.numerics.products import BLOCK, add_product, product
from tests.distributions.numerics.matrices import entries

Matrix = NDArray[np.float64]

SHAPES: Final = [(1, 1, 1), (3, 5, 4), (2, 200, 3), (7, 1, 2)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def factors(rows: int, inner: int, columns: int) -> tuple[Matrix, Matrix]:
    return entries(rows, inner), entries(columns, inner).T.copy()


def uneven(matrix: Matrix) -> Matrix:
    """Rows and elements of all kinds of magnitudes, and zeros of both signs."""
    scaled = np.ldexp(matrix, np.arange(matrix.size).reshape(matrix.shape) * 7 % 71 - 35)
    scaled.flat[::5] = 0.0
    scaled.flat[3::7] = -0.0
    return scaled


def exact(left: Matrix, right: Matrix) -> Any:
    rationals = [np.array([Fraction(x) for x in m.flat], object).reshape(m.shape) for m in (left, right)]
    return rationals[0] @ rationals[1]


def moved(matrix: Matrix, offset: int) -> Matrix:
    """A copy that begins so many bytes after the start of some memory."""
    memory = np.empty(matrix.nbytes + offset, np.uint8)[offset:]
    copy = memory.view(np.float64).reshape(matrix.shape)
    copy[...] = matrix
    return copy


@each_shape
@pytest.mark.parametrize("kind", [np.array, uneven])
def test_products_are_the_exact_ones_within_a_rounding_of_rows_and_columns(
    shape: tuple[int, int, int], kind: Any
) -> None:
    left, right = (kind(factor) for factor in factors(*shape))

    found, expected = product(left, right), exact(left, right)

    most = shape[1] * np.abs(left).max(1, keepdims=True) * np.abs(right).max(0)
    for place, value in np.ndenumerate(found):
        bound = abs(expected[place]) / 2**53 + Fraction(most[place]) / 2**56
        assert abs(Fraction(value) - expected[place]) <= bound


def test_products_of_integers_are_exact() -> None:
    left, right = (np.trunc(factor * 2.0**15) for factor in factors(9, 100, 8))

    assert np.array_equal(product(left, right), exact(left, right).astype(np.float64))


def cut(matrix: Matrix, axis: int) -> Matrix:
    slices = np.empty((3, *matrix.shape))
    products._cut(matrix, axis, *slices)
    return slices


def test_slices_are_integers_of_twenty_bits_and_leave_next_to_nothing() -> None:
    matrix = uneven(entries(40, 30))

    for row, parts in zip(matrix, cut(matrix, -1).swapaxes(0, 1), strict=True):
        exponent = int(np.frexp(np.abs(row).max())[1])
        units = [Fraction(2) ** (exponent - 19 - 20 * place) for place in range(3)]
        for x, *slices in zip(row, *parts, strict=True):
            counts = [Fraction(part) / unit for part, unit in zip(slices, units, strict=True)]
            assert all(count.denominator == 1 and abs(count) <= 2**19 for count in counts)
            assert abs(Fraction(x) - sum(map(Fraction, slices))) <= units[2] / 2


def test_slices_of_columns_are_those_of_rows() -> None:
    matrix = uneven(entries(6, 5))

    assert np.array_equal(cut(matrix.T.copy(), -2), cut(matrix, -1).mT)


def test_the_order_of_terms_changes_no_bit() -> None:
    left, right = factors(20, BLOCK, 30)
    order = np.argsort(entries(BLOCK))

    assert product(left[:, order], right[order]).tobytes() == product(left, right).tobytes()


def test_sums_beyond_a_block_are_added_in_their_order() -> None:
    left, right = factors(3, 2 * BLOCK + 1, 4)
    blocks = [slice(0, BLOCK), slice(BLOCK, 2 * BLOCK), slice(2 * BLOCK, None)]

    first, second, third = (product(left[:, block], right[block]) for block in blocks)

    assert np.array_equal(product(left, right), (first + second) + third)


def test_the_widest_sums_that_can_be_are_exact() -> None:
    largest = 1 - 2.0**-53
    left = np.full((2, BLOCK), largest)
    left[1, ::2] *= -1

    found = product(left, left.T.copy())

    assert found[0, 1] == 0
    assert np.array_equal(found.diagonal(), [float(BLOCK * Fraction(largest) ** 2)] * 2)


@pytest.mark.parametrize("offset", [1, 8, 24])
def test_alignment_changes_no_bit(offset: int) -> None:
    left, right = factors(33, 65, 17)

    assert product(moved(left, offset), moved(right, offset)).tobytes() == product(left, right).tobytes()


def test_layout_changes_no_bit() -> None:
    left, right = factors(33, 65, 17)
    expected = product(left, right).tobytes()

    assert product(np.asfortranarray(left), np.asfortranarray(right)).tobytes() == expected
    assert product(np.repeat(left, 2, 1)[:, ::2], np.repeat(right, 3, 0)[::3]).tobytes() == expected


@pytest.mark.parametrize(("unit", "tile"), [(64, 1), (64, 2**24), (7, 1000), (300, 2**17)])
def test_the_sizes_of_work_change_no_bit(unit: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = factors(70, 200, 130)
    expected = product(left, right)

    monkeypatch.setattr(products, "UNIT", unit)
    monkeypatch.setattr(products, "TILE", tile)

    assert product(left, right).tobytes() == expected.tobytes()


def test_stacks_are_multiplied_one_by_one() -> None:
    left, right = entries(2, 3, 4, 5), entries(2, 3, 5, 6)

    found = product(left, right)

    assert found.shape == (2, 3, 4, 6)
    for place in np.ndindex(2, 3):
        assert found[place].tobytes() == product(left[place], right[place]).tobytes()


def test_zeros_are_zero_and_positive() -> None:
    left, right = factors(4, 6, 5)
    left[1], left[2], right[:, 3] = 0.0, -0.0, -0.0

    found = product(left, right)

    assert not found[1:3].any()
    assert not found[:, 3].any()
    assert not np.signbit(found[found == 0]).any()


def test_a_product_is_added_to_what_is_there() -> None:
    left, right = factors(4, 6, 5)
    there = entries(4, 5) / 3
    expected = there + product(left, right)

    assert add_product(left, right, out=there) is there
    assert np.array_equal(there, expected)


def test_factors_stay_as_they_are() -> None:
    left, right = factors(4, 6, 5)
    copies = left.copy(), right.copy()
    left.setflags(write=False)
    right.setflags(write=False)

    product(left, right)

    assert np.array_equal(left, copies[0])
    assert np.array_equal(right, copies[1])
