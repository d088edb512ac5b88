"""Multiplies and factorises a few matrices, and says by which kernels: `python -m` this in any process."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.distributions.numerics.factorisation import orthogonal_factor
from service.distributions.numerics.products import product

ROOT: Final = Path(__file__).parents[2]
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


def sha(matrix: Matrix) -> str:
    """Of the elements row by row, little-endian, as long as a tag."""
    return sha256(np.ascontiguousarray(matrix, "<f8").tobytes()).hexdigest()[:16]


def digests() -> dict[str, str]:
    """A hash of each result."""
    factors = {name: sha(orthogonal_factor(matrix())) for name, matrix in FACTORISED.items()}
    return factors | {"product": sha(product(entries(20, 5000), entries(5000, 30)))}


def kernels() -> str | None:
    """What OpenBLAS calls the kernels that it has chosen, where NumPy brings its own OpenBLAS."""
    for library in (Path(np.__file__).parents[1] / "numpy.libs").glob("libscipy_openblas64_*"):
        name = ctypes.CDLL(str(library)).scipy_openblas_get_corename64_
        name.restype = ctypes.c_char_p
        return str(name().decode())
    return None


def enabled_features() -> list[str]:
    """The processor features that NumPy chooses its loops by, as far as they are switched on here."""
    return list(np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", []))


@cache
def report_of(**variables: str) -> dict[str, Any]:
    """What a process says that has these variables in its environment, no others of such libraries, and one thread."""
    kept = {"OPENBLAS_NUM_THREADS": "1"}
    kept |= {name: value for name, value in os.environ.items() if not name.startswith(("NPY_", "OPENBLAS_", "OMP_"))}
    command = [sys.executable, "-m", "tests.distributions.fresh_process"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, env=kept | variables, timeout=120, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"digests": digests(), "kernels": kernels(), "features": enabled_features()}))
