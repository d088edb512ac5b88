"""The wire models of answers, for the OpenAPI document; tests hold every answer against them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from service.schema.fields import Wire

SeedText = str
Path = str


class SummaryAnswer(Wire):
    """Mean, standard deviation and extremes; null for a tensor without elements."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None


EXPECTED = (
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


class TensorWeights(TensorHead):
    """A tensor with its values, flat and row-major, or as base64 of its bytes."""

    data: list[float] | str
    statistics: StatisticsPair | None = None


class WeightsAnswer(About):
    """All weights of a specification, in model order."""

    tensors: list[TensorWeights]


class TensorStatistics(TensorHead):
    """A tensor and its statistics."""

    elements: int
    statistics: StatisticsPair


class StatisticsAnswer(About):
    """Statistics of every tensor, in model order."""

    tensors: list[TensorStatistics]


class FansAnswer(Wire):
    """Connections into an output and out of an input."""

    fan_in: int
    fan_out: int


class PlannedTensor(TensorHead):
    """A tensor as it would be drawn."""

    canonical_name: str = Field(description="The name that its random words belong to.")
    canonical_shape: list[int] = Field(description="The shape in whose order the words are counted.")
    elements: int
    bytes: int
    data_offsets: list[int] = Field(min_length=2, max_length=2, description="Begin and end in the data of the file.")
    fan_in: int | None
    fan_out: int | None
    fan_rule: Literal["exact", "torch", "keras", "axes"] | None = Field(
        description="How the fans were counted: by true connectivity, as a framework does, or by the named axes."
    )
    fans: dict[str, FansAnswer | None] = Field(description="What every rule counts.")
    initializer: dict[str, Any] | str
    distribution: dict[str, Any] = Field(description="The distribution and its scalars in binary64.")
    expected: SummaryAnswer = Field(description=EXPECTED)


class Totals(Wire):
    """Sums over all tensors, and the size of the file."""

    tensors: int
    elements: int
    bytes: int
    header_bytes: int
    file_bytes: int


class PlanAnswer(About):
    """What would be drawn."""

    permalink: str | None = Field(description="Path of the file; null where it would be over 8,000 characters.")
    etag: str
    canonical_spec: dict[str, Any]
    totals: Totals
    warnings: list[str] = Field(description="What may be meant otherwise; at most a hundred, and how many more.")
    tensors: list[PlannedTensor]


class ParameterEntry(Wire):
    """A parameter of something in the catalogue."""

    name: str
    required: bool
    default: Any = None
    description: str | None = None
    allowed: dict[str, Any] = Field(description="JSON Schema of its values.")


class InitializerEntry(Wire):
    """An initializer."""

    type: str
    aliases: list[str]
    summary: str
    formula: str
    references: list[str]
    parameters: list[ParameterEntry]


class LayerEntry(Wire):
    """A layer."""

    type: str
    aliases: list[str]
    summary: str
    tensors: str
    parameters: list[ParameterEntry]


class NonlinearityEntry(Wire):
    """A nonlinearity and its gain."""

    name: str
    aliases: list[str]
    function: str = Field(description="The nonlinearity itself, as f(z).")
    gain: float
    formula: str = Field(description="How the gain is written.")
    definition: str = Field(description="What defines the gain.")
    parameters: list[ParameterEntry]


class InitializerCatalogue(Wire):
    """Every initializer."""

    initializers: list[InitializerEntry]


class LayerCatalogue(Wire):
    """Every layer."""

    layers: list[LayerEntry]


class NonlinearityCatalogue(Wire):
    """Every nonlinearity."""

    nonlinearities: list[NonlinearityEntry]


class Status(Wire):
    """Whether the server is well."""

    status: Literal["ok"]


class Info(Wire):
    """What runs here, and what it allows."""

    service: str
    version: str
    stream: int
    versions: dict[str, str] = Field(description="Of what determines the numbers.")
    threads: int
    limits: dict[str, int]


class FaultEntry(Wire):
    """One fault, at a pointer into the caller's document (RFC 6901) or at a query parameter."""

    pointer: str | None = None
    parameter: str | None = None
    message: str


class Problem(Wire):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str | None = None
    errors: list[FaultEntry] | None = None
    name: str | None = Field(default=None, description="The limit that was exceeded.")
    limit: int | None = None
    requested: int | None = None
