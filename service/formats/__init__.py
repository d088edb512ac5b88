"""File formats: how a plan lies in bytes. The only code that knows a file format."""

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
    """A file of a plan, of which nothing is drawn yet: any of its bytes can be read alone.

    Args:
        plan: what is in it.
        name: of the file, of any format.
        statistics: what it says of each tensor.
        limits: how large its header may be; the defaults where None.

    Raises:
        ValueError: no format has such a file.
        LimitExceeded: its header would be too long.
    """
    for each in FORMATS.values():
        if name in each.files(plan):
            return each.open(plan, name, statistics, limits or Limits())
    raise ValueError(f"a plan has no file {name!r}")
