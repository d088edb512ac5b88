"""Turns: a queue in which owners take turns, however many items each of them has put into it."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """A queue that serves owners in turn, and the items of one owner in the order of their arrival."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, owner: str, item: Item) -> None:
        """Add an item behind all others of its owner."""
        self._lines.setdefault(owner, deque()).append(item)
        self._waiting += 1

    def take(self) -> Item:
        """Remove and return the next item; its owner then goes behind all others."""
        return self.take_of(next(iter(self._lines)))

    def take_of(self, owner: str) -> Item:
        """Remove and return the next item of an owner, who then goes behind all others."""
        line = self._lines.pop(owner)
        item = line.popleft()
        if line:
            self._lines[owner] = line
        self._waiting -= 1
        return item

    def owners(self) -> list[str]:
        """The owners, in the order of their turns."""
        return list(self._lines)

    def remove(self, owner: str, item: Item) -> None:
        """Remove an item, if it is still there."""
        line = self._lines.get(owner, ())
        if item in line:
            self._lines[owner].remove(item)
            self._waiting -= 1
            if not self._lines[owner]:
                del self._lines[owner]

    def length(self, owner: str) -> int:
        """The number of items of one owner."""
        return len(self._lines.get(owner, ()))

    def drop_for(self, owner: str) -> Item | None:
        """Remove the last item of the owner who has the most; None if `owner`, with one more, would have as many."""
        greedy = max(self._lines, key=self.length, default=owner)
        if self.length(greedy) <= self.length(owner) + 1:
            return None
        self._waiting -= 1
        return self._lines[greedy].pop()
