"""The command line: the same words and the same bytes as over HTTP.

Exit status: 0 done; 1 something went wrong or differs; 2 the words or the specification were refused;
3 this machine does not compute the known answers.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, TypeVar, get_args
from urllib.request import ProxyHandler, build_opener

import click
import uvicorn
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from service import __version__
from service.api.guard.connections import Connection
from service.api.guard.observation import log_config
from service.api.openapi import document_text
from service.app import create_app
from service.cli.tables import show_plan, show_statistics
from service.cli.workers import watch
from service.delivery.memory import keep_freed_memory
from service.delivery.pool import DrawingPool, Task
from service.errors import BrokenPlatform, InvalidFile, Refused, XavierError
from service.formats.json import plan_json, statistics_json
from service.formats.safetensors import SafetensorsFile
from service.formats.verification import comparisons, open_stored, planned_by_metadata
from service.plan import Plan, TensorPlan, drawn_by, make_plan
from service.schema.fields import DTypeField, Seed
from service.schema.parsing import read_spec, remarks_on, rule_of
from service.settings import Settings

OPENAPI: Final = Path("openapi/openapi.json")
Command = TypeVar("Command", bound=Callable[..., Any])


class _Wired(click.ParamType[Any]):
    """An option that is read by the wire model of the same thing."""

    def __init__(self, name: str, kind: Any) -> None:
        self.name = name
        self._adapter = TypeAdapter[Any](kind)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            self.fail(rule_of(error.errors()[0]), param, ctx)


SEED: Final = click.option("--seed", type=_Wired("integer", Seed), help="Instead of the specification's seed.")
DTYPE: Final = click.option("--dtype", type=_Wired("dtype", DTypeField), help="Instead of the specification's dtype.")
STATISTICS: Final = click.option(
    "--statistics",
    type=click.Choice(["expected", "measured", "none"]),
    default="expected",
    show_default=True,
    help="What the file's metadata says of each tensor.",
)
JSON: Final = click.option("--json", "as_json", is_flag=True, help="The JSON document that HTTP answers.")
SPEC: Final = click.argument("spec", type=click.File("rb"))


def main() -> NoReturn:
    """Run the command line and exit."""
    _open_standard_streams()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no part of a file is left
    try:
        sys.exit(cli())  # click ends the process itself, also where a pipe was closed
    except XavierError as error:
        _fail(error)
    except OSError as error:
        click.echo(f"xavier: {error}", err=True)
        _drop_output()
        sys.exit(1)


def _drop_output() -> None:
    """Close standard output if it takes nothing, lest Python try again at its end, and then exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            sys.stdout.close()


def _open_standard_streams() -> None:
    """Put another stream in the place of each standard one that is closed, lest a file of ours be taken for it.

    Whoever reads or writes there is told so by the system (EBADF); what goes to standard error is lost.
    """
    for name, mode, flags in (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, flags)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xavier")
def cli() -> None:
    """Initial weights that are right, and the same everywhere. SPEC is a JSON file, or - for standard input."""


def _settings_options(command: Command) -> Command:
    for name, field in reversed(Settings.model_fields.items()):
        choices = get_args(field.annotation)
        kind = click.Choice(choices) if choices else str if field.annotation is str else int
        text = f"{field.description} [XAVIER_{name.upper()}; {'cores' if field.default_factory else field.default}]"
        command = click.option(f"--{name.replace('_', '-')}", name, type=kind, help=text)(command)
    return command


@cli.command()
@_settings_options
def serve(**flags: Any) -> None:
    """Serve HTTP until SIGTERM or Ctrl-C. Every option is an environment variable, too.

    Exit status: 143 after SIGTERM and 130 after Ctrl-C, both after running answers had their time; 3 where it could
    not start, or no worker could.
    """
    settings = _settings(**{name: value for name, value in flags.items() if value is not None})
    try:
        if settings.workers == 1:
            _serve_alone(settings)
        else:
            _serve_together(settings)
    except KeyboardInterrupt:
        sys.exit(130)


def _serve_alone(settings: Settings) -> None:
    uvicorn.Server(uvicorn.Config(create_app(settings), **_server(settings))).run()


def _serve_together(settings: Settings) -> None:
    create_app(settings)  # what is wrong with the settings is said here, and once
    config = uvicorn.Config(partial(create_app, settings), factory=True, **_server(settings))
    with config.bind_socket() as listening:
        listening.listen(config.backlog)  # who comes before the workers waits for them
        watch(config, listening, settings.workers)


def _server(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "loop": "uvloop",
        "http": Connection,
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "proxy_headers": bool(settings.proxies),
        "forwarded_allow_ips": settings.proxies,
        "log_config": log_config(),
        "timeout_graceful_shutdown": settings.shutdown_seconds,
    }


@cli.command()
@SPEC
@click.option("-o", "--output", required=True, help="The file to write, or - for standard output.")
@SEED
@DTYPE
@STATISTICS
def generate(spec: BinaryIO, output: str, seed: int | None, dtype: str | None, statistics: Any) -> None:
    """Write the weights of SPEC as safetensors: whole under its name, or not at all."""
    file = SafetensorsFile(_plan(spec, seed, dtype), statistics, limits=_settings().limits)
    for warning in file.plan.warnings:
        click.echo(f"xavier: warning: {warning}", err=True)
    with _pool(file.plan.tensors) as pool, _sink(output) as sink:
        if file.needs_measuring(0):
            file = file.with_measured(pool.measured(file.plan))
        for chunk in _with_progress(pool.read(file, 0, file.length), file.length):
            sink.write(chunk)


