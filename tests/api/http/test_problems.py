"""Specifications that cannot be served, and the answer to each (table 3b of the reliability reference)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.answers import assert_problem, messages, pointers
from tests.api.servers import Server
from tests.api.specs import SMALL, Spec, body, linear, spec, tensor
from tests.conftest import StartServer

JSON = {"Content-Type": "application/json"}
MOST_INTEGER = 2**53 - 1


def conv2d(**fields: Any) -> Spec:
    """A convolution."""
    return {"type": "conv2d", "name": "c", "in_channels": 4, "out_channels": 6, "kernel_size": 3} | fields


def nested(depth: int, *inside: Spec, **fields: Any) -> Spec:
    """Groups, or repeats of some times, in each other."""
    kind = "repeat" if "times" in fields else "group"
    layers = list(inside)
    for _ in range(depth):
        layers = [{"type": kind, "name": kind[0], **fields, "layers": layers}]
    return layers[0]


# what is asked for: where the fault is, and a part of what is said of it; tests/schema and tests/plan have them all
INVALID: dict[str, tuple[Spec, str, str]] = {
    "a form": (spec(tensor("w", 2**53, 3)), "/layers/0/shape/0", str(MOST_INTEGER)),
    "a meaning": (
        spec(tensor("w", 4, 4, dtype="F16", initializer={"type": "xavier_normal", "gain": 1e5})),
        "/layers/0/initializer",
        "overflows F16",
    ),
    "a name": (
        spec(tensor("r.1.a", 3, 3), nested(1, tensor("a", 3, 3), times=3)),
        "/layers/1/layers/0/name",
        "/layers/0",
    ),
    "no tensors": (
        spec({"type": "batch_norm", "name": "b", "num_features": 3, "affine": False, "track_running_stats": False}),
        "/layers",
        "no tensors",
    ),
}


@pytest.mark.parametrize(("document", "pointer", "said"), INVALID.values(), ids=INVALID)
def test_a_specification_that_means_nothing_is_refused_where_it_is_wrong(
    client: httpx.Client, document: Spec, pointer: str, said: str
) -> None:
    problem = assert_problem(client.post("/v1/weights", json=document), 422, "invalid-spec")

    assert set(pointers(problem)) == {pointer}
    assert said in messages(problem)


# what is asked for: where the fault is, the limit, and how much is asked for; tests/plan/test_limits.py has them all
EXCESSIVE: dict[str, tuple[Spec, str, str, int, int]] = {
    "a file one value too large": (
        spec(tensor("w", 1 << 17, 1 << 17), tensor("one", 1, initializer="zeros")),
        "/layers",
        "file_bytes",
        64 << 30,
        (64 << 30) + 4,
    ),
    "a product above 2^63": (
        spec(tensor("w", 2**31 - 1, 2**31 - 1, 2**31 - 1)),
        "/layers",
        "file_bytes",
        64 << 30,
        4 * (2**31 - 1) ** 3,
    ),
    "repetitions of repetitions": (
        spec(nested(5, tensor("w", 1, 1), times=MOST_INTEGER)),
        "/layers",
        "tensors",
        100_000,
        MOST_INTEGER**5,
    ),
    "a name of 1025 bytes in UTF-8": (
        spec(tensor("\N{SNOWMAN}" * 342, 3, 3)),
        "/layers/0/name",
        "name_bytes",
        1024,
        1026,
    ),
    "names too long together": (
        spec(nested(1, tensor("w", 1, 1), name="r" * 1000, times=12_000)),
        "/layers",
        "header_bytes",
        24_999_999,
        0,
    ),
}


@pytest.mark.parametrize("case", EXCESSIVE.values(), ids=EXCESSIVE)
def test_a_specification_above_a_limit_is_refused_with_the_limit_and_what_was_asked_for(
    client: httpx.Client, case: tuple[Spec, str, str, int, int]
) -> None:
    document, pointer, name, limit, requested = case

    for path in ("/v1/weights", "/v1/plan"):
        answer = client.post(path, json=document)

        problem = assert_problem(answer, 422, "limit-exceeded")
        assert pointer in pointers(problem)
        assert (problem["name"], problem["limit"]) == (name, limit)
        assert problem["requested"] == requested or (not requested and problem["requested"] > limit)
        assert "XAVIER_MAX" in messages(problem) or "header" in messages(problem)


def test_every_limit_can_be_reached_exactly(client: httpx.Client) -> None:
    documents = [
        spec(tensor("w", 1 << 17, 1 << 17)),
        spec(tensor("w", *[1] * 8)),
        spec(tensor("w", 2**31 - 1, dtype="F8_E4M3", initializer="zeros")),
        spec(tensor("n" * 1024, 3, 3)),
        spec(linear("n" * 1017, bias=False)),
        spec(linear("n" * 1007, bias=False), prefix="p" * 10),
    ]

    assert [client.post("/v1/plan", json=document).status_code for document in documents] == [200] * len(documents)


HOSTILE: dict[str, Spec] = {
    "a shape of 300 dimensions": spec(tensor("w", *[MOST_INTEGER] * 300)),
    "a norm of 300 dimensions": spec({"type": "layer_norm", "name": "n", "normalized_shape": [MOST_INTEGER] * 300}),
    "a shape of 40,000 dimensions": spec(tensor("w", *[MOST_INTEGER] * 40_000)),
    "repetitions to the depth of JSON": spec(nested(90, tensor("w", *[MOST_INTEGER] * 250), times=MOST_INTEGER)),
    "fans beyond everything": spec(
        conv2d(in_channels=MOST_INTEGER, out_channels=MOST_INTEGER, kernel_size=MOST_INTEGER)
    ),
    "a start beyond 2^53": spec(nested(1, tensor("w", 2, 2), times=100_001, start=MOST_INTEGER)),
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_specification_takes_little_to_refuse(server: Server, client: httpx.Client, document: Spec) -> None:
    before = server.cpu_seconds()

    assert_problem(client.post("/v1/plan", json=document), 422)

    assert server.cpu_seconds() - before < 3


def test_a_header_that_is_too_long_is_refused_before_it_is_built(server: Server, client: httpx.Client) -> None:
    long_names = spec(nested(1, tensor("w", 1, 1), name="r" * 1000, times=100_000))
    before = server.peak_memory()

    answer = client.post("/v1/plan", json=long_names)

    assert_problem(answer, 422, "limit-exceeded")
    assert server.peak_memory() - before < 200 << 20  # the header would have 225 MB, several times over


def test_all_faults_of_a_stage_are_named_together(client: httpx.Client) -> None:
    form = spec(linear(fan_in=0), tensor("w", -1, 3), seed=-1, dtype="F33")
    meaning = spec(tensor("a", 3), conv2d(groups=4), linear(bias_initializer="xavier_uniform"))

    assert pointers(assert_problem(client.post("/v1/plan", json=form), 422)) == [
        "/seed",
        "/dtype",
        "/layers/0/in_features",
        "/layers/1/shape/0",
    ]
    assert pointers(assert_problem(client.post("/v1/plan", json=meaning), 422)) == [
        "/layers/0/initializer",
        "/layers/1",
        "/layers/2/bias_initializer",
    ]


def test_pointers_lead_through_groups_and_escape_names(client: httpx.Client) -> None:
    document = spec(nested(2, linear(fan_in=0)), **{"a/b~c": 1})

    problem = assert_problem(client.post("/v1/plan", json=document), 422)

    assert set(pointers(problem)) == {"/layers/0/layers/0/layers/0/in_features", "/a~1b~0c"}


ACCEPTED: dict[str, Spec] = {
    "a tensor without elements": spec(tensor("w", 0, 4, initializer="zeros")),
    "a tensor without elements and without fans": spec(tensor("w", 4, 0, initializer="normal")),
    "a scalar": spec(tensor("w", initializer="ones")),
    "a vector": spec(tensor("w", 3, initializer="normal")),
    "a tiny gain": spec(tensor("w", 4, 4, initializer={"type": "xavier_uniform", "gain": 1e-320})),
    "a tiny standard deviation": spec(tensor("w", 4, 4, initializer={"type": "truncated_normal", "std": 1e-320})),
    "a dtype in lower case": spec(linear(), dtype="f32"),
    "a dtype by its PyTorch name": spec(linear(), dtype="bfloat16"),
    "a name with slashes and dots": spec(tensor("../../etc/passwd", 3, 3)),
    "a name with quotes and backslashes": spec(tensor('a"b\\c', 3, 3)),
    "a name beyond the basic plane": spec(tensor("\N{GRINNING FACE}\N{LATIN SMALL LETTER E WITH ACUTE}", 3, 3)),
    "a name with spaces": spec(tensor(" a b ", 3, 3)),
    "names that metadata must not have": spec(
        *(tensor(name, 3, 3) for name in ("dtype", "shape", "data_offsets", "format"))
    ),
    "names that differ in letter case": spec(tensor("a", 3, 3), tensor("A", 3, 3)),
    "an empty layer name": spec(linear("")),
    "groups 60 deep": spec(nested(60, linear())),
}


@pytest.mark.parametrize("document", ACCEPTED.values(), ids=ACCEPTED)
def test_an_unusual_specification_is_served(client: httpx.Client, document: Spec) -> None:
    posted = client.post("/v1/weights", json=document)

    assert posted.status_code == 200
    assert client.get(posted.headers["content-location"]).content == posted.content
    assert client.post("/v1/weights?format=json", json=document).status_code == 200
    assert client.post("/v1/statistics", json=document).status_code == 200


def test_names_that_are_equal_after_normalisation_are_served_with_a_warning(client: httpx.Client) -> None:
    document = spec(tensor("e\N{COMBINING ACUTE ACCENT}", 3, 3), tensor("\N{LATIN SMALL LETTER E WITH ACUTE}", 3, 3))

    [warning] = client.post("/v1/plan", json=document).json()["warnings"]

    assert "normalisation" in warning
    assert client.post("/v1/weights", json=document).status_code == 200


def test_limits_of_the_settings_are_the_limits_of_requests(start_server: StartServer) -> None:
    flags = {
        "max-file-bytes": 1000,
        "max-tensors": 3,
        "max-header-bytes": 1000,
        "max-rank": 3,
        "max-dimension": 100,
        "max-name-bytes": 50,
        "max-whole-elements": 200,
        "max-whole-total-elements": 300,
        "max-whole-bytes": 700,
        "max-json-values": 10,
        "max-spec-values": 60,
        "max-cuts": 1,
        "max-different-tensors": 3,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    server = start_server(*words, XAVIER_MAX_BODY_BYTES="1000")
    asked: dict[str, tuple[str, Spec]] = {
        "file_bytes": ("", spec(tensor("w", 100, 3))),
        "tensors": ("", spec(linear("a"), linear("b"))),
        "header_bytes": ("?statistics=measured", spec(*(tensor(name * 49, 1, 1) for name in "abc"))),
        "rank": ("", spec(tensor("w", 1, 1, 1, 1))),
        "dimension": ("", spec(tensor("w", 101, 1))),
        "name_bytes": ("", spec(tensor("n" * 51, 1, 1))),
        "whole_elements": ("", spec(tensor("w", 15, 15, initializer="orthogonal"))),
        "whole_total_elements": (
            "",
            spec(*(tensor(name, 13, 13, dtype="F8_E4M3") for name in "ab"), initializer="orthogonal"),
        ),
        "whole_bytes": ("", spec(tensor("w", 14, 14, dtype="F8_E4M3"), initializer="orthogonal")),
        "json_values": ("?format=json", spec(tensor("w", 11, 1))),
        "spec_values": ("", spec(tensor("w", *[1] * 60))),
        "different_tensors": ("", spec(*(tensor(f"{size}", size, initializer="ones") for size in range(4)))),
        "cuts": (
            "",
            spec(*(tensor(f"{low}", 2, initializer={"type": "truncated_normal", "low": low}) for low in (-1, 1))),
        ),
    }

    with server.client() as client:
        for name, (query, document) in asked.items():
            problem = assert_problem(client.post(f"/v1/weights{query}", json=document), 422, "limit-exceeded")
            assert (problem["name"], problem["limit"]) == (name, flags[f"max-{name.replace('_', '-')}"])
        assert client.post("/v1/plan", content=body(SMALL).ljust(1000), headers=JSON).status_code == 200
        problem = assert_problem(client.post("/v1/plan", content=body(SMALL).ljust(1001), headers=JSON), 413)
        assert "1000 bytes" in problem["detail"]
        assert client.get("/v1/info").json()["limits"] == {
            name: flags[f"max-{name.replace('_', '-')}"] for name in asked
        }
