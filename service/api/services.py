"""What the routes share: the pool, the limits, and whether this machine may draw."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from service.analysis.statistics import Summary
from service.delivery import DrawingPool
from service.errors import BrokenPlatform
from service.limits import Limits
from service.plan import Plan

Result = TypeVar("Result")


@dataclass
class Services:
    """One a process, made by `create_app`.

    Attributes:
        pool: the threads that draw.
        limits: how large a specification may be.
        max_body_bytes: how large a request body may be.
        broken: why no weights may be drawn here; None once the known answers came out right.
    """

    pool: DrawingPool
    limits: Limits
    max_body_bytes: int
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

    async def measure(self, plan: Plan, request: Request) -> Sequence[Summary]:
        """The measured statistics of a plan; stops when the client leaves."""
        return await while_connected(request, self.pool.measure(plan))


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


def _services(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


Shared = Annotated[Services, Depends(_services)]
