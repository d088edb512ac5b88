"""Admission: who may draw, who waits and in which order, who is turned away; and how much each may have, over HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api import counters
from service.api.guard.admission import Admission
from service.errors import Busy
from tests.api.answers import assert_problem
from tests.api.http.test_downloads import assert_idle_soon
from tests.api.servers import Server, drain, request_bytes, wait_for
from tests.api.specs import EIGHT_GIB, SMALL, Spec, body, spec, tensor
from tests.api.test_hostile import answer_to, counted, get, post, whole


class Draw:
    """Somebody who has a place, or waits for one, until it is told to leave."""

    def __init__(self, admission: Admission, order: list[str], name: str) -> None:
        self._done = asyncio.Event()
        self._order = order
        self._name = name
        self.task = asyncio.ensure_future(self._run(admission))

    async def _run(self, admission: Admission) -> None:
        async with admission.place(self._name):
            self._order.append(self._name)
            await self._done.wait()

    async def leave(self) -> None:
        self._done.set()
        await self.task
        await settle()


async def settle() -> None:
    """Let everybody go on who can."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def drawing(admission: Admission, names: str, order: list[str]) -> AsyncIterator[dict[str, Draw]]:
    """Some who come one after another; all of them are gone afterwards."""
    draws = {}
    for name in names:
        draws[name] = Draw(admission, order, name)
        await settle()
    yield draws
    for draw in draws.values():
        draw.task.cancel()
    await asyncio.gather(*(draw.task for draw in draws.values()), return_exceptions=True)


async def assert_all_free(admission: Admission, places: int) -> None:
    """As many places as ever, nobody who waits, and gauges that say so."""
    assert admission.waiting == 0
    order: list[str] = []
    async with drawing(admission, "abc"[:places], order):
        assert len(order) == places
    assert counters.STREAMS._value.get() == counters.QUEUE._value.get() == 0


def test_places_are_given_in_the_order_of_coming() -> None:
    async def scenario() -> None:
        admission, order = Admission(2, 10), list[str]()
        async with drawing(admission, "abcde", order) as draws:
            assert (order, admission.waiting) == (["a", "b"], 3)
            await draws["b"].leave()
            assert order == ["a", "b", "c"]
            await draws["a"].leave()
            await draws["c"].leave()
            assert (order, admission.waiting) == (["a", "b", "c", "d", "e"], 0)
        await assert_all_free(admission, 2)

    asyncio.run(scenario())


def test_who_comes_later_overtakes_nobody() -> None:
    async def scenario() -> None:
        admission, order = Admission(1, 10), list[str]()
        async with drawing(admission, "ab", order) as draws:
            leaving = asyncio.ensure_future(draws["a"].leave())
            late = Draw(admission, order, "late")  # asks in the moment in which the place is free
            await leaving
            assert order == ["a", "b"]
            await draws["b"].leave()
            assert order == ["a", "b", "late"]
            await late.leave()
        await assert_all_free(admission, 1)

    asyncio.run(scenario())


def come(admission: Admission, callers: str, order: list[str]) -> list[asyncio.Task[None]]:
    """One after the other, by their callers; each has a place for a moment."""
    number: Counter[str] = Counter()

    async def draw(caller: str, name: str) -> None:
        async with admission.place(caller):
            order.append(name)

    tasks = []
    for caller in callers:
        number[caller] += 1
        tasks.append(asyncio.ensure_future(draw(caller, f"{caller}{number[caller]}")))
    return tasks


