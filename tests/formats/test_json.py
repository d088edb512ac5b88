"""JSON answers: numbers that read back to the same bits, base64 that is the file's bytes, and plans that add up."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any, Final

import numpy as np
import pytest

from service.analysis.statistics import expected_as_stored
from service.api.routes.plans import PlanAnswer
from service.api.routes.statistics import StatisticsAnswer
from service.api.routes.weights import WeightsAnswer
from service.distributions.members import read_distribution
from service.errors import LimitExceeded
from service.formats.files import StatisticsOption
from service.formats.json import (
    Encoding,
    check_json_size,
    plan_json,
    statistics_json,
    weights_json,
)
from service.formats.safetensors import SafetensorsFile
from service.limits import Limits
from service.plan import Plan
from service.schema.canonical import canonical_json
from service.stream.dtypes import DType, widen
from tests.formats.files import MIXED, OPTIONS, STRUCTURED, file_of, measured, read, whole
from tests.plan.planned import Layer, planned, stored, tensor, values

each_framework = pytest.mark.parametrize("framework", ["torch", "keras"])
PLANS: Final = {name: planned(*MIXED, framework=name) for name in ("torch", "keras")}
DISTRIBUTIONS: Final[tuple[Layer | str, ...]] = (
    {"type": "uniform", "low": -1e-30, "high": 1e-30},
    {"type": "normal", "std": 1e-44},
    {"type": "truncated_normal", "mean": 1e6, "std": 0.01},
    {"type": "normal", "std": 1e30},
    {"type": "constant", "value": 0.1},
    {"type": "constant", "value": -1e-45},
    "zeros",
)


def weights(plan: Plan, statistics: StatisticsOption = "none", encoding: Encoding = "decimal") -> dict[str, Any]:
    summaries = measured(plan) if statistics == "measured" else None
    document: dict[str, Any] = json.loads(weights_json(plan, summaries, statistics, encoding))
    return document


def as_json(document: Any) -> Any:
    return json.loads(json.dumps(document))


@each_framework
def test_json_numbers_read_back_to_the_same_bits(framework: str) -> None:
    plan = PLANS[framework]

    for entry, each in zip(weights(plan)["tensors"], plan.tensors, strict=True):
        dtype = each.parameter.dtype
        read = np.array(entry["data"], np.float64 if dtype is DType.F64 else np.float32)
        assert read.tobytes() == widen(stored(each), dtype).tobytes()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["F64", "F32"])
def test_json_numbers_of_any_size_read_back_to_the_same_bits(distribution: Layer | str, dtype: str) -> None:
    plan = planned(tensor("w", (500,), distribution, dtype=dtype))

    [entry] = weights(plan)["tensors"]

    [each] = plan.tensors
    assert np.array(entry["data"], each.parameter.dtype.storage).tobytes() == stored(each).tobytes()


def test_json_numbers_are_the_shortest_that_read_back() -> None:
    plan = planned(
        tensor("a", (), {"type": "constant", "value": 0.1}),
        tensor("b", (), {"type": "constant", "value": 0.1}, dtype="F64"),
    )

    assert b'"data":[0.1]' in weights_json(plan, None, "none", "decimal")
    assert [entry["data"] for entry in weights(plan)["tensors"]] == [[0.1], [0.1]]


@each_framework
def test_base64_is_the_bytes_of_the_file(framework: str) -> None:
    plan = PLANS[framework]
    file = file_of(plan)
    raw = whole(file)
    places = {segment.tensor.name: segment for segment in file.segments}

    for entry in weights(plan, encoding="base64")["tensors"]:
        segment, data = places[entry["name"]], len(file.header)
        assert b64decode(entry["data"], validate=True) == raw[data + segment.start : data + segment.stop]


@each_framework
@pytest.mark.parametrize("statistics", OPTIONS)
@pytest.mark.parametrize("encoding", ["decimal", "base64"])
def test_weights_come_in_model_order_with_what_was_asked_for(
    framework: str, statistics: StatisticsOption, encoding: Encoding
) -> None:
    plan = PLANS[framework]

    document = weights(plan, statistics, encoding)

    WeightsAnswer.model_validate(document)
    assert {key: document[key] for key in ("digest", "stream", "seed")} == {
        "digest": plan.digest,
        "stream": 1,
        "seed": "1",
    }
    assert [(each["name"], each["dtype"], each["shape"]) for each in document["tensors"]] == [
        (each.name, each.parameter.dtype.value, list(each.shape)) for each in plan.tensors
    ]
    kinds = {"expected": {"expected"}, "measured": {"expected", "measured"}, "none": set[str]()}
    assert all(set(each.get("statistics", {})) == kinds[statistics] for each in document["tensors"])


def test_tensors_of_no_elements_and_of_rank_0_have_flat_data() -> None:
    plan = planned(tensor("empty", (0, 3), "zeros"), tensor("scalar", (), "ones", dtype="F8_E4M3"))

    assert [entry["data"] for entry in weights(plan)["tensors"]] == [[], [1.0]]
    assert [entry["data"] for entry in weights(plan, encoding="base64")["tensors"]] == ["", "OA=="]


def test_statistics_stand_measured_beside_expected_in_model_order() -> None:
    plan = PLANS["keras"]
    summaries = measured(plan)

    document = read(statistics_json(plan, summaries))

    StatisticsAnswer.model_validate(as_json(document))
    assert document["digest"] == plan.digest
    for entry, each, summary in zip(document["tensors"], plan.tensors, summaries, strict=True):
        assert (entry["name"], entry["elements"]) == (each.name, each.elements)
        assert entry["statistics"] == {"measured": summary._asdict(), "expected": expected_as_stored(each)._asdict()}


@each_framework
def test_a_plan_says_what_the_file_would_be(framework: str) -> None:
    plan = PLANS[framework]
    file = SafetensorsFile(plan)

    document = read(plan_json(file))

    PlanAnswer.model_validate(as_json(document))
    assert document["etag"] == f'"{file.etag}"'
    assert document["permalink"] == f"/v1/weights/{plan.permalink}/model.safetensors"
    assert canonical_json(document["canonical_spec"]) == plan.canonical
    assert document["totals"] == {
        "tensors": len(plan.tensors),
        "elements": sum(values(each).size for each in plan.tensors),
        "bytes": sum(stored(each).nbytes for each in plan.tensors),
        "header_bytes": len(file.header),
        "file_bytes": file.length,
    }
    raw = whole(file)
    for entry, each in zip(document["tensors"], plan.tensors, strict=True):
        begin, end = (len(file.header) + offset for offset in entry["data_offsets"])
        assert raw[begin:end] == stored(each).tobytes()
        assert entry["bytes"] == end - begin
        assert (entry["canonical_name"], entry["elements"]) == (each.canonical_name, each.elements)


def test_a_plan_describes_the_distribution_of_every_tensor() -> None:
    distributions = (
        "xavier_uniform",
        "xavier_normal",
        "variance_scaling",
        {"type": "constant", "value": 2},
    )
    plan = planned(*(tensor(f"{number}", (6, 6), distribution) for number, distribution in enumerate(distributions)))

    tensors = read(plan_json(SafetensorsFile(plan)))["tensors"]

    assert [each["distribution"]["type"] for each in tensors] == ["uniform", "normal", "truncated_normal", "constant"]
    assert [(each["fan_in"], each["fan_out"]) for each in tensors] == [(6, 6)] * 4
    bound = tensors[0]["distribution"]["high"]
    assert bound == pytest.approx(0.5**0.5, rel=1e-15, abs=0)
    assert tensors[0]["distribution"] == {"type": "uniform", "low": -bound, "high": bound}
    assert tensors[3]["distribution"] == {"type": "constant", "value": 2.0}
    assert tensors[3]["expected"] == {"mean": 2.0, "std": 0.0, "min": 2.0, "max": 2.0}


@each_framework
@pytest.mark.parametrize("fans", ["exact", "torch", "keras"])
def test_a_plan_of_structured_distributions_describes_each_so_that_it_can_be_made_again(
    framework: str, fans: str
) -> None:
    plan = planned(*STRUCTURED, framework=framework, fans=fans)

    document = as_json(read(plan_json(SafetensorsFile(plan))))

    PlanAnswer.model_validate(document)
    for entry, each in zip(document["tensors"], plan.tensors, strict=True):
        assert read_distribution(entry["distribution"]) == each.distribution
        assert entry["expected"] == expected_as_stored(each)._asdict()
        fans_of_rules = {
            rule: counted and (counted["fan_in"], counted["fan_out"]) for rule, counted in entry["fans"].items()
        }
        if entry["fan_rule"] is not None:
            assert fans_of_rules[entry["fan_rule"]] == (entry["fan_in"], entry["fan_out"])
        else:
            assert (entry["fan_in"], entry["fan_out"]) == (None, None)


def test_a_plan_says_what_is_drawn_whole_in_parts_and_cut() -> None:
    tensors = {each["name"]: each for each in read(plan_json(SafetensorsFile(planned(*STRUCTURED))))["tensors"]}

    assert tensors["c.weight"]["distribution"] == {
        "type": "orthogonal",
        "gain": 1.0,
        "shape": [2, 3, 2, 3, 2],
        "batch_axes": [0],
        "row_axes": [1],
        "center": [],
    }
    assert tensors["delta.weight"]["distribution"]["center"] == [[3, 1]]
    assert tensors["dirac.weight"]["distribution"] == {
        "type": "identity",
        "value": 1.0,
        "shape": [1, 4, 2, 1, 2, 3],
        "diagonal": [1, 2],
        "center": [[3, 0], [4, 1], [5, 1]],
    }
    assert tensors["e.weight"]["distribution"] == {
        "type": "sparse",
        "std_before": 0.01,
        "zeros": 4,
        "shape": [9, 4],
        "row_axis": 0,
    }
    assert tensors["cut.weight"]["distribution"] == {
        "type": "cut_normal",
        "location": 0.0,
        "std_before": 1.0,
        "low": -2.0,
        "high": None,
    }
    normal = {"type": "normal", "mean": 0.25, "std": 0.5}
    assert tensors["lstm.bias_ih_l0"]["distribution"] == {
        "type": "stacked",
        "laws": [normal, {"type": "constant", "value": 1.0}, normal, normal],
        "length": 2,
    }


@each_framework
def test_json_weights_of_structured_distributions_are_those_of_the_file(framework: str) -> None:
    plan = planned(*STRUCTURED, framework=framework)

    document = weights(plan, "measured")

    WeightsAnswer.model_validate(document)
    for entry, each, summary in zip(document["tensors"], plan.tensors, measured(plan), strict=True):
        drawn = values(each).astype(np.float64)
        assert np.array_equal(
            np.array(entry["data"]).reshape(each.shape).astype(each.parameter.dtype.precision.floating), drawn
        )
        assert entry["statistics"]["measured"] == summary._asdict()
        assert summary.mean == pytest.approx(drawn.mean(), rel=1e-12, abs=1e-12)
        assert summary.std == pytest.approx(drawn.std(), rel=1e-9, abs=1e-12)


def test_json_is_refused_beyond_its_limit_of_values() -> None:
    plan = planned(tensor("a", (10,)), tensor("b", (3, 5)))

    check_json_size(plan, Limits(json_values=25))
    with pytest.raises(LimitExceeded) as refusal:
        check_json_size(plan, Limits(json_values=24))

    first = refusal.value.first
    assert (first.pointer, first.name, first.limit, first.requested) == ("/layers", "json_values", 24, 25)
    assert first.message == "at most 24 values as JSON; this has 25: ask for format=safetensors"
