"""Clients of every kind at once, for minutes: no wrong byte, no stall of the server, and nothing left behind.

Usage: python benchmarks/soak.py [--seconds 120] [--clients 64]
       python benchmarks/soak.py --memory

It reads /proc, so it runs on Linux only. Exit status 1 means that an aim was missed; the reasons are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import cycle, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, NoReturn, Self
from zlib import crc32

import uvloop
from measuring import GI, MI, ROOT, Server, our_server, server, tensor_spec

KI: Final = 1 << 10
WARM_UP_SECONDS: Final = 20.0
SILENT_SECONDS: Final = 30.0
"""How long the server may neither read nor send a byte before that is an error."""
LEAVE_SECONDS: Final = 10.0
"""How long the server may go on sending to a client that has closed its side."""
SETTLING_SECONDS: Final = 3.0
SAMPLED_EVERY: Final = 0.2
MOST_WAITED: Final = 10.0
"""The longest Retry-After that is waited for, in seconds."""

PROBED_EVERY: Final = 0.05
PROBE_SECONDS: Final = 10.0

IDLE_WINDOW: Final = 0.25
IDLE_SECONDS: Final = 0.01
"""Processor time within a window at which the server counts as idle: one tick of /proc."""
MOST_UNTIL_IDLE: Final = 30.0

SLOW_BYTES: Final = 64 * KI
SLOW_SECONDS: Final = 10
HASHED: Final = 0.5
"""The share of large streams whose CRC-32 is compared; for the others only the length is, to leave the cores free."""
BURST: Final = 8
"""Small requests on one connection."""

AIM_P99: Final = 0.1
AIM_IDLE: Final = 2.0
AIM_PEAK: Final = 400.0
FEW: Final = 3
"""How many more descriptors may be open at the end than at the start."""
MEMORY_SECONDS: Final = 30.0
MOST_TOLD: Final = 10

TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
WEIGHTS: Final = "/v1/weights?format=safetensors"


class Wrong(Exception):
    """An answer that is not what it should be."""


class RetryLater(Exception):
    """The server is busy, and says when to come back."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


# Requests


@dataclass(frozen=True)
class Request:
    """One request, and the status that it should get."""

    method: str
    path: str
    body: bytes = b""
    fields: str = ""
    status: int = 200

    @property
    def raw(self) -> bytes:
        """The bytes of the request."""
        about_body = f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n" if self.body else ""
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: localhost\r\n{self.fields}{about_body}\r\n"
        return head.encode() + self.body


def _spec(layers: object, **members: object) -> bytes:
    return json.dumps({"seed": 2010, "layers": layers} | members).encode()


def _tensor(shape: Sequence[int], initializer: object, name: str = "w") -> dict[str, Any]:
    return {"type": "tensor", "name": name, "shape": shape, "initializer": initializer}


def _linear(inputs: int, outputs: int, name: str = "fc") -> dict[str, Any]:
    return {"type": "linear", "name": name, "in_features": inputs, "out_features": outputs}


def _repeat(times: int, *layers: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "repeat", "name": "h", "times": times, "layers": layers}]


def _example(name: str) -> bytes:
    return (ROOT / "examples" / f"{name}.json").read_bytes()


