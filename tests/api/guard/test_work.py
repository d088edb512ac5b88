"""PlannerThreads: small before large, callers in turn, each plan made once, and what is kept of it."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest

from service.api.guard import work as planning
from service.api.guard.work import LARGE_PLAN, LARGE_TEXT, Lane, PlannerThreads
from service.api.http.options import FileOptions, SpecOptions
from service.api.http.sources import Source, linked, posted
from service.errors import Busy, InvalidSpec, UnknownPermalink
from service.formats.safetensors import MODEL, SAFETENSORS
from service.limits import Limits
from service.plan import Outline, make_outline
from service.schema.canonical import canonical_document, canonical_json
from service.schema.parsing import read_spec
from service.schema.permalinks import encode_permalink
from tests.api.answers import assert_problem
from tests.api.servers import Server, request_bytes, wait_for
from tests.api.specs import SMALL, Spec, body, linear, spec
from tests.api.test_hostile import counted, get, post, whole
from tests.conftest import StartServer

MANY: Spec = spec({"type": "repeat", "name": "h", "times": LARGE_PLAN, "layers": [linear(bias=False)]})
CANONICAL = canonical_json(canonical_document(read_spec(body(SMALL))))
OPTIONS = FileOptions()


# lanes


def test_in_a_lane_callers_take_turns_however_much_each_asks_for() -> None:
    order: list[str] = []

    async def scenario() -> None:
        lane, begin = Lane("lane", 20), threading.Event()
        first = asyncio.ensure_future(lane.run("greedy", lambda: begin.wait(20)))
        asked = [asyncio.ensure_future(lane.run("greedy", lambda: order.append("greedy"))) for _ in range(4)]
        await asyncio.sleep(0)
        asked += [asyncio.ensure_future(lane.run(name, lambda name=name: order.append(name))) for name in "ab"]  # type: ignore[misc]  # mypy does not infer a default
        await asyncio.sleep(0)
        begin.set()
        await asyncio.gather(first, *asked)
        lane.close()

    asyncio.run(scenario())

    assert order == ["greedy", "a", "b", "greedy", "greedy", "greedy"]


def test_of_a_full_queue_the_greediest_gives_way_but_not_what_has_begun() -> None:
    async def scenario() -> list[Any]:
        lane, begin = Lane("lane", 3), threading.Event()
        first = asyncio.ensure_future(lane.run("greedy", lambda: begin.wait(20)))
        await asyncio.sleep(0)
        greedy = [asyncio.ensure_future(lane.run("greedy", lambda: 1)) for _ in range(4)]
        await asyncio.sleep(0)
        other = asyncio.ensure_future(lane.run("other", lambda: 2))
        begun = asyncio.ensure_future(lane.run("other", lambda: 3, begun=True))
        await asyncio.sleep(0)
        begin.set()
        outcomes = await asyncio.gather(first, *greedy, other, begun, return_exceptions=True)
        lane.close()
        return outcomes

    outcomes = asyncio.run(scenario())

    assert [type(each) if isinstance(each, Busy) else each for each in outcomes] == [True, 1, 1, Busy, Busy, 2, 3]


# which lane


@pytest.fixture(name="lanes")
def _lanes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads in which outlines were made and expanded."""
    threads: list[str] = []
    expanded = Outline.expanded

    def outlined(*arguments: Any) -> Outline:
        threads.append(threading.current_thread().name.partition("_")[0])
        return make_outline(*arguments)

    def expand(outline: Outline) -> Any:
        threads.append(threading.current_thread().name.partition("_")[0])
        return expanded(outline)

    monkeypatch.setattr(planning, "make_outline", outlined)
    monkeypatch.setattr(Outline, "expanded", expand)
    return threads


def asked(*sources: Source, options: FileOptions = OPTIONS) -> list[Any]:
    """The files of some specifications, asked for one after the other."""

    async def scenario() -> list[Any]:
        desk = PlannerThreads(Limits(), 10, 1 << 20, 1 << 30)
        try:
            return [await desk.file("somebody", source, options, SAFETENSORS) for source in sources]
        finally:
            desk.close()

    return asyncio.run(scenario())


def padded(document: Spec) -> bytes:
    return body(document).ljust(LARGE_TEXT)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (body(SMALL), ["plan small", "plan small"]),
        (body(MANY), ["plan small", "plan large"]),
        (padded(SMALL), ["plan large", "plan large"]),
        (padded(MANY), ["plan large", "plan large"]),
    ],
    ids=["small", "of many tensors", "long", "long and of many tensors"],
)
def test_a_lane_is_chosen_by_size_and_then_by_cost(raw: bytes, expected: list[str], lanes: list[str]) -> None:
    asked(posted(raw))

    assert lanes == expected


def test_a_permalink_counts_by_what_it_inflates_to(lanes: list[str]) -> None:
    asked(linked(encode_permalink(padded(SMALL))))

    assert lanes == ["plan large"] * 2


