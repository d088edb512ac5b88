"""The canonical form of a specification and its digest.

In the canonical form, aliases are resolved, defaults are left out, stream and seed are always present, and the JSON is
written as RFC 8785 says.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import rfc8785

from service.schema.model import ModelSpec


def canonical_document(spec: ModelSpec) -> dict[str, Any]:
    """The canonical form of a specification, as a JSON value."""
    return {**spec.model_dump(mode="json", exclude_defaults=True), "stream": spec.stream, "seed": str(spec.seed)}


def canonical_json(value: Any) -> bytes:
    """A JSON value in the canonical form of RFC 8785."""
    return rfc8785.dumps(value)


def digest_of(canonical: bytes) -> str:
    """The SHA-256 of a canonical specification, as 64 hexadecimal digits."""
    return sha256(canonical).hexdigest()
