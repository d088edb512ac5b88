"""What the routes share: the pool, the limits, and whether this machine may draw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from service.analysis.statistics import Summary
from service.api.guard import metrics
from service.api.guard.admission import Admission
from service.api.guard.budget import Budget
from service.api.guard.work import LARGE_PLAN, PlannerThreads, Source
from service.api.http.conditionals import Selection
from service.api.http.negotiation import JSON
from service.api.http.options import FileOptions, SpecOptions
from service.delivery.pool import Cost, DrawingPool, cost, cost_of_all
from service.errors import BrokenPlatform
from service.formats.safetensors import SafetensorsFile
from service.limits import Limits
from service.plan import Plan

Result = TypeVar("Result")


@dataclass
class AppState:
    """One a process, made by `create_app`.

    Attributes:
        pool: the threads that draw.
        max_body_bytes: how large a request body may be.
        planning: what plans.
        admission: the places of those who draw.
        whole_admission: the places of those for whom much must be drawn whole, which takes them long.
        budget: what callers may have.
        broken: why no weights may be drawn here; None once the known answers came out right.
    """

    pool: DrawingPool
    max_body_bytes: int
    planning: PlannerThreads
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
        return self.planning.limits

    async def plan(self, request: Request, source: Source, options: SpecOptions) -> Plan:
        """The plan of a specification, dropped if the client leaves before it begins. The body must have been read."""
        plan = await while_connected(request, self.planning.plan(caller_of(request.scope), source, options))
        request.state.digest = plan.digest
        return plan

    async def file(self, request: Request, source: Source, options: FileOptions) -> SafetensorsFile:
        """The file of a specification, of which nothing is drawn yet; as `plan`."""
        file = await while_connected(request, self.planning.file(caller_of(request.scope), source, options))
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
            work = self.planning.run(caller, tensors, lambda: b"".join(pieces), begun=begun)
            return Response(await while_connected(request, work), media_type=JSON, headers=headers)
        begin = self.planning.run(caller, tensors, lambda: next(pieces), begun=begun)
        first = await while_connected(request, begin)

        async def sent() -> AsyncIterator[bytes]:
            piece = first
            while piece:
                yield piece
                piece = await self.planning.run(caller, tensors, lambda: next(pieces, b""), begun=True)

        return StreamingResponse(sent(), media_type=JSON, headers=headers)

    async def cost(self, request: Request, file: SafetensorsFile, selection: Selection) -> Cost:
        """What a part of a file costs. The body of the request must have been read."""
        if not file.plan.materializes:
            return Cost(selection.stop - selection.start, 0)
        work = partial(cost, file, selection.start, selection.stop)
        return await while_connected(request, self.planning.run(caller_of(request.scope), len(file.segments), work))

    def admission_for(self, cost: Cost) -> Admission:
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
        async with self.admission_for(await self._cost_of_all(caller, plan)).place(caller):
            result = await draw(caller)
        metrics.DRAWN.inc(plan.nbytes)
        return result

    async def _cost_of_all(self, caller: str, plan: Plan) -> Cost:
        if not plan.materializes:
            return Cost(plan.nbytes, 0)
        return await self.planning.run(caller, len(plan.tensors), partial(cost_of_all, plan))


def caller_of(scope: Scope) -> str:
    """Who asks: the number of a key where keys are asked for, or else where the request comes from."""
    address = scope["client"][0] if scope.get("client") else "nowhere"
    return str(scope.get("state", {}).get("caller") or _origin(address))


def _origin(address: str) -> str:
    """An IPv4 address, or the first 64 bits of one of IPv6: a host takes the rest as it likes (RFC 8981)."""
    try:
        found = ip_address(address)
    except ValueError:  # what a proxy calls it, or the path of a socket
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((found, 64), strict=False))


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """The result of some work, which is cancelled when the client leaves. The body must have been read.

    Raises:
        ClientDisconnect: nobody is there for the result.
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


async def _services(request: Request) -> AppState:
    services = request.app.state.services
    assert isinstance(services, AppState)
    return services


Shared = Annotated[AppState, Depends(_services)]