def test_callers_take_turns_however_many_of_each_wait() -> None:
    async def scenario() -> None:
        admission, order = Admission(1, 10), list[str]()
        async with drawing(admission, "-", []) as draws:
            tasks = come(admission, "aaaabac", order)
            await settle()
            await draws["-"].leave()
            await asyncio.gather(*tasks)
        assert order == ["a1", "b1", "c1", "a2", "a3", "a4", "a5"]
        await assert_all_free(admission, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("callers", "away"),
    [("aaab", "a3"), ("aaabb", "a3 b2"), ("aabb", "b2"), ("abca", "a2"), ("abcd", "d1"), ("aaabc", "a3 a2")],
)
def test_a_full_queue_turns_the_last_of_who_has_most_in_it_away(callers: str, away: str) -> None:
    async def scenario() -> None:
        admission, order = Admission(1, 3), list[str]()
        async with drawing(admission, "-", []) as draws:
            tasks = come(admission, callers, order)
            await settle()
            assert admission.waiting == 3
            await draws["-"].leave()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        names = [f"{caller}{callers[:place].count(caller) + 1}" for place, caller in enumerate(callers)]
        assert {name for name, outcome in zip(names, outcomes, strict=True) if outcome} == set(away.split())
        assert all(isinstance(outcome, Busy | None) for outcome in outcomes)
        assert set(order) == set(names) - set(away.split())
        await assert_all_free(admission, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("queue", [0, 1, 3])
def test_who_finds_the_queue_full_is_turned_away_at_once(queue: int) -> None:
    async def scenario() -> None:
        admission = Admission(1, queue)
        async with drawing(admission, "abcd"[: 1 + queue], []):
            with pytest.raises(Busy, match=f"{queue} requests are waiting") as turned_away:
                await Draw(admission, [], "late").task
            assert turned_away.value.seconds > 0
            assert admission.waiting == queue
        await assert_all_free(admission, 1)

    asyncio.run(scenario())


def test_who_gives_up_waiting_leaves_the_queue() -> None:
    async def scenario() -> None:
        admission, order = Admission(1, 2), list[str]()
        async with drawing(admission, "abc", order) as draws:
            draws["b"].task.cancel()
            await settle()
            assert admission.waiting == 1
            late = Draw(admission, order, "late")
            await settle()
            assert admission.waiting == 2
            await draws["a"].leave()
            await draws["c"].leave()
            await late.leave()
        assert order == ["a", "c", "late"]
        await assert_all_free(admission, 1)

    asyncio.run(scenario())


def test_who_gives_up_in_the_moment_of_its_turn_passes_it_on() -> None:
    async def scenario() -> None:
        admission, order = Admission(1, 5), list[str]()
        async with AsyncExitStack() as place:
            await place.enter_async_context(admission.place("late"))
            async with drawing(admission, "bc", order) as draws:
                await place.aclose()
                draws["b"].task.cancel()  # it has its turn, and does not know yet
                await settle()
                assert draws["b"].task.cancelled()
                assert order == ["c"]
        await assert_all_free(admission, 1)

    asyncio.run(scenario())


def test_who_gives_up_in_the_moment_before_its_turn_is_passed_over() -> None:
    async def scenario() -> None:
        admission, order = Admission(1, 5), list[str]()
        async with AsyncExitStack() as place:
            await place.enter_async_context(admission.place("late"))
            async with drawing(admission, "bc", order) as draws:
                draws["b"].task.cancel()  # and does not know yet
                await place.aclose()
                await settle()
                assert draws["b"].task.cancelled()
                assert order == ["c"]
        await assert_all_free(admission, 1)

    asyncio.run(scenario())


def test_an_error_gives_the_place_back() -> None:
    async def scenario() -> None:
        admission = Admission(1, 0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with admission.place("a"):
                    raise ZeroDivisionError
        await assert_all_free(admission, 1)

    asyncio.run(scenario())


def test_one_caller_has_no_more_than_its_share_of_the_places() -> None:
    async def scenario() -> None:
        admission, order = Admission(3, 10, each=2), list[str]()
        places = [asyncio.ensure_future(held(admission, caller, order)) for caller in "aaab"]
        await settle()
        assert order == ["a", "a", "b"]  # there was a place for b, and none more for a
        places.append(asyncio.ensure_future(held(admission, "c", order)))
        await settle()
        places[2].cancel()  # who waits over its share
        places[0].cancel()
        await settle()
        assert order == ["a", "a", "b", "c"]
        for place in places:
            place.cancel()
        await asyncio.gather(*places, return_exceptions=True)
        await assert_all_free(admission, 2)

    asyncio.run(scenario())


async def held(admission: Admission, caller: str, order: list[str]) -> None:
    """Have a place until cancelled."""
    async with admission.place(caller):
        order.append(caller)
        await asyncio.Event().wait()


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=True))
def test_no_place_is_lost_or_given_twice_in_a_storm_of_cancellations(random: Random) -> None:
    async def scenario() -> None:
        admission, inside = Admission(3, 20), 0

        async def draw() -> None:
            nonlocal inside
            async with admission.place(random.choice("aab")):
                inside += 1
                assert inside <= 3
                try:
                    for _ in range(random.randrange(5)):
                        await asyncio.sleep(0)
                finally:
                    inside -= 1

        tasks: list[asyncio.Task[None]] = []
        for _ in range(400):
            tasks.append(asyncio.create_task(draw()))
            if random.random() < 0.7:
                random.choice(tasks).cancel()
            if random.random() < 0.4:
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)

        unexpected = [outcome for outcome in outcomes if not isinstance(outcome, Busy | asyncio.CancelledError | None)]
        assert unexpected == []
        await assert_all_free(admission, 3)

    asyncio.run(scenario())


