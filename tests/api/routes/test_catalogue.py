"""The catalogue lists everything that the wire models take, with parameters and defaults that are true."""

from __future__ import annotations

from typing import Any, get_args

import httpx
import pytest

from service.initializers.gains import NONLINEARITIES, NONLINEARITY_ALIASES
from service.schema.initializers import INITIALIZER_ALIASES, AnyInitializer
from service.schema.layers import LAYER_ALIASES, LayerUnion
from tests.api.answers import Document
from tests.api.specs import Spec, linear, spec, tensor


@pytest.fixture(scope="module")
def catalogue(client: httpx.Client) -> dict[str, list[Document]]:
    """All three lists by their names."""
    names = ("initializers", "layers", "nonlinearities")
    return {name: client.get(f"/v1/{name}").json()[name] for name in names}


def by_type(entries: list[Document]) -> dict[str, Document]:
    return {entry["type"]: entry for entry in entries}


@pytest.mark.parametrize(("name", "union"), [("initializers", AnyInitializer), ("layers", LayerUnion)])
def test_the_catalogue_has_every_member_of_the_union_with_all_parameters(
    catalogue: dict[str, list[Document]], name: str, union: Any
) -> None:
    models = {get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(union)}
    entries = by_type(catalogue[name])

    assert list(entries) == list(models)
    for kind, model in models.items():
        fields = {field: info for field, info in model.model_fields.items() if field != "type"}
        assert [parameter["name"] for parameter in entries[kind]["parameters"]] == list(fields)
        for parameter in entries[kind]["parameters"]:
            assert parameter["required"] == fields[parameter["name"]].is_required()
            assert parameter["description"]
            assert parameter["allowed"]
        assert entries[kind]["summary"].endswith(".")


def test_the_catalogue_has_every_alias(catalogue: dict[str, list[Document]]) -> None:
    for name, aliases in (("initializers", INITIALIZER_ALIASES), ("layers", LAYER_ALIASES)):
        assert {alias: entry["type"] for entry in catalogue[name] for alias in entry["aliases"]} == aliases
    nonlinearities = catalogue["nonlinearities"]
    assert {alias: entry["name"] for entry in nonlinearities for alias in entry["aliases"]} == NONLINEARITY_ALIASES


def test_the_catalogue_has_every_nonlinearity_with_the_gain_that_it_gives(
    client: httpx.Client, catalogue: dict[str, list[Document]]
) -> None:
    assert [entry["name"] for entry in catalogue["nonlinearities"]] == list(NONLINEARITIES)
    plain = expected_std(client, {"type": "xavier_normal"})
    for entry in catalogue["nonlinearities"]:
        given = expected_std(client, {"type": "xavier_normal", "gain": entry["name"]})
        assert given == pytest.approx(plain * entry["gain"], rel=1e-15)


def expected_std(client: httpx.Client, initializer: Spec) -> float:
    document = spec(tensor("w", 4, 4, initializer=initializer))
    return float(client.post("/v1/plan", json=document).json()["tensors"][0]["expected"]["std"])


def test_every_default_of_the_catalogue_may_be_written_and_changes_nothing(
    client: httpx.Client, catalogue: dict[str, list[Document]]
) -> None:
    for entry in catalogue["initializers"]:
        required = {"constant": {"value": 0.25}, "sparse": {"sparsity": 0.5}}.get(entry["type"], {})
        short = {"type": entry["type"], **required}
        for parameter in entry["parameters"]:
            if not parameter["required"]:
                written = short | {parameter["name"]: parameter["default"]}
                assert digest(client, written) == digest(client, short), written


def digest(client: httpx.Client, initializer: Spec) -> str:
    layer = linear("a", 4, 4, bias=False, initializer=initializer)
    if initializer["type"] in ("dirac", "delta_orthogonal"):
        channels = {"in_channels": 4, "out_channels": 4, "kernel_size": 3}
        layer = {"type": "conv2d", "name": "a", **channels, "bias": False, "initializer": initializer}
    return str(client.post("/v1/plan", json=spec(layer)).json()["digest"])


def test_every_initializer_states_its_formula(catalogue: dict[str, list[Document]]) -> None:
    assert all(entry["formula"] for entry in catalogue["initializers"] + catalogue["nonlinearities"])
    assert all(entry["function"] and entry["definition"] for entry in catalogue["nonlinearities"])
    assert all(entry["references"] for entry in catalogue["initializers"] if "xavier" in entry["type"])
    assert all(entry["tensors"] for entry in catalogue["layers"])
