"""What `make platforms` asks of emulated machines holds here, and needs no more than they have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from service.errors import BrokenPlatform
from tests.golden.tensors import TENSORS
from tests.platforms import drawing
from tests.platforms.__main__ import outcome
from tests.platforms.drawing import report
from tests.platforms.questions import Json, questions

QUESTIONS: Final[list[Json]] = json.loads(json.dumps(questions()))
WITHOUT: Final = ("pydantic", "orjson", "fastapi", "rfc8785", "safetensors", "pytest")
ALONE: Final = f"""
import sys
sys.modules.update(dict.fromkeys({WITHOUT}))  # importing them fails
from tests.platforms.drawing import main
main()
"""


def test_this_machine_gives_every_golden_answer() -> None:
    found = report(QUESTIONS)

    assert found["differ"] == []
    assert found["refused"] is None
    assert found["asked"] == len(QUESTIONS) > 6 * len(TENSORS.rows())


def test_another_answer_differs() -> None:
    question = QUESTIONS[0] | {"sha256": "0" * 64, "label": "wrong"}

    assert report([question, QUESTIONS[1]])["differ"] == ["wrong"]


def test_numpy_and_cryptography_are_enough() -> None:
    some = [question for number, question in enumerate(QUESTIONS) if number % 40 == 0]

    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        input=json.dumps(some),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )

    assert (json.loads(done.stdout)["asked"], json.loads(done.stdout)["differ"]) == (len(some), [])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BrokenPlatform("values differ"), "values differ"),
        (TypeError("no such cast"), "the check itself failed: TypeError('no such cast')"),
    ],
)
def test_a_machine_is_refused_as_the_service_refuses_it(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def check() -> None:
        raise error

    monkeypatch.setattr(drawing, "check_known_answers", check)

    assert report([])["refused"] == words


@pytest.mark.parametrize(
    ("refused", "differ", "words"),
    [
        (None, [], "equal: all 2"),
        ("it flushes", ["a"], "refused: it flushes (1 of 2 are equal)"),
        (None, ["a"], "WRONG and not refused: 1 of 2: ['a']"),
    ],
)
def test_a_machine_is_equal_or_refused_or_wrong(refused: str | None, differ: list[str], words: str) -> None:
    assert outcome({"asked": 2, "refused": refused, "differ": differ}) == words