# over HTTP


def test_what_draws_waits_or_is_turned_away_and_what_draws_nothing_is_answered_meanwhile(narrow: Server) -> None:
    turned_away = counted(narrow, "xavier_refusals_total", reason="busy")
    with (
        narrow.client() as client,
        narrow.connect(receive_buffer=1 << 14) as first,
        narrow.connect() as second,
        narrow.connect() as third,
    ):
        plan = client.post("/v1/plan", json=SMALL).json()
        first.sendall(request_bytes("POST", "/v1/weights", body(EIGHT_GIB)))
        wait_for(lambda: counted(narrow, "xavier_streams_active") == 1)
        second.sendall(post(SMALL, "/v1/weights"))
        wait_for(lambda: counted(narrow, "xavier_streams_waiting") == 1)

        for path in ("/v1/weights", "/v1/weights?format=json", "/v1/weights?statistics=measured", "/v1/statistics"):
            refused = client.post(path, json=SMALL)
            problem = assert_problem(refused, 503, "busy")
            assert "waiting" in problem["detail"]
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert_problem(client.get(plan["permalink"]), 503, "busy")

        assert client.post("/v1/plan", json=EIGHT_GIB).status_code == 200
        assert client.head(plan["permalink"]).status_code == 200
        assert client.get(plan["permalink"], headers={"If-None-Match": "*"}).status_code == 304
        assert client.get(plan["permalink"], headers={"Range": "bytes=-0"}).status_code == 416
        for path in ("/livez", "/readyz", "/metrics", "/v1/layers", "/v1/info"):
            assert client.get(path).status_code == 200
        assert counted(narrow, "xavier_streams_waiting") == 1  # still

        second.close()  # leaves the queue
        wait_for(lambda: counted(narrow, "xavier_streams_waiting") == 0)
        third.sendall(post(SMALL, "/v1/weights"))
        wait_for(lambda: counted(narrow, "xavier_streams_waiting") == 1)
        first.close()  # leaves its place
        assert whole(drain(third)).status_code == 200
        assert client.get(plan["permalink"]).status_code == 200
    assert counted(narrow, "xavier_refusals_total", reason="busy") == turned_away + 5


FILE = spec(tensor("w", 100, 100))
"""Of 40,000 bytes and a header."""
LARGER = spec(tensor("w", 200, 200))


def asked(server: Server, request: bytes, source: int) -> httpx.Response:
    """The answer to an address of this machine."""
    with socket.create_connection((server.host, server.port), 30, (f"127.0.0.{source}", 0)) as connection:
        connection.sendall(request)
        return whole(drain(connection), head_only=request.startswith(b"HEAD "))


def part(path: str, first_last: str) -> bytes:
    return get(path, Range=f"bytes={first_last}")


def test_an_address_has_a_budget_and_ranges_within_it_are_given(thrifty: Server) -> None:
    answers = [asked(thrifty, post(FILE, "/v1/weights"), 21) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 429, 429]
    problem = assert_problem(answers[1], 429, "over-budget")
    assert "at most 50000 bytes a minute" in problem["detail"]
    assert 30 < int(answers[1].headers["retry-after"]) <= 60
    path = answers[0].headers["content-location"]
    assert asked(thrifty, part(path, "0-999"), 21).content == answers[0].content[:1000]
    assert asked(thrifty, part(path, "-20000"), 21).status_code == 429
    assert asked(thrifty, part(path, "-5000"), 21).content == answers[0].content[-5000:]
    for _ in range(3):  # what draws nothing costs nothing
        assert asked(thrifty, get(path, "HEAD"), 21).status_code == 200
        assert asked(thrifty, post(FILE), 21).status_code == 200
        assert asked(thrifty, get(path, If_None_Match="*"), 21).status_code == 304
    assert asked(thrifty, post(FILE, "/v1/statistics"), 21).status_code == 429
    assert asked(thrifty, post(FILE, "/v1/weights?format=json"), 21).status_code == 429
    assert asked(thrifty, post(FILE, "/v1/weights"), 22).status_code == 200


