"""Ordered delivery: work is done by a pool of threads, a bounded number of pieces ahead of whoever takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial
from threading import Barrier
from typing import Any, Final, Generic, Protocol, TypeVar

from service.analysis.statistics import Moments, Summary, batches, measure, summarise
from service.errors import BrokenPlatform
from service.initializers.known_answers import check_known_answers
from service.plan import Plan, TensorPlan

Produced = TypeVar("Produced")
CHECK_SECONDS: Final = 60.0


class Readable(Protocol):
    """A file whose bytes can be had in any order."""

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """A byte range cut into what is read at once."""

    def wholes(self, start: int, stop: int) -> Sequence[Callable[[], object]]:
        """What must be drawn before a byte range can be, because more depends on it."""

    def read(self, start: int, stop: int) -> memoryview:
        """Bytes start to stop - 1, in memory that is never written again."""


@dataclass(frozen=True, slots=True)
class Task(Generic[Produced]):
    """A piece of work, and what must be done before, which may take seconds.

    Attributes:
        run: the work.
        before: what the work would otherwise wait for.
    """

    run: Callable[[], Produced]
    before: Sequence[Callable[[], object]] = ()


class DrawingPool:
    """The threads that draw. All streams share them chunk by chunk, in the order of asking.

    Args:
        threads: how many; each keeps about 12 MB of working memory.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="draw")
        self._whole = ThreadPoolExecutor(1, thread_name_prefix="whole")

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

    def ordered(self, tasks: Iterable[Task[Produced]]) -> Iterator[Produced]:
        """The results of some tasks, in their order, for a caller that may block."""
        with closing(self._futures(tasks)) as futures:
            for future in futures:
                yield future.result()

    async def ordered_async(self, tasks: Iterable[Task[Produced]]) -> AsyncGenerator[Produced, None]:
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

    async def run(self, task: Task[Produced]) -> Produced:
        """The result of one piece of work."""
        return await asyncio.wrap_future(self._submit(task))

    def close(self) -> None:
        """Let the threads end; what was not begun is dropped."""
        self._whole.shutdown(wait=True, cancel_futures=True)
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _futures(self, tasks: Iterable[Task[Produced]]) -> Generator[Future[Produced], None, None]:
        ahead: deque[Future[Produced]] = deque()
        try:
            for task in tasks:
                ahead.append(self._submit(task))
                if len(ahead) > self.threads:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            for future in ahead:
                future.cancel()

    def _submit(self, task: Task[Produced]) -> Future[Produced]:
        """The outcome of a task, which takes no thread of others while it waits for what must be done before."""
        if not task.before:
            return self._executor.submit(task.run)
        outcome: Future[Produced] = Future()
        before = self._whole.submit(_unless_cancelled, outcome, task.before)
        before.add_done_callback(partial(self._go_on, task, outcome))
        return outcome

    def _go_on(self, task: Task[Produced], outcome: Future[Produced], before: Future[None]) -> None:
        if before.cancelled():
            outcome.cancel()
        if not outcome.set_running_or_notify_cancel():
            return
        if error := before.exception():
            outcome.set_exception(error)
        else:
            self._executor.submit(task.run).add_done_callback(partial(_pass_on, outcome))


def _unless_cancelled(outcome: Future[Any], work: Sequence[Callable[[], object]]) -> None:
    for piece in work:
        if not outcome.cancelled():
            piece()


def _pass_on(outcome: Future[Produced], done: Future[Produced]) -> None:
    if done.cancelled():
        outcome.set_exception(RuntimeError("the pool was closed"))
    elif error := done.exception():
        outcome.set_exception(error)
    else:
        outcome.set_result(done.result())


def _check_together(barrier: Barrier) -> None:
    try:
        check_known_answers()
    finally:
        barrier.wait(CHECK_SECONDS)


def _reads(file: Readable, start: int, stop: int) -> Iterator[Task[memoryview]]:
    for first, last in file.spans(start, stop):
        yield Task(partial(file.read, first, last), file.wholes(first, last))


def _measurements(plan: Plan) -> Iterator[Task[Sequence[Moments]]]:
    for batch in batches(plan.tensors):
        yield Task(partial(measure, plan.tensors, batch), wholes([plan.tensors[block.place] for block in batch]))


def wholes(tensors: Iterable[TensorPlan]) -> list[Callable[[], object]]:
    """What must be drawn before some tensors can be, and is not kept."""
    return [draw for tensor in tensors if (draw := tensor.whole()) is not None]
