"""Proxies: whose word is taken on where a request comes from. The budget by address shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.guard.test_admission import FILE, asked
from tests.api.servers import Server, running_server
from tests.api.test_hostile import post

PROXY, OTHER = 1, 7
"""The last numbers of addresses of the loopback network; no other test gives them anything."""
CHAIN = ("203.0.113.1", "2001:db8::7", "127.9.9.9")
"""A client, and the proxies behind it."""


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a budget of 50,000 bytes that believes some proxies, and not those that uvicorn is told."""
    log, env = tmp_path_factory.mktemp("trusting") / "log", {"FORWARDED_ALLOW_IPS": "*"}
    trusted = f"127.0.0.{PROXY},127.9.0.0/16, 2001:db8::/32"
    with running_server(log, "--bytes-per-minute", "50000", "--trusted-proxies", trusted, env=env) as server:
        yield server


def status(server: Server, source: int, *forwarded: str) -> int:
    """The answer to a file that takes most of a budget, and says it is forwarded."""
    told = {"X_Forwarded_For": ", ".join(forwarded), "X_Forwarded_Proto": "https", "Forwarded": f"for={forwarded[:1]}"}
    return asked(server, post(FILE, "/v1/weights", **(told if forwarded else {})), source).status_code


def test_nobody_is_believed_who_is_not_named(thrifty: Server) -> None:
    assert [status(thrifty, PROXY, f"203.0.113.{client}") for client in range(3)] == [200, 429, 429]
    assert status(thrifty, PROXY) == 429
    assert status(thrifty, OTHER) == 200


def test_a_proxy_that_is_named_says_who_asks(trusting: Server) -> None:
    assert [status(trusting, PROXY, f"203.0.113.{client}") for client in (4, 2, 4, 2)] == [200, 200, 429, 429]
    assert [status(trusting, PROXY, f"203.0.113.{spoofed}", "203.0.113.3") for spoofed in (8, 9)] == [200, 429]
    assert [status(trusting, OTHER, f"203.0.113.{client}") for client in (11, 12)] == [200, 429]


def test_of_several_proxies_the_first_that_is_not_named_is_the_client(trusting: Server) -> None:
    assert [status(trusting, PROXY, spoofed, *CHAIN) for spoofed in ("203.0.113.8", "203.0.113.9")] == [200, 429]
