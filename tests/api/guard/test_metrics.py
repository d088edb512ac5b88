"""Metrics: what is counted, that gauges go back to nothing, and that workers are counted together."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from tests.api.answers import assert_problem
from tests.api.servers import Server, request_bytes, running_server, wait_for
from tests.api.specs import EIGHT_GIB, SMALL, body
from tests.api.test_hostile import answer_to, counted, get, post
from tests.conftest import StartServer

KEY = "a-key-of-this-test"
GAUGES = ("xavier_streams_active", "xavier_streams_waiting")


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that counts for the tests of this module."""
    with running_server(tmp_path_factory.mktemp("counting") / "log", "--max-streams", "2") as server:
        yield server


def test_requests_are_counted_by_method_route_and_status(counting: Server) -> None:
    posted = answer_to(counting, post(SMALL, "/v1/weights"))
    permalink = posted.headers["content-location"]
    for _ in range(3):
        answer_to(counting, get(permalink))
    answer_to(counting, get(permalink, "HEAD"))
    answer_to(counting, get(permalink, If_None_Match="*"))
    answer_to(counting, get("/nowhere"))
    answer_to(counting, post(b"{", "/v1/weights"))

    route = "/v1/weights/{permalink}/model.safetensors"
    assert counted(counting, "xavier_requests_total", method="POST", route="/v1/weights", status="200") == 1
    assert counted(counting, "xavier_requests_total", method="POST", route="/v1/weights", status="400") == 1
    assert counted(counting, "xavier_requests_total", method="GET", route=route, status="200") == 3
    assert counted(counting, "xavier_requests_total", method="GET", route=route, status="304") == 1
    assert counted(counting, "xavier_requests_total", method="HEAD", route=route, status="200") == 1
    assert counted(counting, "xavier_requests_total", route="unmatched", status="404") == 1
    assert counted(counting, "xavier_request_duration_seconds_count", route=route) == 5
    assert 0 < counted(counting, "xavier_request_duration_seconds_sum", route=route) < 30
    assert counted(counting, "xavier_aborted_total") == 0


def test_an_address_or_a_specification_is_no_label(counting: Server) -> None:
    permalink = answer_to(counting, post(SMALL, "/v1/weights")).headers["content-location"]
    answer_to(counting, get(permalink))
    answer_to(counting, get("/some/secret/path"))

    text = answer_to(counting, get("/metrics")).text

    assert permalink.split("/")[3] not in text
    assert "secret" not in text


def test_bytes_are_counted_as_they_are_drawn_and_sent(counting: Server) -> None:
    before = counted(counting, "xavier_drawn_bytes_total")
    file = answer_to(counting, post(SMALL, "/v1/weights"))
    part = answer_to(counting, get(file.headers["content-location"], Range="bytes=0-99"))
    drawn = counted(counting, "xavier_drawn_bytes_total")
    assert drawn == before + len(file.content) + len(part.content)

    sent = counted(counting, "xavier_sent_bytes_total")
    answer_to(counting, get(file.headers["content-location"], "HEAD"))
    plan = answer_to(counting, post(SMALL))
    assert counted(counting, "xavier_sent_bytes_total") >= sent + len(plan.content)
    assert counted(counting, "xavier_drawn_bytes_total") == drawn

    answer_to(counting, post(SMALL, "/v1/statistics"))
    assert counted(counting, "xavier_drawn_bytes_total") == drawn + plan.json()["totals"]["bytes"]


def test_answers_that_are_given_up_are_counted_and_leave_no_gauge_behind(counting: Server) -> None:
    before = counted(counting, "xavier_aborted_total", route="/v1/weights")
    connections = [counting.connect(receive_buffer=1 << 14) for _ in range(5)]
    for connection in connections:
        connection.sendall(request_bytes("POST", "/v1/weights", body(EIGHT_GIB)))

    wait_for(lambda: counted(counting, "xavier_streams_active") == 2)
    wait_for(lambda: counted(counting, "xavier_streams_waiting") == 3)
    for connection in connections:
        connection.close()

    wait_for(lambda: not any(counted(counting, name) for name in GAUGES))
    wait_for(lambda: counted(counting, "xavier_aborted_total", route="/v1/weights") == before + 5)
    assert 0 < counted(counting, "xavier_drawn_bytes_total") < 1 << 30


def test_a_measurement_that_is_given_up_is_counted(counting: Server) -> None:
    before = counted(counting, "xavier_aborted_total", route="/v1/statistics")
    with counting.connect() as connection:
        connection.sendall(request_bytes("POST", "/v1/statistics", body(EIGHT_GIB)))
        wait_for(lambda: counted(counting, "xavier_streams_active") == 1)

    wait_for(lambda: counted(counting, "xavier_aborted_total", route="/v1/statistics") == before + 1)
    assert counted(counting, "xavier_requests_total", route="/v1/statistics", status="499") == 1
    assert counted(counting, "xavier_streams_active") == 0


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


def test_a_page_of_metrics_is_for_now_only_and_says_what_it_is(counting: Server) -> None:
    answer = answer_to(counting, get("/metrics"))

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"
    told = {family.name: family.documentation for family in text_string_to_metric_families(answer.text)}
    assert {"xavier_requests", "xavier_drawn_bytes", "xavier_streams_active", "process_open_fds"} <= told.keys()
    assert all(told.values())


def workers(server: Server) -> list[int]:
    """The processes that have served so far."""
    return [int(pid) for pid in re.findall(r"Started server process \[([0-9]+)\]", server.log())]


def answers_at_all(server: Server) -> bool:
    """Workers begin to listen when they have started."""
    try:
        return answer_to(server, get("/readyz")).status_code == 200
    except ConnectionRefusedError:
        return False


def test_workers_are_counted_together_and_killed_ones_leave_no_gauge_behind(start_server: StartServer) -> None:
    server = start_server("--workers", "2", "--threads", "1")
    wait_for(lambda: len(workers(server)) == 2 and answers_at_all(server))
    answers = [answer_to(server, get("/v1/layers")).status_code for _ in range(40)]

    assert answers == [200] * 40
    wait_for(lambda: sums(server, "xavier_requests_total", route="/v1/layers") == {40})

    with server.connect() as connection:
        connection.sendall(request_bytes("POST", "/v1/weights", body(EIGHT_GIB)))
        wait_for(lambda: sums(server, "xavier_streams_active") == {1})
        for pid in workers(server):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(workers(server)) == 4 and answers_at_all(server))

        wait_for(lambda: sums(server, "xavier_streams_active") == {0})

    wait_for(lambda: sums(server, "xavier_requests_total", route="/v1/layers") == {40})
    assert min(sums(server, "xavier_drawn_bytes_total")) > 0


def sums(server: Server, name: str, **labels: str) -> set[float]:
    """What some workers say that all of them have counted; which of them answers is left to chance."""
    return {counted(server, name, **labels) for _ in range(10)}


def test_every_metric_of_ours_is_summed_over_workers() -> None:
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("xavier_")]


def test_metrics_may_be_off(start_server: StartServer) -> None:
    assert_problem(answer_to(start_server("--metrics", "off"), get("/metrics")), 404)
