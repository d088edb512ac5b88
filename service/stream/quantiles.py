"""Quantiles: a random word becomes a symmetric fraction, a truncated normal or a normal value.

Every step is one correctly rounded IEEE 754 operation (+ - x / sqrt, integer shifts and masks, integer to float),
each a NumPy call of its own, so nothing is fused and no libm, BLAS or reduction takes part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.stream.precision import Precision, Scalar
from service.stream.scratch import scratch

Array = NDArray[Any]


def uniform(words: Array, low: float, high: float, p: Precision, out: Array) -> Array:
    """Uniform on (low, high): x . half width + midpoint, clamped; an end may be hit only where there is a midpoint.

    Args:
        words: words of `p`, shape (n,); overwritten.
        low: lower end, binary64, finite.
        high: upper end, binary64, finite, above `low`.
        p: the working precision.
        out: where the values go, shape (n,), of the working precision.
    """
    midpoint = (high + low) / 2
    _fraction(words, p.floating((high - low) / 2), p, out)
    if midpoint == 0:
        return out
    np.add(out, p.floating(midpoint), out=out)
    return np.clip(out, p.floating(low), p.floating(high), out=out)


def truncated_normal(words: Array, mean: float, std: float, p: Precision, out: Array) -> Array:
    """A normal cut at mean +- 2 std: the central quantile of each word's symmetric fraction.

    Args:
        words: words of `p`, shape (n,); overwritten.
        mean: binary64.
        std: standard deviation before the cut, binary64.
        p: the working precision.
        out: where the values go, shape (n,), of the working precision.
    """
    y = _fraction(words, p.floating(1), p, scratch("y", p.floating, words.size))
    return _scaled(_central(y, _one_less_square(y, p), p, out), mean, std, p)


def normal(words: Array, mean: float, std: float, p: Precision, out: Array) -> Array:
    """A normal; |value - mean| <= 6.338 std in binary32, 9.155 std in binary64.

    Args:
        words: words of `p`, shape (n,); overwritten.
        mean: binary64.
        std: standard deviation, binary64.
        p: the working precision.
        out: where the values go, shape (n,), of the working precision.
    """
    y, k = scratch("y", p.floating, words.size), scratch("k", p.signed, words.size)
    _times(_odd(words, p, out=k), p.coefficients["Y"][0], p, out=y)
    r = _one_less_square(y, p)
    beyond = np.flatnonzero(np.less(r, 0, out=scratch("beyond", np.bool_, words.size)))
    _central(y, r, p, out)
    out[beyond] = _tail(words.view(p.signed)[beyond], p)
    return _scaled(out, mean, std, p)


def _fraction(words: Array, scale: Scalar, p: Precision, out: Array) -> Array:
    """The symmetric fraction of each word, an odd multiple of 2^-24 (2^-53) in (-1, 1), times a scale."""
    k = _odd(words, p, out=words.view(p.signed))
    folded = scale * p.unit
    if folded / p.unit == scale:  # nothing was lost, so rounding k . folded is rounding (k . unit) . scale
        return _times(k, folded, p, out)
    return np.multiply(_times(k, p.unit, p, out), scale, out=out)


def _times(k: Array, factor: Scalar, p: Precision, out: Array) -> Array:
    np.multiply(k, factor, out=out, dtype=p.floating, casting="same_kind")
    return out


def _scaled(values: Array, mean: float, std: float, p: Precision) -> Array:
    np.multiply(values, p.floating(std), out=values)
    return values if mean == 0 else np.add(values, p.floating(mean), out=values)


def _odd(words: Array, p: Precision, out: Array) -> Array:
    np.right_shift(words.view(p.signed), p.shift, out=out)
    return np.bitwise_or(out, 1, out=out)


def _one_less_square(y: Array, p: Precision) -> Array:
    r: Array = np.multiply(y, y, out=scratch("r", p.floating, y.size))
    np.subtract(p.floating(1), r, out=r)
    return r


def _horner(coefficients: tuple[Scalar, ...], x: Array, out: Array) -> Array:
    *lower, highest = coefficients
    np.multiply(x, highest, out=out)
    for c in lower[:0:-1]:
        np.add(out, c, out=out)
        np.multiply(out, x, out=out)
    return np.add(out, lower[0], out=out)


def _central(y: Array, r: Array, p: Precision, out: Array) -> Array:
    _horner(p.coefficients["PC"], r, out)
    q = _horner(p.coefficients["QC"], r, scratch("q", p.floating, r.size))
    np.divide(out, q, out=out)
    return np.multiply(out, y, out=out)


def _tail(words: Array, p: Precision) -> Array:
    negative = np.right_shift(words, p.bits - 1)
    # The tail probability in units of 2^-33 (2^-65): odd, positive, and below 2^(bits - 4) out here.
    t = (((words ^ negative) ^ np.iinfo(p.signed).max) << 1) | 1
    u = np.sqrt(_minus_two_log(t, p)) - p.coefficients["S0"][0]
    value = _horner(p.coefficients["PT"], u, np.empty_like(u)) / _horner(p.coefficients["QT"], u, np.empty_like(u))
    return np.negative(value, out=value, where=negative < 0)


def _minus_two_log(t: Array, p: Precision) -> Array:
    """-2 ln(t . 2^-33), or 2^-65 in binary64, for odd integers t."""
    b = t.astype(p.floating).view(p.signed) - p.signed(p.root_half)
    e = np.right_shift(b, p.mantissa).astype(p.floating)
    m = ((b & ((1 << p.mantissa) - 1)) + p.signed(p.root_half)).view(p.floating)
    one = p.floating(1)
    q = (m - one) / (m + one)
    log_m = _horner(p.coefficients["LG"], q * q, np.empty_like(q)) * q
    return np.asarray(log_m + (e - p.floating(p.bits + 1)) * p.coefficients["H"][0])
