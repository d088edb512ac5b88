"""Rearrangements are what NumPy's take, transpose and reshape make of the canonical indices."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.plan.rearrangement import Rearrangement

Shape = tuple[int, ...]


@st.composite
def rearrangements(draw: st.DrawFn) -> Rearrangement:
    """Any order of axes; perhaps with gates in another order, one projection of several, or axes that are one."""
    view = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)))
    part = draw(st.none() | st.integers(0, view[0] - 1)) if len(view) > 1 else None
    order = draw(st.none() | st.permutations(range(view[0]))) if part is None else None
    axes = tuple(draw(st.permutations(range(0 if part is None else 1, len(view)))))
    shape = draw(st.none() | joined_axes(tuple(view[axis] for axis in axes)))
    return Rearrangement(view, axes, shape, None if order is None else tuple(order), part)


def joined_axes(shape: Shape) -> st.SearchStrategy[Shape]:
    """Shapes in which some neighbouring axes are one."""
    cuts = st.sets(st.integers(1, max(len(shape) - 1, 1)), max_size=len(shape))
    return cuts.map(
        lambda inner: tuple(prod(shape[a:b]) for a, b in pairwise([0, *sorted(inner), len(shape)]) if a < b)
    )


def by_numpy(rearrangement: Rearrangement) -> NDArray[np.int64]:
    """The canonical index of every arranged element."""
    indices = np.arange(prod(rearrangement.view)).reshape(rearrangement.view)
    if rearrangement.order is not None:
        indices = np.take(indices, rearrangement.order, axis=0)
    if rearrangement.part is not None:
        indices = np.take(indices, [rearrangement.part], axis=0)
    left_out = [0] if rearrangement.part is not None else []
    return indices.transpose([*left_out, *rearrangement.axes]).reshape(rearrangement.output_shape)


@settings(max_examples=150, deadline=None)
@given(rearrangements())
def test_the_indices_are_those_of_numpy(rearrangement: Rearrangement) -> None:
    expected = by_numpy(rearrangement)

    found = rearrangement.indices(0, expected.size)

    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected.reshape(-1))


@settings(max_examples=150, deadline=None)
@given(rearrangements(), st.data())
def test_the_indices_of_some_elements_are_some_of_the_indices(
    rearrangement: Rearrangement, data: st.DataObject
) -> None:
    expected = by_numpy(rearrangement).reshape(-1)
    first = data.draw(st.integers(0, expected.size))
    last = data.draw(st.integers(first, expected.size))

    np.testing.assert_array_equal(rearrangement.indices(first, last - first), expected[first:last])


@settings(max_examples=60, deadline=None)
@given(rearrangements())
def test_every_canonical_element_is_there_once_but_for_other_parts(rearrangement: Rearrangement) -> None:
    count = prod(rearrangement.output_shape)

    found = sorted(rearrangement.indices(0, count).tolist())

    assert found == list(range(rearrangement.first, rearrangement.first + count))
    assert count * (1 if rearrangement.part is None else rearrangement.view[0]) == prod(rearrangement.view)


@settings(max_examples=60, deadline=None)
@given(rearrangements())
def test_only_another_order_of_axes_is_a_permutation(rearrangement: Rearrangement) -> None:
    plain = (rearrangement.shape, rearrangement.order, rearrangement.part) == (None, None, None)

    assert rearrangement.permutes_only(rearrangement.view) == plain
    assert not rearrangement.permutes_only((*rearrangement.view, 2))


@pytest.mark.parametrize(
    ("rearrangement", "shape"),
    [
        (Rearrangement((3, 5), (1, 0)), (5, 3)),
        (Rearrangement((6, 2, 3, 5), (2, 3, 0, 1)), (3, 5, 6, 2)),
        (Rearrangement((4, 7, 5), (2, 0, 1), (5, 28)), (5, 28)),
        (Rearrangement((3, 3, 4, 12), (3, 1, 2), part=1), (12, 3, 4)),
    ],
    ids=["linear", "depthwise", "recurrent", "projection"],
)
def test_the_shape_is_that_of_the_arranged_tensor(rearrangement: Rearrangement, shape: Shape) -> None:
    assert rearrangement.output_shape == by_numpy(rearrangement).shape == shape


@pytest.mark.parametrize("first", [0, 1, 2**31 - 4, 2**31 - 1, 2**32 - 12, 3 * (2**31 - 1) - 10])
def test_a_piece_of_a_row_takes_no_more_memory_than_it_is_long(first: int) -> None:
    rows, columns = 3, 2**31 - 1
    rearrangement = Rearrangement((columns, rows), (1, 0))
    tracemalloc.start()
    try:
        found = rearrangement.indices(first, 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found.tolist() == [at % columns * rows + at // columns for at in range(first, first + 10)]
    assert peak < 100_000
