"""Connections: uvicorn's HTTP protocol with deadlines, caps, and the checks that RFC 9112 requires of a server.

This is tested against the pinned uvicorn and httptools. A request that is refused here never reaches the application.
It is still answered with a problem document, and then the connection is closed (RFC 9112 section 9.6).
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api import counters
from service.api.guard.observation import REQUEST_ID, request_id_of
from service.api.http.problems import MEDIA_TYPE, RequestRefused, kind_of, problem, title_of
from service.formats.safetensors import CHUNK_BYTES
from service.limits import ConnectionLimits

NEAR_SEND_BUFFER: Final = 256 << 10
"""The kernel's send buffer towards the same host, in bytes: without a distance to bridge, it can fit the cache."""
RESUME_AT: Final = CHUNK_BYTES * 9 // 8
PAUSE_AT: Final = CHUNK_BYTES * 5 // 4
"""Bytes in the transport's buffer below which sending resumes, and above which it pauses. One chunk waits behind the
one that is being written, so the loop writes without the interpreter's lock, which the drawing threads need."""
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 32 << 20
"""How long, and how much, a refused client may go on sending before the connection is cut, so that it can read why."""
LOOKS_IN_A_STALL: Final = 12
LEFT: Final = (7, 8)
"""Linux's numbers of the TCP states CLOSE and CLOSE_WAIT: the other side has gone."""
RETRY_AFTER: Final = 5
_log = logging.getLogger("xavier.connections")
_URL_TOO_LONG: Final = "the URL of a request may have at most {} bytes"
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


