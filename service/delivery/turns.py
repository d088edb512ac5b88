"""Turns: a line in which owners take turns, however many of their own things each has put into it."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """Things that wait: the owners in turn, and the things of one owner in the order of coming."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, owner: str, item: Item) -> None:
        """Put something behind all else of its owner."""
        self._lines.setdefault(owner, deque()).append(item)
        self._waiting += 1

    def take(self) -> Item:
        """The next thing; its owner then goes behind all others."""
        return self.take_of(next(iter(self._lines)))

    def take_of(self, owner: str) -> Item:
        """The next thing of an owner, who then goes behind all others."""
        line = self._lines.pop(owner)
        item = line.popleft()
        if line:
            self._lines[owner] = line
        self._waiting -= 1
        return item

    def owners(self) -> list[str]:
        """Whose turn it is, one after the other."""
        return list(self._lines)

    def remove(self, owner: str, item: Item) -> None:
        """Take something out of the line, if it is still there."""
        line = self._lines.get(owner, ())
        if item in line:
            self._lines[owner].remove(item)
            self._waiting -= 1
            if not self._lines[owner]:
                del self._lines[owner]

    def length(self, owner: str) -> int:
        """How many things of one owner wait."""
        return len(self._lines.get(owner, ()))

    def drop_for(self, owner: str) -> Item | None:
        """Take out the last thing of whoever has the most; None where the owner would then have as many itself."""
        greedy = max(self._lines, key=self.length, default=owner)
        if self.length(greedy) <= self.length(owner) + 1:
            return None
        self._waiting -= 1
        return self._lines[greedy].pop()
