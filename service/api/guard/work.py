"""Planning for requests: in separate threads, for a bounded number of requests at once, and no file is planned twice.

The size of a specification decides in which lane it is read, and its cost decides in which lane it is expanded, so that
small requests never wait behind large ones. Plans are cached by the canonical form of their specification.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from service.api import counters
from service.api.guard.admission import Admission
from service.api.guard.plan_cache import PlanCache, PlansInUse, Sized, Spellings
from service.api.http.options import FileOptions, SpecOptions
from service.api.http.sources import Source
from service.errors import Fault, InvalidOption
from service.formats.files import File, Format
from service.limits import Limits
from service.plan import Outline, Plan, make_outline
from service.schema.canonical import canonical_document, canonical_json

Result = TypeVar("Result")
LARGE_TEXT: Final = 4 << 10
"""The size in bytes from which a specification is read in the lane for large ones."""
LARGE_PLAN: Final = 1_000
"""The number of tensors from which a plan is made, and described, in the lane for large ones."""


class Lane:
    """A thread that works for one caller after another; more would keep the interpreter's lock from the event loop.

    Args:
        name: the name of the thread.
        queue: how many requests may wait for it.
    """

    def __init__(self, name: str, queue: int) -> None:
        self._turns = Admission(1, queue, counters.PLANS_QUEUE, counters.PLANS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, caller: str, work: Callable[[], Result], *, begun: bool = False) -> Result:
        """The result of some work, which is not begun if it is cancelled while it waits.

        Args:
            caller: whose turn it takes.
            work: the work.
            begun: whether it continues an answer that has begun, which can no longer be turned away.

        Raises:
            Busy: too many requests wait.
        """
        async with self._turns.place(caller, begun=begun):
            return await asyncio.wrap_future(self._thread.submit(work))

    def close(self) -> None:
        """End the thread; work that has not begun is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class PlannerThreads:
    """The threads that plan for requests, and the cache of their plans.

    Args:
        limits: how large a specification may be.
        queue: how many requests may wait in each lane.
        kept_bytes: bytes of memory for plans kept in case they are asked for again.
        used_bytes: bytes of memory for plans in use, beyond which large specifications are turned away.

    Attributes:
        kept: the plans and files that were asked for last.
        in_use: counts the memory of plans in use.
        spellings: the canonical forms of the specifications that were asked for.
    """

    def __init__(self, limits: Limits, queue: int, kept_bytes: int, used_bytes: int) -> None:
        self.limits = limits
        self.kept = PlanCache(kept_bytes)
        self.in_use = PlansInUse(used_bytes)
        self.spellings = Spellings()
        self._small, self._large = Lane("plan small", queue), Lane("plan large", queue)

    async def plan(self, caller: str, source: Source, options: SpecOptions) -> Plan:
        """The plan of a specification.

        Raises:
            Busy: too many requests wait to be planned, or plans of large specifications use too much memory.
            XavierError: the specification cannot be read or planned.
        """
        asked = _Asked(caller, source, options, "plan")
        planned: Plan = await self._made(_Request(self, asked, Outline.expanded))
        return planned

    async def file(
        self, caller: str, source: Source, options: FileOptions, format_: Format, name: str | None = None
    ) -> File:
        """A file of a specification, of which nothing is drawn yet; see `plan`.

        Args:
            caller: whose turn it takes.
            source: the specification.
            options: what is changed in it, and what the file says about each tensor.
            format_: the format of the file.
            name: the name of the file; None for the only one.
        """
        statistics = options.statistics or "expected"

        def opened(outline: Outline) -> File:
            format_.check(outline, statistics, self.limits)
            plan = outline.expanded()
            return format_.open(plan, name or _only(format_.files(plan)), statistics, self.limits).prepared()

        kind = name or format_.path, statistics  # the path of a format of one file is its name
        file: File = await self._made(_Request(self, _Asked(caller, source, options, kind), opened))
        return file

    async def run(self, caller: str, tensors: int, work: Callable[[], Result], *, begun: bool = False) -> Result:
        """The result of other work on a plan, in the lane for its size; an answer that has begun always gets a turn."""
        lane = self._large if tensors >= LARGE_PLAN else self._small
        return await lane.run(caller, work, begun=begun)

    def close(self) -> None:
        """End the threads."""
        self._small.close()
        self._large.close()

    async def _made(self, request: _Request) -> Any:
        found = await self._small.run(request.asked.caller, request.begin)
        return await self._large.run(request.asked.caller, request.finish) if found is None else found


def _only(names: Sequence[str]) -> str:
    """The name of the only file of a format."""
    if len(names) != 1:
        raise InvalidOption([Fault("format", f"has {len(names)} files here; request each of them by its own address")])
    return names[0]


class _Asked(NamedTuple):
    """What a caller asks for: an object of some kind, made from a specification that the options may change."""

    caller: str
    source: Source
    options: SpecOptions
    kind: Hashable


class _Request:
    """A specification on its way to a plan; it leaves the small lane if it turns out to be large.

    Args:
        planning: the planner, with its cache.
        asked: what is asked for.
        make: makes it from an outline.
    """

    def __init__(self, planning: PlannerThreads, asked: _Asked, make: Callable[[Outline], Sized]) -> None:
        self.asked = asked
        self._planning, self._make = planning, make
        self._text, self._digest = b"", b""
        self._outline: Outline | None = None

    def begin(self) -> Any:
        """What is asked for, if it is cached or small; None otherwise."""
        self._text = self.asked.source.text()
        self._digest = sha256(self._text).digest()
        found = self._planning.kept.find(self._key())
        if found is not None or len(self._text) >= LARGE_TEXT:
            return found
        outline = self._resolved()
        return self._made(outline) if outline.tensors < LARGE_PLAN else None

    def finish(self) -> Any:
        """What is asked for, however large."""
        return self._made(self._outline or self._resolved())

    def _resolved(self) -> Outline:
        spec, limits = self.asked.source.read(self._text, self._planning.limits), self._planning.limits
        self._outline = make_outline(self.asked.options.applied_to(spec), limits)
        canonical = canonical_json(canonical_document(spec)) if self.asked.options.change else self._outline.canonical
        self._planning.spellings.learn(self._digest, sha256(canonical).digest())
        return self._outline

    def _made(self, outline: Outline) -> Any:
        return self._planning.kept.get(self._key(), lambda: self._counted(outline))

    def _counted(self, outline: Outline) -> Sized:
        """Make what is asked for from an outline, and count its memory."""
        if outline.tensors >= LARGE_PLAN:
            self._planning.in_use.check(self.asked.caller)
        made = self._make(outline)
        self._planning.in_use.count(self.asked.caller, made)
        return made

    def _key(self) -> Hashable:
        return self._planning.spellings.canonical(self._digest), self.asked.options.change, self.asked.kind


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """The result of some work, which is cancelled when the client leaves. The body must have been read.

    Raises:
        ClientDisconnect: the client has left.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
