"""Connections: their buffers, deadlines and caps, and that nobody's bad manners are paid for by others."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from select import select
from threading import Thread
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from service.api.guard.connections import (
    LINGER_BYTES,
    LINGER_SECONDS,
    NEAR_SEND_BUFFER,
    PAUSE_AT,
    RESUME_AT,
    Connection,
)
from service.formats.safetensors import CHUNK_BYTES
from tests.api.answers import assert_problem
from tests.api.servers import Server, drain, request_bytes, running_server, take, wait_for
from tests.api.specs import EIGHT_GIB, FORTY_GB, SMALL, body, spec, tensor
from tests.api.test_hostile import chunked, counted, get, post, taken_to_the_end, whole

MEBIBYTE = 1 << 20
STREAM = spec(tensor("w", 3000, 3000))
"""36 MB: more than the buffers on the way hold."""
UNFINISHED = {
    "the beginning of a header": b"GET /li",
    "a header without a Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "an unknown method": b"FOO / HTTP/1.1\r\n\r\n",
    "the beginning of a body": post(SMALL)[:-5],
    "a body that is too large": chunked(b" " * (5 * MEBIBYTE)),
    "a body that says that it is too large": post(b"", Content_Length=str(1 << 40)),
    "chunks that are none": chunked(b"{}").replace(b"\r\n2\r\n", b"\r\nzz\r\n"),
    "a whole request, and the beginning of a body": request_bytes("GET", "/livez") + post(SMALL)[:-5],
}


@dataclass(frozen=True)
class Watched:
    """What takes long, and is watched while other tests run: what came back."""

    empty_lines: Future[bytes]
    slow_second: Future[bytes]
    slow_reader: Future[int]


@pytest.fixture(scope="module", autouse=True)
def watched(tmp_path_factory: pytest.TempPathFactory, impatient: Server) -> Iterator[Watched]:
    """On a server that waits an hour for the rest of a request, and not at all long for the next one, or a reader."""
    flags = ("--receive-seconds", "3600", "--stall-seconds", "2")
    with (
        running_server(tmp_path_factory.mktemp("watched") / "log", *flags) as server,
        ThreadPoolExecutor(3) as pool,
    ):
        yield Watched(
            pool.submit(empty_lines, server),
            pool.submit(slow_second, server),
            pool.submit(slow_reader, server, impatient),
        )


def empty_lines(server: Server) -> bytes:
    """What comes back, until the connection is closed, to who sends empty lines behind a request."""
    received = bytearray()
    with server.connect() as connection:
        connection.sendall(request_bytes("GET", "/livez"))
        connection.settimeout(0.3)
        for _ in range(100):
            try:
                piece = connection.recv(1 << 16)
            except TimeoutError:
                connection.sendall(b"\r\n")
                continue
            if not piece:
                return bytes(received)
            received += piece
    raise AssertionError("it is still open")


def slow_second(server: Server) -> bytes:
    """What comes back for two requests, of which the second takes longer than a connection may be idle."""
    second = get("/livez")
    with server.connect() as slow, server.connect() as idle:
        slow.sendall(request_bytes("GET", "/livez") + second[:10])
        first = take(slow, 1)
        idle.sendall(request_bytes("GET", "/livez"))
        drain(idle)
        slow.sendall(second[10:])
        return first + drain(slow)


def slow_reader(server: Server, clock: Server) -> int:
    """How much is had by who takes half a MiB whenever another server's deadline of a second has passed once more."""
    taken = 0
    with server.connect(receive_buffer=1 << 16) as connection:
        connection.sendall(request_bytes("POST", "/v1/weights", body(EIGHT_GIB)))
        for _ in range(5):
            taken += len(take(connection, MEBIBYTE // 2))
            let_a_deadline_pass(clock)
    return taken


def let_a_deadline_pass(server: Server) -> None:
    """Wait until the server has closed a connection on which nothing was asked."""
    assert server.exchange(b"") == b""


class Recorded(Connection):
    """Remembers what the connection was given."""

    limits: tuple[int, int]
    send_buffer: int

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        Recorded.limits = transport.get_write_buffer_limits()
        Recorded.send_buffer = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


class FarTransport(asyncio.Transport):
    """A connection from another host, which no test has."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("203.0.113.7", 4000), "sockname": ("203.0.113.1", 80)}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:  # noqa: ARG002 - asyncio's
        raise AssertionError("buffers towards other hosts are the kernel's to size")


async def _answer(scope: Any, _receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_a_reader_on_the_same_host_gets_small_buffers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(_answer, http=Recorded, loop="uvloop", lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, args=([listening],))
        thread.start()
        with socket.create_connection(listening.getsockname()) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 204")
        server.should_exit = True
        thread.join(10)

    assert Recorded.limits == (RESUME_AT, PAUSE_AT)
    assert NEAR_SEND_BUFFER <= Recorded.send_buffer <= 4 * NEAR_SEND_BUFFER


def test_a_reader_on_another_host_keeps_the_buffers_of_the_kernel() -> None:
    async def connect() -> None:
        config = uvicorn.Config(_answer, log_level="error")
        config.load()
        Connection(config, ServerState(), {}).connection_made(FarTransport())

    asyncio.run(connect())


@pytest.mark.parametrize("threshold", [PAUSE_AT, RESUME_AT])
def test_one_chunk_waits_behind_another(threshold: int) -> None:
    assert CHUNK_BYTES < threshold < 2 * CHUNK_BYTES


# deadlines


SLOW: dict[str, tuple[bytes, bytes]] = {
    # what is sent at once, and what is sent byte by byte
    "a header that stops in its first word": (b"G", b""),
    "a header that stops behind its first line": (b"GET /livez HTTP/1.1\r\n", b""),
    "a header that stops in a field": (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Fie", b""),
    "an address that trickles in": (b"GET /livez?", b"x" * 1000),
    "a header that trickles in": (b"GET /livez HTTP/1.1\r\n", b"X: x\r\n" * 200),
    "a body that stops": (post(SMALL)[:-5], b""),
    "a body that trickles in": (post(b" " * 1000)[:-1000], b" " * 1000),
    "chunks that trickle in": (chunked()[: -len("0\r\n\r\n")], b"1\r\nx\r\n" * 200),
}


def test_a_request_that_stops_or_trickles_in_is_too_slow(impatient: Server) -> None:
    with ThreadPoolExecutor(len(SLOW)) as pool:
        answers = pool.map(lambda parts: trickled(impatient, *parts), SLOW.values())

    for what, answer in zip(SLOW, answers, strict=True):
        assert answer.status_code == 408, what
        problem = assert_problem(answer, 408, "request-timeout")
        assert problem["detail"] == "a request must arrive within 1 seconds"


def test_who_stays_within_the_deadlines_is_served(impatient: Server) -> None:
    request = post(SMALL)
    with impatient.connect() as connection:
        for piece in (request[:20], request[20:-20], request[-20:]):
            connection.sendall(piece)
            let_it_be_read(impatient)

        assert whole(drain(connection)).status_code == 200


def let_it_be_read(server: Server) -> None:
    """Ask for something: once that is answered, the server has also read what came before."""
    assert server.exchange(get("/livez")).startswith(b"HTTP/1.1 200 ")


def trickled(server: Server, head: bytes, rest: bytes) -> httpx.Response:
    """What comes back while a part of a request is sent byte by byte."""
    with server.connect() as connection:
        connection.sendall(head)
        connection.settimeout(0.05)
        received = b""
        for byte in rest:
            connection.send(bytes([byte]))
            with suppress(TimeoutError):
                received = connection.recv(1 << 16)
                break
        connection.settimeout(30)
        return whole(received + drain(connection))


# requests behind others


def late(server: Server, sent: bytes) -> bytes:
    """What comes back for some bytes to who begins to read late."""
    with server.connect(receive_buffer=1 << 16) as connection:
        connection.sendall(sent)
        let_a_deadline_pass(server)
        return drain(connection)


def test_what_stands_unfinished_or_wrong_behind_a_request_does_no_harm_to_its_answer(
    impatient: Server, client: httpx.Client
) -> None:
    expected = client.post("/v1/weights", json=STREAM).content
    stream = request_bytes("POST", "/v1/weights", body(STREAM))

    with ThreadPoolExecutor(len(UNFINISHED)) as pool:
        answers = pool.map(lambda behind: late(impatient, stream + behind), UNFINISHED.values())

    for what, answer in zip(UNFINISHED, answers, strict=True):
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), what
        assert content[: len(expected)] == expected, what
        rest = content[len(expected) :]
        if what.startswith("a whole request"):
            assert rest.startswith(b"HTTP/1.1 200 ")
            rest = rest.partition(b'{"status":"ok"}')[2]
        assert not rest or whole(rest).status_code >= 400, what
    assert "error" not in levels(impatient)


def levels(server: Server) -> set[str]:
    """How bad what a server has logged so far is."""
    return set(re.findall(r'"level": "([a-z]+)"', server.log()))


def test_drawing_stops_when_a_client_leaves_that_has_sent_another_request(impatient: Server) -> None:
    aborted = counted(impatient, "xavier_aborted_total")
    with impatient.connect() as connection:
        connection.sendall(request_bytes("POST", "/v1/weights", body(FORTY_GB)) + get("/livez"))
        assert len(connection.recv(1 << 16)) > 0

    wait_for(lambda: counted(impatient, "xavier_aborted_total") == aborted + 1)
    wait_for(impatient.is_idle)
    assert "error" not in levels(impatient)


def test_drawing_stops_when_a_client_leaves_while_another_request_of_it_waits(impatient: Server) -> None:
    aborted = counted(impatient, "xavier_aborted_total")
    with impatient.connect() as connection:
        connection.sendall(request_bytes("POST", "/v1/statistics", body(FORTY_GB)))
        wait_for(lambda: counted(impatient, "xavier_streams_active") == 1)
        connection.sendall(get("/livez"))
        let_it_be_read(impatient)

    wait_for(lambda: counted(impatient, "xavier_aborted_total") == aborted + 1)
    wait_for(impatient.is_idle)


@pytest.mark.parametrize("rest", [b"", b" " * (6 * MEBIBYTE)], ids=["that stops", "that is too large"])
def test_a_body_behind_its_answer_gets_no_other_answer(impatient: Server, rest: bytes) -> None:
    head, _, _ = chunked().replace(b"application/json", b"text/plain").partition(b"\r\n\r\n")
    with impatient.connect() as connection:
        connection.sendall(head + b"\r\n\r\n1\r\nx\r\n")
        received = bytearray(connection.recv(1 << 16))
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(b"%x\r\n%s" % (10 * MEBIBYTE, rest))
        received += drain(connection)

    assert_problem(whole(bytes(received)), 415)


def test_fields_behind_a_body_are_no_header(impatient: Server) -> None:
    request = chunked(body(SMALL)).removesuffix(b"\r\n") + b"Accept: image/png\r\n\r\n"

    with impatient.connect() as connection:
        connection.sendall(request + get("/livez"))
        answers = drain(connection)

    assert re.findall(rb"HTTP/1\.1 ([0-9]+) ", answers) == [b"200", b"200"]


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_who_asks_for_another_protocol_gets_this_one(impatient: Server, protocol: str) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": protocol}
    requests = [
        request_bytes("GET", "/livez", b"", **upgrade),
        request_bytes("POST", "/v1/plan", body(SMALL), **upgrade),
        *[request_bytes("GET", "/livez", b"", **upgrade)] * 2000,
        get("/livez"),
    ]

    answers = impatient.exchange(b"".join(requests))

    assert re.findall(rb"HTTP/1\.1 ([0-9]+) ", answers) == [b"200"] * 2003


# slow readers


def test_readers_that_take_nothing_are_cut_off_in_the_middle_and_at_the_end_of_an_answer(impatient: Server) -> None:
    cut = counted(impatient, "xavier_refusals_total", reason="stalled-reader")
    short = spec(tensor("w", 700, 700))  # its last part fits into the buffers
    with (
        impatient.connect(receive_buffer=1 << 12) as in_the_middle,
        impatient.connect(receive_buffer=1 << 12) as at_the_end,
    ):
        in_the_middle.sendall(request_bytes("POST", "/v1/weights", body(EIGHT_GIB)))
        at_the_end.sendall(post(short, "/v1/weights"))

        wait_for(lambda: counted(impatient, "xavier_refusals_total", reason="stalled-reader") == cut + 2)
        assert taken_to_the_end(in_the_middle) < 64 * MEBIBYTE
        assert taken_to_the_end(at_the_end) < 700 * 700 * 4
        assert counted(impatient, "xavier_streams_active") == 0


# caps

CAPS: dict[str, tuple[bytes, int]] = {
    "101 fields": (get("/livez", **{f"X-{number}": "x" for number in range(99)}), 431),
    "32 KiB of fields": (get("/livez", X="x" * (32 << 10)), 431),
    "32 KiB of fields of names": (get("/livez", **{"x" * (32 << 10): "x"}), 431),
    "an endless line": (get("/livez", X="x" * (24 * MEBIBYTE))[:-10], 431),
    "101 fields behind a body": (
        chunked(b"{}").removesuffix(b"\r\n") + b"".join(b"X-%d: x\r\n" % number for number in range(101)),
        431,
    ),
    "16 KiB of address": (get("/" + "x" * (16 << 10)), 414),
    "16 KiB of query": (get("/livez?" + "x" * (16 << 10)), 414),
    "an endless address": (b"GET /" + b"x" * (24 * MEBIBYTE), 414),
    "a length of 4 MiB and 1": (post(b" " * (4 * MEBIBYTE + 1)), 413),
    "20 MiB in one chunk": (chunked(b" " * (20 * MEBIBYTE)), 413),
}
WITHIN: dict[str, tuple[bytes, int]] = {
    "100 fields": (get("/livez", **{f"X-{number}": "x" for number in range(98)}), 200),
    "nearly 32 KiB of fields": (get("/livez", X="x" * ((32 << 10) - 100)), 200),
    "16 KiB of address exactly": (get("/" + "x" * ((16 << 10) - 1)), 404),
    "16 KiB of query exactly": (get("/livez?" + "x" * ((16 << 10) - 7)), 200),
    "4 MiB exactly": (post(body(SMALL).ljust(4 * MEBIBYTE)), 200),
    "4 MiB in chunks": (chunked(*[b" " * 65_536] * 63, body(SMALL).ljust(65_536)) + get("/livez"), 200),
}


@pytest.mark.parametrize(("sent", "status"), CAPS.values(), ids=CAPS)
def test_what_is_too_much_is_refused_so_that_the_client_can_read_why(server: Server, sent: bytes, status: int) -> None:
    with server.connect() as connection:
        connection.sendall(sent)  # all of it, before it looks for an answer
        answer = whole(drain(connection))

    assert_problem(answer, status)
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(("sent", "status"), WITHIN.values(), ids=WITHIN)
def test_what_is_just_not_too_much_is_taken(server: Server, sent: bytes, status: int) -> None:
    assert server.exchange(sent).startswith(b"HTTP/1.1 %d " % status)


def test_an_endless_body_is_cut_off_and_the_answer_can_be_read_meanwhile(server: Server) -> None:
    before = server.resident_memory()
    chunk = b"%x\r\n%s\r\n" % (MEBIBYTE, bytes(MEBIBYTE))
    answer, unsent, sent = bytearray(), memoryview(b""), 0
    with server.connect() as connection:
        connection.sendall(chunked().removesuffix(b"0\r\n\r\n"))
        connection.setblocking(False)
        with suppress(ConnectionResetError, BrokenPipeError):
            while sent < 16 * LINGER_BYTES:
                select([connection], [connection], [])
                unsent = unsent or memoryview(chunk)
                with suppress(BlockingIOError):
                    count = connection.send(unsent)
                    unsent, sent = unsent[count:], sent + count
                with suppress(BlockingIOError):
                    answer += connection.recv(1 << 16)

    assert_problem(whole(bytes(answer)), 413)
    assert sent < 2 * LINGER_BYTES
    assert server.resident_memory() - before < 2 * LINGER_BYTES


@pytest.fixture(scope="module")
def capped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with caps of its own."""
    caps = {"connections": 5, "url-bytes": 100, "request-header-bytes": 300, "request-headers": 7, "body-bytes": 1000}
    flags = [word for name, value in caps.items() for word in (f"--max-{name}", str(value))]
    with running_server(tmp_path_factory.mktemp("capped") / "log", *flags) as server:
        yield server


def test_caps_of_the_settings_are_the_caps_of_connections(capped: Server) -> None:
    refused = {
        get("/" + "x" * 100): 414,
        get("/livez", X="x" * 300): 431,
        get("/livez", **{f"X-{number}": "x" for number in range(7)}): 431,
        post(b" " * 1001): 413,
    }

    assert answer_codes(capped, *refused) == list(refused.values())
    assert answer_codes(capped, get("/livez"), post(body(SMALL).ljust(1000))) == [200, 200]


def answer_codes(server: Server, *requests: bytes) -> list[int]:
    return [whole(server.exchange(request)).status_code for request in requests]


# many connections


def test_connections_above_the_cap_are_told_to_come_back_and_find_a_place_later(capped: Server) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(capped.connect()) for _ in range(4)]
        used = stack.enter_context(capped.connect())
        used.sendall(request_bytes("GET", "/livez"))
        assert used.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        for _ in range(30):
            answer = whole(capped.exchange(get("/livez")))
            assert_problem(answer, 503, "service-unavailable")
            assert re.search(rf'"{answer.headers["x-request-id"]}", "status": 503', capped.log())
            assert int(answer.headers["retry-after"]) > 0
        refused = [stack.enter_context(capped.connect()) for _ in range(30)]  # and they stay for as long as they may
        assert all(connection.recv(1 << 16).startswith(b"HTTP/1.1 503 ") for connection in refused)
        used.sendall(get("/v1/layers"))
        assert drain(used).count(b"HTTP/1.1 200 ") == 1  # who is in is served
        wait_for(lambda: capped.exchange(get("/livez")).startswith(b"HTTP/1.1 200 "), LINGER_SECONDS / 2)
        for connection in idle + refused:
            connection.close()

    wait_for(lambda: answer_codes(capped, *[get("/livez")] * 20) == [200] * 20)


def test_a_server_without_descriptors_comes_back(impatient: Server) -> None:
    limits = resource.prlimit(impatient.process.pid, resource.RLIMIT_NOFILE)
    files = open_files(impatient)
    resource.prlimit(impatient.process.pid, resource.RLIMIT_NOFILE, (files + 10, limits[1]))
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(impatient.connect())
        wait_for(impatient.is_idle)  # it does not run in circles

    wait_for(lambda: open_files(impatient) <= files)
    assert answer_codes(impatient, *[get("/livez"), post(SMALL, "/v1/weights")] * 5) == [200] * 10
    resource.prlimit(impatient.process.pid, resource.RLIMIT_NOFILE, limits)


def open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_thousands_of_requests_leave_nothing_behind(impatient: Server) -> None:
    def kept(number: int) -> None:
        """Many requests on a connection, one after another."""
        with impatient.client() as client:
            assert all(client.get("/livez").status_code == 200 for _ in range(number))

    def fresh(number: int) -> None:
        """Many connections with a request each, good and bad."""
        for _ in range(number):
            assert impatient.exchange(get("/livez")).startswith(b"HTTP/1.1 200 ")
            assert impatient.exchange(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
            impatient.connect().close()

    def all_of_them() -> None:
        kept(200)
        fresh(200)

    all_of_them()
    files, memory = open_files(impatient), impatient.resident_memory()
    all_of_them()
    wait_for(lambda: open_files(impatient) <= files)

    assert impatient.resident_memory() - memory < 4 * MEBIBYTE
    wait_for(impatient.is_idle)


def test_a_connection_is_kept_for_many_requests_of_all_kinds(impatient: Server) -> None:
    requests = [request_bytes("GET", "/livez"), post(SMALL).replace(b"Connection: close\r\n", b"")] * 200
    digests = set()
    with impatient.connect() as connection, connection.makefile("rb") as answers:
        for request in requests:
            connection.sendall(request)
            assert answers.readline().startswith(b"HTTP/1.1 200 ")
            fields = dict(line.split(b": ") for line in iter(lambda: answers.readline().rstrip(), b""))
            digests.add(sha256(answers.read(int(fields[b"content-length"]))).digest())

    assert len(digests) == 2


# what was watched meanwhile


def test_a_connection_that_was_used_is_closed_without_a_word_though_it_sends_empty_lines(watched: Watched) -> None:
    assert whole(watched.empty_lines.result()).status_code == 200


def test_a_request_that_began_behind_another_has_its_own_time(watched: Watched) -> None:
    assert watched.slow_second.result().count(b"HTTP/1.1 200 ") == 2


def test_a_reader_that_takes_little_is_not_cut_off(watched: Watched) -> None:
    assert watched.slow_reader.result() >= 5 * (MEBIBYTE // 2)
