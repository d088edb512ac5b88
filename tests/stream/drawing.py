"""Draws of the distributions of the stream, for its tests: never in scratch memory, always the caller's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.stream import quantiles
from service.stream.dtypes import DType, narrow
from service.stream.precision import BINARY32, BINARY64, Precision
from service.stream.words import Elements, WordSource

Array = NDArray[Any]

VECTORS: Final[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text("utf-8"))
DISTRIBUTIONS: Final = ("uniform", "normal", "truncated_normal")
PRECISIONS: Final = (BINARY32, BINARY64)
NARROW: Final = (DType.F16, DType.BF16, DType.F8_E4M3, DType.F8_E5M2)


def copied_words(source: WordSource, elements: Elements, bits: int) -> Array:
    """The words of a source live in scratch memory; these are a copy."""
    return source.words(elements, bits).copy()


def values_of(distribution: str, words: Array, p: Precision, scale: float = 1.0, mean: float = 0.0) -> Array:
    """Values of a distribution for some words, which are left as they are."""
    out = np.empty(words.size, p.floating)
    match distribution:
        case "uniform":
            return quantiles.uniform(words.copy(), mean - scale, mean + scale, p, out)
        case "normal":
            return quantiles.normal(words.copy(), mean, scale, p, out)
        case _:
            return quantiles.truncated_normal(words.copy(), mean, scale, p, out)


def stored(values: Array, dtype: DType) -> Array:
    """Values as they lie in a file."""
    return values if dtype.drawn_directly else narrow(values, dtype, np.empty(values.size, dtype.storage))


def drawn(distribution: str, source: WordSource, elements: Elements, dtype: DType) -> Array:
    """Elements of a tensor of unit scale, as they lie in a file."""
    p = dtype.precision
    return stored(values_of(distribution, source.words(elements, p.bits), p), dtype)


def random_words(p: Precision, count: int, seed: int = 1) -> Array:
    """Words, from a generator that has nothing to do with the stream."""
    return np.random.default_rng(seed).integers(0, np.iinfo(p.word).max, count, p.word, endpoint=True)
