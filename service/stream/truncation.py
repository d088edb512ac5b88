"""The normal truncated to any interval: random words become values between its ends.

Values are drawn in binary64 for every dtype. Each step is one correctly rounded operation, as in `quantiles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.stream.precision import BINARY64
from service.stream.quantiles import central, horner, negative_places, one_less_square
from service.stream.scratch import scratch

Array = NDArray[Any]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

BLOCK: Final = 1 << 16
"""The number of words drawn at once. It bounds the working memory, whose arrays have 64 bits even for 32-bit words."""
FRACTION_BITS: Final = 62
UNIT: Final = 2.0**-FRACTION_BITS
"""The factor that turns the integer of a word into its symmetric fraction."""


def _coefficients(texts: str) -> tuple[np.float64, ...]:
    return tuple(np.float64(float.fromhex(text)) for text in texts.split())


TAIL_P: Final = _coefficients(
    "0x1.0p+1 0x1.ebe0ce9914dadp+1 0x1.8103ffa62cbdfp+1 0x1.44a2d825396e3p+0 0x1.4503ad72243f1p-2"
    " 0x1.8e4037c4859d4p-5 0x1.271d0e2014454p-8 0x1.f718dcb14afacp-13 0x1.c063d847e6dbep-18"
    " 0x1.61554073860f3p-24 0x1.570e1fb9e87b3p-32"
)
TAIL_Q: Final = _coefficients(
    "0x1.0p+0 0x1.5784ac162c504p+0 0x1.7e1d57e087e18p-1 0x1.c8a79a8548dd0p-3 0x1.3cd92a41dbf5fp-5"
    " 0x1.00f76cb51d70dp-8 0x1.d2cf8ddaac4b2p-13 0x1.b184093a6d92ep-18 0x1.5da65285ea96ap-24"
    " 0x1.570df89237aa6p-32"
)
"""TAIL_P(u) / TAIL_Q(u) is the tail quantile as a function of u = sqrt(-2 ln t) - S0; at u = 0, where the central
quantile ends, it is 2.

