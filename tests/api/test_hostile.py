"""Every bad input that a server on a network meets, by its number in the table of reliability, and its answer.

Some rows are tested in more detail elsewhere; those that cost little stand here all the same. The table is whole.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from secrets import randbits
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.answers import assert_problem, header_of
from tests.api.servers import ROOT, Server, drain, request_bytes, take, wait_for
from tests.api.specs import EIGHT_GIB, FORTY_GB, SMALL, Spec, body, linear, spec, tensor
from tests.conftest import StartServer

DOCUMENTED: Final = ROOT / "docs/http.md"
HOST: Final = b"Host: localhost\r\n"
MOST_BODY: Final = 4 << 20
MEBIBYTE: Final = 1 << 20
MEANING: Final = "The specification is not valid"


@dataclass(frozen=True)
class Row:
    """A row of the table, or one of the inputs of a row.

    Attributes:
        number: in the table.
        what: is wrong with it.
        sent: as it goes over the wire; $PATH, $ETAG and $LENGTH stand for those of a file.
        status: of the answer.
        said: a part of its content.
        fields: some of its header fields, in small letters.
        part: of the file, where that is the content.
    """

    number: int
    what: str
    sent: bytes = field(repr=False)
    status: int
    said: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    part: slice | None = None

    def __str__(self) -> str:
        return f"{self.number:02}-{self.what}"


@dataclass(frozen=True)
class File:
    """A file that the server has, for the rows of headers."""

    path: str
    etag: str
    content: bytes

    def filled(self, sent: bytes) -> bytes:
        for name, value in {"$PATH": self.path, "$ETAG": self.etag, "$LENGTH": len(self.content)}.items():
            sent = sent.replace(name.encode(), str(value).encode())
        return sent


def get(path: str = "$PATH", method: str = "GET", **fields: str) -> bytes:
    return request_bytes(method, path, b"", Connection="close", **fields)


def post(content: bytes | Spec, path: str = "/v1/plan", **fields: str) -> bytes:
    """A specification, or other content, as JSON."""
    content = content if isinstance(content, bytes) else body(content)
    given = {"Content-Type": "application/json", "Content-Length": str(len(content))} | {
        name.replace("_", "-"): value for name, value in fields.items()
    }
    return request_bytes("POST", path, b"", Connection="close", **given) + content


def chunked(*chunks: bytes) -> bytes:
    """Content in chunks, without a length."""
    head = request_bytes("POST", "/v1/plan", Content_Type="application/json", Transfer_Encoding="chunked")
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def raw(lines: bytes, first: bytes = b"GET /livez HTTP/1.1\r\n" + HOST) -> bytes:
    """A request with some lines as they are; the server closes by itself where it refuses."""
    return first + lines + b"Connection: close\r\n\r\n"


def seeded(literal: str) -> bytes:
    return body(SMALL | {"seed": "SEED"}).replace(b'"SEED"', literal.encode())


def gained(literal: str) -> bytes:
    document = spec(linear(initializer={"type": "xavier_uniform", "gain": "GAIN"}))
    return body(document).replace(b'"GAIN"', literal.encode())


def named(literal: bytes) -> bytes:
    return body(spec(tensor("NAME", 3, 3))).replace(b"NAME", literal)


def drawn(dtype: str = "F32", **initializer: Any) -> Spec:
    return spec(tensor("w", 4, 4, dtype=dtype, initializer=initializer))


def packed(content: bytes) -> str:
    """The address of what may be a specification."""
    deflate = zlib.compressobj(9, wbits=-15)
    permalink = urlsafe_b64encode(deflate.compress(content) + deflate.flush()).rstrip(b"=").decode()
    return f"/v1/weights/{permalink}/model.safetensors"


TEN_TB: Final = spec({"type": "repeat", "name": "r", "times": 1000, "layers": [tensor("w", 50_000, 50_000)]})
FIFTY_FIVE_GB: Final = spec({"type": "repeat", "name": "r", "times": 11, "layers": [tensor("w", 50_000, 25_000)]})
LONG_NAMES: Final = spec(
    {"type": "repeat", "name": "r" * 1000, "times": 12_000, "layers": [tensor("w", 1, 1)]},
)
MANY_LAYERS: Final = b'{"seed":1,"layers":[' + b",".join([b'{"type":"x","name":"a"}'] * 1_000_000) + b"]}"

JSON_BODY: Final = [
    Row(1, "NaN", post(gained("NaN")), 400),
    Row(1, "Infinity", post(gained("Infinity")), 400),
    Row(1, "-Infinity", post(gained("-Infinity")), 400),
    Row(2, "a number that overflows", post(gained("1e999")), 422, "/layers/0/initializer/gain"),
    Row(3, "a name twice", post(b'{"seed":1,' + body(SMALL)[1:]), 400, "duplicate name"),
    Row(4, "a seed of 2^64", post(seeded(str(2**64))), 422, str(2**64 - 1)),
    Row(5, "a seed of 2^53 + 1", post(seeded(str(2**53 + 1))), 200, f'"seed":"{2**53 + 1}"'),
    Row(6, "a seed of -0", post(seeded("-0")), 200, '"seed":"0"'),
    Row(6, "a seed of 1.5", post(seeded("1.5")), 422, "/seed"),
    Row(6, "a seed of 1e3", post(seeded("1e3")), 200, '"seed":"1000"'),
    Row(6, "a seed of 1e16", post(seeded("1e16")), 422, "2^53"),
    Row(6, "a seed of true", post(seeded("true")), 422, "/seed"),
    Row(6, "a seed as a string", post(seeded('"1"')), 200, '"seed":"1"'),
    Row(7, "an integer of 5000 digits", post(seeded("9" * 5000)), 400),
    Row(8, "100,000 nested arrays", post(b"[" * 100_000), 400),
    Row(8, "50,000 nested objects", post(b'{"a":' * 50_000), 400),
    Row(9, "invalid UTF-8", post(named(b"\xff")), 400),
    Row(10, "a lone surrogate", post(named(b"\\ud800")), 400),
    Row(11, "NUL in a name", post(named(b"a\\u0000b")), 422, "control"),
    Row(11, "a newline in a name", post(named(b"a\\nb")), 422, "control"),
    Row(12, "UTF-16", post(json.dumps(SMALL).encode("utf-16")), 400),
    Row(12, "UTF-32", post(json.dumps(SMALL).encode("utf-32")), 400),
    Row(13, "a byte order mark", post(b"\xef\xbb\xbf" + body(SMALL)), 400),
    Row(14, "something behind", post(body(SMALL) + b"x"), 400),
    Row(14, "a comment", post(b"// x\n" + body(SMALL)), 400),
    Row(14, "a comma too many", post(body(SMALL).replace(b"]}", b"],}")), 400),
    Row(14, "single quotes", post(body(SMALL).replace(b'"', b"'")), 400),
    Row(14, "a leading zero", post(seeded("01")), 400),
    Row(15, "nothing", post(b""), 400),
    Row(15, "null", post(b"null"), 422, MEANING),
    Row(15, "an array", post(b"[]"), 422, MEANING),
    Row(15, "a string", post(b'"x"'), 422, MEANING),
    Row(16, "an unknown field", post(SMALL | {"dtpye": "F32"}), 422, "did you mean 'dtype'?"),
    Row(17, "an unknown layer", post(spec({"type": "nothing", "name": "a"})), 422, "conv_transpose2d"),
    Row(17, "an unknown initializer", post(drawn(type="nothing")), 422, "truncated_normal"),
    Row(18, "a million layers in 23 MB", post(MANY_LAYERS), 413, str(MOST_BODY), {"connection": "close"}),
    Row(19, "6 MB in chunks", chunked(*[b" " * MEBIBYTE] * 6), 413, str(MOST_BODY), {"connection": "close"}),
    Row(20, "1 GB of white space", post(b" " * MEBIBYTE, Content_Length=str(1 << 30)), 413, str(MOST_BODY)),
    Row(
        21,
        "keys that flood hash tables",
        post({str(n * (2**61 - 1)): 1 for n in range(10_000)}),
        422,
        "at most 1024 members",
    ),
    Row(22, "no media type", request_bytes("POST", "/v1/plan", Connection="close", Content_Length="2") + b"{}", 415),
    Row(22, "plain text", post(SMALL, Content_Type="text/plain"), 415, "", {"accept-post": "application/json"}),
    Row(23, "a charset", post(SMALL, Content_Type="application/json; charset=iso-8859-1"), 415),
    Row(24, "gzip", post(b"\x1f\x8b" + bytes(99), Content_Encoding="gzip"), 415, "", {"accept-encoding": "identity"}),
    Row(25, "a form", post(b"seed=1", Content_Type="application/x-www-form-urlencoded"), 415),
    Row(25, "parts of a form", post(b"--x--", Content_Type="multipart/form-data; boundary=x"), 415),
]
MEANINGS: Final = [
    Row(26, "a dimension of 0 under fans", post(spec(tensor("w", 0, 3))), 422, "without elements"),
    Row(26, "a layer without inputs", post(spec(linear(fan_in=0))), 422, "in_features"),
    Row(26, "a dimension of 0 of a constant", post(spec(tensor("w", 0, 3, initializer="zeros"))), 200),
    Row(27, "a negative dimension", post(spec(tensor("w", -1, 3))), 422, "/shape/0"),
    Row(27, "a fractional dimension", post(spec(tensor("w", 3) | {"shape": [3, 1.5]})), 422, "/shape/1"),
    Row(27, "a dimension of 2^31", post(spec(tensor("w", 2**31, 1))), 422, '"limit": 2147483647'),
    Row(27, "a dimension of 2^32", post(spec(tensor("w", 2**32, 1))), 422, '"limit": 2147483647'),
    Row(28, "a product above 2^63", post(spec(tensor("w", 2**40, 2**40))), 422, '"requested": 1099511627776'),
    Row(28, "a product above 2^63 of sides below 2^31", post(spec(tensor("w", 2**30, 2**30, 2**30))), 422, str(2**92)),
    Row(29, "10 TB", post(TEN_TB, "/v1/weights"), 422, '"requested": 10000000000000'),
    Row(29, "the address of 10 TB", get(packed(body(TEN_TB))), 422, "limit-exceeded"),
    Row(29, "the address of 10 TB by HEAD", get(packed(body(TEN_TB)), "HEAD"), 422),
    Row(30, "55 GB in one file", post(FIFTY_FIVE_GB), 200, '"bytes":55000000000'),
    Row(31, "rank 0 under fans", post(spec(tensor("w"))), 422, "fan_in"),
    Row(31, "rank 1 under fans", post(spec(tensor("w", 3))), 422, "fan_in"),
    Row(31, "rank 9", post(spec(tensor("w", *[1] * 9))), 422, '"limit": 8'),
    Row(32, "an unknown dtype", post(SMALL | {"dtype": "F33"}), 422, "must be one of F64"),
    Row(32, "a dtype in small letters", post(SMALL | {"dtype": "f16"}), 200, '"dtype":"F16"'),
    Row(32, "a dtype by an alias", post(SMALL | {"dtype": "float16"}), 200, '"dtype":"F16"'),
    Row(33, "F4, which would halve bytes", post(spec(tensor("w", 3, 3, dtype="F4"))), 422, "must be one of F64"),
    Row(34, "a gain of 0", post(drawn(type="xavier_uniform", gain=0)), 422, "above 0"),
    Row(34, "a negative gain", post(drawn(type="xavier_uniform", gain=-1)), 422, "above 0"),
    Row(34, "a gain of 1e-320", post(drawn(type="xavier_uniform", gain=1e-320)), 200),
    Row(34, "a gain of 1e308", post(drawn(type="xavier_uniform", gain=1e308)), 422, "overflows F32"),
    Row(34, "a gain that overflows F16", post(drawn("F16", type="xavier_normal", gain=1e5)), 422, "overflows F16"),
    Row(35, "the name of the metadata", post(named(b"__metadata__")), 422, "reserved"),
    Row(36, "a name twice", post(spec(tensor("a", 3, 3), tensor("a", 3, 3))), 422, "/layers/0"),
    Row(
        36,
        "names equal after normalisation",
        post(spec(tensor("e\u0301", 3), tensor("\xe9", 3), initializer="ones")),
        200,
        "normalisation",
    ),
    Row(36, "names equal but for case", post(spec(tensor("a", 3, 3), tensor("A", 3, 3))), 200, '"warnings":[]'),
    Row(37, "an empty name", post(named(b"")), 422, "empty"),
    Row(37, "a name of 3 MB", post(named(b"n" * 3_000_000)), 422, '"limit": 1024'),
    Row(37, "a name of 10 MB", post(named(b"n" * 10_000_000)), 413),
    Row(37, "names of 12 MB in a header", post(LONG_NAMES), 422, '"name": "header_bytes"'),
    Row(38, "a name that is a path", post(named(b"../../etc/passwd")), 200, '"../../etc/passwd"'),
    Row(38, "a name with a quote and a backslash", post(named(b'a\\"b\\\\c')), 200, '"a\\"b\\\\c"'),
    Row(38, "a name with a newline", post(named(b"a\\r\\nX-Injected: yes")), 422, "control"),
    Row(39, "metadata of the caller", post(SMALL | {"metadata": {"dtype": "F32"}}), 422, "/metadata"),
    *(
        Row(40, name, get(f"/a/b/resolve/main/{name}"), 404)
        for name in (
            "../../etc/passwd",
            "%2e%2e/%2e%2e/etc/passwd",
            "..%2f..%2fetc%2fpasswd",
            "%00",
            "%ff",
            "%c0%af",
            "model-00002-of-00001.safetensors",
            "model-00000-of-00001.safetensors",
        )
    ),
    Row(40, "a path within an address", get("/v1/weights/..%2F..%2Fetc%2Fpasswd/model.safetensors"), 404),
    Row(40, "a path out of the documentation", get("/docs/assets/..%2f..%2f__init__.py"), 404),
    Row(40, "a raw byte that is not ASCII", raw(HOST, b"GET /a/b/resolve/main/\xff HTTP/1.1\r\n"), 400),
    Row(41, "an id with two hyphens", get("/a/b--c/resolve/main/model.safetensors"), 404),
    Row(41, "an id with two dots", get("/a/b..c/resolve/main/model.safetensors"), 404),
    Row(41, "an id of 97 letters", get(f"/a/{'b' * 97}/resolve/main/model.safetensors"), 404),
    Row(41, "a revision of 39 digits", get(f"/a/b/resolve/{'0' * 39}/model.safetensors"), 404),
    Row(41, "a revision in capitals", get(f"/a/b/resolve/{'A' * 40}/model.safetensors"), 404),
    Row(42, "a digest alone", get(f"/v1/weights/{'0' * 64}/model.safetensors"), 404),
    Row(42, "an address that was cut", get(packed(body(SMALL))[:30] + "/model.safetensors"), 404),
]
FIELDS: Final = [
    Row(43, "a range", get(Range="bytes=0-99"), 206, "", {"content-range": "bytes 0-99/$LENGTH"}, slice(0, 100)),
    Row(44, "a start at the end", get(Range="bytes=$LENGTH-"), 416, "", {"content-range": "bytes */$LENGTH"}),
    Row(44, "a start beyond the end", get(Range="bytes=9$LENGTH-"), 416, "", {"content-range": "bytes */$LENGTH"}),
    Row(45, "an end beyond the end", get(Range=f"bytes=5-{'9' * 20}"), 206, part=slice(5, None)),
    Row(46, "the last 0 bytes", get(Range="bytes=-0"), 416),
    Row(46, "the last 5 bytes", get(Range="bytes=-5"), 206, part=slice(-5, None)),
    Row(46, "more last bytes than there are", get(Range=f"bytes=-{'9' * 20}"), 206, part=slice(None)),
    *(
        Row(47, repr(value[:20]), get(Range=value), status, part=slice(None) if status == 200 else None)
        for value, status in {
            "bytes=9-5": 416,
            "bytes=a-b": 416,
            "bytes=": 416,
            "bytes=1-2-3": 416,
            f"bytes={'9' * 30_000}-": 416,
            "bytes 0-5": 200,
            f"bytes={'9' * 1_000_000}-": 431,
        }.items()
    ),
    Row(48, "an unknown unit", get(Range="items=0-5"), 200, part=slice(None)),
    Row(49, "two ranges", get(Range="bytes=0-0,5-6"), 200, part=slice(None)),
    Row(49, "thousands of overlapping ranges", get(Range="bytes=" + "0-9," * 7000), 200, part=slice(None)),
    Row(50, "a range by HEAD", get(method="HEAD", Range="bytes=0-3"), 200, "", {"content-length": "$LENGTH"}),
    Row(50, "a range by POST", post(SMALL, "/v1/weights", Range="bytes=0-3"), 200, part=slice(None)),
    Row(51, "If-Range with the tag", get(Range="bytes=0-3", If_Range="$ETAG"), 206, part=slice(0, 4)),
    Row(51, "If-Range with another tag", get(Range="bytes=0-3", If_Range='"x"'), 200, part=slice(None)),
    Row(51, "If-Range with a weak tag", get(Range="bytes=0-3", If_Range="W/$ETAG"), 200, part=slice(None)),
    Row(
        51,
        "If-Range with a date",
        get(Range="bytes=0-3", If_Range="Sat, 21 Nov 2026 22:21:29 GMT"),
        200,
        part=slice(None),
    ),
    *(
        Row(52, repr(value), get(If_None_Match=value, Range="bytes=0-3"), 304, "", {"etag": "$ETAG"})
        for value in ("$ETAG", "W/$ETAG", "*", '"x", $ETAG')
    ),
    Row(53, "If-Match with another tag", get(If_Match='"x"'), 412),
    Row(54, "Accept of a picture", get(Accept="image/png"), 406),
    Row(54, "Accept of nothing at all", get(Accept="*/*;q=0"), 200, part=slice(None)),
    Row(54, "Accept with a malformed quality", get(Accept="*/*;q=x"), 200, part=slice(None)),
    Row(55, "not even identity", get(Accept_Encoding="identity;q=0"), 200, part=slice(None)),
    Row(56, "gzip", get(Accept_Encoding="gzip"), 200, "", {"content-length": "$LENGTH"}, slice(None)),
    Row(57, "no Host", raw(b"", b"GET /livez HTTP/1.1\r\n"), 400, "Host"),
    Row(57, "two Hosts", raw(HOST), 400, "Host"),
    Row(57, "a Host with a space", raw(b"Host: a b\r\n", b"GET /livez HTTP/1.1\r\n"), 400, "Host"),
    Row(57, "a Host that is a path", raw(b"Host: a/b\r\n", b"GET /livez HTTP/1.1\r\n"), 400, "Host"),
    Row(58, "a length and chunks", chunked(b"{}").replace(HOST, HOST + b"Content-Length: 2\r\n"), 400),
    *(
        Row(59, repr(lines), request_bytes("POST", "/v1/plan").removesuffix(b"\r\n") + lines.encode() + b"\r\n{}", 400)
        for lines in (
            "Content-Length: 2\r\nContent-Length: 3\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: 2, 2\r\n",
            f"Content-Length: {2**70}\r\n",
        )
    ),
    Row(60, "a transfer coding", raw(b"Transfer-Encoding: gzip\r\n"), 501),
    Row(60, "a transfer coding before chunks", chunked(b"{}").replace(b"chunked", b"gzip, chunked"), 501),
    Row(60, "a transfer coding behind chunks", chunked(b"{}").replace(b"chunked", b"chunked, gzip"), 400),
    Row(61, "a folded line", raw(b"X: a\r\n b\r\n"), 400),
    Row(61, "a space before the colon", raw(b"X : a\r\n"), 400),
    Row(61, "NUL in a value", raw(b"X: a\0b\r\n"), 400),
    Row(61, "bare line feeds", raw(b"").replace(b"\r\n", b"\n"), 400),
    Row(61, "bare carriage returns", raw(b"").replace(b"\r\n", b"\r"), 400),
    Row(62, "a line of 64 KB", raw(b"X: " + b"x" * 65_536 + b"\r\n"), 431),
    Row(62, "a line of 8 MB", raw(b"X: " + b"x" * (8 * MEBIBYTE) + b"\r\n"), 431),
    Row(62, "20,000 fields", raw(b"X: x\r\n" * 20_000), 431),
    Row(63, "an address of 1 MB", get("/" + "x" * MEBIBYTE), 414),
    Row(63, "an address of 8001 bytes", get("/" + "x" * 8000), 404),
    Row(64, "an unknown method", raw(HOST, b"FOO /livez HTTP/1.1\r\n"), 501),
    Row(64, "a known method", get("/v1/plan", "DELETE"), 405, "", {"allow": "POST"}),
    Row(64, "a method of another protocol", get("/v1/plan", "PROPFIND"), 405, "", {"allow": "POST"}),
    Row(65, "OPTIONS *", get("*", "OPTIONS"), 204, "", {"allow": "GET, HEAD, OPTIONS, POST"}),
    Row(65, "OPTIONS", get("/v1/plan", "OPTIONS"), 204, "", {"allow": "POST"}),
    Row(66, "an expectation of too much", post(b"", Expect="100-continue", Content_Length=str(MOST_BODY + 1)), 413),
    Row(67, "another expectation", get("/livez", Expect="something"), 417),
    Row(68, "HTTP/1.0", b"GET /livez HTTP/1.0\r\n\r\n", 200, "ok", {"connection": "close"}),
    Row(68, "HTTP/9.9", raw(HOST, b"GET /livez HTTP/9.9\r\n"), 400),
    Row(68, "HTTP/2.0 in words", raw(HOST, b"GET /livez HTTP/2.0\r\n"), 400),
    Row(68, "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), 400),
    Row(68, "HTTP/0.9", raw(HOST, b"GET /livez HTTP/0.9\r\n"), 400),
    Row(68, "TLS", bytes.fromhex("16030100c8010000c40303") + bytes(200), 400),
    Row(
        69,
        "a forwarded host",
        get("$PATH", X_Forwarded_Host="evil.example", Forwarded="host=evil.example"),
        200,
        "",
        {"content-location": "$PATH"},
    ),
    Row(69, "a forwarded prefix", get("$PATH", X_Forwarded_Prefix="/evil"), 200, "", {"content-location": "$PATH"}),
    Row(70, "a line in a name", post(named(b"a\\r\\nX-Injected: yes"), "/v1/weights"), 422),
    Row(70, "a line in an address", get("/v1/weights/x%0D%0AX-Injected:%20yes/model.safetensors"), 404),
    Row(70, "a line in an option", post(SMALL, "/v1/weights?format=x%0D%0AX-Injected:%20yes"), 422),
    Row(70, "a line in the name of an option", post(SMALL, "/v1/weights?x%0D%0AX-Injected:%20yes=1"), 422),
]
TABLE: Final = [*JSON_BODY, *MEANINGS, *FIELDS]


def answer_to(server: Server, sent: bytes) -> httpx.Response:
    """The one answer to a request behind which the server closes."""
    return whole(server.exchange(sent), head_only=sent.startswith(b"HEAD "))


def whole(received: bytes, *, head_only: bool = False) -> httpx.Response:
    """One answer and nothing behind it."""
    head, _, content = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = first.split(" ")
    assert version == "HTTP/1.1"
    fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    declared = dict(fields).get("content-length", "0")
    assert len(content) == (0 if head_only else int(declared)), received[:500]
    return httpx.Response(int(status), headers=fields, content=content if not head_only else b"")


def counted(server: Server, name: str, key: str = "", **labels: str) -> float:
    """The sum of the samples of a metric that have some labels; a key where the server asks for one."""
    page = answer_to(server, get("/metrics", Authorization=f"Bearer {key}"))
    return sum(
        sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.fixture(scope="module")
def file(client: httpx.Client) -> File:
    posted = client.post("/v1/weights", json=SMALL)
    return File(posted.headers["content-location"], posted.headers["etag"], posted.content)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_a_bad_input_gets_its_answer(server: Server, client: httpx.Client, file: File, row: Row) -> None:
    answer = answer_to(server, file.filled(row.sent))

    assert answer.status_code == row.status, answer.text[:500]
    assert answer.status_code < 400 or row.sent.startswith(b"HEAD ") or assert_problem(answer, row.status)
    assert row.said in answer.text
    assert {name: answer.headers[name] for name in row.fields} == {
        name: file.filled(value.encode()).decode() for name, value in row.fields.items()
    }
    assert "x-injected" not in answer.headers
    assert "root:" not in answer.text
    assert "content-encoding" not in answer.headers
    if row.part is not None:
        assert answer.content == file.content[row.part]
    assert client.get("/livez").status_code == 200


def test_39_the_metadata_of_a_file_has_no_key_that_a_reader_takes_for_a_tensor(file: File) -> None:
    metadata = header_of(file.content)["__metadata__"]

    assert not {"dtype", "shape", "data_offsets"} & {name.lower() for name in metadata}
    assert all(isinstance(value, str) for value in metadata.values())


def test_72_a_connection_that_sends_nothing_is_closed_without_a_word(impatient: Server) -> None:
    assert impatient.exchange(b"") == b""


def taken_to_the_end(connection: socket.socket) -> int:
    """How many bytes can still be had, however that ends."""
    taken = 0
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 20):
            taken += len(piece)
    return taken


def test_76_drawing_stops_when_a_client_resets_the_connection(impatient: Server) -> None:
    before = counted(impatient, "xavier_aborted_total")
    connection = impatient.connect()
    connection.sendall(post(FORTY_GB, "/v1/weights"))
    assert connection.recv(1 << 16)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()  # at once, and not in order

    wait_for(lambda: counted(impatient, "xavier_aborted_total") == before + 1)
    wait_for(impatient.is_idle)


@pytest.mark.parametrize(
    "sent",
    [get("/livez"), post(SMALL, "/v1/weights"), post(EIGHT_GIB, "/v1/weights")],
    ids=["a word", "a small file", "a large file"],
)
def test_77_a_reader_that_closes_its_half_gets_no_answer_as_is_documented(server: Server, sent: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)

        assert taken_to_the_end(connection) < 64 * MEBIBYTE  # it is no hang, and 8 GiB are not drawn

    assert "half-closes its connection after the request gets no answer" in DOCUMENTED.read_text()
    assert answer_to(server, get("/livez")).status_code == 200


def test_78_a_thousand_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    requests = [request_bytes("GET", "/livez", X_Request_Id=f"number-{number}") for number in range(999)]

    answers = server.exchange(b"".join([*requests, get("/livez", X_Request_Id="number-999")]))

    assert [int(number) for number in re.findall(rb"x-request-id: number-([0-9]+)", answers)] == list(range(1000))
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b'{"status":"ok"}') == 1000


def test_79_a_request_behind_a_stream_waits_for_its_end(server: Server, client: httpx.Client) -> None:
    document = spec(tensor("w", 2000, 2000))
    expected = client.post("/v1/weights", json=document).content

    received = server.exchange(request_bytes("POST", "/v1/weights", body(document)) + get("/livez"))

    _, _, rest = received.partition(b"\r\n\r\n")
    assert rest.startswith(expected)
    assert whole(rest[len(expected) :]).json() == {"status": "ok"}


def test_80_idle_connections_are_bounded_and_pass(impatient: Server) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(impatient.connect()) for _ in range(400)]
        received = [drain(connection) for connection in connections]

    refused = [answer for answer in received if answer]
    assert 0 < len(refused) < 400
    for answer in refused:
        assert_problem(whole(answer), 503, "service-unavailable")
        assert int(whole(answer).headers["retry-after"]) > 0
    assert answer_to(impatient, get("/livez")).status_code == 200


def test_81_a_hundred_clients_with_the_same_cold_request_get_the_same_bytes(server: Server) -> None:
    request = post(spec(tensor("w", 300, 300), seed=randbits(64)), "/v1/weights")
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(100)]
        for connection in connections:
            connection.sendall(request)
        answers = [whole(drain(connection)) for connection in connections]

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1


def test_83_a_client_of_a_killed_server_sees_that_and_goes_on_at_another_one(
    start_server: StartServer, client: httpx.Client
) -> None:
    document = spec(tensor("w", 2000, 2000))
    plan = client.post("/v1/plan", json=document).json()
    killed = start_server()
    with killed.connect(receive_buffer=1 << 16) as connection:
        connection.sendall(request_bytes("GET", plan["permalink"]))
        received = bytearray(take(connection, MEBIBYTE))
        killed.process.kill()
        with suppress(ConnectionResetError):
            while piece := connection.recv(1 << 16):
                received += piece
    head, _, part = bytes(received).partition(b"\r\n\r\n")

    assert f"content-length: {plan['totals']['file_bytes']}".encode() in head
    assert 0 < len(part) < plan["totals"]["file_bytes"]  # it can tell

    resumed = client.get(plan["permalink"], headers={"Range": f"bytes={len(part)}-", "If-Range": plan["etag"]})
    assert resumed.status_code == 206
    assert part + resumed.content == client.get(plan["permalink"]).content


BREAKS_LATER: Final = """
from service.formats.safetensors import SafetensorsFile
read = SafetensorsFile.read
def broken(self, start, stop):
    if start > 1 << 21:
        raise RuntimeError("broken on purpose")
    return read(self, start, stop)
