"""Draws a little of everything and says what it got, and under which circumstances: `python -m` this in any process."""

from __future__ import annotations

import json
import locale
import sys
from hashlib import sha256
from typing import Any

import numpy as np

from service.analysis.statistics import batches, measure, summarise
from service.formats.safetensors import SafetensorsFile
from service.plan import make_plan
from service.schema.parsing import read_spec
from service.stream.dtypes import DType

INITIALIZERS: list[Any] = [
    "xavier_uniform",
    "kaiming_normal",
    "variance_scaling",
    {"type": "uniform", "low": -0.25, "high": 0.75},
    {"type": "normal", "mean": 0.5, "std": 0.125},
    {"type": "truncated_normal", "mean": -0.5, "std": 0.3},
    {"type": "constant", "value": 0.1},
]


def network(framework: str) -> bytes:
    """Every distribution in every dtype, in odd sizes; in Keras' layout the same values, drawn at scattered indices."""
    layers = [
        {"type": "linear", "name": f"{dtype}.{number}", "in_features": 161, "out_features": 331, "bias": False}
        | {"dtype": dtype, "initializer": initializer}
        for dtype in DType
        for number, initializer in enumerate(INITIALIZERS)
    ]
    return json.dumps({"seed": 2**64 - 1, "framework": framework, "layers": layers}).encode()


def digest() -> str:
    """SHA-256 over the files of both frameworks, measured statistics included."""
    found = sha256()
    for framework in ("torch", "keras"):
        plan = make_plan(read_spec(network(framework)))
        moments = [part for batch in batches(plan.tensors) for part in measure(plan.tensors, batch)]
        file = SafetensorsFile(plan, "measured", summarise(plan.tensors, moments))
        found.update(file.read(0, file.length))
        found.update(file.etag.encode())
    return found.hexdigest()


def enabled_features() -> list[str]:
    """The processor features that NumPy chooses its loops by, as far as they are switched on here."""
    return list(np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", []))


def report() -> dict[str, Any]:
    """What was drawn, and where."""
    locale.setlocale(locale.LC_ALL, "")
    return {
        "digest": digest(),
        "features": enabled_features(),
        "numeric_locale": locale.setlocale(locale.LC_NUMERIC),
        "encoding": locale.getencoding(),
        "hash": hash("weights"),
        "numpy": np.__version__,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(report()))
