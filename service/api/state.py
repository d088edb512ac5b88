"""What the routes share: the pool, the limits, and whether this machine may draw."""

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
    """One a process, made by `create_app`.

    Attributes:
        pool: the threads that draw.
        max_body_bytes: how large a request body may be.
        planner: what plans.
        admission: the places of those who draw.
        whole_admission: the places of those for whom much must be drawn whole, which takes them long.
        budget: what callers may have.
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
        """Raises BrokenPlatform unless the known answers came out right."""
        if self.broken is not None:
            raise BrokenPlatform(self.broken)

    async def charge(self, request: Request, nbytes: int) -> None:
        """Take bytes off the caller's budget.

        Raises:
            OverBudget: it has not as many left.
        """
        await self.budget.take(caller_of(request.scope), nbytes)

    @property
    def limits(self) -> Limits:
        """How large a specification may be."""
        return self.planner.limits

    async def plan(self, request: Request, source: Source, options: SpecOptions) -> Plan:
        """The plan of a specification, dropped if the client leaves before it begins. The body must have been read."""
        plan = await while_connected(request, self.planner.plan(caller_of(request.scope), source, options))
        request.state.digest = plan.digest
        return plan

    async def file(
        self, request: Request, source: Source, options: FileOptions, format_: Format, name: str | None = None
    ) -> File:
        """A file of a specification, of which nothing is drawn yet; unnamed, the only one of its format."""
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
        """A JSON document of which no more than a piece is in memory; at once, if it is about few tensors.

        Args:
            request: whose body must have been read.
            tensors: how many it is about.
            pieces: of the document.
            headers: of the answer.
            begun: whether what was drawn for it is not to be lost.
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
        """A part of a file, chunk by chunk, charged; and the place that it needs before it begins.

        Args:
            request: whose body must have been read.
            file: the file.
            start: of the part, in bytes.
            stop: of the part.

        Raises:
            BrokenPlatform: the known answers did not come out right here.
            OverBudget: the caller has not as many bytes left.
            ClientDisconnect: nobody is there for it.
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
        """The places for what costs so much."""
        return self.admission if cost.is_small else self.whole_admission

    async def measure(self, plan: Plan, request: Request) -> Sequence[Summary]:
        """The measured statistics of a plan; stops when the client leaves."""
        return await self.drawn(request, plan, partial(self.pool.measure, plan))

    async def drawn(self, request: Request, plan: Plan, draw: Callable[[str], Awaitable[Result]]) -> Result:
        """What the drawing of a whole plan gives, once there is a place for it; stops when the client leaves.

        Args:
            request: whose body must have been read.
            plan: what is drawn.
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
