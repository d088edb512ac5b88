"""/v1/initializers, /v1/layers and /v1/nonlinearities: the catalogue, generated from the models."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from service.api.http.negotiation import JSON, JsonOnly
from service.api.openapi import json_answer, problems
from service.schema import catalogue
from service.schema.catalogue import InitializerCatalogue, LayerCatalogue, NonlinearityCatalogue

INITIALIZERS: Final = catalogue.initializer_catalogue()
LAYERS: Final = catalogue.layer_catalogue()
NONLINEARITIES: Final = catalogue.nonlinearity_catalogue()


router = APIRouter(tags=["catalogue"], dependencies=[JsonOnly], default_response_class=Response)


def _described(model: type[BaseModel], whole: BaseModel, description: str) -> dict[int | str, dict[str, Any]]:
    return json_answer(model, _first_of_each(whole), description) | problems(406)


def _first_of_each(whole: BaseModel) -> dict[str, Any]:
    return {name: entries[:1] for name, entries in whole.model_dump(mode="json").items()}


def _answer(whole: BaseModel) -> Response:
    return Response(whole.model_dump_json(), media_type=JSON)


@router.get(
    "/v1/initializers",
    operation_id="listInitializers",
    summary="Every initializer, with its parameters, formula and references",
    responses=_described(InitializerCatalogue, INITIALIZERS, "All initializers."),
)
async def list_initializers() -> Response:
    """The values that `initializer` and `bias_initializer` accept."""
    return _answer(INITIALIZERS)


@router.get(
    "/v1/layers",
    operation_id="listLayers",
    summary="Every layer, with its parameters and tensors",
    responses=_described(LayerCatalogue, LAYERS, "All layers."),
)
async def list_layers() -> Response:
    """The types that entries of `layers` may have."""
    return _answer(LAYERS)


@router.get(
    "/v1/nonlinearities",
    operation_id="listNonlinearities",
    summary="Every nonlinearity, with its gain",
    responses=_described(NonlinearityCatalogue, NONLINEARITIES, "All nonlinearities."),
)
async def list_nonlinearities() -> Response:
    """The names that `gain` accepts."""
    return _answer(NONLINEARITIES)
