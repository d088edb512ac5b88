"""The catalogue is generated from the models, and has all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.initializers.gains import NONLINEARITIES, NONLINEARITY_ALIASES, gain_of
from service.plan import make_plan
from service.schema.catalogue import (
    InitializerEntry,
    LayerEntry,
    initializer_catalogue,
    initializer_models,
    layer_catalogue,
    layer_models,
    nonlinearity_catalogue,
    type_of,
)
from service.schema.initializers import INITIALIZER_ALIASES
from service.schema.layers import LAYER_ALIASES
from service.schema.parsing import read_spec

INITIALIZERS = initializer_catalogue().initializers
LAYERS = layer_catalogue().layers
FUNCTIONS = nonlinearity_catalogue().nonlinearities
NEEDED = {
    "value": 0.5,
    "sparsity": 0.5,
    "shape": [2, 3],
    "layers": [{"type": "tensor", "name": "w", "shape": [2, 3]}],
    "normalized_shape": 4,
    "kernel_size": 3,
}
LINEAR = {"type": "linear", "name": "w", "in_features": 2, "out_features": 3}
CONVOLUTION = {"type": "conv2d", "name": "w", "in_channels": 2, "out_channels": 3, "kernel_size": 3}
each_entry = pytest.mark.parametrize("entry", [*INITIALIZERS, *LAYERS], ids=lambda entry: entry.type)
each_initializer = pytest.mark.parametrize("entry", INITIALIZERS, ids=lambda entry: entry.type)
each_layer = pytest.mark.parametrize("entry", LAYERS, ids=lambda entry: entry.type)
Entry = InitializerEntry | LayerEntry


def required(entry: Entry) -> dict[str, Any]:
    fields = {each.name: NEEDED.get(each.name, 4) for each in entry.parameters if each.required and each.name != "name"}
    return {"type": entry.type} | fields


def planned(layer: dict[str, Any]) -> int:
    return len(make_plan(read_spec(json.dumps({"seed": 1, "layers": [layer]}).encode())).tensors)


def test_every_model_has_an_entry_in_the_order_of_the_unions() -> None:
    assert [entry.type for entry in INITIALIZERS] == [type_of(model) for model in initializer_models()]
    assert [entry.type for entry in LAYERS] == [type_of(model) for model in layer_models()]


def test_every_alias_has_its_entry() -> None:
    assert {alias: entry.type for entry in INITIALIZERS for alias in entry.aliases} == INITIALIZER_ALIASES
    assert {alias: entry.type for entry in LAYERS for alias in entry.aliases} == LAYER_ALIASES
    assert {alias: entry.name for entry in FUNCTIONS for alias in entry.aliases} == NONLINEARITY_ALIASES


@each_entry
def test_every_entry_says_in_a_sentence_what_it_is(entry: Entry) -> None:
    assert entry.summary.endswith(".")
    assert "\n" not in entry.summary


@each_initializer
def test_every_initializer_has_a_formula(entry: InitializerEntry) -> None:
    assert entry.formula


@pytest.mark.parametrize("kind", ["xavier", "kaiming", "lecun", "variance_scaling"])
def test_every_scheme_has_references(kind: str) -> None:
    assert all(entry.references for entry in INITIALIZERS if entry.type.startswith(kind))


@each_layer
def test_every_layer_says_which_tensors_it_has(entry: LayerEntry) -> None:
    assert entry.tensors
    assert "name" in {parameter.name for parameter in entry.parameters}


@each_entry
def test_every_parameter_has_a_description_and_the_values_it_allows(entry: Entry) -> None:
    for parameter in entry.parameters:
        assert parameter.description, parameter.name
        assert parameter.allowed, parameter.name
        assert parameter.required or parameter.default is not None or "null" in json.dumps(parameter.allowed)


@each_initializer
def test_every_initializer_works_with_its_required_parameters_alone(entry: InitializerEntry) -> None:
    layer = CONVOLUTION if entry.type in ("delta_orthogonal", "dirac") else LINEAR

    assert planned(layer | {"initializer": required(entry)}) == 2


@each_initializer
def test_the_defaults_of_every_initializer_are_what_leaving_them_out_means(entry: InitializerEntry) -> None:
    written = {each.name: each.default for each in entry.parameters if not each.required and each.default is not None}
    [short, long] = (
        read_spec(json.dumps({"seed": 1, "initializer": initializer, "layers": [NEEDED["layers"][0]]}).encode())  # type: ignore[index]  # a list
        for initializer in (required(entry), required(entry) | written)
    )

    assert short.initializer == long.initializer


@each_layer
def test_every_layer_works_with_its_required_parameters_alone(entry: LayerEntry) -> None:
    assert planned(required(entry) | {"name": "x"}) > 0


@each_layer
def test_every_layer_says_which_tensors_it_has_by_their_names(entry: LayerEntry) -> None:
    document = {"seed": 1, "layers": [required(entry) | {"name": "x"}]}
    tensors = make_plan(read_spec(json.dumps(document).encode())).tensors

    if entry.type not in ("tensor", "group", "repeat"):
        assert all(each.name.removeprefix("x.") in entry.tensors for each in tensors)


def test_every_nonlinearity_has_its_gain() -> None:
    assert [entry.name for entry in FUNCTIONS] == list(NONLINEARITIES)
    assert [entry.gain for entry in FUNCTIONS] == [gain_of(name) for name in NONLINEARITIES]
    assert all(entry.function and entry.formula and entry.definition for entry in FUNCTIONS)
    assert [entry.name for entry in FUNCTIONS if entry.parameters] == ["leaky_relu"]


def test_the_catalogue_can_be_written_as_json() -> None:
    for catalogue in (initializer_catalogue(), layer_catalogue(), nonlinearity_catalogue()):
        assert json.loads(catalogue.model_dump_json())
