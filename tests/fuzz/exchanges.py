"""Requests as bytes on a loopback socket, their answers, and what each costs the server."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpx

from tests.api.answers import Contract
from tests.api.servers import Server

SECONDS: Final = 30.0
"""After which an answer counts as hanging."""
SHOWN: Final = 600
MOST_LISTED: Final = 5
MEGABYTE: Final = 1_000_000


class Wrong(AssertionError):
    """An answer that should be another one."""


@dataclass(frozen=True)
class Request:
    """A request, sent as it is.

    Attributes:
        target: path and query.
        fields: names and values of the header; Host, Content-Length and Connection are added.
    """

    method: str
    target: str
    body: bytes = b""
    fields: tuple[tuple[str, bytes], ...] = ()

    def raw(self) -> bytes:
        """What goes over the wire."""
        lines = [f"{self.method} {self.target} HTTP/1.1".encode("utf-8", "surrogateescape"), b"Host: localhost"]
        lines += [name.encode() + b": " + value for name, value in self.fields]
        given = {name.lower() for name, _ in self.fields}
        if self.method == "POST" or self.body:
            if not given & {"content-length", "transfer-encoding"}:
                lines.append(b"Content-Length: %d" % len(self.body))
            if "content-type" not in given:
                lines.append(b"Content-Type: application/json")
        return b"\r\n".join([*lines, b"Connection: close", b"", b""]) + self.body


class Bound(NamedTuple):
    """The most that a request may cost: bytes of memory, and seconds of processor time."""

    memory: int = 150 * MEGABYTE
    cpu: float = 1.0

    def plus(self, memory: float, cpu: float) -> Bound:
        """A wider one."""
        return Bound(self.memory + int(memory), self.cpu + cpu)


REFUSING: Final = Bound()
"""For reading, validating, refusing and planning."""


class Cost(NamedTuple):
    """What a request took, as a share of its bound: compared by that."""

    share: float
    took: str
    label: str
    case: int
    sent: bytes


@dataclass
class Worst:
    """The requests that came nearest to their bound."""

    costs: list[Cost] = field(default_factory=list)
    seen: int = 0

    def add(self, cost: Cost) -> None:
        """Keep it, if it is one of them."""
        self.seen += 1
        self.costs = heapq.nlargest(MOST_LISTED, [*self.costs, cost])


@dataclass
class Client:
    """Sends requests one after another, holds each answer to the OpenAPI document, and measures each.

    Attributes:
        case: of which the requests are.
        sent: the requests of that case.
        over: what they took beyond their bounds.
    """

    server: Server
    contract: Contract
    case: int = 0
    sent: list[bytes] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    memory: Worst = field(default_factory=Worst)
    cpu: Worst = field(default_factory=Worst)

    def begin(self, case: int) -> None:
        """What follows is of another case."""
        self.case = case
        self.sent.clear()
        self.over.clear()

    def ask(self, request: Request, bound: Bound = REFUSING) -> httpx.Response:
        """The answer to a request.

        Raises:
            Wrong: there is none in time, or not the one that the document has.
        """
        response = self.exchange(request.raw(), request.method, request.target, bound)
        if response is None:
            raise Wrong(f"{request.method} {request.target[:80]}: the connection was closed without an answer")
        try:
            self.contract.check(response)
        except AssertionError as error:
            raise Wrong(f"{request.method} {request.target[:80]}: {error}") from error
        return response

    def exchange(self, raw: bytes, method: str, target: str, bound: Bound = REFUSING) -> httpx.Response | None:
        """The answer to some bytes; None where the server just closes."""
        self.sent.append(raw)
        resting, before = self._reset_peak(), self.server.cpu_seconds()
        try:
            return self._answer(raw, method, target)
        finally:
            if self.server.process.poll() is None:
                self._account(raw, self.server.peak_memory() - resting, self.server.cpu_seconds() - before, bound)

    def _answer(self, raw: bytes, method: str, target: str) -> httpx.Response | None:
        with closing(self.server.connect()) as connection:
            connection.settimeout(SECONDS)
            try:
                with suppress(BrokenPipeError, ConnectionResetError):  # it may answer, and close, before it has all
                    connection.sendall(raw)
                answer = HTTPResponse(connection, method=method)
                answer.begin()
                content = answer.read()
            except TimeoutError:
                raise Wrong(f"no answer within {SECONDS} s") from None
            except (HTTPException, ConnectionResetError):
                return None
        return httpx.Response(
            answer.status, headers=_fields(answer.getheaders()), content=content, request=_sent(method, target)
        )

    def _reset_peak(self) -> int:
        """What is resident now, from which the peak is counted again."""
        with suppress(OSError):
            Path(f"/proc/{self.server.process.pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM
        return self.server.resident_memory()

    def _account(self, raw: bytes, memory: int, cpu: float, bound: Bound) -> None:
        for worst, share, took in (
            (self.memory, memory / bound.memory, f"{memory / MEGABYTE:.0f} of {bound.memory / MEGABYTE:.0f} MB"),
            (self.cpu, cpu / bound.cpu, f"{cpu:.2f} of {bound.cpu:.2f} s CPU"),
        ):
            worst.add(Cost(share, took, shortened(raw, 100), self.case, raw))
            if share > 1:
                self.over.append(f"{took}: {shortened(raw, 100)}")


def _fields(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without what has been undone in reading."""
    return [(name, value) for name, value in fields if name.lower() != "transfer-encoding"]


def _sent(method: str, target: str) -> httpx.Request:
    """What the contract is asked about: the path alone."""
    try:
        return httpx.Request(method, f"http://localhost{urlsplit(target).path}")
    except (httpx.InvalidURL, ValueError):
        return httpx.Request(method, "http://localhost/")


def query(options: Mapping[str, object]) -> str:
    """Options as a query, with its question mark."""
    return f"?{httpx.QueryParams({name: str(value) for name, value in options.items()})}" if options else ""


def shortened(raw: bytes, most: int = SHOWN) -> str:
    """What was sent, its middle left out."""
    if len(raw) <= most:
        return repr(raw)
    return f"{raw[: most // 2]!r} … {len(raw) - most // 2 * 2} bytes … {raw[-(most // 2) :]!r}"
