"""Access: who may send requests, and what pages of other origins may send and read.

Keys are off by default. They are bearer tokens (RFC 6750); the digests of all of them are compared, in constant time.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.http.problems import kind_of, problem, problem_response, title_of

HEALTH: Final = frozenset({"/livez", "/readyz"})
METRICS: Final = "/metrics"
EXPOSED: Final = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Location",
    "Content-Range",
    "ETag",
    "Link",
    "Retry-After",
    "X-Request-Id",
)
"""The header fields of an answer that a page of another origin may read."""
ACCEPTED: Final = ("Authorization", "Content-Type", "If-Match", "If-None-Match", "If-Range", "Range")


class Access:
    """Lets through requests that have a key, and requests to paths that need none.

    Args:
        app: the application behind it.
        keys: the keys; without any, everybody is let through.
        open_paths: the paths that need no key.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[str], open_paths: frozenset[str]) -> None:
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 401."""
        if scope["type"] != "http" or not self._digests or scope["path"] in self._open_paths:
            return await self._app(scope, receive, send)
        number = self._number(Headers(scope=scope).get("authorization", ""))
        if number is None:
            return await _refuse(scope, receive, send)
        scope["state"]["caller"] = f"key {number}"
        return await self._app(scope, receive, send)

    def _number(self, authorization: str) -> int | None:
        """The index of the caller's key, compared byte by byte; None if it is not one of ours."""
        scheme, _, token = authorization.partition(" ")
        digest = _digest(token.strip(" \t").encode("latin-1") if scheme.lower() == "bearer" else b"")
        found = [compare_digest(digest, known) for known in self._digests]
        return found.index(True) if any(found) else None


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    title = title_of(401)
    document = problem(401, kind_of(title), title, "this server needs a key; send it as Authorization: Bearer KEY")
    response = problem_response(document, {"WWW-Authenticate": 'Bearer realm="xavier"'})
    await response(scope, receive, send)
