"""What PyTorch and Keras make of the same layers, taken from the frameworks themselves.

Usage, by hand, where they are installed (Keras on PyTorch: KERAS_BACKEND=torch); no test needs them:

    python tests/parity/produce.py torch > tests/parity/torch.json
    python tests/parity/produce.py keras > tests/parity/keras.json

Nothing is computed here. The frameworks' own constructors build each layer, and what they hand to the functions that
fill a tensor is written down: names, shapes, fans, and laws with their scalars as C's hexadecimal floats.

    layers    each as a caller of the service writes it, and its tensors as the framework has them: the law by default,
              null where there is none; the fans, where the framework has any; and the sides of the matrix that the
              framework makes orthogonal, the longer first
    schemes   the framework's initializers as a caller of the service writes them
    laws      what the schemes give, by "FAN_IN FAN_OUT"; every tensor was asked, and the same fans gave the same laws

A law is one of

    uniform LOW HIGH
    normal MEAN STD
    truncated_normal MEAN STD      before the cut, which is at two standard deviations
    orthogonal GAIN LONG SHORT     LONG and SHORT: the sides of the matrix
    constant VALUE
    runs VALUE TIMES VALUE TIMES   and so on: equal values, row-major
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from inspect import signature
from itertools import chain, groupby, product
from typing import Any, Final, get_args
from unittest import mock

Json = Any
Layer = dict[str, Any]
Laws = dict[str, str]
"""What each scheme gives."""
Heard = dict[int, tuple[str, Any]]
Make = Callable[[str], Any]
"""Makes an initializer of Keras for an argument of that name; None leaves the default."""

# Layers as a caller of the service writes them; all are named alike. Sizes are such that rounding differs.
IN_BOTH: Final[tuple[Layer, ...]] = (
    {"type": "linear", "in_features": 5, "out_features": 7},
    {"type": "linear", "in_features": 784, "out_features": 256},
    {"type": "linear", "in_features": 3, "out_features": 1, "bias": False},
    {"type": "conv1d", "in_channels": 6, "out_channels": 9, "kernel_size": 5},
    {"type": "conv1d", "in_channels": 6, "out_channels": 9, "kernel_size": 3, "groups": 3, "bias": False},
    {"type": "conv2d", "in_channels": 3, "out_channels": 64, "kernel_size": 7, "bias": False},
    {"type": "conv2d", "in_channels": 6, "out_channels": 9, "kernel_size": [3, 5]},
    {"type": "conv2d", "in_channels": 6, "out_channels": 9, "kernel_size": 3, "groups": 3},
    {"type": "conv3d", "in_channels": 6, "out_channels": 9, "kernel_size": [1, 2, 3]},
    {"type": "conv3d", "in_channels": 6, "out_channels": 9, "kernel_size": 2, "groups": 3},
    {"type": "conv_transpose1d", "in_channels": 6, "out_channels": 9, "kernel_size": 5},
    {"type": "conv_transpose2d", "in_channels": 6, "out_channels": 9, "kernel_size": [3, 5]},
    {"type": "conv_transpose2d", "in_channels": 64, "out_channels": 3, "kernel_size": 4, "bias": False},
    {"type": "conv_transpose3d", "in_channels": 6, "out_channels": 9, "kernel_size": [1, 2, 3]},
    {"type": "depthwise_conv", "in_channels": 6, "kernel_size": [5]},
    {"type": "depthwise_conv", "in_channels": 6, "kernel_size": [3], "depth_multiplier": 2},
    {"type": "depthwise_conv", "in_channels": 32, "kernel_size": 3, "bias": False},
    {"type": "depthwise_conv", "in_channels": 6, "kernel_size": [3, 5], "depth_multiplier": 3},
    {"type": "separable_conv", "in_channels": 6, "out_channels": 7, "kernel_size": [5], "depth_multiplier": 2},
    {"type": "separable_conv", "in_channels": 32, "out_channels": 64, "kernel_size": 3, "bias": False},
    {"type": "separable_conv", "in_channels": 6, "out_channels": 7, "kernel_size": [3, 5], "depth_multiplier": 3},
    {"type": "embedding", "num_embeddings": 11, "embedding_dim": 3},
    {"type": "embedding", "num_embeddings": 1000, "embedding_dim": 64},
    {"type": "rnn", "input_size": 5, "hidden_size": 7},
    {"type": "rnn", "input_size": 5, "hidden_size": 7, "num_layers": 2, "bidirectional": True},
    {"type": "lstm", "input_size": 5, "hidden_size": 7},
    {"type": "lstm", "input_size": 28, "hidden_size": 128, "bias": False},
    {"type": "lstm", "input_size": 5, "hidden_size": 7, "num_layers": 2},
    {"type": "lstm", "input_size": 5, "hidden_size": 7, "bidirectional": True},
    {"type": "lstm", "input_size": 5, "hidden_size": 7, "num_layers": 2, "bidirectional": True},
    {"type": "gru", "input_size": 5, "hidden_size": 7},
    {"type": "gru", "input_size": 5, "hidden_size": 7, "num_layers": 2, "bidirectional": True},
    {"type": "multihead_attention", "embed_dim": 12, "num_heads": 3},
    {"type": "multihead_attention", "embed_dim": 64, "num_heads": 8, "bias": False},
    {"type": "multihead_attention", "embed_dim": 12, "num_heads": 3, "kdim": 5, "vdim": 7},
    {"type": "multihead_attention", "embed_dim": 12, "num_heads": 3, "vdim": 7, "bias": False},
    {"type": "layer_norm", "normalized_shape": 8},
    {"type": "layer_norm", "normalized_shape": 8, "bias": False},
    {"type": "layer_norm", "normalized_shape": [3, 5]},
    {"type": "rms_norm", "normalized_shape": 8},
    {"type": "group_norm", "num_groups": 2, "num_channels": 8},
    {"type": "batch_norm", "num_features": 8},
    {"type": "batch_norm", "num_features": 8, "affine": False},
    {"type": "instance_norm", "num_features": 8, "affine": True},
    {"type": "tensor", "shape": [10, 256]},
    {"type": "tensor", "shape": [3, 5, 7]},
    {"type": "tensor", "shape": [3, 5, 7], "layout": "in_out"},
    {"type": "tensor", "shape": [3, 5, 7, 11]},
    {"type": "tensor", "shape": [2, 3, 5, 7, 11]},
)
IN_TORCH: Final[tuple[Layer, ...]] = (
    {"type": "linear", "in_features": 5, "out_features": 7, "layout": "in_out", "bias": False},
    {"type": "bilinear", "in1_features": 3, "in2_features": 4, "out_features": 5},
    {"type": "bilinear", "in1_features": 30, "in2_features": 7, "out_features": 11, "bias": False},
    {"type": "conv_transpose1d", "in_channels": 6, "out_channels": 9, "kernel_size": 3, "groups": 3},
    {"type": "conv_transpose2d", "in_channels": 6, "out_channels": 9, "kernel_size": 3, "groups": 3, "bias": False},
    {"type": "conv_transpose3d", "in_channels": 6, "out_channels": 9, "kernel_size": 2, "groups": 3},
    {"type": "depthwise_conv", "in_channels": 6, "kernel_size": [1, 2, 3], "depth_multiplier": 2},
    {"type": "separable_conv", "in_channels": 6, "out_channels": 7, "kernel_size": [1, 2, 3]},
    {"type": "rms_norm", "normalized_shape": [3, 5]},
    {"type": "batch_norm", "num_features": 8, "track_running_stats": False},
    {"type": "instance_norm", "num_features": 8, "affine": True, "track_running_stats": True},
)
IN_KERAS: Final[tuple[Layer, ...]] = ({"type": "tensor", "shape": [7]},)

NAME: Final = "layer"
TORCH_MODULES: Final = {
    "linear": "Linear",
    "bilinear": "Bilinear",
    "conv1d": "Conv1d",
    "conv2d": "Conv2d",
    "conv3d": "Conv3d",
    "conv_transpose1d": "ConvTranspose1d",
    "conv_transpose2d": "ConvTranspose2d",
    "conv_transpose3d": "ConvTranspose3d",
    "embedding": "Embedding",
    "rnn": "RNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "multihead_attention": "MultiheadAttention",
    "layer_norm": "LayerNorm",
    "rms_norm": "RMSNorm",
    "group_norm": "GroupNorm",
    "batch_norm": "BatchNorm2d",
    "instance_norm": "InstanceNorm2d",
}
RECURRENT: Final = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
"""What Keras calls recurrent layers. They have one bias where PyTorch, and so the service, has two to be added."""
KERNELS: Final = {f"{name}_initializer" for name in ("kernel", "recurrent", "depthwise", "pointwise", "embeddings")}
UNSAID: Final = {"moving_mean_initializer", "moving_variance_initializer"}
"""What no caller of the service chooses."""
SLOPES: Final = (0.0, 0.1, 0.2, 1 / 3, 1.0, 5**0.5, -0.5, 7.3)
TRUNCATED: Final = ((0.0, 1.0, -2.0, 2.0), (0.5, 0.25, -0.125, 1.25), (0.0, 0.02, -2.0, 2.0), (1.0, 2.0, 0.5, 0.75))
"""Arguments of trunc_normal_: mean, std, a, b."""
WIDTH: Final = 160
DRAWN: Final = 100_000
SIDE: Final = 16
"""Pixels along each dimension of what Keras' convolutions are built for; it decides nothing."""


