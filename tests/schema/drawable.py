"""Specifications that are small enough to be drawn: the whole union of layers and initializers, from the models."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from service.errors import InvalidSpec
from service.initializers.gains import NONLINEARITIES
from service.plan import make_plan
from service.schema.initializers import AnyInitializer
from service.schema.layers import Leaf
from service.schema.parsing import read_spec
from service.stream.dtypes import DType
from tests.plan.planned import spec

Json = Any
Object = dict[str, Any]
Strategy = st.SearchStrategy[Any]

seeds = st.integers(0, 2**64 - 1)
dtypes = st.sampled_from(list(DType)).map(str)
names = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), max_size=3)
scales = st.one_of(
    st.floats(1e-3, 4), st.sampled_from([1.0, 2.0, 0.5]), st.floats(1e-12, 1e3), st.floats(5e-324, 1e306)
)
numbers = st.one_of(st.just(0.0), scales, scales.map(lambda scale: -scale))
gains = st.one_of(
    scales,
    st.sampled_from(NONLINEARITIES),
    st.fixed_dictionaries({"nonlinearity": st.just("leaky_relu"), "negative_slope": numbers}),
)
sizes = st.sampled_from([1, 2, 3, 4, 6])
shapes = st.lists(sizes, min_size=1, max_size=3)
OWN: Final[dict[str, Strategy]] = {
    "gain": gains,
    "nonlinearity": st.sampled_from(NONLINEARITIES),
    "sparsity": st.floats(0, 1, exclude_max=True),
    "std": scales,
    "scale": scales,
    "multiplier": scales,
    "shape": st.lists(st.integers(0, 4), max_size=4),
    "normalized_shape": shapes,
    "kernel_size": sizes,
    "num_layers": st.integers(1, 2),
    "groups": st.integers(1, 2),
    "num_groups": st.integers(1, 2),
    "num_heads": st.integers(1, 2),
    "dtype": dtypes,
    "in_axes": st.lists(st.integers(-3, 3), max_size=2, unique=True),
    "out_axes": st.lists(st.integers(-3, 3), max_size=2, unique=True),
    "batch_axes": st.lists(st.integers(-3, 3), max_size=2, unique=True),
}
"""By the name of a field; of others the type says enough."""


def _values(annotation: Any) -> Strategy:
    """What a type allows."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _values(get_args(annotation)[0])
    if origin is Literal:
        return st.sampled_from(get_args(annotation))
    if origin in (Union, UnionType):
        return st.one_of(*(_values(each) for each in get_args(annotation)))
    return {int: sizes, float: numbers, bool: st.booleans(), type(None): st.none()}[annotation]


def _field(name: str, field: FieldInfo) -> Strategy:
    if name.endswith("initializer"):
        return initializers
    return OWN[name] if name in OWN else _values(field.annotation)


def _objects(model: Any) -> st.SearchStrategy[Object]:
    """Objects of a model: what it requires, and any of the rest."""
    fields = {name: _field(name, field) for name, field in model.model_fields.items() if name != "name"}
    required = {name: value for name, value in fields.items() if model.model_fields[name].is_required()}
    optional = {name: value for name, value in fields.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


def _is_drawable(layer: Object) -> bool:
    try:
        make_plan(read_spec(spec(layer | {"name": "w"})))
    except InvalidSpec:
        return False
    return True


initializers: st.SearchStrategy[Json] = st.one_of(*(_objects(model) for model in get_args(AnyInitializer)))
leaves: st.SearchStrategy[Object] = st.one_of(*(_objects(model) for model in get_args(Leaf))).filter(_is_drawable)


@st.composite
def specifications(draw: st.DrawFn) -> Object:
    """One to three layers under names of their own, in groups and repeats, with any defaults of the model."""
    layers = [
        leaf | {"name": f"{n}{draw(names)}"} for n, leaf in enumerate(draw(st.lists(leaves, min_size=1, max_size=3)))
    ]
    if draw(st.booleans()):
        layers[0] = {"type": "repeat", "name": "h", "times": draw(st.integers(1, 2)), "layers": [layers[0]]}
    defaults = {
        "framework": st.sampled_from(["torch", "keras"]),
        "fans": st.sampled_from(["exact", "torch", "keras"]),
        "prefix": names,
        "dtype": dtypes,
        "initializer": initializers,
    }
    return draw(st.fixed_dictionaries({"seed": seeds, "layers": st.just(layers)}, optional=defaults))
