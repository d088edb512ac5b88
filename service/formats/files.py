"""What every file format has: files that exist only as far as they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self

from service.analysis.statistics import Summary
from service.limits import Limits
from service.plan import Outline, Plan, TensorPlan

StatisticsOption = Literal["expected", "measured", "none"]
"""What a file says of each tensor besides its values."""


class Part(NamedTuple):
    """Some bytes of a tensor, and the elements that they are of."""

    tensor: TensorPlan
    elements: range
    nbytes: int


class File(Protocol):
    """A file of weights whose length and ETag are known before anything of it is drawn."""

    @property
    def name(self) -> str:
        """Its name, as its address ends."""

    @property
    def plan(self) -> Plan:
        """What is in it."""

    @property
    def statistics(self) -> StatisticsOption:
        """What it says of each tensor."""

    @property
    def length(self) -> int:
        """Bytes of the whole file."""

    @property
    def etag(self) -> str:
        """A hash over all that its bytes depend on, 64 hexadecimal digits."""

    @property
    def memory(self) -> int:
        """About how many bytes of memory it takes."""

    @property
    def pieces(self) -> int:
        """How many things it consists of: about how long it takes to look at them all."""

    def prepared(self) -> Self:
        """The same, with everything computed that takes longer the more tensors there are."""

    def needs_measuring(self, start: int) -> bool:
        """Whether reading from a byte on needs numbers that only drawing gives."""

    def with_measured(self, measured: Sequence[Summary]) -> Self:
        """The same file, of the same length and ETag, with its measured numbers."""

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """A byte range cut into what is drawn at once; the cuts do not depend on the range."""

    def parts(self, start: int, stop: int) -> Iterator[Part]:
        """The parts of tensors that a byte range is made of."""

    def read(self, start: int, stop: int) -> memoryview:
        """Bytes start to stop - 1, in memory that is never written again."""


@dataclass(frozen=True, slots=True)
class Format:
    """A file format, which may be several files that name each other.

    Attributes:
        media_type: of its files.
        path: how the addresses of its files end, as a route: a name, or a pattern with `{file:path}` in it.
        files: the names of the files of a plan.
        open: a file of a plan by its name, with what it says of each tensor, within limits; raises LimitExceeded.
        check: refuses an outline whose files must be too large, before it is expanded; raises LimitExceeded.
    """

    media_type: str
    path: str
    files: Callable[[Plan], Sequence[str]]
    open: Callable[[Plan, str, StatisticsOption, Limits], File]
    check: Callable[[Outline, StatisticsOption, Limits], None]
