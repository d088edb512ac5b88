"""Initializers as a caller names them; each class is one entry of the catalogue."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from service.initializers.gains import DEFAULT_NEGATIVE_SLOPE, Nonlinearity
from service.initializers.schemes import Law, Mode
from service.spec.fields import Number, PositiveNumber, Wire

GLOROT: Final = (
    "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, eq. 12 and 16"
)
HE: Final = "He et al. 2015, Delving Deep into Rectifiers, eq. 10 and 14"
LECUN: Final = "LeCun et al. 1998, Efficient BackProp, section 4.6"


INITIALIZER_ALIASES: Final = {
    "glorot_uniform": "xavier_uniform",
    "glorot_normal": "xavier_normal",
    "he_uniform": "kaiming_uniform",
    "he_normal": "kaiming_normal",
}
_Named = AfterValidator(lambda name: INITIALIZER_ALIASES.get(name, name))


class GainOf(Wire):
    """The gain of a nonlinearity that has a parameter."""

    nonlinearity: Nonlinearity
    negative_slope: Number = Field(default=DEFAULT_NEGATIVE_SLOPE, description="Slope of leaky_relu below 0.")

    @model_validator(mode="after")
    def _slope_has_a_use(self) -> GainOf:
        _check_slope(self, self.nonlinearity)
        return self


def _check_slope(model: Wire, nonlinearity: str) -> None:
    if "negative_slope" in model.model_fields_set and nonlinearity != "leaky_relu":
        raise PydanticCustomError("slope", "negative_slope goes with leaky_relu only: leave it out")


def _kind_of_gain(value: Any) -> str:
    if isinstance(value, dict | GainOf):
        return "object"
    return "name" if isinstance(value, str) else "number"


Gain = Annotated[
    Annotated[PositiveNumber, Tag("number")] | Annotated[Nonlinearity, Tag("name")] | Annotated[GainOf, Tag("object")],
    Discriminator(_kind_of_gain),
]
XavierMode = Literal["fan_avg", "fan_in", "fan_out"]


class InitializerBase(Wire):
    """What every initializer has: how it is written, and where it comes from."""

    formula: ClassVar[str]
    references: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_string_without_parameters(self, write: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        written: dict[str, Any] = write(self)
        return str(written["type"]) if len(written) == 1 else written


class _Xavier(InitializerBase):
    references: ClassVar = (GLOROT,)

    gain: Gain = Field(default=1.0, description="Factor on the standard deviation: a number, or a nonlinearity.")
    mode: XavierMode = Field(default="fan_avg", description="Which fan divides: their mean, fan_in or fan_out.")


class XavierUniform(_Xavier):
    """Uniform on (-b, b) with the variance of Xavier."""

    formula: ClassVar = "b = sqrt(3) * std, std = gain * sqrt(1 / n), n = (fan_in + fan_out) / 2, fan_in or fan_out"

    type: Annotated[Literal["xavier_uniform", "glorot_uniform"], _Named]


class XavierNormal(_Xavier):
    """Normal, not truncated, with the variance of Xavier."""

    formula: ClassVar = "std = gain * sqrt(1 / n), n = (fan_in + fan_out) / 2, fan_in or fan_out"

    type: Annotated[Literal["xavier_normal", "glorot_normal"], _Named]


class _Kaiming(InitializerBase):
    references: ClassVar = (HE,)

    mode: Mode = Field(default="fan_in", description="Which fan divides.")
    gain: Gain | None = Field(default=None, description="Factor on the standard deviation, instead of a nonlinearity.")
    nonlinearity: Nonlinearity = Field(default="leaky_relu", description="The nonlinearity that the gain makes up for.")
    negative_slope: Number = Field(default=0.0, description="Slope of leaky_relu below 0; 0 is relu.")

    @model_validator(mode="after")
    def _one_gain(self) -> _Kaiming:
        if self.gain is not None and {"nonlinearity", "negative_slope"} & self.model_fields_set:
            raise PydanticCustomError(
                "gain", "gain stands instead of nonlinearity and negative_slope: give one of them"
            )
        _check_slope(self, self.nonlinearity)
        return self


class KaimingUniform(_Kaiming):
    """Uniform on (-b, b) with the variance of Kaiming."""

    formula: ClassVar = "b = sqrt(3) * std, std = gain * sqrt(1 / n), n = the fan of mode"

    type: Annotated[Literal["kaiming_uniform", "he_uniform"], _Named]


class KaimingNormal(_Kaiming):
    """Normal, not truncated, with the variance of Kaiming."""

    formula: ClassVar = "std = gain * sqrt(1 / n), n = the fan of mode"

    type: Annotated[Literal["kaiming_normal", "he_normal"], _Named]


class LecunUniform(InitializerBase):
    """Uniform on (-b, b) with variance 1 / fan_in."""

    formula: ClassVar = "b = sqrt(3 / fan_in)"
    references: ClassVar = (LECUN,)

    type: Literal["lecun_uniform"]


class LecunNormal(InitializerBase):
    """Normal, not truncated, with variance 1 / fan_in."""

    formula: ClassVar = "std = sqrt(1 / fan_in)"
    references: ClassVar = (LECUN,)

    type: Literal["lecun_normal"]


class VarianceScaling(InitializerBase):
    """The general scheme: any fan, any scale, any of the three laws."""

    formula: ClassVar = (
        "std = sqrt(scale / n), n = the fan of mode; truncated_normal is cut at 2 sigma and keeps this std"
    )
    references: ClassVar = (HE, GLOROT)

    type: Literal["variance_scaling"]
    scale: PositiveNumber = Field(default=1.0, description="Variance times n.")
    mode: Mode = Field(default="fan_in", description="Which fan divides.")
    distribution: Law = Field(default="truncated_normal", description="The law.")


class Uniform(InitializerBase):
    """Uniform on (low, high)."""

    formula: ClassVar = "mean = (low + high) / 2, std = (high - low) / sqrt(12)"

    type: Literal["uniform"]
    low: Number = Field(default=0.0, description="Lower end.")
    high: Number = Field(default=1.0, description="Upper end, above low.")

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Uniform:
        if not self.low < self.high:
            raise PydanticCustomError("ends", "low must be below high")
        return self


class Normal(InitializerBase):
    """Normal, not truncated."""

    formula: ClassVar = "N(mean, std^2)"

    type: Literal["normal"]
    mean: Number = Field(default=0.0, description="Mean.")
    std: PositiveNumber = Field(default=1.0, description="Standard deviation.")


class TruncatedNormal(InitializerBase):
    """Normal cut at mean +- 2 std; std is meant before the cut."""

    formula: ClassVar = "N(mean, std^2) given |x - mean| < 2 std; its own standard deviation is 0.8796256610342398 std"

    type: Literal["truncated_normal"]
    mean: Number = Field(default=0.0, description="Mean.")
    std: PositiveNumber = Field(default=1.0, description="Standard deviation before the cut.")


class Constant(InitializerBase):
    """The same value everywhere."""

    formula: ClassVar = "value"

    type: Literal["constant"]
    value: Number = Field(description="The value.")


class Zeros(InitializerBase):
    """Zeros."""

    formula: ClassVar = "0"

    type: Literal["zeros"]


class Ones(InitializerBase):
    """Ones."""

    formula: ClassVar = "1"

    type: Literal["ones"]


AnyInitializer = (
    XavierUniform
    | XavierNormal
    | KaimingUniform
    | KaimingNormal
    | LecunUniform
    | LecunNormal
    | VarianceScaling
    | Uniform
    | Normal
    | TruncatedNormal
    | Constant
    | Zeros
    | Ones
)
_Tagged = Annotated[AnyInitializer, Field(discriminator="type")]
_Bare = Literal[
    "xavier_uniform",
    "glorot_uniform",
    "xavier_normal",
    "glorot_normal",
    "kaiming_uniform",
    "he_uniform",
    "kaiming_normal",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "variance_scaling",
    "uniform",
    "normal",
    "truncated_normal",
    "zeros",
    "ones",
]
"""What needs no parameters."""
Initializer = Annotated[
    _Tagged,
    BeforeValidator(
        lambda value: {"type": value} if isinstance(value, str) else value, json_schema_input_type=_Tagged | _Bare
    ),
]
"""A name, or an object with `type` and parameters."""
