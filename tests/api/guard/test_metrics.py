"""Metrics: what is counted, and that gauges go back to nothing; tests/cli/test_workers.py has those of workers."""

from __future__ import annotations

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from tests.api.answers import assert_problem
from tests.api.servers import Server, request_bytes, wait_for
from tests.api.specs import EIGHT_GIB, SMALL, body
from tests.api.test_hostile import answer_to, counted, get, post
from tests.conftest import StartServer

KEY = "a-key-of-this-test"
GAUGES = ("xavier_streams_active", "xavier_streams_waiting")


BY_ADDRESS = "/v1/weights/{permalink}/model.safetensors"


def test_requests_are_counted_by_method_route_and_status(narrow: Server) -> None:
    expected = {
        ("POST", "/v1/weights", "200"): 1,
        ("POST", "/v1/weights", "400"): 1,
        ("GET", BY_ADDRESS, "200"): 3,
        ("GET", BY_ADDRESS, "304"): 1,
        ("HEAD", BY_ADDRESS, "200"): 1,
        ("GET", "unmatched", "404"): 1,
    }

    def answered() -> dict[tuple[str, str, str], float]:
        return {
            (method, route, status): counted(narrow, "xavier_requests_total", method=method, route=route, status=status)
            for method, route, status in expected
        }

    def others() -> list[float]:
        names = ("xavier_request_duration_seconds_count", "xavier_request_duration_seconds_sum", "xavier_aborted_total")
        return [counted(narrow, name, route=BY_ADDRESS) for name in names]

    before, (times, seconds, aborted) = answered(), others()
    permalink = answer_to(narrow, post(SMALL, "/v1/weights")).headers["content-location"]
    for _ in range(3):
        answer_to(narrow, get(permalink))
    answer_to(narrow, get(permalink, "HEAD"))
    answer_to(narrow, get(permalink, If_None_Match="*"))
    answer_to(narrow, get("/nowhere"))
    answer_to(narrow, post(b"{", "/v1/weights"))

    assert {request: count - before[request] for request, count in answered().items()} == expected
    assert others()[0] == times + 5
    assert others()[1] > seconds
    assert others()[2] == aborted


def test_an_address_or_a_specification_is_no_label(narrow: Server) -> None:
    permalink = answer_to(narrow, post(SMALL, "/v1/weights")).headers["content-location"]
    answer_to(narrow, get(permalink))
    answer_to(narrow, get("/some/secret/path"))

    text = answer_to(narrow, get("/metrics")).text

    assert permalink.split("/")[3] not in text
    assert "secret" not in text


def test_bytes_are_counted_as_they_are_drawn_and_sent(narrow: Server) -> None:
    before = counted(narrow, "xavier_drawn_bytes_total")
    file = answer_to(narrow, post(SMALL, "/v1/weights"))
    part = answer_to(narrow, get(file.headers["content-location"], Range="bytes=0-99"))
    drawn = counted(narrow, "xavier_drawn_bytes_total")
    assert drawn == before + len(file.content) + len(part.content)

    sent = counted(narrow, "xavier_sent_bytes_total")
    answer_to(narrow, get(file.headers["content-location"], "HEAD"))
    plan = answer_to(narrow, post(SMALL))
    assert counted(narrow, "xavier_sent_bytes_total") >= sent + len(plan.content)
    assert counted(narrow, "xavier_drawn_bytes_total") == drawn

    answer_to(narrow, post(SMALL, "/v1/statistics"))
    assert counted(narrow, "xavier_drawn_bytes_total") == drawn + plan.json()["totals"]["bytes"]


def test_answers_that_are_given_up_are_counted_and_leave_no_gauge_behind(narrow: Server) -> None:
    before = counted(narrow, "xavier_aborted_total", route="/v1/weights")
    drawn = counted(narrow, "xavier_drawn_bytes_total")
    connections = [narrow.connect(receive_buffer=1 << 14) for _ in range(2)]
    for connection in connections:
        connection.sendall(request_bytes("POST", "/v1/weights", body(EIGHT_GIB)))

    wait_for(lambda: all(counted(narrow, name) == 1 for name in GAUGES))
    for connection in connections:
        connection.close()

    wait_for(lambda: not any(counted(narrow, name) for name in GAUGES))
    wait_for(lambda: counted(narrow, "xavier_aborted_total", route="/v1/weights") == before + 2)
    assert 0 < counted(narrow, "xavier_drawn_bytes_total") - drawn < 1 << 30


def test_a_measurement_that_is_given_up_is_counted(narrow: Server) -> None:
    before = counted(narrow, "xavier_aborted_total", route="/v1/statistics")
    given_up = counted(narrow, "xavier_requests_total", route="/v1/statistics", status="499")
    with narrow.connect() as connection:
        connection.sendall(request_bytes("POST", "/v1/statistics", body(EIGHT_GIB)))
        wait_for(lambda: counted(narrow, "xavier_streams_active") == 1)

    wait_for(lambda: counted(narrow, "xavier_aborted_total", route="/v1/statistics") == before + 1)
    assert counted(narrow, "xavier_requests_total", route="/v1/statistics", status="499") == given_up + 1
    assert counted(narrow, "xavier_streams_active") == 0


def test_refusals_are_counted_by_their_kind_and_told_to_who_has_the_key(start_server: StartServer) -> None:
    flags = ("--receive-seconds", "1", "--bytes-per-minute", "1000", "--metrics", "key")
    server = start_server(*flags, XAVIER_API_KEYS=KEY)
    key = f"Bearer {KEY}"
    refused: dict[str, tuple[bytes, int]] = {
        "unauthorized": (get("/v1/layers"), 401),
        "malformed-document": (post(b"{", Authorization=key), 400),
        "invalid-spec": (post(b"{}", Authorization=key), 422),
        "limit-exceeded": (post(SMALL | {"prefix": "p" * 2000}, Authorization=key), 422),
        "over-budget": (post(EIGHT_GIB, "/v1/weights", Authorization=key), 429),
        "unsupported-media-type": (post(SMALL, Authorization=key, Content_Type="text/plain"), 415),
        "bad-request": (b"GET / HTTP/1.1\r\n\r\n", 400),
        "request-timeout": (b"GET / HTTP/1.1\r\n", 408),
        "uri-too-long": (get("/" + "x" * 50_000), 414),
        "not-implemented": (b"FOO / HTTP/1.1\r\n\r\n", 501),
    }

    for kind, (request, status) in refused.items():
        assert_problem(answer_to(server, request), status, kind)
        assert counted(server, "xavier_refusals_total", KEY, reason=kind) == 1, kind
    assert counted(server, "xavier_refusals_total", KEY) == len(refused)
    assert_problem(answer_to(server, get("/metrics")), 401)  # they ask for a key like everything else


def test_a_page_of_metrics_is_for_now_only_and_says_what_it_is(narrow: Server) -> None:
    answer = answer_to(narrow, get("/metrics"))

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"
    told = {family.name: family.documentation for family in text_string_to_metric_families(answer.text)}
    assert {"xavier_requests", "xavier_drawn_bytes", "xavier_streams_active", "process_open_fds"} <= told.keys()
    assert all(told.values())


def test_every_metric_of_ours_is_summed_over_workers() -> None:
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("xavier_")]


def test_metrics_may_be_off(thrifty: Server) -> None:
    assert_problem(answer_to(thrifty, get("/metrics")), 404)
