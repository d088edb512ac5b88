"""Query parameters, the same on every resource that has them; unknown and repeated ones are refused."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import Depends, Path, Query, Request
from pydantic import Field

from service.api.examples import example_plan
from service.errors import Fault, InvalidOption
from service.formats import FORMATS
from service.formats.files import StatisticsOption
from service.formats.json import Encoding
from service.schema.fields import DTypeField, Seed, Wire
from service.schema.model import ModelSpec
from service.schema.permalinks import BASE64URL
from service.stream.dtypes import DType

SEED: Final = Field(default=None, description="Replaces the seed of the specification.")
DTYPE: Final = Field(
    default=None, description="Replaces the dtype of the specification; layers with their own dtype keep it."
)
STATISTICS: Final = Field(
    default=None, description="Statistics in the metadata: expected (default), measured as well, or none."
)
FormatName = Literal[(*FORMATS, "json")]  # type: ignore[valid-type]  # a type checker cannot count them


class SpecOptions(Wire, defer_build=False):  # FastAPI wraps it before its first use
    """What a request may change in a specification."""

    seed: Seed | None = SEED
    dtype: DTypeField | None = DTYPE

    @property
    def change(self) -> tuple[tuple[str, int | DType], ...]:
        """The fields of a specification that are replaced, with their new values."""
        given = (("seed", self.seed), ("dtype", self.dtype))
        return tuple((name, value) for name, value in given if value is not None)

    def applied_to(self, spec: ModelSpec) -> ModelSpec:
        """The specification with these values instead of its own."""
        return spec.changed(self.seed, self.dtype)


class FileOptions(SpecOptions):
    """These, and what the file says about each tensor."""

    statistics: StatisticsOption | None = STATISTICS


class WeightsOptions(FileOptions):
    """These, and the form of the answer."""

    format: FormatName | None = Field(default=None, description="Overrides Accept: safetensors (default) or json.")
    encoding: Encoding = Field(
        default="decimal", description="Encoding of the data in JSON: decimal numbers, or base64 of the bytes."
    )


async def _not_repeated(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidOption([Fault(name[:60], "must not be given more than once") for name in repeated])


OnceOnly = Depends(_not_repeated)
Permalink = Annotated[
    str,
    Path(
        description="A specification, as base64url of its JSON, compressed by raw DEFLATE or as it is.",
        json_schema_extra={"pattern": f"^{BASE64URL.pattern}$"},
        openapi_examples={"example": {"summary": "The example specification.", "value": example_plan().permalink}},
    ),
]
SpecQuery = Annotated[SpecOptions, Query()]
FileQuery = Annotated[FileOptions, Query()]
WeightsQuery = Annotated[WeightsOptions, Query()]
