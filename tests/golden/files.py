"""Files: every example, and each distribution in every way to lie in a file, in both namings, with all statistics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from service.plan import Plan, make_plan
from service.schema.parsing import read_spec
from tests.formats.files import MIXED, OPTIONS, STRUCTURED, file_of, layer
from tests.golden.tables import DATA, Answer, Question, Table
from tests.plan.planned import Layer, linear, tensor

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
FRAMEWORKS: Final = ("torch", "keras")
SEED: Final = 20100513

WORD_DISTRIBUTIONS: Final[dict[str, Any]] = {
    "uniform": {"type": "uniform", "low": -0.3, "high": 0.3},
    "uniform with a midpoint": {"type": "uniform", "low": -0.1, "high": 0.7},
    "normal": {"type": "normal", "std": 0.02},
    "normal with a mean": {"type": "normal", "mean": -0.25, "std": 0.5},
    "truncated normal": {"type": "truncated_normal", "std": 0.02},
    "truncated normal with a mean": {"type": "truncated_normal", "mean": 0.1, "std": 0.3},
    "normal cut on both sides": {"type": "truncated_normal", "mean": 0.1, "std": 0.3, "low": -1, "high": 2.5},
    "normal cut below": {"type": "truncated_normal", "std": 0.3, "low": 0.5, "high": None},
    "normal cut above": {"type": "truncated_normal", "mean": 2, "low": None, "high": -3},
    "constant": {"type": "constant", "value": 0.1},
    "ones": "ones",
    "zeros": "zeros",
}
"""What a tensor of any kind may have."""
FAN_DISTRIBUTIONS: Final[dict[str, Any]] = {
    "xavier_uniform": {"type": "xavier_uniform", "gain": "tanh"},
    "xavier_normal": {"type": "xavier_normal", "mode": "fan_in"},
    "variance_scaling": {"type": "variance_scaling", "scale": 2, "mode": "fan_geo_avg"},
    "orthogonal": {"type": "orthogonal", "gain": "relu"},
    "orthogonal, torch's matrix": {"type": "orthogonal", "matricisation": "torch"},
    "orthogonal, Keras' matrix": {"type": "orthogonal", "matricisation": "keras", "multiplier": 0.5},
    "torch_default": {"type": "torch_default", "multiplier": 2},
    "keras_default": "keras_default",
}
MATRIX_DISTRIBUTIONS: Final[dict[str, Any]] = {
    "identity": {"type": "identity", "gain": -0.3},
    "sparse": {"type": "sparse", "sparsity": 0.4},
    "sparse without zeros": {"type": "sparse", "sparsity": 0, "std": 2},
}
KERNEL_DISTRIBUTIONS: Final[dict[str, Any]] = {
    "dirac": {"type": "dirac", "gain": 0.1},
    "dirac in groups": {"type": "dirac", "groups": 2, "center": "jax"},
    "delta_orthogonal": {"type": "delta_orthogonal", "gain": 3},
    "delta_orthogonal, upper centre": {"type": "delta_orthogonal", "center": "torch"},
}
PLAIN: Final = tensor("w", (6, 10))
PLAIN_KERNEL: Final = tensor("w", (6, 4, 4))
PERMUTED: Final = linear("fc", 10, 6)
PERMUTED_KERNELS: Final = (
    layer("conv2d", "c", in_channels=4, out_channels=6, kernel_size=[3, 2]),
    layer("conv1d", "g", in_channels=4, out_channels=6, kernel_size=3, groups=2, bias=False),
    layer("conv_transpose1d", "t", in_channels=4, out_channels=6, kernel_size=3, bias=False),
    layer("depthwise_conv", "d", in_channels=3, depth_multiplier=2, kernel_size=[4], bias=False),
)
GATES: Final = layer("gru", "gru", input_size=3, hidden_size=4, bias=False)
PART: Final = layer("multihead_attention", "a", embed_dim=6, num_heads=2, bias=False)
IN_OUT: Final = linear("stored", 10, 6, layout="in_out")
MATRICES: Final = (PLAIN, PERMUTED, GATES, PART, IN_OUT)
"""As drawn; in another order of axes; with reordered gates; a part of one tensor; stored (in, out)."""
BIASES: Final = (
    layer("rnn", "rnn", input_size=3, hidden_size=4),
    layer("lstm", "lstm", input_size=3, hidden_size=4),
    layer("lstm", "forget", input_size=3, hidden_size=4, forget_bias=1, bidirectional=True),
    layer("gru", "gru", input_size=3, hidden_size=4),
    layer("multihead_attention", "a", embed_dim=6, num_heads=2),
    layer("conv2d", "c", in_channels=2, out_channels=3, kernel_size=1),
    layer("batch_norm", "n", num_features=5),
)
"""Of PyTorch's two biases Keras has the sum (rnn, lstm) or both in one tensor (gru), gate by gate."""
DEFAULTS: Final = (
    linear("fc", 6, 4),
    layer("bilinear", "bi", in1_features=3, in2_features=5, out_features=2),
    layer("separable_conv", "s", in_channels=2, out_channels=5, kernel_size=[3]),
    layer("conv_transpose2d", "t", in_channels=4, out_channels=6, kernel_size=[3, 2]),
    layer("rnn", "rnn", input_size=3, hidden_size=5),
    layer("lstm", "lstm", input_size=3, hidden_size=5),
    layer("gru", "gru", input_size=3, hidden_size=5),
    layer("multihead_attention", "a", embed_dim=6, num_heads=2),
    layer("embedding", "e", num_embeddings=7, embedding_dim=3),
)
LARGE: Final = (
    linear("square", 101, 101, initializer="orthogonal"),
    linear("wide", 151, 127, initializer="orthogonal", dtype="F64"),
    linear("long", 3, 4200, initializer="orthogonal"),
)
"""Matrices of several panels, and of columns longer than a block."""
NAMES: Final = (
    tensor("it's", (2,)),
    tensor("both ' and \"", (2,)),
    tensor("back\\slash", (2,)),
    tensor("no-break\xa0space", (2,)),
    tensor("soft\xadhyphen", (2,)),
    tensor("zero\u200bwidth, private \ue000, none \uffff \u0378", (2,)),
    tensor("one plane up \U0001f600 \U000e0001 \U000f0000", (2,)),
    tensor("\u00e9 e\u0301 \u5c64 \u3000 \u2028", (2,)),
)
"""What Python writes with escapes, and what it does not."""


