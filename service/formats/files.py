"""What all file formats share: files whose bytes are computed as they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self

from service.analysis.statistics import Summary
from service.limits import Limits
from service.plan import Outline, Plan, TensorPlan

StatisticsOption = Literal["expected", "measured", "none"]
"""What a file says about each tensor besides its values."""


class Part(NamedTuple):
    """Some bytes of a tensor, and the elements that they belong to."""

    tensor: TensorPlan
    elements: range
    nbytes: int


class File(Protocol):
    """A file of weights whose length and ETag are known before any of it is drawn."""

    @property
    def name(self) -> str:
        """The name of the file, with which its address ends."""

    @property
    def plan(self) -> Plan:
        """What the file contains."""

    @property
    def statistics(self) -> StatisticsOption:
        """What the file says about each tensor."""

    @property
    def length(self) -> int:
        """The length of the whole file, in bytes."""

    @property
    def etag(self) -> str:
        """A hash of everything that the bytes depend on: 64 hexadecimal digits."""

    @property
    def memory(self) -> int:
        """The approximate memory that the object takes, in bytes."""

    @property
    def pieces(self) -> int:
        """The number of things in the file, which measures how long it takes to look at them all."""

    def prepared(self) -> Self:
        """The same file, with everything computed whose cost grows with the number of tensors."""

    def needs_measuring(self, start: int) -> bool:
        """Whether reading from byte `start` needs numbers that only drawing gives."""

    def with_measured(self, measured: Sequence[Summary]) -> Self:
        """The same file, of the same length and ETag, with its measured numbers."""

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """A byte range, cut into spans that are each drawn at once; the cuts do not depend on the range."""

    def parts(self, start: int, stop: int) -> Iterator[Part]:
        """The parts of tensors that make up a byte range."""

    def read(self, start: int, stop: int) -> memoryview:
        """Bytes start to stop - 1, in memory that is never written again."""


@dataclass(frozen=True, slots=True)
class Format:
    """A file format, which may consist of several files that name each other.

    Attributes:
        media_type: the media type of its files.
        path: the end of its files' addresses, as a route: a name, or a pattern that contains `{file:path}`.
        files: returns the names of a plan's files.
        open: opens a file of a plan by its name, with what it says about each tensor; raises LimitExceeded.
        check: refuses an outline whose files would be too large, before it is expanded; raises LimitExceeded.
    """

    media_type: str
    path: str
    files: Callable[[Plan], Sequence[str]]
    open: Callable[[Plan, str, StatisticsOption, Limits], File]
    check: Callable[[Outline, StatisticsOption, Limits], None]
