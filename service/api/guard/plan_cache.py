"""The cache of plans, and the count of the memory that all plans in use take."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import RLock
from typing import Any, Final, Protocol
from weakref import finalize

from service.errors import Busy

MOST_SPELLINGS: Final = 10_000
"""Most texts whose canonical form is remembered."""


class Sized(Protocol):
    """An object that knows how much memory it takes."""

    @property
    def memory(self) -> int:
        """The approximate size in bytes."""


class PlansInUse:
    """Counts the memory of all plans in use, whether they are in the cache or not.

    Args:
        most_bytes: the limit for all callers together, of which one may take half.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = RLock()
        self._taken: Counter[str] = Counter()

    def check(self, caller: str) -> None:
        """Check whether a caller may have another large plan.

        Raises:
            Busy: all callers together, or this one, use as much memory as they may.
        """
        with self._lock:
            if self._taken.total() >= self._most_bytes or self._taken[caller] >= self._most_bytes / 2:
                raise Busy("plans of large specifications already use all the memory that they may; come back later")

    def count(self, caller: str, plan: Sized) -> None:
        """Count a plan for as long as the object exists."""
        size = plan.memory
        with self._lock:
            self._taken[caller] += size
        finalize(plan, self._forget, caller, size)

    def _forget(self, caller: str, size: int) -> None:
        with self._lock:
            self._taken[caller] -= size
            if not self._taken[caller]:
                del self._taken[caller]


class Spellings:
    """Maps the digests of texts to those of their canonical forms, so that no text is parsed again and again."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def canonical(self, digest: bytes) -> bytes:
        """The digest of the canonical form of a text, or its own digest if the text is canonical or unknown."""
        return self._known.get(digest, digest)

    def learn(self, digest: bytes, canonical: bytes) -> None:
        """Remember the canonical form of a text; all are forgotten when there are too many."""
        if len(self._known) >= MOST_SPELLINGS:
            self._known.clear()
        self._known[digest] = canonical


class PlanCache:
    """A cache of the objects that were asked for last, up to a sum of estimated sizes.

    Args:
        most_bytes: the limit of their memory; an object that is larger by itself is not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._taken = 0
        self._lock = RLock()
        self._kept: OrderedDict[Hashable, Sized] = OrderedDict()
        self._promises: dict[Hashable, Future[Sized]] = {}

    def find(self, key: Hashable) -> Any:
        """The object that is kept under a key; None if there is none."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def get(self, key: Hashable, make: Callable[[], Sized]) -> Any:
        """The object of a key, made by the first thread that asks for it while the others wait."""
        ours: Future[Sized] = Future()
        with self._lock:
            found = self.find(key)
            promise = self._promises.setdefault(key, ours) if found is None else None
        if promise is ours:
            return self._made(key, ours, make)
        return promise.result() if promise else found

    def _made(self, key: Hashable, promise: Future[Sized], make: Callable[[], Sized]) -> Sized:
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                del self._promises[key]
            promise.set_exception(error)
            raise
        with self._lock:
            del self._promises[key]
            self._keep(key, made)
        promise.set_result(made)
        return made

    def _keep(self, key: Hashable, made: Sized) -> None:
        """Keep an object if it fits, and drop the least recently used ones."""
        if made.memory > self._most_bytes:
            return
        self._kept[key] = made
        self._taken += made.memory
        while self._taken > self._most_bytes:
            _, gone = self._kept.popitem(last=False)
            self._taken -= gone.memory
