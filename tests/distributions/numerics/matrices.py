"""Matrices of integers alone, and what their factors and their product were once."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.distributions.numerics.factorisation import orthogonal_factor
from service.distributions.numerics.products import product

Matrix = NDArray[np.float64]


def entries(*shape: int) -> Matrix:
    """Multiples of 2^-49 from -8 to 8, by integers alone: Steele, Lea & Flood 2014, SplitMix64 with seed 0."""
    z = np.arange(1, prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    numbers = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64)
    return (numbers * 2.0**-49 - 8).reshape(shape)


def dependent() -> Matrix:
    """A hundred rows of seventy columns, where only twenty are different, and one is zero."""
    return np.concatenate([entries(100, 20)] * 3 + [np.zeros((100, 1)), entries(100, 9)], axis=1)


FACTORISED: Final[dict[str, Callable[[], Matrix]]] = {
    "1 x 1": lambda: entries(1, 1),
    "5 x 1": lambda: entries(5, 1),
    "3 x 3": lambda: entries(3, 3),
    "7 of 9 x 4": lambda: entries(7, 9, 4),
    "64 x 64": lambda: entries(64, 64),
    "65 x 65": lambda: entries(65, 65),
    "257 x 200": lambda: entries(257, 200),
    "4100 x 66": lambda: entries(4100, 66),
    "zeros": lambda: np.zeros((6, 4)),
    "dependent": dependent,
}
GOLDEN: Final = {
    "1 x 1": "6c3c396ed6b5c36d",
    "5 x 1": "a4f84e01732ad137",
    "3 x 3": "2dc9463f4df6f0dc",
    "7 of 9 x 4": "fe20a6b57a0dd8e3",
    "64 x 64": "f949a4c249ae084c",
    "65 x 65": "54d3cd1254ccf4bf",
    "257 x 200": "7d71c1f5393a3a83",
    "4100 x 66": "b982f292c76fdc1f",
    "zeros": "6cd1867a1c91dea5",
    "dependent": "c6a3ce09c268e6e7",
    "product": "37301d9dd3844bc3",
}


def sha(matrix: Matrix) -> str:
    """Of the elements row by row, little-endian, as long as a tag."""
    return sha256(np.ascontiguousarray(matrix, "<f8").tobytes()).hexdigest()[:16]


def digests() -> dict[str, str]:
    """A hash of each result."""
    factors = {name: sha(orthogonal_factor(matrix())) for name, matrix in FACTORISED.items()}
    return factors | {"product": sha(product(entries(20, 5000), entries(5000, 30)))}
