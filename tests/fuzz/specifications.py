"""Specifications over the whole union of layers, initializers, dialects and options: each a function of a Random."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from service.errors import Refused
from service.initializers.gains import NONLINEARITIES, NONLINEARITY_ALIASES
from service.limits import Limits
from service.plan import make_plan
from service.schema import dialects
from service.schema.dialects import Argument, Form
from service.schema.initializers import AnyInitializer
from service.schema.layers import Leaf
from service.schema.parsing import read_spec
from service.stream.dtypes import DType

Json = Any
Object = dict[str, Any]
Draw = Callable[[Random], Json]

OUR_INITIALIZERS: Final = get_args(AnyInitializer)
LEAVES: Final = get_args(Leaf)
FORMS: Final[tuple[tuple[str, Form], ...]] = (
    *dialects._CLASSES.items(),
    *dialects._BY_TYPE.items(),
    *((str(form.inside), form) for form in dialects._BURN),
)
LARGEST: Final = 2000
LETTERS: Final = "abwXß_.-/\\\"'~ \u00a0\u0301\u5c64\u2028\u200f\ufffd\uffff\U0001f600"
OPTIONAL: Final = 0.5
"""How often a field stands that need not."""
EXPONENTS: Final = (*[(-3, 0.6)] * 12, *[(-12, 3)] * 3, (-323, 306))
TRIES: Final = 60
"""For a layer that means something, before the next best is taken."""
SMALL: Final = Limits(file_bytes=8 << 20, whole_elements=1 << 17)


def size(chance: Random) -> int:
    """Half of them are 1 or 2; nearly one in ten is above 200."""
    return int(LARGEST ** (chance.random() ** 3))


def seed(chance: Random) -> int:
    """Of any length."""
    return chance.getrandbits(chance.choice((0, 3, 31, 52, 53, 54, 64)))


def dtype(chance: Random) -> DType:
    """One of ours, which is a string, too."""
    return chance.choice(tuple(DType))


def name(chance: Random) -> str:
    """Mostly short, of letters that JSON, paths and Unicode have views about."""
    length = 200 if chance.random() < 0.01 else chance.randint(0, 3)
    return "".join(chance.choices(LETTERS, k=length))


def scale(chance: Random) -> float:
    """Above zero: mostly of an ordinary size, seldom of any."""
    if chance.random() < 0.2:
        return chance.choice((0.02, 0.5, 1, 1.0, 2))
    return float(10.0 ** chance.uniform(*chance.choice(EXPONENTS)))


def number(chance: Random) -> float:
    """Zero, or of either sign."""
    return chance.choice((-1, -1, 0, 1, 1)) * scale(chance)


def gain(chance: Random) -> Json:
    """A number, a name or an object."""
    ways = (
        scale(chance),
        chance.choice((*NONLINEARITIES, *NONLINEARITY_ALIASES)),
        {"nonlinearity": "leaky_relu", "negative_slope": number(chance)},
    )
    return chance.choice(ways)


def _some(draw: Draw, least: int, most: int) -> Draw:
    return lambda chance: [draw(chance) for _ in range(chance.randint(least, most))]


def _either(*draws: Draw) -> Draw:
    return lambda chance: chance.choice(draws)(chance)


def _axes(chance: Random) -> list[int]:
    return chance.sample(range(-3, 4), chance.randint(0, 2))


def _few(chance: Random) -> int:
    return chance.choice((1, 1, 2, 2, 3))


FIELDS: Final[Mapping[str, Draw]] = {
    "gain": gain,
    "nonlinearity": lambda chance: chance.choice((*NONLINEARITIES, *NONLINEARITY_ALIASES)),
    "sparsity": lambda chance: chance.choice((0, 0.5, chance.random())),
    "std": scale,
    "scale": scale,
    "multiplier": scale,
    "shape": _some(_either(size, size, lambda chance: chance.randint(0, 2)), 0, 4),
    "normalized_shape": _either(size, _some(size, 1, 3)),
    "kernel_size": _either(size, _some(size, 1, 3)),
    "num_layers": _few,
    "groups": _few,
    "num_groups": _few,
    "num_heads": _few,
    "dtype": dtype,
    "in_axes": _axes,
    "out_axes": _axes,
    "batch_axes": _axes,
}
"""By the name of a field; of others the type says enough."""
TYPES: Final[Mapping[Any, Draw]] = {
    int: size,
    float: number,
    bool: lambda chance: chance.random() < 0.5,
    type(None): lambda _: None,
}


def _value(annotation: Any, chance: Random) -> Json:
    """What a type allows."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _value(get_args(annotation)[0], chance)
    if origin is Literal:
        return chance.choice(get_args(annotation))
    if origin in (Union, UnionType):
        return _value(chance.choice(get_args(annotation)), chance)
    return TYPES[annotation](chance)


