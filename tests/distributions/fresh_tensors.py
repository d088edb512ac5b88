"""Draws structured tensors and cut normals, and says by which kernels: `python -m` this in any process."""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from typing import Any, Final

import numpy as np

from service.formats.safetensors import SafetensorsFile
from service.stream.dtypes import DType
from tests.distributions.fresh_process import enabled_features, kernels
from tests.plan.planned import Layer, planned, tensor

CONVOLUTION: Final[Layer] = {
    "type": "conv2d",
    "name": "c",
    "in_channels": 70,
    "out_channels": 80,
    "kernel_size": [3, 2],
}
LSTM: Final[Layer] = {"type": "lstm", "name": "l", "input_size": 70, "hidden_size": 66, "forget_bias": 1}
TENSORS: Final[dict[str, Layer]] = {
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


def digests() -> dict[str, str]:
    """SHA-256 over files of both frameworks, in a dtype of each width."""
    return {name: digest(layer) for name, layer in TENSORS.items()}


def digest(layer: Layer) -> str:
    found = sha256()
    for framework, dtype in (("torch", DType.F32), ("keras", DType.F64), ("keras", DType.BF16)):
        file = SafetensorsFile(planned(layer | {"dtype": dtype}, framework=framework, seed=2**64 - 1))
        found.update(file.read(0, file.length))
        found.update(file.etag.encode())
    return found.hexdigest()


def plain() -> str:
    """SHA-256 of what LAPACK makes of a matrix, which depends on the kernels."""
    matrix = np.sin(np.arange(300.0 * 200)).reshape(300, 200)
    return sha256(np.linalg.qr(matrix)[0].tobytes()).hexdigest()


def report() -> dict[str, Any]:
    """What was drawn, and where."""
    return {"digests": digests(), "plain": plain(), "kernels": kernels(), "features": enabled_features()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(report()))
