"""Shared by the benchmarks: alternating runs, medians, a real server, and a reader in a separate process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
MI = 1 << 20
GI = 1 << 30
START_SECONDS = 60
END_SECONDS = 30
BY_THE_CLOCK = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.alarm(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])",
)
"""Replaces itself with the command that follows, which a signal ends after the given number of seconds."""


def alternately(contenders: Mapping[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """The median of what each contender returns; they take turns, and the first run of each does not count."""
    for contender in contenders.values():
        contender()
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, contender in contenders.items():
            figures[name].append(contender())
    return {name: statistics.median(values) for name, values in figures.items()}


def seconds(work: Callable[[], object]) -> float:
    """How long some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def tensor_spec(nbytes: int, initializer: object) -> bytes:
    """A specification of about `nbytes` bytes of F32, in tensors of at most 1 GiB."""
    rows = min(nbytes, GI) // (4 * 16384)
    tensor = {"type": "tensor", "name": "w", "shape": [rows, 16384], "initializer": initializer}
    layers = [{"type": "repeat", "name": "block", "times": max(nbytes // GI, 1), "layers": [tensor]}]
    return json.dumps({"seed": 2010, "layers": layers}).encode()


@dataclass(frozen=True)
class Server:
    """A running server: its port, its process, and its log file."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.process.pid

    def memory(self, field: str) -> float:
        """VmRSS or VmHWM of the process, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024 / 1e6  # type: ignore[index]  # Linux has both


@contextmanager
def server(command: list[str], most_seconds: int = 3600) -> Iterator[Server]:
    """A server process on a free loopback port; it ends with the context, or after `most_seconds` in any case."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as written:
            process = subprocess.Popen([*BY_THE_CLOCK, str(most_seconds), *command], cwd=ROOT, stderr=written)
        try:
            yield Server(_port(process, log), process, log)
        finally:
            _end(process)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port of a server, once its log names it."""
    end = time.monotonic() + START_SECONDS
    while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the server does not start: {log.read_text()}")
        time.sleep(0.01)
    return int(found[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def our_server() -> list[str]:
    """The command that serves weights."""
    return [sys.executable, "-m", "service", "serve", "--port", "0"]


@dataclass(frozen=True)
class Read:
    """The time and the bytes that reading one answer took."""

    seconds: float
    nbytes: int


WEIGHTS = "/v1/weights?format=safetensors&statistics=none"


def _request(body: bytes, path: str, field: str) -> bytes:
    head = (
        f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{field}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def read(port: int, body: bytes, path: str = WEIGHTS, field: str = "") -> Read:
    """Read one answer to its end in this process, and drop it."""
    buffer = bytearray(MI)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        start = time.perf_counter()
        connection.sendall(_request(body, path, field))
        total = connection.recv_into(buffer)
        if not re.match(rb"HTTP/1.1 20[06]", buffer):
            raise RuntimeError(bytes(buffer[:total]).decode())
        while received := connection.recv_into(buffer):
            total += received
    return Read(time.perf_counter() - start, total)


def first_byte(port: int, body: bytes) -> float:
    """Seconds from the request to the first byte of the file; then the connection is closed."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        start = time.perf_counter()
        connection.sendall(_request(body, WEIGHTS, ""))
        received = b""
        while not received.partition(b"\r\n\r\n")[2]:
            received += connection.recv(4096)
        return time.perf_counter() - start


def read_elsewhere(port: int, body: bytes) -> Read:
    """Read weights in a separate process, like a real client."""
    code = (
        "import sys; from measuring import read; body = sys.stdin.buffer.read();"
        f" found = read({port}, body); print(found.seconds, found.nbytes)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    printed = subprocess.run(
        [sys.executable, "-c", code], input=body, capture_output=True, check=True, env=environment
    ).stdout
    taken, nbytes = printed.split()
    return Read(float(taken), int(nbytes))


def row(name: str, figure: str, ratio: str = "", aim: str = "") -> None:
    """Print a line of results."""
    print(f"  {name:<52}{figure:>16}{ratio:>14}{aim:>16}", flush=True)
