"""Initializers as a caller names them; each class is one entry of the catalogue."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    RootModel,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema
from typing_extensions import TypeAliasType

from service.initializers.gains import DEFAULT_NEGATIVE_SLOPE, NONLINEARITY_ALIASES, Nonlinearity, NonlinearityAlias
from service.initializers.schemes import Mode, Shape
from service.schema.dialects import SCHEMA, translated
from service.schema.fields import Count, FanRule, Number, PositiveNumber, Share, Wire

GLOROT: Final = (
    "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, eq. 12 and 16"
)
HE: Final = "He et al. 2015, Delving Deep into Rectifiers, eq. 10 and 14"
LECUN: Final = "LeCun et al. 1998, Efficient BackProp, section 4.6"
SAXE: Final = "Saxe et al. 2013, Exact solutions to the nonlinear dynamics of learning in deep linear networks, sec. 3"
HAAR: Final = "Mezzadri 2007, How to generate random matrices from the classical compact groups, section 5"
XIAO: Final = "Xiao et al. 2018, Dynamical Isometry and a Mean Field Theory of CNNs, section 3.3"
LE: Final = "Le et al. 2015, A Simple Way to Initialize Recurrent Networks of Rectified Linear Units"
MARTENS: Final = "Martens 2010, Deep learning via Hessian-free optimization, section 5"
TORCH: Final = "PyTorch 2.13, torch.nn, reset_parameters of each module"
KERAS: Final = "Keras 3.15, keras.layers, the default initializers of each layer"


INITIALIZER_ALIASES: Final = {
    "glorot_uniform": "xavier_uniform",
    "glorot_normal": "xavier_normal",
    "he_uniform": "kaiming_uniform",
    "he_normal": "kaiming_normal",
}
_Named = AfterValidator(lambda name: INITIALIZER_ALIASES.get(name, name))


NamedNonlinearity = Annotated[
    Nonlinearity,
    BeforeValidator(
        lambda name: NONLINEARITY_ALIASES.get(name, name) if isinstance(name, str) else name,
        json_schema_input_type=Literal[Nonlinearity, NonlinearityAlias],
    ),
]
"""A nonlinearity by its name or an alias."""


class GainOf(Wire):
    """The gain of a nonlinearity, with the parameter that leaky_relu has."""

    nonlinearity: NamedNonlinearity
    negative_slope: Number = Field(default=DEFAULT_NEGATIVE_SLOPE, description="The slope of leaky_relu below 0.")

    @model_validator(mode="after")
    def _slope_has_a_use(self) -> GainOf:
        _check_slope(self, self.nonlinearity)
        return self


def _check_slope(model: Wire, nonlinearity: str) -> None:
    if "negative_slope" in model.model_fields_set and nonlinearity != "leaky_relu":
        raise PydanticCustomError("slope", "negative_slope is for leaky_relu only: leave it out")


def _kind_of_gain(value: Any) -> str:
    if isinstance(value, dict | GainOf):
        return "object"
    return "name" if isinstance(value, str) else "number"


Gain = Annotated[
    Annotated[PositiveNumber, Tag("number")]
    | Annotated[NamedNonlinearity, Tag("name")]
    | Annotated[GainOf, Tag("object")],
    Discriminator(_kind_of_gain),
]
XavierMode = Literal["fan_avg", "fan_in", "fan_out"]


class InitializerBase(Wire):
    """The base of all initializers, each of which has a formula and references."""

    formula: ClassVar[str]
    references: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_string_without_parameters(self, write: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        written: dict[str, Any] = write(self)
        return str(written["type"]) if len(written) == 1 else written


class _Scaled(InitializerBase):
    multiplier: PositiveNumber = Field(
        default=1.0,
        description="A factor on the standard deviation, applied last, for example for depth-scaled projections.",
    )


class FanScheme(_Scaled):
    """A scheme whose standard deviation depends on the fans."""


class _Xavier(FanScheme):
    references: ClassVar = (GLOROT,)

    gain: Gain = Field(default=1.0, description="The factor on the standard deviation: a number, or a nonlinearity.")
    mode: XavierMode = Field(
        default="fan_avg", description="The fan that divides the variance: the mean of both, fan_in or fan_out."
    )


class XavierUniform(_Xavier):
    """Uniform on (-b, b), with the Xavier variance."""

    formula: ClassVar = "b = sqrt(3) * std, std = gain * sqrt(1 / n), n = (fan_in + fan_out) / 2, fan_in or fan_out"

    type: Annotated[Literal["xavier_uniform", "glorot_uniform"], _Named]


class XavierNormal(_Xavier):
    """Normal, not truncated, with the Xavier variance."""

    formula: ClassVar = "std = gain * sqrt(1 / n), n = (fan_in + fan_out) / 2, fan_in or fan_out"

    type: Annotated[Literal["xavier_normal", "glorot_normal"], _Named]


class _Kaiming(FanScheme):
    references: ClassVar = (HE,)

    mode: Mode = Field(default="fan_in", description="The fan that divides the variance.")
    gain: Gain | None = Field(
        default=None, description="The factor on the standard deviation, in place of a nonlinearity."
    )
    nonlinearity: NamedNonlinearity = Field(
        default="leaky_relu", description="The nonlinearity for which the gain compensates."
    )
    negative_slope: Number = Field(default=0.0, description="The slope of leaky_relu below 0; 0 gives relu.")

    @model_validator(mode="after")
    def _one_gain(self) -> _Kaiming:
        if self.gain is not None and {"nonlinearity", "negative_slope"} & self.model_fields_set:
            raise PydanticCustomError("gain", "gain replaces nonlinearity and negative_slope: give only one of them")
        _check_slope(self, self.nonlinearity)
        return self


class KaimingUniform(_Kaiming):
    """Uniform on (-b, b), with the Kaiming variance."""

    formula: ClassVar = "b = sqrt(3) * std, std = gain * sqrt(1 / n), n = the fan of mode"

    type: Annotated[Literal["kaiming_uniform", "he_uniform"], _Named]


class KaimingNormal(_Kaiming):
    """Normal, not truncated, with the Kaiming variance."""

    formula: ClassVar = "std = gain * sqrt(1 / n), n = the fan of mode"

    type: Annotated[Literal["kaiming_normal", "he_normal"], _Named]


class LecunUniform(FanScheme):
    """Uniform on (-b, b), with variance 1 / fan_in."""

    formula: ClassVar = "b = sqrt(3 / fan_in)"
    references: ClassVar = (LECUN,)

    type: Literal["lecun_uniform"]


class LecunNormal(FanScheme):
    """Normal, not truncated, with variance 1 / fan_in."""

    formula: ClassVar = "std = sqrt(1 / fan_in)"
    references: ClassVar = (LECUN,)

    type: Literal["lecun_normal"]


class VarianceScaling(FanScheme):
    """The general scheme, with any fan, any scale and any of the three distributions."""

    formula: ClassVar = (
        "std = sqrt(scale / n), n = the fan of mode; truncated_normal is truncated at 2 sigmas and has this std"
    )
    references: ClassVar = (HE, GLOROT)

    type: Literal["variance_scaling"]
    scale: PositiveNumber = Field(default=1.0, description="The variance times n.")
    mode: Mode = Field(default="fan_in", description="The fan that divides the variance.")
    distribution: Shape = Field(default="truncated_normal", description="The distribution.")


class Uniform(_Scaled):
    """Uniform on (low, high)."""

    formula: ClassVar = "mean = (low + high) / 2, std = (high - low) / sqrt(12)"

    type: Literal["uniform"]
    low: Number = Field(default=0.0, description="The lower end.")
    high: Number = Field(default=1.0, description="The upper end; it must be above low.")

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Uniform:
        if not self.low < self.high:
            raise PydanticCustomError("ends", "low must be below high")
        return self


class Normal(_Scaled):
    """Normal, not truncated."""

    formula: ClassVar = "N(mean, std^2)"

    type: Literal["normal"]
    mean: Number = Field(default=0.0, description="The mean.")
    std: PositiveNumber = Field(default=1.0, description="The standard deviation.")


class TruncatedNormal(_Scaled):
    """Normal, truncated on one or both sides; mean and std are those before truncation."""

    formula: ClassVar = (
        "N(mean, std^2) given low < (x - mean) / std < high, or low < x < high where absolute;"
        " truncated at 2 sigmas, its standard deviation is 0.8796256610342398 std"
    )

    type: Literal["truncated_normal"]
    mean: Number = Field(default=0.0, description="The mean before truncation.")
    std: PositiveNumber = Field(default=1.0, description="The standard deviation before truncation.")
    low: Number | None = Field(default=-2.0, description="The lower end, in units of std from the mean; null for none.")
    high: Number | None = Field(default=2.0, description="The upper end, in units of std from the mean; null for none.")
    absolute: bool = Field(default=False, description="Whether low and high are absolute values, as in PyTorch.")

    @model_validator(mode="after")
    def _low_is_below_high(self) -> TruncatedNormal:
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise PydanticCustomError("ends", "low must be below high")
        return self


Center = Literal["torch", "jax"]


class Orthogonal(_Scaled):
    """Orthogonal rows or columns, whichever are fewer; Haar-distributed, by QR factorisation of a Gaussian matrix."""

    formula: ClassVar = "gain * Q sign(diag R), Q R = a matrix of N(0, 1); std = gain / sqrt(max(rows, columns))"
    references: ClassVar = (SAXE, HAAR)

    type: Literal["orthogonal"]
    gain: Gain = Field(default=1.0, description="The factor on the matrix: a number, or a nonlinearity.")
    matricisation: FanRule | None = Field(
        default=None,
        description=(
            "How a tensor is read as a matrix: exact, one matrix for each group, gate or projection; torch, the first"
            " axis against the others; keras, the last axis of Keras' layout against the others. The default is the"
            " rule of `fans`."
        ),
    )


class DeltaOrthogonal(_Scaled):
    """A convolution with an orthogonal matrix at its centre tap and zeros elsewhere; in_channels <= out_channels."""

    formula: ClassVar = "gain * Q at the centre of the kernel, 0 elsewhere"
    references: ClassVar = (XIAO, HAAR)

    type: Literal["delta_orthogonal"]
    gain: Gain = Field(default=1.0, description="The factor on the matrix: a number, or a nonlinearity.")
    center: Center = Field(default="jax", description="The centre of an even kernel: jax, (k - 1) // 2; torch, k // 2.")


class Identity(InitializerBase):
    """The identity matrix, of any shape of rank 2; a fused tensor has one for each gate or projection."""

    formula: ClassVar = "gain where row = column, 0 elsewhere"
    references: ClassVar = (LE,)

    type: Literal["identity"]
    gain: Number = Field(default=1.0, description="The value on the diagonal.")


class Dirac(InitializerBase):
    """A convolution that passes its input through unchanged, channel by channel, in each group."""

    formula: ClassVar = "gain where out = in at the centre of the kernel, 0 elsewhere"
    references: ClassVar = (TORCH,)

    type: Literal["dirac"]
    gain: Number = Field(default=1.0, description="The value at the centre.")
    groups: Count | None = Field(
        default=None, description="The number of groups of output channels; by default, the layer's own."
    )
    center: Center = Field(
        default="torch", description="The centre of an even kernel: torch, k // 2; jax, (k - 1) // 2."
    )


class Sparse(_Scaled):
    """Normal, with the same number of zeros, at random positions, in every column of a matrix."""

    formula: ClassVar = "ceil(sparsity * rows) zeros in each column, N(0, std^2) elsewhere"
    references: ClassVar = (MARTENS,)

    type: Literal["sparse"]
    sparsity: Share = Field(description="The share of zeros in a column.")
    std: PositiveNumber = Field(default=0.01, description="The standard deviation of the elements that are not zero.")


class TorchDefault(_Scaled):
    """PyTorch's default for this parameter, with PyTorch's own fans; it also applies to the layer's bias."""

    formula: ClassVar = (
        "linear, convolutions: U(+-1/sqrt(fan_in)), weight and bias; bilinear: fan_in = in1_features; recurrent:"
        " U(+-1/sqrt(hidden_size)); embedding: N(0, 1); attention: xavier_uniform of the fused or separate projections,"
        " biases 0; norms: 1 and 0"
    )
    references: ClassVar = (TORCH,)

    type: Literal["torch_default"]


