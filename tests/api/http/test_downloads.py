"""Whoever pulls a file, however fast and in however many attempts, gets the right file; who leaves stops the work."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import NamedTuple

import httpx
import pytest

from tests.api.servers import Server, drain, request_bytes, take, wait_for
from tests.api.specs import EIGHT_GIB, FORTY_GB, MEDIUM, Spec, body
from tests.api.test_hostile import counted
from tests.conftest import CommandLine

MEBIBYTE = 1 << 20


class Original(NamedTuple):
    """A file as the command line writes it, and where it can be had."""

    sha256: str
    length: int
    path: str
    etag: str


@pytest.fixture
def original(client: httpx.Client, xavier: CommandLine, tmp_path: Path) -> Original:
    specification, output = tmp_path / "medium.json", tmp_path / "model.safetensors"
    specification.write_bytes(body(MEDIUM))
    assert xavier("generate", specification, "-o", output).code == 0
    plan = client.post("/v1/plan", json=MEDIUM).json()
    return Original(sha256(output.read_bytes()).hexdigest(), output.stat().st_size, plan["permalink"], plan["etag"])


Reader = Callable[[Server, Original], bytes]


def fast(server: Server, file: Original) -> bytes:
    with server.client() as client:
        return client.get(file.path).content


def by_post(server: Server, _: Original) -> bytes:
    with server.client() as client:
        return client.post("/v1/weights", json=MEDIUM).content


def slow(server: Server, file: Original) -> bytes:
    """Takes little at a time, and lets the kernel hold little."""
    with server.connect(receive_buffer=1 << 14) as connection:
        connection.sendall(request_bytes("GET", file.path, Connection="close"))
        return b"".join(iter(lambda: connection.recv(1 << 13), b"")).partition(b"\r\n\r\n")[2]


def interrupted(server: Server, file: Original) -> bytes:
    """Breaks off again and again, and goes on where it was if the file is still the same."""
    received = b""
    while len(received) < file.length:
        fields = {"Range": f"bytes={len(received)}-", "If-Range": file.etag}
        with server.client() as client, client.stream("GET", file.path, headers=fields) as answer:
            assert answer.status_code == 206
            part = bytearray()
            for piece in answer.iter_raw():
                part += piece
                if len(part) > 4 * MEBIBYTE + len(received) % 1013:
                    break  # leaving the context closes the connection in the middle of the answer
        received += part
    return received


def in_parallel_ranges(server: Server, file: Original) -> bytes:
    """As download managers and distributed trainers do."""
    step = 3 * MEBIBYTE + 3

    def part(start: int) -> bytes:
        return client.get(file.path, headers={"Range": f"bytes={start}-{start + step - 1}"}).content

    with ThreadPoolExecutor(3) as pool, server.client() as client:
        return b"".join(pool.map(part, range(0, file.length, step)))


def test_all_kinds_of_readers_at_once_get_the_file_that_the_command_line_writes(
    server: Server, original: Original
) -> None:
    readers: list[Reader] = [fast, by_post, slow, interrupted, in_parallel_ranges]

    def digest(reader: Reader) -> str:
        return sha256(reader(server, original)).hexdigest()

    with ThreadPoolExecutor(len(readers)) as pool, server.connect() as stalling:
        stalling.sendall(request_bytes("GET", original.path, Connection="close"))
        digests = dict(zip([reader.__name__ for reader in readers], pool.map(digest, readers), strict=True))
        whole = drain(stalling)  # which takes nothing until all others have everything

    assert digests == dict.fromkeys(digests, original.sha256)
    assert sha256(whole.partition(b"\r\n\r\n")[2]).hexdigest() == original.sha256


def post(path: str, document: Spec) -> bytes:
    return request_bytes("POST", path, body(document))


def assert_idle_soon(server: Server) -> None:
    """Drawing has stopped: no thread of the server has anything to do."""
    wait_for(server.is_idle)


@pytest.mark.parametrize("by", ["POST", "GET"])
def test_drawing_stops_when_a_client_leaves_a_download(server: Server, client: httpx.Client, by: str) -> None:
    permalink = client.post("/v1/plan", json=FORTY_GB).json()["permalink"]
    with server.connect() as connection:
        connection.sendall(post("/v1/weights", FORTY_GB) if by == "POST" else request_bytes("GET", permalink))
        take(connection, MEBIBYTE)

    assert_idle_soon(server)
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/statistics", "/v1/weights?statistics=measured"], ids=["statistics", "the header of measured weights"]
)
def test_drawing_stops_when_a_client_leaves_a_measurement(server: Server, path: str) -> None:
    with server.connect() as connection:
        connection.sendall(post(path, FORTY_GB))
        at_work = server.cpu_seconds() + 0.2
        wait_for(lambda: server.cpu_seconds() > at_work)
        assert counted(server, "xavier_streams_active") == 1  # it answers others meanwhile

    assert_idle_soon(server)


def test_a_client_that_takes_nothing_holds_a_few_chunks_and_no_processor(server: Server, client: httpx.Client) -> None:
    before = server.resident_memory()

    with server.connect(receive_buffer=1 << 12) as connection:
        connection.sendall(post("/v1/weights", EIGHT_GIB))
        wait_for(lambda: counted(server, "xavier_streams_active") == 1)
        assert_idle_soon(server)
        assert server.resident_memory() - before < 100 * MEBIBYTE
        assert client.post("/v1/weights", json=MEDIUM).status_code == 200


def test_clients_that_leave_are_no_defects(server: Server) -> None:
    logged = len(server.log())
    leaving = [
        post("/v1/statistics", EIGHT_GIB),
        post("/v1/weights", EIGHT_GIB),
        post("/v1/weights?statistics=measured", EIGHT_GIB),
    ]

    for request in leaving:
        wait_for(lambda: counted(server, "xavier_streams_active") == 0)
        with server.connect() as connection:
            connection.sendall(request)
            wait_for(lambda: counted(server, "xavier_streams_active") == 1)
    with server.connect() as connection:
        connection.sendall(post("/v1/plan", MEDIUM)[:-5])
        assert counted(server, "xavier_requests_total") > 0  # who asks behind it is answered behind it

    assert_idle_soon(server)
    assert not re.findall("ERROR|Traceback|defect", server.log()[logged:]), server.log()


def test_a_downloading_client_does_not_keep_others_waiting(server: Server, client: httpx.Client) -> None:
    enough = Event()

    def takes() -> bool:
        with server.connect() as connection:
            connection.sendall(post("/v1/weights", FORTY_GB))
            while not enough.is_set() and connection.recv(1 << 16):
                pass
        return enough.is_set()

    with ThreadPoolExecutor(2) as pool:
        takers = [pool.submit(takes) for _ in range(2)]
        wait_for(lambda: counted(server, "xavier_streams_active") == 2)
        for path in ("/livez", "/readyz", "/v1/info", "/v1/layers"):
            assert client.get(path).status_code == 200
        enough.set()

    assert all(taker.result() for taker in takers)  # the others were answered before all was taken
