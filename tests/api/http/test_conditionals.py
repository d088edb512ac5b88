"""Ranges and preconditions on a permalink (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.answers import assert_problem
from tests.api.servers import Server, request_bytes
from tests.api.specs import EVERY_LAYER


class Resource(NamedTuple):
    """A permalink, its ETag and all of its bytes."""

    path: str
    etag: str
    bytes: bytes
    header: int


@pytest.fixture(scope="module")
def file(client: httpx.Client) -> Resource:
    posted = client.post("/v1/weights", json=EVERY_LAYER)
    header = 8 + int.from_bytes(posted.content[:8], "little")
    return Resource(posted.headers["content-location"], posted.headers["etag"], posted.content, header)


SATISFIABLE = {
    # {n} is the length of the file
    "bytes=0-99": slice(0, 100),
    "bytes=0-0": slice(0, 1),
    "bytes=7-7": slice(7, 8),
    "bytes=8-8": slice(8, 9),
    "bytes=0-": slice(None),
    "bytes=0-{last}": slice(None),
    "bytes=0-{n}": slice(None),
    "bytes=3-{last}": slice(3, None),
    "bytes={last}-": slice(-1, None),
    "bytes={last}-{last}": slice(-1, None),
    "bytes={last}-{beyond}": slice(-1, None),
    "bytes=-1": slice(-1, None),
    "bytes=-5": slice(-5, None),
    "bytes=-{last}": slice(1, None),
    "bytes=-{n}": slice(None),
    "bytes=-{beyond}": slice(None),
    "bytes=5-" + "9" * 20: slice(5, None),
    "bytes=5-" + "9" * 5000: slice(5, None),
    "bytes=-" + "9" * 20: slice(None),
    "bytes=-" + "9" * 5000: slice(None),
    f"bytes={5:030}-{6:030}": slice(5, 7),
    "Bytes=0-9": slice(0, 10),
    "bytes= 0-9": slice(0, 10),
    "bytes=,0-9 ,": slice(0, 10),  # empty elements of a list do not count (RFC 9110 section 5.6.1)
}
UNSATISFIABLE = [
    "bytes={n}-",
    "bytes={n}-{n}",
    "bytes={beyond}-",
    f"bytes={'9' * 20}-",
    f"bytes={'9' * 5000}-",
    "bytes=-0",
    "bytes=-00",
    "bytes=9-5",
    "bytes=a-b",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=5",
    "bytes=1-2-3",
    "bytes=+1-2",
    "bytes=0x1-2",
    "bytes=1.0-2",
    "bytes=,",
    "bytes=0-1;3-4",
    "bytes=0-1 3-4",
    "bytes=0-1,a-b",
    "bytes=0-1,bytes=3-4",
    "bytes=0-," + "1-2," * 1000 + "-",
    "bytes=\u00b2-\u00b3",
]
SEVERAL = ["bytes=0-1,5-6", "bytes=0-0, 0-0", "bytes=-1,-2", "bytes=0-1,{n}-", "bytes=0-," + "1-2," * 1000]
IGNORED = ["items=0-5", "bytes 0-5", "0-5", "", "byte=0-5", "seconds=1-2,4-5"]


def filled(field: str, n: int) -> bytes:
    """A field of the tables for a file of n bytes."""
    return field.format(n=n, last=n - 1, beyond=n + 1).encode("latin-1")


@pytest.mark.parametrize(("field", "part"), SATISFIABLE.items(), ids=[field[:40] for field in SATISFIABLE])
def test_a_satisfiable_range_is_that_part_of_the_whole(
    client: httpx.Client, file: Resource, field: str, part: slice
) -> None:
    n = len(file.bytes)
    start, stop, _ = part.indices(n)

    answer = client.get(file.path, headers=[(b"Range", filled(field, n))])

    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{n}"
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.content == file.bytes[part]
    assert answer.headers["etag"] == file.etag
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("field", UNSATISFIABLE, ids=[field[:40] for field in UNSATISFIABLE])
def test_an_unsatisfiable_range_is_refused_with_the_length(client: httpx.Client, file: Resource, field: str) -> None:
    n = len(file.bytes)

    answer = client.get(file.path, headers=[(b"Range", filled(field, n))])

    assert_problem(answer, 416, "range-not-satisfiable")
    assert answer.headers["content-range"] == f"bytes */{n}"


@pytest.mark.parametrize("field", SEVERAL, ids=[field[:40] for field in SEVERAL])
def test_who_asks_for_several_ranges_gets_the_whole(client: httpx.Client, file: Resource, field: str) -> None:
    answer = client.get(file.path, headers=[(b"Range", filled(field, len(file.bytes)))])

    assert (answer.status_code, answer.content) == (200, file.bytes)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("field", IGNORED)
def test_a_range_in_another_unit_is_ignored(client: httpx.Client, file: Resource, field: str) -> None:
    answer = client.get(file.path, headers={"Range": field})

    assert (answer.status_code, answer.content) == (200, file.bytes)


def test_a_range_of_head_and_of_post_is_ignored(client: httpx.Client, file: Resource) -> None:
    for field in ("bytes=0-3", "bytes=9-5", "bytes=99999999-"):
        head = client.head(file.path, headers={"Range": field})
        posted = client.post("/v1/weights", json=EVERY_LAYER, headers={"Range": field})

        assert (head.status_code, head.headers["content-length"]) == (200, str(len(file.bytes)))
        assert (posted.status_code, posted.content) == (200, file.bytes)


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, 1 << 14), max_size=6))
def test_any_partition_by_ranges_concatenates_to_the_whole(
    client: httpx.Client, file: Resource, cuts: set[int]
) -> None:
    n = len(file.bytes)
    parts = [
        client.get(file.path, headers={"Range": f"bytes={start}-{stop - 1}"}).content
        for start, stop in pairwise([0, *sorted(cut for cut in cuts if cut < n), n])
    ]

    assert b"".join(parts) == file.bytes


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 1 << 14), stop=st.integers(1, 1 << 14))
def test_any_range_is_the_slice_or_is_refused(client: httpx.Client, file: Resource, start: int, stop: int) -> None:
    answer = client.get(file.path, headers={"Range": f"bytes={start}-{stop - 1}"})

    if start < min(stop, len(file.bytes)):
        assert (answer.status_code, answer.content) == (206, file.bytes[start:stop])
    else:
        assert_problem(answer, 416)


def test_the_end_of_the_header_and_of_every_tensor_can_be_cut_anywhere(client: httpx.Client, file: Resource) -> None:
    planned = client.post("/v1/plan", json=EVERY_LAYER).json()["tensors"]
    ends = sorted({file.header} | {file.header + tensor["data_offsets"][1] for tensor in planned})

    for end in ends:
        for start, stop in ((end - 1, end), (end - 3, end + 3), (end, end + 1)):
            if stop <= len(file.bytes):
                answer = client.get(file.path, headers={"Range": f"bytes={start}-{stop - 1}"})
                assert answer.content == file.bytes[start:stop]


def test_measured_statistics_are_in_ranges_of_the_header_and_cost_nothing_beyond_it(client: httpx.Client) -> None:
    whole = client.post("/v1/weights?statistics=measured", json=EVERY_LAYER)
    path = whole.headers["content-location"]
    start = whole.content.index(b"measured")

    part = client.get(path, headers={"Range": f"bytes={start}-{start + 999}"})
    data = client.get(path, headers={"Range": "bytes=-100"})

    assert part.content == whole.content[start : start + 1000]
    assert data.content == whole.content[-100:]


PRECONDITIONS = {
    # If-None-Match compares weakly, and comes before the range
    "If-None-Match: {etag}": 304,
    "If-None-Match: W/{etag}": 304,
    'If-None-Match: "a", {etag}': 304,
    'If-None-Match: "a",W/{etag} ,"b"': 304,
    "If-None-Match: *": 304,
    'If-None-Match: "a"': 200,
    'If-None-Match: "a", "b"': 200,
    "If-None-Match: {bare}": 200,
    "If-None-Match: {etag}\nRange: bytes=0-3": 304,
    'If-None-Match: "a"\nRange: bytes=0-3': 206,
    "If-None-Match: {etag}\nRange: bytes=9-5": 304,
    # If-Match compares strongly, and comes before everything
    "If-Match: {etag}": 200,
    'If-Match: "a", {etag}': 200,
    "If-Match: *": 200,
    'If-Match: "a"': 412,
    "If-Match: W/{etag}": 412,
    "If-Match: {bare}": 412,
    'If-Match: "a"\nIf-None-Match: {etag}': 412,
    "If-Match: {etag}\nIf-None-Match: {etag}": 304,
    'If-Match: "a"\nRange: bytes=9-5': 412,
    "If-Match: {etag}\nRange: bytes=0-3": 206,
    # If-Range compares strongly, and takes no date, for none was ever given
    "If-Range: {etag}\nRange: bytes=0-3": 206,
    'If-Range: "a"\nRange: bytes=0-3': 200,
    "If-Range: W/{etag}\nRange: bytes=0-3": 200,
    "If-Range: Sat, 21 Nov 2026 22:21:29 GMT\nRange: bytes=0-3": 200,
    'If-Range: "a"\nRange: bytes=9-5': 200,
    "If-Range: {etag}\nRange: bytes=9-5": 416,
    "If-Range: {etag}": 200,
    # there are no dates
    "If-Modified-Since: Sat, 21 Nov 2099 22:21:29 GMT": 200,
    "If-Unmodified-Since: Sat, 21 Nov 1999 22:21:29 GMT": 200,
}


@pytest.mark.parametrize(("fields", "status"), PRECONDITIONS.items(), ids=[repr(fields) for fields in PRECONDITIONS])
def test_preconditions_are_taken_in_their_order(client: httpx.Client, file: Resource, fields: str, status: int) -> None:
    filled = fields.format(etag=file.etag, bare=file.etag.strip('"'))
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in filled.splitlines())]

    answer = client.get(file.path, headers=headers)
    head = client.head(file.path, headers=headers)

    assert answer.status_code == status
    assert head.status_code == {206: 200, 416: 200}.get(status, status)  # ranges are for GET
    assert answer.content == {200: file.bytes, 206: file.bytes[:4], 304: b""}.get(status, answer.content)
    if status >= 400:
        assert_problem(answer, status)
    else:
        assert answer.headers["etag"] == head.headers["etag"] == file.etag
        assert answer.headers["cache-control"] == head.headers["cache-control"]


def test_lists_of_tags_may_be_spread_over_several_fields(server: Server, file: Resource) -> None:
    request = request_bytes("GET", file.path, If_None_Match='"a"', Connection="close")
    spread = request.replace(b"\r\n\r\n", b"\r\nIf-None-Match: " + file.etag.encode() + b"\r\n\r\n")

    assert server.exchange(spread).startswith(b"HTTP/1.1 304 ")


def test_not_modified_has_the_headers_that_a_cache_refreshes_and_no_others(
    client: httpx.Client, file: Resource
) -> None:
    answer = client.get(file.path, headers={"If-None-Match": file.etag})

    assert answer.headers["etag"] == file.etag
    assert answer.headers["content-location"] == file.path
    assert {"date", "cache-control"} <= answer.headers.keys()
    assert not {"content-length", "content-type", "content-range"} & answer.headers.keys()


def test_a_connection_is_usable_after_answers_without_a_body(server: Server, file: Resource) -> None:
    requests = [
        request_bytes("HEAD", file.path),
        request_bytes("GET", file.path, If_None_Match="*"),
        request_bytes("GET", file.path, Range="bytes=0-7"),
        request_bytes("GET", file.path, Range="bytes=9-5"),
        request_bytes("GET", "/livez", Connection="close"),
    ]

    answers = server.exchange(b"".join(requests))

    assert re.findall(rb"HTTP/1\.1 ([0-9]+) ", answers) == [b"200", b"304", b"206", b"416", b"200"]
