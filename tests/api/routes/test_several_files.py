"""A format of several files: each has an address, and none of them is the answer to a POST."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from service.api.guard import work
from service.api.openapi import build_document
from service.api.routes import weights
from service.app import create_app
from service.errors import InvalidOption, UnknownPermalink
from service.formats.files import Format, StatisticsOption
from service.formats.safetensors import SafetensorsFile
from service.limits import Limits
from service.plan import Plan, make_plan
from service.schema.parsing import read_spec
from tests.api.specs import body, linear, spec

PERMALINK: Final = make_plan(read_spec(body(spec(linear())))).permalink
NAMES: Final = ("one.twice", "two.twice")


def opened(plan: Plan, name: str, statistics: StatisticsOption, limits: Limits) -> SafetensorsFile:
    if name not in NAMES:
        raise UnknownPermalink(f"there is no file {name}")
    return SafetensorsFile(plan, statistics, limits=limits)


TWICE: Final = Format("application/x-twice", "{file:path}.twice", lambda _: NAMES, opened, lambda *_: None)


@pytest.fixture(scope="module", name="app")
def _app() -> FastAPI:
    app, router = create_app(), APIRouter(tags=["weights"])
    weights.serve(router, "twice", TWICE)
    app.include_router(router)
    return app


def answers(app: FastAPI, *asked: dict[str, str]) -> list[httpx.Response]:
    """What an application answers to a file's name and perhaps a range."""

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://h") as client,
        ):
            return [await client.get(f"/v1/weights/{PERMALINK}/{each.pop('name')}", headers=each) for each in asked]

    return asyncio.run(scenario())


def test_each_file_has_an_address_and_ranges_and_no_other_is_found(app: FastAPI) -> None:
    whole, part, none = answers(
        app, {"name": NAMES[1]}, {"name": NAMES[1], "Range": "bytes=3-9"}, {"name": "three.twice"}
    )

    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/x-twice")
    assert (part.status_code, part.content) == (206, whole.content[3:10])
    assert none.status_code == 404


def test_which_file_is_a_parameter_of_the_operations(app: FastAPI) -> None:
    operations = build_document(app)["paths"]["/v1/weights/{permalink}/{file}.twice"]

    assert {operation["operationId"] for operation in operations.values()} == {"getWeightsTwice", "headWeightsTwice"}
    for operation in operations.values():
        [file] = [each for each in operation["parameters"] if each["name"] == "file"]
        assert (file["in"], file["required"], file["example"]) == ("path", True, "one")


def test_a_post_for_one_of_several_files_is_referred_to_their_addresses() -> None:
    with pytest.raises(InvalidOption, match="has 2 files here"):
        work._only(NAMES)
