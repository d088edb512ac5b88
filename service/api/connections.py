"""Connections: uvicorn's HTTP protocol, tuned for readers on the same host."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.formats.safetensors import CHUNK_BYTES

NEAR_SEND_BUFFER: Final = 256 << 10
"""Bytes of kernel buffer towards the same host: there is no distance to bridge, and so little stays in the cache."""
RESUME_AT: Final = CHUNK_BYTES * 9 // 8
PAUSE_AT: Final = CHUNK_BYTES * 5 // 4
"""Bytes in the transport between which the next chunk is asked for: one waits behind the one that is being written,
so that the loop writes without the interpreter's lock, which the drawing threads need."""


class Connection(HttpToolsProtocol):
    """One connection; towards other hosts it is uvicorn's own, whose buffers the kernel sizes by the distance."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Size the buffers once the peer is known."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if peer and ip_address(peer[0]).is_loopback:
            transport.set_write_buffer_limits(high=PAUSE_AT, low=RESUME_AT)
            transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, NEAR_SEND_BUFFER)
