"""Serving in one process, or in several workers, until a signal ends it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn

from service.api.guard.connections import Connection
from service.api.guard.observation import log_config
from service.app import create_app
from service.cli.workers import watch
from service.settings import Settings


def run(settings: Settings) -> None:
    """Serve at the address of the settings, in this process or in several workers that it watches."""
    if settings.workers == 1:
        _alone(settings)
    else:
        _together(settings)


def _alone(settings: Settings) -> None:
    uvicorn.Server(_config(settings, create_app(settings))).run()


def _together(settings: Settings) -> None:
    create_app(settings)  # reports wrong settings here, and only once
    config = _config(settings, partial(create_app, settings), factory=True)
    with config.bind_socket() as listening:
        listening.listen(config.backlog)  # connections that come before the workers wait for them
        watch(config, listening, settings.workers)


def _config(settings: Settings, app: Callable[..., Any], *, factory: bool = False) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=factory,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=Connection,
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=settings.proxies,
        log_config=log_config(),
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
