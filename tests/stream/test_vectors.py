"""The known answers of docs/stream.md, section 20, from an independent C implementation: every one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Final

import numpy as np
import pytest

from service.stream.dtypes import DType, narrow
from service.stream.precision import BINARY32, BINARY64
from service.stream.words import WordSource
from tests.stream.drawing import NARROW, VECTORS, Array, stored, values_of

GOLDEN_RATIO: Final = 0x9E3779B97F4A7C15
MOST_POSITIVE: Final = (1 << 63) - 1
BINARY32_HASH: Final = "fb18e90bba995b7994e3602a264361aa2400bd4a21b06f52d8ac50eeae95780e"
BINARY64_HASH: Final = "377176e3543ce1616516bd3ddeafcab309203e7a4557bff3dd7b3d9ccff5af8f"
BLOCK: Final = 1 << 19


def label(vector: dict[str, Any]) -> str:
    return f"{vector['distribution']}-{vector['dtype']}-{vector['seed']}"


def values_of_vector(vector: dict[str, Any], *, scattered: bool) -> bytes:
    source, dtype = WordSource(int(vector["seed"]), vector["name"]), DType(vector["dtype"])
    elements = range(vector["start"], vector["start"] + vector["count"])
    words = source.words(np.array(elements) if scattered else elements, dtype.precision.bits)
    scale, mean = float.fromhex(vector["scale"]), float.fromhex(vector["mean"])
    return stored(values_of(vector["distribution"], words, dtype.precision, scale, mean), dtype).tobytes()


@pytest.mark.parametrize("scattered", [False, True], ids=["range", "indices"])
@pytest.mark.parametrize("vector", VECTORS["values"], ids=label)
def test_values_are_the_known_answers(vector: dict[str, Any], scattered: bool) -> None:
    assert values_of_vector(vector, scattered=scattered).hex() == vector["hex"]


@pytest.mark.parametrize("vector", VECTORS["digests"], ids=label)
def test_the_digest_of_many_values_is_the_known_answer(vector: dict[str, Any]) -> None:
    assert sha256(values_of_vector(vector, scattered=False)).hexdigest() == vector["sha256"]


@pytest.mark.parametrize("dtype", NARROW)
def test_narrowed_values_are_the_known_answers(dtype: DType) -> None:
    wide = np.frombuffer(b"".join(bytes.fromhex(row["F32"]) for row in VECTORS["narrow"]), "<f4")

    with np.errstate(over="ignore"):
        codes = narrow(wide, dtype, np.empty(wide.size, dtype.storage))

    assert [code.tobytes().hex() for code in codes] == [row[dtype] for row in VECTORS["narrow"]]


@pytest.mark.parametrize(
    ("word", "bits"),
    [(0, 0x33A06C99), (1, 0x33A06C99), (-1, 0xB3A06C99), ((1 << 31) - 1, 0x40CAD08D), (-(1 << 31), 0xC0CAD08D)],
)
def test_the_extreme_binary32_words_have_their_normal_values(word: int, bits: int) -> None:
    words = np.array([word], np.int32).view(np.uint32)

    assert int(values_of("normal", words, BINARY32).view(np.uint32)[0]) == bits


@pytest.mark.parametrize(
    ("word", "bits"),
    [
        (0, 0x3CA40D931FF62709),
        (-1, 0xBCA40D931FF62709),
        ((1 << 63) - 1, 0x40224F82AA55EB14),
        (-(1 << 63), 0xC0224F82AA55EB14),
    ],
)
def test_the_extreme_binary64_words_have_their_normal_values(word: int, bits: int) -> None:
    words = np.array([word], np.int64).view(np.uint64)

    assert int(values_of("normal", words, BINARY64).view(np.uint64)[0]) == bits


def words_of_the_binary64_hash() -> Iterator[Array]:
    """Evenly spread words, then words ever nearer to the largest, each before its complement."""
    spread = np.arange(1 << 18, dtype=np.uint64) * np.uint64(GOLDEN_RATIO)
    yield spread
    for s in range(63):
        w = np.uint64(MOST_POSITIVE) ^ (spread[1024 * s : 1024 * (s + 1)] >> np.uint64(1 + s))
        yield np.stack([w, ~w], axis=1).reshape(-1)


def test_the_binary64_normal_has_its_hash() -> None:
    found = sha256()
    for words in words_of_the_binary64_hash():
        found.update(values_of("normal", words, BINARY64).astype("<f8").data)

    assert found.hexdigest() == BINARY64_HASH


@pytest.mark.exhaustive
def test_the_binary32_normal_of_every_word_there_is_has_its_hash() -> None:
    def block(first: int) -> Array:
        return values_of("normal", np.arange(first, first + BLOCK, dtype=np.uint32), BINARY32).astype("<f4")

    found, ahead = sha256(), 64 * BLOCK
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, 1 << 32, ahead):
            for values in pool.map(block, range(first, first + ahead, BLOCK)):
                found.update(values.data)

    assert found.hexdigest() == BINARY32_HASH
