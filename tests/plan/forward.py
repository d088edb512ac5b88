"""What layers do with their weights, in NumPy, from the equations in the documentation of PyTorch and of Keras.

Every function takes the tensors of one layer by the names that a framework has for them. Sequences are (n, steps,
features) in both; images are (n, channels, *places) in PyTorch and (n, *places, channels) in Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, Array]
Cell = Callable[[Array, Array, Weights, str], Array]
"""One step: what comes in, the state (hidden beside memory, where there is one), the weights, where they are."""

STRIDE: Final = 2
"""Of convolutions and of transposed ones; no padding."""


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def channels_last(x: Array) -> Array:
    return np.moveaxis(x, 1, -1)


def channels_first(x: Array) -> Array:
    return np.moveaxis(x, -1, 1)


def within(w: Weights, prefix: str) -> Weights:
    """The tensors of a part of a layer."""
    return {name.removeprefix(prefix): values for name, values in w.items() if name.startswith(prefix)}


def offsets(kernel_size: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Places of a kernel."""
    return product(*map(range, kernel_size))


def window(offset: tuple[int, ...], counts: tuple[int, ...], stride: int = STRIDE) -> tuple[slice, ...]:
    """Every place that a place of the kernel meets."""
    return tuple(slice(at, at + stride * (n - 1) + 1, stride) for at, n in zip(offset, counts, strict=True))


# PyTorch.


def torch_linear(x: Array, w: Weights) -> Array:
    """y = x A^T + b."""
    return x @ w["weight"].T + w.get("bias", 0.0)


def torch_bilinear(one: Array, other: Array, w: Weights) -> Array:
    """y_o = x1^T A_o x2 + b_o."""
    return np.asarray(np.einsum("ni,oij,nj->no", one, w["weight"], other) + w.get("bias", 0.0))


