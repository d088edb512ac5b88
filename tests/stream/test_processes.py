"""The same bytes in any process: whatever the processor's features, the locale, hash seeds and thread variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.stream import fresh_process

ROOT: Final = Path(__file__).parents[2]
FEATURES: Final = fresh_process.enabled_features()
SWITCHED_OFF: Final = [FEATURES[first:] for first in range(len(FEATURES))]


@cache
def drawn_here() -> str:
    return fresh_process.digest()


def report_of(**variables: str) -> dict[str, Any]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON", "NPY_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.stream.fresh_process"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=kept | variables,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.skipif(not FEATURES, reason="NumPy dispatches no feature that this processor has")
@pytest.mark.parametrize("features", SWITCHED_OFF, ids=" ".join)
def test_processor_features_change_no_bit(features: list[str]) -> None:
    report = report_of(NPY_DISABLE_CPU_FEATURES=" ".join(features))

    assert set(report["features"]) == set(FEATURES) - set(features)  # NumPy ignores names it does not know
    assert report["digest"] == drawn_here()


def test_the_plain_c_locale_changes_no_bit() -> None:
    report = report_of(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")

    assert report["encoding"] != "UTF-8"
    assert report["digest"] == drawn_here()


@pytest.mark.parametrize("name", ["tr_TR.UTF-8", "de_DE.UTF-8"])
def test_a_locale_of_other_letters_and_decimal_points_changes_no_bit(name: str) -> None:
    installed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.splitlines()
    if name.replace("UTF-8", "utf8") not in installed:
        pytest.skip(f"the locale {name} is not installed here")

    report = report_of(LC_ALL=name)

    assert report["numeric_locale"] == name
    assert report["digest"] == drawn_here()


def test_the_seed_of_string_hashes_changes_no_bit() -> None:
    reports = [report_of(PYTHONHASHSEED=seed) for seed in ("1", "2")]

    assert reports[0]["hash"] != reports[1]["hash"]
    assert {report["digest"] for report in reports} == {drawn_here()}


def test_thread_variables_of_linear_algebra_libraries_change_no_bit() -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

    assert {report_of(**dict.fromkeys(names, threads))["digest"] for threads in ("1", "7")} == {drawn_here()}
