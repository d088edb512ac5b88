"""What is acceptable to the caller (Accept, HEAD), and what is acceptable to us (Content-Type, Content-Encoding)."""

from __future__ import annotations

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from service.app import create_app
from service.settings import Settings
from tests.api.answers import Contract, assert_problem
from tests.api.servers import Server, request_bytes, wait_for
from tests.api.specs import FORTY_GB, SMALL, body
from tests.api.test_hostile import answer_to, counted, get, packed

FILE, JSON = "application/octet-stream", "application/json"

# what POST /v1/weights answers, what a permalink answers, what JSON resources answer; None is 406
ACCEPT: dict[str | None, tuple[str | None, str | None, str | None]] = {
    None: (FILE, FILE, JSON),
    "": (FILE, FILE, JSON),
    "*/*": (FILE, FILE, JSON),
    "application/*": (FILE, FILE, JSON),
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": (FILE, FILE, JSON),
    "application/octet-stream": (FILE, FILE, None),
    "application/json": (JSON, None, JSON),
    "APPLICATION/JSON": (JSON, None, JSON),
    "application/json; charset=utf-8": (JSON, None, JSON),
    "application/octet-stream;q=.5, application/json": (JSON, FILE, JSON),
    "application/octet-stream;q=0.5, application/json;q=0.4": (FILE, FILE, JSON),
    "application/json ; q = 0.5, application/octet-stream;q=0.4": (JSON, FILE, JSON),
    "application/json;q=0.1, */*;q=0.2": (FILE, FILE, JSON),
    "application/json, application/octet-stream": (FILE, FILE, JSON),
    "application/octet-stream;q=0, */*": (JSON, None, JSON),
    "application/json;q=0, */*": (FILE, FILE, None),
    "image/png": (None, None, None),
    "image/*": (None, None, None),
    "image/png, text/html;q=0.5": (None, None, None),
    "application/problem+json": (None, None, None),
    # lenient where it is malformed, or asks for nothing at all
    "*/*;q=0": (FILE, FILE, JSON),
    "image/png;q=0": (FILE, FILE, JSON),
    "application/json;q=abc": (JSON, None, JSON),
    "application/json;q=": (JSON, None, JSON),
    "application/json;q=nan": (JSON, None, JSON),
    "application/json;q=7": (JSON, None, JSON),
    "application/json;q=-1, */*": (FILE, FILE, None),
    ",,,": (FILE, FILE, JSON),
    ";;;": (FILE, FILE, JSON),
    ", application/json,": (JSON, None, JSON),
}
JSON_RESOURCES = [
    ("POST", "/v1/plan"),
    ("POST", "/v1/statistics"),
    ("GET", "/v1/statistics/{permalink}"),
    ("GET", "/v1/initializers"),
    ("GET", "/v1/layers"),
    ("GET", "/v1/nonlinearities"),
    ("GET", "/v1/info"),
]


@pytest.fixture(scope="module")
def permalink(client: httpx.Client) -> str:
    return client.post("/v1/weights", json=SMALL).headers["content-location"]


def ask(client: httpx.Client, method: str, path: str, accept: str | None) -> httpx.Response:
    """A request with an Accept field, or really without one."""
    request = client.build_request(method, path, json=SMALL if method == "POST" else None)
    request.headers.pop("Accept")
    if accept is not None:
        request.headers["Accept"] = accept
    return client.send(request)


def assert_chosen(answer: httpx.Response, media_type: str | None) -> None:
    if media_type is None:
        assert_problem(answer, 406, "not-acceptable")
    else:
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)


@pytest.mark.parametrize(("accept", "chosen"), ACCEPT.items(), ids=[repr(accept) for accept in ACCEPT])
def test_the_best_acceptable_form_is_sent(
    client: httpx.Client, permalink: str, accept: str | None, chosen: tuple[str | None, str | None, str | None]
) -> None:
    assert_chosen(ask(client, "POST", "/v1/weights", accept), chosen[0])
    assert_chosen(ask(client, "GET", permalink, accept), chosen[1])
    assert_chosen(ask(client, "GET", "/v1/layers", accept), chosen[2])


@pytest.mark.parametrize(("method", "path"), JSON_RESOURCES)
def test_every_json_resource_refuses_who_does_not_take_json(
    client: httpx.Client, permalink: str, method: str, path: str
) -> None:
    path = path.format(permalink=permalink.split("/")[3])

    assert_problem(ask(client, method, path, "image/png"), 406, "not-acceptable")
    assert ask(client, method, path, "application/json").status_code == 200


def test_the_table_names_every_json_resource(contract: Contract) -> None:
    negotiable = {
        (method, path)
        for (method, path), operation in contract.operations.items()
        if path.startswith("/v1/") and operation["responses"]["200"]["content"].keys() == {JSON}
    }

    assert negotiable == set(JSON_RESOURCES)


