"""Every command and snippet of the README runs as it stands, against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import requests
from numpy.testing import assert_array_equal

from service.plan import make_plan
from service.schema.parsing import read_spec
from service.settings import with_table
from service.stream.dtypes import DType, widen
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
    (folder / "spec.json").write_text(*_blocks("json"))
    return folder


def test_every_block_has_a_language_that_a_test_knows() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "python", "json", "docker"}
    assert TEXT.count("```") == 2 * len(BLOCKS)


def test_the_first_screen_has_the_two_commands_and_a_curl() -> None:
    first_screen = TEXT.split("## ")[0]

    assert "make serve" in first_screen
    assert "make test" in first_screen
    assert "curl" in first_screen


PRINTED: Final = ("(300, 784)", "bfloat16 (10, 256)")
"""What the Python snippets print, in their order."""


def test_the_shell_and_python_snippets_run_in_their_order(workplace: Path, server: Server) -> None:
    printed = []
    for language, written in BLOCKS:
        code = written.replace("http://localhost:8000", server.url).replace("localhost:8000", server.url)
        if language == "sh" and "make" not in code:
            _run(["bash", "-euo", "pipefail", "-c", code], workplace)
        elif language == "python":
            printed.append(_run([sys.executable, "-c", code], workplace))
    assert [text for text, part in zip(printed, PRINTED, strict=True) if part not in text] == []


@pytest.mark.parametrize("dtype", DType)
def test_the_reader_of_narrow_dtypes_reads_every_dtype(
    dtype: DType, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = json.loads(*_blocks("json"))
    answer = requests.post(f"{server.url}/v1/weights", json=spec, params={"dtype": dtype}, timeout=60)
    monkeypatch.chdir(tmp_path)
    Path("narrow.safetensors").write_bytes(answer.content)
    read: dict[str, Any] = {}
    exec(_blocks("python")[1], read)  # noqa: S102 - our own snippet

    for tensor in make_plan(read_spec(json.dumps(spec | {"dtype": dtype}).encode())).tensors:
        values = read["weights"][tensor.name].ravel()
        stored = np.empty(tensor.elements, dtype.storage)
        tensor.fill(0, stored)
        assert values.dtype.itemsize == dtype.itemsize
        assert_array_equal(values.astype(np.float64), widen(stored, dtype).astype(np.float64))


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
