"""The canonical form of a specification and its digest.

Canonical: aliases resolved, defaults left out, stream and seed written, and the JSON of RFC 8785.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import rfc8785

from service.schema.model import ModelSpec


def canonical_document(spec: ModelSpec) -> dict[str, Any]:
    """The canonical form as JSON values."""
    return {**spec.model_dump(mode="json", exclude_defaults=True), "stream": spec.stream, "seed": str(spec.seed)}


def canonical_json(value: Any) -> bytes:
    """A JSON value in the one form that RFC 8785 gives it."""
    return rfc8785.dumps(value)


def digest_of(canonical: bytes) -> str:
    """SHA-256 of a canonical specification, 64 hexadecimal digits."""
    return sha256(canonical).hexdigest()
