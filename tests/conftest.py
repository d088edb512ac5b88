"""What the tests share: a real server on a loopback socket, a client that checks every answer, and the command line."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import httpx
import pytest

from service.cli.commands import main
from tests.api.answers import Contract
from tests.api.servers import Server, running_server

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores for what it runs in the background
LONGEST: Final = (
    "cli/test_workers",
    "api/test_contract",
    "api/guard",
    "api/test_hostile",
    "fuzz",
    "api",
    "test_readme",
)
"""What takes longest, or waits most, comes first, so that several processes end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest modules first; the order within a module stays."""
    items.sort(
        key=lambda item: next((n for n, room in enumerate(LONGEST) if f"tests/{room}" in item.nodeid), len(LONGEST))
    )


class Outcome(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: bytes
    err: str


class CommandLine(Protocol):
    """The command line, run to its end in this process."""

    def __call__(self, *words: str | Path, stdin: bytes = b"") -> Outcome: ...


class StartServer(Protocol):
    """Starts another server, which ends with the test."""

    def __call__(self, *flags: str, **env: str) -> Server: ...


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that the tests share."""
    with running_server(tmp_path_factory.mktemp("server") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for nobody, so that nobody waits for its deadlines, and draws in one thread."""
    flags = ("--receive-seconds", "1", "--stall-seconds", "2", "--max-connections", "150", "--threads", "1")
    with running_server(tmp_path_factory.mktemp("impatient") / "log", *flags) as server:
        yield server


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that draws for one at a time, lets one other wait, and is for pages of all origins."""
    flags = [f"--max-{name}" for name in ("streams", "queue", "whole-streams", "whole-queue")]
    words = [*(word for flag in flags for word in (flag, "1")), "--cors-origins", "*"]
    with running_server(tmp_path_factory.mktemp("narrow") / "log", *words) as server:
        yield server


@pytest.fixture(scope="session")
def thrifty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without metrics that gives 50,000 bytes a minute to an address, and believes nobody about addresses."""
    log, env = tmp_path_factory.mktemp("thrifty") / "log", {"FORWARDED_ALLOW_IPS": "*"}  # which uvicorn would obey
    with running_server(log, "--bytes-per-minute", "50000", "--metrics", "off", env=env) as server:
        yield server


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    with ExitStack() as stack:
        yield lambda *flags, **env: stack.enter_context(running_server(tmp_path / "server.log", *flags, env=env))


@pytest.fixture(scope="session")
def contract(server: Server) -> Contract:
    """The published OpenAPI document."""
    with server.client() as client:
        return Contract(client.get("/openapi.json").json())


@pytest.fixture(scope="session")
def client(server: Server, contract: Contract) -> Iterator[httpx.Client]:
    """A client of the shared server; each request has a connection of its own, each answer is held to the contract."""
    alone = httpx.Limits(max_keepalive_connections=0)
    with server.client(limits=alone, event_hooks={"response": [contract.check]}) as client:
        yield client


@pytest.fixture
def xavier(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> CommandLine:
    for name in [name for name in os.environ if name.startswith("XAVIER_")]:
        monkeypatch.delenv(name)

    def run(*words: str | Path, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["xavier", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsysbinary.readouterr()
        return Outcome(int(end.value.code or 0), out, err.decode())

    return run
