"""Specifications that the tests ask for."""

from __future__ import annotations

import json
from typing import Any, Final

Spec = dict[str, Any]


def spec(*layers: Spec, seed: int | str = 42, **fields: Any) -> Spec:
    """A specification of some layers."""
    return {"seed": seed, **fields, "layers": list(layers)}


def linear(name: str = "fc1", fan_in: int = 3, fan_out: int = 2, **fields: Any) -> Spec:
    """A linear layer."""
    return {"type": "linear", "name": name, "in_features": fan_in, "out_features": fan_out, **fields}


def tensor(name: str, *shape: int, **fields: Any) -> Spec:
    """A bare tensor."""
    return {"type": "tensor", "name": name, "shape": list(shape), **fields}


def body(document: Spec) -> bytes:
    """A specification as it is sent."""
    return json.dumps(document).encode()


SMALL: Final = spec(linear())
EVERY_LAYER: Final = spec(
    linear("fc", 37, 21, initializer={"type": "xavier_uniform", "gain": "tanh"}),
    linear("stored", 5, 7, type="dense", layout="in_out", bias_initializer={"type": "constant", "value": 0.5}),
    {"type": "conv1d", "name": "c1", "in_channels": 4, "out_channels": 6, "kernel_size": 3, "bias": False},
    {"type": "conv2d", "name": "c2", "in_channels": 4, "out_channels": 6, "kernel_size": [3, 5], "groups": 2},
    {"type": "conv3d", "name": "c3", "in_channels": 2, "out_channels": 3, "kernel_size": 2, "dtype": "F64"},
    {"type": "embedding", "name": "wte", "num_embeddings": 50, "embedding_dim": 8, "dtype": "BF16"},
    {"type": "layer_norm", "name": "ln", "normalized_shape": [3, 4]},
    {"type": "batch_norm", "name": "bn", "num_features": 9, "dtype": "F16"},
    {
        "type": "repeat",
        "name": "h",
        "times": 3,
        "start": 1,
        "layers": [{"type": "group", "name": "mlp", "layers": [linear("up", 6, 11), linear("down", 11, 6)]}],
    },
    tensor("head.w", 3, 4, 5, layout="in_out", initializer="he_normal", dtype="F8_E4M3"),
    tensor("cut", 301, initializer={"type": "truncated_normal", "std": 0.02}, dtype="F8_E5M2"),
    tensor("nothing", 0, 4, initializer="zeros"),
    tensor("scalar", initializer="ones"),
    seed=7,
    initializer="xavier_normal",
)
"""Every kind of layer and every dtype."""
MEDIUM: Final = spec(
    linear("a", 2048, 1501),
    linear("b", 1023, 4097, initializer="xavier_normal", dtype="BF16"),
    tensor("c", 1000, 777, dtype="F64"),
    tensor("d", 12345, initializer={"type": "uniform", "low": -1, "high": 1}, dtype="F8_E4M3"),
    seed=11,
)
"""About 27 MB: many chunks, with tensor boundaries inside them."""
EIGHT_GIB: Final = spec(tensor("w", 1 << 16, 1 << 15))
FORTY_GB: Final = spec({"type": "repeat", "name": "h", "times": 11, "layers": [tensor("w", 1 << 15, 1 << 15)]})
"""44 GiB in eleven tensors."""
