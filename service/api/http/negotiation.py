"""Content negotiation by `Accept` (RFC 9110 section 12.5.1), lenient where the field is malformed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from typing import Final

from fastapi import Depends, Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.http.problems import RequestRefused

JSON: Final = "application/json"


def require_json(request: Request) -> None:
    """Refuse clients that do not accept JSON, for resources that have nothing else."""
    choose(request, [JSON])


async def _require_json(request: Request) -> None:
    require_json(request)


JsonOnly: Final = Depends(_require_json)
"""`require_json` as a dependency; a coroutine, because FastAPI runs plain functions in a thread each."""


class HeadAsGet:
    """HEAD is GET without the content (RFC 9110 section 9.3.2), which uvicorn leaves out.

    Routes whose content is drawn have their own HEAD, which draws nothing.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with HEAD changed to GET if no route accepts it."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or _is_routed(scope):
            return await self._app(scope, receive, send)
        as_get = {**scope, "method": "GET"}
        try:
            return await self._app(as_get, receive, send)
        finally:
            scope["route"] = as_get.get("route")  # under which the request is counted and logged


def _is_routed(scope: Scope) -> bool:
    """Whether a route accepts the path with the method."""
    routes: Sequence[BaseRoute] = scope["app"].routes
    return any(route.matches({**scope})[0] is Match.FULL for route in routes)


def choose(request: Request, offered: Sequence[str]) -> str:
    """The offered media type that the caller prefers; the first of equals.

    Args:
        request: the request; without an Accept field, or with an empty one, it accepts anything.
        offered: media types without parameters, in the server's order of preference.

    Raises:
        RequestRefused: 406 if none is acceptable.
    """
    ranges = list(_ranges(",".join(request.headers.getlist("accept")) or "*/*"))
    if not any(quality for _, quality in ranges):
        return offered[0]  # an Accept that accepts nothing is ignored
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) == 0:
        raise RequestRefused(406, f"this resource is only available as {' or '.join(offered)}")
    return best


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for item in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in item.split(";"))
        qualities = [part[2:] for part in parameters if part.startswith("q=")]
        if media_range:
            yield media_range, _number(qualities[0]) if qualities else 1.0


def _number(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 1.0
    return 1.0 if isnan(quality) else min(max(quality, 0.0), 1.0)


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality of the most specific media range that matches."""
    kind = media_type.partition("/")[0]
    for wanted in (media_type, f"{kind}/*", "*/*"):
        for media_range, quality in ranges:
            if media_range == wanted:
                return quality
    return 0.0
