"""JSON answers: the plan, the statistics, and small files of weights as JSON.

Weights are written as the shortest decimals that read back to the same binary32 value (binary64 for F64).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from service.analysis.statistics import Summary, expected_as_stored
from service.errors import LimitExceeded, LimitFault
from service.formats.files import StatisticsOption
from service.formats.safetensors import SafetensorsFile
from service.limits import Limits
from service.plan import Parameter, Plan, TensorPlan
from service.plan.parameter import RULES, LayerParameter
from service.schema.permalinks import MOST_IN_URL, file_path
from service.stream import STREAM_VERSION
from service.stream.dtypes import DType, widen

STATISTICS_VERSION: Final = 2
"""Changes whenever the statistics of an unchanged plan would be answered differently."""
PIECE: Final = 500
"""Tensors that are described in one piece."""
Encoding = Literal["decimal", "base64"]
Document = dict[str, Any]


def plan_json(file: SafetensorsFile, root: str = "", remarks: Callable[[], Sequence[str]] = tuple) -> Iterator[bytes]:
    """What would be drawn, and where it would lie in the file, as pieces of a JSON document.

    Args:
        file: the file.
        root: the prefix of the service's paths.
        remarks: returns warnings about the specification as it was received.
    """
    plan = file.plan
    permalink = file_path(plan.permalink, file.name, file.statistics, root)
    short = len(permalink) <= MOST_IN_URL
    about = _about(plan) | {
        "permalink": permalink if short else None,
        "etag": f'"{file.etag}"',
        "canonical_spec": orjson.Fragment(plan.canonical),
        "totals": {
            "tensors": len(plan.tensors),
            "elements": plan.elements,
            "bytes": plan.nbytes,
            "header_bytes": len(file.header),
            "file_bytes": file.length,
        },
        "warnings": [*remarks(), *plan.warnings, *([] if short else [_too_long(permalink)])],
    }
    yield from _listed(about, _tensor_plans(file))


def statistics_json(plan: Plan, measured: Sequence[Summary]) -> Iterator[bytes]:
    """Measured and expected statistics of every tensor, in model order, as pieces of a JSON document."""
    tensors = (
        _names(tensor) | {"elements": tensor.elements, "statistics": _statistics(tensor, summary)}
        for tensor, summary in zip(plan.tensors, measured, strict=True)
    )
    yield from _listed(_about(plan), tensors)


def _listed(about: Document, tensors: Iterator[Document]) -> Iterator[bytes]:
    """A document and its tensors; only one piece is in memory at a time."""
    yield orjson.dumps(about)[:-1] + b',"tensors":['
    comma = b""
    while some := list(islice(tensors, PIECE)):
        yield comma + orjson.dumps(some)[1:-1]
        comma = b","
    yield b"]}"


def _too_long(permalink: str) -> str:
    return (
        f"there is no permalink, and so no range of the file: it would have {len(permalink)} characters, and more than"
        f" {MOST_IN_URL} are not safe everywhere; shorten the specification by repeat, or POST it for the whole file"
    )


def check_json_size(plan: Plan, limits: Limits) -> None:
    """Refuse a JSON answer that would be too large.

    Raises:
        LimitExceeded: it has too many values.
    """
    if plan.elements > limits.json_values:
        message = f"at most {limits.json_values} values as JSON; this has {plan.elements}: ask for format=safetensors"
        raise LimitExceeded([LimitFault("/layers", message, "json_values", limits.json_values, plan.elements)])


def weights_json(
    plan: Plan, measured: Sequence[Summary] | None, statistics: StatisticsOption, encoding: Encoding
) -> bytes:
    """All weights of a plan as one JSON document: tensors in model order, each flat and row-major.

    Args:
        plan: a plan within the limit for JSON.
        measured: summaries in model order, if `statistics` is measured.
        statistics: what to say about each tensor.
        encoding: decimal numbers, or base64 of the bytes in a safetensors file.
    """
    tensors = []
    for place, tensor in enumerate(plan.tensors):
        entry = _names(tensor) | {"data": _data(tensor, encoding)}
        if statistics != "none":
            entry["statistics"] = _statistics(tensor, measured[place] if measured else None)
        tensors.append(entry)
    return orjson.dumps(_about(plan) | {"tensors": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)


def _about(plan: Plan) -> Document:
    return {"digest": plan.digest, "stream": STREAM_VERSION, "seed": str(plan.spec.seed)}


def _names(tensor: TensorPlan) -> Document:
    return {"name": tensor.name, "dtype": tensor.parameter.dtype.value, "shape": list(tensor.shape)}


def _statistics(tensor: TensorPlan, measured: Summary | None) -> Document:
    found = {"measured": measured._asdict()} if measured else {}
    return found | {"expected": expected_as_stored(tensor)._asdict()}


def _tensor_plans(file: SafetensorsFile) -> Iterator[Document]:
    places = {segment.tensor.name: segment for segment in file.segments}
    described: dict[Parameter, Document] = {}
    for tensor in file.plan.tensors:
        parameter = tensor.parameter
        if parameter not in described:
            if len(described) == PIECE:
                described.clear()  # bounds the memory if all parameters differ
            described[parameter] = _described(tensor)
        segment = places[tensor.name]
        names = {"name": tensor.name, "canonical_name": tensor.canonical_name}
        yield names | described[parameter] | {"data_offsets": [segment.start, segment.stop]}


def _described(tensor: TensorPlan) -> Document:
    """The part of a description that all tensors of a parameter share."""
    parameter = tensor.parameter
    return {
        "dtype": parameter.dtype.value,
        "shape": list(tensor.shape),
        "canonical_shape": list(parameter.canonical_shape),
        "elements": tensor.elements,
        "bytes": parameter.nbytes,
        "fan_in": parameter.fans and parameter.fans.fan_in,
        "fan_out": parameter.fans and parameter.fans.fan_out,
        "fan_rule": parameter.rule,
        "fans": _counted(parameter.defined),
        "initializer": parameter.initializer.model_dump(mode="json"),
        "distribution": parameter.distribution.document,
        "expected": expected_as_stored(tensor)._asdict(),
    }


def _counted(defined: LayerParameter) -> Document:
    """The fans of a parameter by every rule."""
    counted = {rule: defined.fans(rule) for rule in RULES}
    return {rule: {"fan_in": fans.fan_in, "fan_out": fans.fan_out} if fans else None for rule, fans in counted.items()}


def _data(tensor: TensorPlan, encoding: Encoding) -> NDArray[Any] | str:
    dtype = tensor.parameter.dtype
    stored = np.empty(tensor.elements, dtype.storage)
    tensor.fill(0, stored)
    if encoding == "base64":
        return b64encode(stored.tobytes()).decode()
    return widen(stored, dtype).astype(np.float64 if dtype is DType.F64 else np.float32, copy=False)
