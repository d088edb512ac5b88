"""Draws a little of everything and says what it got, and under which circumstances: `python -m` this in any process."""

from __future__ import annotations

import ctypes
import json
import locale
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.analysis.statistics import batches, measure, summarise
from service.formats.safetensors import SafetensorsFile
from service.plan import Plan
from service.stream.dtypes import DType
from tests.distributions.numerics import matrices
from tests.plan.planned import Layer, linear, planned, tensor

SEED: Final = 2**64 - 1
WORD_BY_WORD: Final = (
    "xavier_uniform",
    "kaiming_normal",
    "variance_scaling",
    {"type": "uniform", "low": -0.25, "high": 0.75},
    {"type": "normal", "mean": 0.5, "std": 0.125},
    {"type": "truncated_normal", "mean": -0.5, "std": 0.3},
    {"type": "constant", "value": 0.1},
)
CONVOLUTION: Final = {"type": "conv2d", "name": "c", "in_channels": 70, "out_channels": 80, "kernel_size": [3, 2]}
LSTM: Final = {"type": "lstm", "name": "l", "input_size": 70, "hidden_size": 66, "forget_bias": 1}
STRUCTURED: Final[dict[str, Layer]] = {
    "orthogonal": tensor("w", (131, 200), "orthogonal"),
    "orthogonal convolution": CONVOLUTION | {"initializer": {"type": "orthogonal", "gain": "tanh"}},
    "orthogonal gates": LSTM | {"initializer": "orthogonal"},
    "delta_orthogonal": CONVOLUTION | {"initializer": "delta_orthogonal"},
    "sparse": tensor("w", (301, 173), {"type": "sparse", "sparsity": 0.3}),
    "cut": tensor("w", (40_001,), {"type": "truncated_normal", "low": -1, "high": 3.5}),
    "tail": tensor("w", (40_001,), {"type": "truncated_normal", "low": 3, "high": None}),
    "biases": LSTM | {"initializer": "zeros", "bias_initializer": {"type": "normal", "mean": 0.1, "std": 0.3}},
    "keras_default": LSTM | {"initializer": "keras_default"},
}


def word_by_word() -> Iterator[Plan]:
    """Every distribution in every dtype, in odd sizes; in Keras' layout the same values, drawn at scattered indices."""
    layers = [
        linear(f"{dtype}.{number}", 101, 131, bias=False, dtype=dtype, initializer=initializer)
        for dtype in DType
        for number, initializer in enumerate(WORD_BY_WORD)
    ]
    return (planned(*layers, framework=framework, seed=SEED) for framework in ("torch", "keras"))


def structured(layer: Layer) -> Iterator[Plan]:
    """Both frameworks, in a dtype of each width."""
    for framework, dtype in (("torch", DType.F32), ("keras", DType.F64), ("keras", DType.BF16)):
        yield planned(layer | {"dtype": dtype}, framework=framework, seed=SEED)


def digest(plans: Iterator[Plan]) -> str:
    """SHA-256 over files and their ETags, measured statistics included."""
    found = sha256()
    for plan in plans:
        moments = [part for batch in batches(plan.tensors) for part in measure(plan.tensors, batch)]
        file = SafetensorsFile(plan, "measured", summarise(plan.tensors, moments))
        found.update(file.read(0, file.length))
        found.update(file.etag.encode())
    return found.hexdigest()


def digests() -> dict[str, str]:
    """A hash of everything that is drawn, and of every result of linear algebra."""
    drawn = {name: digest(structured(layer)) for name, layer in STRUCTURED.items()}
    return matrices.digests() | drawn | {"word by word": digest(word_by_word())}


def plain() -> str:
    """SHA-256 of what LAPACK makes of a matrix, which depends on the kernels."""
    matrix = np.sin(np.arange(300.0 * 200)).reshape(300, 200)
    return sha256(np.linalg.qr(matrix)[0].tobytes()).hexdigest()


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


def report() -> dict[str, Any]:
    """What was drawn, and where."""
    locale.setlocale(locale.LC_ALL, "")
    return {
        "digests": digests(),
        "plain": plain(),
        "kernels": kernels(),
        "features": enabled_features(),
        "locale": locale.setlocale(locale.LC_NUMERIC),
        "encoding": locale.getencoding(),
        "hash": hash("weights"),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(report()))
