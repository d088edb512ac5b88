"""Preconditions and ranges of a GET or HEAD on bytes that never change (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from service.api.problems import RequestRefused

_RANGE: Final = re.compile(
    r"bytes[ \t]*=[ \t]*(?:([0-9]{1,19})-([0-9]*)|-([0-9]{1,19}))[ \t]*", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to answer: 304 for nothing new, 206 for a part, 200 for the whole; bytes start to stop - 1."""

    status: int
    start: int
    stop: int


def select(method: str, headers: Mapping[str, str], etag: str, length: int) -> Selection:
    """What a request asks for, in the order of precedence of RFC 9110 section 13.2.2.

    Args:
        method: GET or HEAD.
        headers: the request's, by lower-case name.
        etag: the strong entity tag, with its quotes.
        length: bytes of the whole representation.

    Raises:
        RequestRefused: 412, If-Match names another; 416, no such range.
    """
    if not _matches(headers.get("if-match", "*"), etag, weakly=False):
        raise RequestRefused(412, "the bytes at this address have another ETag", {"ETag": etag})
    if "if-none-match" in headers and _matches(headers["if-none-match"], etag, weakly=True):
        return Selection(304, 0, 0)
    field = headers.get("range", "")
    same = headers.get("if-range", etag).strip() == etag
    if method != "GET" or not same or not _in_bytes(field):
        return Selection(200, 0, length)
    return _part(field, length)


def _matches(field: str, etag: str, *, weakly: bool) -> bool:
    tags = [tag.strip() for tag in field.split(",")]
    return "*" in tags or etag in tags or (weakly and f"W/{etag}" in tags)


def _in_bytes(field: str) -> bool:
    return field.partition("=")[0].strip().lower() == "bytes"


def _part(field: str, length: int) -> Selection:
    match = _RANGE.fullmatch(field.strip())
    if not match:
        raise _unsatisfiable("one range of bytes at a time, such as bytes=0-99 or bytes=-100", length)
    first, last, suffix = match.groups()
    start = int(first) if suffix is None else max(length - int(suffix), 0)
    far = suffix is not None or not last or len(last.lstrip("0")) > len(str(length))
    stop = length if far else min(int(last) + 1, length)
    if start >= length:
        raise _unsatisfiable(f"the file has {length} bytes", length)
    if start >= stop:
        raise _unsatisfiable("the range ends before it starts", length)
    return Selection(206, start, stop)


def _unsatisfiable(detail: str, length: int) -> RequestRefused:
    return RequestRefused(416, detail, {"Content-Range": f"bytes */{length}"})
