"""The OpenAPI document: its schemas come from the wire models, its examples from the code that answers."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.examples import EXAMPLE_SPEC, WRONG_SPEC
from service.api.guard.access import HEALTH
from service.api.http.problems import MEDIA_TYPE, Problem, describe, kind_of, problem, title_of
from service.errors import BrokenPlatform, MalformedDocument, OverBudget, Refused, UnknownPermalink
from service.limits import Limits
from service.plan import make_plan
from service.schema.model import ModelSpec
from service.schema.parsing import read_spec

Responses = dict[int | str, dict[str, Any]]

EVERYWHERE: Final = (400, 401, 408, 414, 417, 431, 503)
"""Statuses of answers before a request reaches its operation: bad HTTP, no key, too slow, too long, too many."""
KEYS: Final = {"type": "http", "scheme": "bearer", "description": "Required if the server has keys."}
_answers: dict[str, type[BaseModel]] = {}
"""The models of answers that routes refer to, by name."""


def _at(name: str) -> str:
    return f"#/components/schemas/{name}"


def answer_schema(model: type[BaseModel]) -> dict[str, str]:
    """Refer to the model of an answer, and add it to the schemas of the document."""
    _answers[model.__name__] = model
    return {"$ref": _at(model.__name__)}


SPEC_BODY: Final = {
    "requestBody": {
        "required": True,
        "description": "A specification.",
        "content": {"application/json": {"schema": {"$ref": _at(ModelSpec.__name__)}, "example": EXAMPLE_SPEC}},
    }
}


def json_answer(model: type[BaseModel], example: Any, description: str) -> Responses:
    """A JSON answer with its schema and an example."""
    if isinstance(example, BaseModel):
        example = example.model_dump(mode="json")
    return {
        200: {
            "description": description,
            "content": {"application/json": {"schema": answer_schema(model), "example": example}},
        }
    }


def header(description: str, kind: str = "string", *, always: bool = False) -> dict[str, Any]:
    """A header field of an answer."""
    return {"description": description, "required": always, "schema": {"type": kind}}


PROBLEM_HEADERS: Final = {
    401: {"WWW-Authenticate": header("The scheme, Bearer.", always=True)},
    412: {"ETag": header("The entity tag at this address.", always=True)},
    416: {"Content-Range": header("The length of the file in bytes.", always=True)},
    429: {"Retry-After": header("Seconds until the budget is renewed.", "integer", always=True)},
    503: {"Retry-After": header("Seconds; absent if waiting does not help.", "integer")},
}
"""The header fields of problems, besides Cache-Control."""


def problems(*statuses: int) -> Responses:
    """The problem answers that an operation can give."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    example = _problem_examples()[status]
    content = {MEDIA_TYPE: {"schema": answer_schema(Problem), "example": example}}
    headers = PROBLEM_HEADERS.get(status)
    return {"description": example["title"], **({"headers": headers} if headers else {}), "content": content}


@cache
def _problem_examples() -> dict[int, dict[str, Any]]:
    return {
        400: describe(_error(b'{"seed": NaN}')),
        401: _refusal(401, "this server needs a key; send it as Authorization: Bearer KEY"),
        404: describe(UnknownPermalink("the permalink does not decode: Incorrect padding")),
        406: _refusal(406, "this resource is only available as application/json"),
        408: _refusal(408, "a request must arrive within 10 seconds"),
        412: _refusal(412, "this resource has another ETag; see the ETag field"),
        413: _refusal(413, "a request body may have at most 4194304 bytes"),
        414: _refusal(414, "the URL of a request may have at most 16384 bytes"),
        415: _refusal(415, "send the specification as application/json in UTF-8"),
        416: _refusal(416, "the range selects nothing of the file, which has 624 bytes"),
        417: _refusal(417, "the only supported expectation is 100-continue"),
        422: describe(_error(json.dumps(WRONG_SPEC).encode())),
        429: describe(OverBudget("at most 1000000 bytes a minute; 0 are left, and this asks for 624", 60)),
        431: _refusal(431, "a request may have at most 100 header fields, with 32768 bytes in all"),
        503: describe(BrokenPlatform("subnormal numbers of 32 bits are flushed to zero")),
    }


def _refusal(status: int, detail: str) -> dict[str, Any]:
    title = title_of(status)
    return problem(status, kind_of(title), title, detail)


def _error(raw: bytes) -> MalformedDocument | Refused:
    try:
        make_plan(read_spec(raw), Limits())
    except (MalformedDocument, Refused) as error:
        return error
    raise AssertionError("an example of an error must be one")


def build_document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the application."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        modes = [(ModelSpec, "validation"), *((model, "serialization") for model in _answers.values())]
        _, schemas = models_json_schema(modes, ref_template=_at("{model}"))  # type: ignore[arg-type]  # modes are literals
        defined = document.get("components", {}).get("schemas", {}) | schemas["$defs"]
        text = json.dumps([document, defined])
        used = {name: schema for name, schema in defined.items() if f'"{_at(name)}"' in text}
        document["components"] = {"schemas": used, "securitySchemes": {"key": KEYS}}
        document["security"] = [{}, {"key": []}]
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _complete(operation, needs_key=path not in HEALTH)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(operation: dict[str, Any], *, needs_key: bool) -> None:
    """Add the answers that every operation may give, and mark operations that need no key."""
    if not needs_key:
        operation["security"] = []
    answers_anywhere = {str(status) for status in EVERYWHERE if needs_key or status != 401}
    missing = answers_anywhere - operation["responses"].keys()
    operation["responses"] |= {status: _problem(int(status)) for status in sorted(missing)}


def document_text(app: FastAPI) -> str:
    """The OpenAPI document as text, as it is committed."""
    return json.dumps(build_document(app), indent=2, ensure_ascii=False) + "\n"
