"""Logs: one line a request, with all that is needed to find it again, and nothing that is a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.api.servers import Server, drain, request_bytes, running_server, wait_for
from tests.api.specs import EIGHT_GIB, SMALL, body, linear, spec
from tests.api.test_hostile import HOST, answer_to, counted, get, packed, post, raw, whole

KEY, WRONG_KEY, NAME = "key-that-nobody-may-read", "wrong-key-that-nobody-may-read", "name-that-nobody-may-read"
SECRET = spec(linear(NAME))
Line = dict[str, Any]
USABLE = ["a", "0", "9b2e4f1c-7a36-4d0a-9f5e-2c9d1f0e8b7a", "x" * 64, "A.b_c-d"]
UNUSABLE: list[bytes] = [
    b"",
    b" ",
    b"x" * 65,
    b"a b",
    b"a\tb",
    b"a,b",
    b"a;b",
    b'"a"',
    b"a/b",
    b"{}",
    b"<script>",
    b"\xc3\xa9",
    b"\xff",
]


@pytest.fixture(scope="module")
def logging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key, whose log is read."""
    env = {"XAVIER_API_KEYS": f"another-key,{KEY}"}
    with running_server(tmp_path_factory.mktemp("logging") / "log", "--receive-seconds", "1", env=env) as server:
        yield server


def lines(server: Server) -> list[Line]:
    """Every line of the log; each is JSON."""
    return [json.loads(line) for line in server.log().splitlines()]


def line_of(server: Server, request_id: str) -> Line:
    """The one line of a request, which comes when its answer is over."""
    wait_for(lambda: request_id in server.log())
    [line] = [line for line in lines(server) if line.get("request_id") == request_id]
    return line


def keyed(request: bytes) -> bytes:
    """A request with the key."""
    return request.replace(HOST, HOST + f"Authorization: Bearer {KEY}\r\n".encode(), 1)


def test_a_request_leaves_one_line_that_says_how_it_went(logging: Server) -> None:
    posted = answer_to(logging, keyed(post(SMALL, "/v1/weights")))
    plan = answer_to(logging, keyed(post(SMALL))).json()

    line = line_of(logging, posted.headers["x-request-id"])

    assert line.keys() == {
        *("time", "level", "logger", "message", "request_id", "caller", "digest"),
        *("method", "route", "status", "bytes", "seconds", "outcome"),
    }
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/weights", 200)
    assert line["bytes"] == len(posted.content)
    assert line["digest"] == plan["digest"]
    assert line["outcome"] == "completed"
    assert line["caller"] == "key 1"
    assert 0 < line["seconds"] < 30
    assert (line["level"], line["logger"]) == ("info", "xavier.requests")
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)


# what is asked for: the status of the answer, and how it is told
BY_ADDRESS = "/v1/weights/{permalink}/model.safetensors"
REQUESTS: dict[str, tuple[bytes, int, str]] = {
    "a file by its address": (get(packed(body(SMALL))), 200, f"GET {BY_ADDRESS}"),
    "a head of what is got": (get("/livez", "HEAD"), 200, "HEAD /livez"),
    "a head": (get(packed(body(SMALL)), "HEAD"), 200, f"HEAD {BY_ADDRESS}"),
    "a plan": (post(SMALL), 200, "POST /v1/plan"),
    "statistics": (post(SMALL, "/v1/statistics"), 200, "POST /v1/statistics"),
    "weights as JSON": (post(SMALL, "/v1/weights?format=json"), 200, "POST /v1/weights"),
    "a probe": (get("/livez"), 200, "GET /livez"),
    "metrics": (get("/metrics"), 200, "GET /metrics"),
    "the documentation": (get("/docs"), 200, "GET /docs"),
    "nothing that is known": (get("/v9/weights"), 404, "GET unmatched"),
    "an invalid specification": (post({}), 422, "POST /v1/plan"),
    "an unknown parameter": (get("/v1/statistics/x?y=1"), 422, "GET /v1/statistics/{permalink}"),
}


