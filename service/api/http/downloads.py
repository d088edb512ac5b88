"""Files over HTTP: their headers, and their bodies, chunk by chunk, drawn only while the client reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Final

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api import counters
from service.formats.files import File
from service.schema.permalinks import MOST_IN_URL, file_path, statistics_path

FOR_EVER: Final = "max-age=31536000, immutable, no-transform"
FOR_AN_HOUR: Final = "max-age=3600"
MOST_IN_HEADER: Final = 2048
"""The length in characters from which a permalink is left out of header fields."""


class Download(StreamingResponse):
    """A stream that begins when there is a place for it, and is closed as soon as the client leaves.

    Args:
        chunks: the body.
        status: 200 or 206.
        headers: the header fields, including the length.
        place: the place, held while the body is drawn.
    """

    body_iterator: AsyncGenerator[memoryview, None]

    def __init__(
        self,
        chunks: AsyncGenerator[memoryview, None],
        status: int,
        headers: dict[str, str],
        place: AbstractAsyncContextManager[None],
    ) -> None:
        super().__init__(chunks, status, headers)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Only a shutdown that has waited long enough cancels this, and uvicorn then cuts the connection."""
        with suppress(asyncio.CancelledError):
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send the header and every chunk; uvicorn makes this wait while the client does not read.

        Raises:
            Busy: there is no place, and none in the queue; nothing was sent.
        """
        async with aclosing(self.body_iterator) as chunks, self._place:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for chunk in chunks:
                counters.DRAWN.inc(len(chunk))
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Headless(Response):
    """An answer without a body, but with the headers of one that has it (HEAD and 304)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Send the header alone."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b""})


def cache_control(request: Request, how_long: str) -> str:
    """What caches may do with an answer; answers that need a key are private to its holder."""
    return f"private, {how_long}" if hasattr(request.state, "caller") else f"public, {how_long}"


def file_headers(request: Request, file: File, media_type: str) -> dict[str, str]:
    """The header fields of a file, whichever part of it is sent."""
    by_address = request.method in ("GET", "HEAD")
    headers = {
        "Content-Type": media_type,
        "Content-Disposition": f'attachment; filename="{file.name}"',
        "ETag": f'"{file.etag}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": cache_control(request, FOR_EVER) if by_address else "no-transform",
        "X-Content-Type-Options": "nosniff",
    }
    if not by_address:
        headers["Vary"] = "Accept"
    root = request.scope.get("root_path", "")
    location = file_path(file.plan.permalink, file.name, file.statistics, root)
    if not by_address and len(location) > MOST_IN_URL:
        headers["Accept-Ranges"] = "none"  # there is no address for requests with ranges
    if len(location) < MOST_IN_HEADER:
        headers["Content-Location"] = location
        headers["Link"] = f'<{statistics_path(file.plan.permalink, root)}>; rel="describedby"'
    return headers


def headless(status: int, headers: dict[str, str]) -> Response:
    """The header fields of an answer without its body; there is no Content-Length unless it is given."""
    response = Headless(status_code=status)
    response.raw_headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return response
