"""Proxies: whose word is taken on where a request comes from. The budget by address shows it."""

from __future__ import annotations

import pytest

from tests.api.guard.test_admission import FILE, asked
from tests.api.servers import Server
from tests.api.test_hostile import post
from tests.conftest import StartServer

BUDGET = ("--bytes-per-minute", "50000")
PROXY, OTHER = 1, 7
"""The last numbers of addresses of the loopback network."""


def status(server: Server, source: int, *forwarded: str) -> int:
    """The answer to a file that takes most of a budget, and says it is forwarded."""
    fields = {"X_Forwarded_For": ", ".join(forwarded), "X_Forwarded_Proto": "https"} if forwarded else {}
    return asked(server, post(FILE, "/v1/weights", **fields), source).status_code


@pytest.mark.parametrize("env", [{}, {"FORWARDED_ALLOW_IPS": "*"}], ids=["by default", "whatever uvicorn reads"])
def test_nobody_is_believed_who_is_not_named(start_server: StartServer, env: dict[str, str]) -> None:
    server = start_server(*BUDGET, **env)

    assert [status(server, PROXY, f"203.0.113.{client}") for client in range(3)] == [200, 429, 429]
    assert status(server, PROXY) == 429
    assert status(server, OTHER) == 200


@pytest.mark.parametrize("trusted", [f"127.0.0.{PROXY}", f"::1, 127.0.0.{PROXY}/32"])
def test_a_proxy_that_is_named_says_who_asks(start_server: StartServer, trusted: str) -> None:
    server = start_server(*BUDGET, "--trusted-proxies", trusted, FORWARDED_ALLOW_IPS="*")

    assert [status(server, PROXY, f"203.0.113.{client}") for client in (1, 2, 1, 2)] == [200, 200, 429, 429]
    assert [status(server, PROXY, f"203.0.113.{spoofed}", "203.0.113.3") for spoofed in (8, 9)] == [200, 429]
    assert [status(server, OTHER, f"203.0.113.{client}") for client in (11, 12)] == [200, 429]


def test_of_several_proxies_the_first_that_is_not_named_is_the_client(start_server: StartServer) -> None:
    server = start_server(*BUDGET, XAVIER_TRUSTED_PROXIES="127.0.0.0/8,2001:db8::/32")

    chain = ("203.0.113.1", "2001:db8::7", "127.9.9.9")
    assert [status(server, OTHER, spoofed, *chain) for spoofed in ("203.0.113.8", "203.0.113.9")] == [200, 429]
