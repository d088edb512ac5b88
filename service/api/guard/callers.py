"""Callers: who asks, as far as turns, places and budgets go."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

from starlette.types import Scope


def caller_of(scope: Scope) -> str:
    """Who asks: the number of a key where keys are asked for, or else where the request comes from."""
    address = scope["client"][0] if scope.get("client") else "nowhere"
    return str(scope.get("state", {}).get("caller") or _origin(address))


def _origin(address: str) -> str:
    """An IPv4 address, or the first 64 bits of one of IPv6: a host takes the rest as it likes (RFC 8981)."""
    try:
        found = ip_address(address)
    except ValueError:  # what a proxy calls it, or the path of a socket
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((found, 64), strict=False))
