"""Ordered delivery: bounded ahead, dropped when nobody takes any more, and never twice in one buffer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from itertools import islice
from threading import Event, Lock, get_ident

import numpy as np
import pytest

from service.delivery import DrawingPool, Task
from service.errors import BrokenPlatform
from service.formats.safetensors import SafetensorsFile
from service.initializers.known_answers import check_known_answers
from service.plan import Plan, make_plan
from service.spec.parsing import read_spec
from tests.api.specs import EVERY_LAYER, Spec, body, spec, tensor

THREADS = 3


@pytest.fixture
def pool() -> Iterator[DrawingPool]:
    pool = DrawingPool(THREADS)
    yield pool
    pool.close()


class Work:
    """Tasks that count how many of them were begun."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self._lock = Lock()

    def tasks(self, count: int, *, seconds: Callable[[int], float] = lambda _: 0.0) -> Iterator[Task[int]]:
        for number in range(count):

            def task(number: int = number) -> int:
                with self._lock:
                    self.begun.append(number)
                time.sleep(seconds(number))
                return number

            yield Task(task)


def plan_of(document: Spec) -> Plan:
    return make_plan(read_spec(body(document)))


async def collected(pool: DrawingPool, tasks: Iterator[Task[int]]) -> list[int]:
    return [result async for result in pool.ordered_async(tasks)]


def test_results_come_in_the_order_of_the_tasks_however_long_each_takes(pool: DrawingPool) -> None:
    def uneven(number: int) -> float:
        return 0.003 * (number * 7 % 5)

    assert list(pool.ordered(Work().tasks(50, seconds=uneven))) == list(range(50))
    assert asyncio.run(collected(pool, Work().tasks(50, seconds=uneven))) == list(range(50))


def test_no_tasks_are_no_results(pool: DrawingPool) -> None:
    assert list(pool.ordered(iter(()))) == []
    assert asyncio.run(collected(pool, iter(()))) == []


def test_work_runs_at_most_a_thread_and_one_ahead_of_who_takes(pool: DrawingPool) -> None:
    work = Work()
    results = pool.ordered(work.tasks(100))

    for taken, result in enumerate(islice(results, 20), start=1):
        time.sleep(0.01)  # long enough for the threads to do all that they may
        assert result == taken - 1
        assert len(work.begun) <= taken + THREADS + 1
    results.close()  # type: ignore[attr-defined]  # it is a generator


def test_tasks_are_not_even_made_before_somebody_takes(pool: DrawingPool) -> None:
    made: list[int] = []

    def tasks() -> Iterator[Task[int]]:
        for number in range(100):
            made.append(number)
            yield Task(lambda: 1)

    results = pool.ordered(tasks())
    assert made == []
    next(results)
    assert len(made) == THREADS + 1
    results.close()  # type: ignore[attr-defined]  # it is a generator


def test_what_was_not_begun_is_dropped_when_the_taker_leaves() -> None:
    pool, work, gate = DrawingPool(1), Work(), Event()

    def held() -> int:
        gate.wait(10)
        return -1

    async def leave() -> None:
        async with aclosing(pool.ordered_async(iter([Task(lambda: 0), Task(held), *work.tasks(50)]))) as results:
            assert await anext(results) == 0

    asyncio.run(leave())
    gate.set()
    pool.close()

    assert work.begun == []


def test_what_was_not_begun_is_dropped_when_the_taker_is_cancelled(pool: DrawingPool) -> None:
    work = Work()

    async def be_cancelled() -> None:
        taking = asyncio.create_task(collected(pool, work.tasks(1000, seconds=lambda _: 0.01)))
        await asyncio.sleep(0.1)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        before = len(work.begun)
        await asyncio.sleep(0.1)
        assert len(work.begun) <= before + THREADS

    asyncio.run(be_cancelled())

    assert 0 < len(work.begun) < 200


def test_what_must_be_done_before_a_task_holds_none_of_the_threads_that_draw(pool: DrawingPool) -> None:
    gate, done = Event(), Work()

    def wait() -> None:
        gate.wait(10)

    def waiting() -> Iterator[Task[int]]:
        return iter([Task(lambda: 7, [wait])] * THREADS)

    async def both() -> tuple[list[int], list[int]]:
        held = asyncio.create_task(collected(pool, waiting()))
        others = await collected(pool, done.tasks(20))
        assert not held.done()
        gate.set()
        return others, await held

    assert asyncio.run(both()) == (list(range(20)), [7] * THREADS)


def test_what_must_be_done_before_is_dropped_when_the_taker_leaves() -> None:
    pool, gate, begun = DrawingPool(1), Event(), list[int]()

    async def leave() -> None:
        first, others = Task(lambda: 0, [lambda: gate.wait(10)]), [Task(lambda: 1, [lambda: begun.append(1)])] * 5
        taking = asyncio.create_task(collected(pool, iter([first, *others])))
        await asyncio.sleep(0.05)
        taking.cancel()

    asyncio.run(leave())
    gate.set()
    pool.close()

    assert begun == []


