"""Words to values: held against the independent implementation, against exact quantiles, and against each other."""

from __future__ import annotations

from statistics import NormalDist
from typing import Final

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.stream import quantiles
from service.stream.precision import BINARY32, BINARY64, Precision
from service.stream.words import WordSource
from tests.stream import reference
from tests.stream.drawing import DISTRIBUTIONS, PRECISIONS, Array, copied_words, random_words, values_of

REFERENCES: Final = {32: reference.BINARY32, 64: reference.BINARY64}
LARGEST: Final = {32: 1e37, 64: 1e306}
SMALLEST: Final = {32: 2.0**-149, 64: 2.0**-1074}
RELATIVE_ERROR: Final = {32: 6e-7, 64: 2e-15}  # the largest found: 5.2e-7 near 1.87, 1.4e-15 with NormalDist's own
STANDARD: Final = NormalDist()
TAIL: Final = STANDARD.cdf(-2)

quick = settings(max_examples=60, deadline=None)
each_precision = pytest.mark.parametrize("p", PRECISIONS, ids=["binary32", "binary64"])
each_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS)


def words_strategy(p: Precision) -> st.SearchStrategy[list[int]]:
    """Words of every size, those of the farthest tails as often as those of the middle."""
    top = 1 << (p.bits - 1)
    near_the_ends = st.integers(0, p.bits - 1).flatmap(lambda bits: st.integers(0, (1 << bits) - 1))
    word = st.one_of(
        st.integers(0, 2 * top - 1),
        near_the_ends.map(lambda far: (top - 1) ^ far),
        near_the_ends.map(lambda far: top ^ far),
        near_the_ends,
    ).map(lambda word: word % (2 * top))
    return st.lists(word, min_size=1, max_size=20)


def scales_strategy(p: Precision) -> st.SearchStrategy[float]:
    return st.floats(SMALLEST[p.bits], LARGEST[p.bits])


def means_strategy(p: Precision) -> st.SearchStrategy[float]:
    return st.one_of(st.just(0.0), st.floats(-LARGEST[p.bits], LARGEST[p.bits]))


def bits_of(values: Array) -> list[int]:
    return [int(bits) for bits in values.view(f"u{values.itemsize}")]


def reference_bits(values: list[float], p: Precision) -> list[int]:
    return bits_of(np.array(values, p.floating))


@each_precision
@quick
@given(st.data())
def test_normal_values_are_those_of_the_independent_implementation(p: Precision, data: st.DataObject) -> None:
    words = data.draw(words_strategy(p))
    mean, std = data.draw(means_strategy(p)), data.draw(scales_strategy(p))

    values = quantiles.normal(np.array(words, p.word), mean, std, p, np.empty(len(words), p.floating))

    f = REFERENCES[p.bits]
    assert bits_of(values) == reference_bits([reference.normal(word, mean, std, f) for word in words], p)


@each_precision
@quick
@given(st.data())
def test_truncated_normal_values_are_those_of_the_independent_implementation(p: Precision, data: st.DataObject) -> None:
    words = data.draw(words_strategy(p))
    mean, std = data.draw(means_strategy(p)), data.draw(scales_strategy(p))

    values = quantiles.truncated_normal(np.array(words, p.word), mean, std, p, np.empty(len(words), p.floating))

    f = REFERENCES[p.bits]
    assert bits_of(values) == reference_bits([reference.truncated_normal(word, mean, std, f) for word in words], p)


@each_precision
@quick
@given(st.data())
def test_uniform_values_are_those_of_the_independent_implementation(p: Precision, data: st.DataObject) -> None:
    words = data.draw(words_strategy(p))
    middle, half = data.draw(means_strategy(p)), data.draw(scales_strategy(p))
    low, high = middle - half, middle + half
    # An end that underflows to zero leaves open which zero a value of the other sign is clamped to.
    assume(low < high)
    assume(middle == 0 or min(abs(p.floating(low)), abs(p.floating(high))) > 0)

    values = quantiles.uniform(np.array(words, p.word), low, high, p, np.empty(len(words), p.floating))

    f = REFERENCES[p.bits]
    assert bits_of(values) == reference_bits([reference.uniform(word, low, high, f) for word in words], p)


@each_distribution
@each_precision
def test_many_values_are_those_of_the_independent_implementation(p: Precision, distribution: str) -> None:
    words = random_words(p, 5_000)
    f = REFERENCES[p.bits]

    def value(word: int) -> float:
        if distribution == "uniform":
            return reference.uniform(word, 0.25 - 0.1, 0.25 + 0.1, f)
        draw = reference.normal if distribution == "normal" else reference.truncated_normal
        return draw(word, 0.25, 0.1, f)

    assert bits_of(values_of(distribution, words, p, 0.1, 0.25)) == reference_bits(
        [value(int(word)) for word in words], p
    )


@each_distribution
@each_precision
@quick
@given(st.data())
def test_the_complement_of_a_word_has_the_negative_value_bit_for_bit(
    p: Precision, distribution: str, data: st.DataObject
) -> None:
    words = np.array(data.draw(words_strategy(p)), p.word)
    scale = data.draw(scales_strategy(p))

    np.testing.assert_array_equal(
        bits_of(values_of(distribution, ~words, p, scale)), bits_of(-values_of(distribution, words, p, scale))
    )


