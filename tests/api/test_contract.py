"""The service against its OpenAPI document, by schemathesis: every check, on what the document allows and forbids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final
from zlib import crc32

import pytest
import requests
import schemathesis
from pydantic import ValidationError

from service.schema.dialects import form_of
from service.schema.model import ModelSpec
from tests.api.answers import Document
from tests.api.servers import ROOT, Server, running_server

COMMITTED: Final = ROOT / "openapi" / "openapi.json"
KEY: Final = "a-key"
SMALL: Final = {"XAVIER_API_KEYS": KEY, "XAVIER_MAX_FILE_BYTES": str(1 << 18), "XAVIER_MAX_TENSORS": "64"}
"""A server with a key, so that the checks ask without it, too; the document promises no sizes: small ones are quick."""
DRAWN: Final = 20
"""Requests drawn for each operation, where it leaves a choice."""
WRONG_SENT: Final = 1 / 5
"""Share of the wrong bodies that are sent: there are thousands."""
TENSOR: Final = {"$ref": "#/components/schemas/Tensor"}
ONCE: Final[dict[str, tuple[str, Document]]] = {
    "dtype": ("ModelSpec", {"enum": ["F16", None]}),
    "fans": ("ModelSpec", {"enum": ["torch", None]}),
    "gain": ("KaimingNormal", {"oneOf": [{"type": "number", "exclusiveMinimum": 0}, {"enum": ["relu"]}]}),
    "nonlinearity": ("KaimingNormal", {"enum": ["relu"]}),
}
"""Fields of many layers or initializers: where all their alternatives are tried, and what stands elsewhere."""
SERVED: Final = ["2xx", "404"]
"""What comes back for a request that the document allows; 404 for a permalink that carries no specification."""
RELATIONS: Final = frozenset({"axes", "ends", "gain", "slope", "rounded"})
"""Pydantic's names for faults that the document cannot say: fields that do not go together, and 2e18 for an integer."""


def committed() -> Document:
    """The document, as it is for a server with keys."""
    document: Document = json.loads(COMMITTED.read_text())
    return document | {"security": [security for security in document["security"] if security]}


def settings(**phases: bool) -> Any:
    """All checks, on requests that depend on the document alone, of which nothing is kept."""
    alone = {"extra-data-sources": {"responses": False}, "error-feedback": {"enabled": False}}
    body = {"positive_data_acceptance": {"expected-statuses": [*SERVED, "422"]}}  # see `refuses_the_meaning_only`
    return schemathesis.Config.from_dict(
        {
            "generation": {"deterministic": True, "max-examples": DRAWN, "with-security-parameters": False},
            "phases": {
                "enabled": False,
                **{phase: {"enabled": enabled} for phase, enabled in phases.items()},
                "fuzzing": {"enabled": phases.get("fuzzing", False), **alone},
            },
            "checks": {
                "positive_data_acceptance": {"expected-statuses": SERVED},
                "ignored_auth": {"enabled": phases.get("examples", False)},  # it asks three times for each answer
            },
            "operations": [{"include-method": "POST", "checks": body}],
        }
    )


def with_each_layer_once(document: Document) -> Document:
    """The document with all layers in the specification of a plan only; other operations get tensors.

    Their specifications are read by the same code, and it takes seconds to look for what may be wrong in one.
    """
    spec = document["components"]["schemas"]["ModelSpec"]
    tensors = {**spec["properties"]["layers"], "items": TENSOR}
    brief = {"initializer": {"enum": ["zeros", "ones"]}, "layers": tensors}
    document["components"]["schemas"]["BriefSpec"] = {**spec, "properties": {**spec["properties"], **brief}}
    for path, operations in document["paths"].items():
        if "post" in operations and path != "/v1/plan":
            body = operations["post"]["requestBody"]["content"]["application/json"]
            body["schema"] = {"$ref": "#/components/schemas/BriefSpec"}
    return document


def with_each_alternative_once(document: Document) -> Document:
    """The same with layers and initializers, and the alternatives of their fields, in one place only.

    Schemathesis tries every alternative in every place, so that those that nest, or stand in many places, multiply.
    """
    schemas = document["components"]["schemas"]
    for layer in schemas["ModelSpec"]["properties"]["layers"]["items"]["oneOf"]:
        fields = schemas[layer["$ref"].rpartition("/")[2]]["properties"]
        fields |= {name: {"enum": ["zeros", "ones", None]} for name in fields if name.endswith("initializer")}
        if "layers" in fields:
            fields["layers"] |= {"items": TENSOR}
    for field, (place, elsewhere) in ONCE.items():
        for name, schema in schemas.items():
            if name != place and schema.get("properties", {}).get(field, {}).keys() & {"anyOf", "enum", "oneOf"}:
                schema["properties"][field] = elsewhere
    return with_each_layer_once(document)


edges = schemathesis.openapi.from_dict(with_each_alternative_once(committed()), config=settings(coverage=True))
whole = schemathesis.openapi.from_dict(with_each_layer_once(committed()), config=settings(examples=True, fuzzing=True))


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("contract") / "log", env=SMALL) as server:
        yield server


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@edges.hook("filter_case")
def is_sent(_: Any, case: Any) -> bool:
    wrong = case.meta.generation.mode.is_negative and case.meta.phase.data.parameter_location == "body"
    return not wrong or crc32(repr(case.body).encode()) < WRONG_SENT * 2**32


def speaks_a_dialect(value: Any) -> bool:
    """Whether an initializer is written as a framework does, of whose arguments the document says nothing."""
    if isinstance(value, list):
        return any(map(speaks_a_dialect, value))
    members = value.items() if isinstance(value, dict) else ()
    return any((name.endswith("initializer") and form_of(part)) or speaks_a_dialect(part) for name, part in members)


def refuses_the_meaning_only(_: Any, response: Any, case: Any) -> None:
    """A body that the document allows is refused for its size or its meaning, not for its form."""
    refused = response.status_code == 422 and case.meta.generation.mode.is_positive
    if refused and not speaks_a_dialect(case.body):
        problem = response.json()
        assert problem["type"].endswith((":invalid-spec", ":limit-exceeded")), problem
        try:
            ModelSpec.model_validate(case.body)
        except ValidationError as error:
            # pydantic calls an array too short when its items are wrong
            faults = {fault["type"] for fault in error.errors() if fault["type"] != "too_short" or not fault["input"]}
            assert faults <= RELATIONS, problem


def hold(case: Any, server: Server, session: Any) -> None:
    """Send a request, and put its answer to every check."""
    case.call_and_validate(
        base_url=server.url,
        session=session,
        headers={"Authorization": f"Bearer {KEY}"},
        additional_checks=[refuses_the_meaning_only],
    )


@edges.parametrize()
def test_every_edge_of_what_the_document_says_holds(case: Any, small_server: Server, session: Any) -> None:
    hold(case, small_server, session)


@whole.parametrize()
def test_requests_drawn_from_the_whole_document_hold(case: Any, small_server: Server, session: Any) -> None:
    hold(case, small_server, session)
