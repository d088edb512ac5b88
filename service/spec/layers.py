"""Layers as a caller names them; each class is one entry of the catalogue."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field

from service.spec.fields import (
    Count,
    DTypeField,
    Kernel1,
    Kernel2,
    Kernel3,
    Layout,
    Name,
    NormalizedShape,
    Shape,
    Size,
    Wire,
)
from service.spec.initializers import Initializer

LAYER_ALIASES: Final = {"dense": "linear"}
_Named = AfterValidator(lambda name: LAYER_ALIASES.get(name, name))


class LayerBase(Wire):
    """What every layer has."""

    parameters: ClassVar[str]
    """The tensors of the layer and their shapes, in canonical (PyTorch) order."""

    name: Name = Field(description="Prefix of the tensor names; may be empty inside a group or repeat.")


class _Leaf(LayerBase):
    dtype: DTypeField | None = Field(default=None, description="Instead of the model's dtype.")
    initializer: Initializer | None = Field(default=None, description="Instead of the default for the weight.")


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


class BatchNorm(_Leaf):
    """Batch normalization, with its running statistics."""

    parameters: ClassVar = "weight, bias, running_mean, running_var, each (num_features)"

    type: Literal["batch_norm"]
    num_features: Count = Field(description="Channels.")
    affine: bool = Field(default=True, description="Whether there are a weight and a bias.")
    track_running_stats: bool = Field(default=True, description="Whether there are running_mean and running_var.")
    bias_initializer: Initializer | None = Field(default=None, description="Instead of zeros.")


class Tensor(_Leaf):
    """A bare tensor; the layer's name is the tensor's name."""

    parameters: ClassVar = "the tensor itself, of the given shape"

    type: Literal["tensor"]
    shape: Shape = Field(description="Dimensions; an empty list is a scalar.")
    layout: Layout = Field(default="out_in", description="For its fans: (out, in, *kernel) or (*kernel, in, out).")


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


Leaf = Linear | Conv1d | Conv2d | Conv3d | Embedding | LayerNorm | BatchNorm | Tensor
"""The layers that have tensors of their own."""
LayerUnion = Leaf | Group | Repeat
AnyLayer = Annotated[LayerUnion, Field(discriminator="type")]

Group.model_rebuild()
Repeat.model_rebuild()
