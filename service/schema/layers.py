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
    """A limit on the faults of layers: once it is reached, the layers that follow are not validated.

    It is passed in the context of a validation as `patience`. A document may hold hundreds of thousands of faults, but
    only the first hundred are reported to the caller.

    Args:
        faults: the number of faults at which validation of layers stops.
    """

    def __init__(self, faults: int) -> None:
        self._most = faults
        self._found = 0

    @property
    def lost(self) -> bool:
        """Whether the limit was reached, so that some layers may not have been validated."""
        return self._found >= self._most

    def validate(self, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        """Validate a layer and count its faults, including each fault of the layers inside it once."""
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
    """The base of all layers."""

    parameters: ClassVar[str]
    """The tensors of the layer and their shapes, in canonical (PyTorch) order."""

    name: Name = Field(description="The prefix of the tensor names; it may be empty inside a group or repeat.")


class _Leaf(LayerBase):
    dtype: DTypeField | None = Field(default=None, description="Replaces the model's dtype.")
    initializer: Initializer | None = Field(default=None, description="Replaces the default for the weight.")
    fans: FanRule | None = Field(default=None, description="Replaces the model's rule for fans.")


class _Weighted(_Leaf):
    bias: bool = Field(default=True, description="Whether there is a bias.")
    bias_initializer: Initializer | None = Field(default=None, description="Replaces zeros.")


class Linear(_Weighted):
    """A fully connected layer."""

    parameters: ClassVar = "weight (out_features, in_features), bias (out_features)"

    type: Annotated[Literal["linear", "dense"], _Named]
    in_features: Count = Field(description="The number of inputs.")
    out_features: Count = Field(description="The number of outputs.")
    layout: Layout = Field(default="out_in", description="in_out stores the weight as (in_features, out_features).")


class Bilinear(_Weighted):
    """A bilinear map of two inputs."""

    parameters: ClassVar = "weight (out_features, in1_features, in2_features), bias (out_features)"

    type: Literal["bilinear"]
    in1_features: Count = Field(description="The size of the first input.")
    in2_features: Count = Field(description="The size of the second input.")
    out_features: Count = Field(description="The number of outputs.")


class _Convolution(_Weighted):
    in_channels: Count = Field(description="The number of input channels.")
    out_channels: Count = Field(description="The number of output channels.")
    groups: Count = Field(default=1, description="The number of groups; it must divide both channel counts.")


class Conv1d(_Convolution):
    """A convolution over one dimension."""

    parameters: ClassVar = "weight (out_channels, in_channels / groups, k), bias (out_channels)"

    type: Literal["conv1d"]
    kernel_size: Kernel1 = Field(description="The size of the kernel.")


class Conv2d(_Convolution):
    """A convolution over two dimensions."""

    parameters: ClassVar = "weight (out_channels, in_channels / groups, k, k), bias (out_channels)"

    type: Literal["conv2d"]
    kernel_size: Kernel2 = Field(description="The size of the kernel: one number, or one per dimension.")


class Conv3d(_Convolution):
    """A convolution over three dimensions."""

    parameters: ClassVar = "weight (out_channels, in_channels / groups, k, k, k), bias (out_channels)"

    type: Literal["conv3d"]
    kernel_size: Kernel3 = Field(description="The size of the kernel: one number, or one per dimension.")


class ConvTranspose1d(_Convolution):
    """A transposed convolution over one dimension."""

    parameters: ClassVar = "weight (in_channels, out_channels / groups, k), bias (out_channels)"

    type: Literal["conv_transpose1d"]
    kernel_size: Kernel1 = Field(description="The size of the kernel.")


class ConvTranspose2d(_Convolution):
    """A transposed convolution over two dimensions."""

    parameters: ClassVar = "weight (in_channels, out_channels / groups, k, k), bias (out_channels)"

    type: Literal["conv_transpose2d"]
    kernel_size: Kernel2 = Field(description="The size of the kernel: one number, or one per dimension.")


class ConvTranspose3d(_Convolution):
    """A transposed convolution over three dimensions."""

    parameters: ClassVar = "weight (in_channels, out_channels / groups, k, k, k), bias (out_channels)"

    type: Literal["conv_transpose3d"]
    kernel_size: Kernel3 = Field(description="The size of the kernel: one number, or one per dimension.")


class DepthwiseConv(_Weighted):
    """A convolution of each channel on its own: it has as many groups as channels."""

    parameters: ClassVar = "weight (in_channels * depth_multiplier, 1, *kernel_size), bias (the same channels)"

    type: Annotated[Literal["depthwise_conv", "depthwise"], _Named]
    in_channels: Count = Field(description="The number of input channels.")
    depth_multiplier: Count = Field(default=1, description="The number of output channels per input channel.")
    kernel_size: KernelAny = Field(
        description="One number per dimension, for one to three dimensions; a bare number k stands for [k, k]."
    )


class SeparableConv(_Weighted):
    """A depthwise convolution, followed by a pointwise one that mixes the channels and has the bias."""

    parameters: ClassVar = (
        "depthwise.weight (in_channels * depth_multiplier, 1, *kernel_size),"
        " pointwise.weight (out_channels, in_channels * depth_multiplier, 1…), pointwise.bias (out_channels)"
    )

    type: Literal["separable_conv"]
    in_channels: Count = Field(description="The number of input channels.")
    out_channels: Count = Field(description="The number of output channels.")
    depth_multiplier: Count = Field(
        default=1, description="The number of channels between the two convolutions per input channel."
    )
    kernel_size: KernelAny = Field(
        description="One number per dimension, for one to three dimensions; a bare number k stands for [k, k]."
    )
    pointwise_initializer: Initializer | None = Field(
        default=None, description="For the pointwise weight; by default, the initializer of the depthwise weight."
    )


class _Recurrent(_Weighted):
    input_size: Count = Field(description="The number of inputs at each step.")
    hidden_size: Count = Field(description="The size of the state.")
    num_layers: Count = Field(default=1, description="The number of layers; each reads the outputs of the one before.")
    bidirectional: bool = Field(default=False, description="Whether every layer also runs backwards.")
    recurrent_initializer: Initializer | None = Field(
        default=None, description="For weight_hh; by default, the initializer of weight_ih."
    )


class RNN(_Recurrent):
    """A plain recurrent layer."""

    parameters: ClassVar = (
        "weight_ih_l0 (hidden_size, input_size), weight_hh_l0 (hidden_size, hidden_size), bias_ih_l0 and bias_hh_l0"
        " (hidden_size); …_reverse for the backward direction; …_l1 for the next layer"
    )

    type: Literal["rnn"]


class LSTM(_Recurrent):
    """A long short-term memory, with the gates in the order i, f, g, o."""

    parameters: ClassVar = (
        "weight_ih_l0 (4 hidden_size, input_size), weight_hh_l0 (4 hidden_size, hidden_size), bias_ih_l0 and bias_hh_l0"
        " (4 hidden_size); …_reverse for the backward direction; …_l1 for the next layer"
    )

    type: Literal["lstm"]
    forget_bias: Number | None = Field(
        default=None, description="The bias of the forget gate: bias_ih has this value, and bias_hh has 0."
    )

    @model_validator(mode="after")
    def _forget_bias_needs_a_bias(self) -> LSTM:
        if self.forget_bias is not None and not self.bias:
            raise PydanticCustomError("bias", "forget_bias needs a bias: leave out either forget_bias or bias: false")
        return self


class GRU(_Recurrent):
    """A gated recurrent unit, with the gates in the order r, z, n."""

    parameters: ClassVar = (
        "weight_ih_l0 (3 hidden_size, input_size), weight_hh_l0 (3 hidden_size, hidden_size), bias_ih_l0 and bias_hh_l0"
        " (3 hidden_size); …_reverse for the backward direction; …_l1 for the next layer"
    )

    type: Literal["gru"]


class MultiheadAttention(_Weighted):
    """Multi-head attention: projections of queries, keys and values, and of the outputs of the heads."""

    parameters: ClassVar = (
        "in_proj_weight (3 embed_dim, embed_dim), or q_proj_weight (embed_dim, embed_dim), k_proj_weight"
        " (embed_dim, kdim), v_proj_weight (embed_dim, vdim); in_proj_bias (3 embed_dim),"
        " out_proj.weight (embed_dim, embed_dim), out_proj.bias (embed_dim)"
    )

    type: Literal["multihead_attention"]
    embed_dim: Count = Field(description="The size of queries and outputs.")
    num_heads: Count = Field(description="The number of heads; it must divide embed_dim.")
    kdim: Count | None = Field(default=None, description="The size of keys, if it is not embed_dim.")
    vdim: Count | None = Field(default=None, description="The size of values, if it is not embed_dim.")
    fused: bool | None = Field(
        default=None, description="Whether the projections are one tensor; by default, if all sizes are the same."
    )
    out_initializer: Initializer | None = Field(
        default=None, description="For out_proj.weight; by default, the initializer of the other projections."
    )


class Embedding(_Leaf):
    """A table of vectors."""

    parameters: ClassVar = "weight (num_embeddings, embedding_dim)"

    type: Literal["embedding"]
    num_embeddings: Count = Field(description="The number of rows.")
    embedding_dim: Count = Field(description="The number of columns.")


class LayerNorm(_Leaf):
    """Layer normalization."""

    parameters: ClassVar = "weight (*normalized_shape), bias (*normalized_shape)"

    type: Literal["layer_norm"]
    normalized_shape: NormalizedShape = Field(description="The normalized dimensions: one number, or a list.")
    elementwise_affine: bool = Field(default=True, description="Whether there is a weight, and a bias if bias is true.")
    bias: bool = Field(default=True, description="Whether there is a bias.")
    bias_initializer: Initializer | None = Field(default=None, description="Replaces zeros.")


class RMSNorm(_Leaf):
    """Normalization by the root mean square."""

    parameters: ClassVar = "weight (*normalized_shape)"

    type: Literal["rms_norm"]
    normalized_shape: NormalizedShape = Field(description="The normalized dimensions: one number, or a list.")
    elementwise_affine: bool = Field(default=True, description="Whether there is a weight.")


class GroupNorm(_Leaf):
    """Normalization of groups of channels."""

    parameters: ClassVar = "weight (num_channels), bias (num_channels)"

    type: Literal["group_norm"]
    num_groups: Count = Field(description="The number of groups; it must divide num_channels.")
    num_channels: Count = Field(description="The number of channels.")
    affine: bool = Field(default=True, description="Whether there are a weight and a bias.")
    bias_initializer: Initializer | None = Field(default=None, description="Replaces zeros.")


class _TrackedNorm(_Leaf):
    num_features: Count = Field(description="The number of channels.")


class BatchNorm(_TrackedNorm):
    """Batch normalization, with its running statistics."""

    parameters: ClassVar = "weight, bias, running_mean, running_var, each (num_features)"

    type: Literal["batch_norm"]
    affine: bool = Field(default=True, description="Whether there are a weight and a bias.")
    track_running_stats: bool = Field(default=True, description="Whether there are running_mean and running_var.")
    bias_initializer: Initializer | None = Field(default=None, description="Replaces zeros.")


class InstanceNorm(_TrackedNorm):
    """Instance normalization; in PyTorch, it has a weight and a bias only with affine=True."""

    parameters: ClassVar = "weight, bias, running_mean, running_var, each (num_features)"

    type: Literal["instance_norm"]
    affine: bool = Field(default=True, description="Whether there are a weight and a bias.")
    track_running_stats: bool = Field(default=False, description="Whether there are running_mean and running_var.")
    bias_initializer: Initializer | None = Field(default=None, description="Replaces zeros.")


class Tensor(_Leaf):
    """A bare tensor; the layer's name is the tensor's name."""

    parameters: ClassVar = "the tensor itself, of the given shape"

    type: Literal["tensor"]
    shape: Shape = Field(description="The dimensions; an empty list is a scalar.")
    layout: Layout = Field(
        default="out_in",
        description="The order of the axes, for counting fans: (out, in, *kernel) or (*kernel, in, out).",
    )
    in_axes: Axes | None = Field(
        default=None,
        description="The axes of the inputs, in place of a layout; negative axes count from the end.",
    )
    out_axes: Axes | None = Field(default=None, description="The axes of the outputs; required with in_axes.")
    batch_axes: Axes | None = Field(
        default=None,
        description="The axes of independent maps, which count in neither fan; all other axes belong to the kernel.",
    )

    @field_validator("in_axes", "out_axes", "batch_axes")
    @classmethod
    def _counted_from_the_front(cls, axes: tuple[int, ...] | None, info: ValidationInfo) -> tuple[int, ...] | None:
        rank = len(info.data.get("shape", ()))
        if not all(-rank <= axis < rank for axis in axes or ()):
            raise PydanticCustomError("axes", f"must be axes of the shape, from {-rank} to {rank - 1}")
        return axes and tuple(axis % rank for axis in axes)

    @model_validator(mode="after")
    def _axes_are_consistent(self) -> Tensor:
        groups = (self.in_axes, self.out_axes, self.batch_axes)
        axes = [axis for group in groups for axis in group or ()]
        if all(group is None for group in groups):
            return self
        if self.in_axes is None or self.out_axes is None:
            raise PydanticCustomError("axes", "in_axes and out_axes go together: give both")
        if {"layout", "fans"} & self.model_fields_set:
            raise PydanticCustomError("axes", "axes replace layout and fans: give only one of them")
        if len(set(axes)) < len(axes):
            raise PydanticCustomError("axes", "in_axes, out_axes and batch_axes must name different axes")
        return self


class Group(LayerBase):
    """Layers with a common prefix."""

    parameters: ClassVar = "those of its layers, named NAME.…"

    type: Literal["group"]
    layers: tuple[AnyLayer, ...] = Field(strict=False, min_length=1, description="The layers.")


class Repeat(LayerBase):
    """The same layers several times, with numbers in their names."""

    parameters: ClassVar = "those of its layers, named NAME.0.…, NAME.1.…"

    type: Literal["repeat"]
    times: Count = Field(description="The number of repetitions.")
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
