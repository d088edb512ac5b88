"""File formats: how a plan is laid out in bytes. No other code knows any file format."""

from __future__ import annotations

from typing import Final

from service.formats.files import File, Format, StatisticsOption
from service.formats.safetensors import MODEL, SAFETENSORS
from service.limits import Limits
from service.plan import Plan

FORMATS: Final[dict[str, Format]] = {"safetensors": SAFETENSORS}
"""Every file format by its name; the first is the default."""


def open_file(
    plan: Plan, name: str = MODEL, statistics: StatisticsOption = "expected", limits: Limits | None = None
) -> File:
    """Open a file of a plan. Nothing is drawn yet, and any range of its bytes can be read by itself.

    Args:
        plan: what the file contains.
        name: the name of the file, in any format.
        statistics: what the file says about each tensor.
        limits: how large its header may be; the defaults if None.

    Raises:
        ValueError: no format has such a file.
        LimitExceeded: its header would be too long.
    """
    for each in FORMATS.values():
        if name in each.files(plan):
            return each.open(plan, name, statistics, limits or Limits())
    raise ValueError(f"a plan has no file {name!r}")
