"""From bytes to a specification, or to all faults of its form, each with a pointer into the caller's own document.

JSON is read as RFC 8259 says, and strictly where that leaves a choice: duplicate names are refused (RFC 7493 section
2.3). Pointers follow RFC 6901.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from service.errors import MOST_COUNTED, MOST_FAULTS, Fault, InvalidSpec, LimitExceeded, LimitFault, MalformedDocument
from service.limits import Limits
from service.schema.dialects import NAMES, Form, Path, form_of
from service.schema.fields import MOST_EXACT
from service.schema.initializers import INITIALIZER_ALIASES, AnyInitializer, GainOf
from service.schema.layers import LAYER_ALIASES, LayerUnion, Patience
from service.schema.model import ModelSpec

MOST_MEMBERS: Final = 1024
"""The most members of an object, and items of an array other than `layers`; no specification needs this many."""
MOST_RECEIVED: Final = 60
"""The most characters of an invalid value that are quoted to the caller."""

_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|\[\s*\]|\{\s*\}|[,\[{]', re.DOTALL)
"""Strings, empty arrays and objects, and the tokens that a value follows; only the latter have one character."""
_LONG_NUMBER: Final = re.compile(rb"[0-9]{16}")
_INITIALIZER_FIELDS: Final = frozenset(
    field
    for model in (ModelSpec, *LayerUnion.__args__)
    for field in model.model_fields
    if field.endswith("initializer")
)
_UNION_FIELDS: Final = _INITIALIZER_FIELDS | {"gain"}
_RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "int_type": "must be an integer",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "string_type": "must be a string",
        "tuple_type": "must be an array",
        "model_type": "must be an object",
        "model_attributes_type": "must be an object",
        "finite_number": "must be finite",
        "greater_than": "must be above {gt}",
        "less_than": "must be below {lt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than_equal": "must be at most {le}",
        "too_short": "must have at least {min_length} item",
        "too_long": "must have at most {max_length} items",
        "literal_error": "must be {expected}",
    }
)
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        model.model_fields["type"].annotation.__args__[0]: tuple(model.model_fields)
        for model in (*LayerUnion.__args__, *AnyInitializer.__args__)
    }
)


def read_document(raw: bytes, members: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parse a JSON document.

    Args:
        raw: UTF-8 without a byte order mark.
        members: builds an object from its members, and must refuse duplicate names; None for a dictionary.

    Raises:
        MalformedDocument: it is not JSON, contains NaN, Infinity, lone surrogates or duplicate names, or is nested too
            deeply.
    """
    try:
        from_json(raw, allow_inf_nan=False)
        return json.loads(raw, object_pairs_hook=members or _members, parse_float=_number)
    except RecursionError:
        raise MalformedDocument("the JSON is nested too deeply") from None
    except ValueError as error:
        raise MalformedDocument(f"not JSON: {error}") from None


def read_spec(raw: bytes, limits: Limits | None = None) -> ModelSpec:
    """Parse and validate a specification.

    Args:
        raw: a JSON document.
        limits: how many values it may have; None for the defaults.

    Raises:
        MalformedDocument: it is not JSON.
        LimitExceeded: it has too many values.
        InvalidSpec: it is JSON, but not a specification; the first faults are listed, and the others counted.
    """
    _check_count(raw, (limits or Limits()).spec_values)
    document = read_document(raw, _few_members)
    patience = Patience(MOST_COUNTED)
    try:
        return ModelSpec.model_validate(document, context={"framework": _framework(document), "patience": patience})
    except ValidationError as error:
        faults, total = _faults(error.errors(include_url=False), document)
        raise InvalidSpec(faults, None if patience.lost else total) from None


def _framework(document: Any) -> Any:
    return document.get("framework") if isinstance(document, dict) else None


def _number(text: str) -> float:
    """A number that is not rounded to a different meaning: neither to an integer, nor from above 2^53 to 2^53."""
    value = float(text)
    if value == 0 and Decimal(text) != 0:
        return 5e-324
    if value == MOST_EXACT and Decimal(text) != MOST_EXACT:
        return float(MOST_EXACT + 2)
    return value


def remarks_on(raw: bytes) -> list[str]:
    """Warnings about a valid specification as it was received.

    A seed above 2^53 that came as a number may have been rounded on the way: JavaScript and other readers of JSON
    cannot represent every such integer (RFC 8259 section 6).
    """
    if not _LONG_NUMBER.search(raw):
        return []
    seed = json.loads(raw).get("seed")
    if isinstance(seed, str) or seed <= MOST_EXACT:
        return []
    return [f"the seed {seed} came as a JSON number above 2^53, which JavaScript rounds: send it as a string of digits"]


def _check_count(raw: bytes, most: int) -> None:
    """Count the values of a document without parsing it: each follows a comma or an opening bracket."""
    estimate = 1 + sum(map(raw.count, (b",", b"[", b"{")))
    if estimate <= most:
        return
    places = (token for token in _TOKENS.finditer(raw) if token.end() - token.start() == 1)
    if next(islice(places, most - 1, None), None) is not None:
        message = f"at most {most} values in a specification: use repeat, or raise XAVIER_MAX_SPEC_VALUES"
        raise LimitExceeded([LimitFault("", message, "spec_values", most, estimate)])


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # None
        raise ValueError(f"duplicate name {_shown(twice)} in an object")
    return members


