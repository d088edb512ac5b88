"""Engines: another one draws what it draws right, NumPy draws everything else, and nobody sees a difference."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import inf
from typing import Final

import numpy as np
import pytest

from service.distributions.base import Distribution
from service.distributions.elementwise import Normal, TruncatedNormal, Uniform
from service.distributions.known_answers import adopt, check_known_answers
from service.distributions.truncated import CutNormal
from service.stream import engine as engines
from service.stream.dtypes import DType
from service.stream.engine import NUMPY, Array, Kind, Scalars, engine_of, quantile
from service.stream.words import Elements, WordSource

ALL: Final = (Uniform(-0.5, 0.75), Normal(0.1, 2.0), TruncatedNormal(0.0, 0.3), CutNormal(0.0, 1.0, 0.5, inf))
SOURCE: Final = WordSource(7, "w")


class Other:
    """An engine that draws some kinds as NumPy does, and perhaps one of them otherwise."""

    def __init__(self, kinds: Collection[Kind], wrong: Kind | None = None) -> None:
        self.kinds = kinds
        self.wrong = wrong
        self.asked: list[Kind] = []

    def fill(  # noqa: PLR0917 - see Engine
        self, kind: Kind, scalars: Scalars, source: WordSource, elements: Elements, dtype: DType, out: Array
    ) -> None:
        self.asked.append(kind)
        NUMPY.fill(kind, scalars, source, elements, dtype, out)
        if kind == self.wrong:
            bits = out.view(f"u{out.itemsize}")
            bits[-1] ^= 1


@pytest.fixture(autouse=True)
def _numpy_again() -> Iterator[None]:
    before = dict(engines._chosen)
    yield
    engines._chosen.clear()
    engines._chosen.update(before)


def drawn(distribution: Distribution) -> bytes:
    out = np.empty(1000, np.float32)
    distribution.fill(SOURCE, range(1000), DType.F32, out)
    return out.tobytes()


def test_numpy_draws_everything_where_nothing_else_does() -> None:
    assert {distribution.kind for distribution in ALL} == set(NUMPY.kinds)
    assert all(engine_of(kind) is NUMPY for kind in NUMPY.kinds)


def test_an_engine_draws_the_kinds_that_it_has_and_numpy_the_others() -> None:
    before, other = [drawn(distribution) for distribution in ALL], Other(("normal", "cut_normal"))

    adopt(other)
    other.asked.clear()
    after = [drawn(distribution) for distribution in ALL]

    assert after == before
    assert other.asked == ["normal", "cut_normal"]
    assert engine_of("uniform") is NUMPY


@pytest.mark.parametrize("wrong", NUMPY.kinds)
def test_one_bit_is_enough_for_an_engine_not_to_draw_a_kind(wrong: Kind) -> None:
    other = Other(NUMPY.kinds, wrong)

    adopt(other)

    assert engine_of(wrong) is NUMPY
    assert all(engine_of(kind) is other for kind in NUMPY.kinds if kind != wrong)


def test_the_known_answers_are_drawn_by_the_engine_that_draws_for_callers() -> None:
    other = Other(NUMPY.kinds)

    adopt(other)
    other.asked.clear()
    check_known_answers()

    assert set(other.asked) == set(NUMPY.kinds)


@pytest.mark.parametrize("distribution", ALL, ids=str)
@pytest.mark.parametrize("bits", [32, 64])
def test_the_quantile_of_a_word_is_the_value_that_is_drawn_of_it(distribution: Normal, bits: int) -> None:
    dtype = {32: DType.F32, 64: DType.F64}[bits]
    values, out = (np.empty(100, dtype.storage) for _ in range(2))

    distribution.fill(SOURCE, range(100), dtype, values)
    quantile(distribution.kind, distribution.arguments, SOURCE.words(range(100), bits), dtype.precision, out)

    assert values.tobytes() == out.tobytes()
