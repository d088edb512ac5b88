"""Layers as a caller names them; each class is one entry of the catalogue."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from service.initializers.fans import Layout
from service.schema.fields import (
    Axes,
    Count,
    DTypeField,
    FanRule,
    Kernel1,
    Kernel2,
    Kernel3,
    KernelAny,
    Name,
    NormalizedShape,
    Number,
    Shape,
    Size,
    Wire,
)
from service.schema.initializers import Initializer

LAYER_ALIASES: Final = {"dense": "linear", "depthwise": "depthwise_conv"}
_Named = AfterValidator(lambda name: LAYER_ALIASES.get(name, name))


class Patience:
    """How many faults of layers are looked for; past them, the layers that follow are passed over.

    It stands in the context of a validation under `patience`: a document may hold hundreds of thousands of faults, of
    which a caller is told a hundred.

    Args:
        faults: how many.
    """

    def __init__(self, faults: int) -> None:
        self._most = faults
        self._found = 0

    @property
    def lost(self) -> bool:
        """Whether there were as many, so that layers may have been passed over."""
        return self._found >= self._most

    def validate(self, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        """Validate a layer, and count its faults, those of the layers inside it included once."""
        found = self._found
        try:
            return validate(value)
        except ValidationError as error:
            self._found = found + error.error_count()
            raise


def _patiently(value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    patience = (info.context or {}).get("patience")
    if patience is None:
        return validate(value)
    return None if patience.lost else patience.validate(value, validate)


class LayerBase(Wire):
    """What every layer has."""

    parameters: ClassVar[str]
    """The tensors of the layer and their shapes, in canonical (PyTorch) order."""

    name: Name = Field(description="Prefix of the tensor names; may be empty inside a group or repeat.")


class _Leaf(LayerBase):
    dtype: DTypeField | None = Field(default=None, description="Instead of the model's dtype.")
    initializer: Initializer | None = Field(default=None, description="Instead of the default for the weight.")
    fans: FanRule | None = Field(default=None, description="Instead of the model's rule for fans.")


class _Weighted(_Leaf):
    bias: bool = Field(default=True, description="Whether there is a bias.")
    bias_initializer: Initializer | None = Field(default=None, description="Instead of zeros.")


class Linear(_Weighted):
    """A fully connected layer."""

    parameters: ClassVar = "weight (out_features, in_features), bias (out_features)"

    type: Annotated[Literal["linear", "dense"], _Named]
    in_features: Count = Field(description="Inputs.")
    out_features: Count = Field(description="Outputs.")
    layout: Layout = Field(default="out_in", description="in_out stores the weight as (in_features, out_features).")


class Bilinear(_Weighted):
    """A bilinear map of two inputs."""

    parameters: ClassVar = "weight (out_features, in1_features, in2_features), bias (out_features)"

    type: Literal["bilinear"]
    in1_features: Count = Field(description="Size of the first input.")
    in2_features: Count = Field(description="Size of the second input.")
    out_features: Count = Field(description="Outputs.")


class _Convolution(_Weighted):
    in_channels: Count = Field(description="Input channels.")
    out_channels: Count = Field(description="Output channels.")
    groups: Count = Field(default=1, description="Divides both channel counts.")


class Conv1d(_Convolution):
    """A convolution over one dimension."""

    parameters: ClassVar = "weight (out_channels, in_channels / groups, k), bias (out_channels)"

    type: Literal["conv1d"]
    kernel_size: Kernel1 = Field(description="Size of the kernel.")


class Conv2d(_Convolution):
    """A convolution over two dimensions."""

    parameters: ClassVar = "weight (out_channels, in_channels / groups, k, k), bias (out_channels)"

    type: Literal["conv2d"]
    kernel_size: Kernel2 = Field(description="Size of the kernel: one number, or one a dimension.")


class Conv3d(_Convolution):
    """A convolution over three dimensions."""

    parameters: ClassVar = "weight (out_channels, in_channels / groups, k, k, k), bias (out_channels)"

    type: Literal["conv3d"]
    kernel_size: Kernel3 = Field(description="Size of the kernel: one number, or one a dimension.")


class ConvTranspose1d(_Convolution):
    """A transposed convolution over one dimension."""

    parameters: ClassVar = "weight (in_channels, out_channels / groups, k), bias (out_channels)"

    type: Literal["conv_transpose1d"]
    kernel_size: Kernel1 = Field(description="Size of the kernel.")


class ConvTranspose2d(_Convolution):
    """A transposed convolution over two dimensions."""

    parameters: ClassVar = "weight (in_channels, out_channels / groups, k, k), bias (out_channels)"

    type: Literal["conv_transpose2d"]
    kernel_size: Kernel2 = Field(description="Size of the kernel: one number, or one a dimension.")


class ConvTranspose3d(_Convolution):
    """A transposed convolution over three dimensions."""

    parameters: ClassVar = "weight (in_channels, out_channels / groups, k, k, k), bias (out_channels)"

    type: Literal["conv_transpose3d"]
    kernel_size: Kernel3 = Field(description="Size of the kernel: one number, or one a dimension.")


class DepthwiseConv(_Weighted):
    """A convolution of every channel by itself: as many groups as channels."""

    parameters: ClassVar = "weight (in_channels * depth_multiplier, 1, *kernel_size), bias (the same channels)"

    type: Annotated[Literal["depthwise_conv", "depthwise"], _Named]
    in_channels: Count = Field(description="Input channels.")
    depth_multiplier: Count = Field(default=1, description="Output channels for each input channel.")
    kernel_size: KernelAny = Field(description="One number a dimension, one to three; a bare number k is [k, k].")


class SeparableConv(_Weighted):
    """A depthwise convolution, and a pointwise one that mixes its channels and has the bias."""

    parameters: ClassVar = (
        "depthwise.weight (in_channels * depth_multiplier, 1, *kernel_size),"
        " pointwise.weight (out_channels, in_channels * depth_multiplier, 1…), pointwise.bias (out_channels)"
    )

    type: Literal["separable_conv"]
    in_channels: Count = Field(description="Input channels.")
    out_channels: Count = Field(description="Output channels.")
    depth_multiplier: Count = Field(default=1, description="Channels between the two for each input channel.")
    kernel_size: KernelAny = Field(description="One number a dimension, one to three; a bare number k is [k, k].")
    pointwise_initializer: Initializer | None = Field(
        default=None, description="For the pointwise weight, instead of what the depthwise weight has."
    )


class _Recurrent(_Weighted):
    input_size: Count = Field(description="Inputs of a step.")
    hidden_size: Count = Field(description="Size of the state.")
    num_layers: Count = Field(default=1, description="Layers, each on the outputs of the one before.")
    bidirectional: bool = Field(default=False, description="Whether every layer also runs backwards.")
    recurrent_initializer: Initializer | None = Field(
        default=None, description="For weight_hh, instead of what weight_ih has."
    )


class RNN(_Recurrent):
    """A plain recurrent layer."""

    parameters: ClassVar = (
        "weight_ih_l0 (hidden_size, input_size), weight_hh_l0 (hidden_size, hidden_size), bias_ih_l0 and bias_hh_l0"
        " (hidden_size); …_reverse; …_l1 of the next layer"
    )

    type: Literal["rnn"]


class LSTM(_Recurrent):
    """A long short-term memory; gates i, f, g, o one after the other."""

    parameters: ClassVar = (
        "weight_ih_l0 (4 hidden_size, input_size), weight_hh_l0 (4 hidden_size, hidden_size), bias_ih_l0 and bias_hh_l0"
        " (4 hidden_size); …_reverse; …_l1 of the next layer"
    )

    type: Literal["lstm"]
    forget_bias: Number | None = Field(
        default=None, description="The bias of the forget gate: in bias_ih, with 0 in bias_hh."
    )

    @model_validator(mode="after")
    def _a_forget_bias_is_of_a_bias(self) -> LSTM:
        if self.forget_bias is not None and not self.bias:
            raise PydanticCustomError("bias", "forget_bias goes with a bias: leave it out, or bias: false")
        return self


class GRU(_Recurrent):
    """A gated recurrent unit; gates r, z, n one after the other."""

    parameters: ClassVar = (
        "weight_ih_l0 (3 hidden_size, input_size), weight_hh_l0 (3 hidden_size, hidden_size), bias_ih_l0 and bias_hh_l0"
        " (3 hidden_size); …_reverse; …_l1 of the next layer"
    )

    type: Literal["gru"]


class MultiheadAttention(_Weighted):
    """Attention with several heads: projections of queries, keys and values, and of what the heads give."""

    parameters: ClassVar = (
        "in_proj_weight (3 embed_dim, embed_dim), or q_proj_weight (embed_dim, embed_dim), k_proj_weight"
        " (embed_dim, kdim), v_proj_weight (embed_dim, vdim); in_proj_bias (3 embed_dim),"
        " out_proj.weight (embed_dim, embed_dim), out_proj.bias (embed_dim)"
    )

    type: Literal["multihead_attention"]
    embed_dim: Count = Field(description="Size of queries and outputs.")
    num_heads: Count = Field(description="Divides embed_dim.")
    kdim: Count | None = Field(default=None, description="Size of keys, where it is not embed_dim.")
    vdim: Count | None = Field(default=None, description="Size of values, where it is not embed_dim.")
    fused: bool | None = Field(
        default=None, description="Whether the projections are one tensor; by default where all sizes are the same."
    )
    out_initializer: Initializer | None = Field(
        default=None, description="For out_proj.weight, instead of what the other projections have."
    )


class Embedding(_Leaf):
    """A table of vectors."""

    parameters: ClassVar = "weight (num_embeddings, embedding_dim)"

    type: Literal["embedding"]
    num_embeddings: Count = Field(description="Rows.")
    embedding_dim: Count = Field(description="Columns.")


class LayerNorm(_Leaf):
    """Layer normalization."""

    parameters: ClassVar = "weight (*normalized_shape), bias (*normalized_shape)"

    type: Literal["layer_norm"]
    normalized_shape: NormalizedShape = Field(description="The normalized dimensions: one number, or a list.")
    elementwise_affine: bool = Field(default=True, description="Whether there are a weight and a bias at all.")
    bias: bool = Field(default=True, description="Whether there is a bias.")
    bias_initializer: Initializer | None = Field(default=None, description="Instead of zeros.")


class RMSNorm(_Leaf):
    """Normalization by the root of the mean square."""

    parameters: ClassVar = "weight (*normalized_shape)"

    type: Literal["rms_norm"]
    normalized_shape: NormalizedShape = Field(description="The normalized dimensions: one number, or a list.")
    elementwise_affine: bool = Field(default=True, description="Whether there is a weight.")


class GroupNorm(_Leaf):
    """Normalization of groups of channels."""

    parameters: ClassVar = "weight (num_channels), bias (num_channels)"

    type: Literal["group_norm"]
    num_groups: Count = Field(description="Divides num_channels.")
    num_channels: Count = Field(description="Channels.")
    affine: bool = Field(default=True, description="Whether there are a weight and a bias.")
    bias_initializer: Initializer | None = Field(default=None, description="Instead of zeros.")


class _TrackedNorm(_Leaf):
    num_features: Count = Field(description="Channels.")


class BatchNorm(_TrackedNorm):
    """Batch normalization, with its running statistics."""

    parameters: ClassVar = "weight, bias, running_mean, running_var, each (num_features)"

    type: Literal["batch_norm"]
    affine: bool = Field(default=True, description="Whether there are a weight and a bias.")
    track_running_stats: bool = Field(default=True, description="Whether there are running_mean and running_var.")
    bias_initializer: Initializer | None = Field(default=None, description="Instead of zeros.")


class InstanceNorm(_TrackedNorm):
    """Instance normalization; PyTorch's own has a weight and a bias only with affine=True."""

    parameters: ClassVar = "weight, bias, running_mean, running_var, each (num_features)"

    type: Literal["instance_norm"]
    affine: bool = Field(default=True, description="Whether there are a weight and a bias.")
    track_running_stats: bool = Field(default=False, description="Whether there are running_mean and running_var.")
    bias_initializer: Initializer | None = Field(default=None, description="Instead of zeros.")


