"""The values of every distribution, as they lie in a file: sections 5, 8 and 12 to 15."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.docs.port.constants import BINARY64, precision
from tests.docs.port.cuts import cut_normal
from tests.docs.port.matrices import orthonormal
from tests.docs.port.places import coordinates, grid, index_of
from tests.stream import reference
from tests.stream.reference import Format

Law = dict[str, Any]
"""A distribution as the metadata of files has it."""
Value = Callable[[int], float]
"""The value of an element in the working precision, by its canonical index."""
MASK_LANE: Final = 2
WIDENED: Final = {"F64": ("<d", 0), "F32": ("<f", 0), "BF16": ("<f", 2), "F16": ("<e", 0), "F8_E5M2": ("<e", 1)}
"""How `struct` reads a dtype, and after how many zero bytes below."""


def drawn(law: Law, seed: int, name: str, indices: Sequence[int], dtype: str) -> bytes:
    """Elements of a canonical tensor, by their indices, as they lie in a file."""
    value = _value(law, seed, name, dtype)
    return b"".join(reference.stored(value(index), dtype) for index in indices)


def _value(law: Law, seed: int, name: str, dtype: str) -> Value:
    drawn_by = {
        "identity": _identity,
        "orthogonal": _orthogonal,
        "sparse": _sparse,
        "stacked": _stacked,
        "sum": _sum,
        "joined": _joined,
    }
    return drawn_by.get(law["type"], _elementwise)(law, seed, name, dtype)


def _elementwise(law: Law, seed: int, name: str, dtype: str) -> Value:
    draw_word = reference.word64 if dtype == "F64" else reference.word
    return lambda index: of_word(law, draw_word(seed, name, index), precision(dtype))


def of_word(law: Law, word: int, f: Format) -> float:
    match law["type"]:
        case "constant":
            return f.rn(law["value"])
        case "uniform":
            return reference.uniform(word, law["low"], law["high"], f)
        case "normal":
            return reference.normal(word, law["mean"], law["std"], f)
        case "truncated_normal":
            return reference.truncated_normal(word, law["mean"], law["std_before"], f)
        case _:
            return f.rn(cut_normal(word, f.bits, cut_of(law), law["location"], law["std_before"]))


def _identity(law: Law, _: int, __: str, dtype: str) -> Value:
    one, other = law["diagonal"]

    def value(index: int) -> float:
        at = coordinates(index, law["shape"])
        there = at[one] == at[other] and all(at[axis] == place for axis, place in law["center"])
        return precision(dtype).rn(law["value"]) if there else 0.0

    return value


def _orthogonal(law: Law, seed: int, name: str, dtype: str) -> Value:
    shape, batch, rows, center = law["shape"], law["batch_axes"], law["row_axes"], dict(law["center"])
    columns = [axis for axis in range(len(shape)) if axis not in {*batch, *rows, *center}]
    values: dict[int, float] = {}
    for matrix in grid(shape, batch):
        places = [
            [index_of(shape, matrix | row | column | center) for column in grid(shape, columns)]
            for row in grid(shape, rows)
        ]
        words = [[reference.word64(seed, name, index) for index in row] for row in places]
        factor = orthonormal([[reference.normal_quantile(word, BINARY64) for word in row] for row in words])
        for indices, row in zip(places, factor, strict=True):
            values |= {i: min(max(q, -1.0), 1.0) * law["gain"] for i, q in zip(indices, row, strict=True)}
    return lambda index: precision(dtype).rn(values.get(index, 0.0))


def _sparse(law: Law, seed: int, name: str, dtype: str) -> Value:
    shape, axis, zeros = law["shape"], law["row_axis"], law["zeros"]
    others = [other for other in range(len(shape)) if other != axis]
    masked = set()
    for column in grid(shape, others):
        indices = [index_of(shape, column | row) for row in grid(shape, [axis])]
        keys = sorted((reference.word(seed, name, index, MASK_LANE), row, index) for row, index in enumerate(indices))
        masked |= {index for _, _, index in keys[:zeros]}
    normal = _elementwise({"type": "normal", "mean": 0.0, "std": law["std_before"]}, seed, name, dtype)
    return lambda index: 0.0 if index in masked else normal(index)


def _stacked(law: Law, seed: int, name: str, dtype: str) -> Value:
    blocks = [_value(block, seed, name, dtype) for block in law["laws"]]
    return lambda index: blocks[index // law["length"]](index)


def _other(law: Law, name: str) -> str:
    return f"{name.removesuffix(law['suffix'])}{law['other_suffix']}"


def _sum(law: Law, seed: int, name: str, dtype: str) -> Value:
    one, other = _value(law["first"], seed, name, dtype), _value(law["second"], seed, _other(law, name), dtype)
    f = precision(dtype)
    return lambda index: f.rn(
        read(reference.stored(one(index), dtype), dtype) + read(reference.stored(other(index), dtype), dtype)
    )


def _joined(law: Law, seed: int, name: str, dtype: str) -> Value:
    both = _value(law["first"], seed, name, dtype), _value(law["second"], seed, _other(law, name), dtype)
    order, length = law["order"], law["length"]

    def value(index: int) -> float:
        which, place = divmod(index, len(order) * length)
        block, within = divmod(place, length)
        return both[which](order[block] * length + within)

    return value


def rounded(value: float, dtype: str) -> float:
    """A value as it is read again, once it is stored."""
    return read(reference.stored(value, dtype), dtype)


def read(raw: bytes, dtype: str) -> float:
    """A value from the bytes of its dtype."""
    if dtype in WIDENED:
        letter, lower = WIDENED[dtype]
        return float(struct.unpack(letter, b"\0" * lower + raw)[0])
    return _e4m3(raw[0])


def _e4m3(code: int) -> float:
    exponent, mantissa = code >> 3 & 15, code & 7
    magnitude = math.ldexp(mantissa, -9) if exponent == 0 else math.ldexp(8 + mantissa, exponent - 10)
    return -magnitude if code & 128 else magnitude


def cut_of(law: Law) -> tuple[float, float]:
    """The ends; null is infinite."""
    return -math.inf if law["low"] is None else law["low"], math.inf if law["high"] is None else law["high"]
