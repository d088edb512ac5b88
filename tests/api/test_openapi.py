"""The OpenAPI document: committed, complete, with examples that are what the server answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.api.openapi import EVERYWHERE
from service.formats import FORMATS
from tests.api.answers import PROBLEM, Contract, Document
from tests.api.servers import ROOT
from tests.api.specs import EVERY_LAYER, SMALL, Spec, linear, spec
from tests.api.test_addresses import PERMALINK, path_of

NOT_ASKED = {*EVERYWHERE, 429}
"""What the tests of connections, keys and budgets ask for."""
JSON = {"Content-Type": "application/json"}
TOO_LARGE = b" " * ((4 << 20) + 1)
BEYOND = {"Range": "bytes=99999999-"}
OTHER = {"If-Match": '"other"'}
SAME = {"If-None-Match": "*"}
PICTURES = {"Accept": "image/png"}

MEDIA_TYPES = {each.media_type for each in FORMATS.values()}
FILES = [f"/v1/weights/{{permalink}}/{each.path.replace('{file:path}', '{file}')}" for each in FORMATS.values()]
BY_ADDRESS: dict[int, Document] = {
    200: {},
    304: dict(headers=SAME),
    404: dict(permalink="garbage"),
    406: dict(headers=PICTURES),
    412: dict(headers=OTHER),
    422: dict(params={"seed": "x"}),
}
PARTS: dict[int, Document] = {206: dict(headers={"Range": "bytes=0-7"}), 416: dict(headers=BEYOND)}
# one request for every documented answer of every operation, but for 503, which needs a broken machine
REQUESTS: dict[str, dict[int, Document]] = {
    **{
        f"POST {path}": {
            200: dict(json=SMALL),
            400: dict(content=b"{", headers=JSON),
            406: dict(json=SMALL, headers=PICTURES),
            413: dict(content=TOO_LARGE, headers=JSON),
            415: dict(content=b"{}"),
            422: dict(json=spec()),
        }
        for path in ("/v1/weights", "/v1/plan", "/v1/statistics")
    },
    **{f"GET {path}": BY_ADDRESS | PARTS for path in FILES},
    **{f"HEAD {path}": BY_ADDRESS for path in FILES},
    "GET /v1/statistics/{permalink}": BY_ADDRESS,
    "GET /v1/initializers": {200: {}, 406: dict(headers=PICTURES)},
    "GET /v1/layers": {200: {}, 406: dict(headers=PICTURES)},
    "GET /v1/nonlinearities": {200: {}, 406: dict(headers=PICTURES)},
    "GET /v1/info": {200: {}, 406: dict(headers=PICTURES)},
    "GET /livez": {200: {}},
    "GET /readyz": {200: {}},
}


def test_the_published_document_is_the_committed_one(client: httpx.Client) -> None:
    committed = (ROOT / "openapi" / "openapi.json").read_text()

    assert client.get("/openapi.json").json() == json.loads(committed)
    assert committed.endswith("}\n")


def test_every_documented_answer_can_be_had_and_no_other(client: httpx.Client, contract: Contract) -> None:
    documented = {}
    for (method, path), operation in contract.operations.items():
        name = f"{method} {path}"
        documented[name] = {int(status) for status in operation["responses"]} - (NOT_ASKED - set(REQUESTS[name]))

    assert documented == {name: set(requests) for name, requests in REQUESTS.items()}
    for name, requests in REQUESTS.items():
        method, path = name.split()
        for status, request in requests.items():
            address = path.format(permalink=request.get("permalink", PERMALINK), file="fc1.weight")
            parts = {part: value for part, value in request.items() if part != "permalink"}
            assert client.request(method, address, **parts).status_code == status, name


def test_every_operation_has_an_id_a_summary_a_description_and_a_tag(contract: Contract) -> None:
    ids = [operation["operationId"] for operation in contract.operations.values()]

    assert len(ids) == len(set(ids))
    for name, operation in contract.operations.items():
        assert operation["operationId"].isidentifier(), name
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name


def test_every_parameter_has_a_description(contract: Contract) -> None:
    for name, operation in contract.operations.items():
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])


def contents(contract: Contract) -> Iterator[tuple[str, str, Document]]:
    """Every body of every operation: whose it is, its media type, and what is said of it."""
    for (method, path), operation in contract.operations.items():
        bodies = {"request": operation.get("requestBody", {})} | operation["responses"]
        for status, described in bodies.items():
            for media_type, content in described.get("content", {}).items():
                yield f"{method} {path} {status}", media_type, content


def test_every_request_and_every_answer_has_an_example_of_its_schema(contract: Contract) -> None:
    for name, media_type, content in contents(contract):
        if media_type in MEDIA_TYPES:
            assert content["examples"], name
        else:
            assert contract.faults(content["schema"], content["example"]) == [], name


def test_every_error_is_a_problem_with_its_own_status(contract: Contract) -> None:
    for (_, path), operation in contract.operations.items():
        for status, described in operation["responses"].items():
            if int(status) >= 400:
                assert described["content"].keys() == {PROBLEM}, (path, status)
                assert described["content"][PROBLEM]["example"]["status"] == int(status)


def test_answers_without_a_body_are_documented_without_one(contract: Contract) -> None:
    for (method, path), operation in contract.operations.items():
        for status, described in operation["responses"].items():
            if status == "304":
                assert "content" not in described, (method, path)


def test_the_examples_of_answers_are_what_the_server_answers(client: httpx.Client, contract: Contract) -> None:
    def example(method: str, path: str, status: str = "200") -> Any:
        content = contract.operations[method, path]["responses"][status]["content"]
        return content["application/json" if status == "200" else PROBLEM]["example"]

    asked = contract.operations["POST", "/v1/plan"]["requestBody"]["content"]["application/json"]["example"]

    assert client.post("/v1/plan", json=asked).json() == example("POST", "/v1/plan")
    assert client.post("/v1/statistics", json=asked).json() == example("POST", "/v1/statistics")
    assert client.post("/v1/weights?format=json&statistics=expected", json=asked).json() == example(
        "POST", "/v1/weights"
    )
    assert client.get("/livez").json() == example("GET", "/livez")
    assert client.get("/readyz").json() == example("GET", "/readyz")
    assert client.post("/v1/plan", content=TOO_LARGE, headers=JSON).json() == example("POST", "/v1/plan", "413")
    assert client.post("/v1/plan", content=b"{}").json() == example("POST", "/v1/plan", "415")
    assert client.post("/v1/plan", json=asked, headers=PICTURES).json() == example("POST", "/v1/plan", "406")
    for status, request in ((412, OTHER), (416, BEYOND)):
        documented = example("GET", "/v1/weights/{permalink}/model.safetensors", str(status))
        live = client.get(path_of(PERMALINK), headers=request).json()
        assert live.keys() == documented.keys()
        assert (live["type"], live["title"]) == (documented["type"], documented["title"])


def test_the_examples_of_files_are_addresses_that_work(client: httpx.Client, contract: Contract) -> None:
    for name, media_type, content in contents(contract):
        if media_type in MEDIA_TYPES:
            for example in content["examples"].values():
                assert client.get(example["externalValue"]).status_code == 200, name


WRITTEN: dict[str, Spec] = {
    "small": SMALL,
    "a seed as a string": SMALL | {"seed": "18446744073709551615"},
    "every layer": EVERY_LAYER,
    "an initializer by its name": SMALL | {"initializer": "xavier_normal"},
    "an initializer by its alias": SMALL | {"initializer": {"type": "glorot_uniform", "gain": "tanh"}},
    "an initializer of a layer by its name": spec(linear(initializer="zeros", bias_initializer="ones")),
    "a layer by its alias": spec(linear(type="dense")),
    "a gain that is an object": spec(
        linear(initializer={"type": "xavier_uniform", "gain": {"nonlinearity": "leaky_relu", "negative_slope": 0.2}})
    ),
}


@pytest.mark.parametrize("document", WRITTEN.values(), ids=WRITTEN)
def test_what_the_server_takes_is_valid_by_the_schema_of_specifications(
    client: httpx.Client, contract: Contract, document: Spec
) -> None:
    schema = contract.operations["POST", "/v1/plan"]["requestBody"]["content"]["application/json"]["schema"]
    plan = client.post("/v1/plan", json=document).json()

    assert contract.faults(schema, document) == []
    assert contract.faults(schema, plan["canonical_spec"]) == []


@pytest.mark.parametrize(
    "document",
    [spec(), SMALL | {"seed": -1}, SMALL | {"dtpye": "F32"}, spec(linear(fan_in=0)), spec({"type": "linaer"}), {}],
)
def test_what_is_invalid_by_the_schema_is_what_the_server_refuses(
    client: httpx.Client, contract: Contract, document: Spec
) -> None:
    schema = contract.operations["POST", "/v1/plan"]["requestBody"]["content"]["application/json"]["schema"]

    assert contract.faults(schema, document)
    assert client.post("/v1/plan", json=document).status_code == 422
