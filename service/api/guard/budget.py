"""Budgets: how many bytes a caller may have per minute, counted by this process or in a Redis that several share.

A minute is a fixed window that begins with the caller's first byte. A moving window would keep an entry for each byte.
A sliding-window counter allows as much in the worst minute, but makes callers who have used everything wait for two.
"""

from __future__ import annotations

import asyncio
import logging
from math import ceil
from time import monotonic, time
from typing import Final

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from redis.asyncio import BlockingConnectionPool

from service.api import counters
from service.errors import OverBudget

CONNECTIONS: Final = 16
"""Most connections to Redis; requests wait for a free one."""
ANSWER_SECONDS: Final = 1.0
"""How long Redis may take to answer."""
AGAIN_SECONDS: Final = 5.0
"""How long a Redis that did not answer is left alone, so that not every request waits for it."""
ROUNDED: Final = 0.5
"""Redis gives the end of a window to the nearest second; this is added so that nobody comes back too early."""
_log = logging.getLogger("xavier")


class Budget:
    """The bytes that each caller may have within a window.

    While the Redis that keeps the counts does not answer, the process counts by itself: there is always a budget, and
    no request fails for want of Redis.

    Args:
        nbytes: how many; 0 sets no limit.
        redis: the URL of the Redis that keeps the counts; None if the process does.
        window: the window, as the limit class of the library.
    """

    def __init__(
        self, nbytes: int, redis: str | None = None, window: type[RateLimitItem] = RateLimitItemPerMinute
    ) -> None:
        self._limit = window(nbytes)
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._pool: BlockingConnectionPool | None = None
        self._shared: FixedWindowRateLimiter | None = None
        self._ask_again = monotonic()
        if redis is not None:
            self._pool = BlockingConnectionPool.from_url(redis, max_connections=CONNECTIONS)
            self._shared = FixedWindowRateLimiter(_storage(redis, self._pool))

    async def take(self, caller: str, nbytes: int) -> None:
        """Deduct some bytes from a caller's budget.

        Raises:
            OverBudget: the caller has fewer bytes left.
        """
        if self._limit.amount and not await self._taken_from_shared(caller, nbytes):
            await self._take(self._own, caller, nbytes)

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._pool is not None:
            await self._pool.aclose()

    async def _taken_from_shared(self, caller: str, nbytes: int) -> bool:
        """Deduct the bytes in Redis; returns whether Redis keeps the counts and has answered."""
        if self._shared is None or monotonic() < self._ask_again:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._take(self._shared, caller, nbytes)
        except (StorageError, TimeoutError) as error:
            self._leave_alone(error)
            return False
        return True

    async def _take(self, counts: FixedWindowRateLimiter, caller: str, nbytes: int) -> None:
        """Test first, because a hit counts even what it refuses; it still decides a race for the last bytes."""
        for step in (counts.test, counts.hit):
            if not await step(self._limit, caller, cost=nbytes):
                end, left = await counts.get_window_stats(self._limit, caller)
                raise self._over(nbytes, left, end - time())

    def _over(self, nbytes: int, left: int, seconds: float) -> OverBudget:
        most, wait = self._limit.amount, min(ceil(seconds + ROUNDED), self._limit.get_expiry())
        way_out = "ask for less at once" if nbytes > most else f"come back in {wait} seconds, or ask for less"
        way_out += ", by ranges; a matrix that must be drawn whole counts in full"
        rule = f"at most {most} bytes a {self._limit.GRANULARITY.name}"
        return OverBudget(f"{rule}; {left} are left, and this asks for {nbytes}: {way_out}", wait)

    def _leave_alone(self, error: Exception) -> None:
        self._ask_again = monotonic() + AGAIN_SECONDS
        counters.UNSHARED.inc()
        reason = str(error.storage_error) if isinstance(error, StorageError) else f"no answer in {ANSWER_SECONDS} s"
        _log.warning("budgets are counted by each process for %s s, because Redis failed: %s", AGAIN_SECONDS, reason)


def _storage(url: str, pool: BlockingConnectionPool) -> RedisStorage:
    return RedisStorage(
        url,
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix="xavier",
        connection_pool=pool,  # type: ignore[arg-type]  # documented, but not among the types
    )
