"""The golden questions that another machine is asked: all small ones, planned here, as it only draws."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Final

from service.distributions.base import Distribution
from service.distributions.elementwise import Constant, Normal, TruncatedNormal, Uniform
from service.formats.safetensors import SafetensorsFile
from service.plan import Plan, TensorPlan, make_plan
from service.schema.parsing import read_spec
from service.stream.dtypes import DType
from tests.golden.files import FILES
from tests.golden.tensors import TENSORS
from tests.stream.drawing import VECTORS

Json = dict[str, Any]
MOST_BYTES: Final = 1 << 20
"""Of a file; the larger examples have no other distributions."""


def questions() -> list[Json]:
    """Every known answer of the stream, golden tensor and small golden file, each with its digest."""
    return [*_vectors(), *_tensors(), *_files()]


def _vectors() -> Iterator[Json]:
    for vector in (*VECTORS["values"], *VECTORS["digests"]):
        scale, mean = float.fromhex(vector.get("scale", "0x1p+0")), float.fromhex(vector.get("mean", "0x0p+0"))
        asked = {
            "seed": vector["seed"],
            "name": vector["name"],
            "distribution": _distribution(vector["distribution"], scale, mean).document,
            "dtype": vector["dtype"],
            "rearrangement": None,
            "first": vector["start"],
            "elements": vector["count"],
        }
        digest = vector.get("sha256") or sha256(bytes.fromhex(vector["hex"])).hexdigest()
        yield _question(f"vectors.json: {vector['distribution']} {vector['dtype']}", digest, [asked])


def _distribution(kind: str, scale: float, mean: float) -> Distribution:
    match kind:
        case "uniform":
            return Uniform(mean - scale, mean + scale)
        case "normal":
            return Normal(mean, scale)
        case _:
            return TruncatedNormal(mean, scale)


def _tensors() -> Iterator[Json]:
    for line, (question, answer) in enumerate(TENSORS.rows(), 1):
        for dtype in DType:
            plan = _plan(question["spec"] | {"dtype": dtype})
            [tensor] = [each for each in plan.tensors if each.name == question["tensor"]]
            yield _question(f"{TENSORS.path.name}:{line} {dtype}", answer[dtype], [_asked(tensor)])


def _files() -> Iterator[Json]:
    for line, (question, answer) in enumerate(FILES.rows(), 1):
        if question["statistics"] == "none" and answer["length"] <= MOST_BYTES:
            file = SafetensorsFile(_plan(question["spec"]), "none")
            asked = [_asked(segment.tensor) for segment in file.segments]
            yield _question(f"{FILES.path.name}:{line}", answer["sha256"], asked, file.header)


def _question(label: str, digest: str, tensors: list[Json], before: bytes = b"") -> Json:
    return {"label": label, "sha256": digest, "before": before.hex(), "tensors": tensors}


def _plan(spec: Json) -> Plan:
    return make_plan(read_spec(json.dumps(spec).encode()))


def _asked(tensor: TensorPlan) -> Json:
    rearrangement, distribution = tensor.parameter.rearrangement, tensor.distribution
    return {
        "seed": tensor.seed,
        "name": tensor.canonical_name,
        "distribution": distribution.document,
        "dtype": tensor.parameter.dtype,
        "rearrangement": None if rearrangement is None or isinstance(distribution, Constant) else asdict(rearrangement),
        "first": 0,
        "elements": tensor.elements,
    }
