"""Workers: replaced when they die or hang, ended together, and given up where none can serve."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from service.cli.workers import MOST_DEATHS
from tests.api.servers import Server, running_server, wait_for
from tests.api.specs import SMALL
from tests.api.test_hostile import answer_to, counted, get, post
from tests.conftest import StartServer

TWO = ("--workers", "2", "--threads", "1")
DIES = """
import os, signal, sys
if "--multiprocessing-fork" in sys.orig_argv:
    os.kill(os.getpid(), signal.SIGBUS)
"""
"""A start file that ends processes that serve, and not the one that watches them."""
FULL = """
mount -t tmpfs -o size=64k none "$0" || exit 99
cat /dev/zero > "$0/everything"
exec "$@"
"""


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


def assert_that_workers_are_replaced(server: Server) -> None:
    """Kill both workers; two others serve, and know what those have counted."""
    killed = both_serving(server)
    for _ in range(20):
        assert answer_to(server, post(SMALL, "/v1/weights")).status_code == 200
    wait_for(lambda: answers_told(server) == {20})

    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(workers(server) - killed) == 2 and serves(server))

    assert answer_to(server, post(SMALL, "/v1/weights")).status_code == 200
    wait_for(lambda: answers_told(server) == {21})


def both_serving(server: Server) -> set[int]:
    """Two workers, once both of them serve."""
    wait_for(lambda: server.log().count("startup complete") == 2)
    return workers(server)


def answers_told(server: Server) -> set[float]:
    """How many answers the workers say that they have given together; which of them says so is left to chance."""
    return {counted(server, "xavier_requests_total", route="/v1/weights") for _ in range(10)}


def test_workers_are_replaced_where_no_file_can_be_written(start_server: StartServer, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    server = start_server(*TWO, TMPDIR=nowhere, PROMETHEUS_MULTIPROC_DIR=nowhere)
    both_serving(server)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, 0))  # and of every worker that comes

    assert_that_workers_are_replaced(server)


def test_workers_are_replaced_where_the_folder_for_temporary_files_is_full(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    through = ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL, str(folder)]
    if subprocess.run([*through, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    env = {"TMPDIR": str(folder), "PROMETHEUS_MULTIPROC_DIR": str(folder)}

    with running_server(tmp_path / "log", *TWO, env=env, through=through) as server:
        assert_that_workers_are_replaced(server)


def test_workers_that_die_before_they_serve_again_and_again_end_the_service(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DIES)
    server = start_server(*TWO, PYTHONPATH=str(tmp_path))

    assert server.process.wait(60) == 3

    assert f"stopping: {MOST_DEATHS} workers in a row died before they served" in server.log()
    assert server.log().count("a worker died") >= MOST_DEATHS
    assert f'"exit_code": -{signal.SIGBUS}' in server.log()


def test_a_worker_that_hangs_is_replaced_and_keeps_nobody_from_ending(start_server: StartServer) -> None:
    server = start_server(*TWO, "--shutdown-seconds", "1")
    hanging, well = sorted(both_serving(server))

    os.kill(hanging, signal.SIGSTOP)
    wait_for(lambda: hanging not in workers(server) and len(workers(server)) == 2)

    assert '"a worker hangs"' in server.log()
    wait_for(lambda: serves(server))

    os.kill(well, signal.SIGSTOP)
    assert server.stop() == 143
    assert not is_worker(well)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda server: server.process.terminate(), 143),
        (lambda server: server.process.send_signal(signal.SIGINT), 130),
        (lambda server: server.process.kill(), -signal.SIGKILL),
    ],
    ids=["is asked to", "is interrupted", "is killed"],
)
def test_workers_end_with_the_process_that_watches_them(
    start_server: StartServer, end: Callable[[Server], None], code: int
) -> None:
    server = start_server(*TWO)
    serving = both_serving(server)

    end(server)

    assert server.process.wait(20) == code
    wait_for(lambda: not any(map(is_worker, serving)))
    assert server.log().count("Application shutdown complete") == 2
