"""The catalogue of initializers, layers and nonlinearities, generated from the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, Field

from service.initializers.gains import GAINS, NONLINEARITY_ALIASES
from service.schema.fields import Wire
from service.schema.initializers import INITIALIZER_ALIASES, AnyInitializer, GainOf, InitializerBase
from service.schema.layers import LAYER_ALIASES, LayerBase, LayerUnion


class ParameterEntry(Wire):
    """A parameter of an entry in the catalogue."""

    name: str
    required: bool
    default: Any = None
    description: str | None = None
    allowed: dict[str, Any] = Field(description="A JSON Schema of its values.")


class InitializerEntry(Wire):
    """An initializer."""

    type: str
    aliases: list[str]
    summary: str
    formula: str
    references: list[str]
    parameters: list[ParameterEntry]


class LayerEntry(Wire):
    """A layer."""

    type: str
    aliases: list[str]
    summary: str
    tensors: str
    parameters: list[ParameterEntry]


class NonlinearityEntry(Wire):
    """A nonlinearity and its gain."""

    name: str
    aliases: list[str]
    function: str = Field(description="The nonlinearity f(z).")
    gain: float
    formula: str = Field(description="The formula of the gain.")
    definition: str = Field(description="The definition of the gain.")
    parameters: list[ParameterEntry]


class InitializerCatalogue(Wire):
    """Every initializer."""

    initializers: list[InitializerEntry]


class LayerCatalogue(Wire):
    """Every layer."""

    layers: list[LayerEntry]


class NonlinearityCatalogue(Wire):
    """Every nonlinearity."""

    nonlinearities: list[NonlinearityEntry]


def initializer_models() -> tuple[type[InitializerBase], ...]:
    """The models of all initializers, in the order of the union."""
    return AnyInitializer.__args__


def layer_models() -> tuple[type[LayerBase], ...]:
    """The models of all layers, in the order of the union."""
    return LayerUnion.__args__


def type_of(model: type[BaseModel]) -> str:
    """The value of `type` that names a model."""
    return str(model.model_fields["type"].annotation.__args__[0])  # type: ignore[union-attr]  # a Literal


def initializer_catalogue() -> InitializerCatalogue:
    """Every initializer with its parameters, formula and references."""
    entries = [
        InitializerEntry(
            type=type_of(model),
            aliases=_aliases(INITIALIZER_ALIASES, type_of(model)),
            summary=_summary(model),
            formula=model.formula,
            references=list(model.references),
            parameters=list(_parameters(model)),
        )
        for model in initializer_models()
    ]
    return InitializerCatalogue(initializers=entries)


def layer_catalogue() -> LayerCatalogue:
    """Every layer with its parameters and tensors."""
    entries = [
        LayerEntry(
            type=type_of(model),
            aliases=_aliases(LAYER_ALIASES, type_of(model)),
            summary=_summary(model),
            tensors=model.parameters,
            parameters=list(_parameters(model)),
        )
        for model in layer_models()
    ]
    return LayerCatalogue(layers=entries)


def nonlinearity_catalogue() -> NonlinearityCatalogue:
    """Every nonlinearity with its gain."""
    slope = [parameter for parameter in _parameters(GainOf) if parameter.name == "negative_slope"]
    entries = [
        NonlinearityEntry(
            name=name,
            aliases=_aliases(NONLINEARITY_ALIASES, name),
            function=entry.function,
            gain=entry.gain,
            formula=entry.formula,
            definition=entry.definition,
            parameters=slope if name == "leaky_relu" else [],
        )
        for name, entry in GAINS.items()
    ]
    return NonlinearityCatalogue(nonlinearities=entries)


def _aliases(aliases: Mapping[str, str], name: str) -> list[str]:
    return [alias for alias, meant in aliases.items() if meant == name]


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip()


def _parameters(model: type[BaseModel]) -> Iterator[ParameterEntry]:
    properties: dict[str, Any] = model.model_json_schema()
    found = properties if "properties" in properties else properties["$defs"][model.__name__]
    for name, field in model.model_fields.items():
        if name != "type":
            schema = {
                key: value
                for key, value in found["properties"][name].items()
                if key not in ("title", "default", "description")
            }
            yield ParameterEntry(
                name=name,
                required=field.is_required(),
                default=None if field.is_required() else field.default,
                description=field.description,
                allowed=schema,
            )
