"""/v1/plan: what a specification would draw."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from service.api.answers import EXPECTED, About, SummaryAnswer, TensorHead
from service.api.examples import example_plan
from service.api.http.bodies import read_body
from service.api.http.negotiation import require_json
from service.api.http.options import FileQuery, OnceOnly
from service.api.http.sources import posted
from service.api.openapi import SPEC_BODY, Responses, json_answer, problems
from service.api.state import Shared
from service.formats.json import plan_json
from service.formats.safetensors import SAFETENSORS, SafetensorsFile
from service.schema.fields import Wire
from service.schema.parsing import remarks_on

router = APIRouter(tags=["plans"])


class FansAnswer(Wire):
    """The numbers of connections into an output and out of an input."""

    fan_in: int
    fan_out: int


class PlannedTensor(TensorHead):
    """A tensor as it would be drawn."""

    canonical_name: str = Field(description="The name that its random words are derived from.")
    canonical_shape: list[int] = Field(description="The shape in whose row-major order the words are counted.")
    elements: int
    bytes: int
    data_offsets: list[int] = Field(
        min_length=2, max_length=2, description="Where the tensor begins and ends in the data of the file."
    )
    fan_in: int | None
    fan_out: int | None
    fan_rule: Literal["exact", "torch", "keras", "axes"] | None = Field(
        description="How the fans were counted: by true connectivity, as a framework counts, or by the named axes."
    )
    fans: dict[str, FansAnswer | None] = Field(description="The fans by every rule.")
    initializer: dict[str, Any] | str
    distribution: dict[str, Any] = Field(description="The distribution and its scalars in binary64.")
    expected: SummaryAnswer = Field(description=EXPECTED)


class Totals(Wire):
    """Sums over all tensors, and the size of the file."""

    tensors: int
    elements: int
    bytes: int
    header_bytes: int
    file_bytes: int


class PlanAnswer(About):
    """What would be drawn."""

    permalink: str | None = Field(description="The path of the file; null if it would have more than 8,000 characters.")
    etag: str
    canonical_spec: dict[str, Any]
    totals: Totals
    warnings: list[str] = Field(
        description="What may not be intended: at most a hundred warnings, and the number of others."
    )
    tensors: list[PlannedTensor]


def _answer() -> Responses:
    """The answer of /v1/plan."""
    plan = example_plan()
    example = orjson.loads(b"".join(plan_json(SafetensorsFile(plan))))
    return json_answer(PlanAnswer, example, "What would be drawn.")


@router.post(
    "/v1/plan",
    operation_id="planWeights",
    summary="What would be drawn, and what it would cost; draws nothing",
    dependencies=[OnceOnly],
    responses=_answer() | problems(400, 406, 413, 415, 422),
    openapi_extra=SPEC_BODY,
    response_class=Response,
)
async def plan_weights(request: Request, state: Shared, options: FileQuery) -> Response:
    """Every tensor with its names, shape, fans, distribution and place in the file; totals, digest and permalink."""
    require_json(request)
    raw = await read_body(request, state.max_body_bytes)
    file = await state.file(request, posted(raw), options, SAFETENSORS)
    assert isinstance(file, SafetensorsFile)
    remarks = partial(remarks_on, raw if options.seed is None else b"")
    pieces = plan_json(file, request.scope.get("root_path", ""), remarks)
    return await state.document(request, len(file.plan.tensors), pieces)
