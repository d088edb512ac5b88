"""What runs on the other machine: golden questions from standard input, a report to standard output.

NumPy and cryptography are all that is there, so laws come as documents, and arrangements without the planner.
"""

from __future__ import annotations

import json
import platform
import sys
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from math import inf
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.distributions.blockwise import Joined, Stacked, Sum
from service.distributions.elementwise import Constant, Distribution, Normal, TruncatedNormal, Uniform
from service.distributions.known_answers import check_known_answers
from service.distributions.structured import Identity, Orthogonal, Sparse
from service.distributions.truncated import CutNormal
from service.errors import BrokenPlatform
from service.stream.dtypes import DType
from service.stream.words import Elements, WordSource

Json = dict[str, Any]
LAWS: Final[dict[str, Any]] = {
    "uniform": Uniform,
    "normal": Normal,
    "truncated_normal": TruncatedNormal,
    "cut_normal": CutNormal,
    "constant": Constant,
    "identity": Identity,
    "orthogonal": Orthogonal,
    "sparse": Sparse,
    "stacked": Stacked,
    "sum": Sum,
    "joined": Joined,
}
ENDS: Final = {"low": -inf, "high": inf}


def law_of(document: Json) -> Distribution:
    """The law that a document describes."""
    members = {name: _read(ENDS.get(name) if value is None else value) for name, value in document.items()}
    law: Distribution = LAWS[members.pop("type")](**members)
    return law


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_read, value))
    return law_of(value) if isinstance(value, dict) else value


def _arrangement(members: Json) -> Any:
    """An arrangement, from its own file: its package needs pydantic."""
    if "arrangement" not in sys.modules:
        path = Path(__file__).parents[2] / "service" / "plan" / "arrangement.py"
        spec = spec_from_file_location("arrangement", path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["arrangement"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["arrangement"])
    return sys.modules["arrangement"].Arrangement(**{name: _read(value) for name, value in members.items()})


def drawn(tensor: Json) -> bytes:
    """A tensor as it lies in a file."""
    dtype, count, first = DType(tensor["dtype"]), tensor["elements"], tensor["first"]
    elements: Elements = range(first, first + count)
    if tensor["arrangement"] is not None:
        elements = _arrangement(tensor["arrangement"]).indices(first, count)
    stored = np.empty(count, dtype.storage)
    law_of(tensor["law"]).fill(WordSource(int(tensor["seed"]), tensor["name"]), elements, dtype, stored)
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