@cli.command()
@SPEC
@SEED
@DTYPE
@STATISTICS
@JSON
def plan(spec: BinaryIO, seed: int | None, dtype: str | None, statistics: Any, as_json: bool) -> None:
    """Show what SPEC would draw, and what it costs. Draws nothing."""
    file = SafetensorsFile(_plan(spec, seed, dtype), statistics, limits=_settings().limits)
    if as_json:
        _print_json(plan_json(file))
    else:
        show_plan(file)


@cli.command()
@SPEC
@SEED
@DTYPE
@JSON
def statistics(spec: BinaryIO, seed: int | None, dtype: str | None, as_json: bool) -> None:
    """Draw SPEC and show measured beside expected statistics."""
    planned = _plan(spec, seed, dtype)
    with _pool(planned.tensors) as pool:
        measured = pool.measured(planned)
    if as_json:
        _print_json(statistics_json(planned, measured))
    else:
        show_statistics(planned, measured)


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--spec", type=click.File("rb"), help="What the file should hold; otherwise it says so itself.")
def verify(file: Path, spec: BinaryIO | None) -> None:
    """Draw FILE again and say which tensor differs, and where first."""
    stored = open_stored(file)
    planned = _plan(spec, None, None).tensors if spec else planned_by_metadata(stored, _settings().limits)
    differing: dict[str, str] = {}
    with _pool(planned) as pool:
        for difference in pool.ordered(map(Task, comparisons(stored, planned))):
            if difference and difference.name not in differing:
                differing[difference.name] = difference.reason
                click.echo(f"{difference.name} {difference.reason}")
    if differing:
        click.echo(f"{len(differing)} of {len(planned)} tensors differ", err=True)
        sys.exit(1)
    click.echo(f"{len(planned)} tensors are what they should be")


@cli.command()
@click.option("--check", is_flag=True, help=f"Compare with {OPENAPI} instead of printing.")
def openapi(check: bool) -> None:
    """Print the OpenAPI document of this version."""
    text = document_text(create_app())
    if not check:
        click.echo(text, nl=False)
    elif not OPENAPI.exists() or OPENAPI.read_text() != text:
        click.echo(f"{OPENAPI} is not in step with the code; run: python -m service openapi > {OPENAPI}", err=True)
        sys.exit(1)


@cli.command()
@click.option("--url", help="The server; the default is the port of the settings on this machine.")
def health(url: str | None) -> None:
    """Ask a running server whether it serves weights; exit 0 if so."""
    url = url or f"http://127.0.0.1:{_settings().port}"
    try:
        build_opener(ProxyHandler({})).open(f"{url.rstrip('/')}/readyz", timeout=5).close()
    except (OSError, HTTPException, ValueError) as error:
        click.echo(f"{url}: {error}", err=True)
        sys.exit(1)
    click.echo("ok")


def _settings(**flags: Any) -> Settings:
    try:
        return Settings(**flags)
    except ValidationError as error:
        first = error.errors()[0]
        raise click.UsageError(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _plan(spec: BinaryIO, seed: int | None, dtype: str | None) -> Plan:
    changes = {"seed": seed, "dtype": dtype}
    given = {name: value for name, value in changes.items() if value is not None}
    limits, raw = _settings().limits, spec.read()
    planned = make_plan(read_spec(raw, limits).model_copy(update=given), limits)
    for remark in remarks_on(raw) if seed is None else ():
        click.echo(f"xavier: warning: {remark}", err=True)
    return planned


@contextmanager
def _pool(tensors: Sequence[TensorPlan]) -> Iterator[DrawingPool]:
    """Threads that draw what some tensors need, and are checked for no more than that."""
    keep_freed_memory()
    with closing(DrawingPool(_settings().threads)) as pool:
        pool.check(drawn_by(tensors))
        yield pool


@contextmanager
def _sink(output: str) -> Iterator[BinaryIO]:
    """Where bytes go: standard output, a device or pipe, or a file that gets its name when it is whole."""
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
    """A file that gets its name when it is whole. What a killed run has left of it is taken over."""
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
    """An empty file that this run has for itself; another run that has it is waited for.

    A run that ends gives the file its name or removes it, so whoever has waited looks whether it is still there.
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


def _with_progress(chunks: Iterator[memoryview], length: int) -> Iterator[memoryview]:
    columns = (TextColumn("drawing"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=length)
        for chunk in chunks:
            yield chunk
            progress.advance(task, len(chunk))


def _print_json(pieces: Iterator[bytes]) -> None:
    sys.stdout.buffer.writelines(chain(pieces, [b"\n"]))
    sys.stdout.buffer.flush()


def _fail(error: XavierError) -> NoReturn:
    if isinstance(error, Refused):
        for fault in error.faults:
            click.echo(f"xavier: {fault.pointer}: {fault.message}", err=True)
    else:
        click.echo(f"xavier: {error}", err=True)
    sys.exit(3 if isinstance(error, BrokenPlatform) else 1 if isinstance(error, InvalidFile) else 2)