class Tensor(_Leaf):
    """A bare tensor; the layer's name is the tensor's name."""

    parameters: ClassVar = "the tensor itself, of the given shape"

    type: Literal["tensor"]
    shape: Shape = Field(description="Dimensions; an empty list is a scalar.")
    layout: Layout = Field(default="out_in", description="For its fans: (out, in, *kernel) or (*kernel, in, out).")
    in_axes: Axes | None = Field(
        default=None, description="For its fans, instead of a layout: the axes of inputs; negative ones count back."
    )
    out_axes: Axes | None = Field(default=None, description="The axes of outputs; goes with in_axes.")
    batch_axes: Axes | None = Field(
        default=None, description="Axes of independent maps, which count for neither; all others are of the kernel."
    )

    @field_validator("in_axes", "out_axes", "batch_axes")
    @classmethod
    def _counted_from_the_front(cls, axes: tuple[int, ...] | None, info: ValidationInfo) -> tuple[int, ...] | None:
        rank = len(info.data.get("shape", ()))
        if not all(-rank <= axis < rank for axis in axes or ()):
            raise PydanticCustomError("axes", f"must be axes of the shape, from {-rank} to {rank - 1}")
        return axes and tuple(axis % rank for axis in axes)

    @model_validator(mode="after")
    def _axes_say_one_thing(self) -> Tensor:
        groups = (self.in_axes, self.out_axes, self.batch_axes)
        axes = [axis for group in groups for axis in group or ()]
        if all(group is None for group in groups):
            return self
        if self.in_axes is None or self.out_axes is None:
            raise PydanticCustomError("axes", "in_axes and out_axes go together: give both")
        if {"layout", "fans"} & self.model_fields_set:
            raise PydanticCustomError("axes", "axes stand instead of layout and fans: give one of them")
        if len(set(axes)) < len(axes):
            raise PydanticCustomError("axes", "in_axes, out_axes and batch_axes must name different axes")
        return self


