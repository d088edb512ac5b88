"""All documents: their links lead somewhere, and the names and versions in them are those of the code."""

from __future__ import annotations

import re
import subprocess
from typing import Final

import pytest

from service import __version__
from service.settings import Settings
from tests.api.servers import ROOT
from tests.docs.reader import Page

PAGES: Final = [
    Page(path)
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "benchmarks/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.name != "CHANGELOG.md"  # which names what was, too
]
EACH: Final = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.path.relative_to(ROOT)))
NUMBER: Final = r"(\d+\.\d+\.\d+)"


@EACH
def test_every_link_leads_to_a_file_and_a_heading(page: Page) -> None:
    for link in page.links:
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), link
        assert not anchor or anchor in Page(path).anchors, link


@EACH
def test_every_setting_that_is_named_is_one(page: Page) -> None:
    settings = {f"XAVIER_{name.upper()}" for name in Settings.model_fields}

    assert {*re.findall(r"XAVIER_[A-Z_]+", page.text)} <= settings


@EACH
def test_every_make_target_that_is_named_is_one(page: Page) -> None:
    for targets in re.findall(r"(?:^|`)make ((?:[a-z]+ ?)+)", page.text, re.MULTILINE):
        subprocess.run(["make", "--dry-run", *targets.split()], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("name", ["README.md", "docs/http.md", "docs/operations.md"])
def test_nothing_that_looks_like_a_snippet_goes_without_being_run(name: str) -> None:
    page = Page(ROOT / name)

    assert page.text.count("```") == 2 * len(page.blocks)


def test_the_readme_is_one_page_whose_first_screen_has_something_to_run() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()

    assert len(lines) <= 120
    assert [command for command in ("make serve", "make test", "curl") if command not in "\n".join(lines[:20])] == []


def test_the_version_is_the_newest_one_of_the_changelog() -> None:
    assert re.findall(rf"^## {NUMBER}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == __version__


@pytest.mark.parametrize(
    ("name", "pinned"),
    [
        ("Dockerfile", rf'image\.version="{NUMBER}"'),
        ("README.md", rf"xavier:{NUMBER}"),
        ("docs/operations.md", rf"(?:xavier:|`v|xavier-weights==){NUMBER}"),
    ],
)
def test_what_a_pipeline_pins_is_the_version(name: str, pinned: str) -> None:
    assert {*re.findall(pinned, (ROOT / name).read_text())} == {__version__}
