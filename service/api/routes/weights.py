"""/v1/weights: the weights, by POST of a specification or by permalink."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.answers import About, StatisticsPair, TensorHead
from service.api.examples import example_plan
from service.api.http import conditionals, negotiation
from service.api.http.bodies import read_body
from service.api.http.conditionals import Selection
from service.api.http.downloads import Download, file_headers, headless
from service.api.http.negotiation import JSON
from service.api.http.options import FileQuery, OnceOnly, Permalink, WeightsOptions, WeightsQuery
from service.api.http.sources import linked, posted
from service.api.openapi import SPEC_BODY, Responses, answer_schema, header, problems
from service.api.state import AppState, Shared
from service.delivery.pool import Task, needs
from service.formats import FORMATS
from service.formats.files import File, Format
from service.formats.json import check_json_size, weights_json
from service.plan import Plan
from service.schema.permalinks import file_path

router = APIRouter(tags=["weights"])
MEDIA_TYPES: Final = [*dict.fromkeys(each.media_type for each in FORMATS.values()), JSON]


class TensorWeights(TensorHead):
    """A tensor with its values: flat and row-major, or as base64 of the bytes."""

    data: list[float] | str
    statistics: StatisticsPair | None = None


class WeightsAnswer(About):
    """All weights of a specification, in model order."""

    tensors: list[TensorWeights]


def _content() -> dict[str, Any]:
    """The first file of the example in each format, by media type."""
    files = {each.media_type: each.files(example_plan())[0] for each in FORMATS.values()}
    return {media_type: _file(file_path(example_plan().permalink, name)) for media_type, name in files.items()}


def _file(path: str) -> dict[str, Any]:
    example = {"summary": "The file of the example specification.", "externalValue": path}
    return {"schema": {"type": "string", "format": "binary"}, "examples": {"example": example}}


def _posted() -> Responses:
    """The answers to a specification: a file, or JSON."""
    example = orjson.loads(weights_json(example_plan(), None, "expected", "decimal"))
    as_json = {JSON: {"schema": answer_schema(WeightsAnswer), "example": example}}
    return {200: {"description": "The weights.", "headers": _headers(always=False), "content": _content() | as_json}}


def _addressed(*, ranges: bool = True) -> Responses:
    """The answers at an address: a file, or a part of one."""
    headers, part = _headers(always=True), {"Content-Range": header("The range that is sent.", always=True)}
    answers: Responses = {
        200: {"description": "A safetensors file.", "headers": headers, "content": _content()},
        206: {"description": "The bytes of the range.", "headers": headers | part, "content": _content()},
        304: {"description": "The caller already has these bytes; no body."},
    }
    return answers if ranges else {status: answers[status] for status in (200, 304)}


def _headers(*, always: bool) -> dict[str, Any]:
    """The header fields of a file; an answer that may also be JSON does not always have them all."""
    described = {
        "ETag": "Strong: a hash of everything that the bytes depend on, and so known before them; not of the bytes.",
        "Content-Length": "Known before anything is drawn.",
        "Accept-Ranges": "bytes; none if the specification is too long for a permalink, and so for ranges.",
        "Cache-Control": "Permalinks may be cached for ever.",
    }
    short = {
        "Content-Location": "The permalink, if it is shorter than 2,048 characters.",
        "Link": "The statistics of the same weights, rel=describedby.",
    }
    return {name: header(text, always=always) for name, text in described.items()} | {
        name: header(text) for name, text in short.items()
    }


@router.post(
    "/v1/weights",
    operation_id="initializeWeights",
    summary="Initialize the weights of a specification",
    dependencies=[OnceOnly],
    responses=_posted() | problems(400, 406, 413, 415, 422, 429, 503),
    openapi_extra=SPEC_BODY,
    response_class=Response,
)
async def initialize_weights(request: Request, state: Shared, options: WeightsQuery) -> Response:
    """The whole file as safetensors, with the same bytes as at its permalink, or JSON with statistics."""
    format_ = _format(request, options)
    raw = await read_body(request, state.max_body_bytes)
    state.require_platform()
    if format_ is None:
        return await _json_answer(request, state, await state.plan(request, posted(raw), options), options)
    file = await state.file(request, posted(raw), options, format_)
    return await _deliver(request, state, format_, file, Selection(200, 0, file.length))


def serve(router: APIRouter, name: str, format_: Format) -> None:
    """Serve the files of a format at their addresses; the operations of the first format have the plain names."""

    async def get_weights(request: Request, state: Shared, permalink: Permalink, options: FileQuery) -> Response:
        """The bytes at a permalink never change. A single range, If-Range, If-Match and If-None-Match are supported."""
        negotiation.choose(request, [format_.media_type])
        file_name = request.scope["path"].partition(f"{permalink}/")[2]
        file = await state.file(request, linked(permalink), options, format_, file_name)
        selection = conditionals.select(request.method, request.headers, f'"{file.etag}"', file.length)
        return await _deliver(request, state, format_, file, selection)

    file = _file_parameter(format_)
    path, suffix = f"/v1/weights/{{permalink}}/{format_.path}", "" if name in list(FORMATS)[:1] else name.title()
    router.head(
        path,
        operation_id=f"headWeights{suffix}",
        summary="Length and ETag of the weights of a permalink; draws nothing",
        dependencies=[OnceOnly],
        responses=_addressed(ranges=False) | problems(404, 406, 412, 422),
        openapi_extra=file,
        response_class=Response,
    )(get_weights)
    router.get(
        path,
        operation_id=f"getWeights{suffix}",
        summary="The weights of a permalink, or a range of their bytes",
        dependencies=[OnceOnly],
        responses=_addressed() | problems(404, 406, 412, 416, 422, 429, 503),
        openapi_extra=file,
        response_class=Response,
    )(get_weights)


def _file_parameter(format_: Format) -> dict[str, Any] | None:
    """How the part of an address that names one of several files is documented; None for a format of one file."""
    before, several, after = format_.path.partition("{file:path}")
    if not several:
        return None
    example = format_.files(example_plan())[0].removeprefix(before).removesuffix(after)
    described = {"name": "file", "in": "path", "required": True, "description": "Which of the files."}
    return {"parameters": [described | {"schema": {"type": "string"}, "example": example}]}


for each_name, each_format in FORMATS.items():
    serve(router, each_name, each_format)


def _format(request: Request, options: WeightsOptions) -> Format | None:
    """The format that the caller chooses by the option or by Accept; None for JSON."""
    if options.format is not None:
        return FORMATS.get(options.format)
    media_type = negotiation.choose(request, MEDIA_TYPES)
    return next((each for each in FORMATS.values() if each.media_type == media_type), None)


async def _deliver(request: Request, state: AppState, format_: Format, file: File, selection: Selection) -> Response:
    """The selected part of a file as an answer."""
    headers = file_headers(request, file, format_.media_type)
    if selection.status == 304:
        return headless(
            304, {name: headers[name] for name in headers if name not in ("Content-Type", "Content-Disposition")}
        )
    headers["Content-Length"] = str(selection.stop - selection.start)
    if selection.status == 206:
        headers["Content-Range"] = f"bytes {selection.start}-{selection.stop - 1}/{file.length}"
    if request.method == "HEAD":
        return headless(selection.status, headers)
    chunks, place = await state.stream(request, file, selection.start, selection.stop)
    return Download(chunks, selection.status, headers, place)


async def _json_answer(request: Request, state: AppState, plan: Plan, options: WeightsOptions) -> Response:
    check_json_size(plan, state.limits)
    statistics = options.statistics or "measured"  # the values are at hand, so measuring them costs little
    measured = await state.measure(plan, request) if statistics == "measured" else None
    draw = partial(weights_json, plan, measured, statistics, options.encoding)
    content = await state.drawn(request, plan, partial(state.pool.run, Task(draw, partial(needs, plan))))
    return Response(content, media_type=JSON, headers={"Vary": "Accept", "X-Content-Type-Options": "nosniff"})
