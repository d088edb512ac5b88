"""The same network in both frameworks: PyTorch's layer with its tensors gives what Keras' layer gives with its own."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.forward import Weights, keras_outputs, torch_outputs
from tests.plan.planned import Layer, planned, values

RANDOM_BIAS: Final = {"bias_initializer": {"type": "normal", "mean": 0.25}}


def convolution(kind: str, kernel_size: Any, **more: Any) -> Layer:
    return {"type": kind, "in_channels": 6, "out_channels": 9, "kernel_size": kernel_size} | more


def separable(kernel_size: Any, **more: Any) -> Layer:
    return convolution("separable_conv", kernel_size, **more)


def depthwise(kernel_size: Any, **more: Any) -> Layer:
    return {"type": "depthwise_conv", "in_channels": 3, "kernel_size": kernel_size} | more


def recurrent(kind: str, **more: Any) -> Layer:
    return {"type": kind, "input_size": 5, "hidden_size": 3} | more


def attention(**more: Any) -> Layer:
    return {"type": "multihead_attention", "embed_dim": 6, "num_heads": 3} | more


LAYERS: Final[tuple[Layer, ...]] = (
    {"type": "linear", "in_features": 5, "out_features": 7},
    {"type": "linear", "in_features": 5, "out_features": 7, "bias": False},
    {"type": "bilinear", "in1_features": 3, "in2_features": 4, "out_features": 5},
    {"type": "bilinear", "in1_features": 4, "in2_features": 3, "out_features": 5, "bias": False},
    convolution("conv1d", 3),
    convolution("conv1d", [2], groups=3),
    convolution("conv2d", [3, 2], bias=False),
    convolution("conv2d", 2, groups=3),
    convolution("conv3d", [1, 2, 3], groups=3),
    convolution("conv_transpose1d", 3),
    convolution("conv_transpose1d", 2, groups=3, bias=False),
    convolution("conv_transpose2d", [3, 2]),
    convolution("conv_transpose2d", 2, groups=3),
    convolution("conv_transpose3d", [1, 2, 3], groups=3),
    depthwise([3]),
    depthwise(2, depth_multiplier=2),
    depthwise([3, 2], depth_multiplier=3, bias=False),
    depthwise([1, 2, 3], depth_multiplier=2),
    separable([3]),
    separable(2, depth_multiplier=2),
    separable([3, 2], bias=False, pointwise_initializer="lecun_normal"),
    separable([1, 2, 3], depth_multiplier=2),
    {"type": "embedding", "num_embeddings": 11, "embedding_dim": 3},
    *(
        recurrent(kind, **more)
        for kind in ("rnn", "lstm", "gru")
        for more in (
            {},
            {"bias": False},
            {"num_layers": 3},
            {"bidirectional": True, "recurrent_initializer": "lecun_uniform"},
            {"num_layers": 2, "bidirectional": True},
        )
    ),
    recurrent("lstm", forget_bias=1),
    recurrent("lstm", forget_bias=0),
    recurrent("lstm", forget_bias=-0.5, num_layers=2, bidirectional=True),
    recurrent("lstm", hidden_size=1),
    recurrent("gru", hidden_size=1),
    attention(),
    attention(bias=False),
    attention(fused=False),
    attention(fused=True, num_heads=1, out_initializer="lecun_normal"),
    attention(num_heads=6),
    attention(kdim=5, vdim=4),
    attention(vdim=4, bias=False),
)
each_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: " ".join(map(str, layer.values())))


def weights(layer: Layer, framework: str, **more: Any) -> Weights:
    """The tensors of a layer by the names that a framework has for them."""
    plan = planned(layer | {"name": "x"}, framework=framework, **{"dtype": "F64"} | more)
    return {tensor.name.removeprefix("x."): values(tensor).astype(np.float64) for tensor in plan.tensors}


def assert_same_function(layer: Layer, tolerance: float = 1e-12, **more: Any) -> None:
    torch = torch_outputs(layer, weights(layer, "torch", **more))
    keras = keras_outputs(layer, weights(layer, "keras", **more))

    assert torch.std() > 1e-3
    np.testing.assert_allclose(keras, torch, rtol=tolerance, atol=tolerance)


def randomised(layer: Layer) -> Layer:
    """With biases that are not all the same."""
    return layer if layer["type"] == "embedding" else layer | RANDOM_BIAS


@each_layer
@pytest.mark.parametrize("distribution", ["orthogonal", "torch_default"])
def test_a_layer_is_the_same_function_in_both_frameworks(layer: Layer, distribution: str) -> None:
    assert_same_function(randomised(layer), initializer=distribution)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("default", ["torch_default", "keras_default"])
def test_a_recurrent_layer_with_all_its_defaults_is_the_same_function_in_both_frameworks(
    kind: str, default: str
) -> None:
    assert_same_function(recurrent(kind, num_layers=2, bidirectional=True), initializer=default)


def test_the_wrong_order_of_gates_would_be_another_function() -> None:
    layer = randomised(recurrent("gru"))
    torch, keras = (weights(layer, framework) for framework in ("torch", "keras"))
    z, r, h = np.split(keras["kernel"], 3, axis=-1)

    other = keras_outputs(layer, keras | {"kernel": np.concatenate([r, z, h], axis=-1)})

    assert np.abs(other - torch_outputs(layer, torch)).max() > 0.01


small = st.integers(1, 4)
flags = st.booleans()


@st.composite
def any_layers(draw: st.DrawFn) -> Layer:
    """Any layer of any small sizes."""
    kernel = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    groups = draw(small)
    inputs, outputs = groups * draw(small), groups * draw(small)
    channels = {"in_channels": inputs, "out_channels": outputs, "kernel_size": kernel}
    multiplier = {"depth_multiplier": draw(small)}
    sizes = {"num_layers": draw(st.integers(1, 2)), "bidirectional": draw(flags), "hidden_size": draw(small)}
    heads = draw(small)
    layers: list[Layer] = [
        {"type": f"conv{len(kernel)}d", "groups": groups} | channels,
        {"type": f"conv_transpose{len(kernel)}d", "groups": groups} | channels,
        {"type": "depthwise_conv", "in_channels": inputs, "kernel_size": kernel} | multiplier,
        {"type": "separable_conv"} | channels | multiplier,
        {"type": "bilinear", "in1_features": inputs, "in2_features": outputs, "out_features": draw(small)},
        {"type": draw(st.sampled_from(["rnn", "lstm", "gru"])), "input_size": inputs} | sizes,
        {"type": "lstm", "input_size": inputs, "forget_bias": draw(st.floats(-2, 2))} | sizes,
        {"type": "multihead_attention", "embed_dim": heads * draw(small), "num_heads": heads, "fused": draw(flags)},
        {"type": "multihead_attention", "embed_dim": heads * draw(small), "num_heads": heads, "kdim": inputs},
    ]
    layer = draw(st.sampled_from(layers)) | {"bias": draw(flags)}
    if not layer["bias"]:
        layer.pop("forget_bias", None)
    if layer.get("kdim") == layer.get("embed_dim"):
        layer.pop("kdim", None)
    return layer


@settings(max_examples=150, deadline=None)
@given(any_layers(), st.integers(0, 2**64 - 1))
def test_any_layer_is_the_same_function_in_both_frameworks(layer: Layer, seed: int) -> None:
    layer = layer | RANDOM_BIAS
    torch, keras = (weights(layer, framework, seed=seed, initializer="normal") for framework in ("torch", "keras"))

    np.testing.assert_allclose(keras_outputs(layer, keras), torch_outputs(layer, torch), rtol=1e-11, atol=1e-11)
