"""Permalinks: addresses that contain a specification, so that they always lead to the same weights.

A permalink is the base64url form (RFC 4648 section 5, unpadded) of a canonical specification, compressed with raw
DEFLATE (RFC 1951).
"""

from __future__ import annotations

import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final

from service.errors import Fault, InvalidSpec, MalformedDocument, UnknownPermalink
from service.limits import Limits
from service.schema.model import ModelSpec
from service.schema.parsing import read_spec

MOST_IN_URL: Final = 8000
"""The length of a URL that every HTTP implementation should support, in characters (RFC 9110 section 4.1)."""
MOST_INFLATED: Final = 4 << 20
"""The most bytes to which a permalink may inflate."""
BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)


def file_path(permalink: str, name: str, statistics: str = "expected", root: str = "") -> str:
    """The path and query of a file of weights, below a root.

    Args:
        permalink: the permalink of the specification.
        name: the name of the file.
        statistics: the statistics that the file has for each tensor; the default is left out of the query.
        root: the prefix of the service's paths.
    """
    query = "" if statistics == "expected" else f"?statistics={statistics}"
    return f"{root}/v1/weights/{permalink}/{name}{query}"


def statistics_path(permalink: str, root: str = "") -> str:
    """The path of the measured statistics of a specification, below a root."""
    return f"{root}/v1/statistics/{permalink}"


def encode_permalink(canonical: bytes) -> str:
    """Encode a canonical specification as a permalink."""
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return urlsafe_b64encode(deflate.compress(canonical) + deflate.flush()).rstrip(b"=").decode()


def inflate_permalink(permalink: str) -> bytes:
    """The JSON text in a permalink, which may be compressed in any valid way, or not at all.

    Raises:
        UnknownPermalink: the permalink is not base64url of such a text, or inflates to more than MOST_INFLATED bytes.
    """
    try:
        if not BASE64URL.fullmatch(permalink):
            raise UnknownPermalink("a permalink must be base64url")
        packed = urlsafe_b64decode(permalink.rstrip("=") + "=" * (-len(permalink.rstrip("=")) % 4))
        return packed if packed.startswith(b'{"') else _inflate(packed)
    except (ValueError, zlib.error) as error:
        raise UnknownPermalink(f"the permalink does not decode: {error}") from None


def read_linked(text: bytes, limits: Limits | None = None) -> ModelSpec:
    """The specification in the text of a permalink, which need not be canonical.

    Raises:
        UnknownPermalink: the text is not a valid specification.
        LimitExceeded: it has too many values.
    """
    try:
        return read_spec(text, limits)
    except MalformedDocument as error:
        raise UnknownPermalink(f"the permalink does not decode: {error}") from None
    except InvalidSpec as error:
        raise UnknownPermalink(f"the permalink contains an invalid specification: {_first(error.faults)}") from None


def _first(faults: Sequence[Fault]) -> str:
    first, *others = faults
    return f"{first.pointer}: {first.message}".removeprefix(": ") + (f" (and {len(others)} more)" if others else "")


def _inflate(packed: bytes) -> bytes:
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    text = inflate.decompress(packed, MOST_INFLATED)
    if not inflate.eof or inflate.unused_data:
        raise ValueError("it is cut short, too long, or followed by something else")
    return text
