"""What is kept of plans: those that were asked for last, and how much memory all of them take."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import RLock
from typing import Any, Final, Protocol
from weakref import finalize

from service.errors import Busy

MOST_SPELLINGS: Final = 10_000
"""Texts whose canonical form is remembered."""


class Sized(Protocol):
    """What says how much memory it takes."""

    @property
    def memory(self) -> int:
        """Bytes, about."""


class PlansInUse:
    """How much memory plans take that somebody has, whether they are kept or not.

    Args:
        most_bytes: for all callers together, of which one may have half.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = RLock()
        self._taken: Counter[str] = Counter()

    def check(self, caller: str) -> None:
        """Look whether a caller may have another large plan.

        Raises:
            Busy: all callers, or this one, have as much as they may.
        """
        with self._lock:
            if self._taken.total() >= self._most_bytes or self._taken[caller] >= self._most_bytes / 2:
                raise Busy("the plans of large specifications that are being answered take all memory that they may")

    def count(self, caller: str, plan: Sized) -> None:
        """Count a plan for as long as it is there."""
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
    """The canonical forms of texts that were read, by digests of both, so that none is read again and again."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def canonical(self, digest: bytes) -> bytes:
        """The digest of the canonical form of a text, as far as it is known; of what is canonical, its own."""
        return self._known.get(digest, digest)

    def learn(self, digest: bytes, canonical: bytes) -> None:
        """Remember the canonical form of a text; of very many texts nothing is remembered for long."""
        if len(self._known) >= MOST_SPELLINGS:
            self._known.clear()
        self._known[digest] = canonical


class PlanCache:
    """What was asked for last, up to a sum of estimated sizes.

    Args:
        most_bytes: of memory; what is larger by itself is not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._taken = 0
        self._lock = RLock()
        self._kept: OrderedDict[Hashable, Sized] = OrderedDict()
        self._promises: dict[Hashable, Future[Sized]] = {}

    def find(self, key: Hashable) -> Any:
        """What is kept under a key; None where nothing is."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def get(self, key: Hashable, make: Callable[[], Sized]) -> Any:
        """What belongs to a key, made by the first thread that asks for it while the others wait."""
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
        """Keep something that fits, and let go of what was not asked for longest."""
        if made.memory > self._most_bytes:
            return
        self._kept[key] = made
        self._taken += made.memory
        while self._taken > self._most_bytes:
            _, gone = self._kept.popitem(last=False)
            self._taken -= gone.memory
