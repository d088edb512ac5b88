"""Whoever pulls a file, however fast and in however many attempts, gets the right file; who leaves stops the work."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.api.servers import Server, drain, request_bytes, wait_for
from tests.api.specs import EIGHT_GIB, MEDIUM, Spec, body
from tests.conftest import CommandLine, StartServer

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
    return httpx.get(server.url + file.path, trust_env=False, timeout=60).content


def by_post(server: Server, _: Original) -> bytes:
    return httpx.post(f"{server.url}/v1/weights", json=MEDIUM, trust_env=False, timeout=60).content


def slow(server: Server, file: Original) -> bytes:
    """Takes little at a time, with pauses, and lets the kernel hold little."""
    pieces = []
    with server.connect(receive_buffer=1 << 14) as connection:
        connection.sendall(request_bytes("GET", file.path, Connection="close"))
        while piece := connection.recv(1 << 15):
            pieces.append(piece)
            if len(pieces) % 100 == 0:
                time.sleep(0.005)
    return b"".join(pieces).partition(b"\r\n\r\n")[2]


def stalling(server: Server, file: Original) -> bytes:
    """Takes nothing for a while, then everything."""
    with server.connect() as connection:
        connection.sendall(request_bytes("GET", file.path, Connection="close"))
        time.sleep(0.7)
        return drain(connection).partition(b"\r\n\r\n")[2]


def interrupted(server: Server, file: Original) -> bytes:
    """Breaks off again and again, and goes on where it was if the file is still the same."""
    received = b""
    while len(received) < file.length:
        fields = {"Range": f"bytes={len(received)}-", "If-Range": file.etag}
        with httpx.stream("GET", server.url + file.path, headers=fields, trust_env=False) as answer:
            assert answer.status_code == 206
            part = bytearray()
            for piece in answer.iter_raw():
                part += piece
                if len(part) > 9 * MEBIBYTE + len(received) % 1013:
                    break  # leaving the context closes the connection in the middle of the answer
        received += part
    return received


def in_parallel_ranges(server: Server, file: Original) -> bytes:
    """As download managers and distributed trainers do."""
    step = 5 * MEBIBYTE + 3

    def part(start: int) -> bytes:
        fields = {"Range": f"bytes={start}-{start + step - 1}"}
        return httpx.get(server.url + file.path, headers=fields, trust_env=False, timeout=60).content

    with ThreadPoolExecutor(3) as pool:
        return b"".join(pool.map(part, range(0, file.length, step)))


def test_all_kinds_of_readers_at_once_get_the_file_that_the_command_line_writes(
    server: Server, original: Original
) -> None:
    readers: list[Reader] = [fast, by_post, slow, stalling, interrupted, in_parallel_ranges]

    def digest(reader: Reader) -> str:
        return sha256(reader(server, original)).hexdigest()

    with ThreadPoolExecutor(len(readers)) as pool:
        digests = dict(zip([reader.__name__ for reader in readers], pool.map(digest, readers), strict=True))

    assert digests == dict.fromkeys(digests, original.sha256)


def post(path: str, document: Spec) -> bytes:
    return request_bytes("POST", path, body(document))


def assert_idle_soon(server: Server) -> None:
    """Drawing has stopped: the processor time of the whole server stands nearly still."""
    time.sleep(0.3)
    before = server.cpu_seconds()
    time.sleep(0.8)
    assert server.cpu_seconds() - before < 0.2


@pytest.mark.parametrize("by", ["POST", "GET"])
def test_drawing_stops_when_a_client_leaves_a_download(server: Server, client: httpx.Client, by: str) -> None:
    permalink = client.post("/v1/plan", json=EIGHT_GIB).json()["permalink"]
    with server.connect() as connection:
        connection.sendall(post("/v1/weights", EIGHT_GIB) if by == "POST" else request_bytes("GET", permalink))
        taken = len(connection.recv(1 << 16))
        while taken < MEBIBYTE:
            taken += len(connection.recv(1 << 16))

    assert_idle_soon(server)
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/statistics", "/v1/weights?statistics=measured"], ids=["statistics", "the header of measured weights"]
)
def test_drawing_stops_when_a_client_leaves_a_measurement(server: Server, client: httpx.Client, path: str) -> None:
    with server.connect() as connection:
        connection.sendall(post(path, EIGHT_GIB))
        at_work = server.cpu_seconds() + 0.2
        wait_for(lambda: server.cpu_seconds() > at_work)
        assert client.get("/livez").elapsed.total_seconds() < 2  # it answers others meanwhile

    assert_idle_soon(server)


def test_a_client_that_takes_nothing_holds_a_few_chunks_and_no_processor(server: Server, client: httpx.Client) -> None:
    before = server.resident_memory()

    with server.connect(receive_buffer=1 << 12) as connection:
        connection.sendall(post("/v1/weights", EIGHT_GIB))
        assert_idle_soon(server)
        assert server.resident_memory() - before < 100 * MEBIBYTE
        assert client.post("/v1/weights", json=MEDIUM).status_code == 200


def test_clients_that_leave_are_no_defects(start_server: StartServer) -> None:
    server = start_server()
    leaving = [
        post("/v1/statistics", EIGHT_GIB),
        post("/v1/weights", EIGHT_GIB),
        post("/v1/weights?statistics=measured", EIGHT_GIB),
        post("/v1/plan", MEDIUM)[:-5],
    ]

    for request in leaving:
        with server.connect() as connection:
            connection.sendall(request)
            time.sleep(0.2)
    time.sleep(0.5)

    assert not re.findall("ERROR|Traceback|defect", server.log()), server.log()


def test_a_downloading_client_does_not_keep_others_waiting(server: Server, client: httpx.Client) -> None:
    def take(size: int) -> None:
        with server.connect() as connection:
            connection.sendall(post("/v1/weights", EIGHT_GIB))
            while size > 0:
                size -= len(connection.recv(1 << 16))

    with ThreadPoolExecutor(2) as pool:
        takers = [pool.submit(take, 300 * MEBIBYTE) for _ in range(2)]
        waits = [client.get(path).elapsed.total_seconds() for path in ("/livez", "/readyz", "/v1/info", "/v1/layers")]
        for taker in takers:
            taker.result()

    assert max(waits) < 2
