"""The check at start: it passes here, and no fault of the machine or of a constant passes it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import pytest

from service.distributions import DISTRIBUTIONS as KINDS
from service.distributions import known_answers, structured
from service.distributions.known_answers import KNOWN_ANSWERS, VALUES, KnownAnswer, check_known_answers
from service.distributions.numerics import factorisation, products
from service.distributions.truncated import CutNormal
from service.errors import BrokenPlatform
from service.plan import drawn_by
from service.stream import engine, truncation
from service.stream.dtypes import DType
from service.stream.precision import Precision
from service.stream.words import WordSource
from tests.plan.planned import planned, tensor
from tests.stream.drawing import DISTRIBUTIONS, PRECISIONS, VECTORS, Array

ROOT: Final = Path(__file__).parents[2]
GCC: Final = shutil.which("gcc")
SETS_MXCSR: Final = """
#include <xmmintrin.h>
void set_flags(unsigned flags) { _mm_setcsr(_mm_getcsr() | flags); }
unsigned get_flags(void) { return _mm_getcsr() & 0x8040; }
"""
FLUSHED_CHECK: Final = """
import ctypes, sys
from service.distributions.truncated import CutNormal
from service.errors import BrokenPlatform
from service.distributions.known_answers import check_known_answers
check_known_answers()
library = ctypes.CDLL(sys.argv[1])
library.set_flags(int(sys.argv[2], 16))
assert library.get_flags() == int(sys.argv[2], 16)
try:
    check_known_answers()
except BrokenPlatform as error:
    sys.stdout.write(f"refused: {error}")
