"""The table of mutants fits the code as it is, and a trial tells those that are killed from those that survive."""

from __future__ import annotations

from pathlib import PurePath
from typing import Final

import pytest

from tests.mutants.__main__ import ROOT, tried
from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.trials import TOO_LONG, NotRun, Sources

SOURCES: Final = Sources(
    {
        "service/__init__.py": b"",
        "service/room/__init__.py": b"",
        "service/room/sums.py": b"ONE = 1\nTWO = 2\nTHREE = 3\n",
        "tests/room/test_all.py": b"def test_it_runs():\n    pass\n",
        "tests/room/test_sums.py": b"from service.room.sums import ONE\n\n\ndef test_one():\n    assert ONE == 1\n",
        "tests/golden/test_golden.py": b"from service.room.sums import TWO\n\n\ndef test_two():\n    assert TWO == 2\n",
    }
)


def test_there_are_sixty_of_different_names() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) == 60


def test_every_room_that_draws_plans_or_writes_has_some() -> None:
    assert {mutant.room for mutant in MUTANTS} == {"stream", "initializers", "distributions", "plan", "formats"}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place_of_the_code_and_is_python(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()

    mutated = mutant.applied(text)

    assert mutated != text
    compile(mutated, mutant.file, "exec")


@pytest.mark.parametrize("file", sorted({mutant.file for mutant in MUTANTS}))
def test_a_mutated_file_has_tests_in_a_room_of_the_same_name(file: str) -> None:
    assert [*(ROOT / "tests" / PurePath(file).parts[1]).rglob("test_*.py")]


@pytest.mark.parametrize("text", ["", "old, old"])
def test_a_mutant_whose_text_does_not_occur_once_is_refused(text: str) -> None:
    mutant = Mutant("room", "it is wrong", "service/room/sums.py", "old", "new")

    with pytest.raises(ValueError, match=r"'old' occurs . times in service/room/sums.py: it is wrong"):
        mutant.applied(text)


def test_the_tests_of_a_file_are_its_own_then_those_of_its_room_then_the_golden_tables() -> None:
    assert SOURCES.tests_of("service/room/sums.py") == [
        "tests/room/test_sums.py",
        "tests/room/test_all.py",
        "tests/golden/test_golden.py",
    ]
    assert SOURCES.tests_of("service/limits.py") == ["tests/test_limits.py", "tests/golden/test_golden.py"]


@pytest.mark.parametrize(
    ("old", "killer"),
    [
        ("ONE = 1", "tests/room/test_sums.py::test_one"),
        ("TWO = 2", "tests/golden/test_golden.py::test_two"),
        ("THREE = 3", None),
    ],
)
def test_a_mutant_is_killed_by_the_first_test_that_fails_with_it_in_place(old: str, killer: str | None) -> None:
    mutant = Mutant("room", "a number is wrong", "service/room/sums.py", old, old + "00")

    assert tried(SOURCES, mutant).killer == killer


def test_tests_that_do_not_end_in_time_have_noticed() -> None:
    assert SOURCES.first_failure(["tests/room/test_all.py"], {}, seconds=0) == TOO_LONG


def test_tests_that_cannot_be_run_say_nothing_of_a_mutant() -> None:
    with pytest.raises(NotRun, match="ended with 4"):
        SOURCES.first_failure(["tests/room/test_none.py"], {})
