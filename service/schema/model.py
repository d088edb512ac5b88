"""The complete specification: what a file of weights contains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from service.schema.fields import DTypeField, FanRule, Seed, Wire
from service.schema.initializers import Initializer, XavierUniform
from service.schema.layers import AnyLayer
from service.stream.dtypes import DType

Framework = Literal["torch", "keras"]


def _number(value: object) -> object:
    """Keep True from being accepted as 1."""
    return str(value) if isinstance(value, bool) else value


class ModelSpec(Wire):
    """A model: its layers, the seed, and how the weights are written."""

    seed: Seed = Field(description="The seed, 0 to 2^64-1, as an integer or as a string of decimal digits.")
    stream: Annotated[Literal[1], BeforeValidator(_number)] = Field(default=1, description="The version of the stream.")
    dtype: DTypeField = Field(default=DType.F32, description="The storage format of every tensor without its own.")
    framework: Framework = Field(
        default="torch",
        description="The framework whose tensor names and axis order the file uses; the network is the same.",
    )
    prefix: str = Field(default="", description="A prefix for every tensor name in the file.")
    fans: FanRule = Field(
        default="exact",
        description="How fans are counted: by true connectivity, or as torch or keras do, with their over-counts.",
    )
    initializer: Initializer = Field(
        default=XavierUniform(type="xavier_uniform"),
        description=(
            "For kernels and bare tensors; torch_default and keras_default also apply to biases and embeddings."
        ),
    )
    layers: tuple[AnyLayer, ...] = Field(strict=False, min_length=1, description="The layers, in order.")

    def changed(self, seed: int | None, dtype: DType | None) -> ModelSpec:
        """The same specification with another seed and dtype, if they are given; both must be valid."""
        given = {"seed": seed, "dtype": dtype}
        return self.model_copy(update={name: value for name, value in given.items() if value is not None})
