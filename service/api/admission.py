"""Admission: how many may be served at once, how many may wait for that, and how much a caller may have.

What draws and what plans have places of their own, so that neither waits for the other; health waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import ceil
from time import monotonic
from typing import Final

from prometheus_client import Gauge

from service.api import metrics
from service.errors import Busy, OverBudget

MINUTE: Final = 60.0


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


class Budget:
    """Bytes that a caller may have within any minute, counted in this process.

    Args:
        bytes_per_minute: 0 for any number.
        clock: gives seconds, and never goes back.
    """

    def __init__(self, bytes_per_minute: int, clock: Callable[[], float] = monotonic) -> None:
        self._most = bytes_per_minute
        self._clock = clock
        self._taken: deque[tuple[float, str, int]] = deque()
        self._totals: Counter[str] = Counter()

    def take(self, caller: str, nbytes: int) -> None:
        """Take some bytes off a caller's budget.

        Raises:
            OverBudget: it has not as many left.
        """
        if not self._most:
            return
        now = self._clock()
        self._forget(now - MINUTE)
        left = self._most - self._totals[caller]
        if nbytes > left:
            wait = max(1, ceil(self._when_free(caller, nbytes - left, now) - now))
            message = f"at most {self._most} bytes a minute; {left} are left, and this asks for {nbytes}"
            way_out = (
                ": ask for a range" if nbytes > self._most else f": come back in {wait} seconds, or ask for a range"
            )
            raise OverBudget(message + way_out, wait)
        self._taken.append((now, caller, nbytes))
        self._totals[caller] += nbytes

    def _forget(self, since: float) -> None:
        """Give back what was taken until then."""
        while self._taken and self._taken[0][0] <= since:
            _, caller, nbytes = self._taken.popleft()
            self._totals[caller] -= nbytes
            if not self._totals[caller]:
                del self._totals[caller]

    def _when_free(self, caller: str, nbytes: int, now: float) -> float:
        """When a caller has some bytes more than now; a minute from now where it never has."""
        for time, other, taken in self._taken:
            nbytes -= taken if other == caller else 0
            if nbytes <= 0:
                return time + MINUTE
        return now + MINUTE
