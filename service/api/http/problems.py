"""Errors as answers: `application/problem+json` (RFC 9457), without tracebacks and without echoing large input.

Statuses follow RFC 9110 section 15: 400 if the body is not JSON, 422 if it is JSON but cannot be served, 413 if the
request itself is too large.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service.api import counters
from service.errors import (
    BrokenPlatform,
    Busy,
    Fault,
    InvalidFile,
    InvalidOption,
    InvalidSpec,
    LimitExceeded,
    MalformedDocument,
    OverBudget,
    Refused,
    RetryLater,
    UnknownPermalink,
    XavierError,
)
from service.schema.fields import Wire
from service.schema.parsing import MOST_RECEIVED, rule_of

MEDIA_TYPE: Final = "application/problem+json"
CLIENT_GONE: Final = 499
"""The status that access logs customarily use for a client that has left; it is never sent."""
TYPE_PREFIX: Final = "urn:xavier:problem:"
STATUSES: Final[Mapping[type[XavierError], int]] = {
    MalformedDocument: 400,
    UnknownPermalink: 404,
    InvalidSpec: 422,
    InvalidOption: 422,
    LimitExceeded: 422,
    InvalidFile: 422,
    BrokenPlatform: 503,
    Busy: 503,
    OverBudget: 429,
}
"""The status of every error in which a request can end."""

_KINDS: Final[Mapping[type[XavierError], tuple[str, str]]] = {
    MalformedDocument: ("malformed-document", "The request body is not a JSON document"),
    UnknownPermalink: ("unknown-permalink", "The address carries no specification"),
    InvalidSpec: ("invalid-spec", "The specification is not valid"),
    InvalidOption: ("invalid-option", "A query parameter is not valid"),
    LimitExceeded: ("limit-exceeded", "The specification is larger than this server allows"),
    InvalidFile: ("invalid-file", "The file was not made by this service"),
    Busy: ("busy", "Too many answers are being drawn"),
    OverBudget: ("over-budget", "The byte budget is used up"),
    BrokenPlatform: ("broken-platform", "This machine does not compute the stream's known answers"),
}
EVERY_METHOD: Final = "GET, HEAD, OPTIONS, POST"
"""The methods that the server as a whole accepts."""
_RENAMED: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
_log = logging.getLogger("xavier")


class FaultEntry(Wire):
    """One fault, at a pointer into the caller's document (RFC 6901) or at a query parameter."""

    pointer: str | None = None
    parameter: str | None = None
    message: str


class Problem(Wire):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str | None = None
    errors: list[FaultEntry] | None = None
    name: str | None = Field(default=None, description="The limit that was exceeded.")
    limit: int | None = None
    requested: int | None = None


class RequestRefused(HTTPException):
    """A request that is refused for reasons of HTTP: media types, coding, size, ranges, preconditions."""


def title_of(status: int) -> str:
    """The name of a status in RFC 9110; some of Python's own names have changed between versions."""
    return _RENAMED.get(status, HTTPStatus(status).phrase)


def kind_of(title: str) -> str:
    """The last part of the type of a problem with this title."""
    return title.lower().replace(" ", "-")


def problem(status: int, kind: str, title: str, detail: str | None = None, **members: Any) -> dict[str, Any]:
    """The members of a problem document."""
    document = {"type": TYPE_PREFIX + kind, "title": title, "status": status, "detail": detail, **members}
    return {name: value for name, value in document.items() if value is not None}


def problem_response(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """A problem document as an answer."""
    counters.REFUSALS.labels(document["type"].removeprefix(TYPE_PREFIX)).inc()
    content = json.dumps(document, ensure_ascii=False).encode()
    return Response(content, document["status"], {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def describe(error: XavierError) -> dict[str, Any]:
    """The problem document for an error of this service."""
    kind, title = _KINDS[type(error)]
    status = STATUSES[type(error)]
    if not isinstance(error, Refused):
        return problem(status, kind, title, str(error))
    members: dict[str, Any] = {"errors": [_fault(fault, error) for fault in error.faults]}
    if isinstance(error, LimitExceeded):
        members |= {"name": error.first.name, "limit": error.first.limit, "requested": error.first.requested}
    count = len(error.faults)
    return problem(status, kind, title, f"{count} fault{'s' if count > 1 else ''}; see errors", **members)


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""
    app.add_exception_handler(XavierError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_query)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_defect)


def _fault(fault: Fault, error: Refused) -> dict[str, str]:
    place = "parameter" if isinstance(error, InvalidOption) else "pointer"
    return {place: fault.pointer, "message": fault.message}


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, XavierError)
    headers = {"Retry-After": str(error.seconds)} if isinstance(error, RetryLater) else None
    return problem_response(describe(error), headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = _allowed(request, error) if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else error.headers
    if request.method == "OPTIONS" and (headers or request.url.path == "/"):
        return Response(status_code=204, headers={"Allow": EVERY_METHOD} | dict(headers or {}))
    title = title_of(error.status_code)
    kind = kind_of(title)
    detail = error.detail if error.detail != title else None
    return problem_response(problem(error.status_code, kind, title, detail), headers)


async def _on_invalid_query(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [Fault(str(detail["loc"][-1])[:MOST_RECEIVED], _query_message(detail)) for detail in error.errors()]
    return problem_response(describe(InvalidOption(faults)))


def _query_message(detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        return "unknown parameter"
    return f"{rule_of(detail)}; got {str(detail['input'])[:MOST_RECEIVED]!a}"


def _allowed(request: Request, error: HTTPException) -> dict[str, str]:
    """Allow with every method of the requested path, because a route only knows its own."""
    path = getattr(request.scope.get("route"), "path_format", None)
    operations = request.app.openapi()["paths"].get(path, {})
    methods = {method.upper() for method in operations} or {*(error.headers or {}).get("Allow", "GET").split(", ")}
    return {"Allow": ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))}


async def _on_gone(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _on_defect(request: Request, error: Exception) -> Response:
    _log.error("defect in %s %s", request.method, request.url.path.split("/")[1:3], exc_info=error)
    return problem_response(problem(500, "internal", "Internal Server Error"))