class Group(LayerBase):
    """Layers under a common prefix."""

    parameters: ClassVar = "those of its layers, named NAME.…"

    type: Literal["group"]
    layers: tuple[AnyLayer, ...] = Field(strict=False, min_length=1, description="The layers.")


class Repeat(LayerBase):
    """The same layers several times, numbered."""

    parameters: ClassVar = "those of its layers, named NAME.0.…, NAME.1.…"

    type: Literal["repeat"]
    times: Count = Field(description="How often.")
    start: Size = Field(default=0, description="The first number.")
    layers: tuple[AnyLayer, ...] = Field(strict=False, min_length=1, description="The layers.")


Convolution = Conv1d | Conv2d | Conv3d
ConvTranspose = ConvTranspose1d | ConvTranspose2d | ConvTranspose3d
Recurrent = RNN | LSTM | GRU
Norm = LayerNorm | RMSNorm | GroupNorm | BatchNorm | InstanceNorm
Leaf = (
    Linear
    | Bilinear
    | Conv1d
    | Conv2d
    | Conv3d
    | ConvTranspose1d
    | ConvTranspose2d
    | ConvTranspose3d
    | DepthwiseConv
    | SeparableConv
    | RNN
    | LSTM
    | GRU
    | MultiheadAttention
    | Embedding
    | LayerNorm
    | RMSNorm
    | GroupNorm
    | BatchNorm
    | InstanceNorm
    | Tensor
)
"""The layers that have tensors of their own."""
LayerUnion = Leaf | Group | Repeat
AnyLayer = Annotated[LayerUnion, Field(discriminator="type"), WrapValidator(_patiently)]
