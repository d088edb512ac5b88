"""What the routes share: who a caller is."""

from __future__ import annotations

import pytest

from service.api.guard.callers import caller_of


@pytest.mark.parametrize(
    ("address", "caller"),
    {
        "192.0.2.1": "192.0.2.1",
        "::ffff:192.0.2.1": "192.0.2.1",
        "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
        "2001:db8:1:2:ffff::": "2001:db8:1:2::/64",
        "2001:db8:1:3::": "2001:db8:1:3::/64",
        "fe80::1:2%eth0": "fe80::/64",
        "unknown": "unknown",
    }.items(),
)
def test_a_caller_without_a_key_is_an_address_of_ipv4_or_a_network_of_ipv6(address: str, caller: str) -> None:
    assert caller_of({"client": (address, 1234)}) == caller


def test_a_caller_with_a_key_is_the_number_of_the_key_wherever_it_comes_from() -> None:
    assert caller_of({"client": ("192.0.2.1", 1), "state": {"caller": "key 2"}}) == "key 2"


def test_a_caller_without_an_address_is_one_all_the_same() -> None:
    assert caller_of({"client": None, "state": {}}) == "nowhere"
