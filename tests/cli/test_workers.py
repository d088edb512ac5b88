"""Workers: replaced when they die or hang, ended together, and given up where none can serve."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.cli.workers import MOST_DEATHS
from tests.api.servers import Server, request_bytes, running_server, take, wait_for
from tests.api.specs import EIGHT_GIB, SMALL, body, spec, tensor
from tests.api.test_hostile import answer_to, counted, get, post
from tests.conftest import StartServer

TWO = ("--workers", "2", "--threads", "1")
FILES, GIVEN = "xavier_requests_total", {"route": "/v1/weights", "status": "200"}
LARGE = spec(tensor("w", 2048, 2048))
"""16 MiB: more than the buffers on the way hold."""
QUICK = """
import sys
if "--multiprocessing-fork" not in sys.orig_argv:
    from service.cli import workers
    workers.TURN_SECONDS, workers.SECONDS_TO_END = 0.2, 1
"""
"""A start file that has the process that watches look twice as often and more, and wait a second for those that end."""
DIES = """
import os, signal, sys
if "--multiprocessing-fork" in sys.orig_argv:
    os.kill(os.getpid(), signal.SIGBUS)
"""
"""A start file that ends processes that serve, and not the one that watches them."""


@pytest.fixture
def quick(tmp_path: Path) -> str:
    """A folder from which the process that watches is told to be quick."""
    (tmp_path / "sitecustomize.py").write_text(QUICK)
    return str(tmp_path)


def workers(server: Server) -> set[int]:
    """The processes that serve now."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return {int(child) for child in children if is_worker(int(child))}


def is_worker(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def serves(server: Server) -> bool:
    with suppress(ConnectionError):
        return answer_to(server, get("/readyz")).status_code == 200
    return False


def both_serving(server: Server) -> set[int]:
    """Two workers, once both of them serve."""
    wait_for(lambda: server.log().count("startup complete") == 2)
    return workers(server)


def told(server: Server, name: str, **labels: str) -> set[float]:
    """What some workers say that all of them have counted; which of them answers is left to chance."""
    return {counted(server, name, **labels) for _ in range(10)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers, where no file can be written: neither by them nor by those that come in their place."""
    folder = tmp_path_factory.mktemp("pair")
    nowhere = str(folder / "nowhere")
    (folder / "sitecustomize.py").write_text(QUICK)
    env = {"TMPDIR": nowhere, "PROMETHEUS_MULTIPROC_DIR": nowhere, "PYTHONPATH": str(folder)}
    with running_server(folder / "log", *TWO, env=env) as server:
        both_serving(server)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, 0))
        yield server


def test_workers_that_are_killed_are_replaced_and_others_know_what_they_have_counted(pair: Server) -> None:
    killed = workers(pair)
    for _ in range(20):
        assert answer_to(pair, post(SMALL, "/v1/weights")).status_code == 200
    wait_for(lambda: told(pair, FILES, **GIVEN) == {20})

    with pair.connect() as connection:
        connection.sendall(request_bytes("POST", "/v1/weights", body(EIGHT_GIB)))
        wait_for(lambda: told(pair, "xavier_streams_active") == {1})
        kill(pair)

    assert not killed & workers(pair)
    wait_for(lambda: told(pair, "xavier_streams_active") == {0})
    assert answer_to(pair, post(SMALL, "/v1/weights")).status_code == 200
    wait_for(lambda: told(pair, FILES, **GIVEN) == {21})
    assert min(told(pair, "xavier_drawn_bytes_total")) > 0


def kill(server: Server) -> None:
    """Kill both workers; two others serve."""
    killed = workers(server)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(workers(server) - killed) == 2 and serves(server))


def test_a_reader_of_a_killed_worker_resumes_to_the_same_bytes(pair: Server, server: Server) -> None:
    with server.client() as client:
        path = client.post("/v1/plan", json=LARGE).json()["permalink"]
        expected = client.get(path).content
    with pair.connect(receive_buffer=1 << 16) as connection:
        connection.sendall(request_bytes("GET", path))
        received = take(connection, 1 << 20)
        kill(pair)
        with suppress(ConnectionResetError):
            while piece := connection.recv(1 << 16):
                received += piece
    head, _, got = received.partition(b"\r\n\r\n")

    resumed = answer_to(pair, get(path, Range=f"bytes={len(got)}-"))

    assert b" 200 " in head
    assert 0 < len(got) < len(expected)
    assert resumed.status_code == 206
    assert got + resumed.content == expected


def test_workers_that_die_before_they_serve_again_and_again_end_the_service(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(QUICK + DIES)
    server = start_server(*TWO, PYTHONPATH=str(tmp_path))

    assert server.process.wait(60) == 3

    assert f"stopping: {MOST_DEATHS} workers in a row died before they served" in server.log()
    assert server.log().count("a worker died") >= MOST_DEATHS
    assert f'"exit_code": -{signal.SIGBUS}' in server.log()


def test_a_worker_that_hangs_is_replaced_and_keeps_nobody_from_ending(start_server: StartServer, quick: str) -> None:
    server = start_server(*TWO, "--shutdown-seconds", "1", PYTHONPATH=quick)
    hanging, well = sorted(both_serving(server))

    os.kill(hanging, signal.SIGSTOP)
    wait_for(lambda: server.log().count("startup complete") == 3)

    assert '"a worker hangs"' in server.log()
    assert serves(server)
    assert hanging not in workers(server)

    os.kill(well, signal.SIGSTOP)
    assert server.stop(signal.SIGINT) == 130
    assert not is_worker(well)
    assert server.log().count("Application shutdown complete") == 1  # of the one that has come


def test_workers_end_when_the_process_that_watches_them_is_killed(start_server: StartServer) -> None:
    server = start_server(*TWO)
    serving = both_serving(server)

    server.process.kill()

    assert server.process.wait(20) == -signal.SIGKILL
    wait_for(lambda: not any(map(is_worker, serving)))
    assert server.log().count("Application shutdown complete") == 2
