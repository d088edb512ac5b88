"""A cache of arrays that must be drawn as a whole, because their elements depend on each other.

All chunks, threads and requests share it. When it is full, the least recently used arrays are evicted. An evicted array
can still be found for as long as someone holds a reference to it.
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
"""The most memory that cached arrays may take, not counting evicted arrays that are still in use."""

ENTRY_BYTES: Final = 1 << 10
"""The memory of a cached array besides its elements: the array object, its key, and its dictionary entries."""


class Abandoned(Exception):
    """No one is waiting any longer for what is being drawn."""


_is_wanted: ContextVar[Callable[[], bool]] = ContextVar("_is_wanted", default=lambda: True)


@contextmanager
def drawing_while(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Stop drawing in this thread, within the context, as soon as the result is no longer wanted.

    Raises:
        Abandoned: the result is no longer wanted, at the start or while it is being drawn.
    """
    token = _is_wanted.set(is_wanted)
    try:
        check_wanted()
        yield
    finally:
        _is_wanted.reset(token)


def check_wanted() -> None:
    """Check whether to go on; long computations call this every few milliseconds.

    Raises:
        Abandoned: no one is waiting for what this thread draws.
    """
    if not _is_wanted.get()():
        raise Abandoned


class Cache:
    """A cache of drawn arrays.

    Args:
        most_bytes: the most that the arrays may take, each with ENTRY_BYTES; the array drawn last is always kept.
    """

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._recent: OrderedDict[Hashable, Array] = OrderedDict()
        self._in_use: WeakValueDictionary[Hashable, Array] = WeakValueDictionary()
        self._promises: dict[Hashable, Future[Array]] = {}

    def find(self, key: Hashable) -> Array | None:
        """Return an array that is available without waiting, or None."""
        with self._lock:
            return self._find(key)

    def get(self, key: Hashable, draw: Callable[[], Array]) -> Array:
        """Return an array; the first thread that asks for it draws it, while the others wait. It is read-only.

        Args:
            key: everything that the array depends on.
            draw: draws the array.

        Raises:
            Abandoned: this thread was drawing the array, and no one is waiting for it any longer.
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
        except Abandoned:  # by the thread that asked first, but this one still needs the array
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
"""The cache of this process."""


@dataclass(slots=True, eq=False)
class Materialization:
    """A part of a tensor that must be drawn as a whole. It keeps its array alive once the array is drawn or found.

    Attributes:
        cache: holds the array.
        key: everything that the array depends on.
        elements: the number of elements to draw.
        work: roughly how many nanoseconds drawing takes.
        draw: draws the array.
        array: the array; None until it is drawn or found.
    """

    cache: Cache
    key: Hashable
    elements: int
    work: int
    draw: Callable[[], Array]
    array: Array | None = None

    def find(self) -> bool:
        """Whether the array is available without drawing it; if so, keep it."""
        if self.array is None:
            self.array = self.cache.find(self.key)
        return self.array is not None

    def get(self) -> Array:
        """Return the array, and draw it if necessary; see Cache.get."""
        self.array = self.cache.get(self.key, self.draw)
        return self.array
