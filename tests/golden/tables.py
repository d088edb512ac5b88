"""Golden tables: questions, each with the answer that was given once. A row is added; none is ever changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(__file__).parents[1] / "data"
Question = dict[str, Any]
Answer = dict[str, Any]


class Differs(Exception):
    """An answer is another one than the golden one."""


@dataclass(frozen=True)
class Table:
    """JSON Lines: in each row the members of a question, and its `answer`.

    Attributes:
        path: where the rows lie.
        questions: all that is asked now; the rows may be of more.
        answer: gives the answer of today.
    """

    path: Path
    questions: Callable[[], Iterable[Question]]
    answer: Callable[[Question], Answer]

    def rows(self) -> list[tuple[Question, Answer]]:
        """The golden answers, in the order in which they were added."""
        rows = [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []
        return [(row, row.pop("answer")) for row in rows]

    def missing(self) -> list[Question]:
        """The questions without a golden answer."""
        asked = {_text(question) for question, _ in self.rows()}
        return list({_text(each): each for each in self.questions() if _text(each) not in asked}.values())

    def append(self) -> int:
        """Write the missing rows after the others, which must hold; give their number.

        Raises:
            Differs: a golden answer does not hold.
        """
        for question, answer in self.rows():
            if self.answer(question) != answer:
                raise Differs(f"{self.path.name} has another answer to {_text(question)}")
        missing = self.missing()
        with self.path.open("a") as file:
            file.writelines(_text(each | {"answer": self.answer(each)}) + "\n" for each in missing)
        return len(missing)


def _text(row: Question) -> str:
    return json.dumps(row, separators=(",", ":"))