CONVOLUTION: Final = {"type": "conv2d", "name": "conv", "in_channels": 512, "out_channels": 512, "kernel_size": 3}
LARGE: Final = {
    "uniform": tensor_spec(256 * MI, "xavier_uniform"),
    "normal": tensor_spec(256 * MI, "xavier_normal"),
    "bf16": _spec([_tensor((8192, 16384), "xavier_normal")], dtype="BF16"),
    "keras": _spec(_repeat(10, _linear(2048, 2048), CONVOLUTION), framework="keras"),
}
MIDDLE: Final = _spec(
    [
        {**CONVOLUTION, "dtype": "BF16"},
        *({**_linear(1000, 1023, f"fc{dtype}"), "dtype": dtype} for dtype in ("F64", "F32", "F16", "F8_E4M3")),
        _tensor((1 << 20,), {"type": "truncated_normal", "std": 0.02}),
    ]
)
"""The file whose ranges are compared: elements of every width, and tensors that chunks do not divide evenly."""
JSON_WEIGHTS: Final = [
    Request("POST", path, _spec([_linear(inputs, 64)]))
    for path in ("/v1/weights?format=json", "/v1/weights?format=json&encoding=base64&statistics=none")
    for inputs in (3, 17, 64, 100)
]
PLANS: Final = [
    *(Request("POST", "/v1/plan", _example(name)) for name in ("lenet-300-100", "resnet-50", "gpt2-small") * 3),
    Request("POST", "/v1/plan", _spec(_repeat(500, _linear(64, 64)))),
    Request("POST", "/v1/plan", _spec(_repeat(5000, _linear(64, 64)))),
]
STATISTICS: Final = [
    *(Request("POST", "/v1/statistics", _example(name)) for name in ("lenet-300-100", "glorot-bengio-2010")),
    Request("POST", "/v1/statistics", _spec([_tensor((4096, 1024), "xavier_normal")])),
]
ALIVE: Final = Request("GET", "/livez")
WRONG: Final = [
    Request("POST", path, body, status=422)
    for path in (WEIGHTS, "/v1/plan", "/v1/statistics")
    for body in (
        _spec([_linear(0, 3)]),
        _spec([_linear(2, 3)], seed=-1, colour="red"),
        _spec([_tensor((1 << 30, 1 << 30), "xavier_normal")]),
        _spec([_tensor((3,), "orthogonal_uniform")] * 1000),
    )
]
ORTHOGONAL: Final = [
    Request("POST", "/v1/weights?format=safetensors", _spec([_tensor(shape, "orthogonal")]))
    for shape in ((64, 64), (100, 30), (256, 256), (128, 512))
]


# One connection


@dataclass
class Tally:
    """What the clients of one kind have seen."""

    requests: int = 0
    nbytes: int = 0
    turned_away: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add what other clients have seen."""
        self.requests += other.requests
        self.nbytes += other.nbytes
        self.turned_away += other.turned_away
        self.errors.update(other.errors)


@dataclass(frozen=True)
class Answer:
    """The header of an answer."""

    status: int
    fields: dict[str, str]


class Connection:
    """A connection with a minimal HTTP client: nothing is received unless it is asked for."""

    def __init__(self, port: int, tally: Tally, buffer: int | None = None) -> None:
        self.tally = tally
        self.left = 0
        self._port = port
        self._rest = memoryview(b"")
        self._received = memoryview(bytearray(buffer or 256 * KI))
        self._socket = socket.socket()
        self._socket.setblocking(False)
        if buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)

    async def __aenter__(self) -> Self:
        try:
            await asyncio.get_running_loop().sock_connect(self._socket, ("127.0.0.1", self._port))
        except BaseException:
            self._socket.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    async def send(self, raw: bytes) -> None:
        """Send some bytes."""
        async with asyncio.timeout(SILENT_SECONDS):
            await asyncio.get_running_loop().sock_sendall(self._socket, raw)

    async def ask(self, request: Request) -> Answer:
        """Send a request and receive the header of its answer, which must have the right status."""
        if self.left or self._rest:
            raise Wrong("bytes after the end of an answer")
        self.tally.requests += 1
        await self.send(request.raw)
        answer = await self._head(request)
        if answer.status in (429, 503) and "retry-after" in answer.fields:
            raise RetryLater(float(answer.fields["retry-after"]))
        if answer.status != request.status:
            raise Wrong(f"{answer.status} instead of {request.status}: {bytes(await self.receive())[:200]!r}")
        return answer

    async def receive(self, most: int = 256 * KI) -> memoryview:
        """Some bytes of the body, valid until the next call; none at its end."""
        most = min(most, self.left)
        if not most:
            return memoryview(b"")
        if not self._rest:
            self._rest = await self._some(most)
        received, self._rest = self._rest[:most], self._rest[most:]
        self.left -= len(received)
        self.tally.nbytes += len(received)
        return received

    async def pieces(self, most: int | None = None) -> AsyncIterator[memoryview]:
        """The body, or its first bytes, as they come."""
        end = self.left - min(self.left, self.left if most is None else most)
        while self.left > end:
            yield await self.receive(self.left - end)

    async def body(self, most: int | None = None) -> bytes:
        """The body, or its first bytes, at once."""
        return b"".join([bytes(piece) async for piece in self.pieces(most)])

    async def say_goodbye(self) -> None:
        """Close our direction, and read what still comes until the server closes its own."""
        self._socket.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            async with asyncio.timeout(LEAVE_SECONDS):
                while await self._take():
                    pass

    def reset(self) -> None:
        """Leave by RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def _some(self, most: int | None = None) -> memoryview:
        n = await self._take(most)
        if not n:
            raise Wrong(f"the answer breaks off, {self.left} bytes before its end")
        return self._received[:n]

    async def _take(self, most: int | None = None) -> int:
        await asyncio.sleep(0)  # receiving does not yield to other tasks if bytes are there
        async with asyncio.timeout(SILENT_SECONDS):
            return await asyncio.get_running_loop().sock_recv_into(self._socket, self._received[:most])

    async def _head(self, request: Request) -> Answer:
        received = b""
        while not (parts := received.partition(b"\r\n\r\n"))[1]:
            received += await self._some()
        status, *lines = parts[0].decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if not re.match(r"HTTP/1\.1 \d{3} ", status):
            raise Wrong(f"no answer, but {received[:80]!r}")
        answer = Answer(int(status[9:12]), fields)
        bodiless = request.method == "HEAD" or answer.status == 304
        in_chunks = not bodiless and "content-length" not in fields
        rest = await self._unchunked(parts[2]) if in_chunks else parts[2]
        self.left = 0 if bodiless else int(fields.get("content-length", len(rest)))
        self._rest = memoryview(rest)
        return answer

    async def _unchunked(self, received: bytes) -> bytes:
        """The whole of a body that comes in chunks (RFC 9112 section 7.1), as large plans do."""
        body, size = bytearray(), -1
        while size:
            while b"\r\n" not in received:
                received += await self._some()
            line, _, received = received.partition(b"\r\n")
            size = int(line, 16)
            while len(received) < size + 2:
                received += await self._some()
            body += received[:size]
            received = received[size + 2 :]
        return bytes(body)


