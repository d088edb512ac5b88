"""The documents as programs: whoever follows a page from its top gets what it says, from a real server.

A block of `sh` is run by bash, one of `python`, `js` or `rust` as a program; what a program prints stands in a comment
behind the statement. A block of `json` or `text` is what the block above it prints, or with a name a file of that name.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import pytest

from tests.api.servers import ROOT, Server, environment, running_server

SECONDS: Final = 120
OLDEST_NODE: Final = 20
PRELUDE: Final = f"""
make() {{ command make --dry-run --directory {shlex.quote(str(ROOT))} "$@" > /dev/null; }}
docker() {{
    [ "$1" != build ] || return 0
    while [[ $1 != xavier:* ]]; do shift; done
    [ $# = 1 ] || xavier "${{@:2}}"
}}
"""
"""What would set up or build something says only that it could; a container does what the command line does."""
_BLOCK: Final = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SERVE: Final = re.compile(r"((?:XAVIER_\w+=\S+ )*)xavier serve((?: \S+)*)\n")
_PRINTED: Final = re.compile(r"^ *(?:print|println!|console\.log)\(.*\);?  ?(?:#|//) (.*)$", re.MULTILINE)
_CRATE: Final = re.compile(r"^// Cargo.toml: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    place: int
    language: str
    name: str
    code: str

    def __str__(self) -> str:
        return f"{self.place} {self.language} {self.name}".strip()


@dataclass(frozen=True)
class Page:
    """A document in Markdown."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def blocks(self) -> list[Block]:
        return [Block(place, *found.groups()) for place, found in enumerate(_BLOCK.finditer(self.text))]

    @property
    def snippets(self) -> list[Block]:
        """The blocks that do something, or show what one did; the rest are files, and pictures."""
        return [block for block in self.blocks if not block.name and block.language != "mermaid"]

    def section(self, heading: str) -> str:
        """What stands below a heading, to the next one of its rank."""
        _, _, below = self.text.partition(f"\n## {heading}\n")
        return below.partition("\n## ")[0]

    @property
    def links(self) -> list[str]:
        """The links that lead into the repository."""
        return [link for link in re.findall(r"\]\(([^)\s]+)\)", self.text) if "://" not in link]

    @property
    def anchors(self) -> set[str]:
        """The names by which GitHub links to the headings."""
        headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", self.text), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Reader(ExitStack):
    """Someone who follows a page in a folder of their own.

    Args:
        page: what is followed.
        folder: is empty.
        server: what the page calls localhost:8000, until the page starts another one.
        lasting: a folder for what is built, which may be there already; the same where None.
    """

    def __init__(self, page: Page, folder: Path, server: Server, lasting: Path | None = None) -> None:
        super().__init__()
        self._page, self._folder, self._server, self._lasting = page, folder, server, lasting or folder
        self._printed: list[str] = []
        (folder / "examples").symlink_to(ROOT / "examples")

    def check(self, block: Block) -> None:
        """Do what a block says, after everything above it; it must print what the page says that it prints."""
        while len(self._printed) < block.place + 1:
            self._printed.append(self._done(self._page.blocks[len(self._printed)]))
        match block.language:
            case "python":
                self._check_printed(block, self._run([sys.executable, "-c", self._here(block.code)]))
            case "js":
                self._check_printed(
                    block, self._run([_node(), "--input-type=module", "--eval", self._here(block.code)])
                )
            case "rust":
                self._check_printed(block, self._run([str(self._built(block.code))]))
            case "json":
                assert json.loads(self._above(block)) == json.loads(block.code)
            case "text":
                assert self._above(block) == block.code
            case other:
                assert other == "sh", "nobody knows what to do with it"

    def _done(self, block: Block) -> str:
        """What a block prints on which later ones may build."""
        if block.name:
            (self._folder / block.name).write_text(block.code)
        elif block.language == "sh" and (serve := _SERVE.fullmatch(block.code)):
            self._serve(*serve.groups())
        elif block.language == "sh":
            return self._run(["bash", "-euo", "pipefail", "-c", PRELUDE + self._here(block.code)])
        return ""

    def _serve(self, variables: str, flags: str) -> None:
        env = dict(variable.split("=", 1) for variable in shlex.split(variables))
        log = self._folder / "server.log"
        self._server = self.enter_context(running_server(log, *shlex.split(flags), env=env))

    def _above(self, block: Block) -> str:
        return self._printed[block.place - 1]

    def _here(self, code: str) -> str:
        return code.replace("localhost:8000", f"{self._server.host}:{self._server.port}")

    def _run(self, command: list[str]) -> str:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = environment({"PATH": path})
        done = subprocess.run(
            command, cwd=self._folder, env=env, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _check_printed(self, block: Block, printed: str) -> None:
        said = _PRINTED.findall(block.code)
        assert said
        assert printed.splitlines() == said

    def _built(self, code: str) -> Path:
        """The program of a snippet in Rust, built in the folder that lasts."""
        cargo = shutil.which("cargo")
        if cargo is None:
            pytest.skip("there is no cargo")
        manifest = self._lasting / "Cargo.toml"
        crates = "\n".join(_CRATE.findall(code))
        manifest.write_text(
            f'[package]\nname = "snippet"\nedition = "2024"\n[dependencies]\n{crates}\n[profile.dev]\ndebug = false\n'
        )
        (self._lasting / "src").mkdir(exist_ok=True)
        (self._lasting / "src/main.rs").write_text(code)
        words = ["--quiet", "--manifest-path", str(manifest)]
        env = environment({"CARGO_NET_RETRY": "0", "CARGO_TARGET_DIR": str(self._lasting / "target")})
        if subprocess.run([cargo, "fetch", *words], env=env, capture_output=True, check=False).returncode:
            pytest.skip("the crate cannot be fetched")
        subprocess.run([cargo, "build", "--offline", *words], env=env, check=True)
        return self._lasting / "target/debug/snippet"


def _node() -> str:
    """The path of a Node that is new enough."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node {version} is older than {OLDEST_NODE}")
    return node
