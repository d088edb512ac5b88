"""The OpenAPI document: schemas from the wire models, examples from the code that answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import orjson
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.analysis.statistics import batches, measure, summarise
from service.api.guard.access import HEALTH
from service.api.http.problems import MEDIA_TYPE, describe, kind_of, problem, title_of
from service.errors import BrokenPlatform, MalformedDocument, OverBudget, Refused, UnknownPermalink
from service.formats.json import plan_json, statistics_json, weights_json
from service.formats.safetensors import MODEL, SafetensorsFile
from service.limits import Limits
from service.plan import Plan, make_plan
from service.schema import answers
from service.schema.fields import Wire
from service.schema.model import ModelSpec
from service.schema.parsing import read_spec
from service.schema.permalinks import file_path

Responses = dict[int | str, dict[str, Any]]

EXAMPLE_SPEC: Final = {
    "seed": 42,
    "layers": [
        {
            "type": "linear",
            "name": "fc1",
            "in_features": 3,
            "out_features": 2,
            "bias": False,
            "initializer": {"type": "xavier_uniform", "gain": "tanh"},
        }
    ],
}
WRONG_SPEC: Final = {
    "seed": -1,
    "layers": [
        {"type": "conv2d", "name": "conv1", "in_channels": 3, "out_channels": 8, "kernel_size": 0, "biass": False}
    ],
}
EVERYWHERE: Final = (400, 401, 408, 414, 417, 431, 503)
"""What any request may be answered, before it reaches its operation: bad HTTP, no key, too slow, too long, too many."""
KEYS: Final = {"type": "http", "scheme": "bearer", "description": "Asked for where the server has keys."}
_ANSWERS: Final = [model for model in vars(answers).values() if isinstance(model, type) and issubclass(model, Wire)]


def _at(name: str) -> str:
    return f"#/components/schemas/{name}"


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _at(model.__name__)}


SPEC_BODY: Final = {
    "requestBody": {
        "required": True,
        "description": "A specification.",
        "content": {"application/json": {"schema": _ref(ModelSpec), "example": EXAMPLE_SPEC}},
    }
}


@cache
def example_plan() -> Plan:
    """The plan of the example, of which every example answer is made."""
    return make_plan(read_spec(json.dumps(EXAMPLE_SPEC).encode()))


def json_answer(model: type[BaseModel], example: Any, description: str) -> Responses:
    """A JSON answer with its schema and an example."""
    if isinstance(example, BaseModel):
        example = example.model_dump(mode="json")
    return {
        200: {"description": description, "content": {"application/json": {"schema": _ref(model), "example": example}}}
    }


def plan_answer() -> Responses:
    """The answer of /v1/plan."""
    plan = example_plan()
    example = _read(plan_json(SafetensorsFile(plan)))
    return json_answer(answers.PlanAnswer, example, "What would be drawn.")


def statistics_answer(*, by_address: bool = False) -> Responses:
    """The answer of /v1/statistics."""
    plan = example_plan()
    moments = [found for batch in batches(plan.tensors) for found in measure(plan.tensors, batch)]
    example = _read(statistics_json(plan, summarise(plan.tensors, moments)))
    answer = json_answer(answers.StatisticsAnswer, example, "Measured beside expected.")
    if not by_address:
        return answer
    answer[200]["headers"] = {
        "ETag": _header("Known before anything is drawn; another where the service says anything else.", always=True),
        "Cache-Control": _header("An answer may be kept for an hour.", always=True),
    }
    return answer | {304: {"description": "The caller has this answer; no body."}}


def _read(pieces: Iterator[bytes]) -> Any:
    return orjson.loads(b"".join(pieces))


def _header(description: str, kind: str = "string", *, always: bool = False) -> dict[str, Any]:
    return {"description": description, "required": always, "schema": {"type": kind}}


PROBLEM_HEADERS: Final = {
    401: {"WWW-Authenticate": _header("The scheme, Bearer.", always=True)},
    412: {"ETag": _header("Of the bytes at this address.", always=True)},
    416: {"Content-Range": _header("How many bytes there are.", always=True)},
    429: {"Retry-After": _header("Seconds until there is a budget again.", "integer", always=True)},
    503: {"Retry-After": _header("Seconds; none where waiting does not help.", "integer")},
}
"""The header fields of problems that say more than that they are not cached."""


def weights_answers(*, by_address: bool = False, ranges: bool = True) -> Responses:
    """The answers of /v1/weights, by POST or by permalink."""
    link = {
        "example": {
            "summary": "The file of the example specification.",
            "externalValue": file_path(example_plan().permalink, MODEL),
        }
    }
    content: Responses = {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "examples": link}
    }
    headers = _file_headers(always=by_address)
    if not by_address:
        weights = orjson.loads(weights_json(example_plan(), None, "expected", "decimal"))
        content["application/json"] = {"schema": _ref(answers.WeightsAnswer), "example": weights}
        return {200: {"description": "The weights.", "headers": headers, "content": content}}
    part = {"Content-Range": _header("The part that is sent.", always=True)}
    answers_by_address: Responses = {
        200: {"description": "A safetensors file.", "headers": headers, "content": content},
        206: {"description": "The bytes of the range.", "headers": headers | part, "content": content},
        304: {"description": "The caller has these bytes; no body."},
    }
    return answers_by_address if ranges else {status: answers_by_address[status] for status in (200, 304)}


def _file_headers(*, always: bool) -> dict[str, Any]:
    """The header fields of a file; an answer that may also be JSON has not always any."""
    described = {
        "ETag": "Strong; a hash over everything the bytes depend on, so known before them: no SHA-256 of the content.",
        "Content-Length": "Known before anything is drawn.",
        "Accept-Ranges": "bytes; none where the permalink would be too long to be asked for ranges.",
        "Cache-Control": "Permalinks may be kept for ever.",
    }
    short = {
        "Content-Location": "The permalink, where it is under 2 KB.",
        "Link": "The measured statistics, rel=describedby.",
    }
    return {name: _header(text, always=always) for name, text in described.items()} | {
        name: _header(text) for name, text in short.items()
    }


def problems(*statuses: int) -> Responses:
    """The problem answers that an operation can give."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    example = _problem_examples()[status]
    content = {MEDIA_TYPE: {"schema": _ref(answers.Problem), "example": example}}
    headers = PROBLEM_HEADERS.get(status)
    return {"description": example["title"], **({"headers": headers} if headers else {}), "content": content}


