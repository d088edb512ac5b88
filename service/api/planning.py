"""Planning for requests: in threads of their own, a bounded number of requests at once, and no file planned twice.

A specification is read where those of its size are, and expanded where those of its cost are, so that what is small
never waits behind what is large. Plans are kept by what they are plans of: the canonical form of a specification.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import RLock
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from service.api import metrics
from service.api.admission import Admission
from service.api.options import FileOptions, SpecOptions
from service.formats.safetensors import SafetensorsFile, check_outline
from service.limits import Limits
from service.plan import Outline, Plan, make_outline
from service.spec.canonical import canonical_document, canonical_json
from service.spec.model import ModelSpec

Result = TypeVar("Result")
LARGE_TEXT: Final = 32 << 10
"""Bytes of a specification from which it is read in the lane of large ones."""
LARGE_PLAN: Final = 1_000
"""Tensors from which a plan is made, and described, in the lane of large ones."""


class Lane:
    """A thread that works for one caller after another; more would keep the interpreter's lock from the event loop.

    Args:
        name: of the thread.
        queue: how many may wait for it.
    """

    def __init__(self, name: str, queue: int) -> None:
        self._turns = Admission(1, queue, metrics.PLANS_QUEUE, metrics.PLANS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, caller: str, work: Callable[[], Result], *, begun: bool = False) -> Result:
        """The result of some work; it is not begun if the caller is cancelled before.

        Args:
            caller: whose turn it takes.
            work: what to do.
            begun: whether it goes on with an answer that has begun, and can no longer be turned away.

        Raises:
            Busy: too many wait.
        """
        async with self._turns.place(caller, begun=begun):
            return await asyncio.wrap_future(self._thread.submit(work))

    def close(self) -> None:
        """Let the thread end; what was not begun is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class Source(NamedTuple):
    """A specification as it came: its JSON text, and what makes a specification of that."""

    text: Callable[[], bytes]
    read: Callable[[bytes, Limits], ModelSpec]


class Sized(Protocol):
    """What says how much memory it takes."""

    @property
    def memory(self) -> int:
        """Bytes, about."""


class Kept:
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


class Planning:
    """What plans for requests, and keeps the plans.

    Args:
        limits: how large a specification may be.
        queue: how many requests may wait in each lane.
        kept_bytes: of memory for plans that may be asked for again.

    Attributes:
        kept: the plans and files that were asked for last.
    """

    def __init__(self, limits: Limits, queue: int, kept_bytes: int) -> None:
        self.limits = limits
        self.kept = Kept(kept_bytes)
        self._small, self._large = Lane("plan small", queue), Lane("plan large", queue)

    async def plan(self, caller: str, source: Source, options: SpecOptions) -> Plan:
        """The plan of a specification.

        Raises:
            Busy: too many requests wait to be planned.
            XavierError: what reading and planning raise.
        """
        planned: Plan = await self._made(caller, _Request(self, source, options, "plan", Outline.expanded))
        return planned

    async def file(self, caller: str, source: Source, options: FileOptions) -> SafetensorsFile:
        """The file of a specification, of which nothing is drawn yet; see `plan`."""
        statistics = options.statistics or "expected"

        def opened(outline: Outline) -> SafetensorsFile:
            check_outline(outline, statistics, self.limits)
            return SafetensorsFile(outline.expanded(), statistics, limits=self.limits).prepared()

        file: SafetensorsFile = await self._made(caller, _Request(self, source, options, statistics, opened))
        return file

    async def run(self, caller: str, tensors: int, work: Callable[[], Result], *, begun: bool = False) -> Result:
        """The result of other work on a plan of some tensors; for an answer that has begun nobody is turned away."""
        lane = self._large if tensors >= LARGE_PLAN else self._small
        return await lane.run(caller, work, begun=begun)

    def close(self) -> None:
        """Let the threads end."""
        self._small.close()
        self._large.close()

    async def _made(self, caller: str, request: _Request) -> Any:
        found = await self._small.run(caller, request.begin)
        return await self._large.run(caller, request.finish) if found is None else found


class _Request:
    """A specification on its way to a plan; it leaves the small lane where it turns out to be large.

    Args:
        planning: which keeps plans.
        source: the specification.
        options: what is changed in it.
        kind: of what is made of it.
        make: makes it of an outline.
    """

    def __init__(
        self, planning: Planning, source: Source, options: SpecOptions, kind: str, make: Callable[[Outline], Sized]
    ) -> None:
        self._planning, self._source, self._options = planning, source, options
        self._kind, self._make = kind, make
        self._text = b""
        self._canonical = b""
        self._outline: Outline | None = None

    def begin(self) -> Any:
        """What is asked for, if it is kept, or small; None if not."""
        self._text = self._source.text()
        found = self._planning.kept.find(self._key(self._text))  # a permalink of ours carries the canonical form itself
        if found is not None or len(self._text) >= LARGE_TEXT:
            return found
        outline = self._understood()
        return self._kept(outline) if outline.tensors < LARGE_PLAN else None

    def finish(self) -> Any:
        """What is asked for, however large."""
        return self._kept(self._outline or self._understood())

    def _understood(self) -> Outline:
        spec, limits = self._source.read(self._text, self._planning.limits), self._planning.limits
        self._outline = make_outline(self._options.applied_to(spec), limits)
        self._canonical = canonical_json(canonical_document(spec)) if self._options.change else self._outline.canonical
        return self._outline

    def _kept(self, outline: Outline) -> Any:
        return self._planning.kept.get(self._key(self._canonical), lambda: self._make(outline))

    def _key(self, canonical: bytes) -> Hashable:
        return canonical, self._options.change, self._kind
