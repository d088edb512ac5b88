"""Access: who may ask, and who may read answers from another origin's page.

Off by default. Keys are bearer tokens (RFC 6750); they are compared by digest, all of them, in constant time.
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
"""What a page of another origin may read of an answer."""
ACCEPTED: Final = ("Authorization", "Content-Type", "If-Match", "If-None-Match", "If-Range", "Range")


class Access:
    """Lets requests through that have a key, and those to paths that need none.

    Args:
        app: what is behind it.
        keys: the keys; where there are none, everybody is let through.
        open_paths: what needs no key.
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
        """The place of the caller's key among all, by its bytes; None where it is none of them."""
        scheme, _, token = authorization.partition(" ")
        digest = _digest(token.strip(" \t").encode("latin-1") if scheme.lower() == "bearer" else b"")
        found = [compare_digest(digest, known) for known in self._digests]
        return found.index(True) if any(found) else None


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    title = title_of(401)
    document = problem(401, kind_of(title), title, "send a key: Authorization: Bearer KEY")
    response = problem_response(document, {"WWW-Authenticate": 'Bearer realm="xavier"'})
    await response(scope, receive, send)
