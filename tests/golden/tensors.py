"""Tensors: of every initializer wherever it can stand, and of every layer, a row each, in every dtype."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from typing import Final

from service.plan import TensorPlan, make_plan
from service.schema.parsing import read_spec
from service.stream.dtypes import DType
from tests.golden.tables import DATA, Answer, Question, Table
from tests.plan.planned import Layer, stored
from tests.plan.test_every_initializer import DEFAULT_ROWS
from tests.plan.test_every_initializer import ROWS as INITIALIZERS
from tests.plan.test_every_layer import ROWS as LAYERS

SEED: Final = 20100513


def _layers() -> Iterator[tuple[str, Layer]]:
    """Every layer and its framework."""
    for initializer in INITIALIZERS:
        for framework in initializer.places.frameworks:
            for layer in initializer.places.golden:
                yield framework, layer | {"initializer": initializer.initializer}
    for default in DEFAULT_ROWS:
        kind = f"{default.framework}_default"
        yield default.framework, default.layer | {"initializer": kind}
    for row in LAYERS:
        for framework in ("torch", "keras"):
            yield framework, row.layer


def questions() -> Iterator[Question]:
    """Every tensor of every layer."""
    for framework, layer in _layers():
        spec = {"seed": SEED, "framework": framework, "layers": [layer]}
        yield from ({"tensor": tensor, "spec": spec} for tensor in _tensors(json.dumps(spec)))


def answer(question: Question) -> Answer:
    """The digest of a tensor in each dtype."""
    tensors = {dtype: _tensors(json.dumps(question["spec"] | {"dtype": dtype})) for dtype in DType}
    return {dtype: sha256(stored(tensors[dtype][question["tensor"]]).tobytes()).hexdigest() for dtype in DType}


@lru_cache(maxsize=len(DType))
def _tensors(spec: str) -> dict[str, TensorPlan]:
    plan = make_plan(read_spec(spec.encode()))
    return {tensor.name: tensor for tensor in plan.tensors}


TENSORS: Final = Table(DATA / "golden_tensors.jsonl", questions, answer)
