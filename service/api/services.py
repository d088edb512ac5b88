"""What the routes share: the pool, the limits, and whether this machine may draw."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from service.analysis.statistics import Summary
from service.api import metrics
from service.api.admission import Admission, Budget
from service.api.conditionals import Selection
from service.delivery import Cost, DrawingPool, cost, cost_of_all
from service.errors import BrokenPlatform
from service.formats.safetensors import SafetensorsFile
from service.limits import Limits
from service.plan import Plan

Result = TypeVar("Result")
LARGE: Final = 32 << 10
"""Bytes of a specification, as it came, from which it is planned in a lane of its own."""


class Planning:
    """Two threads for what is pure Python, one of them for large requests; more would keep the lock from the loop."""

    def __init__(self) -> None:
        self._lanes = [ThreadPoolExecutor(1, thread_name_prefix=f"plan {size}") for size in ("small", "large")]

    async def run(self, size: int, work: Callable[[], Result]) -> Result:
        """The result of some work, by the size of the request; it is not begun if the caller is cancelled before."""
        return await asyncio.wrap_future(self._lanes[size > LARGE].submit(work))

    def close(self) -> None:
        """Let the threads end; what was not begun is dropped."""
        for lane in self._lanes:
            lane.shutdown(wait=True, cancel_futures=True)


@dataclass
class Services:
    """One a process, made by `create_app`.

    Attributes:
        pool: the threads that draw.
        limits: how large a specification may be.
        max_body_bytes: how large a request body may be.
        planning: the threads that plan.
        admission: the places of those who draw.
        whole_admission: the places of those for whom much must be drawn whole, which takes them long.
        budget: what callers may have.
        broken: why no weights may be drawn here; None once the known answers came out right.
    """

    pool: DrawingPool
    limits: Limits
    max_body_bytes: int
    planning: Planning
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

    async def planned(self, request: Request, size: int, work: Callable[[], Result]) -> Result:
        """The result of some planning, dropped if the client leaves before it begins. The body must have been read."""
        return await while_connected(request, self.planning.run(size, work))

    async def charge(self, request: Request, nbytes: int) -> None:
        """Take bytes off the caller's budget.

        Raises:
            OverBudget: it has not as many left.
        """
        self.budget.take(caller_of(request.scope), nbytes)

    async def cost(self, request: Request, file: SafetensorsFile, selection: Selection) -> Cost:
        """What a part of a file costs. The body of the request must have been read."""
        if not file.plan.draws_whole:
            return Cost(selection.stop - selection.start, 0)
        return await self.planned(request, len(file.header), partial(cost, file, selection.start, selection.stop))

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
        async with self.admission_for(await self._cost_of_all(plan)).place(caller):
            result = await draw(caller)
        metrics.DRAWN.inc(plan.nbytes)
        return result

    async def _cost_of_all(self, plan: Plan) -> Cost:
        if not plan.draws_whole:
            return Cost(plan.nbytes, 0)
        return await self.planning.run(len(plan.canonical), partial(cost_of_all, plan))


def caller_of(scope: Scope) -> str:
    """Who asks: the number of a key where keys are asked for, or else an address."""
    address = scope["client"][0] if scope.get("client") else "nowhere"
    return str(scope.get("state", {}).get("caller", address))


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


async def _services(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


Shared = Annotated[Services, Depends(_services)]
