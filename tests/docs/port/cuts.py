"""The normal that is cut at any two ends: section 7."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import cache
from typing import Final

from tests.docs.port.constants import BINARY64, TP, TQ
from tests.stream import reference

DIGITS: Final = 600
FARTHEST: Final = Decimal(40)


def cut_normal(word: int, bits: int, cut: tuple[float, float], mean: float = 0.0, std: float = 1.0) -> float:
    """A value in binary64."""
    signed = word - (1 << bits) if word >> (bits - 1) else word
    k = (2 * signed + 1) << 30 if bits == 32 else signed >> 1 | 1
    value = min(max(_cut_quantile(k, *cut), cut[0]), cut[1]) * std
    return value if mean == 0 else value + mean


def _cut_quantile(k: int, low: float, high: float) -> float:
    below, above, half, anchor, origin, slope = scalars(low, high)
    y = float(k - anchor * 2**62) * (slope * 2.0**-62) + origin
    r = 1 - y * y
    if r >= 0:
        return reference.central(y, r, BINARY64)
    if y > 0:
        return _upper(float(2**62 - k) * (half * 2.0**-62) + above)
    return -_upper(float(2**62 + k) * (half * 2.0**-62) + below)


def _upper(t: float) -> float:
    f = BINARY64
    b = f.bits_of(t) - f.m
    m = f.from_bits((b & ((1 << 52) - 1)) + f.m)
    q = (m - 1) / (m + 1)
    u = math.sqrt(reference.horner(f.lg, q * q, f) * q + float(b >> 52) * f.h) - f.s0
    return reference.horner(TP, u, f) / reference.horner(TQ, u, f)


@cache
def scalars(low: float, high: float) -> tuple[float, float, float, int, float, float]:
    """The numbers of a cut: below, above, half, anchor, origin, slope."""
    a, b = ends(low, high)
    with localcontext(prec=DIGITS):
        whole, unit, mass = 2 * area(FARTHEST), 2 * area(Decimal(2)), area(b) - area(a)
        anchor = -1 if a >= 0 else 1 if b <= 0 else 0
        origin = {-1: 2 * area(a), 1: 2 * area(b), 0: area(a) + area(b)}[anchor]
        below, above = (area(FARTHEST) + area(a)) / whole, (area(FARTHEST) - area(b)) / whole
        rounded = map(float, (below, above, mass / whole / 2, origin / unit, mass / unit))
    below_, above_, half, start, slope = (value if abs(value) >= 2.0**-1022 else 0.0 for value in rounded)
    return below_, above_, half, anchor, start, slope


@cache
def moments(low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of what the cut leaves: section 19."""
    a, b = ends(low, high)
    with localcontext(prec=DIGITS):
        mass, at_a, at_b = area(b) - area(a), (-a * a / 2).exp(), (-b * b / 2).exp()
        mean = (at_a - at_b) / mass
        return float(mean), float((1 + (a * at_a - b * at_b) / mass - mean * mean).sqrt())


def ends(low: float, high: float) -> tuple[Decimal, Decimal]:
    return max(Decimal(low), -FARTHEST), min(Decimal(high), FARTHEST)


@cache
def area(z: Decimal) -> Decimal:
    """The integral of e^(-t^2/2) from 0 to z, by its series alone: 500 digits bear what cancels far out."""
    with localcontext(prec=DIGITS):
        total, term, odd = Decimal(0), z, 1
        while abs(term) > abs(z) * Decimal(10) ** -500:
            total += term
            odd += 2
            term = term * z * z / odd
        return (-z * z / 2).exp() * total
