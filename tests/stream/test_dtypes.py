"""The one rounding to the narrow dtypes, held against ml_dtypes, `struct` and the independent implementation."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Final

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.stream.dtypes import DType, narrow, widen
from tests.stream import reference
from tests.stream.drawing import NARROW, Array

THEIRS: Final[dict[DType, Any]] = {
    DType.F16: np.float16,
    DType.BF16: ml_dtypes.bfloat16,
    DType.F8_E4M3: ml_dtypes.float8_e4m3fn,
    DType.F8_E5M2: ml_dtypes.float8_e5m2,
}
each_narrow_dtype = pytest.mark.parametrize("dtype", NARROW)
each_dtype = pytest.mark.parametrize("dtype", DType)


def finite(bits: Array) -> Array:
    values = bits.astype(np.uint32).view(np.float32)
    return np.ascontiguousarray(values[np.isfinite(values)])


def every_code(dtype: DType) -> Array:
    return np.arange(1 << 8 * dtype.itemsize).astype(f"u{dtype.itemsize}").view(dtype.storage)


def ours(values: Array, dtype: DType) -> Array:
    with np.errstate(over="ignore"):
        return narrow(values, dtype, np.empty(values.size, dtype.storage))


def theirs(values: Array, dtype: DType) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(THEIRS[dtype]).view(dtype.storage)


def assert_rounded_as_theirs(values: Array, dtype: DType) -> None:
    np.testing.assert_array_equal(ours(values, dtype), theirs(values, dtype))


@each_narrow_dtype
@pytest.mark.parametrize("low", [0x0000, 0x7FFF, 0x8000, 0x8001, 0xFFFF], ids=hex)
def test_every_upper_half_and_those_beside_a_tie_are_rounded_as_ml_dtypes_does(dtype: DType, low: int) -> None:
    assert_rounded_as_theirs(finite((np.arange(1 << 16, dtype=np.uint32) << 16) | low), dtype)


@each_narrow_dtype
@pytest.mark.parametrize("low", [0x0000, 0x0FFF, 0x1000, 0x1001, 0x1FFF], ids=hex)
def test_every_tie_of_a_16_bit_float_is_rounded_as_ml_dtypes_does(dtype: DType, low: int) -> None:
    assert_rounded_as_theirs(finite((np.arange(1 << 19, dtype=np.uint32) << 13) | low), dtype)


@each_narrow_dtype
def test_random_bits_are_rounded_as_ml_dtypes_does(dtype: DType) -> None:
    bits = np.random.default_rng(5).integers(0, 1 << 32, 1 << 20, np.uint32)

    assert_rounded_as_theirs(finite(bits), dtype)


@each_narrow_dtype
def test_ties_between_subnormals_go_to_the_even_one(dtype: DType) -> None:
    steps = {DType.F16: -24, DType.BF16: -133, DType.F8_E4M3: -9, DType.F8_E5M2: -16}
    halves = (np.array([0.5, 1.5, 2.5, 3.5]) * 2.0 ** steps[dtype]).astype(np.float32)

    assert ours(halves, dtype).view(f"u{dtype.itemsize}").tolist() == [0, 2, 2, 4]


@each_narrow_dtype
@settings(max_examples=300, deadline=None)
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_any_value_is_rounded_as_the_independent_implementation_does(dtype: DType, value: float) -> None:
    assert ours(np.array([value], np.float32), dtype).tobytes() == reference.stored(value, dtype)


@each_narrow_dtype
def test_every_code_widens_to_what_ml_dtypes_says_it_is(dtype: DType) -> None:
    codes = every_code(dtype)

    np.testing.assert_array_equal(widen(codes, dtype), codes.view(THEIRS[dtype]).astype(np.float32))


@each_narrow_dtype
def test_narrowing_undoes_widening_for_every_finite_code(dtype: DType) -> None:
    codes = every_code(dtype)
    codes = codes[np.isfinite(widen(codes, dtype))]

    np.testing.assert_array_equal(ours(widen(codes, dtype), dtype), codes)


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64])
def test_the_dtypes_that_are_drawn_directly_are_stored_as_they_are(dtype: DType) -> None:
    values = np.array([0.1, -0.0, 5e-324, 1e30], dtype.storage)

    assert dtype.drawn_directly
    assert narrow(values, dtype, np.empty(4, dtype.storage)).tobytes() == values.tobytes()
    assert widen(values, dtype).tobytes() == values.tobytes()


@each_narrow_dtype
def test_the_sign_of_zero_is_kept(dtype: DType) -> None:
    assert [math.copysign(1, value) for value in widen(ours(np.array([0.0, -0.0], "f4"), dtype), dtype)] == [1, -1]


def test_dtypes_have_their_sizes_and_are_little_endian() -> None:
    assert {dtype.value: dtype.storage.str.replace("|", "<") for dtype in DType} == {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": "<u2",
        "F8_E4M3": "<u1",
        "F8_E5M2": "<u1",
    }
    assert all(dtype.itemsize == dtype.storage.itemsize for dtype in DType)


@each_dtype
def test_only_f64_is_drawn_in_binary64(dtype: DType) -> None:
    assert dtype.precision.bits == (64 if dtype is DType.F64 else 32)


# Steps from value to value.


def magnitudes(dtype: DType) -> Array:
    """Every finite value from zero up; of the wide dtypes those around each power of two."""
    if dtype in NARROW:
        codes = np.arange(1 << (8 * dtype.itemsize - 1))
    else:
        binades = np.arange(0, 255 << 23, 1 << 23) if dtype is DType.F32 else np.arange(0, 2047 << 52, 1 << 52)
        codes = np.sort(np.concatenate([binades, binades + 1, binades[1:] - 1]))
    with np.errstate(invalid="ignore"):  # of NaN
        values: Array = widen(codes.astype(f"<u{dtype.itemsize}").view(dtype.storage), dtype).astype(np.float64)
    return values[np.isfinite(values)]


@each_narrow_dtype
def test_a_code_counts_the_values_from_zero(dtype: DType) -> None:
    values = magnitudes(dtype).tolist()

    assert [dtype.code(value) for value in values] == list(range(len(values)))
    assert [dtype.code(-value) for value in values] == [-code for code in range(len(values))]


@each_dtype
def test_a_step_leads_to_the_next_value(dtype: DType) -> None:
    values = magnitudes(dtype)
    neighbours = [(one, other) for one, other in pairwise(values.tolist()) if dtype.code(other) == dtype.code(one) + 1]

    assert neighbours
    assert all(one + dtype.step(one) == other and dtype.step(-one) == dtype.step(one) for one, other in neighbours)


@each_narrow_dtype
def test_the_nearest_value_is_what_narrow_gives(dtype: DType) -> None:
    exact = magnitudes(dtype)
    middles = (exact[:-1] / 2 + exact[1:] / 2).astype(np.float32)
    beside = [np.nextafter(middles, np.float32(end)) for end in (0, np.inf)]
    values = np.concatenate([exact.astype(np.float32), middles, *beside])
    values = np.concatenate([values, -values])
    stored = widen(ours(values, dtype), dtype)

    assert [dtype.nearest(value) for value in values.tolist()] == stored.tolist()


@each_dtype
@pytest.mark.parametrize("step", [2.0**-5, 2.0**-5 * 1.01, 2.0**-9, 3e-5, 2.0**-24])
def test_from_some_value_on_all_steps_are_long(dtype: DType, step: float) -> None:
    first = dtype.reaching(step)

    assert dtype.step(first) >= step
    assert first == 0 or dtype.step(first * (1 - 2.0**-53)) < step
