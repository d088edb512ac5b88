"""What every distribution is: scalars in binary64, the moments that they promise, and the drawing of any element."""

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
"""How near to the largest number of a dtype roundings may matter."""
STORED_KEPT: Final = 1 << 12
"""Distributions in a dtype whose stored moments are remembered."""


class Distribution(ABC):
    """A distribution with its scalars in binary64; a frozen dataclass whose fields are its members, in their order.

    Attributes:
        tag: its type in files and answers.
        etag_name: what it is called in ETags, where that is not the tag; those of the first release never change.
        members: what defines it, and how that is read; their names are in files, answers and ETags.
        by_scalars: whether scalars alone say how each element is drawn, wherever it stands.
    """

    __slots__: tuple[str, ...] = ()
    __match_args__: tuple[str, ...]
    tag: ClassVar[str]
    etag_name: ClassVar[str] = ""
    members: ClassVar[tuple[Member, ...]]
    by_scalars: ClassVar[bool] = False

    if TYPE_CHECKING:  # a dataclass would take properties here for defaults of its fields

        @property
        def mean(self) -> float:
            """The expected mean."""

        @property
        def std(self) -> float:
            """The expected standard deviation."""

    @property
    def values(self) -> tuple[Any, ...]:
        """The members, in order."""
        return tuple([getattr(self, name) for name in self.__match_args__])

    @property
    def scalars(self) -> dict[str, Any]:
        """What defines the distribution, by name, as JSON values; an infinite end is None."""
        return {member.name: written(value) for member, value in zip(self.members, self.values, strict=True)}

    @property
    def document(self) -> dict[str, Any]:
        """The tag and the members as JSON values, of which `read_distribution` makes the same distribution."""
        return {"type": self.tag} | self.scalars

    def is_sound(self) -> bool:
        """Whether the members go together."""
        return True

    def covers(self, elements: int) -> bool:
        """Whether it can be that of a tensor of so many elements, in canonical order."""
        return True

    @property
    def parts(self) -> tuple[Distribution, ...]:
        """The distributions of which it is made."""
        return ()

    @property
    def matrix_elements(self) -> int:
        """Elements of a matrix that must be drawn together; 0 where each element can be drawn alone."""
        return 0

    @property
    def materialized_elements(self) -> int:
        """Elements of all such matrices."""
        return self.matrix_elements

    def materialized_bytes(self, elements: range, dtype: DType) -> int:
        """Bytes of what some elements depend on beyond their own words, which are held while they are drawn."""
        return 0

    def materializations(self, source: WordSource, elements: range, dtype: DType) -> Sequence[Materialization]:
        """What must be drawn together for some elements, in canonical order."""
        return ()

    @abstractmethod
    def support(self, dtype: DType) -> tuple[float, float]:
        """The least and the greatest value that can be drawn, before any rounding."""

    @abstractmethod
    def stored(self, dtype: DType) -> Stored:
        """Mean, standard deviation and ends of the values as they are stored."""

    @abstractmethod
    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """Draw some elements of a tensor.

        Args:
            source: the tensor's random words.
            elements: which elements, by canonical index: a range of step 1, or int64 indices of shape (n,).
            dtype: what the values are rounded to.
            out: where they go, shape (n,), of `dtype.storage`.
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
        """The values that lie farthest out, with all roundings on the way."""
        return np.empty(0, p.floating)


@lru_cache(STORED_KEPT)
def stored(distribution: Distribution, dtype: DType) -> Stored:
    """A distribution as it is stored; remembered, as plans ask for the same again and again."""
    return distribution.stored(dtype)
