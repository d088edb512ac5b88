"""How long the command line takes to start, compared with importing what it cannot do without: NumPy and pydantic.

Usage: python benchmarks/cold.py; needs nothing but what the service needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

from measuring import ROOT, alternately, row, seconds

RUNS = 9
FLOOR = "import numpy, pydantic"
CONTENDERS = {
    FLOOR: ("-c", "import numpy; from pydantic import BaseModel"),
    "xavier plan": ("-m", "service", "plan", "examples/lenet-300-100.json"),
    "xavier --help": ("-m", "service", "--help"),
}
AIMS = {"xavier plan": "aim < 3 x"}
CACHING = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""An environment in which the run that does not count caches the bytecode for those that do."""


def _run(arguments: tuple[str, ...]) -> float:
    command = [sys.executable, *arguments]
    return seconds(partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=CACHING))


def starting() -> None:
    """Start a fresh process each time, with cached bytecode."""
    print("\nStarting from nothing, milliseconds")
    found = alternately({name: partial(_run, arguments) for name, arguments in CONTENDERS.items()}, RUNS)
    for name, taken in found.items():
        row(name, f"{taken * 1e3:.0f} ms", f"{taken / found[FLOOR]:.2f} x", AIMS.get(name, ""))


if __name__ == "__main__":
    starting()