# The clients


@dataclass(frozen=True)
class Known:
    """A file as the command line writes it, and its address on the server."""

    body: bytes
    path: str
    etag: str
    checksum: int
    length: int
    whole: bytes

    @property
    def post(self) -> Request:
        """The request for the file by its specification."""
        return Request("POST", WEIGHTS, self.body)

    @property
    def get(self) -> Request:
        """The request for the file by its permalink."""
        return Request("GET", self.path)


@dataclass
class World:
    """What all clients share."""

    port: int
    files: dict[str, Known] = field(default_factory=dict)
    learned: dict[Request, bytes] = field(default_factory=dict)
    """The digests of answers that never change, taken before there was any load."""
    tallies: dict[str, Tally] = field(default_factory=dict)

    def check(self, request: Request, body: bytes) -> None:
        """Compare an answer with the first one to the same request."""
        digest = sha256(body).digest()
        if self.learned.setdefault(request, digest) != digest:
            raise Wrong(f"another answer than at first to {request.method} {request.path[:40]}: {body[:80]!r}")


class Client:
    """A client of one kind, which asks until it is cancelled."""

    def __init__(self, world: World, kind: str, number: int) -> None:
        self.world = world
        self.kind = kind
        self.random = Random(number)  # noqa: S311 - chance, not secrecy
        self.tally = world.tallies.setdefault(kind, Tally())

    async def run(self) -> NoReturn:
        """Ask again and again; after being turned away, ask the same thing later."""
        while True:
            state = self.random.getstate()
            try:
                await KINDS[self.kind].ask(self)
            except RetryLater as answer:
                self.tally.turned_away += 1
                self.random.setstate(state)
                await asyncio.sleep(min(max(answer.seconds, 0.1), MOST_WAITED))
            except (Wrong, OSError, TimeoutError, LookupError, ValueError) as error:
                self.tally.errors[f"{self.kind}: {type(error).__name__}: {error}"[:300]] += 1
                await asyncio.sleep(0.5)

    def connect(self, buffer: int | None = None) -> Connection:
        """A new connection, whose bytes count for this kind."""
        return Connection(self.world.port, self.tally, buffer)


