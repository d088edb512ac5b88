"""Distributions: the laws that weights follow, and the only code that turns random words into weights.

Each answers for any range of elements or any set of element indices, in any order, and gives the same bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from service.distributions.cache import Whole
from service.distributions.stored import (
    EVEN,
    Placed,
    Shares,
    Stored,
    Unrounded,
    constant,
    ends,
    quantile_words,
    rounded,
    shares,
)
from service.stream import quantiles
from service.stream.dtypes import DType, narrow, widen
from service.stream.precision import BINARY64, Precision
from service.stream.scratch import scratch
from service.stream.words import MOST_WORDS, Elements, Words, WordSource

Array = NDArray[Any]

STD_OF_TRUNCATED: Final = 0.8796256610342398
"""Standard deviation of a standard normal cut at +-2, in binary64."""

NEARLY: Final = 2.0**-10
"""How near to the largest number of a dtype roundings may matter."""
STORED_KEPT: Final = 1 << 12
"""Laws in a dtype whose stored numbers are kept."""
STANDARDS_KEPT: Final = 64
"""Standard laws whose shares are kept, 130 kB each."""


class Distribution(Protocol):
    """A law with its scalars in binary64."""

    def __hash__(self) -> int:
        """Of the scalars."""

    @property
    def mean(self) -> float:
        """The expected mean."""

    @property
    def std(self) -> float:
        """The expected standard deviation."""

    @property
    def scalars(self) -> dict[str, Any]:
        """What defines the law, by name."""

    @property
    def held(self) -> int:
        """Elements of a matrix that must be drawn together; 0 where each element can be drawn alone."""

    @property
    def whole_elements(self) -> int:
        """Elements of all such matrices."""

    def whole_bytes(self, elements: range, dtype: DType) -> int:
        """Bytes of what some elements depend on beyond their own words, which are held while they are drawn."""

    def wholes(self, source: WordSource, elements: range, dtype: DType) -> Sequence[Whole]:
        """What must be drawn together for some elements, in canonical order."""

    def reach(self, dtype: DType) -> tuple[float, float]:
        """The least and the greatest value that can be drawn, before any rounding."""

    def stored(self, dtype: DType) -> Stored:
        """Mean, standard deviation and ends of the values as they are stored."""

    def fits(self, dtype: DType) -> bool:
        """Whether every value that can be drawn is finite in `dtype`."""

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """Draw some elements of a tensor.

        Args:
            source: the tensor's random words.
            elements: which elements, by canonical index: a range of step 1, or int64 indices of shape (n,).
            dtype: what the values are rounded to.
            out: where they go, shape (n,), of `dtype.storage`.
        """


class BaseLaw(ABC):
    """What all laws share: their scalars, and whether their values fit a dtype."""

    __slots__: tuple[str, ...] = ()

    @property
    def scalars(self) -> dict[str, Any]:
        """See Distribution."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]  # each is one

    @property
    def held(self) -> int:
        """See Distribution."""
        return 0

    @property
    def whole_elements(self) -> int:
        """See Distribution."""
        return self.held

    def whole_bytes(self, elements: range, dtype: DType) -> int:
        """See Distribution."""
        return 0

    def wholes(self, source: WordSource, elements: range, dtype: DType) -> Sequence[Whole]:
        """See Distribution."""
        return ()

    @abstractmethod
    def reach(self, dtype: DType) -> tuple[float, float]:
        """See Distribution."""

    @abstractmethod
    def stored(self, dtype: DType) -> Stored:
        """See Distribution."""

    def fits(self, dtype: DType) -> bool:
        """See Distribution."""
        largest = max(abs(end) for end in self.reach(dtype))
        if largest < dtype.largest * (1 - NEARLY):
            return True
        if not isfinite(largest):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            ends = np.append(self._extremes(dtype.precision), [largest]).astype(dtype.precision.floating)
            return bool(np.isfinite(widen(narrow(ends, dtype, np.empty(ends.size, dtype.storage)), dtype)).all())

    def _extremes(self, p: Precision) -> Array:
        """The values that go farthest out, with all roundings on the way."""
        return np.empty(0, p.floating)


