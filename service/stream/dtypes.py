"""Storage formats of weights, and the one rounding from binary32 to the narrow ones.

Sources: IEEE 754-2019 section 3.6 (F64, F32, F16), bfloat16 as the upper half of binary32,
OCP 8-bit Floating Point Specification 1.0 (E4M3 without infinities, E5M2).
"""

from __future__ import annotations

from enum import StrEnum
from math import frexp, ldexp
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.stream.precision import BINARY32, BINARY64, Precision

Array = NDArray[Any]


class DType(StrEnum):
    """A storage format, named as in a safetensors header."""

    F64 = "F64"
    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    F8_E4M3 = "F8_E4M3"
    F8_E5M2 = "F8_E5M2"

    @property
    def storage(self) -> np.dtype[Any]:
        """The little-endian NumPy type whose bytes lie in the file; unsigned integers where NumPy has no such float."""
        return _STORAGE[self.value]

    @property
    def itemsize(self) -> int:
        """Bytes a value."""
        return _STORAGE[self.value].itemsize

    @property
    def largest(self) -> float:
        """The largest finite value."""
        return _LARGEST[self.value]

    def step(self, value: float) -> float:
        """From a value to the next one farther from zero."""
        mantissa, smallest = _STEPS[self.value]
        return max(smallest, ldexp(1.0, frexp(value)[1] - 1 - mantissa)) if value else smallest

    def nearest(self, value: float) -> float:
        """A value of the working precision, rounded as `narrow` does; finite here, and not too large."""
        step = self.step(value)
        return round(value / step) * step

    def code(self, value: float) -> int:
        """How many values of this dtype there are from zero to one of them; negative below zero."""
        mantissa, smallest = _STEPS[self.value]
        step = self.step(value)
        binades = frexp(step)[1] - frexp(smallest)[1]
        return int(value / step) + (binades << mantissa) * (-1 if value < 0 else 1)

    def reaching(self, step: float) -> float:
        """The least value from which on all steps are at least so long."""
        mantissa, smallest = _STEPS[self.value]
        fraction, exponent = frexp(step)
        return 0.0 if step <= smallest else ldexp(1.0, exponent - (fraction == 0.5) + mantissa)

    @property
    def precision(self) -> Precision:
        """The working precision values of this dtype are drawn in."""
        return BINARY64 if self is DType.F64 else BINARY32

    @property
    def drawn_directly(self) -> bool:
        """Whether values are stored as they were drawn: without a rounding, and in the byte order of this machine."""
        return self in (DType.F64, DType.F32) and self.storage.isnative


_STORAGE: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F8_E4M3": np.dtype("u1"),
    "F8_E5M2": np.dtype("u1"),
}


_LARGEST: dict[str, float] = {
    "F64": float(np.finfo(np.float64).max),
    "F32": float(np.finfo(np.float32).max),
    "F16": 65504.0,
    "BF16": (2 - 2.0**-7) * 2.0**127,
    "F8_E4M3": 448.0,
    "F8_E5M2": 57344.0,
}


_STEPS: dict[str, tuple[int, float]] = {
    "F64": (52, 2.0**-1074),
    "F32": (23, 2.0**-149),
    "F16": (10, 2.0**-24),
    "BF16": (7, 2.0**-133),
    "F8_E4M3": (3, 2.0**-9),
    "F8_E5M2": (2, 2.0**-16),
}
"""Mantissa bits, and the smallest value above zero."""


class _Small(NamedTuple):
    """A float of one byte: mantissa bits, the exponent of its smallest normal number, the code for "too large"."""

    mantissa: int
    least_exponent: int
    too_large: int


_E4M3 = _Small(mantissa=3, least_exponent=-6, too_large=0x7F)
_E5M2 = _Small(mantissa=2, least_exponent=-14, too_large=0x7C)


def narrow(values: Array, dtype: DType, out: Array) -> Array:
    """Round binary32 values once, to nearest even with gradual underflow, into a narrower dtype.

    Args:
        values: float32 in the machine's byte order, shape (n,), finite; what is too large becomes infinity (NaN in
            F8_E4M3).
        dtype: F16, BF16, F8_E4M3 or F8_E5M2; F32 and F64 copy.
        out: shape (n,), of `dtype.storage`.
    """
    match dtype:
        case DType.BF16:
            out[...] = _round_off(values.view(np.uint32), 16)
        case DType.F8_E4M3:
            out[...] = _small(values, _E4M3)
        case DType.F8_E5M2:
            out[...] = _small(values, _E5M2)
        case _:
            with np.errstate(over="ignore"):
                out[...] = values
    return out


def widen(stored: Array, dtype: DType) -> Array:
    """The values of a stored array: float64 for F64, float32 for every other dtype. Exact.

    Args:
        stored: shape (n,), of `dtype.storage`.
        dtype: the dtype that the bytes are in.
    """
    match dtype:
        case DType.F64 | DType.F32:
            return stored
        case DType.F16:
            return stored.astype(np.float32)
        case DType.BF16:
            return (stored.astype(np.uint32) << 16).view(np.float32)
        case DType.F8_E4M3:
            return _E4M3_VALUES[stored]
        case DType.F8_E5M2:
            return (stored.astype(np.uint16) << 8).view(np.float16).astype(np.float32)


def _round_off(bits: Array, dropped: int) -> Array:
    """The upper bits, rounded to nearest, ties to even."""
    odd = (bits >> dropped) & 1
    rounded: Array = (bits + odd + ((1 << (dropped - 1)) - 1)) >> dropped
    return rounded


def _small(values: Array, to: _Small) -> Array:
    bits = values.view(np.uint32)
    magnitude = bits & 0x7FFFFFFF
    bias_change = (127 + to.least_exponent - 1) << to.mantissa
    normal = np.minimum(_round_off(magnitude, 23 - to.mantissa) - np.uint32(bias_change), np.uint32(to.too_large))
    # Adding a power of two whose last place is the smallest subnormal lets the addition itself round.
    anchor = np.float32(2.0 ** (to.least_exponent - to.mantissa + 23))
    subnormal = (magnitude.view(np.float32) + anchor).view(np.uint32) - anchor.view(np.uint32)
    is_subnormal = magnitude < np.float32(2.0**to.least_exponent).view(np.uint32)
    sign: Array = (bits >> 24) & 0x80
    return sign | np.where(is_subnormal, subnormal, normal)


def _e4m3_values() -> NDArray[np.float32]:
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    magnitude[(code & 0x7F) == 0x7F] = np.nan
    return np.where(code < 128, magnitude, -magnitude).astype(np.float32)


_E4M3_VALUES = _e4m3_values()
