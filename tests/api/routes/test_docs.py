"""/docs works without a network: everything that the page loads comes from the server itself."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import httpx

LOADED = re.compile(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""")


def test_the_page_and_all_that_it_loads_come_from_the_server(client: httpx.Client) -> None:
    page = client.get("/docs")
    loaded = LOADED.findall(page.text)

    assert page.headers["content-type"].startswith("text/html")
    assert {path.rpartition(".")[2] for path in loaded} >= {"js", "css", "json", "png"}
    for path in loaded:
        assert urlsplit(path).netloc == "", path
        answer = client.get(urljoin("/docs", path))
        assert answer.status_code == 200, path
        assert answer.content, path


def test_the_page_names_no_other_host(client: httpx.Client) -> None:
    assert not re.findall(r"(?:https?:)?//[a-z0-9]", client.get("/docs").text, re.IGNORECASE)


def test_the_styles_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    styles = client.get("/docs/assets/swagger-ui.css").text

    assert not re.findall(r"@import|url\(\s*[\"']?(?:https?:)?//", styles)


def test_the_scripts_and_styles_have_their_types(client: httpx.Client) -> None:
    assert "javascript" in client.get("/docs/assets/swagger-ui-bundle.js").headers["content-type"]
    assert "text/css" in client.get("/docs/assets/swagger-ui.css").headers["content-type"]