class WordLaw(BaseLaw):
    """A law with one random word an element."""

    __slots__ = ()

    if TYPE_CHECKING:  # a dataclass would take properties here for defaults of its fields

        @property
        def mean(self) -> float: ...

        @property
        def std(self) -> float: ...

    @abstractmethod
    def _values(self, words: Words, p: Precision, out: Array) -> Array:
        """Words to values of the working precision; the words may be overwritten."""

    @abstractmethod
    def _shares(self) -> Shares:
        """The law at mean 0 and scale 1."""

    @abstractmethod
    def _placed(self, p: Precision) -> Placed:
        """Where drawing in a precision moves that."""

    def stored(self, dtype: DType) -> Stored:
        """See Distribution."""
        p = dtype.precision
        mean, std = self.mean, self.std
        law = Unrounded(self._shares, self._placed(BINARY64), self._placed(p), mean, std)
        return rounded(law, dtype, ends(self._extremes(p), dtype))

    def at(self, words: Words, p: Precision) -> Array:
        """The values of some words, which may be overwritten, in the working precision."""
        return self._values(words, p, np.empty(words.size, p.floating))

    def _extremes(self, p: Precision) -> Array:
        return self.at(extreme_words(p), p)

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """See Distribution."""
        for first in range(0, len(elements), MOST_WORDS):
            block = slice(first, first + MOST_WORDS)
            self._fill_block(source, elements[block], dtype, out[block])

    def _fill_block(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        p = dtype.precision
        words = source.words(elements, p.bits)
        if dtype.drawn_directly:
            self._values(words, p, out)
        else:
            narrow(self._values(words, p, scratch("values", p.floating, out.size)), dtype, out)


@dataclass(frozen=True, slots=True)
class Uniform(WordLaw):
    """Uniform on (low, high)."""

    low: float
    high: float

    @property
    def mean(self) -> float:
        return (self.high + self.low) / 2

    @property
    def std(self) -> float:
        return (self.high - self.low) / 2 / sqrt(3.0)

    def reach(self, dtype: DType) -> tuple[float, float]:
        computable = isfinite(self.high - self.low) and isfinite(self.high + self.low)
        return (self.low, self.high) if computable else (-inf, inf)

    def _shares(self) -> Shares:
        return EVEN

    def _placed(self, p: Precision) -> Placed:
        return Placed(*(float(p.floating(number)) for number in (self.mean, (self.high - self.low) / 2)))

    def scaled(self, multiplier: float) -> Uniform:
        """The law with its width times a factor, about the same midpoint."""
        if multiplier == 1:
            return self
        half = (self.high - self.low) / 2 * multiplier
        return Uniform(self.mean - half, self.mean + half)

    def _values(self, words: Words, p: Precision, out: Array) -> Array:
        return quantiles.uniform(words, self.low, self.high, p, out)


class _Scaled(WordLaw):
    """A standard law times a scale, about its mean."""

    __slots__ = ()

    mean: float

    @property
    @abstractmethod
    def _standard(self) -> tuple[WordLaw, float]:
        """The standard law, and the scale."""

    def _shares(self) -> Shares:
        return quantile_shares(self._standard[0])

    def _placed(self, p: Precision) -> Placed:
        return Placed(float(p.floating(self.mean)), float(p.floating(self._standard[1])))

    def _extremes(self, p: Precision) -> Array:
        law, scale = self._standard
        return quantiles.scaled(kept_extremes(law, p), self.mean, scale, p, np.empty(2, p.floating))


@dataclass(frozen=True, slots=True)
class Normal(_Scaled):
    """Normal, not truncated."""

    mean: float
    std: float

    def reach(self, dtype: DType) -> tuple[float, float]:
        most = float.fromhex(dtype.precision.most_sigmas) * self.std
        return self.mean - most, self.mean + most

    @property
    def _standard(self) -> tuple[WordLaw, float]:
        return STANDARD_NORMAL, self.std

    def _values(self, words: Words, p: Precision, out: Array) -> Array:
        return quantiles.normal(words, self.mean, self.std, p, out)


@dataclass(frozen=True, slots=True)
class TruncatedNormal(_Scaled):
    """Normal cut at mean +- 2 std_before.

    Attributes:
        std_before: standard deviation before the cut; `std` is that after it.
    """

    mean: float
    std_before: float

    @property
    def std(self) -> float:
        return self.std_before * STD_OF_TRUNCATED

    def reach(self, dtype: DType) -> tuple[float, float]:
        return self.mean - 2 * self.std_before, self.mean + 2 * self.std_before

    @property
    def _standard(self) -> tuple[WordLaw, float]:
        return STANDARD_TRUNCATED, self.std_before

    def _values(self, words: Words, p: Precision, out: Array) -> Array:
        return quantiles.truncated_normal(words, self.mean, self.std_before, p, out)


@dataclass(frozen=True, slots=True)
class Constant(BaseLaw):
    """The same value everywhere; needs no words."""

    value: float

    @property
    def mean(self) -> float:
        return self.value

    @property
    def std(self) -> float:
        return 0.0

    def reach(self, dtype: DType) -> tuple[float, float]:
        return self.value, self.value

    def stored(self, dtype: DType) -> Stored:
        value, _ = ends(np.array([self.value], dtype.precision.floating), dtype)
        return constant(value, nonzero=float(self.value != 0))

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        value = np.array([self.value], dtype.precision.floating)
        out[...] = narrow(value, dtype, np.empty(1, dtype.storage))


STANDARD_NORMAL: Final = Normal(0.0, 1.0)
STANDARD_TRUNCATED: Final = TruncatedNormal(0.0, 1.0)


@lru_cache(STORED_KEPT)
def stored(law: Distribution, dtype: DType) -> Stored:
    """A law as it is stored; kept, as plans ask for the same again and again."""
    return law.stored(dtype)


@lru_cache(STANDARDS_KEPT)
def quantile_shares(standard: WordLaw, mean: float = 0.0) -> Shares:
    """A standard law about its mean, by its values at chosen words, drawn in binary64."""
    words, cumulative = quantile_words()
    return shares(standard.at(words, BINARY64) - mean, cumulative)


@lru_cache(STANDARDS_KEPT)
def kept_extremes(standard: WordLaw, p: Precision) -> Array:
    """The values of the extreme words of a standard law."""
    return standard.at(extreme_words(p), p)


def extreme_words(p: Precision) -> Words:
    """The words that give the least and the greatest value."""
    limits = np.iinfo(p.signed)
    return np.array([limits.min, limits.max], p.signed).view(p.word)
