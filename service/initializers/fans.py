"""Fans: how many inputs feed one output of a layer, and how many outputs one input feeds, by exact connectivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

Layout = Literal["out_in", "in_out"]


@dataclass(frozen=True, slots=True)
class Fans:
    """Connections into an output and out of an input, exact integers."""

    fan_in: int
    fan_out: int


def linear_fans(in_features: int, out_features: int) -> Fans:
    """Every output sees every input."""
    return Fans(in_features, out_features)


def convolution_fans(in_channels: int, out_channels: int, kernel_size: Sequence[int], groups: int) -> Fans:
    """Groups divide both fans; stride is ignored."""
    receptive_field = prod(kernel_size)
    return Fans(in_channels // groups * receptive_field, out_channels // groups * receptive_field)


def embedding_fans(num_embeddings: int, embedding_dim: int) -> Fans:
    """An embedding is a linear layer whose input is one-hot."""
    return Fans(num_embeddings, embedding_dim)


def tensor_fans(shape: Sequence[int], layout: Layout) -> Fans | None:
    """The fans of a bare tensor, (out, in, *kernel) or (*kernel, in, out); None below rank 2 or without elements."""
    if len(shape) < 2 or 0 in shape:
        return None
    if layout == "out_in":
        fan_out, fan_in, *kernel = shape
    else:
        *kernel, fan_in, fan_out = shape
    return Fans(fan_in * prod(kernel), fan_out * prod(kernel))