"""
CONSTANTS: Final = [
    (p, name, place) for p in PRECISIONS for name, values in p.coefficients.items() for place in range(len(values))
]


def test_the_known_answers_hold_here() -> None:
    check_known_answers()


def test_the_checked_digests_are_those_of_the_known_answers() -> None:
    checked = {
        answer.name: {str(dtype): digest for dtype, digest in answer.digests.items()} for answer in KNOWN_ANSWERS
    }

    for distribution in DISTRIBUTIONS:
        assert checked[distribution] == {
            row["dtype"]: row["sha256"]
            for row in VECTORS["digests"]
            if (row["distribution"], row["count"]) == (distribution, VALUES)
        }


@pytest.mark.parametrize(
    ("answer", "dtype"),
    [pytest.param(answer, dtype, id=f"{answer.name}-{dtype}") for answer in KNOWN_ANSWERS for dtype in answer.digests],
)
def test_one_answer_that_differs_is_enough(monkeypatch: pytest.MonkeyPatch, answer: KnownAnswer, dtype: DType) -> None:
    monkeypatch.setitem(answer.digests, dtype, "0" * 64)

    with pytest.raises(BrokenPlatform, match=f"{answer.name} values in {dtype} differ from the known answers"):
        check_known_answers([(type(answer.distribution), dtype)])


def test_every_distribution_and_every_dtype_is_checked() -> None:
    assert {type(answer.distribution) for answer in KNOWN_ANSWERS} == set(KINDS)
    assert all(set(answer.digests) == set(DType) for answer in KNOWN_ANSWERS if answer.name in (*DISTRIBUTIONS, "sum"))


def test_for_a_drawing_no_more_is_checked_than_it_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tensor("w", (8, 8), {"type": "sparse", "sparsity": 0.5}), dtype="BF16")
    checked: list[tuple[str, DType]] = []
    digest = known_answers._digest

    def told(answer: KnownAnswer, dtype: DType, fill: Any) -> str:
        checked.append((answer.name, dtype))
        return digest(answer, dtype, fill)

    monkeypatch.setattr(known_answers, "_digest", told)
    check_known_answers(drawn_by(plan.tensors))

    of_normals = {"normal", "normal with a mean", "normal at scattered places"}
    assert {name for name, _ in checked} == {"uniform", "sparse", *of_normals}
    assert {dtype for name, dtype in checked if name in ("uniform", "normal")} == {DType.BF16}
    assert {dtype for name, dtype in checked if name == "sparse"} == {DType.F64, DType.F32}  # it has no other


@pytest.mark.parametrize("kind", DISTRIBUTIONS, ids=str)
def test_a_wrong_answer_of_what_is_drawn_is_noticed(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    [answer] = (answer for answer in KNOWN_ANSWERS if answer.name == kind)
    monkeypatch.setitem(answer.digests, DType.F16, "0" * 64)

    check_known_answers([(type(answer.distribution), DType.F32)])
    with pytest.raises(BrokenPlatform, match=f"{kind} values in F16"):
        check_known_answers([(type(answer.distribution), DType.F16)])


@pytest.mark.parametrize(
    ("p", "name", "place"), CONSTANTS, ids=[f"{name}{place}-{p.bits}" for p, name, place in CONSTANTS]
)
def test_a_thousandth_more_of_any_constant_is_noticed(
    monkeypatch: pytest.MonkeyPatch, p: Precision, name: str, place: int
) -> None:
    values = list(p.coefficients[name])
    values[place] *= p.floating(1.001)
    monkeypatch.setitem(vars(p), "coefficients", {**p.coefficients, name: tuple(values)})

    with pytest.raises(BrokenPlatform, match="differ from the known answers"):
        check_known_answers()


@pytest.mark.parametrize("p", PRECISIONS, ids=["binary32", "binary64"])
def test_another_split_of_the_mantissa_is_noticed(monkeypatch: pytest.MonkeyPatch, p: Precision) -> None:
    monkeypatch.setitem(vars(p), "root_half", p.root_half + (1 << (p.mantissa - 4)))

    with pytest.raises(BrokenPlatform):
        check_known_answers()


@pytest.mark.parametrize("name", ["TAIL_P", "TAIL_Q"])
@pytest.mark.parametrize("place", range(10))
def test_a_thousandth_more_of_any_constant_of_the_far_tail_is_noticed(
    monkeypatch: pytest.MonkeyPatch, name: str, place: int
) -> None:
    values = list(getattr(truncation, name))
    values[place] *= 1.001
    monkeypatch.setattr(truncation, name, tuple(values))

    with pytest.raises(BrokenPlatform, match="normal cut"):
        check_known_answers([(CutNormal, DType.F64)])


def test_another_rounding_to_a_narrow_dtype_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow_towards_zero(values: Array, _: DType, out: Array) -> Array:
        out[...] = values.view(np.uint32) >> 16
        return out

    monkeypatch.setattr(engine, "narrow", narrow_towards_zero)

    with pytest.raises(BrokenPlatform, match="in BF16"):
        check_known_answers()


@pytest.mark.parametrize(
    ("room", "name", "value"),
    [(factorisation, "PANEL", 32), (factorisation, "LANES", 2**11), (products, "BITS", 19), (products, "BLOCK", 2**11)],
    ids=lambda part: part if isinstance(part, str) else None,
)
def test_matrices_that_are_summed_in_another_order_are_noticed_though_others_are_kept(
    monkeypatch: pytest.MonkeyPatch, room: ModuleType, name: str, value: int
) -> None:
    check_known_answers()
    monkeypatch.setattr(room, name, value)

    with pytest.raises(BrokenPlatform, match="orthogonal"):
        check_known_answers()


def test_other_words_at_scattered_places_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = WordSource._scattered
    monkeypatch.setattr(WordSource, "_scattered", lambda self, lane, indices: right(self, lane, indices ^ 1))

    with pytest.raises(BrokenPlatform, match="scattered"):
        check_known_answers()


def test_other_words_for_the_zeros_of_sparse_tensors_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structured, "MASK_LANE", 3)

    with pytest.raises(BrokenPlatform, match="sparse"):
        check_known_answers()


@pytest.fixture(scope="module", name="library")
def _library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared library that sets this thread's floating-point flags."""
    if GCC is None or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("gcc and an x86 processor are needed to switch subnormal numbers off")
    folder = tmp_path_factory.mktemp("mxcsr")
    (folder / "flags.c").write_text(SETS_MXCSR)
    subprocess.run([GCC, "-shared", "-fPIC", "-o", folder / "flags.so", folder / "flags.c"], check=True)
    return folder / "flags.so"


@pytest.mark.parametrize("flags", ["0x8000", "0x0040", "0x8040"], ids=["results", "operands", "both"])
def test_a_thread_that_flushes_subnormal_numbers_is_refused(library: Path, flags: str) -> None:
    # In a process of its own, so that the flags of this one stay.
    done = subprocess.run(
        [sys.executable, "-c", FLUSHED_CHECK, library, flags],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ,
        timeout=120,
    )

    assert done.stdout.startswith("refused: ")
