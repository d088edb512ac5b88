"""What is claimed of tensors and answers, and held against the values themselves."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.api.answers import array_of
from tests.fuzz.exchanges import Wrong

Array = NDArray[Any]
Object = dict[str, Any]


def same(what: str, found: Any, wanted: Any, more: str = "") -> None:
    """Raises Wrong unless two things are equal."""
    if found != wanted:
        raise Wrong(f"{what}: {str(found)[:300]}, and should be {str(wanted)[:300]} {more}")


def same_bytes(what: str, found: bytes, wanted: bytes) -> None:
    """Raises Wrong, and says where first, unless two files are equal."""
    if found != wanted:
        place = next((at for at, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]), "its end")
        raise Wrong(f"{what}: {len(found)} of {len(wanted)} bytes, another one at {place}")


def same_values(name: str, found: Array, stored: Array) -> None:
    """Raises Wrong unless values are equal, signs of zeros included."""
    if not np.array_equal(found, stored.astype(found.dtype)) or np.any(np.signbit(found) != np.signbit(stored)):
        raise Wrong(f"the values of {name!r} in JSON are others than in the file")


def decoded(entry: Object, encoding: str) -> Array:
    """The values of a tensor of a JSON answer, in the least dtype that has them all."""
    if encoding == "base64":
        return array_of(b64decode(entry["data"]), entry["dtype"], entry["shape"]).astype(np.float64)
    wide = np.float64 if entry["dtype"] == "F64" else np.float32
    return np.array(entry["data"], np.float64).astype(wide).astype(np.float64).reshape(entry["shape"])


def strict_json(text: str) -> Any:
    """JSON, without Python's own NaN and infinities."""

    def refuse(literal: str) -> None:
        raise Wrong(f"metadata that is no JSON: {literal}")

    return json.loads(text, parse_constant=refuse)


def check_described(name: str, statistics: Object, stored: Array) -> None:
    """Measured numbers are those of the values, none of which passes the expected ends."""
    measured, expected = statistics["measured"], statistics["expected"]
    if not stored.size:
        same(f"the statistics of {name!r}", measured, dict.fromkeys(measured))
        return
    values = stored.astype(np.float64)
    same(f"the ends of {name!r}", (measured["min"], measured["max"]), (values.min() + 0.0, values.max() + 0.0))
    largest = float(np.abs(values).max()) or 1.0
    mean, std = float(np.mean(values / largest)), float(np.std(values / largest))
    near = abs(measured["mean"] / largest - mean) < 1e-9 and abs(measured["std"] / largest - std) < 1e-7
    if not near:
        raise Wrong(f"the statistics of {name!r}: {measured}, and should be {mean * largest}, {std * largest}")
    if not expected["min"] <= measured["min"] <= measured["max"] <= expected["max"]:
        raise Wrong(f"the values of {name!r} pass the expected ends: {measured}, {expected}")
