"""Quantiles: a random word becomes a uniform, a truncated normal or a normal value.

Every step is one correctly rounded IEEE 754 operation (+ - x / sqrt, integer shifts and masks, integer to float) in a
NumPy call of its own. Nothing is fused, and no libm, BLAS or reduction is involved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.stream.precision import Precision, Scalar
from service.stream.scratch import scratch

Array = NDArray[Any]


def uniform(words: Array, low: float, high: float, p: Precision, out: Array) -> Array:
    """Uniform on (low, high): x . half width + midpoint, clamped. Only with a midpoint other than 0 can an end be hit.

    Args:
        words: words of `p`, shape (n,); overwritten.
        low: the lower end, binary64, finite.
        high: the upper end, binary64, finite, above `low`.
        p: the working precision.
        out: receives the values, shape (n,), of the working precision.
    """
    midpoint = (high + low) / 2
    _fraction(words, p.floating((high - low) / 2), p, out)
    if midpoint == 0:
        return out
    np.add(out, p.floating(midpoint), out=out)
    return np.clip(out, p.floating(low), p.floating(high), out=out)


def truncated_normal(words: Array, mean: float, std: float, p: Precision, out: Array) -> Array:
    """A normal truncated at mean +- 2 std: the central quantile of each word's symmetric fraction.

    Args:
        words: words of `p`, shape (n,); overwritten.
        mean: binary64.
        std: the standard deviation before truncation, binary64.
        p: the working precision.
        out: receives the values, shape (n,), of the working precision.
    """
    y = _fraction(words, p.floating(1), p, scratch("y", p.floating, words.size))
    r = one_less_square(y, p, out=scratch("r", p.floating, words.size))
    return scaled(central(y, r, words.view(p.floating), p), mean, std, p, out)


def normal(words: Array, mean: float, std: float, p: Precision, out: Array) -> Array:
    """A normal, where |value - mean| <= 6.338 std in binary32 and 9.155 std in binary64.

    Args:
        words: words of `p`, shape (n,); overwritten.
        mean: binary64.
        std: the standard deviation, binary64.
        p: the working precision.
        out: receives the values, shape (n,), of the working precision.
    """
    y, r = scratch("y", p.floating, words.size), scratch("r", p.floating, words.size)
    _times(_odd(words, p, out=r.view(p.signed)), p.coefficients["Y"][0], p, out=y)
    one_less_square(y, p, out=r)
    beyond = negative_places(r)
    extremes = _tail(words.view(p.signed)[beyond], p)
    values = central(y, r, words.view(p.floating), p)
    values[beyond] = extremes
    return scaled(values, mean, std, p, out)


def _fraction(words: Array, scale: Scalar, p: Precision, out: Array) -> Array:
    """The symmetric fraction of each word, an odd multiple of 2^-24 (2^-53) in (-1, 1), times a scale."""
    k = _odd(words, p, out=words.view(p.signed))
    folded = scale * p.unit
    if folded / p.unit == scale:  # no bit was lost, so k . folded and (k . unit) . scale round to the same value
        return _times(k, folded, p, out)
    return np.multiply(_times(k, p.unit, p, out), scale, out=out)


def _times(k: Array, factor: Scalar, p: Precision, out: Array) -> Array:
    """Integers, overwritten here, as floats times a factor. `out` is written only once, as it may not be in a cache."""
    values = k.view(p.floating)
    np.copyto(values, k, casting="same_kind")
    np.multiply(values, factor, out=out)
    return out


def scaled(values: Array, mean: float, std: float, p: Precision, out: Array) -> Array:
    """Values of a standard distribution times `std`, plus `mean` unless it is 0."""
    np.multiply(values, p.floating(std), out=out)
    return out if mean == 0 else np.add(out, p.floating(mean), out=out)


def _odd(words: Array, p: Precision, out: Array) -> Array:
    np.right_shift(words.view(p.signed), p.shift, out=out)
    return np.bitwise_or(out, 1, out=out)


def one_less_square(y: Array, p: Precision, out: Array) -> Array:
    """Compute r = 1 - y . y, shape (n,), whose sign decides between centre and tail."""
    np.multiply(y, y, out=out)
    np.subtract(p.floating(1), out, out=out)
    return out


def negative_places(r: Array) -> Array:
    """The positions where r < 0, found in groups of four: NumPy's search is branch-free only if a tenth are set."""
    padded = scratch("negative", np.bool_, -(-r.size // 4) * 4)
    padded[r.size :] = False
    np.less(r, 0, out=padded[: r.size])
    groups = padded.view(np.uint32)
    found = np.flatnonzero(np.not_equal(groups, 0, out=scratch("groups", np.bool_, groups.size)))
    members = np.flatnonzero(groups[found].view(np.bool_))
    places: Array = (found[members >> 2] << 2) + (members & 3)
    return places


def horner(coefficients: tuple[Scalar, ...], x: Array, out: Array) -> Array:
    """A polynomial by Horner's rule, shape (n,); its coefficients are given lowest power first."""
    *lower, highest = coefficients
    np.multiply(x, highest, out=out)
    for c in lower[:0:-1]:
        np.add(out, c, out=out)
        np.multiply(out, x, out=out)
    return np.add(out, lower[0], out=out)


def central(y: Array, r: Array, q: Array, p: Precision) -> Array:
    """PC(r) / QC(r) . y, written over y; `q` is working memory."""
    values = horner(p.coefficients["PC"], r, scratch("p", p.floating, r.size))
    np.divide(values, horner(p.coefficients["QC"], r, q), out=values)
    return np.multiply(values, y, out=y)


def _tail(words: Array, p: Precision) -> Array:
    """The tail quantile of signed words; they are overwritten."""
    value, u, q = (scratch(f"tail {use}", p.floating, words.size) for use in ("value", "u", "q"))
    sign = np.right_shift(words, p.bits - 1, out=scratch("tail sign", p.signed, words.size))
    _minus_two_log(_tail_probability(words, sign, p), p, out=u)
    np.sqrt(u, out=u)
    np.subtract(u, p.coefficients["S0"][0], out=u)
    horner(p.coefficients["PT"], u, value)
    np.divide(value, horner(p.coefficients["QT"], u, q), out=value)
    negated = np.left_shift(sign, p.bits - 1, out=sign)
    np.bitwise_xor(value.view(p.signed), negated, out=value.view(p.signed))
    return value


def _tail_probability(words: Array, sign: Array, p: Precision) -> Array:
    """The tail probability of signed words in units of 2^-33 (2^-65), odd and positive, in place."""
    np.bitwise_xor(words, sign, out=words)
    np.bitwise_xor(words, np.iinfo(p.signed).max, out=words)
    np.left_shift(words, 1, out=words)
    return np.bitwise_or(words, 1, out=words)


def _minus_two_log(t: Array, p: Precision, out: Array) -> Array:
    """-2 ln(t . 2^-33), in binary64 -2 ln(t . 2^-65); the integers t are overwritten."""
    one, root_half = p.floating(1), p.signed(p.root_half)
    m, e = scratch("tail m", p.floating, t.size), scratch("tail e", p.floating, t.size)
    np.copyto(m, t, casting="same_kind")
    b = np.subtract(m.view(p.signed), root_half, out=m.view(p.signed))
    np.copyto(e, np.right_shift(b, p.mantissa, out=t), casting="same_kind")
    np.bitwise_and(b, (1 << p.mantissa) - 1, out=b)
    np.add(b, root_half, out=b)
    q = np.subtract(m, one, out=t.view(p.floating))
    np.divide(q, np.add(m, one, out=m), out=q)
    horner(p.coefficients["LG"], np.multiply(q, q, out=m), out)
    np.multiply(out, q, out=out)
    np.subtract(e, p.floating(p.bits + 1), out=e)
    np.multiply(e, p.coefficients["H"][0], out=e)
    np.add(out, e, out=out)
    return out
