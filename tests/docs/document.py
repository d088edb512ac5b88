"""A page of the documentation, read as its reader does: numbered sections, tables, and blocks of constants."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[2] / "docs"
Row = dict[str, str]


class Page:
    """A page whose headings are numbered: `## 5. Title`."""

    def __init__(self, name: str) -> None:
        self.text = (DOCS / name).read_text(encoding="utf-8")

    def section(self, number: int) -> str:
        """The text of a section, without its heading."""
        found = re.search(rf"(?ms)^## {number}\. [^\n]*\n(.*?)(?=^## |\Z)", self.text)
        assert found, f"no section {number}"
        return found[1]

    def table(self, number: int, *columns: str) -> list[Row]:
        """The rows of the one table of a section that has these columns; code marks are left out."""
        [table] = [rows for rows in _tables(self.section(number)) if rows and tuple(rows[0]) == columns]
        return table

    def constants(self, number: int, title: str) -> dict[str, tuple[float, ...]]:
        """The coefficients of the block of a section that begins with a title."""
        [block] = re.findall(rf"(?ms)^```text\n{title}\n(.*?)^```", self.section(number))
        named = re.findall(r"(?m)^(\w+) +((?:-?0x\S+\s+)+)", block)
        return {name: tuple(float.fromhex(text) for text in texts.split()) for name, texts in named}


def _tables(text: str) -> list[list[Row]]:
    tables = []
    for block in re.findall(r"(?m)(?:^\|.*\|\n)+", text):
        header, _, *rows = [
            [cell.strip().replace("`", "") for cell in line[1:-1].split("|")] for line in block.splitlines()
        ]
        tables.append([dict(zip(header, row, strict=True)) for row in rows])
    return tables
