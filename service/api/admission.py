"""Admission: how many may be served at once, and how many may wait for that.

What draws and what plans have places of their own, so that neither waits for the other; health waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import Gauge

from service.api import metrics
from service.errors import Busy


class Admission:
    """Some places, and the queue for them, in which callers take turns however much each of them asks for.

    Args:
        places: how many there are.
        queue: how many may wait for one.
        waiting: counts who waits.
        active: counts who has a place.
    """

    def __init__(
        self, places: int, queue: int, waiting: Gauge = metrics.QUEUE, active: Gauge = metrics.STREAMS
    ) -> None:
        self._free = places
        self._queue = queue
        self._turns: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._gauges = waiting, active

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._turns.values()))

    @asynccontextmanager
    async def place(self, caller: str, *, begun: bool = False) -> AsyncIterator[None]:
        """A place for as long as the context lasts; who is cancelled while waiting leaves the queue.

        Args:
            caller: whose turn it takes.
            begun: whether this goes on with something that has begun, and waits however full the queue is.

        Raises:
            Busy: the queue is full, and nobody has more in it than this caller.
        """
        waiting, active = self._gauges
        with waiting.track_inprogress():
            await self._enter(caller, begun=begun)
        try:
            with active.track_inprogress():
                yield
        finally:
            self._leave()

    async def _enter(self, caller: str, *, begun: bool) -> None:
        if self._free > 0:
            self._free -= 1
            return
        if not begun and self.waiting >= self._queue:
            self._make_room(caller)
        turn = asyncio.get_running_loop().create_future()
        self._turns.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.done() or turn.cancelled():
                self._forget(caller, turn)
            elif turn.exception() is None:
                self._leave()  # it was our turn just now
            raise

    def _make_room(self, caller: str) -> None:
        """Turn away the last of whoever waits with the most, if that is more than this caller would have."""
        busy = Busy(f"{self._queue} requests are waiting for their turn already")
        greediest = max(self._turns, key=lambda name: len(self._turns[name]), default=caller)
        if len(self._turns.get(greediest, ())) <= len(self._turns.get(caller, ())) + 1:
            raise busy
        turn = self._turns[greediest].pop()
        if not turn.done():
            turn.set_exception(busy)

    def _leave(self) -> None:
        """Give the place to the next caller, who then is the last in turn."""
        while self._turns:
            caller, turns = self._turns.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._turns[caller] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _forget(self, caller: str, turn: asyncio.Future[None]) -> None:
        turns = self._turns.get(caller, deque())
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._turns.pop(caller, None)
