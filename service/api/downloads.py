"""Files over HTTP: headers, and the body chunk by chunk, drawn only while somebody takes it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.conditionals import Selection
from service.api.options import query_of
from service.api.services import Services
from service.formats.safetensors import SafetensorsFile
from service.plan import Plan

MEDIA_TYPE: Final = "application/octet-stream"
FOREVER: Final = "public, max-age=31536000, immutable, no-transform"
MOST_IN_HEADER: Final = 2048
"""Characters of a permalink that a header field carries."""
MOST_IN_URL: Final = 8000
"""Characters of a URL that every HTTP implementation should take (RFC 9110 section 4.1)."""


class Download(StreamingResponse):
    """A stream that is closed as soon as the client leaves, whatever it was waiting for."""

    body_iterator: AsyncGenerator[memoryview, None]

    async def stream_response(self, send: Send) -> None:
        """Send the head and every chunk; uvicorn holds us back while the client does not take them."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self.body_iterator) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Headless(Response):
    """An answer without a body whose headers are those of one that has it (HEAD and 304)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Send the head alone."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b""})


async def deliver(request: Request, services: Services, file: SafetensorsFile, selection: Selection) -> Response:
    """The selected part of a file as an answer."""
    headers = file_headers(request, file)
    if selection.status == 304:
        return _headless(
            304, {name: headers[name] for name in headers if name not in ("Content-Type", "Content-Disposition")}
        )
    headers["Content-Length"] = str(selection.stop - selection.start)
    if selection.status == 206:
        headers["Content-Range"] = f"bytes {selection.start}-{selection.stop - 1}/{file.length}"
    if request.method == "HEAD":
        return _headless(selection.status, headers)
    services.require_platform()
    if file.needs_measuring(selection.start):
        file = file.with_measured(await services.measure(file.plan, request))
    chunks = services.pool.stream(file, selection.start, selection.stop)
    return Download(chunks, selection.status, headers)


def file_headers(request: Request, file: SafetensorsFile) -> dict[str, str]:
    """The header fields of a file, whichever part of it is sent."""
    by_address = request.method in ("GET", "HEAD")
    headers = {
        "Content-Type": MEDIA_TYPE,
        "Content-Disposition": 'attachment; filename="model.safetensors"',
        "ETag": f'"{file.etag}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": FOREVER if by_address else "no-transform",
        "X-Content-Type-Options": "nosniff",
    }
    location = file_path(request, file)
    if len(location) < MOST_IN_HEADER:
        headers["Content-Location"] = location
        headers["Link"] = f'<{statistics_path(request, file.plan)}>; rel="describedby"'
    return headers


def file_path(request: Request, file: SafetensorsFile) -> str:
    """The path and query of a file's permalink."""
    query = query_of(file.statistics)
    return f"{request.scope.get('root_path', '')}/v1/weights/{file.plan.permalink}/model.safetensors{query}"


def statistics_path(request: Request, plan: Plan) -> str:
    """The path of the measured statistics of a plan."""
    return f"{request.scope.get('root_path', '')}/v1/statistics/{plan.permalink}"


def _headless(status: int, headers: dict[str, str]) -> Response:
    response = Headless(status_code=status)
    response.raw_headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return response
