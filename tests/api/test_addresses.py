"""Addresses: permalinks that carry a specification and those that do not, unknown routes, and methods."""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

import httpx
import pytest

from tests.api.answers import Contract, assert_problem, pointers
from tests.api.servers import Server, request_bytes
from tests.api.specs import EVERY_LAYER, SMALL, body, linear, spec, tensor


def base64url(content: bytes) -> str:
    """RFC 4648 section 5, unpadded."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def deflated(content: bytes, level: int = 9, wbits: int = -15) -> bytes:
    """RFC 1951 by default."""
    deflate = zlib.compressobj(level, wbits=wbits)
    return deflate.compress(content) + deflate.flush()


def path_of(permalink: str) -> str:
    """Where its weights are."""
    return f"/v1/weights/{permalink}/model.safetensors"


DOCUMENT = body(SMALL)
PERMALINK = base64url(deflated(DOCUMENT))
SPELLINGS = {
    "another level of compression": base64url(deflated(DOCUMENT, level=1)),
    "no compression": base64url(deflated(DOCUMENT, level=0)),
    "plain JSON": base64url(DOCUMENT),
    "padding": urlsafe_b64encode(deflated(DOCUMENT)).decode(),
    "other white space": base64url(deflated(json.dumps(SMALL, indent=2).encode())),
    "defaults written": base64url(deflated(body(SMALL | {"dtype": "F32", "stream": 1, "seed": "42", "prefix": ""}))),
    "another order": base64url(deflated(json.dumps(SMALL, sort_keys=True).encode())),
    "an alias": base64url(deflated(DOCUMENT.replace(b'"linear"', b'"dense"'))),
}
BAD = {
    "garbage": "garbage",
    "one character": "a",
    "cut short": PERMALINK[:-5],
    "only its beginning": PERMALINK[:10],
    "something behind": base64url(deflated(DOCUMENT) + b"x"),
    "another letter case": PERMALINK.swapcase(),
    "characters of plain base64": "ab+d",
    "a percent sign": "%25",
    "white space": "%20",
    "characters that are not base64": "!!!!",
    "characters that are not base64 inside": PERMALINK[:8] + "!*.~" + PERMALINK[8:],
    "white space inside": PERMALINK[:8] + "%20%20%0A%20" + PERMALINK[8:],
    "padding inside": PERMALINK[:8] + "==" + PERMALINK[8:],
    "NUL": "%00",
    "a byte that is not UTF-8": "%FF",
    "letters beyond ASCII": "%C3%A9",
    "a header": "x%0D%0AX-Injected:%20yes",
    "a path": "..%2F..%2Fetc%2Fpasswd",
    "zlib instead of raw deflate": base64url(deflated(DOCUMENT, wbits=15)),
    "gzip instead of raw deflate": base64url(deflated(DOCUMENT, wbits=31)),
    "a bomb": base64url(deflated(b" " * (10 << 20))),
    "a bomb that begins well": base64url(deflated(DOCUMENT.ljust(10 << 20))),
    "nothing deflated": base64url(deflated(b"")),
    "null": base64url(deflated(b"null")),
    "an object without members": base64url(deflated(b"{}")),
    "an object without members, plain": base64url(b"{}"),
    "an invalid specification": base64url(deflated(body(spec(linear(fan_in=0))))),
    "a duplicate name": base64url(deflated(b'{"seed":1,' + DOCUMENT[1:])),
    "nested too deeply": base64url(deflated(b"[" * 100_000)),
    "nested too deeply, plain": base64url(b'{"a":' * 1000),
}


@pytest.mark.parametrize("permalink", SPELLINGS.values(), ids=SPELLINGS)
def test_any_spelling_of_a_specification_is_the_same_address(client: httpx.Client, permalink: str) -> None:
    posted = client.post("/v1/weights", json=SMALL)

    fetched = client.get(path_of(permalink))

    assert fetched.content == posted.content
    assert fetched.headers["etag"] == posted.headers["etag"]
    assert fetched.headers["content-location"] == posted.headers["content-location"]


def test_a_permalink_is_the_raw_deflate_of_the_canonical_specification(client: httpx.Client) -> None:
    plan = client.post("/v1/plan", json=EVERY_LAYER).json()
    permalink = plan["permalink"].split("/")[3]

    canonical = zlib.decompress(urlsafe_b64decode(permalink + "=" * (-len(permalink) % 4)), wbits=-15)

    assert json.loads(canonical) == plan["canonical_spec"]
    assert "=" not in permalink


@pytest.mark.parametrize("permalink", BAD.values(), ids=BAD)
def test_an_address_that_carries_no_specification_is_not_found(client: httpx.Client, permalink: str) -> None:
    for method, path in (
        ("GET", path_of(permalink)),
        ("HEAD", path_of(permalink)),
        ("GET", f"/v1/statistics/{permalink}"),
    ):
        answer = client.request(method, path)
        if method == "HEAD":
            assert (answer.status_code, answer.content) == (404, b"")
        else:
            assert_problem(answer, 404)
        assert "x-injected" not in answer.headers


def test_a_permalink_of_a_specification_above_a_limit_says_so(client: httpx.Client) -> None:
    permalink = base64url(deflated(body(spec(tensor("w", 2**31 - 1, 2**31 - 1)))))

    for path in (path_of(permalink), f"/v1/statistics/{permalink}"):
        assert assert_problem(client.get(path), 422, "limit-exceeded")["name"] == "file_bytes"
    assert client.head(path_of(permalink)).status_code == 422


def test_a_permalink_of_a_specification_that_means_nothing_says_why(client: httpx.Client) -> None:
    permalink = base64url(deflated(body(spec(tensor("w", 3)))))

    for path in (path_of(permalink), f"/v1/statistics/{permalink}"):
        problem = assert_problem(client.get(path), 422, "invalid-spec")
        assert pointers(problem) == ["/layers/0/initializer"]


def test_bytes_that_no_address_has_are_refused(server: Server) -> None:
    raw = b"GET /v1/weights/\xff\xfe/model.safetensors HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    long = request_bytes("GET", path_of("x" * 100_000), Connection="close")

    assert server.exchange(raw).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
    assert server.exchange(long).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 414 "))


UNKNOWN = [
    "/",
    "/v1",
    "/v1/",
    "/v2/weights",
    "/v1/weight",
    "/v1/weights/",
    "/v1/weights//model.safetensors",
    "/v1/statistics/",
    "/v1/plan/",
    "/v1/layers/linear",
    "/V1/plan",
    "/livez/",
    "/docs/",
    "/docs/assets/nothing.js",
    "/docs/assets/..%2f..%2f__init__.py",
    "/redoc",
    "/favicon.ico",
    f"/v1/weights/{PERMALINK}",
    f"/v1/weights/{PERMALINK}/",
    f"/v1/weights/{PERMALINK}/model.bin",
    f"/v1/weights/{PERMALINK}/model.safetensors/",
    f"/v1/weights/{PERMALINK}/../model.safetensors",
]


@pytest.mark.parametrize("path", UNKNOWN, ids=[path.replace(PERMALINK, "PERMALINK") for path in UNKNOWN])
def test_what_is_nowhere_is_not_found(client: httpx.Client, path: str) -> None:
    assert_problem(client.get(path), 404, "not-found")


def test_every_operation_refuses_other_methods_and_says_which_it_takes(
    client: httpx.Client, contract: Contract
) -> None:
    paths = {path for _, path in contract.operations} | {"/openapi.json", "/docs"}
    for path in sorted(paths):
        allowed = {method for method, other in contract.operations if other == path} or {"GET"}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed:
            answer = client.request(method, path.format(permalink=PERMALINK))
            assert_problem(answer, 405, "method-not-allowed")
            named = {name.strip() for name in answer.headers["allow"].split(",")}
            assert allowed <= named, f"{method} {path}: Allow is {answer.headers['allow']}"
            assert method not in named
