"""The normal truncated to any interval; either end, or both, may be infinite."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.distributions.elementwise import Elementwise, extreme_words, tabulated_quantiles
from service.distributions.members import Member, lower_end, number, upper_end
from service.distributions.numerics.probabilities import REMEMBERED, moments, tail_probabilities
from service.distributions.stored import Placed, Tabulated
from service.stream.dtypes import DType
from service.stream.engine import Scalars, quantile
from service.stream.precision import Precision


@dataclass(frozen=True, slots=True)
class CutNormal(Elementwise):
    """A normal truncated at location + low . std_before and location + high . std_before.

    Attributes:
        location: the mean before truncation; `mean` is the one after it.
        std_before: the standard deviation before truncation; `std` is the one after it.
        low: the lower end, in units of `std_before`; may be -inf.
        high: the upper end, in units of `std_before`; may be inf.

    Raises:
        ValueError: `low` is not below `high`, or the probability between them is less than 2^-950.
    """

    tag = "cut_normal"
    etag_name = "CutNormal"
    kind = "cut_normal"
    members = (
        Member("location", number),
        Member("std_before", number),
        Member("low", lower_end),
        Member("high", upper_end),
    )

    location: float
    std_before: float
    low: float
    high: float

    def __post_init__(self) -> None:
        tail_probabilities(self.low, self.high)

    @property
    def mean(self) -> float:
        """See Distribution."""
        return self.location + self.std_before * moments(self.low, self.high).mean

    @property
    def std(self) -> float:
        """See Distribution."""
        return self.std_before * moments(self.low, self.high).std

    @property
    def arguments(self) -> Scalars:
        """See Elementwise; the scalars after the first two are the fields of `service.stream.truncation.Cut`."""
        ends = self.low, self.high
        return self.location, self.std_before, *ends, *tail_probabilities(*ends)

    def is_sound(self) -> bool:
        """See Distribution; the ends are checked on construction."""
        return self.std_before > 0

    def support(self, dtype: DType) -> tuple[float, float]:
        """See Distribution."""
        least, greatest = _farthest(self.low, self.high, dtype.precision)
        return self.location + least * self.std_before, self.location + greatest * self.std_before

    def _tabulated(self) -> Tabulated:
        return tabulated_quantiles(CutNormal(0.0, 1.0, self.low, self.high), moments(self.low, self.high).mean)

    def _placed(self, p: Precision) -> Placed:  # the values are rounded to the working precision at the very end
        return Placed(self.mean, self.std_before)

    def _extremes(self, p: Precision) -> NDArray[Any]:
        values = _extreme_sigmas(self.low, self.high, p) * self.std_before
        return (values if self.location == 0 else values + self.location).astype(p.floating)


def _farthest(low: float, high: float, p: Precision) -> tuple[float, float]:
    """The ends in units of `std_before`; the value of the extreme word replaces an infinite end."""
    least, greatest = _extreme_sigmas(low, high, p).tolist()
    return low if isfinite(low) else least, high if isfinite(high) else greatest


@lru_cache(REMEMBERED)
def _extreme_sigmas(low: float, high: float, p: Precision) -> NDArray[np.float64]:
    """The values of the extreme words, in units of `std_before`."""
    arguments = CutNormal(0.0, 1.0, low, high).arguments
    return quantile("cut_normal", arguments, extreme_words(p), p, np.empty(2))
