"""Tensors that are drawn whole, because an element depends on others; each is drawn once and kept for a while.

What is kept is shared by all chunks, threads and requests, and the least recently used goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Final

from numpy.typing import NDArray

Array = NDArray[Any]

KEPT_BYTES: Final = 256 << 20
"""What is kept at most, beside what is just in use."""


class Kept:
    """Arrays by what they were drawn from.

    Args:
        most_bytes: the sum of their sizes; the array drawn last is kept in any case.
    """

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._arrays: OrderedDict[Hashable, Future[Array]] = OrderedDict()

    def has(self, key: Hashable) -> bool:
        """Whether an array can be had without waiting."""
        with self._lock:
            found = self._arrays.get(key)
            return found is not None and found.done()

    def get(self, key: Hashable, draw: Callable[[], Array]) -> Array:
        """An array, drawn by the first thread that asks while the others wait; it must not be written to.

        Args:
            key: all that it depends on.
            draw: makes it.
        """
        with self._lock:
            found = self._arrays.get(key)
            if found is not None:
                self._arrays.move_to_end(key)
            else:
                ours = self._arrays[key] = Future()
        return found.result() if found is not None else self._fulfil(key, ours, draw)

    def _fulfil(self, key: Hashable, promise: Future[Array], draw: Callable[[], Array]) -> Array:
        try:
            array = draw()
        except BaseException as error:
            with self._lock:
                del self._arrays[key]
            promise.set_exception(error)
            raise
        array.flags.writeable = False
        with self._lock:
            promise.set_result(array)
            self._arrays.move_to_end(key)  # others may have been used meanwhile
            self._make_room()
        return array

    def _make_room(self) -> None:
        done = [key for key, promise in self._arrays.items() if promise.done()]
        total = sum(self._arrays[key].result().nbytes for key in done)
        for key in done[:-1]:
            if total <= self._most_bytes:
                break
            total -= self._arrays.pop(key).result().nbytes


kept: Final = Kept()
"""Of this process."""
