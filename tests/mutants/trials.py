"""Trials: the tests of one room and the golden tables, run in a copy of the sources."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Final

PYTEST: Final = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider")
ONE_SEED: Final = ("-p", "_hypothesis_pytestplugin", "--hypothesis-seed=0")
"""Always the same random examples, so that a mutant is killed always or never."""
MOST_SECONDS: Final = 600.0
TOO_LONG: Final = "the time limit"
"""What stops a trial that does not end."""
NOT_RUN: Final = (3, 4, 5)
"""Exit statuses of pytest: an internal error, a wrong usage, no tests."""
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class NotRun(Exception):
    """The tests could not be run, so nothing is known."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a repository as they were at one moment: whoever goes on working changes no trial.

    Attributes:
        files: their contents, by their paths from the root.
    """

    files: dict[str, bytes]

    @classmethod
    def tracked(cls, root: Path) -> Sources:
        """The files that git tracks, as they are in the working tree."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
        return cls({name: (root / name).read_bytes() for name in listed.stdout.split("\0") if (root / name).is_file()})

    def tests_of(self, file: str) -> list[str]:
        """The test modules of the room of a file: the file's own first, then the other ones, then the golden tables."""
        _, room, *inside = PurePath(file).parts
        own = f"test_{PurePath(file).stem}.py"
        found = self._test_modules(room) if inside else [f"tests/{own}"]
        return sorted(found, key=lambda module: PurePath(module).name != own) + self._test_modules("golden")

    def first_failure(
        self, tests: Sequence[str], changed: dict[str, bytes], seconds: float = MOST_SECONDS
    ) -> str | None:
        """The first test that fails in a copy of the sources where some files are changed; None where all pass.

        Args:
            tests: test modules, in order.
            changed: the new contents of files.
            seconds: how long the tests may take.

        Raises:
            NotRun: the tests could not be run.
        """
        with TemporaryDirectory() as folder:
            copy = Path(folder).resolve()
            for file, content in (self.files | changed).items():
                (copy / file).parent.mkdir(parents=True, exist_ok=True)
                (copy / file).write_bytes(content)
            return _first_failure(copy, tests, seconds)

    def _test_modules(self, folder: str) -> list[str]:
        return [file for file in self.files if re.fullmatch(rf"tests/{folder}/(.*/)?test_\w+\.py", file)]


def _first_failure(root: Path, tests: Sequence[str], seconds: float) -> str | None:
    command = [sys.executable, *PYTEST, *ONE_SEED, *tests]
    try:
        ended = subprocess.run(
            command, cwd=root, env=_environment(root), capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return TOO_LONG
    if ended.returncode == 0:
        return None
    failed = FAILED.search(ended.stdout)
    if failed is None or ended.returncode in NOT_RUN:
        raise NotRun(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return failed[1]


def _environment(root: Path) -> dict[str, str]:
    """Ours, where the copy comes before an installed service; no pytest or coverage around it has a part in it."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_"))}
    return ours | {"PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OPENBLAS_NUM_THREADS": "1"}
