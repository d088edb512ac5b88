"""Values of cut normals: held against a scalar implementation, against exact probabilities, and against each other."""

from __future__ import annotations

import math
import struct
from decimal import Decimal, localcontext
from hashlib import sha256
from math import inf, nextafter
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.distributions.numerics.probabilities import tail_probabilities
from service.stream import truncation
from service.stream.precision import BINARY32, BINARY64, Precision
from service.stream.truncation import TAIL_P, TAIL_Q, Cut, cut_normal
from tests.distributions.numerics.test_probabilities import centred, density, exact_context
from tests.stream import reference
from tests.stream.drawing import random_words, values_of

Array = NDArray[Any]

CUTS: Final = (
    (-2.5, 2.5),
    (-2.0, 2.0),
    (-inf, inf),
    (0.0, inf),
    (-inf, 0.0),
    (1.0, inf),
    (-2.0, 3.0),
    (-0.5, 6.0),
    (-9.0, 1.0),
    (0.5, 2.0),
    (1.9, 2.1),
    (2.0, inf),
    (-inf, nextafter(-2.0, -3.0)),
    (3.0, inf),
    (8.0, inf),
    (20.0, 21.0),
    (36.0, inf),
    (-36.0, -35.9),
    (-1e-3, 2e-3),
    (-1e-12, 2e-12),
    (1.0, 1.0 + 1e-9),
    (5.0, nextafter(5.0, 6.0)),
)
TAIL_PROBABILITIES: Final = tuple((1 + step / 8) * 2.0**-exponent for exponent in range(7, 1022) for step in range(8))
WORDS: Final = {32: np.uint32, 64: np.uint64}
RELATIVE_ERROR: Final = 1.5e-15  # the largest found, over 120,000 values of 160 cuts: 1.25e-15
BACKWARD_STEP: Final = 16  # in units in the last place; the largest found is 8, where a cut crosses 2 sigmas

quick = settings(max_examples=60, deadline=None)
each_cut = pytest.mark.parametrize(("low", "high"), CUTS)
each_width = pytest.mark.parametrize("bits", [32, 64])


def cut_at(low: float, high: float) -> Cut:
    return Cut(low, high, **tail_probabilities(low, high)._asdict())


def draw(words: Array, cut: Cut, mean: float = 0.0, std: float = 1.0, floating: type[Any] = np.float64) -> Array:
    """Values for some words, which are left as they are; nothing overflows, underflows or is invalid on the way.

    But for the rounding to binary32 itself, which may underflow where a cut is very narrow.
    """
    with np.errstate(all="raise", under="raise" if floating is np.float64 else "ignore"):
        return cut_normal(words.copy(), cut, mean, std, np.empty(words.size, floating))


def some_words(bits: int, count: int, seed: int = 1) -> Array:
    """Random words, and those of the farthest fractions on both sides and of the nearest to 0."""
    top = 1 << (bits - 1)
    near = [number for bit in range(bits - 1) for number in (1 << bit, (1 << bit) - 1)]
    extreme = [word for n in near for word in (top - 1 - n, top + n, n, 2 * top - 1 - n)]
    return np.concatenate([np.array(extreme, WORDS[bits]), random_words(precision(bits), count, seed)])


def precision(bits: int) -> Precision:
    return BINARY32 if bits == 32 else BINARY64


def bits_of(values: Array) -> list[int]:
    return [int(number) for number in values.view(f"u{values.itemsize}")]


# The scalar implementation: Python's own floats and integers, written from the description.

B64: Final = reference.BINARY64
P: Final = reference.hexadecimal(
    "0x1.0000000000000p+1 0x1.ebe0ce9914dadp+1 0x1.8103ffa62cbdfp+1 0x1.44a2d825396e3p+0 0x1.4503ad72243f1p-2"
    " 0x1.8e4037c4859d4p-5 0x1.271d0e2014454p-8 0x1.f718dcb14afacp-13 0x1.c063d847e6dbep-18 0x1.61554073860f3p-24"
    " 0x1.570e1fb9e87b3p-32"
)
Q: Final = reference.hexadecimal(
    "0x1.0000000000000p+0 0x1.5784ac162c504p+0 0x1.7e1d57e087e18p-1 0x1.c8a79a8548dd0p-3 0x1.3cd92a41dbf5fp-5"
    " 0x1.00f76cb51d70dp-8 0x1.d2cf8ddaac4b2p-13 0x1.b184093a6d92ep-18 0x1.5da65285ea96ap-24 0x1.570df89237aa6p-32"
)


