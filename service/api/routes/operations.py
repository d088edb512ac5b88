"""/livez, /readyz and /v1/info: whether the server is healthy, and what runs here."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from service import __version__
from service.api.http.negotiation import JSON, JsonOnly
from service.api.openapi import json_answer, problems
from service.api.state import Shared
from service.limits import Limits
from service.schema.fields import Wire
from service.stream import STREAM_VERSION


class Status(Wire):
    """Whether the server is healthy."""

    status: Literal["ok"]


class Info(Wire):
    """The versions that run here, and the limits."""

    service: str
    version: str
    stream: int
    versions: dict[str, str] = Field(description="The versions of Python and of the main libraries.")
    threads: int
    limits: dict[str, int]


router = APIRouter(tags=["operations"], default_response_class=Response)
OK = Status(status="ok")
NOT_CACHED = {"Cache-Control": "no-store"}


LIBRARIES = ("numpy", "cryptography", "pydantic", "fastapi", "uvicorn")


def _info(threads: int, limits: Limits, versions: dict[str, str]) -> Info:
    return Info(
        service="xavier",
        version=__version__,
        stream=STREAM_VERSION,
        versions=versions,
        threads=threads,
        limits=asdict(limits),
    )


@router.get(
    "/livez",
    operation_id="isAlive",
    summary="Whether the process answers",
    responses=json_answer(Status, OK, "The process answers."),
)
async def is_alive() -> Response:
    """This never waits for drawing."""
    return Response(OK.model_dump_json(), media_type=JSON, headers=NOT_CACHED)


@router.get(
    "/readyz",
    operation_id="isReady",
    summary="Whether the server serves weights",
    responses=json_answer(Status, OK, "Weights are served.") | problems(503),
)
async def is_ready(state: Shared) -> Response:
    """503 on a machine on which a thread computes wrong known answers; such a machine serves no weights."""
    state.require_platform()
    return Response(OK.model_dump_json(), media_type=JSON, headers=NOT_CACHED)


@router.get(
    "/v1/info",
    operation_id="getInfo",
    summary="Versions and limits",
    responses=json_answer(Info, _info(2, Limits(), {"python": "3.12.0"}), "Versions and limits.") | problems(406),
    dependencies=[JsonOnly],
)
async def get_info(state: Shared) -> Response:
    """The version of the stream determines the bytes. The versions of libraries do not; they are for bug reports."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
    return Response(_info(state.pool.threads, state.limits, versions).model_dump_json(), media_type=JSON)
