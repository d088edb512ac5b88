"""docs/http.md does what it says, and says all that the OpenAPI document has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from service.api.http.problems import STATUSES, TYPE_PREFIX, describe
from service.errors import Fault, LimitExceeded, LimitFault, Refused, XavierError
from service.plan import make_plan
from service.schema.parsing import read_spec
from service.stream.dtypes import DType, widen
from tests.api.servers import ROOT, Server
from tests.docs.reader import Block, Page, Reader

PAGE: Final = Page(ROOT / "docs/http.md")
OPENAPI: Final = json.loads((ROOT / "openapi/openapi.json").read_text())
OPERATIONS: Final = [
    (method, path, operation) for path, item in OPENAPI["paths"].items() for method, operation in item.items()
]
[SPEC] = [block.code for block in PAGE.blocks if block.name == "spec.json"]
[READING] = [block.code for block in PAGE.blocks if block.language == "python"]


@pytest.fixture(scope="module", name="reader")
def _reader(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Reader]:
    with Reader(PAGE, tmp_path_factory.mktemp("http"), server) as reader:
        yield reader


@pytest.mark.parametrize("block", PAGE.snippets, ids=str)
def test_every_snippet_does_what_the_page_says(block: Block, reader: Reader) -> None:
    reader.check(block)


@pytest.mark.parametrize("path", OPENAPI["paths"])
def test_every_path_is_in_the_table_of_resources(path: str) -> None:
    assert f"{path}`" in PAGE.text.split("## ")[0]


def test_the_options_are_those_of_the_document() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE.section("Options"), re.MULTILINE)
    queries = {
        parameter["name"]
        for _, _, operation in OPERATIONS
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    }

    assert set(re.findall(r"\w+", " ".join(rows))) == queries


def test_the_fields_of_a_specification_are_those_of_the_document() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.section("The specification"), re.MULTILINE)

    assert set(rows) == set(OPENAPI["components"]["schemas"]["ModelSpec"]["properties"])


def _example_of(kind: type[XavierError]) -> XavierError:
    if issubclass(kind, LimitExceeded):
        return kind([LimitFault("/layers", "too many", "tensors", 1, 2)])
    return kind([Fault("/seed", "missing")]) if issubclass(kind, Refused) else kind("for a reason")


def test_the_table_of_errors_has_every_error_and_every_status() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| (.*?) \|", PAGE.section("Errors"), re.MULTILINE)
    told = {
        (int(status), kind)
        for statuses, kinds in rows
        for status in statuses.split(", ")
        for kind in re.findall(r"`([a-z-]+)`", kinds)
    }
    ours = {(STATUSES[kind], describe(_example_of(kind))["type"].removeprefix(TYPE_PREFIX)) for kind in STATUSES}

    assert ours - told == {(422, "invalid-file")}
    documented = {int(status) for _, _, operation in OPERATIONS for status in operation["responses"]}
    assert {status for status in documented if status >= 400} <= {status for status, _ in told}


@pytest.mark.parametrize("dtype", DType)
def test_the_reader_of_narrow_dtypes_reads_every_dtype(
    dtype: DType, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = client.post(
        "/v1/weights", content=SPEC, params={"dtype": dtype}, headers={"Content-Type": "application/json"}
    )
    monkeypatch.chdir(tmp_path)
    Path("narrow.safetensors").write_bytes(answer.content)
    read: dict[str, Any] = {}
    exec(READING, read)  # noqa: S102 - our own snippet

    for tensor in make_plan(read_spec(json.dumps(json.loads(SPEC) | {"dtype": dtype}).encode())).tensors:
        values = read["weights"][tensor.name].ravel()
        stored = np.empty(tensor.elements, dtype.storage)
        tensor.fill(0, stored)
        assert values.dtype.itemsize == dtype.itemsize
        assert_array_equal(values.astype(np.float64), widen(stored, dtype).astype(np.float64))