class KerasDefault(_Scaled):
    """Keras' default for this parameter, with Keras' own fans; it also applies to the layer's bias."""

    formula: ClassVar = (
        "kernels: xavier_uniform; recurrent kernels: orthogonal, fused; biases 0, but 1 for the forget gate of an LSTM;"
        " embedding: U(+-0.05); norms: 1 and 0"
    )
    references: ClassVar = (KERAS,)

    type: Literal["keras_default"]


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
    | Orthogonal
    | DeltaOrthogonal
    | Identity
    | Dirac
    | Sparse
    | TorchDefault
    | KerasDefault
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
    "orthogonal",
    "delta_orthogonal",
    "identity",
    "dirac",
    "torch_default",
    "keras_default",
    "zeros",
    "ones",
]
"""The names of the initializers that need no parameters."""
_Dialect = Annotated[Any, WithJsonSchema(SCHEMA)]


class InitializerForm(RootModel[Any]):
    """A name, or an object with `type` and parameters; the forms of Keras, PyTorch and Burn are accepted, too."""

    model_config = ConfigDict(defer_build=True)

    root: _Tagged | _Bare | _Dialect


def _read(value: object, info: ValidationInfo) -> object:
    own = translated(value, (info.context or {}).get("framework"))
    return {"type": own} if isinstance(own, str) else own


class _AsAField:
    """Keeps the title of a field in the JSON Schema; pydantic leaves it out if the field is a reference."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.chain_schema([handler(source)])


_Shared = TypeAliasType("_Shared", _Tagged)
"""A named type, which pydantic builds once, and not again for each field that is an initializer."""
Initializer = Annotated[_Shared, _AsAField(), BeforeValidator(_read, json_schema_input_type=InitializerForm)]
"""An InitializerForm, read as one of AnyInitializer.

The meaning of some names depends on the framework, which is in the context of the validation.
"""
