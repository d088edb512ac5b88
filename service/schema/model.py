"""The whole specification: what one file of weights is to hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from service.schema.fields import DTypeField, FanRule, Seed, Wire
from service.schema.initializers import Initializer, XavierUniform
from service.schema.layers import AnyLayer
from service.stream.dtypes import DType

Framework = Literal["torch", "keras"]


def _number(value: object) -> object:
    """True equals 1, and is no version."""
    return str(value) if isinstance(value, bool) else value


class ModelSpec(Wire):
    """A model: its layers, the seed, and how the weights are written."""

    seed: Seed = Field(description="0 to 2^64-1, as an integer or as a string of decimal digits.")
    stream: Annotated[Literal[1], BeforeValidator(_number)] = Field(default=1, description="Version of the stream.")
    dtype: DTypeField = Field(default=DType.F32, description="Storage format of every tensor that has none of its own.")
    framework: Framework = Field(
        default="torch", description="Whose tensor names and axis order the file has; the network is the same."
    )
    prefix: str = Field(default="", description="Put before every tensor name of the file.")
    fans: FanRule = Field(
        default="exact",
        description="How fans are counted: by true connectivity, or as torch or keras do, over-counts included.",
    )
    initializer: Initializer = Field(
        default=XavierUniform(type="xavier_uniform"),
        description=(
            "For kernels and bare tensors; torch_default and keras_default are for biases and embeddings, too."
        ),
    )
    layers: tuple[AnyLayer, ...] = Field(strict=False, min_length=1, description="The layers, in order.")

    def changed(self, seed: int | None, dtype: DType | None) -> ModelSpec:
        """The same specification with another seed and another dtype, where they are given; both are valid already."""
        given = {"seed": seed, "dtype": dtype}
        return self.model_copy(update={name: value for name, value in given.items() if value is not None})