def torch_convolution(x: Array, w: Weights, groups: int = 1, stride: int = STRIDE) -> Array:
    """out(n, o) = bias(o) + the sum of weight(o, c) * in(n, c) over the channels c of o's group."""
    weight = w["weight"]
    outputs, per_group, *size = weight.shape
    kernel = tuple(size)
    counts = tuple((n - k) // stride + 1 for n, k in zip(x.shape[2:], kernel, strict=True))
    out = np.zeros((len(x), outputs, *counts))
    for o, c in product(range(outputs), range(per_group)):
        channel = o // (outputs // groups) * per_group + c
        for at in offsets(kernel):
            out[:, o] += weight[(o, c, *at)] * x[(slice(None), channel, *window(at, counts, stride))]
    return out + w["bias"].reshape(-1, *[1] * len(kernel)) if "bias" in w else out


def torch_transposed(x: Array, w: Weights, groups: int = 1) -> Array:
    """The gradient of a convolution with respect to its input: every input adds the kernel, times itself."""
    weight = w["weight"]
    inputs, per_group, *size = weight.shape
    kernel, counts = tuple(size), x.shape[2:]
    places = ((n - 1) * STRIDE + k for n, k in zip(counts, kernel, strict=True))
    out = np.zeros((len(x), per_group * groups, *places))
    for i, o in product(range(inputs), range(per_group)):
        channel = i // (inputs // groups) * per_group + o
        for at in offsets(kernel):
            out[(slice(None), channel, *window(at, counts))] += weight[(i, o, *at)] * x[:, i]
    return out + w["bias"].reshape(-1, *[1] * len(kernel)) if "bias" in w else out


def torch_separable(x: Array, w: Weights) -> Array:
    """Conv(groups=channels, bias=False), then Conv of kernel 1."""
    depthwise, pointwise = within(w, "depthwise."), within(w, "pointwise.")
    return torch_convolution(torch_convolution(x, depthwise, groups=x.shape[1]), pointwise, stride=1)


def torch_embedding(rows: NDArray[np.int64], w: Weights) -> Array:
    return w["weight"][rows]


def _gates(of: str, x: Array, w: Weights, suffix: str, count: int) -> list[Array]:
    """W x + b, for the inputs (ih) or the state (hh), gate by gate."""
    return np.split(x @ w[f"weight_{of}{suffix}"].T + w.get(f"bias_{of}{suffix}", 0.0), count, axis=-1)


def torch_rnn_cell(x: Array, state: Array, w: Weights, suffix: str) -> Array:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    [of_input], [of_state] = _gates("ih", x, w, suffix, 1), _gates("hh", state, w, suffix, 1)
    return np.tanh(of_input + of_state)


def torch_lstm_cell(x: Array, state: Array, w: Weights, suffix: str) -> Array:
    """i, f, o = sigmoid(...), g = tanh(...); c' = f * c + i * g; h' = o * tanh(c')."""
    hidden, memory = np.split(state, 2, axis=-1)
    both = zip(_gates("ih", x, w, suffix, 4), _gates("hh", hidden, w, suffix, 4), strict=True)
    i, f, g, o = (of_input + of_state for of_input, of_state in both)
    memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
    return np.concatenate([sigmoid(o) * np.tanh(memory), memory], axis=-1)


def torch_gru_cell(x: Array, state: Array, w: Weights, suffix: str) -> Array:
    """r, z = sigmoid(...); n = tanh(W_in x + b_in + r * (W_hn h + b_hn)); h' = (1 - z) * n + z * h."""
    (r, z, n), (r_of_state, z_of_state, n_of_state) = (_gates("ih", x, w, suffix, 3), _gates("hh", state, w, suffix, 3))
    r, z = sigmoid(r + r_of_state), sigmoid(z + z_of_state)
    return np.asarray((1 - z) * np.tanh(n + r * n_of_state) + z * state)


TORCH_CELLS: Final[dict[str, Cell]] = {"rnn": torch_rnn_cell, "lstm": torch_lstm_cell, "gru": torch_gru_cell}


def torch_recurrent(x: Array, w: Weights, layer: dict[str, Any]) -> Array:
    """Layers on each other, with both directions beside each other in each."""
    cell = TORCH_CELLS[layer["type"]]
    for number in range(layer.get("num_layers", 1)):
        outputs = _run(cell, x, w, f"_l{number}", layer)
        if layer.get("bidirectional"):
            backward = _run(cell, x[:, ::-1], w, f"_l{number}_reverse", layer)[:, ::-1]
            outputs = np.concatenate([outputs, backward], axis=-1)
        x = outputs
    return x


def _run(cell: Cell, x: Array, w: Weights, where: str, layer: dict[str, Any]) -> Array:
    """The hidden states of all steps, from zeros."""
    hidden = layer["hidden_size"]
    state = np.zeros((len(x), hidden * (2 if layer["type"] == "lstm" else 1)))
    states = [state := cell(x[:, step], state, w, where) for step in range(x.shape[1])]
    return np.stack(states, axis=1)[..., :hidden]


def torch_attention(query: Array, key: Array, value: Array, w: Weights, heads: int) -> Array:
    """softmax(Q K^T / sqrt(d)) V for each head; the heads' outputs beside each other, projected."""
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    weights = np.split(w["in_proj_weight"], 3) if "in_proj_weight" in w else [w[name] for name in names]
    biases = np.split(w["in_proj_bias"], 3) if "in_proj_bias" in w else [np.zeros(1)] * 3
    q, k, v = (
        np.stack(np.split(x @ weight.T + bias, heads, axis=-1), axis=1)
        for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    attended = softmax(q @ k.swapaxes(-1, -2) / sqrt(q.shape[-1])) @ v
    return np.concatenate(list(attended.swapaxes(0, 1)), axis=-1) @ w["out_proj.weight"].T + w.get("out_proj.bias", 0.0)


# Keras.


def keras_dense(x: Array, w: Weights) -> Array:
    """y = x kernel + bias."""
    return x @ w["kernel"] + w.get("bias", 0.0)


def keras_bilinear(one: Array, other: Array, w: Weights) -> Array:
    """Keras has none; this is what an EinsumDense of all products would do."""
    return np.asarray(np.einsum("ni,nj,ijo->no", one, other, w["kernel"]) + w.get("bias", 0.0))


def keras_convolution(x: Array, w: Weights, groups: int = 1, stride: int = STRIDE) -> Array:
    """kernel (*size, inputs / groups, filters); inputs and filters are each split in groups."""
    size, counts = w["kernel"].shape[:-2], _counts(x, w["kernel"].shape[:-2], stride)
    outputs = []
    for part, kernel in zip(np.split(x, groups, axis=-1), np.split(w["kernel"], groups, axis=-1), strict=True):
        outputs.append(sum(part[(slice(None), *window(at, counts, stride))] @ kernel[at] for at in offsets(size)))
    return np.concatenate(outputs, axis=-1) + w.get("bias", 0.0)


def keras_transposed(x: Array, w: Weights, groups: int = 1) -> Array:
    """kernel (*size, filters / groups, inputs); Keras itself has no groups."""
    kernel = w["kernel"]
    size, counts = kernel.shape[:-2], x.shape[1:-1]
    places = [(n - 1) * STRIDE + k for n, k in zip(counts, size, strict=True)]
    outputs = []
    for part, some in zip(np.split(x, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True):
        out = np.zeros((len(x), *places, kernel.shape[-2]))
        for at in offsets(size):
            out[(slice(None), *window(at, counts))] += part @ some[at].T
        outputs.append(out)
    return np.concatenate(outputs, axis=-1) + w.get("bias", 0.0)


def keras_depthwise(x: Array, w: Weights) -> Array:
    """kernel (*size, channels, multiplier); the outputs of a channel stand beside each other."""
    kernel = w["kernel"]
    size, counts = kernel.shape[:-2], _counts(x, kernel.shape[:-2], STRIDE)
    out = sum(x[(slice(None), *window(at, counts))][..., np.newaxis] * kernel[at] for at in offsets(size))
    return np.asarray(out).reshape(len(x), *counts, -1) + w.get("bias", 0.0)


def keras_separable(x: Array, w: Weights) -> Array:
    """A depthwise convolution without bias, then a pointwise one."""
    between = keras_depthwise(x, {"kernel": w["depthwise_kernel"]})
    return keras_convolution(between, w | {"kernel": w["pointwise_kernel"]}, stride=1)


def _counts(x: Array, size: tuple[int, ...], stride: int) -> tuple[int, ...]:
    return tuple((n - k) // stride + 1 for n, k in zip(x.shape[1:-1], size, strict=True))


def keras_embedding(rows: NDArray[np.int64], w: Weights) -> Array:
    return w["embeddings"][rows]


def keras_rnn_cell(x: Array, state: Array, w: Weights, path: str) -> Array:
    """tanh(x kernel + bias + h recurrent_kernel)."""
    return np.tanh(x @ w[path + "kernel"] + w.get(path + "bias", 0.0) + state @ w[path + "recurrent_kernel"])


def keras_lstm_cell(x: Array, state: Array, w: Weights, path: str) -> Array:
    """z = x kernel + h recurrent_kernel + bias, split in i, f, c, o."""
    hidden, memory = np.split(state, 2, axis=-1)
    z = x @ w[path + "kernel"] + hidden @ w[path + "recurrent_kernel"] + w.get(path + "bias", 0.0)
    i, f, c, o = np.split(z, 4, axis=-1)
    memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(c)
    return np.concatenate([sigmoid(o) * np.tanh(memory), memory], axis=-1)


def keras_gru_cell(x: Array, state: Array, w: Weights, path: str) -> Array:
    """reset_after=True: both products with their own bias, split in z, r, h; the reset comes after the product."""
    input_bias, recurrent_bias = w.get(path + "bias", np.zeros((2, 1)))
    of_input = np.split(x @ w[path + "kernel"] + input_bias, 3, axis=-1)
    of_state = np.split(state @ w[path + "recurrent_kernel"] + recurrent_bias, 3, axis=-1)
    z, r = (sigmoid(of_input[gate] + of_state[gate]) for gate in (0, 1))
    return np.asarray(z * state + (1 - z) * np.tanh(of_input[2] + r * of_state[2]))


KERAS_CELLS: Final[dict[str, Cell]] = {"rnn": keras_rnn_cell, "lstm": keras_lstm_cell, "gru": keras_gru_cell}


def keras_recurrent(x: Array, w: Weights, layer: dict[str, Any]) -> Array:
    """RNN layers with return_sequences on each other; Bidirectional concatenates both."""
    cell, several = KERAS_CELLS[layer["type"]], layer.get("num_layers", 1) > 1
    for number in range(layer.get("num_layers", 1)):
        path = f"{number}." if several else ""
        if layer.get("bidirectional"):
            forward = _run(cell, x, w, path + "forward.", layer)
            backward = _run(cell, x[:, ::-1], w, path + "backward.", layer)[:, ::-1]
            x = np.concatenate([forward, backward], axis=-1)
        else:
            x = _run(cell, x, w, path, layer)
    return x


def keras_attention(query: Array, key: Array, value: Array, w: Weights) -> Array:
    """EinsumDense "abc,cde->abde" for each projection, and "abcd,cde->abe" for the outputs."""
    q, k, v = (
        np.einsum("abc,cde->abde", x, w[name + ".kernel"]) + w.get(name + ".bias", 0.0)
        for name, x in (("query", query), ("key", key), ("value", value))
    )
    scores = softmax(np.einsum("aecd,abcd->acbe", k, q / sqrt(q.shape[-1])))
    attended = np.einsum("acbe,aecd->abcd", scores, v)
    out = np.einsum("abcd,cde->abe", attended, w["attention_output.kernel"])
    return np.asarray(out + w.get("attention_output.bias", 0.0))


# Layers as a caller of the service writes them.

Layer = dict[str, Any]
STEPS: Final = 4
"""Of sequences."""
IMAGE: Final = (7, 6, 5)
"""Places along each dimension of images."""


def inputs_of(layer: Layer) -> tuple[NDArray[Any], ...]:
    """Some inputs, as PyTorch has their axes."""
    random = np.random.default_rng(7)
    shapes: list[tuple[int, ...]]
    match layer["type"]:
        case "linear":
            shapes = [(3, layer["in_features"])]
        case "bilinear":
            shapes = [(3, layer["in1_features"]), (3, layer["in2_features"])]
        case "embedding":
            return (np.arange(layer["num_embeddings"]),)
        case "rnn" | "lstm" | "gru":
            shapes = [(3, STEPS, layer["input_size"])]
        case "multihead_attention":
            size = layer["embed_dim"]
            keys = STEPS + 1
            shapes = [(3, STEPS, size), (3, keys, layer.get("kdim") or size), (3, keys, layer.get("vdim") or size)]
        case _:
            shapes = [(3, layer["in_channels"], *IMAGE[: rank_of(layer)])]
    return tuple(random.normal(size=shape) for shape in shapes)


def rank_of(layer: Layer) -> int:
    """Dimensions of the images of a convolution."""
    kind, kernel = layer["type"], layer["kernel_size"]
    if kind.endswith("d"):
        return int(kind[-2])
    return len(kernel) if isinstance(kernel, list) else 2


def _groups(layer: Layer) -> int:
    return int(layer.get("groups", 1))


def _image(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function of images in Keras' axes as one of images in PyTorch's."""
    return lambda x, *others: channels_first(function(channels_last(x), *others))


CONVOLUTIONS: Final = ("conv1d", "conv2d", "conv3d")
TRANSPOSED: Final = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
RECURRENT: Final = ("rnn", "lstm", "gru")
Apply = Callable[..., Array]
"""A layer, its weights and its inputs to its outputs."""
TORCH: Final[dict[str, Apply]] = {
    "linear": lambda _, w, x: torch_linear(x, w),
    "bilinear": lambda _, w, one, other: torch_bilinear(one, other, w),
    **dict.fromkeys(CONVOLUTIONS, lambda layer, w, x: torch_convolution(x, w, _groups(layer))),
    **dict.fromkeys(TRANSPOSED, lambda layer, w, x: torch_transposed(x, w, _groups(layer))),
    "depthwise_conv": lambda layer, w, x: torch_convolution(x, w, layer["in_channels"]),
    "separable_conv": lambda _, w, x: torch_separable(x, w),
    "embedding": lambda _, w, x: torch_embedding(x, w),
    **dict.fromkeys(RECURRENT, lambda layer, w, x: torch_recurrent(x, w, layer)),
    "multihead_attention": lambda layer, w, q, k, v: torch_attention(q, k, v, w, layer["num_heads"]),
}
KERAS: Final[dict[str, Apply]] = {
    "linear": lambda _, w, x: keras_dense(x, w),
    "bilinear": lambda _, w, one, other: keras_bilinear(one, other, w),
    **dict.fromkeys(CONVOLUTIONS, lambda layer, w, x: _image(keras_convolution)(x, w, _groups(layer))),
    **dict.fromkeys(TRANSPOSED, lambda layer, w, x: _image(keras_transposed)(x, w, _groups(layer))),
    "depthwise_conv": lambda _, w, x: _image(keras_depthwise)(x, w),
    "separable_conv": lambda _, w, x: _image(keras_separable)(x, w),
    "embedding": lambda _, w, x: keras_embedding(x, w),
    **dict.fromkeys(RECURRENT, lambda layer, w, x: keras_recurrent(x, w, layer)),
    "multihead_attention": lambda _, w, q, k, v: keras_attention(q, k, v, w),
}


def torch_outputs(layer: Layer, w: Weights) -> Array:
    """What PyTorch's layer makes of the inputs."""
    return TORCH[layer["type"]](layer, w, *inputs_of(layer))


def keras_outputs(layer: Layer, w: Weights) -> Array:
    """What Keras' layer makes of the same inputs, with the axes of PyTorch."""
    return KERAS[layer["type"]](layer, w, *inputs_of(layer))
