"""The commands. Each has the same options and gives the same bytes as over HTTP.

Exit status: 0 for success; 1 if something went wrong or differs; 2 if the arguments or the specification were refused;
3 if this machine does not compute the known answers.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, TypeVar, get_args

import click
from pydantic import ConfigDict, TypeAdapter, ValidationError

from service import __version__
from service.errors import BrokenPlatform, InvalidFile, Refused, XavierError
from service.formats import open_file
from service.formats.json import plan_json, statistics_json
from service.formats.safetensors import MODEL, SafetensorsFile
from service.plan import Plan, TensorPlan, drawn_by, make_plan
from service.schema.fields import DTypeField, Seed
from service.schema.parsing import read_spec, remarks_on, rule_of
from service.settings import Settings
from service.stream.dtypes import DType

if TYPE_CHECKING:
    from service.delivery.pool import DrawingPool

OPENAPI: Final = Path("openapi/openapi.json")
Command = TypeVar("Command", bound=Callable[..., Any])


class _Wired(click.ParamType[Any]):
    """An option that is validated by the type of the same field on the wire."""

    def __init__(self, name: str, kind: Any) -> None:
        self.name = name
        self._adapter = TypeAdapter[Any](kind, config=ConfigDict(defer_build=True))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            self.fail(rule_of(error.errors()[0]), param, ctx)


SEED: Final = click.option("--seed", type=_Wired("integer", Seed), help="Replaces the specification's seed.")
DTYPE: Final = click.option("--dtype", type=_Wired("dtype", DTypeField), help="Replaces the specification's dtype.")
STATISTICS: Final = click.option(
    "--statistics",
    type=click.Choice(["expected", "measured", "none"]),
    default="expected",
    show_default=True,
    help="Statistics in the metadata of the file.",
)
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print the JSON document that HTTP would answer.")
SPEC: Final = click.argument("spec", type=click.File("rb"))


def main() -> NoReturn:
    """Run the command line and exit."""
    gc.freeze()  # what is loaded stays until the end, and collecting it takes a fifth of a plan's time
    _open_standard_streams()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no partial file is left behind
    try:
        sys.exit(cli())  # click ends the process itself, even if a pipe was closed
    except XavierError as error:
        _fail(error)
    except OSError as error:
        click.echo(f"xavier: {error}", err=True)
        _drop_output()
        sys.exit(1)


def _drop_output() -> None:
    """Close standard output if it cannot be written; Python would try again at exit and end with status 120."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            sys.stdout.close()


def _open_standard_streams() -> None:
    """Replace each standard stream that is closed, so that no file that is opened later takes its descriptor.

    Reading or writing the replacement fails (EBADF), except that output to standard error is lost.
    """
    for name, mode, flags in (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, flags)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xavier")
def cli() -> None:
    """Correct initial weights, the same everywhere. SPEC is a JSON file, or - for standard input."""


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
    """Serve HTTP until SIGTERM or Ctrl-C. Every option is also an environment variable.

    Exit status: 143 after SIGTERM and 130 after Ctrl-C, once running answers have had time to finish; 3 if the server
    or all of its workers could not start.
    """
    from service.cli.serve import run

    settings = _settings(**{name: value for name, value in flags.items() if value is not None})
    try:
        run(settings)
    except KeyboardInterrupt:
        sys.exit(130)


@cli.command()
@SPEC
@click.option("-o", "--output", required=True, help="The file to write, or - for standard output.")
@SEED
@DTYPE
@STATISTICS
def generate(spec: BinaryIO, output: str, seed: int | None, dtype: DType | None, statistics: Any) -> None:
    """Write the weights of SPEC as safetensors: the file appears under its name only once it is complete."""
    from service.cli.output import sink, with_progress

    planned = _plan(spec, seed, dtype)
    file = open_file(planned, MODEL, statistics, _settings().limits)
    for warning in planned.warnings:
        click.echo(f"xavier: warning: {warning}", err=True)
    with _pool(planned.tensors) as pool, sink(output) as out:
        chunks = pool.read(pool.completed(file), 0, file.length)
        for chunk in with_progress(chunks, file.length):
            out.write(chunk)


@cli.command()
@SPEC
@SEED
@DTYPE
@STATISTICS
@JSON
def plan(spec: BinaryIO, seed: int | None, dtype: DType | None, statistics: Any, as_json: bool) -> None:
    """Show what SPEC would draw, and what it would cost. Draws nothing."""
    file = SafetensorsFile(_plan(spec, seed, dtype), statistics, limits=_settings().limits)
    if as_json:
        _print_json(plan_json(file))
    else:
        from service.cli.tables import show_plan

        show_plan(file)


@cli.command()
@SPEC
@SEED
@DTYPE
@JSON
def statistics(spec: BinaryIO, seed: int | None, dtype: DType | None, as_json: bool) -> None:
    """Draw SPEC, and show measured statistics beside expected ones."""
    planned = _plan(spec, seed, dtype)
    with _pool(planned.tensors) as pool:
        measured = pool.measured(planned)
    if as_json:
        _print_json(statistics_json(planned, measured))
    else:
        from service.cli.tables import show_statistics

        show_statistics(planned, measured)


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--spec", type=click.File("rb"), help="What the file should contain; by default, its metadata says so.")
def verify(file: Path, spec: BinaryIO | None) -> None:
    """Draw FILE again, and report which tensors differ, and where first."""
    from service.delivery.pool import Task
    from service.formats.verification import comparisons, open_stored, planned_by_metadata

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
    from service.api.openapi import document_text
    from service.app import create_app

    text = document_text(create_app())
    if not check:
        click.echo(text, nl=False)
    elif not OPENAPI.exists() or OPENAPI.read_text() != text:
        click.echo(f"{OPENAPI} is not in step with the code; run: python -m service openapi > {OPENAPI}", err=True)
        sys.exit(1)


@cli.command()
@click.option("--url", help="The URL of the server; by default, this machine at the port of the settings.")
def health(url: str | None) -> None:
    """Ask a running server whether it serves weights; exit with status 0 if it does."""
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener

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


def _plan(spec: BinaryIO, seed: int | None, dtype: DType | None) -> Plan:
    limits, raw = _settings().limits, spec.read()
    planned = make_plan(read_spec(raw, limits).changed(seed, dtype), limits)
    for remark in remarks_on(raw) if seed is None else ():
        click.echo(f"xavier: warning: {remark}", err=True)
    return planned


@contextmanager
def _pool(tensors: Sequence[TensorPlan]) -> Iterator[DrawingPool]:
    """The threads that draw some tensors, checked only for what these need."""
    from service.delivery.memory import keep_freed_memory
    from service.delivery.pool import DrawingPool

    keep_freed_memory()
    with closing(DrawingPool(_settings().threads)) as pool:
        pool.check(drawn_by(tensors))
        yield pool


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
