"""The application: the one place where the parts are wired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from service import __version__
from service.api import catalogue, docs, operations, plans, problems, weights
from service.api.documentation import build_document
from service.api.services import Services
from service.delivery import DrawingPool
from service.memory import keep_freed_memory
from service.settings import Settings

DESCRIPTION = (
    "Initial weights that are right, and the same everywhere, for ever: a specification and a seed in, weights out."
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application for some settings; the environment's where None. Nothing is started before its lifespan."""
    settings = settings or Settings()
    app = FastAPI(
        title="Xavier",
        version=__version__,
        summary="Reproducible weight initialization over HTTP.",
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        lifespan=partial(_lifespan, settings),
    )
    for part in (weights, plans, catalogue, operations):
        app.include_router(part.router)
    docs.install(app)
    problems.install(app)
    app.openapi = partial(build_document, app)  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return app


@asynccontextmanager
async def _lifespan(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    keep_freed_memory()
    services = Services(DrawingPool(settings.threads), settings.limits, settings.max_body_bytes)
    await asyncio.to_thread(services.check_platform)
    if services.broken is not None:
        logging.getLogger("xavier").critical("no weights are served: %s", services.broken)
    app.state.services = services
    try:
        yield
    finally:
        services.pool.close()
