"""Any replica serves any part: the bytes do not depend on the process or its threads, nor on who was killed between."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.servers import Server, request_bytes, running_server, wait_for
from tests.api.specs import EVERY_LAYER, Spec, spec, tensor

LARGE: Spec = spec(tensor("w", 4096, 16384))
"""256 MiB."""


@pytest.fixture(scope="module")
def replicas(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """The shared server, one with a single thread, and one of two processes."""
    folder = tmp_path_factory.mktemp("replicas")
    with (
        running_server(folder / "one", "--threads", "1") as one_thread,
        running_server(folder / "two", "--workers", "2") as two_workers,
    ):
        wait_for(lambda: answers(two_workers), 60)  # the port is bound before anybody listens
        yield [server, one_thread, two_workers]


def permalink(server: Server, document: Spec) -> str:
    path: str = httpx.post(f"{server.url}/v1/plan", json=document, trust_env=False).json()["permalink"]
    return path


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 10**9), max_size=6), turns=st.lists(st.integers(0, 2), min_size=7, max_size=7))
def test_any_partition_over_any_replicas_is_the_whole(
    replicas: list[Server], cuts: list[int], turns: list[int]
) -> None:
    path = permalink(replicas[0], EVERY_LAYER)
    whole = httpx.get(replicas[0].url + path, trust_env=False).content
    places = [0, *sorted(cut % len(whole) for cut in cuts), len(whole)]

    parts = [
        httpx.get(
            replicas[turn].url + path, headers={"Range": f"bytes={start}-{stop - 1}"}, timeout=60, trust_env=False
        ).content
        for (start, stop), turn in zip(pairwise(places), turns, strict=False)
        if start < stop
    ]

    assert b"".join(parts) == whole


def test_a_reader_of_a_killed_worker_resumes_to_the_same_bytes(server: Server, tmp_path: Path) -> None:
    path = permalink(server, LARGE)
    expected = httpx.get(server.url + path, timeout=60, trust_env=False).content
    with running_server(tmp_path / "log", "--workers", "2") as killed:
        wait_for(lambda: answers(killed), 60)
        with killed.connect(receive_buffer=1 << 16) as connection:
            connection.sendall(request_bytes("GET", path))
            received = bytearray()
            while len(received) < 1 << 20:
                received += connection.recv(1 << 16)
            for worker in workers(killed):
                os.kill(worker, signal.SIGKILL)
            received += rest(connection)
        head, _, got = bytes(received).partition(b"\r\n\r\n")
        assert b" 200 " in head
        assert 0 < len(got) < len(expected)
        wait_for(lambda: answers(killed), 60)  # the supervisor has started others

        headers = {"Range": f"bytes={len(got)}-"}
        resumed = httpx.get(killed.url + path, headers=headers, timeout=60, trust_env=False)

    assert resumed.status_code == 206
    assert got + resumed.content == expected


def workers(server: Server) -> list[int]:
    """The processes that serve: children of the first that listen, not the one that tracks resources."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def rest(connection: socket.socket) -> bytes:
    """What comes until the connection breaks."""
    received = bytearray()
    try:
        while piece := connection.recv(1 << 16):
            received += piece
    except ConnectionResetError:
        pass
    return bytes(received)


def answers(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/livez", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_specification_reaches_every_replica_by_its_address_alone(replicas: list[Server]) -> None:
    path = permalink(replicas[0], EVERY_LAYER)
    tags = {httpx.head(replica.url + path, trust_env=False).headers["etag"] for replica in replicas}

    assert len(tags) == 1
