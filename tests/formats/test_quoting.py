"""Names between quotes: as Python 3.11 writes them, on every Python."""

from __future__ import annotations

import unicodedata
from hashlib import sha256
from typing import Final

import pytest

from service.formats.quoting import quoted

SURROGATES: Final = range(0xD800, 0xE000)
CHARACTERS: Final = [chr(code) for code in range(0x110000) if code not in SURROGATES]
UNICODE_14: Final = "8898bcefeb5d10ae216fe2b5062826f1bacdc766c12b431cfc588ac9a51af11b"


@pytest.fixture(scope="module", name="written")
def _written() -> list[str]:
    """Every character, quoted."""
    return list(map(quoted, CHARACTERS))


def test_every_character_is_written_as_it_was(written: list[str]) -> None:
    assert sha256("".join(written).encode()).hexdigest() == UNICODE_14


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="only Python 3.11 has the characters of Unicode 14")
def test_that_is_how_python_3_11_writes_it(written: list[str]) -> None:
    assert written == list(map(repr, CHARACTERS))


def test_a_character_that_came_later_is_written_with_an_escape_for_ever() -> None:
    assert quoted("a\U0001f6dc") == r"'a\U0001f6dc'"  # of Unicode 15.0, in Python 3.12


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "''"),
        ("h.0.weight", "'h.0.weight'"),
        ("it's", '"it\'s"'),
        ('a "b"', "'a \"b\"'"),
        ('it\'s "b"', "'it\\'s \"b\"'"),
        ("back\\slash", r"'back\\slash'"),
        ("\t\n\r\x00\x7f", r"'\t\n\r\x00\x7f'"),
        ("\u00e9 \u5c64 \U0001f600", "'\u00e9 \u5c64 \U0001f600'"),
        ("\xa0\xad\u200b\ue000\U000e0001", r"'\xa0\xad\u200b\ue000\U000e0001'"),
    ],
)
def test_a_name_is_written_between_quotes_with_the_escapes_it_needs(name: str, expected: str) -> None:
    assert quoted(name) == expected
