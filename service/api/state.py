"""What the routes share: the pool, the limits, and whether this machine may draw weights."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from starlette.responses import Response, StreamingResponse

from service.analysis.statistics import Summary
from service.api import counters
from service.api.guard.admission import Admission
from service.api.guard.budget import Budget
from service.api.guard.callers import caller_of
from service.api.guard.work import LARGE_PLAN, PlannerThreads, while_connected
from service.api.http.negotiation import JSON
from service.api.http.options import FileOptions, SpecOptions
from service.api.http.sources import Source
from service.delivery.pool import Cost, DrawingPool, cost, cost_of_all
from service.errors import BrokenPlatform
from service.formats.files import File, Format
from service.limits import Limits
from service.plan import Plan

Result = TypeVar("Result")


@dataclass
class AppState:
    """The state of a process, made when the application of `create_app` starts.

    Attributes:
        pool: the threads that draw.
        max_body_bytes: how large a request body may be.
        planner: the threads that plan.
        admission: the places for answers that draw.
        whole_admission: the places for answers that need arrays that take long to draw whole.
        budget: how many bytes callers may have.
        broken: why no weights may be drawn here; None once the known answers came out right.
    """

    pool: DrawingPool
    max_body_bytes: int
    planner: PlannerThreads
    admission: Admission
    whole_admission: Admission
    budget: Budget
    broken: str | None = "the known answers have not been checked yet"

    def check_platform(self) -> None:
        """Check the known answers in every thread that draws, and remember the outcome."""
        try:
            self.pool.check()
            self.broken = None
        except BrokenPlatform as error:
            self.broken = str(error)

    def require_platform(self) -> None:
        """Raise BrokenPlatform unless the known answers came out right."""
        if self.broken is not None:
            raise BrokenPlatform(self.broken)

    async def charge(self, request: Request, nbytes: int) -> None:
        """Deduct bytes from the caller's budget.

        Raises:
            OverBudget: the caller has fewer bytes left.
        """
        await self.budget.take(caller_of(request.scope), nbytes)

    @property
    def limits(self) -> Limits:
        """How large a specification may be."""
        return self.planner.limits

    async def plan(self, request: Request, source: Source, options: SpecOptions) -> Plan:
        """The plan of a specification; not begun if the client leaves before. The body must have been read."""
        plan = await while_connected(request, self.planner.plan(caller_of(request.scope), source, options))
        request.state.digest = plan.digest
        return plan

    async def file(
        self, request: Request, source: Source, options: FileOptions, format_: Format, name: str | None = None
    ) -> File:
        """A file of a specification, of which nothing is drawn yet; without a name, the only one of its format."""
        work = self.planner.file(caller_of(request.scope), source, options, format_, name)
        file = await while_connected(request, work)
        request.state.digest = file.plan.digest
        return file

    async def document(
        self,
        request: Request,
        tensors: int,
        pieces: Iterator[bytes],
        headers: Mapping[str, str] | None = None,
        *,
        begun: bool = False,
    ) -> Response:
        """A JSON document. If it is about many tensors, it is sent in pieces, of which only one is in memory.

        Args:
            request: the request, whose body must have been read.
            tensors: the number of tensors in the document.
            pieces: the document.
            headers: header fields of the answer.
            begun: whether values were already drawn for it, which must not be lost.
        """
        caller = caller_of(request.scope)
        if tensors < LARGE_PLAN:
            work = self.planner.run(caller, tensors, lambda: b"".join(pieces), begun=begun)
            return Response(await while_connected(request, work), media_type=JSON, headers=headers)
        begin = self.planner.run(caller, tensors, lambda: next(pieces), begun=begun)
        first = await while_connected(request, begin)

        async def sent() -> AsyncIterator[bytes]:
            piece = first
            while piece:
                yield piece
                piece = await self.planner.run(caller, tensors, lambda: next(pieces, b""), begun=True)

        return StreamingResponse(sent(), media_type=JSON, headers=headers)

    async def stream(
        self, request: Request, file: File, start: int, stop: int
    ) -> tuple[AsyncGenerator[memoryview, None], AbstractAsyncContextManager[None]]:
        """Charge a part of a file, and return its chunks with the place that must be held while they are drawn.

        Args:
            request: the request, whose body must have been read.
            file: the file.
            start: the first byte of the part.
            stop: the byte after the last.

        Raises:
            BrokenPlatform: the known answers did not come out right here.
            OverBudget: the caller has fewer bytes left.
            ClientDisconnect: the client has left.
        """
        self.require_platform()
        caller = caller_of(request.scope)
        if file.needs_measuring(start):
            measured = await self.measure(file.plan, request)
            file = await self.planner.run(caller, file.pieces, partial(file.with_measured, measured), begun=True)
        of_part = await self._cost(request, file, start, stop)
        await self.charge(request, of_part.nbytes)
        return self.pool.stream(file, start, stop, caller), self._admission_for(of_part).place(caller)

    async def _cost(self, request: Request, file: File, start: int, stop: int) -> Cost:
        """What a part of a file costs."""
        if not file.plan.materializes:
            return Cost(stop - start, 0)
        work = self.planner.run(caller_of(request.scope), file.pieces, partial(cost, file, start, stop))
        return await while_connected(request, work)

    def _admission_for(self, cost: Cost) -> Admission:
        """The places for answers of a given cost."""
        return self.admission if cost.is_small else self.whole_admission

    async def measure(self, plan: Plan, request: Request) -> Sequence[Summary]:
        """The measured statistics of a plan; stops when the client leaves."""
        return await self.drawn(request, plan, partial(self.pool.measure, plan))

    async def drawn(self, request: Request, plan: Plan, draw: Callable[[str], Awaitable[Result]]) -> Result:
        """The result of drawing a whole plan, which waits for a place and stops when the client leaves.

        Args:
            request: the request, whose body must have been read.
            plan: the plan to draw.
            draw: draws it for a caller.
        """
        await self.charge(request, plan.nbytes)
        return await while_connected(request, self._in_place(request, plan, draw))

    async def _in_place(self, request: Request, plan: Plan, draw: Callable[[str], Awaitable[Result]]) -> Result:
        caller = caller_of(request.scope)
        async with self._admission_for(await self._cost_of_all(caller, plan)).place(caller):
            result = await draw(caller)
        counters.DRAWN.inc(plan.nbytes)
        return result

    async def _cost_of_all(self, caller: str, plan: Plan) -> Cost:
        if not plan.materializes:
            return Cost(plan.nbytes, 0)
        return await self.planner.run(caller, len(plan.tensors), partial(cost_of_all, plan))


async def _shared(request: Request) -> AppState:
    state = request.app.state.shared
    assert isinstance(state, AppState)
    return state


Shared = Annotated[AppState, Depends(_shared)]
