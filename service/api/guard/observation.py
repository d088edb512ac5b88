"""Observation: every request has an id, is counted and timed, and leaves one line in the log.

Neither keys nor specifications are ever logged. A permalink is a specification, so routes are logged instead of paths.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import counters
from service.api.http.problems import CLIENT_GONE

REQUEST_ID: Final = "X-Request-Id"
UNMATCHED: Final = "unmatched"
_USABLE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger("xavier.requests")


def request_id_of(scope: Scope) -> str:
    """The id of a request: the caller's if it is usable, or else one that is made at the first call."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        asked = Headers(scope=scope).get(REQUEST_ID, "")
        state["request_id"] = asked if _USABLE_ID.fullmatch(asked) else uuid4().hex
    return str(state["request_id"])


@dataclass
class _Answer:
    """What is known about an answer so far."""

    status: int = 0
    sent: int = 0
    complete: bool = False

    @property
    def outcome(self) -> str:
        """How the answer went: one side gave it up if it has no end, or if nobody waited for it."""
        return "completed" if self.complete and self.status != CLIENT_GONE else "aborted"


class Observation:
    """Watches every request and its answer.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and report how it went."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = request_id_of(scope)
        answer, begun = _Answer(), perf_counter()

        async def watched(message: Message) -> None:
            _note(message, answer, request_id, has_content=scope["method"] != "HEAD")
            await send(message)

        try:
            return await self._app(scope, receive, watched)
        except Exception as error:
            answer.status = answer.status or 500
            scope["state"]["reason"] = type(error).__name__
            raise
        finally:
            answer.status = answer.status or CLIENT_GONE
            _tell(scope, answer, perf_counter() - begun)


def _note(message: Message, answer: _Answer, request_id: str, *, has_content: bool) -> None:
    if message["type"] == "http.response.start":
        answer.status = message["status"]
        MutableHeaders(scope=message)[REQUEST_ID] = request_id
    elif message["type"] == "http.response.body":
        answer.sent += len(message.get("body", b"")) * has_content
        answer.complete = not message.get("more_body", False)


def _tell(scope: Scope, answer: _Answer, seconds: float) -> None:
    route = getattr(scope.get("route"), "path_format", UNMATCHED)
    status = str(answer.status)
    counters.REQUESTS.labels(scope["method"], route, status).inc()
    counters.SECONDS.labels(route).observe(seconds)
    counters.SENT.inc(answer.sent)
    if answer.outcome == "aborted":
        counters.ABORTED.labels(route).inc()
    state = scope["state"]
    known = {name: state[name] for name in ("request_id", "caller", "digest", "reason") if name in state}
    line = {"method": scope["method"], "route": route, "status": answer.status, "bytes": answer.sent}
    _log.info("request", extra={"fields": known | line | {"seconds": round(seconds, 6), "outcome": answer.outcome}})


class JsonLines(logging.Formatter):
    """Formats each record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message, the fields of a request, and the traceback if there is one."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: MutableMapping[str, Any] = {"time": time, "level": record.levelname.lower(), "logger": record.name}
        line["message"] = record.getMessage()
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_config() -> dict[str, Any]:
    """The logging configuration of a server: JSON lines on standard error, including uvicorn's own."""
    handler = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "lines"}
    loggers = {name: {"handlers": ["lines"], "level": "INFO", "propagate": False} for name in ("uvicorn", "xavier")}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": JsonLines}},
        "handlers": {"lines": handler},
        "loggers": loggers,
    }
