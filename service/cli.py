"""The command line: the same words and the same bytes as over HTTP.

Exit status: 0 done; 1 something went wrong or differs; 2 the words or the specification were refused;
3 this machine does not compute the known answers.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final, NoReturn, TypeVar, get_args
from urllib.request import ProxyHandler, build_opener

import click
import orjson
import uvicorn
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from service import __version__
from service.api.connections import Connection
from service.api.documentation import document_text
from service.api.observation import log_config
from service.app import create_app
from service.delivery import DrawingPool, Task
from service.errors import BrokenPlatform, InvalidFile, Refused, XavierError
from service.formats.documents import plan_document, statistics_document
from service.formats.safetensors import SafetensorsFile
from service.formats.verification import comparisons, open_stored, planned_by_metadata
from service.memory import keep_freed_memory
from service.plan import Plan, make_plan
from service.settings import Settings
from service.spec.fields import DTypeField, Seed
from service.spec.parsing import read_spec, rule_of
from service.tables import show_plan, show_statistics

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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no part of a file is left
    try:
        sys.exit(cli())  # click ends the process itself, also where a pipe was closed
    except XavierError as error:
        _fail(error)
    except OSError as error:
        click.echo(f"xavier: {error}", err=True)
        sys.exit(1)


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
    not start.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    settings = _settings(**given)
    if settings.workers == 1:
        _serve_alone(settings)
    else:
        os.environ.update({f"XAVIER_{name.upper()}": str(value) for name, value in given.items()})
        _serve_together(settings)


def _serve_alone(settings: Settings) -> None:
    try:
        uvicorn.Server(uvicorn.Config(create_app(settings), **_server(settings))).run()
    except KeyboardInterrupt:
        sys.exit(130)


def _serve_together(settings: Settings) -> None:
    """Several processes on one socket; the workers read the environment, and count into files of one folder."""
    with TemporaryDirectory(prefix="xavier-metrics-") as folder:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
        uvicorn.run("service.app:create_app", factory=True, workers=settings.workers, **_server(settings))


def _server(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "loop": "uvloop",
        "http": Connection,
        "ws": "none",
        "access_log": False,
        "server_header": False,
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
    with _pool() as pool, _sink(output) as sink:
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
        _print_json(plan_document(file))
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
    with _pool() as pool:
        measured = pool.measured(planned)
    if as_json:
        _print_json(statistics_document(planned, measured))
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
    with _pool() as pool:
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
        with build_opener(ProxyHandler({})).open(f"{url.rstrip('/')}/readyz", timeout=5):
            click.echo("ok")
    except (OSError, HTTPException, ValueError) as error:
        click.echo(f"{url}: {error}", err=True)
        sys.exit(1)


def _settings(**flags: Any) -> Settings:
    try:
        return Settings(**flags)
    except ValidationError as error:
        first = error.errors()[0]
        raise click.UsageError(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _plan(spec: BinaryIO, seed: int | None, dtype: str | None) -> Plan:
    changes = {"seed": seed, "dtype": dtype}
    given = {name: value for name, value in changes.items() if value is not None}
    return make_plan(read_spec(spec.read()).model_copy(update=given), _settings().limits)


@contextmanager
def _pool() -> Iterator[DrawingPool]:
    keep_freed_memory()
    with closing(DrawingPool(_settings().threads)) as pool:
        pool.check()
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
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _with_progress(chunks: Iterator[memoryview], length: int) -> Iterator[memoryview]:
    columns = (TextColumn("drawing"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=length)
        for chunk in chunks:
            yield chunk
            progress.advance(task, len(chunk))


def _print_json(document: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(document) + b"\n")
    sys.stdout.buffer.flush()


def _fail(error: XavierError) -> NoReturn:
    if isinstance(error, Refused):
        for fault in error.faults:
            click.echo(f"xavier: {fault.pointer}: {fault.message}", err=True)
    else:
        click.echo(f"xavier: {error}", err=True)
    sys.exit(3 if isinstance(error, BrokenPlatform) else 1 if isinstance(error, InvalidFile) else 2)
