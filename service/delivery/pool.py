"""Ordered delivery: a pool of threads works a bounded number of pieces ahead of the consumer.

If a piece needs arrays that must be drawn whole, these are drawn first, in lanes of their own, and held until the piece
is taken, so that no thread of the pool ever waits for them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from functools import partial
from threading import Barrier
from typing import Any, Final, Generic, NamedTuple, TypeVar

from service.analysis.statistics import Block, Moments, Summary, batches, measure, summarise
from service.delivery.lanes import SMALL_WORK, Lane
from service.distributions.base import Array
from service.distributions.cache import Materialization
from service.distributions.known_answers import Drawn, adopt, check_known_answers
from service.errors import BrokenPlatform
from service.formats.files import File
from service.plan import Plan, TensorPlan
from service.stream.engine import ENGINES

Produced = TypeVar("Produced")
CHECK_SECONDS: Final = 60.0


@dataclass(slots=True)
class Task(Generic[Produced]):
    """A piece of work, and the arrays that must be drawn whole before it, which may take seconds.

    Attributes:
        run: the work.
        needs: returns the arrays; None if there are none.
        held: the arrays, once they are known.
    """

    run: Callable[[], Produced]
    needs: Callable[[], Iterable[Materialization]] | None = None
    held: list[Materialization] = field(default_factory=list)


class Cost(NamedTuple):
    """What a part of a file costs, known before any of it is drawn."""

    nbytes: int
    """Bytes of the part. A tensor whose matrices must be drawn first counts with their bytes, if these are more."""
    whole_work: int
    """Approximate nanoseconds for the arrays that must be drawn whole and are not in the cache."""

    @property
    def is_small(self) -> bool:
        """Whether the arrays that must be drawn whole take no longer than anybody may have to wait."""
        return self.whole_work <= SMALL_WORK


class DrawingPool:
    """The threads that draw. All streams share them chunk by chunk, in the order of their requests.

    Args:
        threads: their number; each keeps about 12 MB of working memory.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="draw")
        self._small, self._large = Lane("small whole"), Lane("large whole")

    def check(self, drawn: Collection[Drawn] | None = None) -> None:
        """Check the known answers in every thread.

        Args:
            drawn: what the pool is going to draw; anything if None.

        Raises:
            BrokenPlatform: a thread computes something else.
        """
        for engine in ENGINES:
            adopt(engine)
        barrier = Barrier(self.threads)  # holds each thread until all have a check, so that none gets two
        checks = [self._executor.submit(_check_together, barrier, drawn) for _ in range(self.threads)]
        checks += [lane.run(partial(check_known_answers, drawn)) for lane in (self._small, self._large)]
        errors = [error for check in checks if (error := check.exception()) is not None]
        for error in errors:
            raise error if isinstance(error, BrokenPlatform) else BrokenPlatform(f"the check itself failed: {error!r}")

    def ordered(self, tasks: Iterable[Task[Produced]], caller: str = "") -> Iterator[Produced]:
        """The results of the tasks, in order, for a caller that may block."""
        with closing(self._futures(tasks, caller)) as futures:
            for future in futures:
                yield future.result()

    async def ordered_async(self, tasks: Iterable[Task[Produced]], caller: str = "") -> AsyncGenerator[Produced, None]:
        """The results of the tasks, in order; when the consumer leaves, the other tasks are dropped or stopped.

        Args:
            tasks: the work.
            caller: whose tasks they are; callers take turns in drawing whole arrays.
        """
        with closing(self._futures(tasks, caller)) as futures:
            for future in futures:
                yield await asyncio.wrap_future(future)

    def read(self, file: File, start: int, stop: int) -> Iterator[memoryview]:
        """A byte range of a file, chunk by chunk, for a caller that may block."""
        return self.ordered(_reads(file, start, stop))

    def stream(self, file: File, start: int, stop: int, caller: str = "") -> AsyncGenerator[memoryview, None]:
        """A byte range of a file, chunk by chunk."""
        return self.ordered_async(_reads(file, start, stop), caller)

    def completed(self, file: File) -> File:
        """The file with its measured numbers, if reading all of it needs them, for a caller that may block."""
        return file.with_measured(self.measured(file.plan)) if file.needs_measuring(0) else file

    def measured(self, plan: Plan) -> list[Summary]:
        """The measured statistics of every tensor, in model order, for a caller that may block."""
        return summarise(plan.tensors, [moments for batch in self.ordered(_measurements(plan)) for moments in batch])

    async def measure(self, plan: Plan, caller: str = "") -> list[Summary]:
        """The measured statistics of every tensor, in model order; stops when the caller is cancelled."""
        async with aclosing(self.ordered_async(_measurements(plan), caller)) as batches_done:
            return summarise(plan.tensors, [moments async for batch in batches_done for moments in batch])

    async def run(self, task: Task[Produced], caller: str = "") -> Produced:
        """The result of one piece of work."""
        return await asyncio.wrap_future(self._submit(task, caller))

    def close(self) -> None:
        """End the threads; work that has not begun is dropped."""
        for lane in (self._small, self._large):
            lane.close()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _futures(self, tasks: Iterable[Task[Produced]], caller: str) -> Generator[Future[Produced], None, None]:
        ahead: deque[tuple[Task[Produced], Future[Produced]]] = deque()
        taken: deque[Task[Produced]] = deque(maxlen=2)  # keeps their arrays until the next task has its own

        def take() -> Future[Produced]:
            task, future = ahead.popleft()
            taken.append(task)
            return future

        try:
            for task in tasks:
                ahead.append((task, self._submit(task, caller)))
                if len(ahead) > self.threads:
                    yield take()
            while ahead:
                yield take()
        finally:
            for _, future in ahead:
                future.cancel()

    def _submit(self, task: Task[Produced], caller: str) -> Future[Produced]:
        if task.needs is None:
            return self._executor.submit(task.run)
        outcome: Future[Produced] = Future()
        self._step(outcome, partial(self._begin, task, caller, outcome))
        return outcome

    def _step(self, outcome: Future[Any], step: Callable[[], None]) -> None:
        """Run a step of a task in a drawing thread."""
        self._executor.submit(step).add_done_callback(partial(_pass_failure, outcome))

    def _begin(self, task: Task[Produced], caller: str, outcome: Future[Produced]) -> None:
        if not outcome.cancelled() and task.needs:
            task.held = list(task.needs())
            self._prepare(task, caller, outcome, iter(task.held))

    def _prepare(
        self, task: Task[Produced], caller: str, outcome: Future[Produced], needed: Iterator[Materialization]
    ) -> None:
        """Have the next missing array drawn; once none is missing, run the task itself."""
        for whole in needed:
            if not whole.find():
                lane = self._small if whole.work <= SMALL_WORK else self._large

                def go_on(drawn: Future[Array], whole: Materialization = whole) -> None:
                    if _pass_failure(outcome, drawn):
                        return
                    whole.array = drawn.result()
                    self._prepare(task, caller, outcome, needed)

                lane.submit(whole, caller, outcome).add_done_callback(go_on)
                return
        self._step(outcome, partial(_run, task, outcome))


