"""Run every mutant against the tests of its room: `make mutants`. Exit status 1 if one survives without a reason."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import click

from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.trials import Sources

ROOT: Final = Path(__file__).parents[2]


class Trial(NamedTuple):
    """What became of a mutant: the test that killed it, None where it survived."""

    mutant: Mutant
    killer: str | None
    seconds: float

    def __str__(self) -> str:
        fate = f"killed by {self.killer}" if self.killer else f"SURVIVED ({self.mutant.survives or 'unexplained'})"
        return f"{self.mutant.room:13} {self.seconds:6.1f} s  {self.mutant.name}: {fate}"


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="A mutant by a part of its name; may be repeated.")
@click.option("--workers", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default=True)
def main(only: tuple[str, ...], workers: int) -> None:
    """Apply each mutant to a copy of the tracked files, and run the tests of its room and the golden tables there."""
    chosen = [mutant for mutant in MUTANTS if not only or any(part in mutant.name for part in only)]
    if not chosen:
        raise click.UsageError("no mutant has such a name")
    sources = Sources.tracked(ROOT)
    with ThreadPoolExecutor(workers) as pool:
        _check_unchanged(sources, chosen, pool)
        trials = list(_told(pool.map(partial(tried, sources), chosen)))
    killed = sum(trial.killer is not None for trial in trials)
    _say(f"killed {killed} of {len(trials)}")
    sys.exit(any(trial.killer is None and trial.mutant.survives is None for trial in trials))


def tried(sources: Sources, mutant: Mutant) -> Trial:
    """Run the tests of a mutant's room with the mutant."""
    start = time.monotonic()
    changed = mutant.applied(sources.files[mutant.file].decode()).encode()
    killer = sources.first_failure(sources.tests_of(mutant.file), {mutant.file: changed})
    return Trial(mutant, killer, time.monotonic() - start)


def _check_unchanged(sources: Sources, mutants: Sequence[Mutant], pool: ThreadPoolExecutor) -> None:
    """Refuse to go on where a test fails without any mutant, as it would seem to kill every one."""
    rooms = {frozenset(tests): tests for tests in (sources.tests_of(mutant.file) for mutant in mutants)}
    for failure in pool.map(lambda tests: sources.first_failure(tests, {}), rooms.values()):
        if failure is not None:
            raise click.ClickException(f"without any mutant, this fails: {failure}")
    _say("without any mutant, all tests pass")


def _told(trials: Iterator[Trial]) -> Iterator[Trial]:
    for trial in trials:
        _say(str(trial))
        yield trial


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