def burst_of(requests: Sequence[Request]) -> Callable[[Client], Awaitable[None]]:
    """Send some of these requests on one connection, and compare each answer with the first to the same request."""

    async def ask(client: Client) -> None:
        async with client.connect() as connection:
            for request in client.random.choices(requests, k=BURST):
                await connection.ask(request)
                client.world.check(request, await connection.body())

    return ask


async def ask_heads(client: Client) -> None:
    """HEAD, and GET with the ETag that the client already has."""
    async with client.connect() as connection:
        for known in client.random.choices(list(client.world.files.values()), k=BURST):
            head = await connection.ask(Request("HEAD", known.path))
            fields = f"If-None-Match: {known.etag}\r\n"
            unchanged = await connection.ask(Request("GET", known.path, fields=fields, status=304))
            if head.fields["etag"] != known.etag or unchanged.fields["etag"] != known.etag:
                raise Wrong(f"ETag {head.fields['etag']} and {unchanged.fields['etag']} instead of {known.etag}")
            if int(head.fields["content-length"]) != known.length:
                raise Wrong(f"HEAD promises {head.fields['content-length']} bytes of {known.length}")


async def ask_ranges(client: Client) -> None:
    """Ranges, compared byte by byte with the whole file."""
    known, random = client.world.files["middle"], client.random
    async with client.connect() as connection:
        for _ in range(BURST):
            start = random.randrange(known.length)
            stop = min(start + 1 + int(2 ** random.uniform(0, 22)), known.length)
            fields = f"Range: {_written(start, stop, known.length)}\r\n"
            await connection.ask(Request("GET", known.path, fields=fields, status=206))
            if await connection.body() != known.whole[start:stop]:
                raise Wrong(f"wrong bytes in {fields.strip()}")


def _written(start: int, stop: int, length: int) -> str:
    if stop < length:
        return f"bytes={start}-{stop - 1}"
    return f"bytes=-{length - start}" if start % 2 else f"bytes={start}-"


def stream_of(name: str) -> Callable[[Client], Awaitable[None]]:
    """A large file from its start to its end."""

    async def ask(client: Client) -> None:
        known, hashed = client.world.files[name], client.random.random() < HASHED
        async with client.connect() as connection:
            await connection.ask(client.random.choice((known.post, known.get)))
            await take_whole(connection, known, hashed=hashed)

    return ask


async def take_whole(connection: Connection, known: Known, *, hashed: bool) -> None:
    """Read a whole file, of which nothing has been read yet, and compare it."""
    if connection.left != known.length:
        raise Wrong(f"{connection.left} bytes promised of {known.length}")
    checksum = 0
    async for piece in connection.pieces():
        if hashed:
            checksum = crc32(piece, checksum)
    if hashed and checksum != known.checksum:
        raise Wrong("wrong bytes in a whole file")


async def read_slowly(client: Client) -> None:
    """Read 64 KiB a second for a while, and compare; the rest is not read."""
    known = client.world.files["middle"]
    async with client.connect(SLOW_BYTES) as connection:
        await connection.ask(client.random.choice((known.post, known.get)))
        for second in range(SLOW_SECONDS):
            start = second * SLOW_BYTES
            if await connection.body(SLOW_BYTES) != known.whole[start : start + SLOW_BYTES]:
                raise Wrong("wrong bytes for a slow reader")
            await asyncio.sleep(1)


