"""/v1/statistics: measured statistics beside expected ones."""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.analysis.statistics import batches, measure, summarise
from service.api.answers import About, StatisticsPair, TensorHead
from service.api.examples import example_plan
from service.api.http.bodies import read_body
from service.api.http.conditionals import is_known
from service.api.http.downloads import FOR_AN_HOUR, cache_control, headless
from service.api.http.negotiation import JSON, require_json
from service.api.http.options import OnceOnly, Permalink, SpecQuery
from service.api.http.sources import linked, posted
from service.api.openapi import SPEC_BODY, Responses, header, json_answer, problems
from service.api.state import AppState, Shared
from service.formats.json import STATISTICS_VERSION, statistics_json
from service.plan import Plan

router = APIRouter(tags=["plans"])


class TensorStatistics(TensorHead):
    """The statistics of a tensor."""

    elements: int
    statistics: StatisticsPair


class StatisticsAnswer(About):
    """The statistics of every tensor, in model order."""

    tensors: list[TensorStatistics]


def _answer(*, by_address: bool = False) -> Responses:
    """The answer of /v1/statistics."""
    plan = example_plan()
    moments = [found for batch in batches(plan.tensors) for found in measure(plan.tensors, batch)]
    example = orjson.loads(b"".join(statistics_json(plan, summarise(plan.tensors, moments))))
    answer = json_answer(StatisticsAnswer, example, "Measured statistics beside expected ones.")
    if not by_address:
        return answer
    answer[200]["headers"] = {
        "ETag": header("Known before anything is drawn; changes if the answer changes.", always=True),
        "Cache-Control": header("Answers may be cached for an hour.", always=True),
    }
    return answer | {304: {"description": "The caller already has this answer; no body."}}


@router.post(
    "/v1/statistics",
    operation_id="measureStatistics",
    summary="Measured and expected statistics, without the weights",
    dependencies=[OnceOnly],
    responses=_answer() | problems(400, 406, 413, 415, 422, 429, 503),
    openapi_extra=SPEC_BODY,
    response_class=Response,
)
async def measure_statistics(request: Request, state: Shared, options: SpecQuery) -> Response:
    """Every value is drawn, and none is kept. The statistics, too, are the same on every machine."""
    require_json(request)
    raw = await read_body(request, state.max_body_bytes)
    return await _measured(request, state, await state.plan(request, posted(raw), options), {})


@router.head("/v1/statistics/{permalink}", dependencies=[OnceOnly], include_in_schema=False)
@router.get(
    "/v1/statistics/{permalink}",
    operation_id="getStatistics",
    summary="Measured and expected statistics of a permalink",
    dependencies=[OnceOnly],
    responses=_answer(by_address=True) | problems(404, 406, 412, 422, 429, 503),
    response_class=Response,
)
async def get_statistics(request: Request, state: Shared, permalink: Permalink, options: SpecQuery) -> Response:
    """The same answer as by POST. The ETag is known without drawing; it changes if the answer does."""
    require_json(request)
    plan = await state.plan(request, linked(permalink), options)
    headers = {"ETag": f'"{plan.digest}-{STATISTICS_VERSION}"', "Cache-Control": cache_control(request, FOR_AN_HOUR)}
    if is_known(request.headers, headers["ETag"]):
        return headless(304, headers)
    return await _measured(request, state, plan, headers)


async def _measured(request: Request, state: AppState, plan: Plan, headers: dict[str, str]) -> Response:
    state.require_platform()
    if request.method == "HEAD":
        return headless(200, {"Content-Type": JSON, **headers})
    measured = await state.measure(plan, request)
    return await state.document(request, len(plan.tensors), statistics_json(plan, measured), headers, begun=True)
