"""The application: the one place where the parts are wired."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from service import __version__
from service.api.guard.access import ACCEPTED, EXPOSED, HEALTH, METRICS, Access
from service.api.guard.admission import Admission
from service.api.guard.budget import Budget
from service.api.guard.observation import Observation
from service.api.guard.work import PlannerThreads
from service.api.http import problems
from service.api.http.negotiation import HeadAsGet
from service.api.openapi import build_document
from service.api.routes import catalogue, docs, metrics, operations, plans, statistics, weights
from service.api.state import AppState
from service.delivery.memory import keep_freed_memory
from service.delivery.pool import DrawingPool
from service.limits import ConnectionLimits
from service.settings import Settings

SWITCH_SECONDS: Final = 0.0005
"""How long the event loop waits for the interpreter's lock while a planner holds it; Python's own 5 ms add up."""
COLLECT_AFTER: Final = 50_000
"""Allocations between two garbage collections; a plan consists of many objects, none of which is garbage."""
DESCRIPTION = "Correct initial weights, the same everywhere and for ever: a specification and a seed in, weights out."


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create the application; the environment gives the settings if None. Nothing starts before the lifespan does."""
    settings = settings or Settings()
    app = FastAPI(
        title="Xavier",
        version=__version__,
        summary="Reproducible weight initialization over HTTP.",
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/", "description": "This server."}],
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        lifespan=partial(_lifespan, settings),
    )
    for part in (weights, plans, statistics, catalogue, operations):
        app.include_router(part.router)
    docs.install(app)
    problems.install(app)
    if settings.metrics != "off":
        app.include_router(metrics.router)
    app.add_middleware(HeadAsGet)
    app.add_middleware(
        Access, keys=settings.keys, open_paths=HEALTH | ({METRICS} if settings.metrics == "open" else set())
    )
    _open_to_pages(app, settings.origins)
    app.add_middleware(Observation)
    app.openapi = partial(build_document, app)  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return app


def _open_to_pages(app: FastAPI, origins: Sequence[str]) -> None:
    """Let pages from the given origins, if there are any, read answers."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=ACCEPTED,
            expose_headers=EXPOSED,
        )


@asynccontextmanager
async def _lifespan(settings: Settings, app: FastAPI) -> AsyncIterator[dict[str, ConnectionLimits]]:
    keep_freed_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is loaded by now stays, so collections can skip it
    gc.set_threshold(COLLECT_AFTER)
    state = AppState(
        DrawingPool(settings.threads),
        settings.max_body_bytes,
        PlannerThreads(
            settings.limits, settings.max_planning_queue, settings.max_plan_memory, settings.max_plan_memory_in_use
        ),
        Admission(settings.max_streams, settings.max_queue),
        Admission(settings.max_whole_streams, settings.max_whole_queue, each=max(1, settings.max_whole_streams // 2)),
        Budget(settings.bytes_per_minute, settings.redis),
    )
    await asyncio.to_thread(state.check_platform)
    if state.broken is not None:
        logging.getLogger("xavier").critical("no weights are served: %s", state.broken)
    app.state.shared = state
    try:
        yield {"caps": settings.connection_limits}
    finally:
        state.planner.close()
        state.pool.close()
        await state.budget.close()
