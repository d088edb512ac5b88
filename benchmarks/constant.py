"""A server with nothing to compute: it sends one buffer of a chunk's size again and again."""

from __future__ import annotations

import uvicorn
from measuring import GI
from starlette.types import Receive, Scope, Send

from service.formats.safetensors import CHUNK_BYTES

CHUNK = memoryview(bytes(CHUNK_BYTES))


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with 1 GiB."""
    if scope["type"] != "http":
        return
    await receive()
    headers = [(b"content-length", str(GI).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for left in range(GI // CHUNK_BYTES - 1, -1, -1):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": left > 0})


if __name__ == "__main__":
    uvicorn.run(application, port=0, loop="uvloop", http="httptools", lifespan="off", access_log=False)