class Stage(Enum):
    """The part of a request that is arriving."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class Connection(HttpToolsProtocol):
    """One connection, with the caps that the application's lifespan has put into its state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Set the sizes of the buffers for the peer, and begin to wait for a request."""
        super().connection_made(transport)
        self.caps: ConnectionLimits = self.app_state.get("caps", ConnectionLimits())
        self._deadline: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        self._reason: RequestRefused | None = None
        self._refused = False
        self._stage = Stage.NOTHING
        self._received, self._fields, self._field_bytes, self._content = 0, 0, 0, 0
        self._unsent, self._looks_without_progress = 0, 0
        _tune(transport)
        self._wait()
        if len(self.connections) > self.caps.connections:
            self.connections.discard(self)  # so that refused connections do not keep others out
            self._refuse(
                RequestRefused(503, f"at most {self.caps.connections} connections are served at once; come back later")
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, and tell the running answer, which is not always that of the latest request."""
        for timer in (self._deadline, self._look):
            if timer is not None:
                timer.cancel()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data, and refuse whatever is not HTTP or is too much."""
        self._received += len(data)
        if self._refused:
            if self._received > LINGER_BYTES:
                self.flow.pause_reading()
            return
        try:
            self._feed(memoryview(data))
            self._check_unfinished()
        except RequestRefused as refusal:
            self._refuse(refusal)
        except httptools.HttpParserInvalidMethodError:
            known = RequestRefused(501, "the request method is not supported") if data[:1].isalpha() else None
            self._refuse(known or RequestRefused(400, "the request is not HTTP"))
        except httptools.HttpParserError:
            self._refuse(self._reason or RequestRefused(400, "the request is not valid HTTP"))

    def on_message_begin(self) -> None:
        """Start to count the bytes and fields of a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._stage = Stage.HEAD
        self._received, self._fields, self._field_bytes, self._content = 0, 0, 0, 0
        self._wait()

    def on_url(self, url: bytes) -> None:
        """Refuse a long URL before all of it has arrived."""
        super().on_url(url)
        if len(self.url) > self.caps.url_bytes:
            self._throw(414, _URL_TOO_LONG.format(self.caps.url_bytes))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse too many or too long fields; trailer fields count, but are not merged (RFC 9110 section 6.5.1)."""
        if self._stage is Stage.HEAD:
            super().on_header(name, value)
        self._fields += 1
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > self.caps.header_bytes or self._fields > self.caps.header_fields:
            fields, nbytes = self.caps.header_fields, self.caps.header_bytes
            self._throw(431, f"a request may have at most {fields} header fields, with {nbytes} bytes in all")

    def on_headers_complete(self) -> None:
        """Refuse what the header alone shows to be wrong, before the client is told to continue."""
        if self.parser.get_method() == b"CONNECT":
            self._throw(501, "this server is not a proxy")
        if self.parser.should_upgrade():
            return
        self._check_version()
        self._check_host()
        self._check_coding()
        self._check_expectation()
        self._check_length()
        if self.url == b"*":
            self.url = b"/"  # OPTIONS * asks about the server as a whole
        super().on_headers_complete()
        self._stage = Stage.BODY
        self._wait()

    def on_body(self, body: bytes) -> None:
        """Refuse a body that grows too large."""
        super().on_body(body)
        self._content += len(body)
        if self._content > self.caps.body_bytes:
            self._throw(413, f"a request body may have at most {self.caps.body_bytes} bytes")

    def on_message_complete(self) -> None:
        """Stop the deadline: nothing more is expected."""
        if self.parser.should_upgrade():
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._stage = Stage.NOTHING
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Keep the idle timer off while a request is arriving, which has its own deadline."""
        super().on_response_complete()
        if self._stage is not Stage.NOTHING:
            self._unset_keepalive_if_required()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)
        if self._look is None:
            self._look_later()

    def _feed(self, data: memoryview) -> None:
        """Parse, and ignore requests to upgrade, which some clients always send (RFC 9110 section 7.8)."""
        begin = 0
        while begin < len(data):
            try:
                self.parser.feed_data(data[begin:])
                begin = len(data)
            except httptools.HttpParserUpgrade as upgrade:
                begin += upgrade.args[0]
                head = self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
                self.parser.feed_data(head)

    def _head_without_upgrade(self) -> bytes:
        """The header just read without Upgrade, with which the parser would take the body for the other protocol's."""
        first = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        lines = [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([first, *lines, b"", b""])

    def _throw(self, status: int, detail: str) -> NoReturn:
        """Raise from a callback of the parser, which only reports that there was an error, and remember the refusal."""
        self._reason = RequestRefused(status, detail)
        raise self._reason

    def _check_unfinished(self) -> None:
        """Count unfinished fields and URLs as well; the callbacks only see them once they are complete."""
        if self._stage is not Stage.HEAD or self._received <= self.caps.url_bytes + self.caps.header_bytes:
            return
        if self.headers:
            raise RequestRefused(431, f"the header fields of a request may have at most {self.caps.header_bytes} bytes")
        raise RequestRefused(414, _URL_TOO_LONG.format(self.caps.url_bytes))

    def _check_version(self) -> None:
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            self._throw(400, "the HTTP version must be 1.1 or 1.0")

    def _check_host(self) -> None:
        """RFC 9112 section 3.2: a request has exactly one valid Host, which HTTP/1.0 may omit."""
        hosts = [value for name, value in self.headers if name == b"host"]
        fewest = 0 if self.parser.get_http_version() == "1.0" else 1
        if not fewest <= len(hosts) <= 1 or not all(_HOST.fullmatch(host) for host in hosts):
            self._throw(400, "a request must have exactly one Host field, with a valid host")

    def _check_coding(self) -> None:
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self.headers):
            self._throw(501, "the only supported transfer coding is chunked")

    def _check_expectation(self) -> None:
        if any(name == b"expect" and value.lower() != b"100-continue" for name, value in self.headers):
            self._throw(417, "the only supported expectation is 100-continue")

    def _check_length(self) -> None:
        lengths = [value for name, value in self.headers if name == b"content-length"]
        if any(int(length) > self.caps.body_bytes for length in lengths):
            self._throw(413, f"a request body may have at most {self.caps.body_bytes} bytes")

    def _wait(self) -> None:
        """Start the deadline for the end of the header, or of the body."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self.caps.receive_seconds, self._on_deadline)

    def _on_deadline(self) -> None:
        if self.flow.read_paused:
            self._wait()  # it is the server that does not read
        elif self._stage is Stage.NOTHING:
            self.transport.close()
        else:
            self._refuse(RequestRefused(408, f"a request must arrive within {self.caps.receive_seconds:g} seconds"))

    def _refuse(self, refusal: RequestRefused) -> None:
        """Accept nothing more, and say why, unless earlier answers are still on their way."""
        self._refused, self._received = True, 0
        counters.REFUSALS.labels(kind_of(title_of(refusal.status_code))).inc()
        request_id = request_id_of({"headers": []} if self._stage is Stage.NOTHING else {**self.scope})
        told = {"request_id": request_id, "status": refusal.status_code, "reason": refusal.detail}
        _log.info("refused", extra={"fields": told})
        if self._deadline is not None:
            self._deadline.cancel()
        if self.transport.is_closing():
            return
        last = self._last_answer()
        if last is not None:
            last.keep_alive = False
            return
        if self._stage is not Stage.BODY or not self.cycle.response_complete:
            self.transport.write(_answer(refusal, request_id, self.server_state.default_headers))
        self._linger()

    def _last_answer(self) -> RequestResponseCycle | None:
        """The last answer to send before closing, if any; the application does not answer the arriving request."""
        if self._stage is Stage.BODY and self.pipeline:
            self.pipeline.popleft()
            return self.pipeline[0][0] if self.pipeline else self._running
        running = self._running
        if running is None or running.response_complete:
            return None
        if self._stage is not Stage.BODY or running.response_started:
            return self.pipeline[0][0] if self.pipeline else running
        running.disconnected = True
        running.message_event.set()
        return None

    def _linger(self) -> None:
        """Close for writing, and read on for a while: a reset would discard what the client has not read yet."""
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _look_later(self) -> None:
        self._look = self.loop.call_later(self.caps.stall_seconds / LOOKS_IN_A_STALL, self._look_at_reader)

    def _look_at_reader(self) -> None:
        """Cut a connection whose client has read nothing for too long, or has left while the server did not read."""
        if self.flow.read_paused and _has_left(self.transport):
            self.transport.abort()
            return
        unsent = self.transport.get_write_buffer_size()
        still = bool(unsent) and unsent == self._unsent
        self._looks_without_progress = self._looks_without_progress + 1 if still else 0
        self._unsent = unsent
        if self._looks_without_progress >= LOOKS_IN_A_STALL:
            _log.info("cut", extra={"fields": {"reason": "the client read nothing", "unsent": unsent}})
            counters.REFUSALS.labels("stalled-reader").inc()
            self.transport.abort()
        elif unsent or not self.cycle.response_complete or self.pipeline:
            self._look_later()
        else:
            self._look = None


def _tune(transport: asyncio.Transport) -> None:
    """Use small buffers towards clients on the same host; for others, the kernel chooses sizes by the distance."""
    peer = transport.get_extra_info("peername")
    if peer and ip_address(peer[0]).is_loopback:
        transport.set_write_buffer_limits(high=PAUSE_AT, low=RESUME_AT)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NEAR_SEND_BUFFER)


def _has_left(transport: asyncio.Transport) -> bool:
    """Whether the other side has closed, if the kernel tells; without reading, the server would not find out."""
    with suppress(AttributeError, OSError):  # on other systems, and for other kinds of sockets
        state: bytes = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return state[0] in LEFT
    return False


def _answer(refusal: RequestRefused, request_id: str, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """A problem document with its header, as it goes over the wire."""
    title = title_of(refusal.status_code)
    content = json.dumps(problem(refusal.status_code, kind_of(title), title, refusal.detail)).encode()
    fields = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(content)),
        "cache-control": "no-store",
        "connection": "close",
        REQUEST_ID.lower(): request_id,
    }
    if refusal.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        fields["retry-after"] = str(RETRY_AFTER)
    lines = [f"HTTP/1.1 {refusal.status_code} {title}".encode()]
    lines += [name + b": " + value for name, value in default_headers]
    lines += [f"{name}: {value}".encode() for name, value in fields.items()]
    return b"\r\n".join([*lines, b"", content])
