"""Requests with a strange field, option, method, target or body."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from tests.fuzz.documents import LARGEST
from tests.fuzz.exchanges import Request
from tests.fuzz.junk import damaged
from tests.fuzz.spellings import words

OPTIONS: Final = ("", *words("seed dtype statistics format encoding Seed x seed[] \u00e9"))
OPTION_VALUES: Final = (
    *words("1 -1 1.0 1e3 +1 01 \u0663 1_0 18446744073709551615 18446744073709551616 nan inf True None null [] % %zz"),
    *words("F32 bf16 torch.half float8_e4m3 F64\0 none measured json JSON base64 \udcff"),
    *("", " 1", "\r\n", "a" * 3000, "9" * 5000),
)
FIELDS: Final = (
    "",
    *words("Range If-Range If-None-Match If-Match If-Modified-Since Accept Accept-Encoding Content-Type X"),
    *words("Content-Encoding Content-Length Transfer-Encoding Expect Host Connection Upgrade Origin Authorization"),
    *words("X-Forwarded-For X-Request-Id TE Trailer Cookie Access-Control-Request-Method"),
)
FIELD_VALUES: Final = (
    *words('* "" " W/"a" bytes=0-0 bytes=-1 bytes=5-2 bytes=0- bytes=-0 bytes=- bytes=0-1,5-6 items=0-1 bytes'),
    *words("bytes=1-x application/json text/html */*;q=0 */*;q=nan ; ,,, gzip chunked identity 100-continue 0 -1 5"),
    *words("1e3 0x5 websocket close keep-alive h2c localhost [::1 null http://a 99999999 bytes=99999999999999999999-"),
    *("", "\t", "a b", '"a", "b"', "chunked, chunked", "application/json; charset=latin-1", "Bearer x", "\xb2"),
    *("bytes=\xb2-", "\xff\xfe", "\0", "a\r\n b", "a\nX: y", "a\rb", "Wed, 21 Oct 2015 07:28:00 GMT"),
    *("bytes=-" + "9" * 5000, "a/b;q=" + "9" * 999, "a" * 40_000),
)
METHODS: Final = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "BREW",
    "",
    "PRI",
)
TARGETS: Final = (
    *words("/ // /v1 /v1/weights /v1/weights/ /v1/plan /v1/plan/ /v1/statistics /v1/statistics/ /v1/info /v1/layers"),
    *words("/metrics /docs /openapi.json /livez /readyz /.. /%00 /%ff * a /\u00e9 http://localhost/livez http://["),
    *words("/livez#x /v1/statistics/%41 /docs/../livez /v1/weights/%2e%2e/model.safetensors"),
    *words("/v1/weights/eyJ9/model.safetensors /v1/weights/a/b/model.safetensors"),
    *("", "/ HTTP/1.1", "/livez?" + "a=1&" * 2000, "/" + "a" * 17_000),
)


def mutated_request(request: Request, chance: Random) -> Request:
    """A request with a strange field, option, method, target or body."""
    ways = (_with_field, _with_field, _with_field, _with_options, _with_options, _with_method, _with_target, _with_body)
    for _ in range(chance.choice((1, 1, 2))):
        request = chance.choice(ways)(request, chance)
    return request


def _with_field(request: Request, chance: Random) -> Request:
    value = chance.choice(FIELD_VALUES).encode("latin-1")
    if chance.random() < 0.2:
        value = chance.randbytes(chance.randint(1, 40))
    times = chance.choice((1, 1, 1, 1, 2, 120))
    return replace(request, fields=(*request.fields, *([(chance.choice(FIELDS), value)] * times)))


def _with_options(request: Request, chance: Random) -> Request:
    pairs = [(chance.choice(OPTIONS), chance.choice(OPTION_VALUES)) for _ in range(chance.randint(1, 3))]
    options = "&".join(f"{_percent(name)}={_percent(value)}" for name, value in pairs)
    return replace(request, target=f"{request.target}{'&' if '?' in request.target else '?'}{options}")


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def _with_method(request: Request, chance: Random) -> Request:
    return replace(request, method=chance.choice(METHODS))


def _with_target(request: Request, chance: Random) -> Request:
    return replace(request, target=chance.choice(TARGETS))


def _with_body(request: Request, chance: Random) -> Request:
    others = b"", b"{}", b"[]", b"null", b"\0", b"a" * (LARGEST + 1), damaged(request.body, chance)
    return replace(request, body=chance.choice(others))
