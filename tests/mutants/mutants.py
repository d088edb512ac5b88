"""The mutants, as `mutants.toml` has them, room by room."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of the code that some test must notice.

    Attributes:
        room: the part of the service whose promise it breaks.
        name: what is wrong then, as a sentence.
        file: the changed file, from the root of the repository.
        old: the text that is replaced; it occurs once in the file.
        new: what replaces it.
        survives: why no test can notice it; None where one must.
    """

    room: str
    name: str
    file: str
    old: str
    new: str
    survives: str | None = None

    def applied(self, text: str) -> str:
        """The file's text with the change in it.

        Raises:
            ValueError: the replaced text does not occur exactly once.
        """
        if text.count(self.old) != 1:
            raise ValueError(f"{self.old!r} occurs {text.count(self.old)} times in {self.file}: {self.name}")
        return text.replace(self.old, self.new)


TABLE: Final = Path(__file__).with_name("mutants.toml")
MUTANTS: Final = tuple(
    Mutant(room, **mutant) for room, mutants in tomllib.loads(TABLE.read_text()).items() for mutant in mutants
)
