"""Rounds of cases against one server, each a function of the seed and its number; and what was found."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.agreement import agreeing
from tests.fuzz.exchanges import MEGABYTE, Client, Worst, Wrong, shortened
from tests.fuzz.robustness import mutated_document, mutated_http, mutated_link

Check = Callable[[Client, Random], None]
CHECKS: Final[tuple[Check, ...]] = (agreeing, agreeing, mutated_document, mutated_document, mutated_link, mutated_http)
"""By chance; what stands twice comes twice as often."""
MOST_KEPT: Final = 50 * MEGABYTE
COMPLAINTS: Final = ("Traceback", '"defect', "ERROR")
"""What the server's log is searched for."""


@dataclass(frozen=True)
class Finding:
    """What went wrong in a case.

    Attributes:
        sent: the last requests of it, shortened.
    """

    seed: int
    case: int
    check: str
    what: str
    sent: tuple[str, ...]

    def __str__(self) -> str:
        """With how to repeat it."""
        lines = (
            f"FINDING seed {self.seed}, case {self.case}, {self.check}: {self.what}",
            *(f"  sent: {each}" for each in self.sent),
        )
        return "\n".join([*lines, f"  again: make fuzz SEED={self.seed} CASE={self.case}"])


def chance_of(seed: int, case: int) -> Random:
    """All that is by chance in a case."""
    return Random(f"{seed}/{case}")  # noqa: S311 - it has to come again


def played(client: Client, seed: int, cases: Iterable[int]) -> Iterator[Finding]:
    """Try some cases, until the server is gone, or keeps so much that it would hide what a request takes.

    Args:
        client: of the server.
        seed: of all cases.
        cases: their numbers.
    """
    log, most_resident = _Log(client.server.log_path), client.server.resident_memory() + MOST_KEPT
    for case in cases:
        chance = chance_of(seed, case)
        check = chance.choice(CHECKS)
        client.begin(case)
        faults = [*_faults(check, client, chance), *client.over, *log.complaints()]
        gone = client.server.process.poll() is not None
        faults += ["the server is gone"] if gone else []
        sent = tuple(dict.fromkeys(shortened(raw) for raw in client.sent[-2:]))
        yield from (Finding(seed, case, check.__name__, fault, sent) for fault in faults)
        if gone or client.server.resident_memory() > most_resident:
            return


def _faults(check: Check, client: Client, chance: Random) -> list[str]:
    try:
        check(client, chance)
    except Wrong as wrong:
        return [str(wrong)]
    except Exception:  # noqa: BLE001 - in this process, that of the service's own parts, whatever fails is a finding
        return [f"in this process: {traceback.format_exc(limit=-4)}"]
    return []


class _Log:
    """What the server has written since it was last looked at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def complaints(self) -> list[str]:
        with self._path.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        self._read += len(new)
        text = new.decode(errors="replace")
        return [f"the server's log: {text[-2000:]}"] if any(word in text for word in COMPLAINTS) else []


def table(title: str, worst: Worst, seed: int) -> str:
    """The requests that came nearest to a bound."""
    lines = (f"  {cost.took}  SEED={seed} CASE={cost.case}  {cost.label}" for cost in worst.costs)
    return "\n".join([title, *lines])
