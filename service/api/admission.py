"""Admission: how many answers may draw at once, how many may wait for that, and how much a caller may have.

What draws nothing (plans, HEAD, 304, health) is never counted here, so it never waits behind what draws.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import ceil
from time import monotonic
from typing import Final

from service.api import metrics
from service.errors import Busy, OverBudget
from service.turns import Turns

MINUTE: Final = 60.0


class Admission:
    """The places of those who draw, and the queue for them, in which callers take turns.

    Args:
        places: how many draw at once; they share the threads chunk by chunk.
        queue: how many may wait for a place. Where it is full, the last who came of the caller who has most in it is
            turned away, so that nobody can fill it for all others.
    """

    def __init__(self, places: int, queue: int) -> None:
        self._free = places
        self._queue = queue
        self._waiting: Turns[asyncio.Future[bool]] = Turns()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, caller: str = "") -> AsyncIterator[None]:
        """A place for as long as the context lasts; a caller that is cancelled while it waits leaves the queue.

        Raises:
            Busy: the queue is full.
        """
        with metrics.QUEUE.track_inprogress():
            await self._enter(caller)
        try:
            with metrics.STREAMS.track_inprogress():
                yield
        finally:
            self._leave()

    async def _enter(self, caller: str) -> None:
        if self._free > 0:
            self._free -= 1
            return
        if len(self._waiting) >= self._queue:
            self._turn_away(caller)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.add(caller, turn)
        try:
            if not await turn:
                raise self._busy()
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():
                self._leave()  # it was our turn just now
            self._waiting.remove(caller, turn)
            raise

    def _turn_away(self, caller: str) -> None:
        """Make room for a caller, at the cost of another who has more."""
        last = self._waiting.drop_for(caller)
        if last is None:
            raise self._busy()
        if not last.done():
            last.set_result(False)

    def _busy(self) -> Busy:
        return Busy(f"{self._queue} answers are waiting to be drawn already")

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.take()
            if not turn.done():
                turn.set_result(True)
                return
        self._free += 1


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
