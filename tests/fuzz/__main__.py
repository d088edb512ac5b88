"""Fuzz a server of our own for some minutes: `make fuzz`. Exit status 1 if anything was found."""

from __future__ import annotations

import secrets
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from tests.api.answers import Contract
from tests.api.servers import running_server
from tests.fuzz.exchanges import Client, Worst
from tests.fuzz.rounds import Finding, played, table

QUICK_TO_GIVE_UP: Final = {"XAVIER_RECEIVE_SECONDS": "1"}
"""Requests that are cut short shall not hold us up."""
WARM_UP: Final = (-1, -2, -3, -4)
"""Cases whose cost does not count."""


@click.command()
@click.option("--minutes", type=float, default=3, show_default=True, help="How long.")
@click.option("--seed", type=int, help="Of all cases; by default any.")
@click.option("--case", type=int, help="The only case to try.")
def main(minutes: float, seed: int | None, case: int | None) -> None:
    """Try cases until the time is over, and say what was found, how to repeat it, and what cost most."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no server is left
    warnings.simplefilter("error")
    seed = secrets.randbits(32) if seed is None else seed
    _say(f"seed {seed}")
    cases = _until(time.monotonic() + 60 * minutes) if case is None else iter([case])
    memory, cpu, found = Worst(), Worst(), 0
    for finding in fuzzed(seed, cases, memory, cpu):
        _say(str(finding))
        found += 1
    _say(table("memory, above what was resident before:", memory, seed))
    _say(table("processor time:", cpu, seed))
    _say(f"seed {seed}: {cpu.seen} requests, {found} findings")
    sys.exit(found > 0)


def fuzzed(seed: int, cases: Iterator[int], memory: Worst, cpu: Worst) -> Iterator[Finding]:
    """What is found in some cases, by a server after the other; what they cost is added to the worst."""
    for first in cases:
        with fresh_client(memory, cpu) as client:
            yield from played(client, seed, chain([first], cases))


@contextmanager
def fresh_client(memory: Worst, cpu: Worst) -> Iterator[Client]:
    """A client of a server that has served a little, as its first answers fill its memory for working."""
    with TemporaryDirectory() as folder, running_server(Path(folder) / "log", env=QUICK_TO_GIVE_UP) as server:
        with server.client() as asking:
            client = Client(server, Contract(asking.get("/openapi.json").json()))
        for finding in played(client, 0, WARM_UP):
            _say(f"while the server is new: {finding}")
        client.memory, client.cpu = memory, cpu
        yield client


def _until(end: float) -> Iterator[int]:
    """Numbers of cases."""
    for case in count():
        if time.monotonic() > end:
            return
        yield case


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
