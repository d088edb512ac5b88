"""Settings: each is an environment variable and a flag of `serve`, is described, and has an effect."""

from __future__ import annotations

import os
from dataclasses import fields
from ipaddress import ip_address, ip_network
from typing import Any, get_args

import click
import pytest
from pydantic import ValidationError

from service.cli.commands import cli
from service.limits import Limits
from service.settings import Settings, settings_table

FIELDS = Settings.model_fields
PER_PROCESS = (
    "threads",
    "max_streams",
    "max_queue",
    "max_whole_streams",
    "max_whole_queue",
    "max_planning_queue",
    "max_plan_memory",
    "max_plan_memory_in_use",
    "max_connections",
    "bytes_per_minute",
)


def other_value(name: str) -> Any:
    """A value that is not the default."""
    default = getattr(Settings(), name)
    if choices := get_args(FIELDS[name].annotation):
        return next(choice for choice in choices if choice != default)
    if name == "budget_storage":
        return "rediss://somewhere"
    return "0.0.0.0" if isinstance(default, str) else default + 1  # noqa: S104 - nothing listens there


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("XAVIER_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_read_from_its_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = other_value(name)
    monkeypatch.setenv(f"XAVIER_{name.upper()}", str(value))

    assert getattr(Settings(), name) == value


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_a_flag_that_names_its_variable_and_default(name: str) -> None:
    [option] = [parameter for parameter in cli.commands["serve"].params if parameter.name == name]

    assert isinstance(option, click.Option)
    assert option.opts == [f"--{name.replace('_', '-')}"]
    assert option.help is not None
    assert f"XAVIER_{name.upper()}" in option.help
    assert FIELDS[name].default_factory or str(FIELDS[name].default) in option.help


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_described_and_documented(name: str) -> None:
    description = FIELDS[name].description

    assert description
    assert description.endswith(".")
    [row] = [line for line in settings_table().splitlines() if f"`XAVIER_{name.upper()}`" in line]
    assert description in row


@pytest.mark.parametrize("name", PER_PROCESS)
def test_what_counts_by_process_says_so(name: str) -> None:
    assert "in each process" in (FIELDS[name].description or "")


def test_serve_has_no_flag_that_is_no_setting() -> None:
    flags = {parameter.name for parameter in cli.commands["serve"].params}

    assert flags == set(FIELDS)


@pytest.mark.parametrize("name", [name for name in FIELDS if FIELDS[name].annotation is not str])
@pytest.mark.parametrize("value", ["-1", "1.5", "many", ""])
def test_a_wrong_number_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"XAVIER_{name.upper()}", value)

    with pytest.raises(ValidationError, match=name):
        Settings()


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "budget_storage": [
            *("", "disk", "memory2", "http://localhost", "unix:///socket", "localhost:6379"),
            *("redis://localhost:port", "redis://localhost?unknown=1", "redis://localhost?socket_timeout=never"),
        ],
        "trusted_proxies": ["*", "localhost", "10.0.0.1/8", "10.0.0.1;10.0.0.2", "10.0.0.1,300.0.0.1", "::1/129"],
    }.items(),
)
def test_a_wrong_address_is_refused(name: str, values: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for value in values:
        monkeypatch.setenv(f"XAVIER_{name.upper()}", value)
        with pytest.raises(ValidationError, match=name):
            Settings()


def test_addresses_are_read_as_they_stand() -> None:
    settings = Settings(trusted_proxies=" 10.0.0.1,10.1.0.0/16 ,, ::1", budget_storage="redis://:word@store:6380/3")

    assert settings.proxies[:3] == ["10.0.0.1/32", "10.1.0.0/16", "::1/128"]
    assert settings.redis == "redis://:word@store:6380/3"


@pytest.mark.parametrize(
    ("address", "is_proxy"),
    {
        "10.1.2.3": True,
        "::ffff:10.1.2.3": True,
        "::ffff:10.2.0.0": False,
        "2001:db8::7": True,
        "::10.1.2.3": False,
    }.items(),
)
def test_a_proxy_is_known_by_either_family_of_its_address(address: str, is_proxy: bool) -> None:
    proxies = Settings(trusted_proxies="10.1.0.0/16,2001:db8::/64").proxies

    assert any(ip_address(address) in ip_network(proxy) for proxy in proxies) == is_proxy


def test_nobody_is_believed_and_nothing_is_shared_by_default() -> None:
    assert (Settings().proxies, Settings().redis) == ([], None)


def test_the_defaults_are_those_of_the_limits_and_listen_on_this_machine_only() -> None:
    settings = Settings()

    assert settings.limits == Limits()
    assert settings.host == "127.0.0.1"
    assert settings.threads == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("limit", [field.name for field in fields(Limits)])
def test_every_limit_can_be_set(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"XAVIER_MAX_{limit.upper()}", "17")

    assert getattr(Settings().limits, limit) == 17


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAVIER_UNKNOWN", "1")
    monkeypatch.setenv("THREADS", "77")

    assert Settings().threads != 77
