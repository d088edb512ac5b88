"""Turns: owners take turns, and nothing is lost, given twice, or given to who has left."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from service.delivery.turns import Turns

OWNERS = st.sampled_from("abc")


def taken(turns: Turns[int]) -> list[int]:
    return [turns.take() for _ in range(len(turns))]


@given(st.lists(OWNERS))
def test_whoever_has_few_is_served_among_the_first_of_all(owners: list[str]) -> None:
    turns: Turns[int] = Turns()
    of_owner = defaultdict[str, list[int]](list)
    for number, owner in enumerate(owners):
        turns.add(owner, number)
        of_owner[owner].append(number)

    rounds = [
        {line[place] for line in of_owner.values() if place < len(line)}
        for place in range(max(map(len, of_owner.values()), default=0))
    ]
    order = taken(turns)

    for expected in rounds:
        assert set(order[: len(expected)]) == expected
        del order[: len(expected)]
    assert order == []


@given(st.lists(OWNERS), st.data())
def test_what_is_removed_is_not_taken_and_what_is_gone_cannot_be_removed(
    owners: list[str], data: st.DataObject
) -> None:
    turns: Turns[int] = Turns()
    for number, owner in enumerate(owners):
        turns.add(owner, number)
    gone = data.draw(st.sets(st.integers(0, len(owners) - 1))) if owners else set()

    for number in [*gone, *gone]:
        turns.remove(owners[number], number)

    assert len(turns) == len(owners) - len(gone)
    assert set(taken(turns)) == set(range(len(owners))) - gone


@given(st.lists(OWNERS, min_size=1), OWNERS)
def test_room_is_made_by_who_has_at_least_two_more(owners: list[str], newcomer: str) -> None:
    turns: Turns[int] = Turns()
    for number, owner in enumerate(owners):
        turns.add(owner, number)
    most = max("abc", key=owners.count)

    dropped = turns.drop_for(newcomer)

    if owners.count(most) < owners.count(newcomer) + 2:
        assert dropped is None
    else:
        assert dropped is not None
        assert owners.count(owners[dropped]) == owners.count(most)
        assert owners[dropped] not in owners[dropped + 1 :]
        assert dropped not in taken(turns)
