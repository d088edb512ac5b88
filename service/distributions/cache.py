"""What must be drawn whole, because an element depends on others: each is drawn once and kept for a while.

What is kept is shared by all chunks, threads and requests, and the least recently used goes first. What somebody still
holds is found as long as they do.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakValueDictionary

from numpy.typing import NDArray

Array = NDArray[Any]

CACHE_BYTES: Final = 256 << 20
"""What is kept at most, beside what is just in use."""

ENTRY_BYTES: Final = 1 << 10
"""What an array takes besides its elements: itself, its key, its places in dictionaries."""


class Abandoned(Exception):
    """Nobody waits any more for what is being drawn."""


_is_wanted: ContextVar[Callable[[], bool]] = ContextVar("_is_wanted", default=lambda: True)


@contextmanager
def drawing_while(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Let what this thread draws within the context end with Abandoned once it is not wanted any more.

    Raises:
        Abandoned: it is not wanted from the beginning.
    """
    token = _is_wanted.set(is_wanted)
    try:
        check_wanted()
        yield
    finally:
        _is_wanted.reset(token)


def check_wanted() -> None:
    """Called by long work every few milliseconds.

    Raises:
        Abandoned: nobody waits for what this thread draws.
    """
    if not _is_wanted.get()():
        raise Abandoned


class Cache:
    """Arrays by what they were drawn from.

    Args:
        most_bytes: the sum of their sizes, and of ENTRY_BYTES each; the array drawn last is kept in any case.
    """

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._recent: OrderedDict[Hashable, Array] = OrderedDict()
        self._in_use: WeakValueDictionary[Hashable, Array] = WeakValueDictionary()
        self._promises: dict[Hashable, Future[Array]] = {}

    def find(self, key: Hashable) -> Array | None:
        """An array that can be had without waiting; None where there is none."""
        with self._lock:
            return self._find(key)

    def get(self, key: Hashable, draw: Callable[[], Array]) -> Array:
        """An array, drawn by the first thread that asks while the others wait; it must not be written to.

        Args:
            key: all that it depends on.
            draw: makes it.

        Raises:
            Abandoned: it was drawn here, and nobody waits for it any more.
        """
        with self._lock:
            array = self._find(key)
            if array is not None:
                return array
            promise = self._promises.get(key)
            if promise is None:
                ours = self._promises[key] = Future()
        if promise is None:
            return self._fulfil(key, ours, draw)
        try:
            return promise.result()
        except Abandoned:  # by those who asked first; we still wait
            return self.get(key, draw)

    def _find(self, key: Hashable) -> Array | None:
        array = self._in_use.get(key)
        if key in self._recent:
            self._recent.move_to_end(key)
        return array

    def _fulfil(self, key: Hashable, promise: Future[Array], draw: Callable[[], Array]) -> Array:
        try:
            array = draw()
        except BaseException as error:
            with self._lock:
                del self._promises[key]
            promise.set_exception(error)
            raise
        array.flags.writeable = False
        with self._lock:
            del self._promises[key]
            self._in_use[key] = self._recent[key] = array
            self._make_room(array)
        promise.set_result(array)
        return array

    def _make_room(self, drawn: Array) -> None:
        self._bytes += _size(drawn)
        while self._bytes > self._most_bytes and len(self._recent) > 1:
            _, oldest = self._recent.popitem(last=False)
            self._bytes -= _size(oldest)


def _size(array: Array) -> int:
    return array.nbytes + ENTRY_BYTES


cache: Final = Cache()
"""Of this process."""


@dataclass(slots=True, eq=False)
class Materialization:
    """A part of a tensor that must be drawn together. Who holds this holds its array, once there is one.

    Attributes:
        cache: where it is found, and put.
        key: all that it depends on.
        elements: how many are drawn.
        work: about how many nanoseconds that takes.
        draw: draws them.
        array: what was drawn.
    """

    cache: Cache
    key: Hashable
    elements: int
    work: int
    draw: Callable[[], Array]
    array: Array | None = None

    def find(self) -> bool:
        """Whether it can be had without drawing; it is then held."""
        if self.array is None:
            self.array = self.cache.find(self.key)
        return self.array is not None

    def get(self) -> Array:
        """Its array, drawn where there is none; see Cache.get."""
        self.array = self.cache.get(self.key, self.draw)
        return self.array