@each_precision
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_folding_the_unit_into_the_scale_rounds_as_the_two_steps_do(p: Precision, data: st.DataObject) -> None:
    least, most = SMALLEST[p.bits], float(np.finfo(p.floating).max)
    nearly_subnormal = float(np.finfo(p.floating).tiny) * 2.0**26
    scale = p.floating(data.draw(st.floats(least, most) | st.floats(least, nearly_subnormal)))
    words = np.concatenate([np.array(data.draw(words_strategy(p)), p.word), random_words(p, 200)])

    k = words.view(p.signed) >> p.signed(p.shift) | p.signed(1)
    in_two_steps = (k.astype(p.floating) * p.unit) * scale

    values = quantiles._fraction(words.copy(), scale, p, np.empty(words.size, p.floating))
    np.testing.assert_array_equal(values.view(p.word), in_two_steps.view(p.word))


@pytest.mark.parametrize("scale", [1e-40, 1e-45, 1e-38, 2.0**-126, 2.0**-102, 2.0**-103, 3.4028234e38])
def test_tiny_and_huge_binary32_scales_are_not_lost_in_the_folding(scale: float) -> None:
    words = random_words(BINARY32, 5000)

    assert bits_of(values_of("uniform", words, BINARY32, scale)) == reference_bits(
        [reference.uniform(int(word), -scale, scale, reference.BINARY32) for word in words], BINARY32
    )


def test_a_binary64_fraction_refines_the_binary32_fraction() -> None:
    source, elements = WordSource(3, "w"), range(1 << 18)

    coarse = values_of("uniform", copied_words(source, elements, 32), BINARY32).astype(np.float64)
    fine = values_of("uniform", copied_words(source, elements, 64), BINARY64)

    assert np.abs(fine - coarse).max() < 2.0**-24


@each_precision
def test_normal_values_are_within_their_stated_error_of_the_exact_quantile(p: Precision) -> None:
    top = 1 << (p.bits - 1)
    deep_tail = [((top - 1) ^ far) % (2 * top) for bits in range(p.bits - 1) for far in (1 << bits, 3 << bits >> 1)]
    words = np.concatenate([random_words(p, 8_000), np.array(deep_tail, p.word)]) & p.word(top - 1)

    values = values_of("normal", words, p)

    assert np.abs(values / exact_normal_quantiles(words, p) - 1).max() < RELATIVE_ERROR[p.bits]


def exact_normal_quantiles(words: Array, p: Precision) -> Array:
    """For words of positive values: the quantile of the lower tail, where a probability loses nothing in binary64."""
    k = [int(word) >> p.shift | 1 for word in words]
    middle = [0.5 - n * 2.0 ** -(p.bits - p.shift) for n in k]
    tail = [((1 << (p.bits - 1)) - 1 - int(word) << 1 | 1) * 2.0 ** -(p.bits + 1) for word in words]
    return np.array([-STANDARD.inv_cdf(t if t < TAIL else m) for t, m in zip(tail, middle, strict=True)])


@each_precision
def test_no_truncated_value_reaches_two_sigmas(p: Precision) -> None:
    ends = np.array([0, 1, (1 << (p.bits - 1)) - 1, 1 << (p.bits - 1), (1 << p.bits) - 1], p.word)

    values = values_of("truncated_normal", np.concatenate([ends, random_words(p, 1 << 16)]), p)

    assert np.abs(values).max() < 2


@each_precision
def test_the_largest_normal_value_is_the_stated_one(p: Precision) -> None:
    ends = np.array([(1 << (p.bits - 1)) - 1, 1 << (p.bits - 1)], p.word)
    most = float.fromhex(p.most_sigmas)

    assert values_of("normal", ends, p).tolist() == [most, -most]
    assert np.abs(values_of("normal", random_words(p, 1 << 16), p)).max() <= most


@each_precision
def test_no_fraction_is_zero_or_reaches_one(p: Precision) -> None:
    ends = np.array([0, (1 << (p.bits - 1)) - 1, 1 << (p.bits - 1), (1 << p.bits) - 1], p.word)

    unit = float(p.unit)
    assert values_of("uniform", ends, p).tolist() == [unit, 1 - unit, unit - 1, -unit]


@each_precision
@quick
@given(st.data())
def test_uniform_values_stay_within_their_rounded_ends(p: Precision, data: st.DataObject) -> None:
    words = np.array(data.draw(words_strategy(p)), p.word)
    ends = data.draw(st.lists(means_strategy(p), min_size=2, max_size=2, unique=True).map(sorted))
    low, high = ends
    assume(low < high)

    values = quantiles.uniform(words, low, high, p, np.empty(words.size, p.floating))

    assert p.floating(low) <= values.min()
    assert values.max() <= p.floating(high)


@pytest.mark.parametrize(
    ("p", "low", "high"),
    [(BINARY32, 0.4, 0.9), (BINARY32, -0.7, -0.5), (BINARY64, 0.98, 1.45), (BINARY64, -1.16, -0.98)],
)
def test_a_value_that_rounds_past_an_end_is_clamped_to_it(p: Precision, low: float, high: float) -> None:
    """Here half width and midpoint round so that their sum or difference, at the extreme words, passes an end."""
    ends = np.array([(1 << (p.bits - 1)) - 1, 1 << (p.bits - 1)], p.word)

    greatest, least = quantiles.uniform(ends, low, high, p, np.empty(2, p.floating))

    half, middle, most = p.floating((high - low) / 2), p.floating((high + low) / 2), 1 - p.unit
    assert middle + most * half > p.floating(high) or middle - most * half < p.floating(low)
    assert p.floating(low) <= least < greatest <= p.floating(high)
