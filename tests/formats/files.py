"""Files of plans, whole; and what the reference writer makes of the same tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from safetensors import TensorSpec, serialize

from service.analysis.statistics import Summary, batches, measure, summarise
from service.formats.files import StatisticsOption
from service.formats.safetensors import SafetensorsFile
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


def layer(kind: str, name: str, **fields: Any) -> Layer:
    return {"type": kind, "name": name} | fields


RANDOM: Final = {"type": "normal", "mean": 0.25, "std": 0.5}
# Every distribution that is not of one word an element, and every way in which Keras' tensor may lie in PyTorch's.
STRUCTURED: Final[tuple[Layer, ...]] = (
    layer("conv2d", "c", in_channels=4, out_channels=6, kernel_size=[3, 2], groups=2, initializer="orthogonal"),
    layer("conv_transpose1d", "t", in_channels=4, out_channels=6, kernel_size=3, initializer="orthogonal"),
    layer("conv1d", "delta", in_channels=4, out_channels=6, kernel_size=4, initializer="delta_orthogonal"),
    layer("conv3d", "dirac", in_channels=2, out_channels=4, kernel_size=[1, 2, 3], initializer="dirac"),
    layer("depthwise_conv", "dw", in_channels=3, depth_multiplier=2, kernel_size=3, initializer="orthogonal"),
    layer("separable_conv", "sep", in_channels=2, out_channels=5, kernel_size=[3], initializer="kaiming_normal"),
    layer("linear", "eye", in_features=4, out_features=3, initializer="identity", layout="in_out", dtype="F16"),
    layer("linear", "cut", in_features=4, out_features=3, initializer={"type": "truncated_normal", "high": None}),
    layer("embedding", "e", num_embeddings=9, embedding_dim=4, initializer={"type": "sparse", "sparsity": 0.4}),
    layer("rnn", "rnn", input_size=3, hidden_size=2, bias_initializer=RANDOM, initializer="orthogonal"),
    layer(
        "lstm",
        "lstm",
        input_size=3,
        hidden_size=2,
        num_layers=2,
        bidirectional=True,
        bias_initializer=RANDOM,
        forget_bias=1,
        recurrent_initializer="orthogonal",
        dtype="BF16",
    ),
    layer("gru", "gru", input_size=3, hidden_size=2, bias_initializer=RANDOM, initializer="identity", dtype="F8_E5M2"),
    layer("multihead_attention", "a", embed_dim=6, num_heads=2, initializer="orthogonal", bias_initializer=RANDOM),
    layer("multihead_attention", "k", embed_dim=6, num_heads=3, kdim=4, out_initializer="orthogonal", dtype="F64"),
    layer("linear", "d", in_features=4, out_features=3, initializer={"type": "keras_default", "multiplier": 2}),
    layer("lstm", "dl", input_size=3, hidden_size=2, initializer="torch_default"),
    layer("lstm", "dk", input_size=3, hidden_size=2, initializer="keras_default", fans="keras"),
    layer("conv1d", "fk", in_channels=4, out_channels=6, kernel_size=3, groups=2, fans="keras"),
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


def read(pieces: Iterator[bytes]) -> Any:
    """A JSON document that comes in pieces."""
    return json.loads(b"".join(pieces))
