"""Budgets: what a caller may have, for how long, and who counts it: this process, or a Redis for several."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond

from service.api import counters
from service.api.guard import budget as module
from service.api.guard.budget import Budget
from service.errors import OverBudget
from tests.api.answers import assert_problem
from tests.api.guard.test_admission import asked
from tests.api.servers import Server, running_server
from tests.api.specs import spec, tensor
from tests.api.stores import free_port, running_redis
from tests.api.test_hostile import counted, post

NAMES = count()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["memory", "redis"])
def storage(request: pytest.FixtureRequest) -> str | None:
    """Where the counts are."""
    return None if request.param == "memory" else str(request.getfixturevalue("redis"))


@asynccontextmanager
async def budget_of(
    nbytes: int, storage: str | None = None, window: type[RateLimitItem] = RateLimitItemPerMinute
) -> AsyncIterator[Budget]:
    budget = Budget(nbytes, storage, window)
    try:
        yield budget
    finally:
        await budget.close()


def somebody() -> str:
    """A caller whom no test has seen."""
    return f"caller {next(NAMES)}"


async def seconds_to_wait(budget: Budget, caller: str, nbytes: int) -> int:
    """0 where the bytes were taken."""
    try:
        await budget.take(caller, nbytes)
    except OverBudget as error:
        return error.seconds
    return 0


async def taken(budget: Budget, caller: str, nbytes: int) -> bool:
    return not await seconds_to_wait(budget, caller, nbytes)


def test_who_is_refused_and_comes_back_when_told_gets_what_was_asked(storage: str | None) -> None:
    async def scenario() -> None:
        async with budget_of(1000, storage, RateLimitItemPerSecond) as budget:
            caller = somebody()
            while not (wait := await seconds_to_wait(budget, caller, 600)):
                pass
            assert wait == 1
            await asyncio.sleep(wait)
            assert await taken(budget, caller, 600)

    asyncio.run(scenario())


def test_who_has_begun_a_minute_waits_for_its_end(storage: str | None) -> None:
    async def scenario() -> None:
        async with budget_of(10, storage) as budget:
            caller = somebody()
            await budget.take(caller, 10)
            with pytest.raises(OverBudget, match=r"10 bytes a minute; 0 are left, and this asks for 1: come ") as over:
                await budget.take(caller, 1)
            assert 50 < over.value.seconds <= 60

    asyncio.run(scenario())


def test_who_asks_for_more_than_a_whole_budget_is_told_to_ask_for_a_range_and_may(storage: str | None) -> None:
    async def scenario() -> None:
        async with budget_of(1000, storage) as budget:
            caller = somebody()
            with pytest.raises(
                OverBudget, match=r"1000 are left, and this asks for 1001: ask for less at once, by ranges"
            ) as over:
                await budget.take(caller, 1001)
            assert over.value.seconds == 1
            await budget.take(caller, 1000)

    asyncio.run(scenario())


def test_everybody_has_a_budget_of_their_own(storage: str | None) -> None:
    async def scenario() -> None:
        async with budget_of(10, storage) as budget:
            for caller in (somebody(), somebody(), somebody()):
                assert [await taken(budget, caller, 10), await taken(budget, caller, 1)] == [True, False]

    asyncio.run(scenario())


def test_no_budget_is_any_number() -> None:
    async def scenario() -> None:
        async with budget_of(0) as budget:
            for _ in range(10):
                await budget.take("a", 1 << 60)

    asyncio.run(scenario())


def test_a_byte_costs_as_much_as_a_tebibyte(storage: str | None) -> None:
    async def scenario() -> None:
        async with budget_of(3 << 40, storage) as budget:
            caller = somebody()
            assert [await taken(budget, caller, 1 << 40) for _ in range(4)] == [True, True, True, False]

    asyncio.run(scenario())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), max_size=20))
def test_what_fits_is_given_and_what_is_refused_costs_nothing(storage: str | None, asks: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        had, names = Counter[str](), {"a": somebody(), "b": somebody()}
        async with budget_of(30, storage) as budget:
            for caller, nbytes in asks:
                fits = had[caller] + nbytes <= 30
                assert await taken(budget, names[caller], nbytes) == fits
                had[caller] += nbytes * fits

    asyncio.run(scenario())


def test_those_who_ask_at_once_get_no_more_than_the_budget_wherever_they_ask(storage: str | None) -> None:
    async def scenario() -> None:
        caller = somebody()
        async with budget_of(1000, storage) as here, budget_of(1000, storage) as there:
            asks = [(here, there)[number % 2 if storage else 0] for number in range(40)]
            given = await asyncio.gather(*(taken(budget, caller, 100) for budget in asks))
            assert sum(given) == 10

    asyncio.run(scenario())


# without Redis


def failures() -> int:
    return int(counters.UNSHARED._value.get())


def test_while_redis_is_away_each_process_counts_by_itself_and_together_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        port = free_port()
        url = f"redis://127.0.0.1:{port}"
        async with budget_of(10, url) as here, budget_of(10, url) as there:
            before = failures()
            assert await taken(here, "a", 10)
            assert failures() == before + 1
            assert await taken(there, "a", 10)
            assert not await taken(here, "a", 1)
            assert failures() == before + 2  # it is left alone for a while
            assert "budgets are counted by each process" in caplog.text
            monkeypatch.setattr(module, "AGAIN_SECONDS", 0)
            here._ask_again = there._ask_again = 0
            for _ in range(2):  # it comes, goes, and comes back with nothing
                assert not await taken(here, "a", 1)
                with running_redis(tmp_path, port):
                    assert await taken(here, "a", 6)
                    assert not await taken(there, "a", 5)

    caplog.set_level(logging.WARNING, "xavier")
    asyncio.run(scenario())


def test_a_redis_that_does_not_answer_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            async with budget_of(10, f"redis://127.0.0.1:{silent.getsockname()[1]}") as budget:
                assert [await taken(budget, "a", 10), await taken(budget, "a", 1)] == [True, False]
                assert "no answer in 0.05 s" in caplog.text

    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    caplog.set_level(logging.WARNING, "xavier")
    asyncio.run(scenario())


# over HTTP

FILE = spec(tensor("w", 100, 100))
"""Of 40,000 bytes and a header."""


def statuses(server: Server, source: int, times: int = 1) -> list[int]:
    return [asked(server, post(FILE, "/v1/weights"), source).status_code for _ in range(times)]


def test_one_budget_holds_across_workers_and_replicas(redis: str, tmp_path: Path) -> None:
    flags = ("--bytes-per-minute", "100000", "--budget-storage", redis)
    with (
        running_server(tmp_path / "two", "--workers", "2", "--threads", "1", *flags) as two,
        running_server(tmp_path / "one", *flags) as one,
    ):
        assert [*statuses(two, 1), *statuses(one, 1), *statuses(two, 1, 4), *statuses(one, 1)] == [200] * 2 + [429] * 5
        assert_problem(asked(one, post(FILE, "/v1/weights"), 1), 429, "over-budget")
        assert statuses(one, 2) == [200]


def test_a_server_whose_redis_is_away_serves_and_says_so(tmp_path: Path) -> None:
    url = f"redis://secret:word@127.0.0.1:{free_port()}"
    with running_server(tmp_path / "log", "--bytes-per-minute", "50000", "--budget-storage", url) as server:
        assert statuses(server, 1, 2) == [200, 429]
        assert counted(server, "xavier_budget_storage_failures_total") >= 1
        assert "budgets are counted by each process" in server.log()
        assert "word" not in server.log()
