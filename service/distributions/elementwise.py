"""Elementwise distributions, which an engine draws from one random word per element; and constants."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite, sqrt
from typing import ClassVar, Final

import numpy as np

from service.distributions.base import Array, Distribution
from service.distributions.members import Member, number
from service.distributions.stored import (
    EVEN,
    Placed,
    Stored,
    Tabulated,
    Unrounded,
    constant,
    ends,
    quantile_words,
    rounded,
    tabulated,
)
from service.stream.dtypes import DType, narrow
from service.stream.engine import Kind, Scalars, engine_of, quantile
from service.stream.precision import BINARY64, Precision
from service.stream.quantiles import scaled
from service.stream.words import Elements, Words, WordSource

STD_OF_TRUNCATED: Final = 0.8796256610342398
"""The standard deviation of a standard normal truncated at +-2, in binary64."""
STANDARDS_KEPT: Final = 64
"""The number of standard distributions whose tables are cached, at 130 kB each."""


class Elementwise(Distribution):
    """A distribution that takes one random word per element.

    Attributes:
        kind: its name in the engines.
    """

    __slots__ = ()
    by_scalars: ClassVar[bool] = True
    kind: ClassVar[Kind]

    @property
    def arguments(self) -> Scalars:
        """The scalars, as the engines expect them."""
        return self.values

    @abstractmethod
    def _tabulated(self) -> Tabulated:
        """The distribution with mean 0 and scale 1."""

    @abstractmethod
    def _placed(self, p: Precision) -> Placed:
        """The location and scale of the distribution when it is drawn in a precision."""

    def stored(self, dtype: DType) -> Stored:
        """See Distribution."""
        p = dtype.precision
        mean, std = self.mean, self.std
        unrounded = Unrounded(self._tabulated, self._placed(BINARY64), self._placed(p), mean, std)
        return rounded(unrounded, dtype, ends(self._extremes(p), dtype))

    def at(self, words: Words, p: Precision) -> Array:
        """The values of some words, in the working precision; the words may be overwritten."""
        return quantile(self.kind, self.arguments, words, p, np.empty(words.size, p.floating))

    def _extremes(self, p: Precision) -> Array:
        return self.at(extreme_words(p), p)

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """See Distribution."""
        engine_of(self.kind).fill(self.kind, self.arguments, source, elements, dtype, out)


@dataclass(frozen=True, slots=True)
class Uniform(Elementwise):
    """Uniform on (low, high)."""

    tag = "uniform"
    etag_name = "Uniform"
    kind = "uniform"
    members = (Member("low", number), Member("high", number))

    low: float
    high: float

    @property
    def mean(self) -> float:
        return (self.high + self.low) / 2

    @property
    def std(self) -> float:
        return (self.high - self.low) / 2 / sqrt(3.0)

    def is_sound(self) -> bool:
        return -inf < self.low < self.high < inf

    def support(self, dtype: DType) -> tuple[float, float]:
        computable = isfinite(self.high - self.low) and isfinite(self.high + self.low)
        return (self.low, self.high) if computable else (-inf, inf)

    def _tabulated(self) -> Tabulated:
        return EVEN

    def _placed(self, p: Precision) -> Placed:
        return Placed(*(float(p.floating(scalar)) for scalar in (self.mean, (self.high - self.low) / 2)))

    def scaled(self, multiplier: float) -> Uniform:
        """The distribution with its width multiplied by a factor and the same midpoint."""
        if multiplier == 1:
            return self
        half = (self.high - self.low) / 2 * multiplier
        return Uniform(self.mean - half, self.mean + half)


class _Scaled(Elementwise):
    """A standard distribution, scaled and moved to a mean."""

    __slots__ = ()

    mean: float

    @property
    @abstractmethod
    def _standard(self) -> tuple[Elementwise, float]:
        """The standard distribution, and the scale."""

    def is_sound(self) -> bool:
        return self._standard[1] > 0

    def _tabulated(self) -> Tabulated:
        return tabulated_quantiles(self._standard[0])

    def _placed(self, p: Precision) -> Placed:
        return Placed(float(p.floating(self.mean)), float(p.floating(self._standard[1])))

    def _extremes(self, p: Precision) -> Array:
        standard, scale = self._standard
        return scaled(standard_extremes(standard, p), self.mean, scale, p, np.empty(2, p.floating))


@dataclass(frozen=True, slots=True)
class Normal(_Scaled):
    """The normal distribution, not truncated."""

    tag = "normal"
    etag_name = "Normal"
    kind = "normal"
    members = (Member("mean", number), Member("std", number))

    mean: float
    std: float

    def support(self, dtype: DType) -> tuple[float, float]:
        most = float.fromhex(dtype.precision.most_sigmas) * self.std
        return self.mean - most, self.mean + most

    @property
    def _standard(self) -> tuple[Elementwise, float]:
        return STANDARD_NORMAL, self.std


@dataclass(frozen=True, slots=True)
class TruncatedNormal(_Scaled):
    """A normal truncated at mean +- 2 std_before.

    Attributes:
        mean: the mean before and after truncation.
        std_before: the standard deviation before truncation; `std` is the one after it.
    """

    tag = "truncated_normal"
    etag_name = "TruncatedNormal"
    kind = "truncated_normal"
    members = (Member("mean", number), Member("std_before", number))

    mean: float
    std_before: float

    @property
    def std(self) -> float:
        return self.std_before * STD_OF_TRUNCATED

    def support(self, dtype: DType) -> tuple[float, float]:
        return self.mean - 2 * self.std_before, self.mean + 2 * self.std_before

    @property
    def _standard(self) -> tuple[Elementwise, float]:
        return STANDARD_TRUNCATED, self.std_before


@dataclass(frozen=True, slots=True)
class Constant(Distribution):
    """The same value everywhere, drawn without random words."""

    tag = "constant"
    etag_name = "Constant"
    by_scalars = True
    members = (Member("value", number),)

    value: float

    @property
    def mean(self) -> float:
        return self.value

    @property
    def std(self) -> float:
        return 0.0

    def support(self, dtype: DType) -> tuple[float, float]:
        return self.value, self.value

    def stored(self, dtype: DType) -> Stored:
        value, _ = ends(np.array([self.value], dtype.precision.floating), dtype)
        return constant(value, nonzero=float(self.value != 0))

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        value = np.array([self.value], dtype.precision.floating)
        out[...] = narrow(value, dtype, np.empty(1, dtype.storage))


STANDARD_NORMAL: Final = Normal(0.0, 1.0)
STANDARD_TRUNCATED: Final = TruncatedNormal(0.0, 1.0)


@lru_cache(STANDARDS_KEPT)
def tabulated_quantiles(standard: Elementwise, mean: float = 0.0) -> Tabulated:
    """Tabulate a standard distribution about its mean, from its values at chosen words in binary64."""
    words, cumulative = quantile_words()
    return tabulated(standard.at(words, BINARY64) - mean, cumulative)


@lru_cache(STANDARDS_KEPT)
def standard_extremes(standard: Elementwise, p: Precision) -> Array:
    """The values of the extreme words of a standard distribution."""
    return standard.at(extreme_words(p), p)


def extreme_words(p: Precision) -> Words:
    """The words that give the smallest and the largest value."""
    limits = np.iinfo(p.signed)
    return np.array([limits.min, limits.max], p.signed).view(p.word)
