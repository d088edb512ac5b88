"""docs/initializers.md against the catalogue: what it lists is what there is, and its numbers are those of plans."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.docs import layers, ours
from tests.docs.document import Page, Row

PAGE: Final = Page("initializers.md")
RULES: Final = ("exact", "torch", "keras")
KERNELS: Final = ("kernel", "kernels")
INITIALIZERS: Final = PAGE.table(2, "initializer", "alias", "parameters and defaults", "what is drawn", "source")
FANS: Final = PAGE.table(5, "layer", *RULES)
WRITTEN: Final = PAGE.table(6, "written", "is")
LAYERS: Final = PAGE.table(4, "layer", "alias", "its weight", "the rest")


def parameters(cell: str) -> dict[str, Any]:
    """Names and defaults; of what is required there is none."""
    told = {}
    for part in filter(None, cell.split(", ")):
        name, _, default = part.partition(": ")
        told[name.removesuffix(" is required")] = json.loads(default) if default else None
    return told


def test_every_initializer_is_listed_with_its_alias_and_parameters() -> None:
    listed = {
        entry.type: (", ".join(entry.aliases), {each.name: each.default for each in entry.parameters})
        for entry in ours.initializer_catalogue().initializers
    }

    told = {row["initializer"]: (row["alias"], parameters(row["parameters and defaults"])) for row in INITIALIZERS}

    assert told == listed


def test_what_is_required_is_said_to_be() -> None:
    required = {
        (entry.type, each.name)
        for entry in ours.initializer_catalogue().initializers
        for each in entry.parameters
        if each.required
    }

    assert required == {
        (row["initializer"], part.removesuffix(" is required"))
        for row in INITIALIZERS
        for part in row["parameters and defaults"].split(", ")
        if part.endswith(" is required")
    }


def test_every_nonlinearity_is_listed_with_its_alias_gain_and_function() -> None:
    listed = [
        (entry.name, ", ".join(entry.aliases), f"{entry.gain:.6f}", entry.function, "PyTorch" in entry.definition)
        for entry in ours.nonlinearity_catalogue().nonlinearities
    ]

    told = [
        (row["nonlinearity"], row["alias"], row["gain"], row["f(z)"], row["by"] == "PyTorch")
        for row in PAGE.table(3, "nonlinearity", "alias", "gain", "f(z)", "by")
    ]

    assert told == listed


def test_every_layer_is_listed_with_its_alias() -> None:
    listed = {entry.type: ", ".join(entry.aliases) for entry in ours.layer_catalogue().layers}

    assert {layer: row["alias"] for row in LAYERS for layer in row["layer"].split(", ")} == listed


@pytest.mark.parametrize("kind", [title for title in layers.LAYERS if "," not in title])
def test_a_layer_has_the_initializers_of_the_table_where_it_says_nothing(kind: str) -> None:
    [row] = [row for row in LAYERS if kind in row["layer"].split(", ")]
    rest = dict(part.split(": ") for part in filter(None, row["the rest"].split("; ")))
    spec = {"seed": 1, "initializer": "lecun_uniform", "layers": [{"type": kind, "name": "x"} | layers.LAYERS[kind]]}

    found = {name.removeprefix("x."): initializer for name, initializer in ours.initializers(spec).items()}

    assert {name: found.pop(name) for name in rest} == rest
    assert set(found.values()) == ({"lecun_uniform"} if row["its weight"] else set())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("row", FANS, ids=lambda row: json.loads(row["layer"])["type"])
def test_the_fans_of_the_table_are_counted(row: Row, rule: str) -> None:
    spec = {"seed": 1, "fans": rule, "initializer": "ones", "layers": [{"name": "x"} | json.loads(row["layer"])]}

    first, *_ = ours.tensors(spec).values()

    assert (str(first.fans) if first.fans else "–") == row[rule]  # noqa: RUF001 - as a page has it


@pytest.mark.parametrize("row", WRITTEN, ids=lambda row: row["written"])
def test_what_others_write_is_read_as_the_table_says(row: Row) -> None:
    told = json.loads(row["is"]) if row["is"].startswith("{") else row["is"]

    for written in spellings(row):
        assert ours.initializer_of(written) == told


def spellings(row: Row) -> list[Any]:
    """What a cell has: an object, or names."""
    return [json.loads(row["written"])] if row["written"].startswith("{") else row["written"].split(", ")


def test_every_name_of_another_framework_is_in_the_table() -> None:
    told: set[str] = set()
    for written in (each for row in WRITTEN for each in spellings(row)):
        told |= {written} if isinstance(written, str) else {written.get("type", ""), written.get("class_name", "")}

    assert {name for name in ours.NAMES if name[0].isupper() or name.islower()} <= told


def test_links_to_the_other_page_lead_somewhere() -> None:
    headings = {
        "".join(c for c in line.lstrip("# ").lower().replace(" ", "-") if c.isalnum() or c in "-_")
        for line in Page("stream.md").text.splitlines()
        if line.startswith("#")
    }
    anchors = {
        part.partition(")")[0]
        for page in ("stream.md", "initializers.md")
        for part in Page(page).text.split("(stream.md#")[1:]
    }
    anchors |= {part.partition(")")[0] for part in Page("stream.md").text.split("](#")[1:]}

    assert anchors
    assert anchors <= headings
