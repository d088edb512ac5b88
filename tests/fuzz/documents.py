"""Specifications with something wrong in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.fuzz.junk import damaged
from tests.fuzz.specifications import initializer, layer, specification
from tests.fuzz.spellings import Literal, Members, spelled, words

LARGEST: Final = 4 << 20
"""Bytes of a body that the server reads."""
CROWDED: Final = 0.03
"""How often there are many layers, which take seconds to plan."""
NUMBERS: Final = (
    *words("0 -0 -0.0 -1 1.5 1e3 1e16 2147483647 2147483648 9007199254740993 18446744073709551615"),
    *words("18446744073709551616 1e308 1e309 -1e309 1e-320 1e-400 1E400 0.1e-99999999999"),
    *words("NaN Infinity -Infinity 01 +1 .5 1. 0x10"),
    *("9" * 400, "9" * 5000, "0." + "3" * 5000, "1e" + "9" * 400),
)
VALUES: Final = (
    *words("null true false 0 1 -1 2.5 3 1e400 [] [[]] [0] [1,2,3] {} nul"),
    *words(r'"" "x" "1" "linear" "xavier_uniform" "__metadata__" "weight" "\ud800" "\u0000" "\u202e" "\u007f"'),
    *words('{"type":"x"} {"type":null} {"type":[]} {"class_name":"HeNormal"} {"class_name":[]} {"Uniform":{}}'),
    *("", f'"{"a" * 1025}"'),
)
LAYER: Final = '{"type":"linear","name":"a","in_features":1,"out_features":1}'
ITEMS: Final = ("1", "{}", "[]", '""', "null", '{"type":"linear"}', LAYER)
BRACKETS: Final = (("[", "]"), ('{"a":', "}"), ('{"type":"group","name":"g","layers":[', "]}"), ('[{"layers":', "}]"))
LETTERS: Final = ("x", "\u00e9", "\U0001f600", '"', "\\", "\n", "/", "~", "\u202e", "\ufffe")
NAMES: Final = ("", "type", "name", "x" * 5000, "a/b~c", "layers", "initializer", "\u00e9\n", "0")


def mutated_text(chance: Random) -> bytes:
    """A specification with one to three things wrong, as bytes; mostly still JSON."""
    document: Any = {"": _crowded(chance) if chance.random() < CROWDED else specification(chance)}
    for _ in range(chance.choice((1, 1, 2, 3))):
        change, kinds = chance.choice(CHANGES)
        places = [(holder, key) for holder, key in _places(document) if isinstance(holder[key], kinds)]
        if places:
            holder, key = chance.choice(places)
            holder[key] = change(holder[key], chance)
    text = spelled(document[""], chance).encode("utf-8", "surrogatepass")
    return (damaged(text, chance) if chance.random() < 0.15 else text)[: LARGEST + 10]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every value inside another, by what holds it and where."""
    if not isinstance(value, dict | list):
        return []
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _crowded(chance: Random) -> Any:
    """Many layers, each a little different."""
    count, some = chance.choice((500, 3000, 13_000, 20_000)), [layer(chance, 1) for _ in range(2)]
    steps = chance.choice((1, 40, count))
    texts = (json.dumps(_varied(some[n % 2], n % steps) | {"name": str(n)}) for n in range(count))
    return specification(chance) | {"layers": Literal(f"[{','.join(texts)}]")}


def _varied(value: Any, step: int) -> Any:
    """The same with other numbers."""
    match value:
        case dict():
            return {name: _varied(each, step) for name, each in value.items()}
        case list():
            return [_varied(each, step) for each in value]
        case bool() | str() | None:
            return value
        case _:
            return value + step if isinstance(value, int) else value * (1 + step / 1024)


def _without(value: Any, chance: Random) -> Any:
    items = _items(value)
    return _like(value, chance.sample(items, max(len(items) - 1, 0)))


def _doubled(value: Any, chance: Random) -> Any:
    """An item twice, or a member; or many items."""
    items = _items(value)
    more = chance.choices(items, k=chance.choice((1, 1, 2000))) if items else []
    return Members([*items, *more[:1]]) if isinstance(value, dict) else [*items, *more]


def _swapped(value: Any, chance: Random) -> Any:
    """The values of members, or the items, in another order."""
    if isinstance(value, dict):
        return dict(zip(value, chance.sample([*value.values()], len(value)), strict=True))
    return chance.sample(value, len(value))


def _renamed(value: Any, chance: Random) -> Any:
    if not value:
        return value
    old = chance.choice([*value])
    new = chance.choice((*NAMES, old.upper(), old + "s"))
    return {new if name == old else name: each for name, each in value.items()}


def _items(value: Any) -> list[Any]:
    return [*value.items()] if isinstance(value, dict) else [*value]


def _like(value: Any, items: list[Any]) -> Any:
    return dict(items) if isinstance(value, dict) else items


def _other(_: Any, chance: Random) -> Any:
    return Literal(chance.choice(VALUES))


def _number(_: Any, chance: Random) -> Any:
    if chance.random() < 0.6:
        return Literal(chance.choice(NUMBERS))
    return chance.randint(0, 10 ** chance.randint(1, 10))


def _deep(_: Any, chance: Random) -> Any:
    first, last = chance.choice(BRACKETS)
    depth = min(chance.choice((5, 50, 200, 900, 5000, 100_000, 10**6)), LARGEST // len(first + last))
    return Literal(first * depth + chance.choice(ITEMS) + last * (depth - chance.choice((0, 0, 1))))


def _wide(_: Any, chance: Random) -> Any:
    item = chance.choice(ITEMS)
    count = min(chance.choice((1000, 1025, 20_000, 131_000, 10**6)), LARGEST // (len(item) + 1) - 100)
    if chance.random() < 0.7:
        return Literal(f"[{','.join([item] * count)}]")
    return Literal(f"{{{','.join(f'{json.dumps(str(n))}:{item}' for n in range(count // 3))}}}")


def _long(_: Any, chance: Random) -> Any:
    return chance.choice(LETTERS) * chance.choice((61, 255, 1025, 20_000, 300_000))


def _graft(_: Any, chance: Random) -> Any:
    """Something valid where it may not stand."""
    valid = (lambda chance: layer(chance, 1) | {"name": "w"}, initializer, specification)
    return chance.choice(valid)(chance)


def _repeated(value: Any, chance: Random) -> Any:
    """A list, taken for layers, many times."""
    times = chance.choice((100, 5000, 50_000, 100_001, 10**9, 2**53 - 1))
    return [{"type": "repeat", "name": "r", "times": times, "layers": value}]


CHANGES: Final[tuple[tuple[Callable[[Any, Random], Any], Any], ...]] = (
    *((_without, dict | list), (_doubled, dict | list), (_swapped, dict | list), (_renamed, dict)),
    *((_other, object), (_other, object), (_number, int | float), (_number, int | float), (_number, object)),
    *((_deep, object), (_wide, object), (_long, object), (_graft, object), (_repeated, list)),
)
"""What happens to a value, and to which."""