def test_a_file_beyond_the_budget_can_be_had_in_ranges_only(thrifty: Server) -> None:
    path = asked(thrifty, post(LARGER), 23).json()["permalink"]

    assert (
        "ask for less at once, by ranges" in assert_problem(asked(thrifty, get(path), 23), 429, "over-budget")["detail"]
    )
    assert asked(thrifty, part(path, "0-49999"), 23).status_code == 206
    assert asked(thrifty, part(path, "50000-50000"), 23).status_code == 429


# what is drawn whole


def orthogonal(size: int, seed: int = 1) -> Spec:
    return spec(tensor("w", size, size, initializer="orthogonal"), seed=seed)


LARGEST = 4096
"""Half a minute of work for a processor."""


def path_of(server: Server, document: Spec) -> str:
    return str(answer_to(server, post(document)).json()["permalink"])


def test_a_small_tensor_is_drawn_whole_while_a_large_one_is_in_work_which_ends_when_its_reader_leaves(
    narrow: Server,
) -> None:
    drawn = counted(narrow, "xavier_drawn_bytes_total")
    path = path_of(narrow, orthogonal(LARGEST))
    with narrow.client() as client, narrow.connect() as connection:
        connection.sendall(part(path, "-1"))
        wait_for(lambda: counted(narrow, "xavier_streams_active") == 1)

        for number, target in enumerate(("/v1/weights", "/v1/weights?format=json", "/v1/statistics")):
            assert client.post(target, json=orthogonal(4, seed=number)).status_code == 200
        assert client.post("/v1/weights", json=SMALL).status_code == 200
        assert counted(narrow, "xavier_streams_active") == 1
        assert counted(narrow, "xavier_drawn_bytes_total") - drawn < 4 * LARGEST

    assert_idle_soon(narrow)
    assert counted(narrow, "xavier_streams_active") == 0


@pytest.mark.parametrize("target", ["/v1/statistics", "/v1/weights?statistics=measured", "/v1/weights"])
def test_a_large_tensor_is_in_work_until_the_last_who_waits_has_left(server: Server, target: str) -> None:
    document = orthogonal(LARGEST, seed=len(target))
    with server.connect() as first, server.connect() as second:
        for connection in (first, second):
            connection.sendall(post(document, target))
        wait_for(lambda: counted(server, "xavier_streams_active") == 2)
        first.close()
        wait_for(lambda: counted(server, "xavier_streams_active") == 1)
        still_at_work = server.cpu_seconds() + 0.5
        wait_for(lambda: server.cpu_seconds() > still_at_work)

    assert_idle_soon(server)


def test_large_tensors_have_a_queue_of_their_own_which_is_bounded(narrow: Server) -> None:
    paths = [path_of(narrow, orthogonal(LARGEST, seed)) for seed in range(3)]
    with narrow.connect() as first, narrow.connect() as second, narrow.connect() as third:
        first.sendall(part(paths[0], "-1"))
        wait_for(lambda: counted(narrow, "xavier_streams_active") == 1)
        second.sendall(post(orthogonal(LARGEST, 1), "/v1/statistics"))
        wait_for(lambda: counted(narrow, "xavier_streams_waiting") == 1)

        third.sendall(part(paths[2], "-1"))
        refused = whole(drain(third))
        assert_problem(refused, 503, "busy")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        header = asked(narrow, part(paths[2], "0-7"), 1)  # needs nothing of the tensor
        assert header.status_code == 206
        assert asked(narrow, post(orthogonal(4), "/v1/weights"), 1).status_code == 200
        second.close()
        wait_for(lambda: counted(narrow, "xavier_streams_waiting") == 0)

    assert_idle_soon(narrow)


def test_a_range_is_charged_what_must_be_drawn_for_it_and_what_is_kept_is_charged_as_it_is_sent(
    thrifty: Server,
) -> None:
    paths = [path_of(thrifty, orthogonal(100, seed)) for seed in (1, 2)]

    def statuses(path: str, count: int, source: int) -> list[int]:
        return [asked(thrifty, part(path, f"-{number}"), source).status_code for number in range(1, 1 + count)]

    assert statuses(paths[0], 4, 11) == [206] * 4
    problem = assert_problem(asked(thrifty, part(paths[1], "-1"), 11), 429, "over-budget")
    assert "9991 are left, and this asks for 40000" in problem["detail"]
    assert statuses(paths[1], 1, 12) == [206]
    assert statuses(paths[1], 1, 11) == [206]  # somebody has had it drawn
    assert asked(thrifty, post(orthogonal(100, 3), "/v1/weights"), 13).status_code == 200