def _bodies() -> Iterator[list[Layer]]:
    for distribution in (WORD_DISTRIBUTIONS | FAN_DISTRIBUTIONS | MATRIX_DISTRIBUTIONS).values():
        yield from ([each | {"initializer": distribution}] for each in MATRICES if _has_default(each, distribution))
    for distribution in (WORD_DISTRIBUTIONS | FAN_DISTRIBUTIONS | KERNEL_DISTRIBUTIONS).values():
        for each in (PLAIN_KERNEL, *PERMUTED_KERNELS):
            if _has_default(each, distribution):
                yield [each | {"initializer": distribution}]
    for distribution in WORD_DISTRIBUTIONS.values():
        yield from ([each | {"bias_initializer": distribution}] for each in BIASES)
    for default in ("torch_default", "keras_default"):
        for each in DEFAULTS:
            if (each["type"], default) != ("bilinear", "keras_default"):
                biased = {} if each["type"] == "embedding" else {"bias_initializer": default}
                yield [each | biased | {"initializer": default}]


def _has_default(body: Layer, distribution: Any) -> bool:
    """A bare tensor is of no framework."""
    return body["type"] != "tensor" or "_default" not in str(distribution)


def specifications() -> Iterator[Question]:
    """All specifications of golden files."""
    for example in sorted(EXAMPLES.glob("*.json")):
        spec = json.loads(example.read_text())
        yield from (spec | {"framework": framework} for framework in FRAMEWORKS)
    for body in (*_bodies(), [*MIXED], [*STRUCTURED], [*NAMES], [*LARGE]):
        for framework in FRAMEWORKS:
            yield {"seed": SEED, "framework": framework, "layers": body}
    for rule in ("torch", "keras"):
        yield {"seed": 2**64 - 1, "framework": rule, "fans": rule, "prefix": "model.", "layers": [*STRUCTURED]}


def questions() -> Iterator[Question]:
    """Every specification with every kind of statistics."""
    for spec in specifications():
        yield from ({"statistics": statistics, "spec": spec} for statistics in OPTIONS)


def answer(question: Question) -> Answer:
    """The file that a question asks for."""
    plan, data = _planned(json.dumps(question["spec"]))
    file = file_of(plan, question["statistics"])
    digest = sha256(file.read(0, len(file.header)))
    digest.update(data)
    return {"etag": file.etag, "length": file.length, "sha256": digest.hexdigest()}


@lru_cache(maxsize=1)
def _planned(spec: str) -> tuple[Plan, bytes]:
    """A plan, and what stands behind the header of its file, whatever statistics that has."""
    plan = make_plan(read_spec(spec.encode()))
    file = file_of(plan, "none")
    return plan, b"".join(file.read(first, last) for first, last in file.spans(len(file.header), file.length))


FILES: Final = Table(DATA / "golden_files.jsonl", questions, answer)