def test_probes_are_answered_whatever_they_accept(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz"):
        assert ask(client, "GET", path, "text/plain").status_code == 200


def test_the_query_decides_before_accept(client: httpx.Client) -> None:
    for accept in (FILE, JSON, "image/png", None):
        for form, media_type in (("safetensors", FILE), ("json", JSON)):
            answer = ask(client, "POST", f"/v1/weights?format={form}", accept)
            assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)


def test_an_answer_chosen_by_accept_says_so_to_caches(client: httpx.Client) -> None:
    for accept in (FILE, JSON):
        assert ask(client, "POST", "/v1/weights", accept).headers["vary"] == "Accept"


def test_several_accept_fields_are_one_list(server: Server) -> None:
    request = request_bytes("GET", "/v1/layers", Accept="image/png", Connection="close")

    answer = server.exchange(request.replace(b"\r\n\r\n", b"\r\nAccept: application/json\r\n\r\n"))

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_fields_that_are_not_ascii_are_no_defects(server: Server) -> None:
    for name in (b"Accept", b"Range", b"If-None-Match", b"Content-Type", b"User-Agent"):
        request = request_bytes("GET", "/v1/layers", Connection="close")
        answer = server.exchange(request.replace(b"\r\n\r\n", b"\r\n" + name + b": \xff\xfe\r\n\r\n"))
        assert answer.split()[1] in (b"200", b"406")


ROUTES = sorted({str(context.path) for context in iter_route_contexts(create_app(Settings()).routes)})
OF_GET_ALONE = {"/v1/statistics/{permalink}": {"content-length"}}
"""What of GET's header is known only when its content is drawn."""


def address(route: str, permalink: str) -> str:
    """An address of a route."""
    return "/docs/assets/swagger-ui.css" if route == "/docs/assets" else route.format(permalink=permalink)


@pytest.mark.parametrize("query", ["", "?statistics=measured"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_head_of_any_route_draws_nothing_and_is_that_of_get(server: Server, route: str, query: str) -> None:
    small, large = (address(route, packed(body(document)).split("/")[3]) + query for document in (SMALL, FORTY_GB))
    wait_for(lambda: counted(server, "xavier_streams_active") == 0)
    drawn = counted(server, "xavier_drawn_bytes_total")
    head, of_large = (answer_to(server, get(path, "HEAD")) for path in (small, large))
    assert counted(server, "xavier_drawn_bytes_total") == drawn

    whole = answer_to(server, get(small))

    own = {"date", "x-request-id", *({"content-length"} if route == "/metrics" else ())}
    assert (head.status_code, of_large.status_code) == (whole.status_code, whole.status_code)
    assert head.headers.keys() <= whole.headers.keys()
    assert whole.headers.keys() - head.headers.keys() <= OF_GET_ALONE.get(route, set())
    assert all(value == whole.headers[name] for name, value in head.headers.items() if name not in own)


CONTENT_TYPES: dict[str | None, int] = {
    "application/json": 200,
    "Application/JSON": 200,
    "application/json; charset=utf-8": 200,
    'application/json;charset="UTF-8"': 200,
    "application/json; profile=x": 200,
    None: 415,
    "": 415,
    "text/plain": 415,
    "text/json": 415,
    "application/json; charset=iso-8859-1": 415,
    "application/json; charset=utf-16": 415,
    "application/problem+json": 415,
    "application/x-www-form-urlencoded": 415,
    "multipart/form-data; boundary=x": 415,
    "application/octet-stream": 415,
    "application/json, text/plain": 415,
    "nonsense": 415,
}


@pytest.mark.parametrize(
    ("content_type", "status"), CONTENT_TYPES.items(), ids=[repr(content_type) for content_type in CONTENT_TYPES]
)
@pytest.mark.parametrize("path", ["/v1/weights", "/v1/plan", "/v1/statistics"])
def test_a_specification_is_taken_as_json_in_utf_8_only(
    client: httpx.Client, path: str, content_type: str | None, status: int
) -> None:
    fields = {} if content_type is None else {"Content-Type": content_type}

    answer = client.post(path, content=body(SMALL), headers=fields)

    if status == 200:
        assert answer.status_code == 200
    else:
        assert_problem(answer, 415, "unsupported-media-type")
        assert answer.headers["accept-post"] == JSON


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "gzip, identity", "nonsense", "GZIP"])
def test_a_coded_body_is_refused_and_told_what_is_taken(client: httpx.Client, coding: str) -> None:
    answer = client.post(
        "/v1/plan", content=b"\x1f\x8b" + bytes(100), headers={"Content-Type": JSON, "Content-Encoding": coding}
    )

    assert_problem(answer, 415, "unsupported-media-type")
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
def test_a_body_that_says_it_is_not_coded_is_taken(client: httpx.Client, coding: str) -> None:
    fields = {"Content-Type": JSON, "Content-Encoding": coding}

    assert client.post("/v1/plan", content=body(SMALL), headers=fields).status_code == 200
