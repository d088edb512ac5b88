"""What holds of every distribution: any part of a draw is part of the whole, within its support, rounded once."""

from __future__ import annotations

from itertools import pairwise
from math import inf, isfinite
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.distributions import DISTRIBUTIONS as KINDS
from service.distributions.base import Distribution
from service.distributions.blockwise import Blockwise, Concatenated, Sum, summed
from service.distributions.elementwise import Constant, Normal, TruncatedNormal, Uniform
from service.distributions.orthogonal import Orthogonal
from service.distributions.structured import Identity, Sparse
from service.distributions.truncated import CutNormal
from service.stream.dtypes import DType, narrow, widen
from service.stream.words import MOST_WORDS, Elements, WordSource

SOURCE: Final = WordSource(11, "block.0.bias_ih_l0")
SUFFIXES: Final = ("bias_ih_l0", "bias_hh_l0")
COUNT: Final = 300
LENGTH: Final = 37
GATES: Final[tuple[Distribution, ...]] = (
    Uniform(-0.3, 0.3),
    Constant(0.7),
    Normal(0.5, 0.1),
    CutNormal(0.0, 0.2, -1.0, 3.0),
)
BLOCKS: Final = Blockwise(GATES, LENGTH)
ENDLESS: Final[tuple[Distribution, ...]] = (
    Uniform(-0.3, 0.3),
    Uniform(-1.0, 3.0),
    Normal(0.0, 0.02),
    Normal(1.5, 0.25),
    TruncatedNormal(0.0, 0.1),
    TruncatedNormal(-0.5, 2.0),
    Constant(0.7),
    CutNormal(0.0, 0.02, -2.5, 2.5),
    CutNormal(0.5, 2.0, -3.0, 1.0),
    CutNormal(0.0, 1.0, 0.0, inf),
    CutNormal(1.0, 0.1, -inf, -1.5),
    CutNormal(0.0, 0.1, 20.0, 21.0),
    CutNormal(0.0, 1.0, -inf, inf),
)
"""A word for each element, of which there are as many as anybody likes."""
SIZED: Final[tuple[tuple[Distribution, int], ...]] = (
    (Identity(-0.5, (6, 5), (0, 1)), 30),
    (Identity(0.1, (5, 4, 3), (0, 1), ((2, 1),)), 60),
    (Orthogonal(2.0, (7, 9), (), (0,)), 63),
    (Orthogonal(1.0, (3, 6, 4, 2), (0,), (1,), ((3, 1),)), 144),
    (Orthogonal(1.0, (6, 5, 4), (1,), (0,)), 120),
    (Sparse(0.5, 4, (10, 8), 0), 80),
    (Sparse(0.5, 4, (10, 8), 1), 80),
    (BLOCKS, 4 * LENGTH),
    (Sum(Normal(0.25, 0.5), Uniform(-1.0, 0.5), *SUFFIXES), 4 * LENGTH),
    (Concatenated(TruncatedNormal(0.0, 0.5), Uniform(-0.5, 1.0), *SUFFIXES, (1, 0, 2), LENGTH), 6 * LENGTH),
    (summed(BLOCKS, Blockwise(GATES[::-1], LENGTH), SUFFIXES), 4 * LENGTH),
)
EVERY: Final = (*((each, COUNT) for each in ENDLESS), *SIZED)
HALF: Final = MOST_WORDS // 2 + 5
LONG: Final[tuple[tuple[Distribution, int], ...]] = (
    (Normal(0.0, 1.0), 2 * MOST_WORDS + 3),
    (CutNormal(0.0, 1.0, -1.0, inf), MOST_WORDS + 3),
    (Orthogonal(1.0, (3, MOST_WORDS // 2 - 1), (), (0,)), 3 * (MOST_WORDS // 2 - 1)),
    (Sparse(1.0, 1, (3, MOST_WORDS // 2 - 1), 0), 3 * (MOST_WORDS // 2 - 1)),
    (Blockwise(GATES[:3], HALF), 3 * HALF),
    (Sum(Normal(0.25, 0.5), Uniform(-1.0, 0.5), *SUFFIXES), 3 * HALF),
    (Concatenated(Normal(0.0, 0.5), Uniform(-0.5, 1.0), *SUFFIXES, (2, 0, 1), HALF // 2), 6 * (HALF // 2)),
)
each_distribution = pytest.mark.parametrize(("distribution", "size"), EVERY, ids=[str(each) for each, _ in EVERY])


def drawn(distribution: Distribution, elements: Elements, dtype: DType) -> NDArray[Any]:
    out = np.empty(len(elements), dtype.storage)
    distribution.fill(SOURCE, elements, dtype, out)
    return out


def test_every_distribution_is_among_them() -> None:
    assert {type(distribution) for distribution, _ in EVERY} == set(KINDS)


@each_distribution
@settings(max_examples=40, deadline=None)
@given(st.sampled_from(DType), st.integers(0, 1 << 40), st.data())
def test_any_part_of_a_draw_is_a_part_of_the_whole(
    distribution: Distribution, size: int, dtype: DType, start: int, data: st.DataObject
) -> None:
    first = start if distribution in ENDLESS else 0
    cuts = data.draw(st.lists(st.integers(0, size), max_size=8))
    picked = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=60)), np.int64)
    whole = drawn(distribution, range(first, first + size), dtype)

    parts = [drawn(distribution, range(first + a, first + b), dtype) for a, b in pairwise([0, *sorted(cuts), size])]

    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert drawn(distribution, first + picked, dtype).tobytes() == whole[picked].tobytes()


@pytest.mark.parametrize(("distribution", "size"), LONG, ids=[type(each).__name__ for each, _ in LONG])
@pytest.mark.parametrize("dtype", [DType.F64, DType.BF16])
def test_a_draw_longer_than_one_call_for_words_is_its_parts(
    distribution: Distribution, size: int, dtype: DType
) -> None:
    whole = drawn(distribution, range(size), dtype)
    scattered = np.arange(size)[:: -(MOST_WORDS // 7)]

    for place in (0, HALF, MOST_WORDS, size):
        first, last = max(place - 3, 0), min(place + 4, size)
        assert drawn(distribution, range(first, last), dtype).tobytes() == whole[first:last].tobytes()
    assert drawn(distribution, scattered, dtype).tobytes() == whole[scattered].tobytes()


def test_more_scattered_elements_than_one_call_for_words_takes_are_those_of_a_range() -> None:
    count = 2 * MOST_WORDS + 3
    for dtype in (DType.F32, DType.F64):
        ranged, scattered = (drawn(Normal(0.0, 1.0), each, dtype) for each in (range(count), np.arange(count)))
        assert ranged.tobytes() == scattered.tobytes()


@each_distribution
def test_no_value_passes_the_support_and_all_that_is_promised_is_finite(distribution: Distribution, size: int) -> None:
    for dtype in DType:
        support = distribution.support(dtype)
        ends = np.array(support).astype(dtype.precision.floating)
        low, high = widen(narrow(ends, dtype, np.empty(2, dtype.storage)), dtype)
        # The parts of a sum are rounded before, each by half a unit of its dtype.
        is_sum = "Sum" in repr(distribution)
        unit = {DType.F8_E4M3: 2.0**-4, DType.F8_E5M2: 2.0**-3}.get(dtype, 2.0**-8) if is_sum else 0.0

        values = widen(drawn(distribution, range(size), dtype), dtype)

        assert distribution.fits(dtype)
        assert low - unit * abs(support[0]) <= values.min()
        assert values.max() <= high + unit * abs(support[1])
        assert all(isfinite(number) for number in (distribution.mean, distribution.std, *support))
        assert support[0] <= distribution.mean <= support[1]


@each_distribution
def test_a_narrow_draw_is_the_rounded_binary32_draw(distribution: Distribution, size: int) -> None:
    wide = drawn(distribution, range(size), DType.F32)

    for dtype in (each for each in DType if not each.drawn_directly and "Sum" not in repr(distribution)):
        rounded = narrow(wide, dtype, np.empty(size, dtype.storage))
        assert drawn(distribution, range(size), dtype).tobytes() == rounded.tobytes()


@each_distribution
def test_what_is_stored_in_the_other_byte_order_is_the_same(
    monkeypatch: pytest.MonkeyPatch, distribution: Distribution, size: int
) -> None:
    """So it is on machines whose own order is not that of the file."""
    for dtype in (each for each in DType if each.itemsize > 1):
        here = drawn(distribution, range(size), dtype)
        with monkeypatch.context() as patch:
            patch.setattr(dtype, "storage", dtype.storage.newbyteorder())
            there = drawn(distribution, range(size), dtype)

        assert there.dtype != here.dtype
        assert there.byteswap().tobytes() == here.tobytes()
