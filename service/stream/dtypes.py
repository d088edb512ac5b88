"""Storage formats of weights, and the single rounding from binary32 to the narrower ones.

Sources: IEEE 754-2019 section 3.6 (F64, F32, F16), bfloat16 as the upper half of binary32,
OCP 8-bit Floating Point Specification 1.0 (E4M3 without infinities, E5M2).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import cache, partial
from math import frexp, ldexp
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.stream.precision import BINARY32, BINARY64, Precision

Array = NDArray[Any]


class _Small(NamedTuple):
    """A one-byte float: its mantissa bits, the exponent of its smallest normal number, and its code for overflow."""

    mantissa: int
    least_exponent: int
    too_large: int


_E4M3 = _Small(mantissa=3, least_exponent=-6, too_large=0x7F)
_E5M2 = _Small(mantissa=2, least_exponent=-14, too_large=0x7C)


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
    # The last place of the anchor is the smallest subnormal number, so the addition itself rounds.
    anchor = np.float32(2.0 ** (to.least_exponent - to.mantissa + 23))
    subnormal = (magnitude.view(np.float32) + anchor).view(np.uint32) - anchor.view(np.uint32)
    is_subnormal = magnitude < np.float32(2.0**to.least_exponent).view(np.uint32)
    sign: Array = (bits >> 24) & 0x80
    return sign | np.where(is_subnormal, subnormal, normal)


@cache
def _e4m3_values() -> NDArray[np.float32]:
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    magnitude[(code & 0x7F) == 0x7F] = np.nan
    return np.where(code < 128, magnitude, -magnitude).astype(np.float32)


def _bf16(values: Array) -> Array:
    return _round_off(values.view(np.uint32), 16)


class _Storage(NamedTuple):
    """A storage format.

    Attributes:
        dtype: the little-endian NumPy type of the bytes in the file; an unsigned integer where NumPy lacks the float.
        rank: the position in a safetensors file: the reference writer's enumeration of dtypes, descending.
        mantissa: the number of stored mantissa bits.
        smallest: the smallest value above zero.
        largest: the largest finite value.
        aliases: the other names that callers may use, in capitals.
        precision: the working precision in which values are drawn.
        rounded: converts binary32 values to stored ones; None where NumPy's own conversion does.
        exact: converts stored values to binary32; None where values are stored in the working precision.
    """

    dtype: np.dtype[Any]
    rank: int
    mantissa: int
    smallest: float
    largest: float
    aliases: tuple[str, ...] = ()
    precision: Precision = BINARY32
    rounded: Callable[[Array], Array] | None = None
    exact: Callable[[Array], Array] | None = None


_STORAGES: Final[dict[str, _Storage]] = {
    "F64": _Storage(
        np.dtype("<f8"),
        rank=0,
        mantissa=52,
        smallest=2.0**-1074,
        largest=float(np.finfo(np.float64).max),
        aliases=("FLOAT64", "DOUBLE", "FP64"),
        precision=BINARY64,
    ),
    "F32": _Storage(
        np.dtype("<f4"),
        rank=1,
        mantissa=23,
        smallest=2.0**-149,
        largest=float(np.finfo(np.float32).max),
        aliases=("FLOAT32", "FLOAT", "SINGLE", "FP32"),
    ),
    "F16": _Storage(
        np.dtype("<f2"),
        rank=3,
        mantissa=10,
        smallest=2.0**-24,
        largest=65504.0,
        aliases=("FLOAT16", "HALF", "FP16"),
        exact=lambda stored: stored.astype(np.float32),
    ),
    "BF16": _Storage(
        np.dtype("<u2"),
        rank=2,
        mantissa=7,
        smallest=2.0**-133,
        largest=(2 - 2.0**-7) * 2.0**127,
        aliases=("BFLOAT16",),
        rounded=_bf16,
        exact=lambda stored: (stored.astype(np.uint32) << 16).view(np.float32),
    ),
    "F8_E4M3": _Storage(
        np.dtype("u1"),
        rank=4,
        mantissa=3,
        smallest=2.0**-9,
        largest=448.0,
        aliases=("FLOAT8_E4M3FN", "FLOAT8E4M3FN", "F8E4M3FN"),
        rounded=partial(_small, to=_E4M3),
        exact=lambda stored: _e4m3_values()[stored],
    ),
    "F8_E5M2": _Storage(
        np.dtype("u1"),
        rank=5,
        mantissa=2,
        smallest=2.0**-16,
        largest=57344.0,
        aliases=("FLOAT8_E5M2", "FLOAT8E5M2", "F8E5M2"),
        rounded=partial(_small, to=_E5M2),
        exact=lambda stored: (stored.astype(np.uint16) << 8).view(np.float16).astype(np.float32),
    ),
}


class DType(StrEnum):
    """A storage format, named as in a safetensors header."""

    F64 = "F64"
    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    F8_E4M3 = "F8_E4M3"
    F8_E5M2 = "F8_E5M2"

    def __init__(self, name: str) -> None:
        of = _STORAGES[name]
        self.storage, self.rank, self.aliases, self.precision = of.dtype, of.rank, of.aliases, of.precision
        self.mantissa, self.smallest, self.largest = of.mantissa, of.smallest, of.largest
        self.rounded, self.exact = of.rounded, of.exact

    @property
    def itemsize(self) -> int:
        """The number of bytes per value."""
        return self.storage.itemsize

    def step(self, value: float) -> float:
        """The distance from a value to the next one farther from zero."""
        return max(self.smallest, ldexp(1.0, frexp(value)[1] - 1 - self.mantissa)) if value else self.smallest

    def nearest(self, value: float) -> float:
        """A value of the working precision, rounded as `narrow` rounds it; it must be finite and must not overflow."""
        step = self.step(value)
        return round(value / step) * step

    def code(self, value: float) -> int:
        """The number of values of this dtype between zero and one of them; negative below zero."""
        step = self.step(value)
        binades = frexp(step)[1] - frexp(self.smallest)[1]
        return int(value / step) + (binades << self.mantissa) * (-1 if value < 0 else 1)

    def reaching(self, step: float) -> float:
        """The smallest value from which on every step is at least this long."""
        fraction, exponent = frexp(step)
        return 0.0 if step <= self.smallest else ldexp(1.0, exponent - (fraction == 0.5) + self.mantissa)

    @property
    def drawn_directly(self) -> bool:
        """Whether values are stored as drawn: without rounding, and in the byte order of this machine."""
        return self.exact is None and self.storage.isnative


def narrow(values: Array, dtype: DType, out: Array) -> Array:
    """Round binary32 values once, to nearest even with gradual underflow, into a narrower dtype.

    Args:
        values: float32 in the machine's byte order, shape (n,), finite. A value that is too large becomes infinity (NaN
            in F8_E4M3).
        dtype: F16, BF16, F8_E4M3 or F8_E5M2; F32 and F64 copy.
        out: shape (n,), of `dtype.storage`.
    """
    with np.errstate(over="ignore"):
        out[...] = dtype.rounded(values) if dtype.rounded else values
    return out


def widen(stored: Array, dtype: DType) -> Array:
    """The values of a stored array: float64 for F64, float32 for every other dtype. Exact.

    Args:
        stored: shape (n,), of `dtype.storage`.
        dtype: the dtype of the stored values.
    """
    return dtype.exact(stored) if dtype.exact else stored
