"""Keys, and pages of other origins: off by default, and nothing is let through that should not be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.answers import assert_problem
from tests.api.guard.test_admission import FILE, asked
from tests.api.servers import Server, running_server
from tests.api.specs import SMALL
from tests.api.test_hostile import HOST, answer_to, get, post, raw
from tests.conftest import CommandLine

FIRST, SECOND, OF_FILE, WITH_COMMA, ACCENTED = "first-key", "second-key", "key-of-the-file", "a,b", "clé-de-voûte"
KEYS = [FIRST, SECOND, OF_FILE, WITH_COMMA, ACCENTED]
BUDGET = 50_000
LAYERS = b"GET /v1/layers HTTP/1.1\r\n" + HOST
ORIGIN = "https://pages.example"
GUARDED = [
    "/v1/layers",
    "/v1/info",
    "/v1/weights/x/model.safetensors",
    "/openapi.json",
    "/docs",
    "/docs/assets/swagger-ui.css",
    "/nowhere",
    "/",
    "/livez/",
    "/livez/../v1/layers",
    "//livez",
    "/metrics/",
]
NOT_KEYS: list[bytes] = [
    b"",
    b"Bearer",
    b"Bearer ",
    b"Bearer first-ke",
    b"Bearer first-keyy",
    b"Bearer FIRST-KEY",
    b"Bearer first-key,second-key",
    b"Bearer first-key second-key",
    b"Bearer\tfirst-key",
    b"Basic first-key",
    b"first-key",
    b"Bearer a",
    b"Bearer b",
    b"Bearer \xff\xfe",
    ACCENTED.encode("latin-1"),
    b"Bearer " + ACCENTED.encode("latin-1"),
    b"Bearer " + b"x" * 20_000,
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with keys by the setting and by a file, a budget for each, and with a page of another origin."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "keys").write_text(f"\n  {OF_FILE}  \n\n{WITH_COMMA}\n{ACCENTED}\n", encoding="utf-8")
    flags = ("--api-keys", f"{FIRST}, {SECOND},", "--api-keys-file", str(folder / "keys"), "--cors-origins", ORIGIN)
    budget = ("--bytes-per-minute", str(BUDGET))
    with running_server(folder / "log", *flags, *budget) as server:
        yield server


# keys


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_every_key_opens_whatever_the_case_of_the_scheme(guarded: Server, key: str, scheme: str) -> None:
    assert answer_to(guarded, get("/v1/layers", Authorization=f"{scheme} {key}")).status_code == 200


@pytest.mark.parametrize("path", GUARDED)
def test_everything_needs_a_key(guarded: Server, path: str) -> None:
    refused = answer_to(guarded, get(path))

    problem = assert_problem(refused, 401, "unauthorized")
    assert "Bearer" in problem["detail"]
    assert refused.headers["www-authenticate"] == 'Bearer realm="xavier"'
    assert answer_to(guarded, get(path, Authorization=f"Bearer {FIRST}")).status_code in (200, 404)


@pytest.mark.parametrize("authorization", NOT_KEYS, ids=[repr(field[:30]) for field in NOT_KEYS])
def test_what_is_not_a_key_opens_nothing(guarded: Server, authorization: bytes) -> None:
    refused = answer_to(guarded, raw(b"Authorization: " + authorization + b"\r\n", LAYERS))

    assert_problem(refused, 401, "unauthorized")
    assert "www-authenticate" in refused.headers


@pytest.mark.parametrize("name", ["key", "api_key", "apikey", "access_token", "token", "authorization"])
def test_a_key_in_an_address_is_not_taken(guarded: Server, name: str) -> None:
    assert_problem(answer_to(guarded, get(f"/v1/layers?{name}={FIRST}")), 401, "unauthorized")


@pytest.mark.parametrize("name", ["X_API_Key", "Cookie", "Proxy_Authorization", "Api_Key"])
def test_a_key_in_another_field_is_not_taken(guarded: Server, name: str) -> None:
    assert_problem(answer_to(guarded, get("/v1/layers", **{name: f"Bearer {FIRST}"})), 401, "unauthorized")


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_every_method_needs_a_key(guarded: Server, method: str) -> None:
    assert answer_to(guarded, get("/v1/plan", method)).status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_and_metrics_need_no_key(guarded: Server, path: str) -> None:
    assert answer_to(guarded, get(path)).status_code == 200
    assert answer_to(guarded, get(path, Authorization="Bearer wrong")).status_code == 200


def test_a_specification_is_read_from_who_has_a_key_only(guarded: Server) -> None:
    for path in ("/v1/plan", "/v1/weights", "/v1/statistics"):
        refused = answer_to(guarded, post(SMALL, path))
        taken = answer_to(guarded, post(SMALL, path, Authorization=f"Bearer {SECOND}"))
        assert (refused.status_code, taken.status_code) == (401, 200)


def test_a_key_has_a_budget_wherever_it_comes_from(guarded: Server) -> None:
    def statuses(key: str, *sources: int) -> list[int]:
        request = post(FILE, "/v1/weights", Authorization=f"Bearer {key}")
        return [asked(guarded, request, source).status_code for source in sources]

    assert statuses(OF_FILE, 1, 1, 2) == [200, 429, 429]
    assert statuses(WITH_COMMA, 1, 2, 3) == [200, 429, 429]


def test_without_keys_everybody_is_let_in_and_a_key_does_no_harm(client: httpx.Client) -> None:
    assert client.get("/v1/layers").status_code == 200
    assert client.get("/v1/layers", headers={"Authorization": "Bearer anything"}).status_code == 200


def test_a_file_of_keys_that_is_not_there_stops_the_start(xavier: CommandLine, tmp_path: Path) -> None:
    outcome = xavier("serve", "--port", "0", "--api-keys-file", tmp_path / "nothing")

    assert outcome.code == 1
    assert "nothing" in outcome.err


# pages of other origins


def test_answers_are_for_no_page_by_default(client: httpx.Client) -> None:
    for answer in (
        client.get("/v1/layers", headers={"Origin": ORIGIN}),
        client.options("/v1/plan", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_of_the_setting_may_read_answers_and_their_fields(guarded: Server) -> None:
    for authorization, status in ((f"Bearer {FIRST}", 200), ("Bearer wrong", 401)):
        answer = answer_to(guarded, get("/v1/layers", Origin=ORIGIN, Authorization=authorization))

        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "Origin" in answer.headers["vary"]
        exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert {"etag", "content-range", "content-length", "content-location", "retry-after", "link"} <= exposed
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_page_of_the_setting_may_ask_first_and_needs_no_key_for_that(guarded: Server, method: str) -> None:
    wanted = "authorization, content-type, range, if-range, if-none-match, if-match"
    fields = {"Origin": ORIGIN, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": wanted}
    answer = answer_to(guarded, get("/v1/plan", "OPTIONS", **fields))

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert method in answer.headers["access-control-allow-methods"]
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert {name.strip() for name in wanted.split(",")} <= allowed


@pytest.mark.parametrize("origin", ["https://evil.example", "http://pages.example", f"{ORIGIN}.evil.example", "null"])
def test_a_page_of_another_origin_may_not(guarded: Server, origin: str) -> None:
    answer = answer_to(guarded, get("/v1/layers", Origin=origin, Authorization=f"Bearer {FIRST}"))
    asked = answer_to(guarded, get("/v1/plan", "OPTIONS", Origin=origin, Access_Control_Request_Method="POST"))

    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-origin" not in asked.headers
    assert asked.status_code == 400


def test_all_pages_may_read_answers_where_the_setting_says_so(narrow: Server) -> None:
    answer = answer_to(narrow, get("/v1/layers", Origin="https://anybody.example"))

    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
