"""Lanes: threads for arrays that must be drawn whole, with small ones apart from large ones, so that nobody waits long.

In each lane, callers take turns, array by array. Work that nobody waits for any more is not begun, or is stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from service.delivery.turns import Turns
from service.distributions.base import Array
from service.distributions.cache import Abandoned, Materialization, drawing_while

SMALL_WORK: Final = 100_000_000
"""The most work on one array in the lane for small ones, in approximate nanoseconds."""


@dataclass(slots=True, eq=False)
class _Job:
    """An array to draw, and the futures that wait for it."""

    whole: Materialization
    outcomes: list[Future[Any]] = field(default_factory=list)
    drawn: Future[Array] = field(default_factory=Future)


class Lane:
    """A thread that draws one array after another.

    Args:
        name: the name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = Lock()
        self._jobs: dict[Hashable, _Job] = {}
        self._turns: Turns[_Job] = Turns()
        self._open = True

    def submit(self, whole: Materialization, caller: str, outcome: Future[Any]) -> Future[Array]:
        """Draw an array once for everyone who asks for it in the meantime.

        Args:
            whole: the array to draw.
            caller: whose turn it takes.
            outcome: the result that needs the array; cancelling it ends the wait.
        """
        with self._lock:
            job = self._jobs.setdefault(whole.key, _Job(whole))
            job.outcomes.append(outcome)
            self._turns.add(caller, job)  # even if others wait for it already, because their turn may come later
        self._executor.submit(self._next)
        return job.drawn

    def run(self, check: Callable[[], None]) -> Future[None]:
        """Run a check in the lane's own thread."""
        return self._executor.submit(check)

    def close(self) -> None:
        """End the thread; work in progress stops, and work that has not begun is dropped."""
        self._open = False
        self._executor.shutdown(wait=True, cancel_futures=True)
        for job in list(self._jobs.values()):
            job.drawn.cancel()

    def _next(self) -> None:
        with self._lock:
            job = self._turns.take()
        while not job.drawn.done() and self._is_wanted(job):  # again if somebody asked just as it was given up
            self._draw(job)
        with self._lock:
            over = job.drawn.done() or not self._is_wanted(job)
            if over and self._jobs.get(job.whole.key) is job:
                del self._jobs[job.whole.key]
        if over:
            job.drawn.cancel()  # has no effect if the array was drawn

    def _draw(self, job: _Job) -> None:
        try:
            with drawing_while(lambda: self._is_wanted(job)):
                array = job.whole.get()
        except Abandoned:
            return
        except BaseException as error:  # noqa: BLE001 - raised to whoever waits for the array
            job.drawn.set_exception(error)
        else:
            job.drawn.set_result(array)

    def _is_wanted(self, job: _Job) -> bool:
        return self._open and not all(outcome.cancelled() for outcome in job.outcomes)
