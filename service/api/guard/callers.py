"""Callers: who sends a request, for the purposes of turns, places and budgets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

from starlette.types import Scope


def caller_of(scope: Scope) -> str:
    """The caller: the number of the key if the server has keys, or else the origin of the request."""
    address = scope["client"][0] if scope.get("client") else "nowhere"
    return str(scope.get("state", {}).get("caller") or _origin(address))


def _origin(address: str) -> str:
    """An IPv4 address, or the first 64 bits of an IPv6 address: a host may change the rest at will (RFC 8981)."""
    try:
        found = ip_address(address)
    except ValueError:  # a name given by a proxy, or the path of a socket
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((found, 64), strict=False))
