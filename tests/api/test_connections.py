"""Connections from the same host get small kernel buffers and one chunk in waiting; others are uvicorn's own."""

from __future__ import annotations

import asyncio
import socket
from threading import Thread
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from service.api.connections import NEAR_SEND_BUFFER, PAUSE_AT, RESUME_AT, Connection
from service.formats.safetensors import CHUNK_BYTES


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
