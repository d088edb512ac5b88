"""Permalinks: in any valid deflate, and what is none."""

from __future__ import annotations

import zlib
from base64 import b64encode, urlsafe_b64encode
from gzip import compress
from random import Random

from tests.fuzz.documents import ITEMS, LARGEST
from tests.fuzz.junk import damaged


def deflated(text: bytes, chance: Random) -> bytes:
    """A raw deflate of a text, by any level and strategy, in one block or several."""
    deflate = zlib.compressobj(chance.randint(0, 9), wbits=-15, strategy=chance.randint(0, 4))
    middle = chance.randint(0, len(text))
    packed = deflate.compress(text[:middle])
    packed += deflate.flush(chance.choice((zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)))
    return packed + deflate.compress(text[middle:]) + deflate.flush()


def permalink_of(packed: bytes) -> str:
    """As it stands in a URL."""
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def mutated_permalink(text: bytes, chance: Random) -> str:
    """A permalink that something has happened to."""
    packed = chance.choice((deflated(text, chance), deflated(text, chance), text))
    ways = (
        lambda: permalink_of(damaged(packed, chance)),
        lambda: damaged(permalink_of(packed).encode(), chance).decode("latin-1"),
        lambda: permalink_of(chance.choice((zlib.compress(text), compress(text, mtime=0)))),
        lambda: b64encode(packed).decode(),
        lambda: permalink_of(packed) + "=" * chance.randint(1, 5),
        lambda: permalink_of(_bomb(chance)),
        lambda: permalink_of(deflated(packed, chance)),
    )
    return _quoted(chance.choice(ways)())


def _quoted(permalink: str) -> str:
    return "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in " ?#" else f"%{ord(letter):02x}"
        for letter in permalink
    )


def _bomb(chance: Random) -> bytes:
    """Little that inflates to much."""
    item = chance.choice(ITEMS)
    count = chance.choice((10_000, 130_000, (LARGEST - 100) // (len(item) + 1), 40 * LARGEST // len(item)))
    return zlib.compress(f'{{"seed":1,"layers":[{",".join([item] * count)}]}}'.encode(), 9)[2:-4]
