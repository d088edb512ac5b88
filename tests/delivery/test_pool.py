"""Ordered delivery: bounded ahead, dropped when nobody takes any more, and never twice in one buffer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import aclosing, suppress
from functools import partial
from itertools import islice
from random import Random
from threading import Event, Lock, Semaphore, current_thread, get_ident
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from service.delivery.lanes import SMALL_WORK
from service.delivery.pool import DrawingPool, Task, cost, cost_of_all
from service.distributions import orthogonal
from service.distributions.cache import Abandoned, Cache, Materialization, check_wanted
from service.distributions.known_answers import Drawn, check_known_answers
from service.distributions.numerics.factorisation import orthogonal_factor
from service.errors import BrokenPlatform
from service.formats.safetensors import SafetensorsFile
from service.plan import Plan, make_plan
from service.schema.parsing import read_spec
from tests.api.servers import wait_for
from tests.api.specs import EVERY_LAYER, Spec, body, spec, tensor
from tests.distributions.caches import use_cache

THREADS = 3
LANES = 2


@pytest.fixture
def pool() -> Iterator[DrawingPool]:
    pool = DrawingPool(THREADS)
    yield pool
    pool.close()


class Work:
    """Tasks that say which of them were begun, and end when they may."""

    def __init__(self, *, held: bool = False) -> None:
        self.begun: list[int] = []
        self.may_end = Event()
        self._lock = Lock()
        if not held:
            self.may_end.set()

    def tasks(self, count: int) -> Iterator[Task[int]]:
        for number in range(count):

            def task(number: int = number) -> int:
                with self._lock:
                    self.begun.append(number)
                assert self.may_end.wait(10)
                return number

            yield Task(task)


class Backwards:
    """Tasks of which each goes on when the next has ended, but for the last of as many as there are threads."""

    def __init__(self, count: int) -> None:
        self.order: list[int] = []
        self._ended = [Event() for _ in range(count)]

    def tasks(self) -> Iterator[Task[int]]:
        return (Task(partial(self._run, number)) for number in range(len(self._ended)))

    def _run(self, number: int) -> int:
        assert (number + 1) % THREADS == 0 or self._ended[number + 1].wait(10)
        self.order.append(number)
        self._ended[number].set()
        return number


def plan_of(document: Spec) -> Plan:
    return make_plan(read_spec(body(document)))


async def collected(pool: DrawingPool, tasks: Iterator[Task[int]]) -> list[int]:
    return [result async for result in pool.ordered_async(tasks)]


def test_results_come_in_the_order_of_the_tasks_whichever_ends_first(pool: DrawingPool) -> None:
    blocking, awaited = Backwards(4 * THREADS), Backwards(4 * THREADS)

    assert list(pool.ordered(blocking.tasks())) == list(range(4 * THREADS))
    assert asyncio.run(collected(pool, awaited.tasks())) == list(range(4 * THREADS))
    assert blocking.order[:THREADS] == awaited.order[:THREADS] == list(reversed(range(THREADS)))


def test_no_tasks_are_no_results(pool: DrawingPool) -> None:
    assert list(pool.ordered(iter(()))) == []
    assert asyncio.run(collected(pool, iter(()))) == []


def test_work_runs_a_thread_and_one_ahead_of_who_takes(pool: DrawingPool) -> None:
    work = Work()
    results = pool.ordered(work.tasks(100))

    for taken, result in enumerate(islice(results, 20), start=1):
        wait_for(lambda taken=taken: len(work.begun) >= taken + THREADS)  # type: ignore[misc]  # bound now
        asyncio.run(pool.run(Task(int)))  # which is done behind all that the threads were given
        assert result == taken - 1
        assert len(work.begun) == taken + THREADS
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
    work = Work(held=True)

    async def be_cancelled() -> None:
        taking = asyncio.create_task(collected(pool, work.tasks(1000)))
        await wait_until(lambda: len(work.begun) == THREADS)
        await leave(taking)
        work.may_end.set()
        await pool.run(Task(int))  # which is done behind all that the threads were given

    asyncio.run(be_cancelled())

    assert len(work.begun) == THREADS


# what must be drawn whole before

SMALL, LARGE = SMALL_WORK, SMALL_WORK + 1


class Wholes:
    """Things that are drawn whole: each by a function, in lanes that say which thread drew what."""

    def __init__(self) -> None:
        self.kept = Cache()
        self.begun: list[str] = []
        self.threads: dict[str, str] = {}

    def task(self, *names: str, work: int = LARGE, draw: Callable[[], object] = lambda: None) -> Task[str]:
        """A task that needs some of them, and says which it had."""

        def drawn(name: str) -> NDArray[Any]:
            self.begun.append(name)
            self.threads[name] = current_thread().name
            draw()
            return np.zeros(1)

        materializations = [Materialization(self.kept, name, 1, work, partial(drawn, name)) for name in names]
        return Task(
            lambda: ",".join(name for name in names if self.kept.find(name) is not None), lambda: materializations
        )


class Patient:
    """Work that goes on until it is told to end, or nobody waits for it any more."""

    def __init__(self) -> None:
        self.given_up = Event()
        self._begun, self._end = Semaphore(0), Event()

    def __call__(self) -> None:
        self._begun.release()
        try:
            while not self._end.wait(0.001):
                check_wanted()
        except Abandoned:
            self.given_up.set()
            raise

    async def begins(self) -> None:
        assert await asyncio.to_thread(self._begun.acquire, timeout=10)

    def end(self) -> None:
        self._end.set()


def asked(pool: DrawingPool, *tasks: Task[str], caller: str = "") -> asyncio.Task[list[str]]:
    async def results() -> list[str]:
        return [result async for result in pool.ordered_async(tasks, caller)]

    return asyncio.create_task(results())


async def leave(asker: asyncio.Task[Any]) -> None:
    asker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker


@pytest.mark.parametrize("work", [SMALL, LARGE])
def test_what_is_drawn_whole_holds_none_of_the_threads_that_draw(pool: DrawingPool, work: int) -> None:
    materializations, patient, others = Wholes(), Patient(), Work()

    async def both() -> tuple[list[int], list[str]]:
        held = asked(pool, *(materializations.task(name, work=work, draw=patient) for name in "abc"))
        await patient.begins()
        drawn = await collected(pool, others.tasks(20))
        assert not held.done()
        patient.end()
        return drawn, await held

    assert asyncio.run(both()) == (list(range(20)), ["a", "b", "c"])


def test_the_small_never_waits_for_the_large(pool: DrawingPool) -> None:
    materializations, patient = Wholes(), Patient()

    async def both() -> None:
        large = asked(pool, *(materializations.task(f"large {n}", draw=patient) for n in range(5)))
        await patient.begins()
        assert await asked(
            pool, materializations.task("x", "y", work=SMALL), materializations.task("z", work=SMALL)
        ) == ["x,y", "z"]
        assert not large.done()
        patient.end()
        await large

    asyncio.run(both())
    assert len({materializations.threads[name] for name in "xyz"}) == 1
    assert materializations.threads["x"] != materializations.threads["large 0"]


def test_what_several_wait_for_is_drawn_once_and_goes_on_until_the_last_has_left(pool: DrawingPool) -> None:
    materializations, patient = Wholes(), Patient()

    async def come_and_go() -> None:
        askers = [asked(pool, materializations.task("w", draw=patient)) for _ in range(3)]
        await patient.begins()
        await leave(askers[0])
        await leave(askers[2])
        patient.end()
        assert await askers[1] == ["w"]

    asyncio.run(come_and_go())
    assert materializations.begun == ["w"]
    assert not patient.given_up.is_set()


def test_what_nobody_waits_for_any_more_stops_in_the_middle_and_is_begun_afresh_for_who_comes_later(
    pool: DrawingPool,
) -> None:
    materializations, patient = Wholes(), Patient()

    async def come_and_go() -> None:
        askers = [asked(pool, materializations.task("w", draw=patient)) for _ in range(2)]
        await patient.begins()
        for asker in askers:
            await leave(asker)
        assert await asyncio.to_thread(patient.given_up.wait, 10)
        assert await asked(pool, materializations.task("w")) == ["w"]

    asyncio.run(come_and_go())
    assert materializations.begun == ["w", "w"]


def test_what_nobody_waits_for_any_more_is_not_begun(pool: DrawingPool) -> None:
    materializations, patient = Wholes(), Patient()

    async def come_and_go() -> None:
        first = asked(pool, materializations.task("first", draw=patient))
        await patient.begins()
        left, stayed = (
            asked(pool, *(materializations.task(f"left {n}") for n in range(9))),
            asked(pool, materializations.task("stayed")),
        )
        await wait_until(lambda: len(pool._large._turns) > 1)
        await leave(left)
        patient.end()
        await asyncio.gather(first, stayed)

    asyncio.run(come_and_go())
    assert materializations.begun == ["first", "stayed"]
    assert not pool._large._jobs


async def wait_until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_for, condition)


def test_callers_take_turns_whole_by_whole(pool: DrawingPool) -> None:
    materializations, patient = Wholes(), Patient()

    async def several() -> None:
        first = asked(pool, materializations.task("first", draw=patient), caller="greedy")
        await patient.begins()
        greedy = [asked(pool, materializations.task(f"greedy {n}", f"more {n}"), caller="greedy") for n in range(3)]
        await wait_until(lambda: len(pool._large._turns) == 3)
        modest = asked(pool, materializations.task("modest 0", "modest 1"), caller="modest")
        await wait_until(lambda: len(pool._large._turns) == 4)
        patient.end()
        await asyncio.gather(first, *greedy, modest)

    asyncio.run(several())
    assert materializations.begun[:5] == ["first", "greedy 0", "modest 0", "greedy 1", "modest 1"]
    assert len(materializations.begun) == 1 + 6 + 2


def test_who_asks_for_what_a_greedy_caller_waits_for_gets_it_in_turn(pool: DrawingPool) -> None:
    materializations, patient = Wholes(), Patient()

    async def several() -> None:
        first = asked(pool, materializations.task("first", draw=patient), caller="greedy")
        await patient.begins()
        greedy = [asked(pool, materializations.task(f"greedy {n}"), caller="greedy") for n in range(5)]
        await wait_until(lambda: len(pool._large._turns) == 5)
        modest = asked(pool, materializations.task("greedy 4"), caller="modest")
        await wait_until(lambda: len(pool._large._turns) == 6)
        patient.end()
        await asyncio.gather(first, *greedy, modest)

    asyncio.run(several())
    assert materializations.begun == ["first", "greedy 0", "greedy 4", "greedy 1", "greedy 2", "greedy 3"]


@pytest.mark.parametrize("seed", range(5))
def test_who_stays_gets_everything_in_a_storm_of_those_who_leave(seed: int) -> None:
    pool, materializations, random = DrawingPool(THREADS), Wholes(), Random(seed)  # noqa: S311 - a storm that can be repeated
    materializations.kept = Cache(most_bytes=0)

    def give_way() -> None:
        for _ in range(20):
            time.sleep(0)
            check_wanted()

    async def storm() -> None:
        askers = []
        for _ in range(200):
            names = random.sample("abcdefgh", 3)
            work = {name: SMALL if name < "d" else LARGE for name in names}
            tasks = [materializations.task(name, work=work[name], draw=give_way) for name in names]
            askers.append((names, asked(pool, *tasks, caller=random.choice("xyz"))))
            if random.random() < 0.7:
                random.choice(askers)[1].cancel()
            if random.random() < 0.5:
                await asyncio.sleep(0)
        for names, asker in askers:
            with suppress(asyncio.CancelledError):
                assert await asker == names

    asyncio.run(storm())
    for lane in (pool._small, pool._large):
        lane.run(lambda: None).result(10)  # all turns before have been taken
        assert not lane._jobs
        assert not lane._turns
    pool.close()


def test_an_error_in_drawing_whole_is_the_error_of_all_tasks_that_need_it(pool: DrawingPool) -> None:
    materializations, patient = Wholes(), Patient()

    def fail() -> None:
        patient()
        raise ValueError("before the beginning")

    async def both() -> list[Any]:
        askers = [asked(pool, materializations.task("w", draw=fail)) for _ in range(2)]
        await patient.begins()
        await wait_until(lambda: len(pool._large._jobs["w"].outcomes) == 2)
        patient.end()
        return await asyncio.gather(*askers, return_exceptions=True)

    assert [str(error) for error in asyncio.run(both())] == ["before the beginning"] * 2
    assert materializations.begun == ["w"]
    assert list(pool.ordered([materializations.task("w")])) == ["w"]


def test_an_error_in_asking_what_is_needed_is_the_error_of_the_task(pool: DrawingPool) -> None:
    def fail() -> list[Materialization]:
        raise ValueError("who knows")

    with pytest.raises(ValueError, match="who knows"):
        list(pool.ordered([Task(lambda: 1, fail)]))


def test_an_error_after_what_was_needed_is_the_error_of_the_task(pool: DrawingPool) -> None:
    materializations = Wholes()

    def fail() -> str:
        raise ValueError("after all")

    with pytest.raises(ValueError, match="after all"):
        list(pool.ordered([Task(fail, materializations.task("w").needs)]))


def test_a_pool_that_is_closed_stops_what_it_draws_whole() -> None:
    pool, materializations, patient = DrawingPool(1), Wholes(), Patient()

    async def close() -> list[Any]:
        askers = [asked(pool, materializations.task(name, draw=patient)) for name in "ab"]
        await patient.begins()
        await wait_until(lambda: len(pool._large._jobs) == 2)
        await asyncio.to_thread(pool.close)
        return await asyncio.gather(*askers, return_exceptions=True)

    assert [type(error) for error in asyncio.run(close())] == [asyncio.CancelledError] * 2
    assert patient.given_up.is_set()
    assert materializations.begun == ["a"]


# tensors that are drawn whole

ACROSS: Final = spec(
    {"type": "conv1d", "name": "c", "in_channels": 512, "out_channels": 1024, "kernel_size": 3, "groups": 4},
    framework="keras",
    initializer="orthogonal",
)
"""Four groups, of which every chunk in Keras' order needs all."""


