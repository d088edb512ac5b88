"""Everything that can go wrong because of the caller or the machine.

    XavierError
    ├── MalformedDocument    the bytes are not a JSON document (RFC 8259)
    ├── UnknownPermalink     the address does not decode to a specification
    ├── Refused              a well-formed request that cannot be answered; it has faults
    │   ├── InvalidSpec      a document that is not a specification, or that contradicts itself
    │   ├── InvalidOption    an option beside the specification, such as a query parameter
    │   └── LimitExceeded    a specification larger than this server's limits
    ├── InvalidFile          a file that is not safetensors, or not one of ours
    ├── RetryLater           a request that may be repeated after some seconds
    │   ├── Busy             as many answers are being drawn, and waited for, as are allowed
    │   └── OverBudget       the caller has used up its bytes for now
    └── BrokenPlatform       this machine does not compute the stream's known answers

There is no HTTP here: `service.api.http.problems` maps each to a status, `service.cli.commands` to an exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_FAULTS: Final = 100
"""The most faults that are reported to a caller."""
MOST_COUNTED: Final = 10_000
"""The number of faults at which the search ends: a document may hold hundreds of thousands."""


class XavierError(Exception):
    """The base class of all errors of this service."""


class MalformedDocument(XavierError):
    """The bytes are not a JSON document."""


class UnknownPermalink(XavierError):
    """The address does not decode to a specification."""


class InvalidFile(XavierError):
    """The file is not safetensors, or carries no specification of ours."""


class BrokenPlatform(XavierError):
    """This machine does not compute the stream's known answers; no weights may come from it."""


class RetryLater(XavierError):
    """A request that may be repeated later.

    Attributes:
        seconds: how long the caller should wait.
    """

    def __init__(self, message: str, seconds: int = 5) -> None:
        super().__init__(message)
        self.seconds = seconds


class Busy(RetryLater):
    """As many answers are being drawn, and waited for, as are allowed."""


class OverBudget(RetryLater):
    """The caller has used up its bytes for now."""


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
    """A limit that is exceeded.

    Attributes:
        name: the name of the limit, as in its setting.
        limit: the most that is allowed.
        requested: how much was asked for.
    """

    name: str
    limit: int
    requested: int


class Refused(XavierError):
    """A well-formed request that cannot be answered.

    Attributes:
        faults: the faults of the first stage that failed: the first MOST_FAULTS, and the number of the others.

    Args:
        faults: the first faults, or all of them.
        total: how many faults there are; None if the count was given up.
    """

    def __init__(self, faults: Sequence[Fault], total: int | None = 0) -> None:
        shown = list(faults[:MOST_FAULTS])
        more = 0 if total is None else max(total, len(faults)) - len(shown)
        if len(shown) == MOST_FAULTS and (more or total is None):
            shown.append(Fault("", f"and {more} more faults" if more else "and more faults"))
        super().__init__("; ".join(f"{fault.pointer}: {fault.message}".removeprefix(": ") for fault in shown))
        self.faults = tuple(shown)


class InvalidSpec(Refused):
    """A document that is not a specification, or that contradicts itself."""


class InvalidOption(Refused):
    """An option beside the specification that is unknown or out of range."""


class LimitExceeded(Refused):
    """A specification larger than this server allows.

    Attributes:
        first: the first of its faults.
    """

    def __init__(self, faults: Sequence[LimitFault], total: int | None = 0) -> None:
        super().__init__(faults, total)
        self.first = faults[0]
