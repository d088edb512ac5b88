"""Findings: the faults of a stage, collected before the next stage begins."""

from __future__ import annotations

from typing import Final

from service.errors import MOST_COUNTED, Fault, InvalidSpec, LimitExceeded, LimitFault
from service.limits import Limits

MOST_TOLD: Final = 10**100
"""The largest number that is written out."""


class Findings:
    """The faults of a specification that have been found so far.

    Args:
        limits: how large the specification may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._faults: list[Fault] = []
        self._excesses: list[LimitFault] = []

    def __len__(self) -> int:
        return len(self._faults) + len(self._excesses)

    def add(self, fault: Fault) -> None:
        """Record a fault, and give up once there are MOST_COUNTED."""
        if isinstance(fault, LimitFault):
            self._excesses.append(fault)
        else:
            self._faults.append(fault)
        if len(self) >= MOST_COUNTED:
            self.give_up(None)

    def give_up(self, total: int | None = 0) -> None:
        """Refuse the specification if anything is wrong with it.

        Args:
            total: how many faults there are, if more than were recorded; None if the count was given up.

        Raises:
            InvalidSpec: the specification contradicts itself.
            LimitExceeded: the specification is too large.
        """
        if self._faults:
            raise InvalidSpec(list(dict.fromkeys(self._faults)), total)
        if self._excesses:
            raise LimitExceeded(list(dict.fromkeys(self._excesses)), total)

    def limit(self, pointer: str, name: str, requested: int, unit: str) -> bool:
        """Whether a quantity is within a limit; if not, record a fault.

        Args:
            pointer: the place in the specification that asks for it.
            name: the name of the limit.
            requested: how much is asked for.
            unit: the unit in which it is counted.
        """
        limit = int(getattr(self._limits, name))
        if requested > limit:
            asked = requested if requested <= MOST_TOLD else f"more than {MOST_TOLD}"
            way_out = f"make it smaller, or raise XAVIER_MAX_{name.upper()}"
            message = f"at most {limit} {unit}; this asks for {asked}: {way_out}"
            self.add(LimitFault(pointer, message, name, limit, min(requested, MOST_TOLD)))
        return requested <= limit
