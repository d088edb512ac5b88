"""What runs on the other machine: golden questions from standard input, a report to standard output.

Only NumPy and cryptography are there, so distributions come as documents, and rearrangements without the planner.
"""

from __future__ import annotations

import json
import platform
import sys
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

from service.distributions import read_distribution
from service.distributions.known_answers import check_known_answers
from service.errors import BrokenPlatform
from service.stream.dtypes import DType
from service.stream.words import Elements, WordSource

Json = dict[str, Any]


def _arrangement(members: Json) -> Any:
    """A rearrangement, from its own file: its package needs pydantic."""
    if "rearrangement" not in sys.modules:
        path = Path(__file__).parents[2] / "service" / "plan" / "rearrangement.py"
        spec = spec_from_file_location("rearrangement", path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["rearrangement"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["rearrangement"])
    return sys.modules["rearrangement"].Rearrangement(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in members.items()}
    )


def drawn(tensor: Json) -> bytes:
    """A tensor as it lies in a file."""
    dtype, count, first = DType(tensor["dtype"]), tensor["elements"], tensor["first"]
    elements: Elements = range(first, first + count)
    if tensor["rearrangement"] is not None:
        elements = _arrangement(tensor["rearrangement"]).indices(first, count)
    stored = np.empty(count, dtype.storage)
    read_distribution(tensor["distribution"]).fill(
        WordSource(int(tensor["seed"]), tensor["name"]), elements, dtype, stored
    )
    return stored.tobytes()


def differs(question: Json) -> bool:
    """Whether this machine gives another answer than the golden one."""
    digest = sha256(bytes.fromhex(question["before"]))
    for tensor in question["tensors"]:
        digest.update(drawn(tensor))
    return bool(digest.hexdigest() != question["sha256"])


def refusal() -> str | None:
    """Why the service would draw nothing here; None where it would."""
    try:
        check_known_answers()
    except BrokenPlatform as broken:
        return str(broken)
    except Exception as error:  # noqa: BLE001 - as where threads are checked: whatever fails refuses the machine
        return f"the check itself failed: {error!r}"
    return None


def report(questions: list[Json]) -> Json:
    """What this machine is, and what it draws otherwise."""
    return {
        "machine": platform.machine(),
        "order": sys.byteorder,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "refused": refusal(),
        "asked": len(questions),
        "differ": [question["label"] for question in questions if differs(question)],
    }


def main() -> None:
    """Read questions, write the report."""
    json.dump(report(json.load(sys.stdin)), sys.stdout)
