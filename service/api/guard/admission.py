"""Admission: how many requests are served at once, and how many may wait.

Drawing and planning have separate places, so that neither waits for the other. Health checks wait for nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import Gauge

from service.api import counters
from service.delivery.turns import Turns
from service.errors import Busy


class Admission:
    """A number of places, and a queue for them in which callers take turns.

    Args:
        places: how many there are.
        queue: how many requests may wait for one. If the queue is full, the latest request of the caller who has most
            in it is turned away, so that nobody can fill it for everyone else.
        waiting: counts the requests that wait.
        active: counts the requests that have a place.
        each: how many places one caller may have; all of them if None.
    """

    def __init__(
        self,
        places: int,
        queue: int,
        waiting: Gauge = counters.QUEUE,
        active: Gauge = counters.STREAMS,
        *,
        each: int | None = None,
    ) -> None:
        self._free = places
        self._each = each or places
        self._held: Counter[str] = Counter()
        self._queue = queue
        self._waiting: Turns[asyncio.Future[bool]] = Turns()
        self._gauges = waiting, active

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, caller: str = "", *, begun: bool = False) -> AsyncIterator[None]:
        """Hold a place for as long as the context lasts; cancelling the wait leaves the queue.

        Args:
            caller: whose turn it takes.
            begun: whether this continues an answer that has begun; it then waits however full the queue is.

        Raises:
            Busy: the queue is full.
        """
        waiting, active = self._gauges
        with waiting.track_inprogress():
            await self._enter(caller, begun=begun)
        try:
            with active.track_inprogress():
                yield
        finally:
            self._leave(caller)

    async def _enter(self, caller: str, *, begun: bool) -> None:
        if self._free > 0 and self._held[caller] < self._each:
            self._take(caller)
            return
        if not begun and len(self._waiting) >= self._queue:
            self._turn_away(caller)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.add(caller, turn)
        try:
            if not await turn:
                raise self._busy()
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():
                self._leave(caller)  # it has just become our turn
            self._waiting.remove(caller, turn)
            raise

    def _turn_away(self, caller: str) -> None:
        """Make room for a caller at the expense of another who has more in the queue."""
        last = self._waiting.drop_for(caller)
        if last is None:
            raise self._busy()
        if not last.done():
            last.set_result(False)

    def _busy(self) -> Busy:
        return Busy(f"{self._queue} requests are waiting for their turn already; come back later")

    def _take(self, caller: str) -> None:
        self._free -= 1
        self._held[caller] += 1

    def _leave(self, caller: str) -> None:
        """Give a place back, and give the free places to the callers whose turn it is."""
        self._free += 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        for owner in self._waiting.owners():
            while self._free and self._held[owner] < self._each and self._waiting.length(owner):
                turn = self._waiting.take_of(owner)
                if not turn.done():
                    self._take(owner)
                    turn.set_result(True)
                    break
