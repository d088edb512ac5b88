"""Everything that can go wrong for a reason of the caller's, or of the machine's.

    XavierError
    ├── MalformedDocument    the bytes are not a JSON document (RFC 8259)
    ├── UnknownPermalink     the address does not decode to a specification
    ├── Refused              a well-formed request that cannot be answered; it has faults
    │   ├── InvalidSpec      a document that is not a specification, or one that means nothing
    │   ├── InvalidOption    an option beside the specification, such as a query parameter
    │   └── LimitExceeded    a specification larger than this server's limits
    ├── InvalidFile          a file that is not safetensors, or not one of ours
    ├── RetryLater           a request that may come back after some seconds
    │   ├── Busy             as many answers are being drawn, and waited for, as may be
    │   └── OverBudget       the caller has had the bytes that it may have for now
    └── BrokenPlatform       this machine does not compute the stream's known answers

There is no HTTP here: `service.api.http.problems` maps each to a status, `service.cli.commands` to an exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_FAULTS: Final = 100
"""Faults that a caller is told."""
MOST_COUNTED: Final = 10_000
"""Faults after which nobody looks for more: a document may hold hundreds of thousands."""


class XavierError(Exception):
    """The root of the tree."""


class MalformedDocument(XavierError):
    """The bytes are not a JSON document."""


class UnknownPermalink(XavierError):
    """The address does not decode to a specification."""


class InvalidFile(XavierError):
    """The file is not safetensors, or carries no specification of ours."""


class BrokenPlatform(XavierError):
    """This machine does not compute the stream's known answers; no weights may come from it."""


class RetryLater(XavierError):
    """A request that may come back.

    Attributes:
        seconds: after how long.
    """

    def __init__(self, message: str, seconds: int = 5) -> None:
        super().__init__(message)
        self.seconds = seconds


class Busy(RetryLater):
    """As many answers are being drawn, and waited for, as may be."""


class OverBudget(RetryLater):
    """The caller has had the bytes that it may have for now."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        pointer: RFC 6901 pointer into the caller's own document, or the name of an option.
        message: the rule, what was received, and the way out.
    """

    pointer: str
    message: str


@dataclass(frozen=True, slots=True)
class LimitFault(Fault):
    """A fault of size.

    Attributes:
        name: the limit, as its setting is called.
        limit: the most that is allowed.
        requested: what was asked for.
    """

    name: str
    limit: int
    requested: int


class Refused(XavierError):
    """A well-formed request that cannot be answered.

    Attributes:
        faults: every fault of the first stage that failed; past MOST_FAULTS they are only counted.

    Args:
        faults: the first faults, or all.
        total: how many there are; None where nobody went on to count them.
    """

    def __init__(self, faults: Sequence[Fault], total: int | None = 0) -> None:
        shown = list(faults[:MOST_FAULTS])
        more = 0 if total is None else max(total, len(faults)) - len(shown)
        if len(shown) == MOST_FAULTS and (more or total is None):
            shown.append(Fault("", f"and {more} more faults" if more else "and more faults"))
        super().__init__("; ".join(f"{fault.pointer}: {fault.message}".removeprefix(": ") for fault in shown))
        self.faults = tuple(shown)


class InvalidSpec(Refused):
    """A document that is not a specification, or one that means nothing."""


class InvalidOption(Refused):
    """An option beside the specification that is unknown or out of range."""


class LimitExceeded(Refused):
    """A specification that is larger than this server allows.

    Attributes:
        first: the first of its faults.
    """

    def __init__(self, faults: Sequence[LimitFault], total: int | None = 0) -> None:
        super().__init__(faults, total)
        self.first = faults[0]
