"""/v1/plan and /v1/statistics: what would be drawn, and what was."""

from __future__ import annotations

from functools import partial

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.bodies import read_body
from service.api.documentation import SPEC_BODY, plan_answer, problems, statistics_answer
from service.api.downloads import headless, kept_for_ever
from service.api.negotiation import JSON, require_json
from service.api.options import FileOptions, FileQuery, OnceOnly, Permalink, SpecQuery
from service.api.services import Services, Shared
from service.api.weights import open_file
from service.formats.documents import plan_document, statistics_document
from service.plan import Plan, make_plan
from service.spec.canonical import decode_permalink
from service.spec.parsing import read_spec

router = APIRouter(tags=["plans"])


@router.post(
    "/v1/plan",
    operation_id="planWeights",
    summary="What would be drawn, and what it costs; draws nothing",
    dependencies=[OnceOnly],
    responses=plan_answer() | problems(400, 406, 413, 415, 422),
    openapi_extra=SPEC_BODY,
    response_class=Response,
)
async def plan_weights(request: Request, services: Shared, options: FileQuery) -> Response:
    """Every tensor with its names, shape, fans, law and place in the file; totals, digest and permalink."""
    require_json(request)
    raw = await read_body(request, services.max_body_bytes)
    answer = await services.planned(request, len(raw), partial(_planned, request, services, raw, options))
    return Response(answer, media_type=JSON)


@router.post(
    "/v1/statistics",
    operation_id="measureStatistics",
    summary="Measured statistics beside expected, without the weights",
    dependencies=[OnceOnly],
    responses=statistics_answer() | problems(400, 406, 413, 415, 422, 429, 503),
    openapi_extra=SPEC_BODY,
    response_class=Response,
)
async def measure_statistics(request: Request, services: Shared, options: SpecQuery) -> Response:
    """Draws every value and keeps none; the numbers too are the same on every machine."""
    require_json(request)
    raw = await read_body(request, services.max_body_bytes)
    plan = await services.planned(
        request, len(raw), lambda: make_plan(options.applied_to(read_spec(raw)), services.limits)
    )
    return await _measured(request, services, plan, {})


@router.head("/v1/statistics/{permalink}", dependencies=[OnceOnly], include_in_schema=False)
@router.get(
    "/v1/statistics/{permalink}",
    operation_id="getStatistics",
    summary="Measured statistics of a permalink",
    dependencies=[OnceOnly],
    responses=statistics_answer() | problems(404, 406, 422, 429, 503),
    response_class=Response,
)
async def get_statistics(request: Request, services: Shared, permalink: Permalink, options: SpecQuery) -> Response:
    """The same as by POST, at an address that never changes."""
    require_json(request)
    plan = await services.planned(
        request, len(permalink), lambda: make_plan(options.applied_to(decode_permalink(permalink)), services.limits)
    )
    return await _measured(request, services, plan, {"Cache-Control": kept_for_ever(request)})


def _planned(request: Request, services: Services, raw: bytes, options: FileOptions) -> bytes:
    file = open_file(read_spec(raw), options, services.limits)
    request.state.digest = file.plan.digest
    return orjson.dumps(plan_document(file, request.scope.get("root_path", "")))


async def _measured(request: Request, services: Services, plan: Plan, headers: dict[str, str]) -> Response:
    services.require_platform()
    request.state.digest = plan.digest
    if request.method == "HEAD":
        return headless(200, {"Content-Type": JSON, **headers})
    measured = await services.measure(plan, request)
    content = await services.planned(
        request, len(plan.canonical), lambda: orjson.dumps(statistics_document(plan, measured))
    )
    return Response(content, media_type=JSON, headers=headers)
