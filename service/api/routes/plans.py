"""/v1/plan and /v1/statistics: what would be drawn, and what was."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.http.bodies import read_body
from service.api.http.conditionals import is_known
from service.api.http.downloads import FOR_AN_HOUR, headless, kept
from service.api.http.negotiation import JSON, require_json
from service.api.http.options import FileQuery, OnceOnly, Permalink, SpecQuery
from service.api.http.sources import linked, posted
from service.api.openapi import SPEC_BODY, plan_answer, problems, statistics_answer
from service.api.state import AppState, Shared
from service.formats.json import STATISTICS_VERSION, plan_json, statistics_json
from service.plan import Plan
from service.schema.parsing import remarks_on

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
    """Every tensor with its names, shape, fans, distribution and place in the file; totals, digest and permalink."""
    require_json(request)
    raw = await read_body(request, services.max_body_bytes)
    file = await services.file(request, posted(raw), options)
    remarks = partial(remarks_on, raw if options.seed is None else b"")
    pieces = plan_json(file, request.scope.get("root_path", ""), remarks)
    return await services.document(request, len(file.plan.tensors), pieces)


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
    return await _measured(request, services, await services.plan(request, posted(raw), options), {})


@router.head("/v1/statistics/{permalink}", dependencies=[OnceOnly], include_in_schema=False)
@router.get(
    "/v1/statistics/{permalink}",
    operation_id="getStatistics",
    summary="Measured statistics of a permalink",
    dependencies=[OnceOnly],
    responses=statistics_answer(by_address=True) | problems(404, 406, 412, 422, 429, 503),
    response_class=Response,
)
async def get_statistics(request: Request, services: Shared, permalink: Permalink, options: SpecQuery) -> Response:
    """The same as by POST; the ETag is known without drawing, and changes with what the service says of statistics."""
    require_json(request)
    plan = await services.plan(request, linked(permalink), options)
    headers = {"ETag": f'"{plan.digest}-{STATISTICS_VERSION}"', "Cache-Control": kept(request, FOR_AN_HOUR)}
    if is_known(request.headers, headers["ETag"]):
        return headless(304, headers)
    return await _measured(request, services, plan, headers)


async def _measured(request: Request, services: AppState, plan: Plan, headers: dict[str, str]) -> Response:
    services.require_platform()
    if request.method == "HEAD":
        return headless(200, {"Content-Type": JSON, **headers})
    measured = await services.measure(plan, request)
    return await services.document(request, len(plan.tensors), statistics_json(plan, measured), headers, begun=True)