@cache
def _problem_examples() -> dict[int, dict[str, Any]]:
    return {
        400: describe(_error(b'{"seed": NaN}')),
        401: _refusal(401, "send a key: Authorization: Bearer KEY"),
        404: describe(UnknownPermalink("the permalink does not decode: Incorrect padding")),
        406: _refusal(406, "this resource comes as application/json"),
        408: _refusal(408, "a request must arrive within 10 seconds"),
        412: _refusal(412, "what is at this address has another ETag"),
        413: _refusal(413, "a request body may have at most 4194304 bytes"),
        414: _refusal(414, "at most 16384 bytes of address"),
        415: _refusal(415, "send the specification as application/json, which is always UTF-8"),
        416: _refusal(416, "the file has 624 bytes"),
        417: _refusal(417, "the only expectation that is met is 100-continue"),
        422: describe(_error(json.dumps(WRONG_SPEC).encode())),
        429: describe(OverBudget("at most 1000000 bytes a minute; 0 are left, and this asks for 624", 60)),
        431: _refusal(431, "at most 100 header fields of 32768 bytes in all"),
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
        modes = [(ModelSpec, "validation"), *((model, "serialization") for model in _ANSWERS)]
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
    """Add what any operation may be answered, and say which is open to everybody."""
    if not needs_key:
        operation["security"] = []
    answers_anywhere = {str(status) for status in EVERYWHERE if needs_key or status != 401}
    missing = answers_anywhere - operation["responses"].keys()
    operation["responses"] |= {status: _problem(int(status)) for status in sorted(missing)}


def document_text(app: FastAPI) -> str:
    """The OpenAPI document as it is committed."""
    return json.dumps(build_document(app), indent=2, ensure_ascii=False) + "\n"
