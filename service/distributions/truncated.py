"""The normal that is cut at any two ends, one of them infinite or both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.distributions.elementwise import WordLaw, extreme_words, quantile_shares
from service.distributions.numerics.probabilities import KEPT, moments, shares
from service.distributions.stored import Placed, Shares
from service.stream.dtypes import DType
from service.stream.precision import Precision
from service.stream.truncation import Cut, cut_normal
from service.stream.words import Words


@dataclass(frozen=True, slots=True)
class CutNormal(WordLaw):
    """Normal cut at location + low . std_before and location + high . std_before.

    Attributes:
        location: mean before the cut; `mean` is that after it.
        std_before: standard deviation before the cut; `std` is that after it.
        low: lower end, in units of `std_before`; may be -inf.
        high: upper end, in units of `std_before`; may be inf.

    Raises:
        ValueError: `low` is not below `high`, or next to nothing of the normal lies between them.
    """

    location: float
    std_before: float
    low: float
    high: float

    def __post_init__(self) -> None:
        shares(self.low, self.high)

    @property
    def mean(self) -> float:
        """See Distribution."""
        return self.location + self.std_before * moments(self.low, self.high).mean

    @property
    def std(self) -> float:
        """See Distribution."""
        return self.std_before * moments(self.low, self.high).std

    @property
    def scalars(self) -> dict[str, Any]:
        """See Distribution; None for an infinite end."""
        ends = {"low": self.low, "high": self.high}
        finite = {name: end if isfinite(end) else None for name, end in ends.items()}
        return {"location": self.location, "std_before": self.std_before} | finite

    def reach(self, dtype: DType) -> tuple[float, float]:
        """See Distribution."""
        least, greatest = _farthest(self.low, self.high, dtype.precision)
        return self.location + least * self.std_before, self.location + greatest * self.std_before

    def _shares(self) -> Shares:
        return quantile_shares(CutNormal(0.0, 1.0, self.low, self.high), moments(self.low, self.high).mean)

    def _placed(self, p: Precision) -> Placed:  # the values are rounded to the working precision at the very end
        return Placed(self.mean, self.std_before)

    def _extremes(self, p: Precision) -> NDArray[Any]:
        values = _extreme_sigmas(self.low, self.high, p) * self.std_before
        return (values if self.location == 0 else values + self.location).astype(p.floating)

    def _values(self, words: Words, p: Precision, out: NDArray[Any]) -> NDArray[Any]:
        return cut_normal(words, _cut(self.low, self.high), self.location, self.std_before, out)


@lru_cache(KEPT)
def _cut(low: float, high: float) -> Cut:
    return Cut(low, high, **shares(low, high)._asdict())


def _farthest(low: float, high: float, p: Precision) -> tuple[float, float]:
    """The ends; in the place of an infinite one the value of its extreme word, in units of `std_before`."""
    least, greatest = _extreme_sigmas(low, high, p).tolist()
    return low if isfinite(low) else least, high if isfinite(high) else greatest


@lru_cache(KEPT)
def _extreme_sigmas(low: float, high: float, p: Precision) -> NDArray[np.float64]:
    """The values of the extreme words, in units of `std_before`."""
    return cut_normal(extreme_words(p), _cut(low, high), 0.0, 1.0, np.empty(2))