def _field(name: str, field: FieldInfo, chance: Random) -> Json:
    if name.endswith("initializer"):
        return initializer(chance)
    return FIELDS[name](chance) if name in FIELDS else _value(field.annotation, chance)


def _object(model: Any, chance: Random) -> Object:
    """An object of a model: what it requires, and any of the rest."""
    return {
        name: _field(name, field, chance)
        for name, field in model.model_fields.items()
        if name != "name" and (field.is_required() or chance.random() < OPTIONAL)
    }


def initializer(chance: Random) -> Json:
    """In our words, mostly, or in another dialect's."""
    way = chance.random()
    if way < 0.7:
        return _object(chance.choice(OUR_INITIALIZERS), chance)
    if way < 0.8:
        return chance.choice(
            (*dialects.NAMES, *(model.model_fields["type"].annotation.__args__[0] for model in OUR_INITIALIZERS))
        )
    return in_a_dialect(chance)


def in_a_dialect(chance: Random) -> Object:
    """An initializer as Keras, PyTorch or Burn write it."""
    called, form = chance.choice(FORMS)
    inside = {
        path[-1]: _argument(argument, chance)
        for path, argument in form.arguments.items()
        if path[:-1] == ((form.inside,) if form.inside else ()) and path != ("type",) and chance.random() < 0.5
    }
    if form.inside is None:
        return {"type": called} | inside
    return {"class_name": called, "config": inside} if form.inside == "config" else {called: inside}


def _argument(argument: Argument, chance: Random) -> Json:
    if argument.words:
        return chance.choice(tuple(argument.words))
    if argument.ours is None:
        return None
    return FIELDS.get(argument.ours, _mode if argument.ours == "mode" else number)(chance)


def _mode(chance: Random) -> str:
    return chance.choice(("fan_in", "fan_out", "fan_avg"))


def layer(chance: Random, depth: int = 3) -> Object:
    """A layer with tensors of its own, or a group or repeat of some."""
    if depth == 0 or chance.random() < 0.8:
        return leaf(chance)
    around = {"type": "group"}, {"type": "repeat", "times": _few(chance), "start": chance.randint(0, 11)}
    return chance.choice(around) | {"layers": layers(chance, depth - 1)}


def leaf(chance: Random) -> Object:
    """A layer with tensors of its own, which mostly means something: of any kind, or with any initializer."""
    if chance.random() < 0.5:
        model = chance.choice(LEAVES)
        drawn = (_object(model, chance) for _ in range(TRIES))
    else:
        fixed = {"initializer": initializer(chance)}
        drawn = (_object(chance.choice(LEAVES), chance) | fixed for _ in range(TRIES))
    return next(filter(means_something, drawn), {"type": "linear", "in_features": size(chance), "out_features": 2})


def means_something(layer: Object) -> bool:
    """Whether a layer can be planned by itself, and is small."""
    document = {"seed": 0, "framework": "keras", "layers": [layer | {"name": "w"}]}
    try:
        make_plan(read_spec(json.dumps(document).encode()), SMALL)
    except Refused:
        return False
    return True


def layers(chance: Random, depth: int = 3) -> list[Object]:
    """One to three, under names of their own."""
    made = [layer(chance, depth) for _ in range(chance.choice((1, 1, 2, 3)))]
    return [each | {"name": f"{place}{name(chance)}"} for place, each in enumerate(made)]


def specification(chance: Random) -> Object:
    """A specification of the form that the models have; what it means may be refused."""
    defaults: Mapping[str, Draw] = {
        "framework": lambda chance: chance.choice(("torch", "keras", "keras")),
        "fans": lambda chance: chance.choice(("exact", "torch", "keras")),
        "prefix": name,
        "dtype": dtype,
        "initializer": initializer,
        "stream": lambda _: 1,
    }
    chosen = {name: draw(chance) for name, draw in defaults.items() if chance.random() < OPTIONAL}
    return {"seed": seed(chance), "layers": layers(chance)} | chosen
