"""What is kept: made once, by what was asked for last, and counted for as long as somebody has it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from service.api.guard import plan_cache as module
from service.api.guard.plan_cache import PlanCache, PlansInUse, Sized, Spellings
from service.errors import Busy, InvalidSpec


class Thing:
    """Something of a size."""

    def __init__(self, memory: int) -> None:
        self.memory = memory


def test_what_is_kept_is_made_once_while_there_is_room() -> None:
    kept, made = PlanCache(30), list[str]()

    def make(name: str) -> Thing:
        made.append(name)
        return Thing(10)

    for name in "abcabdaabc":
        kept.get(name, partial(make, name))

    assert made == ["a", "b", "c", "d", "c"]  # when d came c had not been asked for longest, and then d
    assert [kept.find(name) is not None for name in "abcd"] == [True, True, True, False]


def test_what_is_larger_than_all_room_drives_nothing_out() -> None:
    kept = PlanCache(30)
    small = kept.get("small", lambda: Thing(20))

    assert kept.get("large", lambda: Thing(31)).memory == 31
    assert kept.find("large") is None
    assert kept.find("small") is small


def test_simultaneous_askers_have_one_thing_made_or_one_error() -> None:
    kept, made, all_ask = PlanCache(100), list[int](), threading.Event()

    def make() -> Sized:
        assert all_ask.wait(20)
        made.append(1)
        return Thing(1)

    def fail() -> Sized:
        made.append(2)
        raise InvalidSpec([])

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(kept.get, "a", make) for _ in range(4)]
        all_ask.set()
        assert len({id(each.result()) for each in asked}) == 1
    with pytest.raises(InvalidSpec):
        kept.get("b", fail)
    with pytest.raises(InvalidSpec):
        kept.get("b", fail)
    assert made == [1, 2, 2]  # an error is not kept


def test_what_is_in_use_is_counted_by_caller_until_nobody_has_it() -> None:
    in_use = PlansInUse(100)
    things = {"a": [Thing(49), Thing(1)], "b": [Thing(30)]}
    for caller, owned in things.items():
        in_use.check(caller)
        for thing in owned:
            in_use.count(caller, thing)

    with pytest.raises(Busy):
        in_use.check("a")  # has half of all
    in_use.check("b")
    more = Thing(20)
    in_use.count("c", more)
    with pytest.raises(Busy):
        in_use.check("d")  # all is taken
    del more, thing, owned
    things["a"].clear()
    in_use.check("a")


def test_canonical_forms_are_remembered_and_never_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SPELLINGS", 3)
    spellings = Spellings()
    for number in range(3):
        spellings.learn(bytes([number]), b"canonical")

    assert [spellings.canonical(bytes([number])) for number in range(4)] == [b"canonical"] * 3 + [b"\3"]
    spellings.learn(b"\4", b"another")
    assert [spellings.canonical(bytes([number])) for number in (0, 4)] == [b"\0", b"another"]
