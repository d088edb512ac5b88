"""Models that the answers of several routes share; tests check every answer against its model."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from service.schema.fields import Wire


class SummaryAnswer(Wire):
    """Mean, standard deviation, minimum and maximum; null for a tensor without elements."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None


EXPECTED: Final = (
    "What the distribution promises about the stored values, after all rounding on the way to the dtype: no value lies"
    " outside min and max, which may lie beyond the distribution's own ends. The metadata of files has these numbers as"
    " they are before rounding."
)


class StatisticsPair(Wire):
    """Measured statistics beside expected ones."""

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
