"""Keys and words, and that a word depends on its own index and on nothing else."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.stream.words import MOST_WORDS, SCATTERED_WORDS, WordSource, derive_key
from tests.stream import reference
from tests.stream.drawing import VECTORS, Array, copied_words

SOURCE = WordSource(seed=42, name="h.0.attn.c_attn.weight")
FAR = 1 << 52

quick = settings(max_examples=60, deadline=None)
seeds = st.integers(0, (1 << 64) - 1)
names = st.text(st.characters(codec="utf-8"), max_size=40)
each_width = pytest.mark.parametrize("bits", [32, 64])


def in_lane(vector: dict[str, Any], words: Array) -> list[int]:
    """Of 64-bit words the half that a lane is."""
    shift = 32 if vector["lane"] == 0 else 0
    return [int(word) >> shift & 0xFFFFFFFF for word in words]


@pytest.mark.parametrize("vector", VECTORS["keys"])
def test_a_key_is_the_one_of_the_known_answers(vector: dict[str, Any]) -> None:
    assert derive_key(int(vector["seed"]), vector["name"], vector["lane"]).hex() == vector["key"]


@pytest.mark.parametrize("vector", VECTORS["words"])
def test_words_of_a_range_and_of_indices_are_those_of_the_known_answers(vector: dict[str, Any]) -> None:
    source = WordSource(int(vector["seed"]), vector["name"])
    elements = range(vector["start"], vector["start"] + len(vector["words"]))

    assert in_lane(vector, source.words(elements, 64)) == vector["words"]
    assert in_lane(vector, source.words(np.array(elements), 64)) == vector["words"]
    if vector["lane"] == 0:
        assert source.words(elements, 32).tolist() == vector["words"]
        assert source.words(np.array(elements), 32).tolist() == vector["words"]


def test_a_decomposed_accent_is_another_name() -> None:
    assert derive_key(7, "\u00e9.weight") != derive_key(7, "e\u0301.weight")


@pytest.mark.parametrize(("seed", "lane"), [(-1, 0), (1 << 64, 0), (0, -1), (0, 1 << 64)])
def test_a_seed_or_lane_outside_64_bits_has_no_key(seed: int, lane: int) -> None:
    with pytest.raises(OverflowError):
        derive_key(seed, "w", lane)


@quick
@given(seeds, names, st.integers(0, (1 << 64) - 1))
def test_keys_are_those_of_the_independent_implementation(seed: int, name: str, lane: int) -> None:
    assert derive_key(seed, name, lane) == reference.key(seed, name, lane)


@quick
@given(seeds, names, st.integers(0, FAR), st.integers(1, 30))
def test_words_are_those_of_the_independent_implementation(seed: int, name: str, start: int, count: int) -> None:
    source, elements = WordSource(seed, name), range(start, start + count)

    assert source.words(elements, 32).tolist() == [reference.word(seed, name, index) for index in elements]
    assert source.words(elements, 64).tolist() == [reference.word64(seed, name, index) for index in elements]


@each_width
@quick
@given(start=st.integers(0, FAR), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_any_partition_of_a_range_is_the_range(bits: int, start: int, cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), 400]

    parts = [copied_words(SOURCE, range(start + a, start + b), bits) for a, b in pairwise(ends)]

    np.testing.assert_array_equal(np.concatenate(parts), SOURCE.words(range(start, start + 400), bits))


@each_width
@quick
@given(start=st.integers(0, FAR), picked=st.lists(st.integers(0, 399), max_size=200))
def test_any_indices_in_any_order_are_picked_from_the_whole(bits: int, start: int, picked: list[int]) -> None:
    whole = copied_words(SOURCE, range(start, start + 400), bits)
    places = np.array(picked, np.int64)

    np.testing.assert_array_equal(SOURCE.words(start + places, bits), whole[places])


@each_width
def test_as_many_words_as_one_call_gives_are_those_of_many_calls(bits: int) -> None:
    start, half = 3, MOST_WORDS // 2 + 1
    whole = copied_words(SOURCE, range(start, start + MOST_WORDS), bits)

    np.testing.assert_array_equal(whole[:half], SOURCE.words(range(start, start + half), bits))
    np.testing.assert_array_equal(whole[half:], SOURCE.words(range(start + half, start + MOST_WORDS), bits))


@each_width
def test_indices_beyond_one_batch_of_counters_are_picked_from_the_whole(bits: int) -> None:
    count = 2 * SCATTERED_WORDS + 5
    whole = copied_words(SOURCE, range(count), bits)
    backwards = np.arange(count, dtype=np.int64)[::-1]

    np.testing.assert_array_equal(SOURCE.words(backwards, bits), whole[backwards])


@each_width
def test_no_elements_have_no_words(bits: int) -> None:
    assert SOURCE.words(range(7, 7), bits).size == 0
    assert SOURCE.words(np.array([], np.int64), bits).size == 0


def test_a_64_bit_word_refines_the_32_bit_word() -> None:
    upper = copied_words(SOURCE, range(1000), 32)

    np.testing.assert_array_equal(SOURCE.words(range(1000), 64) >> np.uint64(32), upper)
