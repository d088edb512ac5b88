"""/v1/weights: the weights, by POST of a specification or by permalink."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.http import conditionals, negotiation
from service.api.http.bodies import read_body
from service.api.http.conditionals import Selection
from service.api.http.downloads import MEDIA_TYPE, deliver
from service.api.http.negotiation import JSON
from service.api.http.options import FileQuery, OnceOnly, Permalink, WeightsOptions, WeightsQuery
from service.api.http.sources import linked, posted
from service.api.openapi import SPEC_BODY, problems, weights_answers
from service.api.state import AppState, Shared
from service.delivery.pool import Task, needs
from service.formats.json import check_json_size, weights_json
from service.plan import Plan

router = APIRouter(tags=["weights"])


@router.post(
    "/v1/weights",
    operation_id="initializeWeights",
    summary="Initialize the weights of a specification",
    dependencies=[OnceOnly],
    responses=weights_answers() | problems(400, 406, 413, 415, 422, 429, 503),
    openapi_extra=SPEC_BODY,
    response_class=Response,
)
async def initialize_weights(request: Request, services: Shared, options: WeightsQuery) -> Response:
    """The whole file as safetensors, the same bytes as its permalink has, or as JSON with statistics."""
    as_json = _wants_json(request, options)
    raw = await read_body(request, services.max_body_bytes)
    services.require_platform()
    if as_json:
        return await _json_answer(request, services, await services.plan(request, posted(raw), options), options)
    file = await services.file(request, posted(raw), options)
    return await deliver(request, services, file, Selection(200, 0, file.length))


@router.get(
    "/v1/weights/{permalink}/model.safetensors",
    operation_id="getWeights",
    summary="The weights of a permalink, or a range of their bytes",
    dependencies=[OnceOnly],
    responses=weights_answers(by_address=True) | problems(404, 406, 412, 416, 422, 429, 503),
    response_class=Response,
)
@router.head(
    "/v1/weights/{permalink}/model.safetensors",
    operation_id="headWeights",
    summary="Length and ETag of the weights of a permalink; draws nothing",
    dependencies=[OnceOnly],
    responses=weights_answers(by_address=True, ranges=False) | problems(404, 406, 412, 422),
    response_class=Response,
)
async def get_weights(request: Request, services: Shared, permalink: Permalink, options: FileQuery) -> Response:
    """Bytes that never change: single ranges, If-Range, If-Match and If-None-Match are served."""
    negotiation.choose(request, [MEDIA_TYPE])
    file = await services.file(request, linked(permalink), options)
    selection = conditionals.select(request.method, request.headers, f'"{file.etag}"', file.length)
    return await deliver(request, services, file, selection)


def _wants_json(request: Request, options: WeightsOptions) -> bool:
    if options.format is None:
        return negotiation.choose(request, [MEDIA_TYPE, JSON]) == JSON
    return options.format == "json"


async def _json_answer(request: Request, services: AppState, plan: Plan, options: WeightsOptions) -> Response:
    check_json_size(plan, services.limits)
    statistics = options.statistics or "measured"  # the values are at hand, so measuring them costs little
    measured = await services.measure(plan, request) if statistics == "measured" else None
    draw = partial(weights_json, plan, measured, statistics, options.encoding)
    content = await services.drawn(request, plan, partial(services.pool.run, Task(draw, partial(needs, plan))))
    return Response(content, media_type=JSON, headers={"Vary": "Accept", "X-Content-Type-Options": "nosniff"})
