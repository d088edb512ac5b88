"""A real server process on a loopback socket, and raw requests to it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any, Final

import httpx

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
LOOKS: Final = 20
LOOK_SECONDS: Final = 0.005
"""How often, and how far apart, one looks at threads that have nothing to do."""
_LISTENING: Final = re.compile(r"running on http://([^:]+):([0-9]+)")


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without settings of the service, and some changes."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("XAVIER_")}
    return ours | dict(changes or {})


@dataclass(frozen=True)
class Server:
    """A server that was started by a test."""

    process: subprocess.Popen[bytes]
    log_path: Path
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def log(self) -> str:
        return self.log_path.read_text()

    def client(self, **options: Any) -> httpx.Client:
        """A client of this server, which does without the certificates whose loading takes longer than a request."""
        no_certificates = SSLContext(PROTOCOL_TLS_CLIENT)
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, verify=no_certificates, **options)

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """A connection, with a small receive buffer where asked; the kernel then takes little from the server."""
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(30)
        try:
            connection.connect((self.host, self.port))
        except OSError:
            connection.close()
            raise
        return connection

    def exchange(self, sent: bytes) -> bytes:
        """What comes back for some bytes until the server closes; ask for `Connection: close` if it would not."""
        with self.connect() as connection:
            connection.sendall(sent)
            return drain(connection)

    def cpu_seconds(self) -> float:
        """Processor time that all threads of the server have used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_idle(self) -> bool:
        """Whether none of its threads runs, or could, however often one looks."""
        return not any(self._runs() for _ in range(LOOKS))

    def _runs(self) -> bool:
        time.sleep(LOOK_SECONDS)
        return any(map(_runs, Path(f"/proc/{self.process.pid}/task").glob("*/stat")))

    def resident_memory(self) -> int:
        """Bytes that are resident now."""
        return self._memory("VmRSS")

    def peak_memory(self) -> int:
        """Bytes that were resident at most."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [kibibytes] = re.findall(rf"{name}:\s+([0-9]+) kB", status)
        return int(kibibytes) * 1024

    def stop(self, how: signal.Signals = signal.SIGTERM, within: float = STOP_SECONDS) -> int:
        """Ask it to end, wait until it has, and say how it went."""
        self.process.send_signal(how)
        return self.process.wait(within)


def _runs(thread: Path) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
        return thread.read_text().rpartition(")")[2].split()[0] == "R"
    return False


def drain(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    received = bytearray()
    while piece := connection.recv(1 << 16):
        received += piece
    return bytes(received)


def take(connection: socket.socket, least: int) -> bytes:
    """What comes, until it is so much."""
    received = bytearray()
    while len(received) < least:
        piece = connection.recv(1 << 16)
        assert piece, "the other side has closed"
        received += piece
    return bytes(received)


def request_bytes(method: str, path: str, body: bytes = b"", **fields: str) -> bytes:
    """A request as it goes over the wire; underscores in names of fields stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Return as soon as something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def running_server(
    log_path: Path, *flags: str, env: Mapping[str, str] | None = None, through: Sequence[str] = ()
) -> Iterator[Server]:
    """A server for as long as the context lasts, started through another command if asked; it must end on SIGTERM."""
    words = [*through, sys.executable, "-m", "service", "serve", "--port", "0", *flags]
    with log_path.open("wb") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=environment(env), stdout=log, stderr=log)
    try:
        host, port = _wait_until_it_listens(process, log_path)
        yield Server(process, log_path, host, port)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == 143
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], log_path: Path) -> tuple[str, int]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := _LISTENING.search(log_path.read_text()):
            return found[1], int(found[2])
        assert process.poll() is None, log_path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"no server after {START_SECONDS} s: {log_path.read_text()}")