@pytest.mark.parametrize(("request_", "status", "told"), REQUESTS.values(), ids=REQUESTS)
def test_every_request_is_told_by_its_route_and_not_by_its_address(
    logging: Server, request_: bytes, status: int, told: str
) -> None:
    answer = answer_to(logging, keyed(request_))
    line = line_of(logging, answer.headers["x-request-id"])

    assert (answer.status_code, line["status"]) == (status, status)
    assert (f"{line['method']} {line['route']}", line["outcome"]) == (told, "completed")
    assert line["bytes"] == len(answer.content)
    assert ("digest" in line) == (status == 200 and "/v1/" in told)


@pytest.mark.parametrize("request_id", USABLE)
def test_a_usable_id_of_a_request_is_kept(logging: Server, request_id: str) -> None:
    answer = answer_to(logging, get("/livez", X_Request_Id=request_id))

    assert answer.headers["x-request-id"] == request_id
    assert line_of(logging, request_id)["status"] == 200


@pytest.mark.parametrize("request_id", UNUSABLE, ids=[repr(request_id[:20]) for request_id in UNUSABLE])
def test_another_id_is_made_anew(logging: Server, request_id: bytes) -> None:
    answers = [answer_to(logging, raw(b"X-Request-Id: " + request_id + b"\r\n")) for _ in range(2)]

    made = {answer.headers["x-request-id"] for answer in answers}
    assert len(made) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", new) for new in made)


@pytest.mark.parametrize("path", ["/livez", "/nowhere", "/v1/plan"])
def test_every_answer_of_the_application_has_an_id(logging: Server, path: str) -> None:
    made = {answer_to(logging, get(path)).headers["x-request-id"] for _ in range(3)}

    assert len(made) == 3


@pytest.mark.parametrize("path", ["/v1/weights", "/v1/statistics", "/v1/weights?statistics=measured"])
def test_an_answer_that_is_given_up_is_told_as_that(logging: Server, path: str) -> None:
    request_id = f"given-up{re.sub('[^a-z]', '-', path)}"
    fields = {"Authorization": f"Bearer {KEY}", "X-Request-Id": request_id}
    with logging.connect() as connection:
        connection.sendall(request_bytes("POST", path, body(EIGHT_GIB), **fields))
        wait_for(lambda: counted(logging, "xavier_streams_active") == 1)
        if path == "/v1/weights":
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")

    line = line_of(logging, request_id)
    assert line["outcome"] == "aborted"
    assert line["status"] == (200 if path == "/v1/weights" else 499)
    assert line["bytes"] < 1 << 30


def test_what_is_refused_before_it_is_a_request_is_told_without_its_text(logging: Server) -> None:
    def refusals() -> list[Line]:
        return [line for line in lines(logging) if line["logger"] == "xavier.connections"]

    before = len(refusals())
    answers = [
        answer_to(logging, sent)
        for sent in (
            f"GET /{NAME} HTTP/1.1\r\n{NAME}\r\n\r\n".encode(),
            get("/" + NAME * 1000),
            get("/", **{NAME: NAME * 2000}),
            NAME.upper().encode(),
            get("/" + NAME)[:-2],
        )
    ]

    assert [answer.status_code for answer in answers] == [400, 414, 431, 501, 408]
    assert [(line["status"], line["request_id"]) for line in refusals()[before:]] == [
        (answer.status_code, answer.headers["x-request-id"]) for answer in answers
    ]
    assert all(line["reason"] for line in refusals())


