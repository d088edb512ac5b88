"""Query parameters: unknown, repeated or wrong ones are refused and named, on every resource that takes any."""

from __future__ import annotations

import httpx
import pytest

from tests.api.answers import assert_problem, longest_run, messages
from tests.api.specs import SMALL, linear, spec, tensor

WRONG = {
    "seed=": "seed",
    "seed=-1": "seed",
    "seed=x": "seed",
    "seed=1.0": "seed",
    "seed=1e3": "seed",
    "seed=01": "seed",
    "seed=+1": "seed",
    "seed=true": "seed",
    "seed=%00": "seed",
    "seed=%FF": "seed",
    "seed=%D9%A1": "seed",
    "seed=18446744073709551616": "seed",
    "seed=" + "9" * 5000: "seed",
    "seed=" + "x" * 5000: "seed",
    "seed=1&seed=1": "seed",
    "seed=1&seed=2": "seed",
    "dtype=": "dtype",
    "dtype=F33": "dtype",
    "dtype=" + "x" * 5000: "dtype",
    "dtype=F32&dtype=F32": "dtype",
    "sed=1": "sed",
    "Seed=1": "Seed",
    "x": "x",
    "x=1&x=2": "x",
    "%FF=1": "\N{REPLACEMENT CHARACTER}",
}
WRONG_FOR_FILES = {
    "statistics=": "statistics",
    "statistics=all": "statistics",
    "statistics=none&statistics=none": "statistics",
}
WRONG_FOR_WEIGHTS = {
    "format=": "format",
    "format=xml": "format",
    "format=JSON": "format",
    "format=json&format=json": "format",
    "encoding=hex": "encoding",
    "encoding=": "encoding",
}


@pytest.fixture(scope="module")
def paths(client: httpx.Client) -> dict[str, list[str]]:
    """Resources by how many options they take."""
    weights = client.post("/v1/weights", json=SMALL).headers["content-location"]
    statistics = f"/v1/statistics/{weights.split('/')[3]}"
    return {
        "specification": ["/v1/statistics", statistics],
        "file": ["/v1/plan", weights],
        "weights": ["/v1/weights"],
    }


def ask(client: httpx.Client, path: str, query: str) -> httpx.Response:
    method = "POST" if path.count("/") == 2 else "GET"
    return client.request(method, f"{path}?{query}", json=SMALL if method == "POST" else None)


def assert_refused(answer: httpx.Response, parameter: str) -> None:
    problem = assert_problem(answer, 422, "invalid-option")
    assert [fault["parameter"] for fault in problem["errors"]] == [parameter]
    assert longest_run(answer.text, "x") <= 200
    assert longest_run(answer.text, "9") <= 200


@pytest.mark.parametrize(("query", "parameter"), WRONG.items(), ids=[query[:40] for query in WRONG])
def test_a_wrong_option_of_a_specification_is_refused_everywhere(
    client: httpx.Client, paths: dict[str, list[str]], query: str, parameter: str
) -> None:
    for path in [path for group in paths.values() for path in group]:
        assert_refused(ask(client, path, query), parameter)


@pytest.mark.parametrize(("query", "parameter"), WRONG_FOR_FILES.items())
def test_a_wrong_option_of_a_file_is_refused_by_all_that_know_files(
    client: httpx.Client, paths: dict[str, list[str]], query: str, parameter: str
) -> None:
    for path in paths["file"] + paths["weights"]:
        assert_refused(ask(client, path, query), parameter)


@pytest.mark.parametrize(("query", "parameter"), WRONG_FOR_WEIGHTS.items())
def test_a_wrong_option_of_an_answer_is_refused(client: httpx.Client, query: str, parameter: str) -> None:
    assert_refused(ask(client, "/v1/weights", query), parameter)


def test_an_option_of_another_resource_is_unknown(client: httpx.Client, paths: dict[str, list[str]]) -> None:
    for path in paths["specification"]:
        assert_refused(ask(client, path, "statistics=none"), "statistics")
    for path in paths["specification"] + paths["file"]:
        assert_refused(ask(client, path, "format=json"), "format")
        assert_refused(ask(client, path, "encoding=base64"), "encoding")


def test_several_wrong_options_are_named_together(client: httpx.Client) -> None:
    problem = assert_problem(client.post("/v1/weights?seed=x&dtype=y&z=1", json=SMALL), 422, "invalid-option")

    assert {fault["parameter"] for fault in problem["errors"]} == {"seed", "dtype", "z"}


def test_a_long_name_of_an_option_does_not_come_back(client: httpx.Client) -> None:
    for query in ("x" * 5000 + "=1", "x" * 5000 + "=1&" + "x" * 5000 + "=2"):
        answer = client.post(f"/v1/weights?{query}", json=SMALL)
        assert_problem(answer, 422, "invalid-option")
        assert longest_run(answer.text, "x") <= 200


def test_the_largest_seed_is_said_exactly(client: httpx.Client) -> None:
    problem = assert_problem(client.post(f"/v1/plan?seed={2**64}", json=SMALL), 422)

    assert str(2**64 - 1) in messages(problem) or "2^64-1" in messages(problem)


def test_an_option_that_makes_the_specification_wrong_is_refused_with_a_pointer(client: httpx.Client) -> None:
    document = spec(tensor("w", 3, initializer={"type": "constant", "value": 1e6}))

    assert client.post("/v1/weights", json=document).status_code == 200
    problem = assert_problem(client.post("/v1/weights?dtype=F16", json=document), 422, "invalid-spec")

    assert [fault["pointer"] for fault in problem["errors"]] == ["/layers/0/initializer"]


def test_a_layer_keeps_the_dtype_of_its_own(client: httpx.Client) -> None:
    document = spec(linear("a", bias=False), linear("b", bias=False, dtype="F64"))

    plan = client.post("/v1/plan?dtype=float16", json=document).json()

    assert [tensor["dtype"] for tensor in plan["tensors"]] == ["F16", "F64"]
