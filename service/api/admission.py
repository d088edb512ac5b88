"""Admission: how many answers may draw at once, and how many may wait for that.

What draws nothing (plans, HEAD, 304, health) is never counted here, so it never waits behind what draws.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.api import metrics
from service.errors import Busy


class Admission:
    """The places of those who draw, and the queue for them.

    Args:
        places: how many draw at once; they share the threads chunk by chunk.
        queue: how many may wait for a place.
    """

    def __init__(self, places: int, queue: int) -> None:
        self._free = places
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place for as long as the context lasts; a caller that is cancelled while it waits leaves the queue.

        Raises:
            Busy: the queue is full.
        """
        with metrics.QUEUE.track_inprogress():
            await self._enter()
        try:
            with metrics.STREAMS.track_inprogress():
                yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        if len(self._waiting) >= self._queue:
            raise Busy(f"{self._queue} answers are waiting to be drawn already")
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()  # it was our turn just now
            elif turn in self._waiting:  # otherwise whoever left meanwhile has passed us over
                self._waiting.remove(turn)
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
