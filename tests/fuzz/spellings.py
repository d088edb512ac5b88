"""JSON texts: one value in any of its spellings, and what no value is written as."""

from __future__ import annotations

import json
from collections.abc import Iterable
from random import Random
from typing import Any, Final, NamedTuple

from service.schema.fields import DTYPE_ALIASES, MOST_EXACT

SPACES: Final = ("", "", "", " ", "\n\t")


class Literal(str):
    """What is written as it is, JSON or not."""

    __slots__ = ()


class Members(NamedTuple):
    """An object by its members, of which some may have one name."""

    members: list[tuple[str, Any]]


def words(text: str) -> tuple[str, ...]:
    """The words of a text: short for a table of strings."""
    return tuple(text.split())


def spelled(value: Any, chance: Random) -> str:
    """A JSON text of a value: any order of members, spelling of numbers and escapes of strings, and white space."""
    match value:
        case Members():
            return _object(value.members, chance)
        case dict():
            return _object(chance.sample([*value.items()], len(value)), chance)
        case list():
            return f"[{_gap(chance)}{','.join(spelled(each, chance) for each in value)}]"
        case _:
            return scalar(value, chance)


def scalar(value: Any, chance: Random) -> str:
    """A JSON text of what holds nothing else."""
    match value:
        case Literal():
            return str(value)
        case bool() | None:
            return json.dumps(value)
        case str():
            return text(value, chance)
        case _:
            return number(value, chance)


def _object(members: Iterable[tuple[str, Any]], chance: Random) -> str:
    written = (
        f"{text(name, chance)}:{_gap(chance)}{spelled(_other(name, value, chance), chance)}" for name, value in members
    )
    return f"{{{_gap(chance)}{','.join(written)}}}"


def _gap(chance: Random) -> str:
    return chance.choice(SPACES)


def _other(name: str, value: Any, chance: Random) -> Any:
    """Another value that means the same: names of dtypes, a seed as a string."""
    if name == "seed" and type(value) is int and chance.random() < 0.5:
        return str(value)
    if name == "dtype" and isinstance(value, str):
        aliases = [alias for alias, dtype in DTYPE_ALIASES.items() if dtype == value]
        return chance.choice((value, value.lower(), *aliases, f"torch.{aliases[0].lower()}" if aliases else value))
    return value


def text(value: str, chance: Random) -> str:
    """A string, with some of its characters escaped that need not be."""
    escaped = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.9 or not value.isascii() or not value.isalnum():
        return escaped
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in value) + '"'


def number(value: float, chance: Random) -> str:
    """A number; a whole one up to 2^53 as a float or with an exponent, too."""
    plain = json.dumps(value)
    if not isinstance(value, int):
        return chance.choice((plain, plain, plain.replace("e", "E"), f"{value:.17e}"))
    if abs(value) > MOST_EXACT:
        return plain
    return chance.choice((plain, plain, f"{plain}.0", f"{plain}e0", f"{plain}.00E+0"))