def _few_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = _members(pairs)
    if len(members) > MOST_MEMBERS:
        raise InvalidSpec([Fault("", f"an object may have at most {MOST_MEMBERS} members; one has {len(members)}")])
    for name, value in pairs:
        if type(value) is list and len(value) > MOST_MEMBERS and name != "layers":
            message = f"an array may have at most {MOST_MEMBERS} items; {_shown(name)} has {len(value)}"
            raise InvalidSpec([Fault("", message)])
    return members


class _Place(NamedTuple):
    """The place of a fault: its pointer, the value there, and the form of the initializer there."""

    pointer: str
    node: Any
    form: Form | None = None


def _faults(details: list[ErrorDetails], document: Any) -> tuple[list[Fault], int]:
    """The first faults, and how many there are."""
    faults: list[Fault] = []
    seen: set[tuple[str, str]] = set()
    for detail in details:
        place = _locate(detail["loc"], document)
        if detail["type"] == "too_short" and place.node != []:
            continue  # the array is not too short, but its items are invalid, and they are reported
        if detail["type"].startswith("union_tag") and isinstance(place.node, dict):
            place = _Place(f"{place.pointer}/type", place.node.get("type"))
        if (place.pointer, detail["msg"]) not in seen and len(faults) < MOST_FAULTS:
            faults.append(Fault(place.pointer, _message(detail, place, document)))
        seen.add((place.pointer, detail["msg"]))
    return faults, len(seen)


def _locate(loc: tuple[int | str, ...], document: Any) -> _Place:
    """The place of a pydantic location, which also names the members of the unions on the way."""
    pointer, node, form, at_union = "", document, None, False
    for step in loc:
        if at_union:
            at_union = False
        elif isinstance(node, dict):
            for name in _path(form, step):
                if isinstance(node, dict):
                    pointer, node = f"{pointer}/{_escaped(name)}", node.get(name)
            at_union = step in _UNION_FIELDS
            form = form_of(node) if step in _INITIALIZER_FIELDS else None
        elif isinstance(node, list):
            at_union = pointer.endswith("/layers")
            pointer, node = f"{pointer}/{step}", node[step] if isinstance(step, int) and step < len(node) else None
    return _Place(pointer, node, form)


def _path(form: Form | None, step: int | str) -> Path:
    return form.path(str(step)) if form else (str(step),)


def rule_of(detail: ErrorDetails) -> str:
    """The rule behind a fault that pydantic found: what the value must be."""
    rule = _RULES.get(detail["type"])
    return detail["msg"] if rule is None else rule.format(**detail.get("ctx", {}))


def _message(detail: ErrorDetails, place: _Place, document: Any) -> str:
    rule = rule_of(detail)
    match detail["type"]:
        case "union_tag_invalid":
            tags = detail["ctx"]["expected_tags"]
            known = (*tags.strip("'").split("', '"), *(() if place.pointer.endswith("/type") else NAMES))
            return f"must be one of {tags}; got {_shown(place.node)}" + _nearest(place.node, known)
        case "union_tag_not_found":
            return "type is required, but missing"
        case "missing":
            parent = _locate(detail["loc"][:-1], document)
            return f"{_path(parent.form, detail['loc'][-1])[-1]} is required, but missing"
        case "extra_forbidden":
            return _unknown(detail, place, document)
    return f"{place.form.in_its_words(rule) if place.form else rule}; got {_shown(place.node)}"


def _unknown(detail: ErrorDetails, place: _Place, document: Any) -> str:
    parent = _locate(detail["loc"][:-1], document)
    path = _path(parent.form, detail["loc"][-1])
    if parent.form and path in parent.form.arguments:
        return f"{parent.form.arguments[path].rule}; got {_shown(place.node)}"
    known = parent.form.beside(path) if parent.form else _fields(parent.node, document)
    return "unknown field" + (_nearest(path[-1], known) or f"; known are {', '.join(known)}")


def _fields(node: Any, document: Any) -> tuple[str, ...]:
    kind = node.get("type") if isinstance(node, dict) else None
    if node is document:
        return tuple(ModelSpec.model_fields)
    name = LAYER_ALIASES.get(str(kind), INITIALIZER_ALIASES.get(str(kind), str(kind)))
    return _FIELDS.get(name, tuple(GainOf.model_fields))


def _nearest(received: Any, known: Sequence[str]) -> str:
    if not isinstance(received, str) or len(received) > MOST_RECEIVED:
        return ""
    near = [name for name in known if name.lower() == received.lower()] or get_close_matches(received, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= MOST_RECEIVED else text[:MOST_RECEIVED] + "…"


def _escaped(name: str) -> str:
    if len(name) > MOST_RECEIVED:
        name = name[:MOST_RECEIVED] + "…"
    return name.replace("~", "~0").replace("/", "~1")