SafetensorsFile.read = broken
"""


def test_84_an_error_after_the_first_byte_breaks_the_connection(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BREAKS_LATER)
    server = start_server(PYTHONPATH=str(tmp_path))

    answer = server.exchange(request_bytes("POST", "/v1/weights", body(EIGHT_GIB), X_Request_Id="the-broken-one"))

    head, _, content = answer.partition(b"\r\n\r\n")
    [length] = re.findall(rb"content-length: ([0-9]+)", head)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert len(content) < int(length)
    assert b"broken on purpose" not in answer
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert any("broken on purpose" in line.get("traceback", "") for line in lines)
    [line] = [line for line in lines if line.get("request_id") == "the-broken-one"]
    assert (line["outcome"], line["reason"], line["status"]) == ("aborted", "RuntimeError", 200)
    assert answer_to(server, get("/livez")).status_code == 200
    assert counted(server, "xavier_streams_active") == 0


@pytest.mark.parametrize("document", [EIGHT_GIB, FORTY_GB], ids=["8 GiB", "44 GiB"])
def test_85_head_of_a_huge_file_draws_nothing(impatient: Server, document: Spec) -> None:
    drawn = counted(impatient, "xavier_drawn_bytes_total")
    answer = answer_to(impatient, get(packed(body(document)), "HEAD"))

    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) > 8 << 30
    assert counted(impatient, "xavier_drawn_bytes_total") == drawn


ELSEWHERE: Final = {
    71: (
        "tests.api.guard.test_access",
        "test_everything_needs_a_key",
        "test_what_is_not_a_key_opens_nothing",
        "test_a_key_in_an_address_is_not_taken",
        "test_a_key_in_another_field_is_not_taken",
    ),
    73: ("tests.api.guard.test_connections", "test_a_request_that_stops_or_trickles_in_is_too_slow"),
    74: ("tests.api.guard.test_connections", "test_a_request_that_stops_or_trickles_in_is_too_slow"),
    75: (
        "tests.api.guard.test_connections",
        "test_readers_that_take_nothing_are_cut_off_in_the_middle_and_at_the_end_of_an_answer",
    ),
    82: (
        "tests.cli.test_commands",
        "test_a_server_ends_in_time_though_a_slow_client_is_connected",
        "test_a_server_lets_short_answers_end",
    ),
    86: (
        "tests.cli.test_commands",
        "test_a_full_disk_is_an_error",
        "test_a_full_disk_behind_standard_output_is_an_error",
        "test_what_a_killed_generation_leaves_is_not_under_the_name_and_is_taken_over",
        "test_a_closed_pipe_ends_generation_quietly",
    ),
}
"""What is tested without this table: the module, and its tests."""


def test_every_row_of_the_table_is_here(request: pytest.FixtureRequest) -> None:
    rows = {row.number for row in TABLE}
    tests = {int(found[1]) for name in vars(request.module) if (found := re.match("test_([0-9]+)_", name))}

    assert rows | tests | ELSEWHERE.keys() == set(range(1, 87))
    assert not (rows | tests) & ELSEWHERE.keys()
    assert all(callable(resolve_name(f"{module}:{test}")) for module, *tests in ELSEWHERE.values() for test in tests)
