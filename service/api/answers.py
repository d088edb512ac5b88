"""What the answers of several routes have in common; tests hold every answer against its model."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from service.schema.fields import Wire


class SummaryAnswer(Wire):
    """Mean, standard deviation and extremes; null for a tensor without elements."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None


EXPECTED: Final = (
    "What the distribution promises of the stored values: with all roundings on the way to the dtype, so that no value"
    " passes min and max, which may lie beyond the distribution's own ends. The metadata of files has the same numbers"
    " before rounding."
)


class StatisticsPair(Wire):
    """Measured beside expected."""

    expected: SummaryAnswer = Field(description=EXPECTED)
    measured: SummaryAnswer | None = None


class About(Wire):
    """What identifies the weights: the digest of the canonical specification, the stream version, and the seed."""

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    stream: Literal[1]
    seed: str = Field(pattern="^[0-9]+$")


class TensorHead(Wire):
    """Name, storage format and shape of a tensor."""

    name: str
    dtype: str
    shape: list[int]
