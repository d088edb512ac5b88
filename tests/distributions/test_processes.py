"""The same bytes in any process: whatever the processor's features, kernels, threads, locales and hash seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import pytest

from tests.distributions import fresh_process
from tests.distributions.numerics.matrices import GOLDEN

ROOT: Final = Path(__file__).parents[2]
# What OpenBLAS is told, and what it then calls its kernels; it takes those of lesser processors only.
KERNELS: Final = {"Prescott": "Katmai", "Nehalem": "Nehalem", "Haswell": "Haswell", "SkylakeX": "SkylakeX"}
FEATURES: Final = fresh_process.enabled_features()
SWITCHED_OFF: Final = [FEATURES[first:] for first in range(len(FEATURES))]
LIBRARIES: Final = ("LC_", "LANG", "PYTHON", "NPY_", "OPENBLAS_", "OMP_", "MKL_")
PLAIN_C: Final = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def variables(number: int, core: str | None, off: list[str] | None) -> dict[str, str]:
    """What is told to one process: everything is another than in the process before, so that few are enough."""
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(1 + number % 3))
    told = threads | {"PYTHONHASHSEED": str(number)} | (PLAIN_C if number % 2 else {})
    told |= {"OPENBLAS_CORETYPE": core} if core else {}
    return told | ({"NPY_DISABLE_CPU_FEATURES": " ".join(off)} if off else {})


CIRCUMSTANCES: Final = [
    (core, off or [], variables(number, core, off))
    for number, (core, off) in enumerate(zip_longest(KERNELS, SWITCHED_OFF))
]
each_process = pytest.mark.parametrize(
    ("core", "off", "told"), CIRCUMSTANCES, ids=[str(core) for core, *_ in CIRCUMSTANCES]
)


@cache
def digests_here() -> dict[str, str]:
    return fresh_process.digests()


@cache
def _report_of(told: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LIBRARIES)}
    command = [sys.executable, "-m", "tests.distributions.fresh_process"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, env=kept | dict(told), timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def report_of(**told: str) -> dict[str, Any]:
    return _report_of(tuple(told.items()))


@each_process
def test_neither_kernels_nor_threads_nor_features_nor_hashes_nor_the_locale_change_a_bit(
    core: str | None, off: list[str], told: dict[str, str]
) -> None:
    report = report_of(**told)

    assert report["digests"] == digests_here()
    assert report["digests"].items() >= GOLDEN.items()
    assert set(report["features"]) == set(FEATURES) - set(off)  # NumPy ignores names it does not know
    assert report["encoding"] != "UTF-8" or "LC_ALL" not in told
    if core and report["kernels"] != KERNELS[core]:
        pytest.skip(f"OpenBLAS has or takes no kernels for {core} here")


def test_these_processes_do_differ() -> None:
    reports = [report_of(**told) for _, _, told in CIRCUMSTANCES]

    assert len({report["hash"] for report in reports}) == len(reports)
    assert len({report["features"] != [] for report in reports}) == (2 if FEATURES else 1)


def test_lapack_would_have_other_bits_by_other_kernels() -> None:
    reports = [report_of(**told) for _, _, told in CIRCUMSTANCES]
    if len({report["kernels"] for report in reports}) == 1:
        pytest.skip("OpenBLAS has one kind of kernels here")

    assert len({report["plain"] for report in reports}) > 1


@pytest.mark.parametrize("name", ["tr_TR.UTF-8", "de_DE.UTF-8"])
def test_a_locale_of_other_letters_and_decimal_points_changes_no_bit(name: str) -> None:
    installed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.splitlines()
    if name.replace("UTF-8", "utf8") not in installed:
        pytest.skip(f"the locale {name} is not installed here")

    report = report_of(LC_ALL=name)

    assert report["locale"] == name
    assert report["digests"] == digests_here()
