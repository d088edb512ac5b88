"""Answers, held against the OpenAPI document and against the canonical shape of a problem."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import httpx
import ml_dtypes
import numpy as np
import safetensors
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

Array = NDArray[Any]
Document = dict[str, Any]

PROBLEM: Final = "application/problem+json"
MOST_ECHOED: Final = 200
"""Characters of a caller's own text that an error may repeat."""
MOST_CHECKED: Final = 1 << 18
"""Bytes of an answer beyond which its schema is not checked, which is slow."""
_METHODS: Final = frozenset({"get", "head", "post", "put", "patch", "delete", "options", "trace"})
_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "errors", "name", "limit", "requested"})
_NUMPY: Final = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}


class Contract:
    """The OpenAPI document that a server publishes, as something that answers can break."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.operations: dict[tuple[str, str], Document] = {
            (method.upper(), path): operation
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if method in _METHODS
        }
        self._patterns = {path: re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in document["paths"]}

    def operation(self, method: str, path: str) -> Document | None:
        """The operation behind a request, None where the document has none."""
        for template, pattern in self._patterns.items():
            if pattern.fullmatch(path):
                return self.operations.get((method, template))
        return None

    def faults(self, schema: Document, value: Any) -> list[str]:
        """What is wrong with a value by a schema of the document."""
        validator = Draft202012Validator({**schema, "components": self.document["components"]})
        return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]

    def check(self, response: httpx.Response) -> None:
        """Hold an answer against the document: its status, its media type and, for JSON, its schema.

        It is a hook of the client's, so every answer that the tests get is checked.
        """
        method, path = response.request.method, response.request.url.path
        operation = self.operation(method, path)
        if operation is None:
            return
        name = f"{operation['operationId']} {response.status_code}"
        documented = operation["responses"].get(str(response.status_code))
        assert documented is not None, f"{name} is not documented"
        if "content-type" not in response.headers:
            assert "content" not in documented, f"{name} is documented with content, and has none"
            return
        content = documented["content"].get(response.headers["content-type"])
        assert content is not None, f"{name} is documented in other types than {response.headers['content-type']}"
        small = int(response.headers.get("content-length", 0)) < MOST_CHECKED
        if method != "HEAD" and small and response.headers["content-type"].endswith("json"):
            assert self.faults(content["schema"], json.loads(response.read())) == [], name


def assert_problem(response: httpx.Response, status: int, kind: str | None = None) -> Document:
    """The canonical shape of every error answer of every resource; gives the document back."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == PROBLEM
    assert response.headers["cache-control"] == "no-store"
    document: Document = response.json()
    assert document.keys() <= _MEMBERS
    assert document["status"] == status
    assert document["title"]
    assert document["type"].startswith("urn:xavier:problem:")
    assert kind is None or document["type"] == f"urn:xavier:problem:{kind}"
    assert document.get("detail") != ""
    assert "Traceback" not in response.text
    assert ".py" not in response.text
    for fault in document.get("errors", []):
        assert fault["message"]
        assert fault.keys() in ({"pointer", "message"}, {"parameter", "message"})
    assert all(len(text) <= 3 * MOST_ECHOED + 200 for text in _texts(document)), "an error repeats a large input"
    return document


def pointers(document: Document) -> list[str]:
    """Where the faults of a problem lie."""
    return [fault["pointer"] for fault in document["errors"]]


def messages(document: Document) -> str:
    """What the faults of a problem are, as one text."""
    return "\n".join(fault["message"] for fault in document["errors"])


def longest_run(text: str, character: str) -> int:
    """How often a character stands in a row at most: how much of an input full of it comes back."""
    return max((len(run) for run in re.findall(f"{re.escape(character)}+", text)), default=0)


def header_of(file: bytes) -> Document:
    """The JSON header of a safetensors file."""
    header: Document = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
    return header


def arrays_of(file: bytes) -> dict[str, Array]:
    """The tensors of a file, read by the reference reader."""
    stored = safetensors.deserialize(file)  # type: ignore[no-untyped-call]  # it has no types
    return {name: array_of(entry["data"], entry["dtype"], entry["shape"]) for name, entry in stored}


def array_of(data: bytes, dtype: str, shape: list[int]) -> Array:
    """The bytes of a tensor as an array."""
    return np.frombuffer(data, _NUMPY[dtype]).reshape(shape)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member if name != "pointer" else member[-MOST_ECHOED:])
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