@pytest.fixture(name="drawn")
def _drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads in which matrices were factored; of those, nothing is kept that nobody holds."""
    threads: list[str] = []

    def factor(matrices: Any) -> Any:
        threads.append(current_thread().name)
        return orthogonal_factor(matrices)

    use_cache(monkeypatch, Cache(most_bytes=0))
    monkeypatch.setattr(orthogonal, "orthogonal_factor", factor)
    return threads


def test_a_stream_holds_what_it_needs_and_no_thread_that_draws_ever_draws_it(
    pool: DrawingPool, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.formats.safetensors.CHUNK_BYTES", 1 << 16)
    plan = plan_of(ACROSS)
    file = SafetensorsFile(plan)

    async def slowly() -> int:
        chunks = 0
        async with aclosing(pool.stream(file, 0, file.length)) as stream:
            async for _ in stream:
                await asyncio.to_thread(lambda: None)  # others go on meanwhile
                chunks += 1
        return chunks

    assert asyncio.run(slowly()) > 20
    assert len(drawn) == 4
    asyncio.run(pool.measure(plan))
    assert {name.rpartition("_")[0] for name in drawn} <= {"small whole", "large whole"}


def test_what_a_range_costs_is_what_is_sent_or_what_must_be_drawn_for_it_whichever_is_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_cache(monkeypatch)
    monkeypatch.setattr(orthogonal, "TOGETHER", 1)
    layers = [tensor("a", 100, 100), tensor("b", 3, 50, 40, batch_axes=[0], out_axes=[1], in_axes=[2])]
    plan = plan_of(spec(*layers, {**layers[0], "name": "c", "initializer": "normal"}, initializer="orthogonal"))
    file = SafetensorsFile(plan)
    a, b, c = (segment.start + len(file.header) for segment in file.segments)

    def nbytes(start: int, stop: int) -> int:
        return cost(file, start, stop).nbytes

    assert nbytes(0, file.length) == file.length
    assert nbytes(0, 10) == nbytes(c, c + 10) == 10
    assert nbytes(a, a + 1) == nbytes(a + 7, b) == 40_000
    assert nbytes(b, b + 1) == nbytes(b, b + 8000) == 8000
    assert nbytes(b + 7999, b + 8001) == 16_000
    assert nbytes(b - 1, b + 1) == 48_000
    assert nbytes(c - 1, c + 10) == 8010
    assert cost(file, c, c + 10).whole_work == 0
    assert cost(file, 0, file.length).whole_work == cost_of_all(plan).whole_work > cost(file, b, c).whole_work > 0

    plan.tensors[0].fill(0, np.empty(1, np.float32))  # is kept from now on
    assert nbytes(a, a + 1) == 1
    assert nbytes(0, file.length) == file.length


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

    def check_and_tell(drawn: Collection[Drawn] | None) -> None:
        checked.append(get_ident())
        check_known_answers(drawn)

    monkeypatch.setattr("service.delivery.pool.check_known_answers", check_and_tell)
    pool.check()

    assert len(checked) == len(set(checked)) == THREADS + LANES


def test_wrong_answers_in_one_thread_are_enough(pool: DrawingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = iter(range(THREADS + LANES))

    def fail_once(_: object) -> None:
        if next(counted) == THREADS + LANES - 1:
            raise BrokenPlatform("values differ")

    monkeypatch.setattr("service.delivery.pool.check_known_answers", fail_once)

    with pytest.raises(BrokenPlatform, match="values differ"):
        pool.check()


def test_a_check_that_fails_by_itself_is_a_broken_platform(pool: DrawingPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr("service.delivery.pool.check_known_answers", fail)

    with pytest.raises(BrokenPlatform, match=r"the check itself failed: ZeroDivisionError\('inside'\)"):
        pool.check()