This minimax fit was made for this project. It holds for every t from Phi(-2) down to 2^-1022, which is at 37.5 sigmas,
whereas PT/QT end at t = 2^-65. The relative error is 7e-17 in exact arithmetic and 8e-16 in binary64.
"""


@dataclass(frozen=True, slots=True)
class Cut:
    """The ends of a truncated standard normal, and its probabilities; every number is the exact one, rounded once.

    Attributes:
        low: the lower end, in sigmas; may be -inf.
        high: the upper end, in sigmas, above `low`; may be inf.
        below: the probability below `low`; 0 where it is less than 2^-1022.
        above: the probability above `high`; 0 where it is less than 2^-1022.
        half: half the probability between the ends; at least 2^-951.
        anchor: the symmetric fraction from which y is measured: -1 or 1 at the end nearer to the mean, where both ends
            lie on one side of it, and otherwise 0.
        origin: y at the anchor, where y = (Phi - 1/2) / c and c = Phi(2) - 1/2.
        slope: half / c, by which y grows per unit of the symmetric fraction.
    """

    low: float
    high: float
    below: float
    above: float
    half: float
    anchor: int
    origin: float
    slope: float


def cut_normal(words: Array, cut: Cut, mean: float, std: float, out: Array) -> Array:
    """A normal truncated at mean + low . std and mean + high . std. No value passes an end, but rounding may hit it.

    Args:
        words: uint32 or uint64, shape (n,); may be overwritten. A 32-bit word stands for the middle of all 64-bit words
            that begin with it.
        cut: the ends, in units of `std`.
        mean: the mean before truncation, binary64.
        std: the standard deviation before truncation, binary64.
        out: receives the values, shape (n,): float64, or float32, to which they are rounded at the very end.
    """
    for first in range(0, words.size, BLOCK):
        block = slice(first, first + BLOCK)
        values = _quantiles(_integers(words[block]), cut)
        np.clip(values, cut.low, cut.high, out=values)  # scaling is monotone, so the values stay between the ends
        np.multiply(values, std, out=values)
        if mean != 0:
            np.add(values, mean, out=values)
        np.copyto(out[block], values, casting="same_kind")
    return out


def _integers(words: Array) -> Integers:
    """The symmetric fractions of words, in units of 2^-62; the complement of a word has the opposite fraction."""
    k = scratch("cut k", np.int64, words.size)
    if words.itemsize == 4:
        np.left_shift(words.view(np.int32), FRACTION_BITS - 31, out=k, dtype=np.int64)
        return np.bitwise_or(k, 1 << (FRACTION_BITS - 32), out=k)
    np.right_shift(words.view(np.int64), 63 - FRACTION_BITS, out=k)
    return np.bitwise_or(k, 1, out=k)


def _quantiles(k: Integers, cut: Cut) -> Floats:
    """The values for a standard deviation of 1 before truncation; `k` is overwritten."""
    if abs(cut.origin) > 1:  # every value lies beyond 2 sigmas on one side, where the rule below gives the same
        return _tail(k, np.float64(cut.origin), cut)
    y, r = scratch("cut y", np.float64, k.size), scratch("cut r", np.float64, k.size)
    _central_fraction(k, cut, r.view(np.int64), out=y)
    one_less_square(y, BINARY64, out=r)
    beyond = negative_places(r)
    extremes = _tail(k[beyond], y[beyond], cut)
    values: Floats = central(y, r, k.view(np.float64), BINARY64)
    values[beyond] = extremes
    return values


def _central_fraction(k: Integers, cut: Cut, distances: Integers, out: Floats) -> None:
    """y, which is -1 and 1 at -2 and 2 sigmas; `distances` is working memory."""
    np.subtract(k, cut.anchor << FRACTION_BITS, out=distances)
    np.copyto(out, distances, casting="same_kind")
    np.multiply(out, cut.slope * UNIT, out=out)
    np.add(out, cut.origin, out=out)


def _tail(k: Integers, sides: Floats | np.float64, cut: Cut) -> Floats:
    """Values beyond 2 sigmas, on the side of each sign, from the probability beyond them; `k` is overwritten."""
    value, u, q = (scratch(f"cut tail {use}", np.float64, k.size) for use in ("value", "u", "q"))
    _minus_two_log(_probability(k, sides, cut, out=q), out=u)
    np.sqrt(u, out=u)
    np.subtract(u, BINARY64.coefficients["S0"][0], out=u)
    horner(TAIL_P, u, value)
    np.divide(value, horner(TAIL_Q, u, q), out=value)
    return np.copysign(value, sides, out=value)


def _probability(k: Integers, sides: Floats | np.float64, cut: Cut, out: Floats) -> Floats:
    """The probability beyond a value: from the value to the end on its side, plus the probability beyond that end."""
    negative = np.right_shift(sides.view(np.int64), 63)
    np.bitwise_xor(k, negative, out=k)
    np.subtract((1 << FRACTION_BITS) + negative, k, out=k)
    np.copyto(out, k, casting="same_kind")
    np.multiply(out, cut.half * UNIT, out=out)
    return np.add(out, np.where(negative, cut.below, cut.above), out=out)


def _minus_two_log(t: Floats, out: Floats) -> None:
    """-2 ln t for floats t that are not subnormal; `t` is overwritten."""
    one, root_half = np.float64(1), BINARY64.root_half
    e, q = scratch("cut tail e", np.float64, t.size), scratch("cut tail value", np.float64, t.size)
    b = np.subtract(t.view(np.int64), root_half, out=t.view(np.int64))
    np.copyto(e, np.right_shift(b, BINARY64.mantissa, out=q.view(np.int64)), casting="same_kind")
    np.bitwise_and(b, (1 << BINARY64.mantissa) - 1, out=b)
    np.add(b, root_half, out=b)
    np.subtract(t, one, out=q)
    np.divide(q, np.add(t, one, out=t), out=q)
    horner(BINARY64.coefficients["LG"], np.multiply(q, q, out=t), out)
    np.multiply(out, q, out=out)
    np.multiply(e, BINARY64.coefficients["H"][0], out=e)
    np.add(out, e, out=out)