async def stall(client: Client) -> None:
    """Read a whole file with a pause of some seconds in the middle."""
    known = client.world.files["middle"]
    async with client.connect(SLOW_BYTES) as connection:
        await connection.ask(known.get)
        begun = await connection.body(client.random.randrange(known.length // 2))
        await asyncio.sleep(client.random.uniform(2, 8))
        if begun + await connection.body() != known.whole:
            raise Wrong("wrong bytes after a stall")


async def leave_politely(client: Client) -> None:
    """Leave with FIN at any byte of the request or the answer."""
    async with client.connect() as connection:
        await go_some_way(client, connection)
        await connection.say_goodbye()


async def leave_rudely(client: Client) -> None:
    """Leave with RST at any byte of the request or the answer."""
    async with client.connect() as connection:
        await go_some_way(client, connection)
        connection.reset()


async def go_some_way(client: Client, connection: Connection) -> None:
    """Go on to a random byte of the request, to the time before the answer, or to a random byte of the answer."""
    random, files = client.random, client.world.files
    request = random.choice([*(known.post for known in files.values()), files["middle"].get, *STATISTICS, *PLANS])
    match random.randrange(4):
        case 0:
            client.tally.requests += 1
            await connection.send(request.raw[: random.randrange(len(request.raw))])
        case 1:
            client.tally.requests += 1
            await connection.send(request.raw)
            await asyncio.sleep(random.uniform(0, 0.2))
        case _:
            await connection.ask(request)
            async for _ in connection.pieces(int(2 ** random.uniform(0, 27))):
                pass


@dataclass(frozen=True)
class Kind:
    """A kind of client: its share of 64 clients, and what they do."""

    share: int
    ask: Callable[[Client], Awaitable[None]]


KINDS: Final = {
    "small JSON weights": Kind(8, burst_of(JSON_WEIGHTS)),
    "plans": Kind(6, burst_of(PLANS)),
    "HEAD and 304 by permalink": Kind(6, ask_heads),
    "ranges, compared": Kind(8, ask_ranges),
    "large: uniform": Kind(2, stream_of("uniform")),
    "large: normal": Kind(2, stream_of("normal")),
    "large: BF16": Kind(2, stream_of("bf16")),
    "large: Keras": Kind(2, stream_of("keras")),
    "statistics": Kind(3, burst_of(STATISTICS)),
    "wrong specifications": Kind(3, burst_of(WRONG)),
    "orthogonal": Kind(2, burst_of(ORTHOGONAL)),
    "slow readers": Kind(6, read_slowly),
    "readers that stall": Kind(6, stall),
    "leaving politely": Kind(4, leave_politely),
    "leaving by RST": Kind(4, leave_rudely),
}


def deck(world: World, clients: int) -> Iterator[Client]:
    """So many clients, their kinds as evenly mixed as their shares allow; what this server cannot do is left out."""
    kinds = {kind: of for kind, of in KINDS.items() if kind != "orthogonal" or knows_orthogonal(world)}
    most = max(of.share for of in kinds.values())
    order = [kind for turn in range(most) for kind, of in kinds.items() if turn < of.share]
    for number, kind in enumerate(islice(cycle(order), clients)):
        yield Client(world, kind, number)


def knows_orthogonal(world: World) -> bool:
    """Whether the server draws orthogonal tensors."""
    return ORTHOGONAL[0] in world.learned


# Before there is load


async def learn(world: World) -> None:
    """Get every answer to compare with later, one at a time; files come from the command line as well."""
    client = Client(World(world.port), "plans", 0)
    for name, body in {"middle": MIDDLE, **LARGE}.items():
        world.files[name] = await know(client, name, body)
    async with client.connect() as connection:
        await connection.ask(Request("GET", "/v1/initializers"))
        orthogonal = ORTHOGONAL if b'"orthogonal"' in await connection.body() else []
    async with client.connect() as connection:
        for request in (*JSON_WEIGHTS, *PLANS, *STATISTICS, *WRONG, *orthogonal):
            await connection.ask(request)
            world.check(request, await connection.body())


async def know(client: Client, name: str, body: bytes) -> Known:
    """Make a file by the command line, and compare it with the same file by HTTP."""
    checksum, whole = await asyncio.to_thread(_generated, body, keep=name == "middle")
    async with client.connect() as connection:
        await connection.ask(Request("POST", "/v1/plan", body))
        plan = json.loads(await connection.body())
        known = Known(body, plan["permalink"], plan["etag"], checksum, plan["totals"]["file_bytes"], whole)
        await connection.ask(known.get)
        await take_whole(connection, known, hashed=True)
    return known


def _generated(body: bytes, *, keep: bool) -> tuple[int, bytes]:
    """The CRC-32 of a file that the command line writes, and the file itself if it is kept."""
    command = [sys.executable, "-m", "service", "generate", "-", "-o", "-"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(body)
        process.stdin.close()
        checksum, kept = 0, []
        while piece := process.stdout.read(MI):
            checksum = crc32(piece, checksum)
            kept += [piece] if keep else []
    return checksum, b"".join(kept)


# Measurements


@dataclass
class Probes:
    """How long requests for /livez took, in seconds."""

    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    """How late the prober itself was woken: what the machine, rather than the server, adds to a latency."""
    errors: Counter[str] = field(default_factory=Counter)
    processor: float = 0.0


def probe(port: int, pipe: Pipe, most_seconds: float) -> None:
    """Ask for /livez every 50 ms until told to stop, and send the results; the main function of a process."""
    found = uvloop.run(_probed(port, pipe, most_seconds))
    found.processor = time.process_time()
    pipe.send(found)


async def _probed(port: int, pipe: Pipe, most_seconds: float) -> Probes:
    """Each probe has its own connection and waits for no other, so that every probe that is due in a stall counts."""
    found, start = Probes(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for turn in range(int(most_seconds / PROBED_EVERY)):
            due = start + turn * PROBED_EVERY
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            found.late.append(time.perf_counter() - due)
            group.create_task(_note_alive(port, found))
            if pipe.poll():
                break
    return found


async def _note_alive(port: int, found: Probes) -> None:
    start = time.perf_counter()
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await _ask_alive(port)
    except (Wrong, RetryLater, OSError, TimeoutError) as error:
        found.errors[f"the prober: {type(error).__name__}: {error}"[:300]] += 1
    found.latencies.append(time.perf_counter() - start)


async def _ask_alive(port: int) -> None:
    async with Connection(port, Tally(), KI) as connection:
        await connection.ask(ALIVE)
        if await connection.body() != b'{"status":"ok"}':
            raise Wrong("is not ok")


class Prober:
    """The process that probes."""

    def __init__(self, port: int, most_seconds: float) -> None:
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=probe, args=(port, other, most_seconds), daemon=True)
        self._process.start()
        other.close()

    def stop(self) -> Probes:
        """End the process, and return what it found."""
        self._pipe.send(None)
        found: Probes = self._pipe.recv()
        self._process.join(PROBE_SECONDS)
        return found


@dataclass(frozen=True)
class Figures:
    """The resources that a process holds at some time."""

    resident: float
    """MB"""
    descriptors: int
    threads: int


def look_at(ours: Server) -> Figures:
    """The resources that the server holds now.

    Raises:
        RuntimeError: the server has ended.
    """
    if ours.process.poll() is not None:
        raise RuntimeError(f"the server ended with status {ours.process.returncode}: {ours.log.read_text()[-2000:]}")
    status = Path(f"/proc/{ours.pid}/status").read_text()
    threads = re.search(r"Threads:\s+(\d+)", status)
    assert threads is not None
    return Figures(ours.memory("VmRSS"), len(os.listdir(f"/proc/{ours.pid}/fd")), int(threads[1]))  # noqa: PTH208 - numbers


def processor_of(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def processor_of_all() -> float:
    """Seconds of processor time that the machine has used, without those spent waiting for disks."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(interrupts)) * TICK


async def until_idle(ours: Server) -> float:
    """Seconds until the start of a window in which the server uses next to no processor time."""
    start = time.monotonic()
    while (begun := time.monotonic()) - start < MOST_UNTIL_IDLE:
        before = processor_of(ours.pid)
        await asyncio.sleep(IDLE_WINDOW)
        if processor_of(ours.pid) - before <= IDLE_SECONDS * 1.5:
            break
    return begun - start


# A run


@dataclass(frozen=True)
class Outcome:
    """What was measured during a run of the mix, and after it."""

    seconds: float
    peak: float
    processors: dict[str, float]
    """Processors in use, on average."""
    probes: Probes
    until_idle: float
    end: Figures


async def soak(ours: Server, world: World, clients: int, seconds: float) -> Outcome:
    """Run the mix for some seconds, let all clients leave at once, and wait until the server has settled."""
    prober = Prober(ours.port, seconds + 2 * PROBE_SECONDS)
    tasks = [asyncio.create_task(client.run()) for client in deck(world, clients)]
    start, before = time.monotonic(), _processor_times(ours)
    peak = await _highest(ours, seconds)
    taken = time.monotonic() - start
    used = {name: (now - before[name]) / taken for name, now in _processor_times(ours).items()}
    probes = await asyncio.to_thread(prober.stop)
    await _leave(tasks)
    idle_after = await until_idle(ours)
    await asyncio.sleep(SETTLING_SECONDS)
    return Outcome(taken, peak, used, probes, idle_after, look_at(ours))


def _processor_times(ours: Server) -> dict[str, float]:
    return {"server": processor_of(ours.pid), "clients": time.process_time(), "machine": processor_of_all()}


async def _highest(ours: Server, seconds: float) -> float:
    """The peak of the resident memory in MB, sampled for some seconds."""
    end, peak = time.monotonic() + seconds, 0.0
    while time.monotonic() < end:
        peak = max(peak, look_at(ours).resident)
        await asyncio.sleep(SAMPLED_EVERY)
    return peak


async def _leave(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel all tasks at once; an error that ended a task is raised."""
    for task in tasks:
        task.cancel()
    for found in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(found, Exception):
            raise found


async def run_mix(seconds: float, clients: int) -> list[str]:
    """Warm up, soak, and print the results; returns the reasons why they are not good enough."""
    with server(our_server(), int(seconds + WARM_UP_SECONDS + 300)) as ours:
        world = World(ours.port)
        await learn(world)
        start = look_at(ours)
        warm = await soak(ours, world, clients, WARM_UP_SECONDS)
        warm_up, world.tallies = world.tallies, {}
        found = await soak(ours, world, clients, seconds)
        show_requests(world.tallies, found.probes)
        show_run(found)
        show_server(ours, start, warm, found)
        errors = warm.probes.errors + found.probes.errors
        for tally in (*warm_up.values(), *world.tallies.values()):
            errors.update(tally.errors)
        return [*told(errors), *complaints(ours.log), *missed(start, warm, found)]


async def run_memory() -> list[str]:
    """Read four streams of 8 GiB for a while, two of them slowly; returns the reasons why memory is not good enough."""
    with server(our_server(), int(MEMORY_SECONDS) + 300) as ours:
        tally, before = Tally(), look_at(ours)
        bodies = [tensor_spec(8 * GI, initializer) for initializer in ("xavier_uniform", "xavier_normal")]
        slow = [asyncio.create_task(_take(ours.port, body, Tally(), SLOW_BYTES, 1.0)) for body in bodies]
        fast = [asyncio.create_task(_take(ours.port, body, tally, 256 * KI, 0.0)) for body in bodies]
        await asyncio.wait(fast, timeout=MEMORY_SECONDS)
        peak = ours.memory("VmHWM")
        await _leave([*slow, *fast])
        idle_after = await until_idle(ours)
        line("GB read by the fast two", f"{tally.nbytes / 1e9:.1f}")
        line("resident MB: start, peak, end", *map(_rounded, (before.resident, peak, look_at(ours).resident)))
        line("seconds until idle", f"{idle_after:.2f}")
        return [*complaints(ours.log), *([f"{peak:.0f} MB are too much"] if peak >= AIM_PEAK else [])]


async def _take(port: int, body: bytes, tally: Tally, nbytes: int, pause: float) -> None:
    """Read a stream to its end, with a pause after every `nbytes` bytes."""
    async with Connection(port, tally, nbytes if pause else None) as connection:
        await connection.ask(Request("POST", WEIGHTS, body))
        while connection.left:
            await connection.body(nbytes)
            await asyncio.sleep(pause)


# Reports


def line(name: str, *cells: str) -> None:
    """Print a line of the table."""
    print(f"  {name:<32}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def _rounded(number: float) -> str:
    return f"{number:,.0f}"


def _quantile(values: Sequence[float], part: float) -> float:
    return sorted(values)[int(part * (len(values) - 1))] if values else math.nan


def show_requests(tallies: Mapping[str, Tally], probes: Probes) -> None:
    """Print a line for each kind of client, one for their sum, and one for the prober."""
    line("", "requests", "GB", "turned away", "errors")
    every = Tally()
    for tally in tallies.values():
        every.add(tally)
    probing = Tally(len(probes.latencies), errors=probes.errors)
    for kind, tally in {**tallies, "all of these": every, "the prober": probing}.items():
        counts = (tally.turned_away, tally.errors.total())
        line(kind, _rounded(tally.requests), f"{tally.nbytes / 1e9:.2f}", *map(_rounded, counts))


def show_server(ours: Server, start: Figures, warm: Outcome, found: Outcome) -> None:
    """Print the resources that the server held."""
    line("", "start", "warm", "peak", "most ever", "end")
    resident = (start.resident, warm.end.resident, found.peak, ours.memory("VmHWM"), found.end.resident)
    line("resident, MB", *map(_rounded, resident))
    for name in ("descriptors", "threads"):
        then, between, now = (str(getattr(figures, name)) for figures in (start, warm.end, found.end))
        line(name, then, between, "", "", now)


def show_run(found: Outcome) -> None:
    """Print the latencies of /livez, the use of the processors, and how soon the server was idle."""
    line("", "p50", "p99", "most", "of")
    for name, values in (("/livez, ms", found.probes.latencies), ("its prober woken late, ms", found.probes.late)):
        figures = (1e3 * _quantile(values, part) for part in (0.5, 0.99, 1.0))
        line(name, *(f"{figure:.1f}" for figure in figures), _rounded(len(values)))
    used = dict(found.processors, prober=found.probes.processor / found.seconds)
    others = used.pop("machine") - sum(used.values())
    line("", *used, "others")
    line("processors in use", *(f"{share:.2f}" for share in (*used.values(), others)))
    line("seconds until idle", f"{found.until_idle:.2f}")


def told(errors: Counter[str]) -> list[str]:
    """Print the most frequent errors; returns the reason that there were errors."""
    for message, count in errors.most_common(MOST_TOLD):
        print(f"  {count} x {message}")
    return [f"{errors.total()} errors"] if errors else []


def complaints(log: Path) -> list[str]:
    """Print the end of the log if it has errors; returns the reason that it has."""
    lines = log.read_text().splitlines()
    loud = [text for text in lines if re.match("ERROR|CRITICAL|Traceback|Exception|Fatal", text)]
    if loud:
        print(*lines[-50:], sep="\n")
    return [f"{len(loud)} errors in the server's log"] if loud else []


def missed(start: Figures, warm: Outcome, found: Outcome) -> list[str]:
    """The aims that were missed."""
    p99 = _quantile(found.probes.latencies, 0.99)
    most = max(warm.end.resident * 1.1 + 32, warm.peak)  # memory that the allocator kept from the warm-up is not growth
    left = found.end.descriptors - start.descriptors
    aims = {
        f"p99 of /livez is {p99 * 1e3:.0f} ms, not below {AIM_P99 * 1e3:.0f}": p99 < AIM_P99,
        f"{found.end.resident:.0f} MB are resident, more than {most:.0f}": found.end.resident <= most,
        f"{found.end.descriptors} descriptors are left of {start.descriptors}": left <= FEW,
        f"idle only after {found.until_idle:.1f} s": found.until_idle < AIM_IDLE,
    }
    return [reason for reason, good in aims.items() if not good]


def main() -> None:
    """Run what was asked for; exit with status 1 and the reasons if it is not good enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="how long the clients run, after the warm-up")
    parser.add_argument("--clients", type=int, default=64, help="how many clients run at once")
    parser.add_argument(
        "--memory", action="store_true", help="instead, read four streams of 8 GiB at once, two of them slowly"
    )
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    reasons = uvloop.run(run_memory() if words.memory else run_mix(words.seconds, words.clients))
    if reasons:
        sys.exit("missed: " + "; ".join(reasons))


if __name__ == "__main__":
    main()
