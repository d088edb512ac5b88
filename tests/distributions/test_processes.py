"""Tensors that go through linear algebra have the same bytes in any process: by all kernels, threads and features."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.distributions import fresh_tensors
from tests.distributions.fresh_process import enabled_features

ROOT: Final = Path(__file__).parents[2]
FEATURES: Final = enabled_features()
# What OpenBLAS is told, and what it then calls its kernels; it takes those of lesser processors only.
KERNELS: Final = {"Prescott": "Katmai", "Nehalem": "Nehalem", "Haswell": "Haswell", "SkylakeX": "SkylakeX"}
THREADS: Final = {"Prescott": "1", "Nehalem": "2", "Haswell": "1", "SkylakeX": "3"}
LIBRARIES: Final = ("LC_", "LANG", "NPY_", "OPENBLAS_", "OMP_", "MKL_")


@cache
def drawn_here() -> dict[str, str]:
    return fresh_tensors.digests()


@cache
def report_of(**variables: str) -> dict[str, Any]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LIBRARIES)}
    command = [sys.executable, "-m", "tests.distributions.fresh_tensors"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=kept | variables, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("core", KERNELS)
def test_neither_kernels_nor_threads_of_blas_change_a_bit(core: str) -> None:
    report = report_of(OPENBLAS_CORETYPE=core, OPENBLAS_NUM_THREADS=THREADS[core])

    assert report["digests"] == drawn_here()
    if report["kernels"] != KERNELS[core]:
        pytest.skip(f"OpenBLAS has or takes no kernels for {core} here")


def test_lapack_would_have_other_bits_by_other_kernels() -> None:
    reports = [report_of(OPENBLAS_CORETYPE=core, OPENBLAS_NUM_THREADS=THREADS[core]) for core in KERNELS]
    if len({report["kernels"] for report in reports}) == 1:
        pytest.skip("OpenBLAS has one kind of kernels here")

    assert len({report["plain"] for report in reports}) > 1


@pytest.mark.skipif(not FEATURES, reason="NumPy dispatches no feature that this processor has")
def test_processor_features_change_no_bit() -> None:
    report = report_of(NPY_DISABLE_CPU_FEATURES=" ".join(FEATURES), PYTHONHASHSEED="1")

    assert not report["features"]  # NumPy ignores names it does not know
    assert report["digests"] == drawn_here()
