"""Ordered delivery: work is done by a pool of threads, a bounded number of pieces ahead of whoever takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, closing
from functools import partial
from threading import Barrier
from typing import Final, Protocol, TypeVar

from service.analysis.statistics import Moments, Summary, batches, measure, summarise
from service.errors import BrokenPlatform
from service.plan import Plan
from service.stream.known_answers import check_known_answers

Result = TypeVar("Result")
CHECK_SECONDS: Final = 60.0


class Readable(Protocol):
    """A file whose bytes can be had in any order."""

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """A byte range cut into what is read at once."""

    def read(self, start: int, stop: int) -> memoryview:
        """Bytes start to stop - 1, in memory that is never written again."""


class DrawingPool:
    """The threads that draw. All streams share them chunk by chunk, in the order of asking.

    Args:
        threads: how many; each keeps about 12 MB of working memory.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="draw")

    def check(self) -> None:
        """Check the known answers in every thread.

        Raises:
            BrokenPlatform: a thread does not compute them.
        """
        barrier = Barrier(self.threads)  # keeps each thread until all have one check, so none gets two
        checks = [self._executor.submit(_check_together, barrier) for _ in range(self.threads)]
        errors = [error for check in checks if (error := check.exception()) is not None]
        for error in errors:
            raise error if isinstance(error, BrokenPlatform) else BrokenPlatform(f"the check itself failed: {error!r}")

    def ordered(self, tasks: Iterable[Callable[[], Result]]) -> Iterator[Result]:
        """The results of some tasks, in their order, for a caller that may block."""
        with closing(self._futures(tasks)) as futures:
            for future in futures:
                yield future.result()

    async def ordered_async(self, tasks: Iterable[Callable[[], Result]]) -> AsyncGenerator[Result, None]:
        """The results of some tasks, in their order; what was not begun is dropped when the taker leaves."""
        with closing(self._futures(tasks)) as futures:
            for future in futures:
                yield await asyncio.wrap_future(future)

    def read(self, file: Readable, start: int, stop: int) -> Iterator[memoryview]:
        """A byte range of a file, chunk by chunk, for a caller that may block."""
        return self.ordered(_reads(file, start, stop))

    def stream(self, file: Readable, start: int, stop: int) -> AsyncGenerator[memoryview, None]:
        """A byte range of a file, chunk by chunk."""
        return self.ordered_async(_reads(file, start, stop))

    def measured(self, plan: Plan) -> list[Summary]:
        """The measured statistics of every tensor, in model order, for a caller that may block."""
        return summarise(plan.tensors, [moments for batch in self.ordered(_measurements(plan)) for moments in batch])

    async def measure(self, plan: Plan) -> list[Summary]:
        """The measured statistics of every tensor, in model order; stops when the caller is cancelled."""
        async with aclosing(self.ordered_async(_measurements(plan))) as batches_done:
            return summarise(plan.tensors, [moments async for batch in batches_done for moments in batch])

    async def run(self, task: Callable[[], Result]) -> Result:
        """The result of one piece of work."""
        return await asyncio.wrap_future(self._executor.submit(task))

    def close(self) -> None:
        """Let the threads end; what was not begun is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _futures(self, tasks: Iterable[Callable[[], Result]]) -> Generator[Future[Result], None, None]:
        ahead: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                ahead.append(self._executor.submit(task))
                if len(ahead) > self.threads:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            for future in ahead:
                future.cancel()


def _check_together(barrier: Barrier) -> None:
    try:
        check_known_answers()
    finally:
        barrier.wait(CHECK_SECONDS)


def _reads(file: Readable, start: int, stop: int) -> Iterator[Callable[[], memoryview]]:
    return (partial(file.read, first, last) for first, last in file.spans(start, stop))


def _measurements(plan: Plan) -> Iterator[Callable[[], Sequence[Moments]]]:
    return (partial(measure, plan.tensors, batch) for batch in batches(plan.tensors))
