"""Files of plans, whole; and what the reference writer makes of the same tensors."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
from safetensors import TensorSpec, serialize

from service.analysis.statistics import Summary, batches, measure, summarise
from service.formats.safetensors import SafetensorsFile, StatisticsOption
from service.plan import Plan
from service.stream.dtypes import DType
from tests.plan.planned import Layer, group, linear, planned, repeat, stored, tensor

WRITER_NAMES: Final = {
    DType.F64: "float64",
    DType.F32: "float32",
    DType.F16: "float16",
    DType.BF16: "bfloat16",
    DType.F8_E4M3: "float8_e4m3fn",
    DType.F8_E5M2: "float8_e5m2",
}
OPTIONS: Final[tuple[StatisticsOption, ...]] = ("expected", "measured", "none")

# Every dtype, odd sizes, rank 0, no elements, and names that JSON escapes, in an order that is not the file's.
MIXED: Final[tuple[Layer, ...]] = (
    *(tensor(f"t.{dtype}", (3, 5, 7), "normal", dtype=dtype) for dtype in reversed(DType)),
    linear("fc", 11, 13, dtype="BF16"),
    tensor("scalar", (), "ones", dtype="F8_E5M2"),
    tensor("empty", (0, 3), "zeros", dtype="F16"),
    tensor("empty.too", (3, 0), "zeros"),
    repeat("h", 12, group("attn", linear("", 3, 4, bias=False))),
    tensor('quote"back\\slash/', (2,), "uniform"),
    tensor("\u00e9 e\u0301 層 \u2028", (3,), "uniform"),
    # By code points U+FFFD comes first, by UTF-16 (RFC 8785) U+1F600.
    tensor("\ufffd", (1,), "uniform"),
    tensor("\U0001f600", (1,), "uniform"),
)


def measured(plan: Plan) -> list[Summary]:
    moments = [part for batch in batches(plan.tensors) for part in measure(plan.tensors, batch)]
    return summarise(plan.tensors, moments)


def file_of(plan: Plan, statistics: StatisticsOption = "expected") -> SafetensorsFile:
    return SafetensorsFile(plan, statistics, measured(plan) if statistics == "measured" else None)


def mixed_file(statistics: StatisticsOption = "expected", **more: Any) -> SafetensorsFile:
    return file_of(planned(*MIXED, **more), statistics)


def whole(file: SafetensorsFile) -> bytes:
    return bytes(file.read(0, file.length))


def header_of(raw: bytes) -> dict[str, Any]:
    length = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    return header


def metadata_of(raw: bytes) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(header_of(raw)["__metadata__"]["xavier"])
    return metadata


def written_by_the_reference(file: SafetensorsFile) -> bytes:
    """What safetensors makes of the same tensors; its random order of metadata is drawn until it is format, xavier."""
    arrays = {each.name: np.ascontiguousarray(stored(each)) for each in file.plan.tensors}
    specs = {
        each.name: TensorSpec(
            dtype=WRITER_NAMES[each.parameter.dtype],
            shape=list(each.shape),
            data_ptr=arrays[each.name].ctypes.data,
            data_len=arrays[each.name].nbytes,
        )
        for each in file.plan.tensors
    }
    metadata = header_of(file.header)["__metadata__"]
    for _ in range(200):  # two keys: a chance of 2^-200 that neither write has our order
        written = bytes(serialize(specs, metadata))
        if list(header_of(written)["__metadata__"]) == ["format", "xavier"]:
            return written
    raise AssertionError("the reference writer never chose our order of metadata")
