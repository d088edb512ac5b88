"""Every command and snippet of the README runs as it stands, against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.plan import make_plan
from service.settings import with_table
from service.spec.parsing import read_spec
from tests.api.servers import Server

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def _blocks(language: str) -> list[str]:
    return [code for found, code in BLOCKS if found == language]


def _run(command: list[str], where: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=where, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", name="workplace")
def _workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the examples in it, in which the snippets run one after the other."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


def test_every_block_has_a_language_that_a_test_knows() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "python", "json", "docker"}
    assert TEXT.count("```") == 2 * len(BLOCKS)


def test_the_first_screen_has_the_two_commands_and_a_curl() -> None:
    first_screen = TEXT.split("## ")[0]

    assert "make serve" in first_screen
    assert "make test" in first_screen
    assert "curl" in first_screen


def test_the_shell_and_python_snippets_run_in_their_order(workplace: Path, server: Server) -> None:
    for language, written in BLOCKS:
        code = written.replace("http://localhost:8000", server.url).replace("localhost:8000", server.url)
        if language == "sh" and "make" not in code:
            _run(["bash", "-euo", "pipefail", "-c", code], workplace)
        elif language == "python":
            assert "(300, 784)" in _run([sys.executable, "-c", code], workplace)


@pytest.mark.parametrize("target", re.findall(r"make (\w+)", TEXT))
def test_every_make_target_is_there(target: str) -> None:
    assert _run(["make", "--dry-run", target], ROOT)


@pytest.mark.parametrize("spec", _blocks("json"))
def test_the_specifications_can_be_planned(spec: str) -> None:
    assert make_plan(read_spec(spec.encode())).tensors


def test_the_container_is_given_words_that_the_command_line_knows(workplace: Path) -> None:
    (lines,) = _blocks("docker")
    (generate,) = re.findall(r"docker run .* xavier (generate .*)", lines)

    _run(["bash", "-euo", "pipefail", "-c", f"xavier {generate}"], workplace)


def test_the_table_of_settings_is_in_step_with_the_code() -> None:
    assert with_table(TEXT) == TEXT, "run: make generated"


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#][^)]*)\)", TEXT))
def test_every_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()
