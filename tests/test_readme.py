"""The README is one page that a reader can follow from its top, command by command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.servers import ROOT, Server
from tests.docs.reader import Block, Page, Reader

PAGE = Page(ROOT / "README.md")


@pytest.fixture(scope="module", name="reader")
def _reader(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config, server: Server) -> Iterator[Reader]:
    lasting = pytestconfig.cache.mkdir("snippet")
    with Reader(PAGE, tmp_path_factory.mktemp("readme"), server, lasting) as reader:
        yield reader


@pytest.mark.parametrize("block", PAGE.snippets, ids=str)
def test_every_snippet_does_what_the_readme_says(block: Block, reader: Reader) -> None:
    reader.check(block)