REFUSED: dict[str, tuple[Callable[..., bytes], int]] = {
    # what is refused behind a field that has been read
    "a field that is none": (lambda **fields: get("/livez", **fields, X="x")[:-2] + b"x\r\n\r\n", 400),
    "two Hosts": (lambda **fields: get("/livez", **fields, Host="b"), 400),
    "a header that stops": (lambda **fields: get("/livez", **fields, X="x")[:-2], 408),
    "a body that stops": (lambda **fields: post(SMALL, **fields)[:-1], 408),
    "a length that is too large": (lambda **fields: post(b"", **fields, Content_Length="99999999"), 413),
    "a body that is too large": (lambda **fields: post(b" " * (5 << 20), **fields), 413),
    "an expectation": (lambda **fields: get("/livez", **fields, Expect="a-miracle"), 417),
    "long fields": (lambda **fields: get("/livez", **fields, X="x" * 99_999), 431),
    "an unknown coding": (lambda **fields: get("/livez", **fields, Transfer_Encoding="br"), 501),
}


@pytest.mark.parametrize(("request_", "status"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_has_the_id_of_the_request_as_far_as_it_was_read(
    logging: Server, request_: Callable[..., bytes], status: int
) -> None:
    asked = f"refused-{uuid4().hex}"
    with ThreadPoolExecutor(2) as pool:
        answer, other = pool.map(lambda name: answer_to(logging, keyed(request_(X_Request_Id=name))), [asked, "not it"])
    made = other.headers["x-request-id"]

    assert (answer.status_code, answer.headers["x-request-id"]) == (status, asked)
    assert re.fullmatch("[0-9a-f]{32}", made)
    for request_id in (asked, made):
        told = {(line["message"], line["status"]) for line in lines(logging) if line.get("request_id") == request_id}
        assert ("refused", status) in told


def test_a_refusal_has_not_the_id_of_the_request_before_it(logging: Server) -> None:
    with logging.connect() as connection:
        connection.sendall(request_bytes("GET", "/livez", X_Request_Id="the-first-one"))
        first = bytearray()
        while not first.endswith(b'{"status":"ok"}'):
            first += connection.recv(1 << 16)
        connection.sendall(b"\0")
        answer = whole(drain(connection))

    assert b"x-request-id: the-first-one\r\n" in first
    assert answer.status_code == 400
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_no_key_no_specification_and_no_address_is_ever_logged(logging: Server) -> None:
    document = SECRET | {"seed": 7430120456}
    paths = ("/v1/weights", "/v1/weights?format=json", "/v1/plan", "/v1/statistics", f"/v1/plan?{NAME}={NAME}")
    answers = [answer_to(logging, keyed(post(document, path))) for path in paths]
    permalink = answers[0].headers["content-location"]
    part = permalink.split("/")[3]
    requests = [
        keyed(get(permalink)),
        keyed(get(permalink, "HEAD")),
        keyed(get(f"/v1/statistics/{part}")),
        keyed(get(permalink[:-1])),
        keyed(get(f"/{NAME}/{part}?key={KEY}")),
        keyed(post(body(document)[:-3])),
        keyed(post(spec(linear(NAME, fan_in=0)))),
        get("/v1/layers", Authorization=f"Bearer {WRONG_KEY}"),
        keyed(get("/v1/layers", X_API_Key=KEY, Cookie=KEY, User_Agent=NAME)),
    ]
    answers += [answer_to(logging, request) for request in requests]
    for sent in (post(document, Content_Length="99999999"), get(f"/{KEY} {part}"), keyed(post(document))[:-5]):
        assert answer_to(logging, sent).status_code in (400, 408, 413)
    for answer in answers:
        assert line_of(logging, answer.headers["x-request-id"])["status"] == answer.status_code

    assert {answer.status_code for answer in answers} >= {200, 400, 401, 404, 422}
    for secret in (KEY, WRONG_KEY, NAME, part, part[:30], "7430120456", '"layers"', '127.0.0.1"'):
        assert secret not in logging.log(), secret


def test_all_that_a_server_says_is_json_from_the_first_line_to_the_last(logging: Server) -> None:
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines(logging))
    assert {line["level"] for line in lines(logging)} == {"info"}