def law(kind: str, *scalars: float) -> str:
    """A law as it is written down."""
    return " ".join([kind, *(float(scalar).hex() for scalar in scalars)])


def note(laws: dict[str, Laws], fans: Sequence[int], drawn: Laws) -> None:
    """Write down what the schemes give for some fans, unless it is there."""
    assert laws.setdefault("{} {}".format(*fans), drawn) == drawn, f"the law depends on more than the fans {fans}"


def written(value: Json, indent: str = "", key: str = "") -> str:
    """JSON, sorted and indented, but on one line what fits one."""
    line = json.dumps(value, sort_keys=True)
    if len(indent + key + line) < WIDTH or not isinstance(value, dict | list):
        return key + line
    inside = indent + " "
    if isinstance(value, dict):
        members = [written(value[name], inside, f"{json.dumps(name)}: ") for name in sorted(value)]
    else:
        members = [written(each, inside) for each in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{key}{opening}\n{inside}" + f",\n{inside}".join(members) + f"\n{indent}{closing}"


class FromTorch:
    """PyTorch, with an ear on everything that fills a tensor."""

    def __init__(self) -> None:
        self._torch = import_module("torch")
        self._init = import_module("torch.nn.init")
        self._laws: dict[str, Laws] = {}

    def produce(self) -> Json:
        """Everything."""
        return {
            "about": {"python": platform.python_version(), "torch": self._torch.__version__.partition("+")[0]},
            "gains": self._gains(),
            "layers": [{"layer": each, "tensors": list(self._tensors(each))} for each in (*IN_BOTH, *IN_TORCH)],
            "laws": self._laws,
            "schemes": {name: wire for name, (wire, _) in self._schemes().items()},
            "trunc_normal_": [self._truncated(*arguments) for arguments in TRUNCATED],
        }

    def _tensors(self, layer: Layer) -> Iterator[Json]:
        with self._listening() as heard:
            named = self._built(layer)
        found: Json
        for name, tensor in named.items():
            if not tensor.is_floating_point():
                continue
            default, _ = heard.get(id(tensor), (None, None))
            found = {"name": name, "shape": list(tensor.shape), "default": default}
            if tensor.dim() > 1:
                found["fans"] = list(self._init._calculate_fan_in_and_fan_out(tensor))
                found["sides"] = self._sides(tensor)
                note(self._laws, found["fans"], self._drawn(tensor))
            yield found

    def _sides(self, tensor: Any) -> list[int]:
        """Of the matrix that PyTorch makes orthogonal."""
        linear_algebra = self._torch.linalg
        with mock.patch.object(linear_algebra, "qr", wraps=linear_algebra.qr) as qr:
            self._init.orthogonal_(tensor)
        return list(qr.call_args.args[0].shape)

    def _drawn(self, tensor: Any) -> Laws:
        laws = {}
        for name, (_, fill) in self._schemes().items():
            with self._listening() as heard:
                fill(tensor)
            laws[name], _ = heard[id(tensor)]
        return laws

    @contextmanager
    def _listening(self) -> Iterator[Heard]:
        """The law that each tensor was last filled by, and the tensor, by its identity."""
        heard: Heard = {}
        laws: dict[str, Callable[..., str]] = {
            "uniform_": lambda low=0.0, high=1.0: law("uniform", low, high),
            "normal_": lambda mean=0.0, std=1.0: law("normal", mean, std),
            "fill_": lambda value: law("constant", value),
            "zero_": lambda: law("constant", 0.0),
        }
        with ExitStack() as patches:
            for name, law_of in laws.items():
                original = getattr(self._torch.Tensor, name)
                patch = mock.patch.object(self._torch.Tensor, name, _heard_filling(heard, original, law_of))
                patches.enter_context(patch)
            yield heard

    def _built(self, layer: Layer) -> dict[str, Any]:
        """A layer's tensors by name, in order."""
        fields = {key: value for key, value in layer.items() if key != "type"}
        match layer["type"]:
            case "tensor":
                return {NAME: self._torch.empty(layer["shape"])}
            case "linear" if layer.get("layout") == "in_out":  # no module of PyTorch's own
                return {NAME + ".weight": self._torch.empty(layer["in_features"], layer["out_features"])}
            case "depthwise_conv":
                module = self._depthwise(**fields)
            case "separable_conv":
                module = self._separable(**fields)
            case kind:
                module = getattr(self._torch.nn, TORCH_MODULES[kind])(**fields)
        state: dict[str, Any] = module.state_dict(prefix=NAME + ".", keep_vars=True)
        return state

    def _depthwise(self, in_channels: int, kernel_size: Json, depth_multiplier: int = 1, *, bias: bool = True) -> Any:
        kernel = _kernel(kernel_size)
        convolution = getattr(self._torch.nn, f"Conv{len(kernel)}d")
        return convolution(in_channels, in_channels * depth_multiplier, kernel, groups=in_channels, bias=bias)

    def _separable(self, out_channels: int, *, bias: bool = True, **depthwise: Json) -> Any:
        """PyTorch has no such module; its two convolutions are its own."""
        first = self._depthwise(**depthwise, bias=False)
        second = type(first)(first.out_channels, out_channels, 1, bias=bias)
        return self._torch.nn.ModuleDict({"depthwise": first, "pointwise": second})

    def _schemes(self) -> dict[str, tuple[Json, Callable[[Any], Any]]]:
        """Initializers as a caller writes them, and PyTorch's own."""
        schemes: dict[str, tuple[Json, Callable[[Any], Any]]] = {}
        tanh = self._init.calculate_gain("tanh")
        for kind in ("xavier_uniform", "xavier_normal"):
            fill = getattr(self._init, kind + "_")
            schemes[kind] = kind, fill
            schemes[kind + " tanh"] = {"type": kind, "gain": "tanh"}, partial(fill, gain=tanh)
        for kind, mode in product(("kaiming_uniform", "kaiming_normal"), ("fan_in", "fan_out")):
            fill = partial(getattr(self._init, kind + "_"), mode=mode)
            wire = {"type": kind, "mode": mode}
            schemes[f"{kind} {mode} relu"] = wire | {"nonlinearity": "relu"}, partial(fill, nonlinearity="relu")
            schemes[f"{kind} {mode} leaky_relu"] = (
                wire | {"nonlinearity": "leaky_relu", "negative_slope": 0.2},
                partial(fill, nonlinearity="leaky_relu", a=0.2),
            )
        return schemes

    def _gains(self) -> list[Json]:
        """PyTorch's whole table, and leaky_relu with some slopes."""
        names = get_args(self._init._NonlinearityType)
        every: list[tuple[Any, ...]] = [(name,) for name in names] + [("leaky_relu", slope) for slope in SLOPES]
        return [[*arguments, float(self._init.calculate_gain(*arguments)).hex()] for arguments in every]

    def _truncated(self, mean: float, std: float, a: float, b: float) -> Json:
        """What comes out where PyTorch draws."""
        self._torch.manual_seed(0)
        values = self._torch.empty(DRAWN, dtype=self._torch.float64)
        self._init.trunc_normal_(values, mean, std, a, b)
        drawn = {name: getattr(values, name)().item() for name in ("min", "max", "mean", "std")}
        return {"a": a, "b": b, "drawn": drawn, "mean": mean, "std": std}


def _kernel(kernel_size: Json) -> list[int]:
    return list(kernel_size) if isinstance(kernel_size, list) else [kernel_size, kernel_size]


def _heard_filling(heard: Heard, original: Callable[..., Any], law_of: Callable[..., str]) -> Callable[..., Any]:
    def fill(tensor: Any, *scalars: float, generator: Any = None) -> Any:
        heard[id(tensor)] = law_of(*scalars), tensor
        return original(tensor, *scalars, **({} if generator is None else {"generator": generator}))

    return fill


@dataclass
class Weight:
    """A weight that a layer of Keras adds, with what was heard meanwhile."""

    laws: list[str] = field(default_factory=list)
    fans: list[list[int]] = field(default_factory=list)
    sizes: list[list[int]] = field(default_factory=list)
    """Shapes of what was drawn; those of an orthogonal matrix are not the weight's."""
    path: str = ""
    shape: list[int] = field(default_factory=list)
    made_orthogonal: bool = False

    def finish(self, variable: Any, initializer: Any) -> None:
        """Write down what became of it."""
        self.path, self.shape = variable.path, list(variable.shape)
        self.made_orthogonal = type(initializer).__name__ == "Orthogonal"
        if self.made_orthogonal:
            [sides] = self.sizes
            self.laws = [law("orthogonal", initializer.gain) + " {} {}".format(*sides)]
        self.laws = self.laws or [_runs(variable.numpy().ravel().tolist())]

    @property
    def law(self) -> str:
        """The only one."""
        [only] = self.laws
        return only


class FromKeras:
    """Keras, with an ear on its random numbers, on its rule for fans, and on every weight that a layer adds."""

    def __init__(self) -> None:
        self._keras = import_module("keras")
        self._layer = import_module("keras.src.layers.layer").Layer
        self._initializers = import_module("keras.src.initializers.random_initializers")
        self._laws: dict[str, Laws] = {}

    def produce(self) -> Json:
        """Everything."""
        return {
            "about": {
                "backend": self._keras.backend.backend(),
                "keras": self._keras.__version__,
                "python": platform.python_version(),
            },
            "layers": [{"layer": each, "tensors": self._tensors(each)} for each in (*IN_BOTH, *IN_KERAS)],
            "laws": self._laws,
            "schemes": {name: wire for name, (wire, _) in self._schemes().items()},
        }

    def _tensors(self, layer: Layer) -> list[Json]:
        bare = layer["type"] == "tensor"
        tensors: dict[str, Json] = {
            each.path: {"name": each.path, "shape": each.shape, "default": None if bare else each.law}
            for each in self._weights(layer)
        }
        drawn: dict[str, Laws] = {}
        for scheme, (_, make) in self._schemes().items():
            for each in self._weights(layer, make):
                if each.fans:
                    [tensors[each.path]["fans"]] = each.fans
                    drawn.setdefault(each.path, {})[scheme] = each.law
        for path, laws in drawn.items():
            note(self._laws, tensors[path]["fans"], laws)
        for each in self._weights(layer, self._orthogonal):
            if each.made_orthogonal:
                tensors[each.path]["sides"] = each.sizes[0]
        return list(tensors.values())

    def _weights(self, layer: Layer, make: Make | None = None) -> list[Weight]:
        """The weights of a layer, drawn by its defaults or by what is made for each."""
        weights: list[Weight] = []
        add = self._layer.add_weight

        def added(to: Any, *arguments: Any, **fields: Any) -> Any:
            weights.append(Weight())
            variable = add(to, *arguments, **fields)
            weights[-1].finish(variable, fields["initializer"])
            return variable

        with self._listening(weights), mock.patch.object(self._layer, "add_weight", added):
            order = [path for built in self._built(layer, make) for path in built]
        assert len(weights) == len(order), "a layer has weights that it has not added"
        return sorted(weights, key=lambda each: order.index(each.path))

    @contextmanager
    def _listening(self, weights: list[Weight]) -> Iterator[None]:
        """Tell the weight that is just being added what is drawn, with which fans; what is drawn are zeros."""
        compute_fans = self._initializers.compute_fans

        def fans(*arguments: Any, **fields: Any) -> Any:
            weights[-1].fans.append(list(found := compute_fans(*arguments, **fields)))
            return found

        def drawing(kind: str, *names: str) -> Callable[..., Any]:
            def draw(shape: Sequence[int], **scalars: Any) -> Any:
                weights[-1].laws.append(law(kind, *(scalars.get(name, int(name == "stddev")) for name in names)))
                weights[-1].sizes.append(list(shape))
                return self._keras.ops.zeros(shape)

            return draw

        random = {
            "uniform": drawing("uniform", "minval", "maxval"),
            "normal": drawing("normal", "mean", "stddev"),
            "truncated_normal": drawing("truncated_normal", "mean", "stddev"),
        }
        with ExitStack() as patches:
            for name, draw in random.items():
                patches.enter_context(mock.patch.object(self._initializers.random, name, draw))
            patches.enter_context(mock.patch.object(self._initializers, "compute_fans", fans))
            yield

    def _built(self, layer: Layer, make: Make | None) -> Iterator[list[str]]:
        """Build the layers of Keras that a layer is; the paths of the weights of each, in order."""
        match layer["type"]:
            case "linear":
                yield self._paths(self._made(layer, make, "Dense", layer["out_features"]), [layer["in_features"]])
            case "embedding":
                yield self._paths(self._made(layer, make, "Embedding", layer["num_embeddings"], layer["embedding_dim"]))
            case "rnn" | "lstm" | "gru":
                yield from self._recurrent(layer, make)
            case "multihead_attention":
                embed, heads = layer["embed_dim"], layer["num_heads"]
                attention = self._made(layer, make, "MultiHeadAttention", heads, embed // heads)
                sizes = {"vdim": embed, "kdim": embed} | layer
                yield self._paths(attention, *([SIDE, sizes[name]] for name in ("embed_dim", "vdim", "kdim")))
            case "tensor":
                bare = self._keras.layers.Layer(name=NAME)
                said = make and make("kernel_initializer" if len(layer["shape"]) > 1 else "bias_initializer")
                bare.add_weight(shape=layer["shape"], initializer=said or "zeros", name="tensor")
                yield self._paths(bare, [])
            case kind if kind.endswith("_norm"):
                yield self._norm(layer, make)
            case _:
                yield self._convolution(layer, make)

    def _convolution(self, layer: Layer, make: Make | None) -> list[str]:
        kind = layer["type"]
        kernel = layer["kernel_size"]
        if kind in ("depthwise_conv", "separable_conv"):
            kernel = _kernel(kernel)
            rank = len(kernel)
            name = {"depthwise_conv": "Depthwise", "separable_conv": "Separable"}[kind] + f"Conv{rank}D"
            fields = {"depth_multiplier": layer.get("depth_multiplier", 1)}
        elif kind.startswith("conv_transpose"):
            rank = int(kind[-2])
            name, fields = f"Conv{rank}DTranspose", {}
        else:
            rank = int(kind[-2])
            name, fields = f"Conv{rank}D", {"groups": layer.get("groups", 1)}
        outputs = [layer["out_channels"]] if "out_channels" in layer else []
        convolution = self._made(layer, make, name, *outputs, kernel, **fields)
        return self._paths(convolution, [*[SIDE] * rank, layer["in_channels"]])

    def _recurrent(self, layer: Layer, make: Make | None) -> Iterator[list[str]]:
        name = RECURRENT[layer["type"]]
        size, times = layer["hidden_size"], layer.get("num_layers", 1)
        inputs = layer["input_size"]
        for number in range(times):
            place = NAME if times == 1 else f"{NAME}_{number}"
            recurrent = self._made(layer, make, name, size, return_sequences=True, name=place)
            if layer.get("bidirectional", False):
                recurrent = self._keras.layers.Bidirectional(recurrent, name=place)
            yield self._paths(recurrent, [SIDE, inputs])
            inputs = size * (1 + layer.get("bidirectional", False))

    def _norm(self, layer: Layer, make: Make | None) -> list[str]:
        channels = layer.get("num_features", layer.get("num_channels"))
        shape = layer.get("normalized_shape", channels)
        shape = shape if isinstance(shape, list) else [shape]
        last = {"axis": list(range(-len(shape), 0))}
        affine = layer.get("affine", True)
        norms: dict[str, tuple[str, list[int], dict[str, Json]]] = {
            "layer_norm": ("LayerNormalization", [], last | {"center": layer.get("bias", True)}),
            "rms_norm": ("RMSNormalization", [], last),
            "group_norm": ("GroupNormalization", [layer.get("num_groups", 0)], {}),
            "instance_norm": ("GroupNormalization", [-1], {}),
            "batch_norm": ("BatchNormalization", [], {"center": affine, "scale": affine}),
        }
        name, arguments, fields = norms[layer["type"]]
        return self._paths(self._made(layer, make, name, *arguments, **fields), [SIDE, *shape])

    def _made(self, layer: Layer, make: Make | None, kind: str, *arguments: Any, **fields: Any) -> Any:
        """A layer of Keras with its default initializers, or with what is made for each that a caller may choose."""
        cls = getattr(self._keras.layers, kind)
        known = signature(cls).parameters
        if "use_bias" in known:
            fields["use_bias"] = layer.get("bias", True)
        for name in known:
            if name in UNSAID or (name == "bias_initializer" and layer["type"] in RECURRENT):
                continue
            if make and name.endswith("_initializer") and (made := make(name)):
                fields[name] = made
        return cls(*arguments, **{"name": NAME} | fields)

    def _paths(self, layer: Any, *inputs: list[int]) -> list[str]:
        """Build a layer for inputs of some shapes."""
        layer.build(*((None, *shape) for shape in inputs))
        return [weight.path for weight in layer.weights]

    def _orthogonal(self, name: str) -> Any:
        """For kernels; Keras makes nothing of rank 1 orthogonal."""
        return self._keras.initializers.Orthogonal() if name in KERNELS else None

    def _schemes(self) -> dict[str, tuple[Json, Make]]:
        """Initializers as a caller writes them, and Keras' own; its normals are truncated, by whatever name."""
        keras = self._keras.initializers
        general = (
            (0.1, "fan_in", "uniform"),
            (0.7, "fan_avg", "uniform"),
            (3.0, "fan_out", "truncated_normal"),
            (1.0, "fan_avg", "untruncated_normal"),
            (2.0, "fan_out", "untruncated_normal"),
        )

        def scaling(scale: float, mode: str, distribution: str = "truncated_normal") -> Json:
            return {"type": "variance_scaling", "scale": scale, "mode": mode, "distribution": distribution}

        named = (
            ("glorot_uniform", "glorot_uniform", keras.GlorotUniform),
            ("glorot_normal", scaling(1.0, "fan_avg"), keras.GlorotNormal),
            ("he_uniform", "he_uniform", keras.HeUniform),
            ("he_normal", scaling(2.0, "fan_in"), keras.HeNormal),
            ("lecun_uniform", "lecun_uniform", keras.LecunUniform),
            ("lecun_normal", scaling(1.0, "fan_in"), keras.LecunNormal),
        )
        schemes = {name: (wire, _made_for_all(cls)) for name, wire, cls in named}
        for scale, mode, shape in general:
            schemes[f"variance_scaling {scale} {mode} {shape}"] = (
                scaling(scale, mode, {"untruncated_normal": "normal"}.get(shape, shape)),
                _made_for_all(keras.VarianceScaling, scale, mode, shape),
            )
        return schemes


def _made_for_all(cls: Callable[..., Any], *arguments: Any) -> Make:
    return lambda _: cls(*arguments)


def _runs(values: list[float]) -> str:
    runs = [(value, len(list(same))) for value, same in groupby(values)]
    if len(runs) == 1:
        return law("constant", values[0])
    return " ".join(["runs", *chain.from_iterable((value.hex(), str(times)) for value, times in runs)])


if __name__ == "__main__":
    FRAMEWORKS: Final[dict[str, Callable[[], FromTorch | FromKeras]]] = {"torch": FromTorch, "keras": FromKeras}
    sys.stdout.write(written(FRAMEWORKS[sys.argv[1]]().produce()) + "\n")
