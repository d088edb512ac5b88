"""Request bodies: JSON in UTF-8, without a content coding, up to a size."""

from __future__ import annotations

from fastapi import Request

from service.api.http.negotiation import JSON
from service.api.http.problems import RequestRefused


async def read_body(request: Request, most: int) -> bytes:
    """The body of a JSON request.

    Args:
        request: the request.
        most: the largest size, in bytes.

    Raises:
        RequestRefused: 415 for another media type, charset or coding; 413 for too many bytes.
    """
    _check_type(request.headers.get("content-type", ""))
    _check_coding(request.headers.get("content-encoding", "identity"))
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def _check_type(content_type: str) -> None:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [part.partition("=")[2].strip(' "') for part in parameters if part.startswith("charset")]
    if media_type != JSON or any(charset != "utf-8" for charset in charsets):
        detail = f"send the specification as {JSON} in UTF-8"
        raise RequestRefused(415, detail, {"Accept-Post": JSON})


def _check_coding(coding: str) -> None:
    if coding.strip().lower() not in ("", "identity"):
        detail = "send the body without a content coding"
        raise RequestRefused(415, detail, {"Accept-Encoding": "identity"})


def _too_large(most: int) -> RequestRefused:
    return RequestRefused(413, f"a request body may have at most {most} bytes", {"Connection": "close"})