def test_a_file_is_planned_once_for_all_spellings_and_ways_to_ask(lanes: list[str]) -> None:
    spellings = [body(SMALL), body(SMALL | {"dtype": "float32", "stream": 1}), CANONICAL]

    files = asked(*map(posted, spellings), linked(encode_permalink(CANONICAL)), linked(encode_permalink(body(SMALL))))

    assert len({id(file) for file in files}) == 1
    assert len(lanes) == 2 + 1  # what has been read once, or is canonical itself, is not even read


def test_options_have_files_of_their_own(lanes: list[str]) -> None:
    by_link = linked(encode_permalink(CANONICAL))

    file, again = asked(by_link, by_link, options=FileOptions(seed=7, dtype="F16"))  # type: ignore[arg-type]  # as in a query
    [other] = asked(by_link, options=FileOptions(statistics="none"))

    assert file is again
    assert len(lanes) == 2 + 2
    assert file.plan.spec.seed == 7
    assert len({file.etag, other.etag, asked(by_link)[0].etag}) == 3


def test_a_plan_alone_is_kept_apart_from_files() -> None:
    async def scenario() -> bool:
        desk = PlannerThreads(Limits(), 10, 1 << 20, 1 << 30)
        plans = [await desk.plan("somebody", posted(CANONICAL), SpecOptions()) for _ in range(2)]
        file = await desk.file("somebody", posted(CANONICAL), OPTIONS, SAFETENSORS)
        desk.close()
        return plans[0] is plans[1] and file.plan is not plans[0]

    assert asyncio.run(scenario())


def test_the_only_file_is_planned_once_whether_it_is_named_or_not() -> None:
    async def scenario() -> tuple[Any, Any]:
        desk = PlannerThreads(Limits(), 10, 1 << 20, 1 << 30)
        unnamed = await desk.file("somebody", posted(CANONICAL), OPTIONS, SAFETENSORS)
        named = await desk.file("somebody", posted(CANONICAL), OPTIONS, SAFETENSORS, MODEL)
        desk.close()
        return unnamed, named

    unnamed, named = asyncio.run(scenario())
    assert unnamed is named


def test_what_is_refused_is_refused_every_time() -> None:
    for _ in range(2):
        with pytest.raises(UnknownPermalink):
            asked(linked("garbage"))
        with pytest.raises(InvalidSpec):
            asked(posted(body(spec(linear(), linear()))))


def test_large_plans_that_are_in_use_take_no_more_memory_than_they_may() -> None:
    [one] = asked(posted(body(MANY)))

    async def scenario() -> None:
        desk = PlannerThreads(Limits(), 10, kept_bytes=0, used_bytes=3 * one.memory)

        async def ask(caller: str, document: Spec) -> Any:
            return await desk.file(caller, posted(body(document)), OPTIONS, SAFETENSORS)

        mine = [await ask("one", MANY | {"seed": seed}) for seed in (1, 2)]
        with pytest.raises(Busy):
            await ask("one", MANY | {"seed": 3})  # has more than half of all
        small = await ask("one", SMALL)
        theirs = await ask("other", MANY | {"seed": 3})
        with pytest.raises(Busy):
            await ask("third", MANY | {"seed": 4})  # all is taken
        mine.clear()
        again = await ask("one", MANY | {"seed": 3})
        desk.close()
        assert again.etag == theirs.etag != small.etag

    asyncio.run(scenario())


# over HTTP


def test_who_finds_the_queue_of_plans_full_is_told_to_come_back(start_server: StartServer) -> None:
    server = start_server("--max-planning-queue", "0")
    large = body(spec(*(linear(str(number), number + 1) for number in range(20_000))))

    with server.connect() as connection:
        connection.sendall(request_bytes("POST", "/v1/plan", large))
        wait_for(lambda: counted(server, "xavier_plans_active") == 1)
        refused = whole(server.exchange(request_bytes("POST", "/v1/plan", large, Connection="close")))
        small = whole(server.exchange(post(SMALL, "/v1/plan")))

    assert_problem(refused, 503, "busy")
    assert int(refused.headers["retry-after"]) > 0
    assert small.status_code == 200
    wait_for(lambda: counted(server, "xavier_plans_active") == 0)
    assert whole(server.exchange(get("/livez"))).status_code == 200


def test_a_large_description_comes_in_pieces_and_is_the_same(client: httpx.Client) -> None:
    large = client.post("/v1/plan", json=MANY)
    few = client.post("/v1/plan", json=SMALL)

    assert "content-length" not in large.headers
    assert "content-length" in few.headers
    assert [entry["name"] for entry in large.json()["tensors"]] == [f"h.{n}.fc1.weight" for n in range(LARGE_PLAN)]
    assert json.loads(large.content)["totals"]["tensors"] == LARGE_PLAN


def test_a_client_that_leaves_ends_the_description(server: Server) -> None:
    endless = body(spec({"type": "repeat", "name": "h", "times": 30_000, "layers": [linear(bias=False)]}))

    with server.connect(receive_buffer=4096) as connection:
        connection.sendall(request_bytes("POST", "/v1/plan?statistics=none", endless))
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")

    wait_for(lambda: counted(server, "xavier_plans_active") == 0)
