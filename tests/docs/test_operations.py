"""docs/operations.md does what it says, and names every setting, metric and command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from service.cli.commands import cli
from service.settings import with_table
from tests.api.servers import ROOT, Server
from tests.docs.reader import Block, Page, Reader

PAGE: Final = Page(ROOT / "docs/operations.md")


@pytest.fixture(scope="module", name="reader")
def _reader(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Reader]:
    with Reader(PAGE, tmp_path_factory.mktemp("operations"), server) as reader:
        yield reader


@pytest.mark.parametrize("block", PAGE.snippets, ids=str)
def test_every_snippet_does_what_the_page_says(block: Block, reader: Reader) -> None:
    reader.check(block)


def test_the_table_of_settings_is_in_step_with_the_code() -> None:
    assert with_table(PAGE.text) == PAGE.text, "run: make generated"


def test_the_metrics_are_those_of_a_server(client: httpx.Client) -> None:
    served = re.findall(r"^# TYPE (xavier_\w+)", client.get("/metrics").text, re.MULTILINE)

    assert set(re.findall(r"`(xavier_\w+)`", PAGE.section("Health, metrics and logs"))) == set(served)


@pytest.mark.parametrize("command", cli.commands)
def test_every_command_is_described(command: str) -> None:
    assert re.search(rf"`{command}`|xavier {command} ", PAGE.text)
