"""Permalinks: addresses that carry a specification, and so never change what they lead to.

A permalink is base64url (RFC 4648 section 5, unpadded) of the raw DEFLATE (RFC 1951) of a canonical specification.
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
"""Characters of a URL that every HTTP implementation should take (RFC 9110 section 4.1)."""
MOST_INFLATED: Final = 4 << 20
"""Bytes that a permalink may inflate to."""
BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)


def file_path(permalink: str, name: str, statistics: str = "expected", root: str = "") -> str:
    """The path and query of a file of weights, below a root.

    Args:
        permalink: of the specification.
        name: of the file.
        statistics: what the file says of each tensor; the default is left out.
        root: what stands before the service's paths.
    """
    query = "" if statistics == "expected" else f"?statistics={statistics}"
    return f"{root}/v1/weights/{permalink}/{name}{query}"


def statistics_path(permalink: str, root: str = "") -> str:
    """The path of the measured statistics of a specification, below a root."""
    return f"{root}/v1/statistics/{permalink}"


def encode_permalink(canonical: bytes) -> str:
    """The part of a URL that carries a canonical specification."""
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return urlsafe_b64encode(deflate.compress(canonical) + deflate.flush()).rstrip(b"=").decode()


def inflate_permalink(permalink: str) -> bytes:
    """The JSON text that a permalink carries: any valid deflate of it, or itself.

    Raises:
        UnknownPermalink: it is not base64url of either, or inflates to more than MOST_INFLATED bytes.
    """
    try:
        if not BASE64URL.fullmatch(permalink):
            raise UnknownPermalink("a permalink is base64url")
        packed = urlsafe_b64decode(permalink.rstrip("=") + "=" * (-len(permalink.rstrip("=")) % 4))
        return packed if packed.startswith(b'{"') else _inflate(packed)
    except (ValueError, zlib.error) as error:
        raise UnknownPermalink(f"the permalink does not decode: {error}") from None


def read_linked(text: bytes, limits: Limits | None = None) -> ModelSpec:
    """The specification in the text that a permalink carries, in any spelling.

    Raises:
        UnknownPermalink: it is none.
        LimitExceeded: it has too many values.
    """
    try:
        return read_spec(text, limits)
    except MalformedDocument as error:
        raise UnknownPermalink(f"the permalink does not decode: {error}") from None
    except InvalidSpec as error:
        raise UnknownPermalink(f"the permalink carries no valid specification: {_first(error.faults)}") from None


def _first(faults: Sequence[Fault]) -> str:
    first, *others = faults
    return f"{first.pointer}: {first.message}".removeprefix(": ") + (f" (and {len(others)} more)" if others else "")


def _inflate(packed: bytes) -> bytes:
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    text = inflate.decompress(packed, MOST_INFLATED)
    if not inflate.eof or inflate.unused_data:
        raise ValueError("it is cut short, too long, or followed by something else")
    return text
