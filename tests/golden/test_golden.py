"""No byte and no ETag that was promised has changed; rows are added by `make golden` alone, and never changed."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Final

import pytest

from tests.golden.__main__ import REWRITE, main
from tests.golden.files import FILES
from tests.golden.tables import Answer, Differs, Question, Table
from tests.golden.tensors import TENSORS

TABLES: Final = (FILES, TENSORS)

GROUPS: Final = [
    pytest.param(table, [*rows], id=f"{table.path.stem}-{number}")
    for table in TABLES
    for number, (_, rows) in enumerate(groupby(table.rows(), lambda row: row[0]["spec"]), 1)
]
"""The rows of each specification, which is planned and drawn once for all of them."""


@pytest.mark.parametrize(("table", "rows"), GROUPS)
def test_what_was_drawn_once_is_drawn_for_ever(table: Table, rows: list[tuple[Question, Answer]]) -> None:
    for question, answer in rows:
        assert table.answer(question) == answer


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.path.stem)
def test_everything_asked_today_has_a_golden_row_or_make_golden_adds_it(table: Table) -> None:
    assert table.missing() == []


def squares(path: Path, *numbers: int, power: int = 2) -> Table:
    return Table(path, lambda: ({"n": n} for n in numbers), lambda question: {"power": question["n"] ** power})


def test_missing_rows_are_appended_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "squares.jsonl"
    assert squares(path, 3, 5, 3).append() == 2
    before = path.read_bytes()

    assert squares(path, 7, 3).append() == 1

    assert path.read_bytes() == before + b'{"n":7,"answer":{"power":49}}\n'
    assert squares(path, 3, 5, 7).missing() == []


def test_a_row_that_does_not_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "squares.jsonl"
    squares(path, 3, 5).append()
    before = path.read_bytes()

    with pytest.raises(Differs, match=r'squares.jsonl has another answer to {"n":3}'):
        squares(path, 3, 5, 7, power=3).append()

    assert path.read_bytes() == before
    assert [json.loads(line)["n"] for line in before.splitlines()] == [3, 5]


def test_the_command_appends_and_rewrites_only_when_it_is_told_so_loudly(tmp_path: Path) -> None:
    path = tmp_path / "squares.jsonl"
    assert main([], [squares(path, 3)]) is None
    before = path.read_bytes()

    assert "was promised has changed. Nothing was written." in str(main([], [squares(path, 3, power=3)]))
    assert "usage" in str(main(["--rewrite"], [squares(path, 3, power=3)]))
    assert path.read_bytes() == before
    assert main([REWRITE], [squares(path, 3, power=3)]) is None
    assert path.read_bytes() != before