def integer(word: int, bits: int) -> int:
    signed = word - (1 << bits) if word >> (bits - 1) else word
    return (2 * signed + 1) << 30 if bits == 32 else signed >> 1 | 1


def upper_quantile(t: float) -> float:
    b = B64.bits_of(t) - B64.m
    m = B64.from_bits((b & ((1 << 52) - 1)) + B64.m)
    q = (m - 1) / (m + 1)
    minus_two_log = reference.horner(B64.lg, q * q, B64) * q + float(b >> 52) * B64.h
    u = math.sqrt(minus_two_log) - B64.s0
    return reference.horner(P, u, B64) / reference.horner(Q, u, B64)


def quantile(k: int, cut: Cut) -> float:
    y = float(k - cut.anchor * 2**62) * (cut.slope * 2.0**-62) + cut.origin
    r = 1 - y * y
    if r >= 0:
        return reference.central(y, r, B64)
    distance, beyond = (2**62 - k, cut.above) if y > 0 else (2**62 + k, cut.below)
    return math.copysign(upper_quantile(float(distance) * (cut.half * 2.0**-62) + beyond), y)


def scalar_value(word: int, bits: int, cut: Cut, mean: float, std: float) -> float:
    value = min(max(quantile(integer(word, bits), cut), cut.low), cut.high) * std
    return value if mean == 0 else value + mean


@each_cut
@each_width
def test_values_are_those_of_the_scalar_implementation(bits: int, low: float, high: float) -> None:
    words, cut = some_words(bits, 2000), cut_at(low, high)

    values = draw(words, cut, 0.25, 0.1)

    expected = [scalar_value(int(word), bits, cut, 0.25, 0.1) for word in words]
    assert bits_of(values) == bits_of(np.array(expected))


@quick
@given(st.data())
def test_values_of_any_cut_are_those_of_the_scalar_implementation(data: st.DataObject) -> None:
    bits = data.draw(st.sampled_from([32, 64]))
    words = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=20))
    cut = data.draw(cuts())
    mean, std = data.draw(st.just(0.0) | st.floats(-1e30, 1e30)), data.draw(st.floats(1e-30, 1e30))

    values = draw(np.array(words, WORDS[bits]), cut, mean, std)

    assert bits_of(values) == bits_of(np.array([scalar_value(word, bits, cut, mean, std) for word in words]))


@st.composite
def cuts(draw_one: st.DrawFn) -> Cut:
    """Any ends, far out, near to each other and on both sides, and infinite ones."""
    low = draw_one(st.floats(-35.9, 35.9) | st.just(-inf))
    high = draw_one(st.floats(-35.9, 35.9) | st.just(inf) | st.floats(1e-9, 1e-3).map(lambda width: low + width))
    assume(high - low > 1e-100)
    try:
        return cut_at(low, high)
    except ValueError:
        reject()


def test_the_constants_are_those_of_the_description() -> None:
    assert tuple(map(float, TAIL_P)) == P
    assert tuple(map(float, TAIL_Q)) == Q
    assert truncation.UNIT == 2.0**-62


@each_cut
def test_values_are_within_their_stated_error_of_the_exact_quantile(low: float, high: float) -> None:
    """Relative to the value, or to the ends where the values between them may be nearer to 0 than to an end."""
    cut, words = cut_at(low, high), np.concatenate([some_words(64, 0)[::5], random_words(BINARY64, 100, seed=3)])

    for word, value in zip(words, draw(words, cut).tolist(), strict=True):
        scale = max(abs(value), min(high, 1.0) - max(low, -1.0)) if low < 0 < high else abs(value)
        assert abs(error(value, integer(int(word), 64), cut)) <= RELATIVE_ERROR * scale


