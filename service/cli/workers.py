"""Workers: processes that serve on one socket, watched by the process that started them.

A worker that dies is replaced. If workers die again and again before they serve, the service ends, because the cause
will not go away by itself. In every turn, a worker reports whether it serves and what it has counted, and is told what
the others have counted.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from socket import socket
from threading import Thread
from time import monotonic, sleep
from typing import Final, NoReturn

from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE

from service.api import counters
from service.api.counters import Counts

TURN_SECONDS: Final = 0.5
TURNS_TO_START: Final = 120
TURNS_IN_SILENCE: Final = 10
"""How many turns a process may take for its first report, and for each later one, before it is killed as hanging."""
SECONDS_TO_END: Final = 5
"""How long workers may take to end, beyond the time that running answers have."""
MOST_DEATHS: Final = 5
"""How many processes of one worker may die in a row before they serve."""
_log = logging.getLogger("xavier.workers")
_spawn = get_context("spawn")


class Worker:
    """A process that serves, and its replacement when it has died.

    Attributes:
        counts: what the process has counted, according to its last report.

    Args:
        config: what is served; it is pickled.
        listening: the socket.
    """

    def __init__(self, config: Config, listening: socket) -> None:
        self._config = config
        self._listening = listening
        self.counts: Counts = {}
        self._deaths = 0
        self._start({})

    def _start(self, others: Counts) -> None:
        self._pipe, theirs = _spawn.Pipe()
        arguments = (self._config, self._listening, theirs, others)
        self._process = _spawn.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._serves = False
        self._patience = TURNS_TO_START

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.is_alive()

    def replace(self, others: Counts) -> None:
        """Start another process in place of the one that has died.

        Raises:
            SystemExit: too many have died before they served; the status is uvicorn's for a failed start.
        """
        fields = {"worker": self._process.pid, "exit_code": self._process.exitcode, "served": self._serves}
        _log.error("a worker died", extra={"fields": fields})
        self._deaths = 0 if self._serves else self._deaths + 1
        if self._deaths == MOST_DEATHS:
            _log.critical(
                "stopping: %d workers in a row died before they served", MOST_DEATHS, extra={"fields": fields}
            )
            sys.exit(STARTUP_FAILURE)
        self._start(others)

    def exchange(self, others: Counts) -> None:
        """Receive the report of the process, if there is one, and tell it what the others have counted."""
        self._patience -= 1
        with suppress(EOFError, OSError):  # it has just died
            if self._pipe.poll():
                self._serves, self.counts = self._pipe.recv()
                self._patience = TURNS_IN_SILENCE
                self._pipe.send(others)
        if not self._patience:
            _log.error("a worker hangs", extra={"fields": {"worker": self._process.pid}})
            self._process.kill()

    def end(self) -> None:
        """Ask the process to end, without waiting for it."""
        self._process.terminate()

    def join(self, seconds: float) -> None:
        """Wait until the process has ended, and kill it if it takes too long."""
        self._process.join(seconds)
        self._process.kill()


def watch(config: Config, listening: socket, number: int) -> NoReturn:
    """Serve with some workers until this process is asked to end.

    Args:
        config: what is served; it is pickled.
        listening: the bound socket.
        number: the number of workers.

    Raises:
        BaseException: whatever a signal handler raises; the workers are then ended in good order.
        SystemExit: no worker can serve.
    """
    workers = [Worker(config, listening) for _ in range(number)]
    past: Counts = {}
    try:
        while True:
            sleep(TURN_SECONDS)
            past = _turn(workers, past)
    finally:
        _end(workers, (config.timeout_graceful_shutdown or 0) + SECONDS_TO_END)


def _turn(workers: list[Worker], past: Counts) -> Counts:
    """Look at every worker once; returns what all dead workers had counted."""
    dead = [worker for worker in workers if not worker.is_alive()]
    past = counters.summed(past, *(counters.lasting(worker.counts) for worker in dead))
    for worker in dead:
        worker.counts = {}
    for worker in workers:
        others = counters.summed(past, *(other.counts for other in workers if other is not worker))
        if worker in dead:
            worker.replace(others)
        else:
            worker.exchange(others)
    return past


def _end(workers: list[Worker], seconds: float) -> None:
    deadline = monotonic() + seconds
    for worker in workers:
        worker.end()
    for worker in workers:
        worker.join(max(0.0, deadline - monotonic()))


def _serve(config: Config, listening: socket, pipe: Connection, others: Counts) -> None:
    """The main function of a worker's process."""
    counters.others = others
    config.configure_logging()
    server = Server(config)
    Thread(target=_report, args=(server, pipe), daemon=True).start()
    with suppress(KeyboardInterrupt):
        server.run([listening])


def _report(server: Server, pipe: Connection) -> None:
    """Report again whenever the last report was answered; end the server when nobody listens any more."""
    with suppress(EOFError, OSError):
        while True:
            pipe.send((server.started, counters.counted()))
            counters.others = pipe.recv()
    server.should_exit = True