def _run(task: Task[Produced], outcome: Future[Produced]) -> None:
    if outcome.set_running_or_notify_cancel():
        outcome.set_result(task.run())


def _pass_failure(outcome: Future[Any], step: Future[Any]) -> bool:
    """Pass the failure of a step, or its cancellation as the pool closes, to the outcome; returns whether it failed."""
    if step.cancelled():
        outcome.cancel()
        return True
    error = step.exception()
    if error is not None and (outcome.running() or outcome.set_running_or_notify_cancel()):
        outcome.set_exception(error)
    return error is not None


def _check_together(barrier: Barrier, drawn: Collection[Drawn] | None) -> None:
    try:
        check_known_answers(drawn)
    finally:
        barrier.wait(CHECK_SECONDS)


def _reads(file: File, start: int, stop: int) -> Iterator[Task[memoryview]]:
    for first, last in file.spans(start, stop):
        of_span = partial(_needs_of_span, file, first, last) if file.plan.materializes else None
        yield Task(partial(file.read, first, last), of_span)


def _needs_of_span(file: File, start: int, stop: int) -> Iterator[Materialization]:
    for part in file.parts(start, stop):
        yield from part.tensor.materializations(part.elements)


def _measurements(plan: Plan) -> Iterator[Task[Sequence[Moments]]]:
    for batch in batches(plan.tensors):
        of_batch = partial(_needs_of_blocks, plan.tensors, batch) if plan.materializes else None
        yield Task(partial(measure, plan.tensors, batch), of_batch)


def needs(plan: Plan) -> Iterator[Materialization]:
    """The arrays that must be drawn whole for the tensors of a plan."""
    for tensor in plan.tensors:
        yield from tensor.materializations(range(tensor.elements))


def _needs_of_blocks(tensors: Sequence[TensorPlan], batch: Iterable[Block]) -> Iterator[Materialization]:
    for block in batch:
        yield from tensors[block.place].canonical_materializations(block.first, block.count)


def cost(file: File, start: int, stop: int) -> Cost:
    """What a byte range of a file costs. It looks at every tensor in the range, so keep it off the event loop."""
    nbytes, work = stop - start, 0
    for part in file.parts(start, stop):
        missing = [whole for whole in part.tensor.materializations(part.elements) if not whole.find()]
        drawn = sum(whole.elements for whole in missing) * part.tensor.parameter.dtype.itemsize
        nbytes += max(0, drawn - part.nbytes)
        work += sum(whole.work for whole in missing)
    return Cost(nbytes, work)


def cost_of_all(plan: Plan) -> Cost:
    """What all tensors of a plan cost. It looks at each of them, too."""
    return Cost(plan.nbytes, sum(whole.work for whole in needs(plan) if not whole.find()))