def error(value: float, k: int, cut: Cut) -> float:
    """How far a value is from the exact quantile: by how much its probability is wrong, over the density."""
    if abs(value) >= 2:
        beyond, distance = (cut.above, 2**62 - k) if value > 0 else (cut.below, 2**62 + k)
        return tail_error(abs(value), beyond + cut.half * (distance / 2**62))
    low, high = max(cut.low, -12.0), min(cut.high, 12.0)  # what lies farther out is nothing beside what is central
    with localcontext(exact_context(low, high)):
        at_low, at_high = centred(low), centred(high)
        wanted = (at_low + at_high) / 2 + (at_high - at_low) / 2 * (Decimal(k) / 2**62)
        return float((centred(value) - wanted) / density(value))


def tail_error(value: float, t: float) -> float:
    """By libm, of whose error in a probability little is left in the value."""
    found = math.erfc(value / math.sqrt(2)) / 2
    return (1 - found / t) * (t / (math.exp(-value * value / 2) / math.sqrt(2 * math.pi)))


def test_the_tail_is_within_its_stated_error_as_far_as_binary64_goes() -> None:
    for t in TAIL_PROBABILITIES:
        value = upper_quantile(t)
        assert abs(tail_error(value, t)) < RELATIVE_ERROR * value


@quick
@given(cut=cuts(), mean=st.integers(-(10**6), 10**6), std=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
def test_no_value_passes_an_end_after_scaling_and_rounding(cut: Cut, mean: int, std: float, seed: int) -> None:
    ends = np.array([mean + cut.low * std, mean + cut.high * std])
    for floating in (np.float64, np.float32):
        low, high = ends.astype(floating)
        for bits in (32, 64):
            values = draw(some_words(bits, 50, seed), cut, mean, std, floating)

            assert low <= values.min()
            assert values.max() <= high


@pytest.mark.parametrize(("low", "high"), [(3.0, 4.0), (-1.7, -1.2), (-0.3, 0.7), (1.0, 1.0 + 1e-9), (-1e-3, 2e-3)])
def test_a_value_that_rounds_past_an_end_is_clamped_to_it(low: float, high: float) -> None:
    words, cut = some_words(64, 1 << 12), cut_at(low, high)
    unclamped = [quantile(integer(int(word), 64), cut) for word in words]

    assert min(unclamped) < low or max(unclamped) > high
    assert {low, high} & set(draw(words, cut).tolist())


@each_cut
@each_width
def test_the_mirrored_cut_has_the_negative_values_for_complements(bits: int, low: float, high: float) -> None:
    words = some_words(bits, 1 << 12)

    mirrored = draw(~words, cut_at(-high, -low), -0.75, 0.3)

    np.testing.assert_array_equal(mirrored, -draw(words, cut_at(low, high), 0.75, 0.3))


@pytest.mark.parametrize(("low", "high"), [cut for cut in CUTS if cut[1] - cut[0] > 1e-5])
def test_binary32_values_rise_with_the_word(low: float, high: float) -> None:
    near = np.concatenate([np.arange(-500, 500) + (middle << 24) for middle in range(-127, 128, 9)])
    words = np.sort(np.concatenate([some_words(32, 1 << 14).view(np.int32), near.astype(np.int32)]))

    values = draw(words.view(np.uint32), cut_at(low, high), 0.0, 1.0, np.float32)

    assert (np.diff(values) >= 0).all()


@each_cut
def test_a_word_of_32_bits_has_a_value_amid_those_of_64_bits_that_begin_with_it(low: float, high: float) -> None:
    words, cut = some_words(32, 2000), cut_at(low, high)
    wide = words.astype(np.uint64) << np.uint64(32)

    least, greatest = draw(wide, cut), draw(wide | np.uint64(0xFFFFFFFF), cut)
    values = draw(words, cut)

    assert (least - BACKWARD_STEP * np.spacing(np.abs(least)) <= values).all()
    assert (values <= greatest + BACKWARD_STEP * np.spacing(np.abs(greatest))).all()


@each_width
def test_binary32_values_are_the_binary64_values_rounded_once(bits: int) -> None:
    words = some_words(bits, 1 << 12)
    for low, high in CUTS:
        wide = draw(words, cut_at(low, high), 1.5, 0.7)

        np.testing.assert_array_equal(draw(words, cut_at(low, high), 1.5, 0.7, np.float32), wide.astype(np.float32))


@pytest.mark.parametrize(("distribution", "low", "high"), [("truncated_normal", -2.0, 2.0), ("normal", -inf, inf)])
def test_what_the_contract_draws_too_is_the_same_but_for_last_places(
    distribution: str, low: float, high: float
) -> None:
    words = random_words(BINARY64, 1 << 16)

    np.testing.assert_allclose(
        draw(words, cut_at(low, high)), values_of(distribution, words, BINARY64), rtol=2e-15, atol=1e-15
    )


def test_a_cut_so_narrow_that_a_square_underflows_is_drawn_right() -> None:
    words, cut = some_words(64, 1000), cut_at(0.0, 1e-200)

    values = cut_normal(words.copy(), cut, 0.0, 1.0, np.empty(words.size))

    assert bits_of(values) == bits_of(np.array([scalar_value(int(word), 64, cut, 0.0, 1.0) for word in words]))


def test_no_words_have_no_values() -> None:
    assert draw(np.empty(0, np.uint32), cut_at(-1.0, inf)).size == 0


GOLDEN: Final = {
    32: "84315a86c1a024e26682eb9e9fb78af1665e6e659718fd4f35a624d3eae14784",
    64: "7d1cd8f39b8b6d908cc7157bf8d3a31cb74642bd5b875472d2099be2fe533452",
}


@each_width
def test_many_values_have_the_bytes_that_they_always_had(bits: int) -> None:
    """Every cut of the list, one after the other, in binary64; a word of 32 bits is the upper half of one of 64."""
    words = (golden_words() >> np.uint64(64 - bits)).astype(WORDS[bits])
    values = [draw(words, cut_at(low, high), 0.5, 0.25) for low, high in CUTS]

    assert sha256(np.concatenate(values).astype("<f8").tobytes()).hexdigest() == GOLDEN[bits]


def golden_words() -> NDArray[np.uint64]:
    """W(j) = j . 0x9E3779B97F4A7C15 mod 2^64 for j < 2^14; then for s < 63 the words near both ends and near 0."""
    spread = np.arange(1 << 14, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    small = [int(spread[s]) >> (1 + s) for s in range(63)]
    near = [word for n in small for word in ((2**63 - 1) ^ n, 2**63 ^ n, n, 2**64 - 1 - n)]
    return np.concatenate([spread, np.array(near, np.uint64)])


@pytest.mark.parametrize(
    ("low", "high", "word", "bits"),
    [
        (-2.5, 2.5, 0, "3c13cdd1b3783f33"),
        (-2.5, 2.5, 2**63 - 1, "4003ffffffffffff"),
        (0.0, inf, 2**63, "3c040d931ff62709"),
        (0.0, inf, 2**63 - 1, "4022290a17afe0c0"),
        (-2.0, 3.0, 2**63, "c000000000000000"),
        (-0.5, 6.0, 0x9E3779B97F4A7C15, "bfd1d9cdcb241b33"),
        (3.0, inf, 2**63, "4008000000000000"),
        (3.0, inf, 0, "4009a4284354afea"),
        (3.0, inf, 2**63 - 1, "402367f1d9e49e6c"),
        (36.0, inf, 2**63 - 1, "4042989f2d897c74"),
    ],
)
def test_single_words_have_the_bits_of_the_description(low: float, high: float, word: int, bits: str) -> None:
    (value,) = draw(np.array([word], np.uint64), cut_at(low, high))

    assert struct.pack(">d", value).hex() == bits
