"""Preconditions and ranges of a GET or HEAD on bytes that never change (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers

from service.api.http.problems import RequestRefused

_RANGE: Final = re.compile(r"([0-9]+)-([0-9]*)|-([0-9]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to answer: 304 for nothing new, 206 for a part, 200 for the whole file; bytes start to stop - 1."""

    status: int
    start: int
    stop: int


def select(method: str, headers: Headers, etag: str, length: int) -> Selection:
    """What a request asks for, in the order of precedence of RFC 9110 section 13.2.2.

    Args:
        method: GET or HEAD.
        headers: the header fields; a list may be spread over several of them (RFC 9110 section 5.3).
        etag: the strong entity tag, with its quotes.
        length: the length of the whole representation, in bytes.

    Raises:
        RequestRefused: 412 if If-Match names another tag; 416 if the range is malformed or cannot be satisfied.
    """
    if is_known(headers, etag):
        return Selection(304, 0, 0)
    unit, _, ranges = headers.get("range", "").partition("=")
    same = headers.get("if-range", etag).strip() == etag
    if method != "GET" or not same or unit.strip().lower() != "bytes":
        return Selection(200, 0, length)
    return _part(ranges, length)


def is_known(headers: Headers, etag: str) -> bool:
    """Whether the caller already has the representation with this entity tag (RFC 9110 sections 13.1.1 and 13.1.2).

    Raises:
        RequestRefused: 412 if If-Match names another tag.
    """
    if not _matches(headers.getlist("if-match") or ["*"], etag, weakly=False):
        raise RequestRefused(412, "this resource has another ETag; see the ETag field", {"ETag": etag})
    return _matches(headers.getlist("if-none-match"), etag, weakly=True)


def _matches(fields: list[str], etag: str, *, weakly: bool) -> bool:
    tags = [tag.strip() for tag in ",".join(fields).split(",")]
    return "*" in tags or etag in tags or (weakly and f"W/{etag}" in tags)


def _part(ranges: str, length: int) -> Selection:
    """What a list of ranges selects: its only range, or the whole file if it has several (RFC 9110 section 14.2)."""
    items = [item for part in ranges.split(",") if (item := part.strip(" \t"))]
    found = [match for item in items if (match := _RANGE.fullmatch(item))]
    if not found or len(found) < len(items):
        raise _unsatisfiable("a byte range looks like bytes=0-99 or bytes=-100", length)
    if len(found) > 1:
        return Selection(200, 0, length)
    return _single(found[0], length)


def _single(match: re.Match[str], length: int) -> Selection:
    first, last, suffix = match.groups()
    if suffix is not None:
        start, stop = length - _bounded(suffix, length), length
    else:
        start, stop = _bounded(first, length), _bounded(last, length - 1) + 1 if last else length
    if start >= length:
        raise _unsatisfiable(f"the range selects nothing of the file, which has {length} bytes", length)
    if start >= stop:
        raise _unsatisfiable("the range ends before it starts", length)
    return Selection(206, start, stop)


def _bounded(digits: str, most: int) -> int:
    """A number of any length, capped at `most`."""
    significant = digits.lstrip("0")
    return most if len(significant) > len(str(most)) else min(int(significant or "0"), most)


def _unsatisfiable(detail: str, length: int) -> RequestRefused:
    return RequestRefused(416, detail, {"Content-Range": f"bytes */{length}"})