def test_an_error_before_a_task_is_the_error_of_the_task(pool: DrawingPool) -> None:
    def fail() -> None:
        raise ValueError("before the beginning")

    with pytest.raises(ValueError, match="before the beginning"):
        list(pool.ordered(iter([Task(lambda: 1, [fail])])))
    assert list(pool.ordered(Work().tasks(3))) == [0, 1, 2]


def test_an_error_of_a_task_comes_in_its_place_and_ends_the_delivery(pool: DrawingPool) -> None:
    work = Work()

    def fail() -> int:
        raise ValueError("in the middle")

    taken: list[int] = []
    with pytest.raises(ValueError, match="in the middle"):
        taken.extend(pool.ordered(iter([*work.tasks(5), Task(fail), *work.tasks(100)])))
    with pytest.raises(ValueError, match="in the middle"):
        asyncio.run(collected(pool, iter([Task(fail)])))

    assert len(work.begun) <= 5 + THREADS + 1
    assert list(pool.ordered(Work().tasks(3))) == [0, 1, 2]  # the pool is as good as before


def test_several_takers_share_the_threads_and_mix_nothing_up(pool: DrawingPool) -> None:
    async def all_of_them() -> list[list[int]]:
        return await asyncio.gather(*(collected(pool, Work().tasks(40)) for _ in range(5)))

    assert asyncio.run(all_of_them()) == [list(range(40))] * 5


def test_a_single_piece_of_work_runs_in_a_thread_of_the_pool(pool: DrawingPool) -> None:
    assert asyncio.run(pool.run(Task(get_ident))) != get_ident()


def test_chunks_that_were_handed_over_are_never_written_again(pool: DrawingPool) -> None:
    document = spec(tensor("a", 3000, 1501), tensor("b", 5000, 999, dtype="F16", initializer="xavier_normal"))
    file = SafetensorsFile(plan_of(document))

    async def held() -> list[memoryview]:
        return [chunk async for chunk in pool.stream(file, 0, file.length)]

    chunks = asyncio.run(held())
    copies = [bytes(chunk) for chunk in chunks]
    for _ in range(3):  # the same and other work in the same threads
        list(pool.read(file, 0, file.length))
    list(pool.read(SafetensorsFile(plan_of(document | {"seed": 9})), 0, file.length))

    assert len(chunks) > 10
    assert [bytes(chunk) for chunk in chunks] == copies
    assert b"".join(copies) == bytes(file.read(0, file.length))
    addresses = [np.frombuffer(chunk, np.uint8).__array_interface__["data"][0] for chunk in chunks]
    assert len(set(addresses)) == len(addresses)


def test_blocking_and_awaiting_give_the_same(pool: DrawingPool) -> None:
    plan = plan_of(EVERY_LAYER)
    file = SafetensorsFile(plan)

    async def awaited() -> bytes:
        return b"".join([bytes(chunk) async for chunk in pool.stream(file, 5, file.length - 5)])

    assert asyncio.run(awaited()) == b"".join(pool.read(file, 5, file.length - 5))
    assert asyncio.run(pool.measure(plan)) == pool.measured(plan)


def test_statistics_do_not_depend_on_the_number_of_threads() -> None:
    plan = plan_of(spec(tensor("w", 1500, 1000), tensor("v", 700, 700, initializer="normal")))
    measured = []
    for threads in (1, 2, 5):
        pool = DrawingPool(threads)
        measured.append(pool.measured(plan))
        pool.close()

    assert measured[0] == measured[1] == measured[2]


def test_the_known_answers_are_checked_in_every_thread(pool: DrawingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []

    def check_and_tell() -> None:
        checked.append(get_ident())
        check_known_answers()

    monkeypatch.setattr("service.delivery.check_known_answers", check_and_tell)
    pool.check()

    assert len(checked) == len(set(checked)) == THREADS


def test_wrong_answers_in_one_thread_are_enough(pool: DrawingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = iter(range(THREADS))

    def fail_once() -> None:
        if next(counted) == THREADS - 1:
            raise BrokenPlatform("values differ")

    monkeypatch.setattr("service.delivery.check_known_answers", fail_once)

    with pytest.raises(BrokenPlatform, match="values differ"):
        pool.check()


def test_a_check_that_fails_by_itself_is_a_broken_platform(pool: DrawingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr("service.delivery.check_known_answers", fail)

    with pytest.raises(BrokenPlatform, match=r"the check itself failed: ZeroDivisionError\('inside'\)"):
        pool.check()
