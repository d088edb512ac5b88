"""A cache of a test's own, wherever matrices are kept."""

from __future__ import annotations

import pytest

from service.distributions import orthogonal, structured
from service.distributions.cache import Cache


def use_cache(monkeypatch: pytest.MonkeyPatch, cache: Cache | None = None) -> Cache:
    """Keep matrices in a cache, a new one where None, until the test ends."""
    cache = cache or Cache()
    for module in (orthogonal, structured):
        monkeypatch.setattr(module, "cache", cache)
    return cache
