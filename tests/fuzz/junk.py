"""Bytes that have been damaged."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final


def damaged(text: bytes, chance: Random) -> bytes:
    """With some bytes changed, added or lost; or put into something else."""
    return chance.choice(WAYS)(text, chance)


def _flip(text: bytes, chance: Random) -> bytes:
    changed = bytearray(text)
    for _ in range(chance.randint(1, 4)):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _insert(text: bytes, chance: Random) -> bytes:
    place = chance.randint(0, len(text))
    return text[:place] + chance.randbytes(chance.choice((1, 1, 4, 100))) + text[place:]


def _cut(text: bytes, chance: Random) -> bytes:
    return text[: chance.randint(0, len(text))]


def _drop(text: bytes, chance: Random) -> bytes:
    place = chance.randint(0, len(text))
    return text[:place] + text[place + chance.randint(1, 8) :]


def _wrap(text: bytes, chance: Random) -> bytes:
    ways = (
        b"\xef\xbb\xbf" + text,
        text + b"\0",
        text + text,
        b" " * 5000 + text,
        text.decode(errors="replace").encode("utf-16"),
        b"",
    )
    return chance.choice(ways)


WAYS: Final[tuple[Callable[[bytes, Random], bytes], ...]] = (_flip, _insert, _cut, _drop, _wrap)
