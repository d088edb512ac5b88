"""Where the bytes of a file go: standard output, a device or pipe, or a file that is either complete or absent."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn


@contextmanager
def sink(output: str) -> Iterator[BinaryIO]:
    """Open the output: standard output, a device or pipe, or a file that gets its name when it is complete.

    Raises:
        OSError: the output cannot be opened or written.
    """
    path = Path(os.path.realpath(output))
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif path.exists() and not path.is_file():
        with path.open("wb") as device:
            yield device
    else:
        with _renamed(path) as file:
            yield file


@contextmanager
def _renamed(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete. What a killed run has left of it is overwritten."""
    part = path.with_name(f".{path.name}.part")
    with _locked(part) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            if _is_at(file, part):
                part.unlink()
            raise


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """An empty file that only this run writes; it waits for another run that holds the lock.

    A run that ends renames the file or removes it, so a run that has waited checks whether the file is still there.
    """
    while True:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666), "wb") as file:
            _lock(file, part)
            if _is_at(file, part):
                file.truncate()
                yield file
                return


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        click.echo(f"xavier: waiting for another run, which is writing {part}", err=True)
        flock(file, LOCK_EX)


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def with_progress(chunks: Iterator[memoryview], length: int) -> Iterator[memoryview]:
    """The same chunks, with a progress bar on standard error if that is a terminal.

    Args:
        chunks: the parts of a file, in order.
        length: the length of the file, in bytes.
    """
    columns = (TextColumn("drawing"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=length)
        for chunk in chunks:
            yield chunk
            progress.advance(task, len(chunk))
