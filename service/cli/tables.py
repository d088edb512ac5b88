"""Tables for people: a plan, or its statistics, on a terminal or in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from service.analysis.statistics import Summary, expected_as_stored
from service.formats.safetensors import SafetensorsFile
from service.plan import Plan, TensorPlan
from service.schema.permalinks import file_path

UNLIMITED = 10_000
"""The width in characters of a table that goes into a pipe, so that no name is cut."""


def show_plan(file: SafetensorsFile) -> None:
    """Print a line for each tensor, then the totals, the digest and the permalink."""
    plan = file.plan
    table = _table("tensor", "dtype", "shape", "fan in", "fan out", "distribution", "bytes")
    for tensor in plan.tensors:
        fans = tensor.parameter.fans
        fan_in, fan_out = (str(fans.fan_in), str(fans.fan_out)) if fans else ("", "")
        table.add_row(*_names(tensor), fan_in, fan_out, _distribution(tensor), f"{tensor.parameter.nbytes:,}")
    console = _console()
    console.print(table)
    console.print(f"{len(plan.tensors):,} tensors, {plan.elements:,} values, {file.length:,} bytes with the header")
    console.print(f"digest     {plan.digest}")
    console.print(f"permalink  {file_path(plan.permalink, file.name, file.statistics)}", soft_wrap=True)
    for warning in plan.warnings:
        console.print(f"warning: {warning}")


def show_statistics(plan: Plan, measured: Sequence[Summary]) -> None:
    """Print a line for each tensor: measured statistics beside expected ones."""
    table = _table("tensor", "dtype", "shape", "mean", "expected", "std", "expected", "min", "max")
    for tensor, found in zip(plan.tensors, measured, strict=True):
        promised = expected_as_stored(tensor)
        numbers = (found.mean, promised.mean, found.std, promised.std, found.min, found.max)
        table.add_row(*_names(tensor), *("" if number is None else f"{number:.6g}" for number in numbers))
    _console().print(table)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else UNLIMITED, highlight=False, markup=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < 3 else "right", overflow="fold")
    return table


def _names(tensor: TensorPlan) -> tuple[str, str, str]:
    return tensor.name, tensor.parameter.dtype.value, " x ".join(map(str, tensor.shape)) or "scalar"


def _distribution(tensor: TensorPlan) -> str:
    distribution = tensor.distribution
    numbers = {name: value for name, value in distribution.scalars.items() if isinstance(value, float)}
    return f"{distribution.tag} " + " ".join(f"{name}={value:.6g}" for name, value in numbers.items())
