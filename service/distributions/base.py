"""The base of all distributions: parameters in binary64, the moments that they imply, and the drawing of elements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.distributions.cache import Materialization
from service.distributions.members import Member, written
from service.distributions.stored import Stored
from service.stream.dtypes import DType, narrow, widen
from service.stream.precision import Precision
from service.stream.words import Elements, WordSource

Array = NDArray[Any]

NEARLY: Final = 2.0**-10
"""The relative distance from the largest number of a dtype within which rounding decides whether a value overflows."""
STORED_KEPT: Final = 1 << 12
"""The number of pairs of a distribution and a dtype whose stored moments are cached."""


class Distribution(ABC):
    """A distribution, with its parameters in binary64: a frozen dataclass whose fields are its members, in order.

    Attributes:
        tag: its type in files and answers.
        etag_name: its name in ETags, where it differs from the tag; the names of the first release never change.
        members: the names of its fields in files, answers and ETags, and how each is read.
        by_scalars: whether its scalars alone determine how an element is drawn, regardless of the element's position.
    """

    __slots__: tuple[str, ...] = ()
    __match_args__: tuple[str, ...]
    tag: ClassVar[str]
    etag_name: ClassVar[str] = ""
    members: ClassVar[tuple[Member, ...]]
    by_scalars: ClassVar[bool] = False

    if TYPE_CHECKING:  # at run time, a dataclass would take these properties for the defaults of its fields

        @property
        def mean(self) -> float:
            """The expected mean."""

        @property
        def std(self) -> float:
            """The expected standard deviation."""

    @property
    def values(self) -> tuple[Any, ...]:
        """The values of the members, in order."""
        return tuple([getattr(self, name) for name in self.__match_args__])

    @property
    def scalars(self) -> dict[str, Any]:
        """The members by name, as JSON values; an infinite end is None."""
        return {member.name: written(value) for member, value in zip(self.members, self.values, strict=True)}

    @property
    def document(self) -> dict[str, Any]:
        """The tag and the members as JSON values, from which `read_distribution` restores the distribution."""
        return {"type": self.tag} | self.scalars

    def is_sound(self) -> bool:
        """Whether the members are consistent with each other."""
        return True

    def covers(self, elements: int) -> bool:
        """Whether a tensor with this number of elements, in canonical order, can follow it."""
        return True

    @property
    def parts(self) -> tuple[Distribution, ...]:
        """The distributions that it consists of."""
        return ()

    @property
    def matrix_elements(self) -> int:
        """The number of elements of a matrix that must be drawn as a whole; 0 where each element can be drawn alone."""
        return 0

    @property
    def materialized_elements(self) -> int:
        """The number of elements of all such matrices."""
        return self.matrix_elements

    def materialized_bytes(self, elements: range, dtype: DType) -> int:
        """The bytes of shared data, beyond their own words, that must be in memory while these elements are drawn."""
        return 0

    def materializations(self, source: WordSource, elements: range, dtype: DType) -> Sequence[Materialization]:
        """The parts of the tensor that must be drawn as a whole before these elements, in canonical order."""
        return ()

    @abstractmethod
    def support(self, dtype: DType) -> tuple[float, float]:
        """The smallest and the largest value that can be drawn, before any rounding."""

    @abstractmethod
    def stored(self, dtype: DType) -> Stored:
        """The mean, the standard deviation and the extremes of the stored values."""

    @abstractmethod
    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """Draw some elements of a tensor.

        Args:
            source: the tensor's random words.
            elements: the canonical indices: a range of step 1, or int64 indices of shape (n,).
            dtype: the dtype to which the values are rounded.
            out: receives the values, shape (n,), of `dtype.storage`.
        """

    def fits(self, dtype: DType) -> bool:
        """Whether every value that can be drawn is finite in `dtype`."""
        largest = max(abs(end) for end in self.support(dtype))
        if largest < dtype.largest * (1 - NEARLY):
            return True
        if not isfinite(largest):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            ends = np.append(self._extremes(dtype.precision), [largest]).astype(dtype.precision.floating)
            return bool(np.isfinite(widen(narrow(ends, dtype, np.empty(ends.size, dtype.storage)), dtype)).all())

    def _extremes(self, p: Precision) -> Array:
        """The extreme values, with every rounding on the way."""
        return np.empty(0, p.floating)


@lru_cache(STORED_KEPT)
def stored(distribution: Distribution, dtype: DType) -> Stored:
    """The moments of a distribution as stored in a dtype; cached, as plans ask for the same ones repeatedly."""
    return distribution.stored(dtype)
