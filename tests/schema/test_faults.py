"""Every fault of form has a pointer into the caller's own document and a message: rule, what was received, way out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from service.errors import MOST_FAULTS, Fault, InvalidSpec, MalformedDocument, Refused
from service.initializers.gains import NONLINEARITIES as KNOWN_NONLINEARITIES
from service.schema.catalogue import initializer_models, layer_models
from service.schema.parsing import read_document, read_spec
from tests.schema.specifications import Json, Object, specifications


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def tags(models: Iterable[type[BaseModel]]) -> str:
    """Every name of every type, aliases beside what they mean."""
    return quoted(name for model in models for name in model.model_fields["type"].annotation.__args__)  # type: ignore[union-attr]  # a Literal


INITIALIZERS: Final = tags(initializer_models())
LAYERS: Final = tags(layer_models())
NONLINEARITIES: Final = f"{quoted(KNOWN_NONLINEARITIES[:-1])} or '{KNOWN_NONLINEARITIES[-1]}'"
RULES: Final = "must be 'exact', 'torch' or 'keras'"
FIELDS: Final = "seed, stream, dtype, framework, prefix, fans, initializer, layers"
SEED_RULE: Final = "must be an integer, or a string of decimal digits, from 0 to 2^64-1"
DTYPES: Final = "must be one of F64, F32, F16, BF16, F8_E4M3, F8_E5M2"
MOST_SEED: Final = 2**64 - 1
MOST_INTEGER: Final = 2**53 - 1


def faults(document: Json) -> list[tuple[str, str]]:
    with pytest.raises(InvalidSpec) as refusal:
        read_spec(json.dumps(document).encode())
    return [(fault.pointer, fault.message) for fault in refusal.value.faults]


def spec(**changed: Any) -> Object:
    return {"seed": 1, "layers": [{"type": "linear", "name": "fc", "in_features": 3, "out_features": 2}]} | changed


def linear(**changed: Any) -> Object:
    return spec(layers=[{"type": "linear", "name": "fc", "in_features": 3, "out_features": 2} | changed])


def layer(kind: str, **fields: Any) -> Object:
    return spec(layers=[{"type": kind, "name": "x"} | fields])


def convolution(kernel_size: Json, kind: str = "conv2d") -> Object:
    return layer(kind, in_channels=3, out_channels=2, kernel_size=kernel_size)


def recurrent(kind: str = "lstm", **fields: Any) -> Object:
    return layer(kind, **{"input_size": 3, "hidden_size": 2} | fields)


def attention(**fields: Any) -> Object:
    return layer("multihead_attention", **{"embed_dim": 4, "num_heads": 2} | fields)


def depthwise(kernel_size: Json, **fields: Any) -> Object:
    return layer("depthwise_conv", in_channels=3, kernel_size=kernel_size, **fields)


def separable(**fields: Any) -> Object:
    return layer("separable_conv", **{"in_channels": 3, "out_channels": 2, "kernel_size": 3} | fields)


def axes(**fields: Any) -> Object:
    return layer("tensor", shape=[2, 3], **fields)


def initialized(kind: str, **fields: Any) -> Object:
    return spec(initializer={"type": kind} | fields)


def nested(inside: Object) -> Object:
    repeat = {"type": "repeat", "name": "h", "times": 2, "layers": [{"type": "dense"} | linear()["layers"][0], inside]}
    return spec(layers=[{"type": "group", "name": "g", "layers": [repeat]}])


WRONG: Final[list[tuple[Json, str, str]]] = [
    # The document.
    ([], "", "must be an object; got []"),
    (5, "", "must be an object; got 5"),
    ("xavier", "", 'must be an object; got "xavier"'),
    (None, "", "must be an object; got null"),
    (spec(sed=5), "/sed", "unknown field; did you mean 'seed'?"),
    (spec(**{"a/b~c": 1}), "/a~1b~0c", f"unknown field; known are {FIELDS}"),
    (spec(**{"": 1}), "/", f"unknown field; known are {FIELDS}"),
    # The seed.
    (spec(seed=None), "/seed", "must be an integer; got null"),
    (spec(seed=True), "/seed", "must be an integer; got true"),
    (spec(seed=1.5), "/seed", "must be an integer; got 1.5"),
    (spec(seed=[1]), "/seed", "must be an integer; got [1]"),
    (spec(seed=-1.0), "/seed", "must be at least 0; got -1.0"),
    *(
        (spec(seed=seed), "/seed", f"must be written as an integer or a string of digits above 2^53; got {seed}")
        for seed in (2.0**53 + 2, 1e17, 2.0**64)
    ),
    (spec(seed=-1), "/seed", "must be at least 0; got -1"),
    (spec(seed=2**64), "/seed", f"must be at most {MOST_SEED}; got 18446744073709551616"),
    (spec(seed=str(2**64)), "/seed", f'must be at most {MOST_SEED}; got "18446744073709551616"'),
    *(
        (spec(seed=text), "/seed", f"{SEED_RULE}; got {json.dumps(text)}")
        for text in ("", "01", "-0", "-1", "+1", "1e3", "1.0", " 1", "1 ", "0x1", "1_000", "9" * 21, "\u0661", "one")
    ),
    # Fields of the model.
    (spec(stream=2), "/stream", "must be 1; got 2"),
    (spec(stream="1"), "/stream", 'must be 1; got "1"'),
    (spec(dtype="F31"), "/dtype", f'{DTYPES}; got "F31"'),
    *(
        (spec(dtype=name), "/dtype", f'{DTYPES}; got "{name}"')
        for name in (
            "I64",
            "int8",
            "torch.int8",
            "torch",
            "torch.",
            "torch.torch.half",
            "f8",
            "float8",
            "f4",
            "complex64",
        )
    ),
    *(
        (spec(dtype=name), "/dtype", f'{DTYPES}; F8_E4M3 is the one without infinities, float8_e4m3fn; got "{name}"')
        for name in ("float8_e4m3", "F8E4M3", "torch.float8_e4m3fnuz")
    ),
    (spec(dtype=None), "/dtype", f"{DTYPES}; got null"),
    (spec(dtype=["F32"]), "/dtype", f'{DTYPES}; got ["F32"]'),
    (spec(framework="jax"), "/framework", "must be 'torch' or 'keras'; got \"jax\""),
    (spec(prefix=5), "/prefix", "must be a string; got 5"),
    (spec(layers=None), "/layers", "must be an array; got null"),
    (spec(layers={}), "/layers", "must be an array; got {}"),
    (spec(layers="linear"), "/layers", 'must be an array; got "linear"'),
    (spec(layers=[]), "/layers", "must have at least 1 item; got []"),
    # Initializers.
    (spec(initializer=None), "/initializer", "must be an object; got null"),
    (spec(initializer=5), "/initializer", "must be an object; got 5"),
    (spec(initializer=["zeros"]), "/initializer", 'must be an object; got ["zeros"]'),
    (
        spec(initializer="xavier_unifrom"),
        "/initializer",
        f"must be one of {INITIALIZERS}; got \"xavier_unifrom\"; did you mean 'xavier_uniform'?",
    ),
    (
        initialized("xavier_unifrom"),
        "/initializer/type",
        f"must be one of {INITIALIZERS}; got \"xavier_unifrom\"; did you mean 'xavier_uniform'?",
    ),
    (initialized("heaviside"), "/initializer/type", f'must be one of {INITIALIZERS}; got "heaviside"'),
    (spec(initializer={"type": 5}), "/initializer/type", f"must be one of {INITIALIZERS}; got 5"),
    (spec(initializer={"type": None}), "/initializer/type", f"must be one of {INITIALIZERS}; got null"),
    (initialized("xavier_uniform", gian=2), "/initializer/gian", "unknown field; did you mean 'gain'?"),
    (initialized("glorot_uniform", gian=2), "/initializer/gian", "unknown field; did you mean 'gain'?"),
    (initialized("zeros", value=0), "/initializer/value", "unknown field; known are type"),
    (
        initialized("xavier_uniform", mode="fan_geo_avg"),
        "/initializer/mode",
        "must be 'fan_avg', 'fan_in' or 'fan_out'; got \"fan_geo_avg\"",
    ),
    (
        initialized("kaiming_uniform", mode="fan"),
        "/initializer/mode",
        "must be 'fan_in', 'fan_out', 'fan_avg' or 'fan_geo_avg'; got \"fan\"",
    ),
    (initialized("constant", value="1"), "/initializer/value", 'must be a number; got "1"'),
    (initialized("constant", value=True), "/initializer/value", "must be a number; got true"),
    (initialized("normal", mean=[0]), "/initializer/mean", "must be a number; got [0]"),
    (
        initialized("uniform", low=1, high=0),
        "/initializer",
        'low must be below high; got {"type": "uniform", "low": 1, "high": 0}',
    ),
    (initialized("uniform", low=2), "/initializer", 'low must be below high; got {"type": "uniform", "low": 2}'),
    (
        initialized("uniform", low=0, high=-0.0),
        "/initializer",
        'low must be below high; got {"type": "uniform", "low": 0, "high": -0.0}',
    ),
    (
        initialized("variance_scaling", distribution="truncated"),
        "/initializer/distribution",
        "must be 'uniform', 'normal' or 'truncated_normal'; got \"truncated\"",
    ),
    # Gains: a number, a name or an object.
    (
        initialized("xavier_uniform", gain="tanhh"),
        "/initializer/gain",
        f'must be {NONLINEARITIES}; got "tanhh"',
    ),
    (initialized("xavier_uniform", gain=None), "/initializer/gain", "must be a number; got null"),
    (initialized("xavier_uniform", gain=True), "/initializer/gain", "must be a number; got true"),
    (initialized("xavier_uniform", gain=[1]), "/initializer/gain", "must be a number; got [1]"),
    (
        initialized("xavier_uniform", gain={"nonlinearity": "prelu"}),
        "/initializer/gain/nonlinearity",
        f'must be {NONLINEARITIES}; got "prelu"',
    ),
    (
        initialized("xavier_uniform", gain={"nonlinearity": "leaky_relu", "slope": 1}),
        "/initializer/gain/slope",
        "unknown field; known are nonlinearity, negative_slope",
    ),
    (
        initialized("xavier_uniform", gain={"nonlinearity": "leaky_relu", "negative_slope": "1"}),
        "/initializer/gain/negative_slope",
        'must be a number; got "1"',
    ),
    (
        initialized("xavier_uniform", gain={"nonlinearity": "relu", "negative_slope": 1}),
        "/initializer/gain",
        'negative_slope goes with leaky_relu only: leave it out; got {"nonlinearity": "relu", "negative_slope": 1}',
    ),
    (
        initialized("kaiming_normal", gain=1, nonlinearity="relu"),
        "/initializer",
        (
            "gain stands instead of nonlinearity and negative_slope: give one of them; got "
            '{"type": "kaiming_normal", "gain": 1, "nonlinearity": "relu"…'
        ),
    ),
    # Layers.
    (spec(layers=[5]), "/layers/0", "must be an object; got 5"),
    (spec(layers=["linear"]), "/layers/0", 'must be an object; got "linear"'),
    (spec(layers=[None]), "/layers/0", "must be an object; got null"),
    (spec(layers=[{"type": "dropout"}]), "/layers/0/type", f'must be one of {LAYERS}; got "dropout"'),
    (
        spec(layers=[{"type": "liner"}]),
        "/layers/0/type",
        f"must be one of {LAYERS}; got \"liner\"; did you mean 'linear'?",
    ),
    (spec(layers=[{"type": 5}]), "/layers/0/type", f"must be one of {LAYERS}; got 5"),
    (spec(layers=[{"type": [1]}]), "/layers/0/type", f"must be one of {LAYERS}; got [1]"),
    (linear(in_features=0), "/layers/0/in_features", "must be at least 1; got 0"),
    (linear(in_features=-3), "/layers/0/in_features", "must be at least 1; got -3"),
    (linear(in_features="3"), "/layers/0/in_features", 'must be an integer; got "3"'),
    (linear(in_features=3.5), "/layers/0/in_features", "must be an integer; got 3.5"),
    (linear(in_features=-3.0), "/layers/0/in_features", "must be at least 1; got -3.0"),
    (linear(in_features=1e300), "/layers/0/in_features", f"must be at most {MOST_INTEGER}; got 1e+300"),
    (linear(in_features=False), "/layers/0/in_features", "must be an integer; got false"),
    (linear(in_features=[3]), "/layers/0/in_features", "must be an integer; got [3]"),
    (
        linear(in_features=2**53),
        "/layers/0/in_features",
        f"must be at most {MOST_INTEGER}; got 9007199254740992",
    ),
    (linear(name=5), "/layers/0/name", "must be a string; got 5"),
    (linear(name=None), "/layers/0/name", "must be a string; got null"),
    (linear(bias="yes"), "/layers/0/bias", 'must be true or false; got "yes"'),
    (linear(bias=1), "/layers/0/bias", "must be true or false; got 1"),
    (linear(layout="in-out"), "/layers/0/layout", "must be 'out_in' or 'in_out'; got \"in-out\""),
    (linear(dtype="x"), "/layers/0/dtype", f'{DTYPES}; got "x"'),
    (linear(in_feature=3), "/layers/0/in_feature", "unknown field; did you mean 'in_features'?"),
    (linear(type="dense", in_feature=3), "/layers/0/in_feature", "unknown field; did you mean 'in_features'?"),
    (
        linear(initializer="xavier"),
        "/layers/0/initializer",
        f"must be one of {INITIALIZERS}; got \"xavier\"; did you mean 'xavier_normal'?",
    ),
    (
        linear(bias_initializer={"type": "one"}),
        "/layers/0/bias_initializer/type",
        f"must be one of {INITIALIZERS}; got \"one\"; did you mean 'ones'?",
    ),
    (
        linear(bias_initializer={"type": "constant", "value": None}),
        "/layers/0/bias_initializer/value",
        "must be a number; got null",
    ),
    (
        linear(initializer={"type": "xavier_normal", "gain": {"nonlinearity": 1}}),
        "/layers/0/initializer/gain/nonlinearity",
        f"must be {NONLINEARITIES}; got 1",
    ),
    # Scalars where arrays may be, and arrays.
    (convolution(0), "/layers/0/kernel_size", "must be at least 1; got 0"),
    (convolution(-1, "conv3d"), "/layers/0/kernel_size", "must be at least 1; got -1"),
    (convolution(2**53), "/layers/0/kernel_size", f"must be at most {MOST_INTEGER}; got 9007199254740992"),
    (convolution("3"), "/layers/0/kernel_size", 'must be an array; got "3"'),
    (convolution(3.5), "/layers/0/kernel_size", "must be an array; got 3.5"),
    (convolution(True), "/layers/0/kernel_size", "must be an array; got true"),
    (convolution([3, 0]), "/layers/0/kernel_size/1", "must be at least 1; got 0"),
    (convolution([3, "3"]), "/layers/0/kernel_size/1", 'must be an integer; got "3"'),
    (convolution([1, 2, 3]), "/layers/0/kernel_size", "must have at most 2 items; got [1, 2, 3]"),
    (convolution([3]), "/layers/0/kernel_size", "must have at least 2 items; got [3]"),
    (convolution([3, 0], "conv3d"), "/layers/0/kernel_size", "must have at least 3 items; got [3, 0]"),
    (convolution([], "conv_transpose1d"), "/layers/0/kernel_size", "must have at least 1 item; got []"),
    (layer("layer_norm", normalized_shape=0), "/layers/0/normalized_shape", "must be at least 1; got 0"),
    (layer("layer_norm", normalized_shape=[]), "/layers/0/normalized_shape", "must have at least 1 item; got []"),
    (layer("layer_norm", normalized_shape=[3, 0]), "/layers/0/normalized_shape/1", "must be at least 1; got 0"),
    (layer("layer_norm", normalized_shape="3"), "/layers/0/normalized_shape", 'must be an array; got "3"'),
    (layer("tensor", shape=3), "/layers/0/shape", "must be an array; got 3"),
    (layer("tensor", shape=None), "/layers/0/shape", "must be an array; got null"),
    (layer("tensor", shape={"0": 3}), "/layers/0/shape", 'must be an array; got {"0": 3}'),
    (layer("tensor", shape=[2, -1]), "/layers/0/shape/1", "must be at least 0; got -1"),
    (layer("tensor", shape=[2, 1.5]), "/layers/0/shape/1", "must be an integer; got 1.5"),
    (layer("tensor", shape=[2, True]), "/layers/0/shape/1", "must be an integer; got true"),
    (layer("tensor", shape=[2, [3]]), "/layers/0/shape/1", "must be an integer; got [3]"),
    # How fans are counted.
    (spec(fans="axes"), "/fans", f'{RULES}; got "axes"'),
    (spec(fans=None), "/fans", f"{RULES}; got null"),
    (spec(fans=["exact"]), "/fans", f'{RULES}; got ["exact"]'),
    (linear(fans="true"), "/layers/0/fans", f'{RULES}; got "true"'),
    (recurrent(fans=1), "/layers/0/fans", f"{RULES}; got 1"),
    (spec(fan="exact"), "/fan", "unknown field; did you mean 'fans'?"),
    # Convolutions of other kinds, and bilinear layers.
    (convolution([1, 2, 3], "conv_transpose2d"), "/layers/0/kernel_size", "must have at most 2 items; got [1, 2, 3]"),
    (convolution(0, "conv_transpose3d"), "/layers/0/kernel_size", "must be at least 1; got 0"),
    (convolution([3, 0], "conv_transpose2d"), "/layers/0/kernel_size/1", "must be at least 1; got 0"),
    (depthwise([1, 1, 1, 1]), "/layers/0/kernel_size", "must have at most 3 items; got [1, 1, 1, 1]"),
    (depthwise([]), "/layers/0/kernel_size", "must have at least 1 item; got []"),
    (depthwise(0), "/layers/0/kernel_size", "must be at least 1; got 0"),
    (depthwise(True), "/layers/0/kernel_size", "must be an array; got true"),
    (depthwise(3, depth_multiplier=0), "/layers/0/depth_multiplier", "must be at least 1; got 0"),
    (depthwise(3, out_channels=3), "/layers/0/out_channels", "unknown field; did you mean 'in_channels'?"),
    (separable(kernel_size=[3, "3"]), "/layers/0/kernel_size/1", 'must be an integer; got "3"'),
    (separable(kernel_size="3"), "/layers/0/kernel_size", 'must be an array; got "3"'),
    (
        separable(pointwise_initialiser="ones"),
        "/layers/0/pointwise_initialiser",
        "unknown field; did you mean 'pointwise_initializer'?",
    ),
    (
        separable(pointwise_initializer={"type": "normal", "std": "1"}),
        "/layers/0/pointwise_initializer/std",
        'must be a number; got "1"',
    ),
    (
        layer("bilinear", in1_features=0, in2_features=2, out_features=3),
        "/layers/0/in1_features",
        "must be at least 1; got 0",
    ),
    (
        layer("bilinear", in1_features=1, in2_features=2, out_features=3, in_features=3),
        "/layers/0/in_features",
        "unknown field; did you mean 'in2_features'?",
    ),
    # Recurrent layers and attention.
    (recurrent(num_layers=0), "/layers/0/num_layers", "must be at least 1; got 0"),
    (
        recurrent(num_layers=2**53),
        "/layers/0/num_layers",
        f"must be at most {MOST_INTEGER}; got 9007199254740992",
    ),
    (recurrent("rnn", num_layers="2"), "/layers/0/num_layers", 'must be an integer; got "2"'),
    (recurrent("gru", bidirectional=1), "/layers/0/bidirectional", "must be true or false; got 1"),
    (recurrent(forget_bias="1"), "/layers/0/forget_bias", 'must be a number; got "1"'),
    (recurrent(forget_bias=True), "/layers/0/forget_bias", "must be a number; got true"),
    (
        recurrent("gru", forget_bias=1),
        "/layers/0/forget_bias",
        (
            "unknown field; known are name, dtype, initializer, fans, bias, bias_initializer, input_size, hidden_size,"
            " num_layers, bidirectional, recurrent_initializer, type"
        ),
    ),
    (
        recurrent(recurrent_initializer="orthogonl"),
        "/layers/0/recurrent_initializer",
        f"must be one of {INITIALIZERS}; got \"orthogonl\"; did you mean 'orthogonal'?",
    ),
    (
        recurrent(recurrent_initializer={"type": "xavier_uniform", "gain": "tanhh"}),
        "/layers/0/recurrent_initializer/gain",
        f'must be {NONLINEARITIES}; got "tanhh"',
    ),
    (attention(num_heads=0), "/layers/0/num_heads", "must be at least 1; got 0"),
    (attention(kdim=0), "/layers/0/kdim", "must be at least 1; got 0"),
    (attention(fused="yes"), "/layers/0/fused", 'must be true or false; got "yes"'),
    (attention(out_initializer=5), "/layers/0/out_initializer", "must be an object; got 5"),
    (attention(head_dim=2), "/layers/0/head_dim", "unknown field; did you mean 'embed_dim'?"),
    (layer("group_norm", num_groups=0, num_channels=4), "/layers/0/num_groups", "must be at least 1; got 0"),
    (layer("rms_norm", normalized_shape=[]), "/layers/0/normalized_shape", "must have at least 1 item; got []"),
    (
        layer("rms_norm", normalized_shape=3, bias=True),
        "/layers/0/bias",
        "unknown field; known are name, dtype, initializer, fans, type, normalized_shape, elementwise_affine",
    ),
    (
        layer("instance_norm", num_features=3, track_running_stats="no"),
        "/layers/0/track_running_stats",
        'must be true or false; got "no"',
    ),
    *(
        (
            spec(layers=[{"type": kind}]),
            "/layers/0/type",
            f"must be one of {LAYERS}; got {json.dumps(kind)}; did you mean {meant!r}?",
        )
        for kind, meant in (
            ("conv_transposed2d", "conv_transpose2d"),
            ("multihead_atention", "multihead_attention"),
            ("depthwise_con", "depthwise_conv"),
            ("lsmt", "lstm"),
        )
    ),
    # Axes.
    (axes(in_axes=[0], out_axes=[2]), "/layers/0/out_axes", "must be axes of the shape, from -2 to 1; got [2]"),
    (axes(in_axes=[-3], out_axes=[1]), "/layers/0/in_axes", "must be axes of the shape, from -2 to 1; got [-3]"),
    (
        axes(in_axes=[0], out_axes=[1], batch_axes=[2**70]),
        "/layers/0/batch_axes",
        "must be axes of the shape, from -2 to 1; got [1180591620717411303424]",
    ),
    (axes(in_axes=0, out_axes=[1]), "/layers/0/in_axes", "must be an array; got 0"),
    (axes(in_axes=["0"], out_axes=[1]), "/layers/0/in_axes/0", 'must be an integer; got "0"'),
    (axes(in_axes=[0], out_axes=[True]), "/layers/0/out_axes/0", "must be an integer; got true"),
    (axes(in_axes=[0], out_axes=[1.5]), "/layers/0/out_axes/0", "must be an integer; got 1.5"),
    (axes(in_axis=[0]), "/layers/0/in_axis", "unknown field; did you mean 'in_axes'?"),
    # Nested layers.
    (
        nested(linear(in_features=0)["layers"][0]),
        "/layers/0/layers/0/layers/1/in_features",
        "must be at least 1; got 0",
    ),
    (
        nested({"type": "linr", "name": "a"}),
        "/layers/0/layers/0/layers/1/type",
        f"must be one of {LAYERS}; got \"linr\"; did you mean 'linear'?",
    ),
    (
        nested({"type": "group", "name": "a", "layers": []}),
        "/layers/0/layers/0/layers/1/layers",
        "must have at least 1 item; got []",
    ),
    (
        nested(linear(initializer={"type": "normal", "mean": "0"})["layers"][0]),
        "/layers/0/layers/0/layers/1/initializer/mean",
        'must be a number; got "0"',
    ),
    (
        nested({"type": "repeat", "name": "a", "times": 0, "layers": linear()["layers"]}),
        "/layers/0/layers/0/layers/1/times",
        "must be at least 1; got 0",
    ),
    (
        nested({"type": "repeat", "name": "a", "times": 1, "start": -1, "layers": linear()["layers"]}),
        "/layers/0/layers/0/layers/1/start",
        "must be at least 0; got -1",
    ),
]


@pytest.mark.parametrize(
    ("document", "pointer", "message"), WRONG, ids=[f"{n}:{row[1]}" for n, row in enumerate(WRONG)]
)
def test_a_wrong_specification_has_this_fault(document: Json, pointer: str, message: str) -> None:
    assert faults(document) == [(pointer, message)]


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"in_axes": [0]}, "in_axes and out_axes go together: give both"),
        ({"out_axes": [0]}, "in_axes and out_axes go together: give both"),
        ({"batch_axes": [0]}, "in_axes and out_axes go together: give both"),
        ({"in_axes": [0], "batch_axes": [1], "layout": "in_out"}, "in_axes and out_axes go together: give both"),
        ({"in_axes": [0], "out_axes": [0]}, "in_axes, out_axes and batch_axes must name different axes"),
        ({"in_axes": [0], "out_axes": [-2]}, "in_axes, out_axes and batch_axes must name different axes"),
        ({"in_axes": [1, 1], "out_axes": [0]}, "in_axes, out_axes and batch_axes must name different axes"),
        (
            {"in_axes": [1], "out_axes": [0], "batch_axes": [-1]},
            "in_axes, out_axes and batch_axes must name different axes",
        ),
        (
            {"in_axes": [1], "out_axes": [0], "layout": "out_in"},
            "axes stand instead of layout and fans: give one of them",
        ),
        ({"in_axes": [1], "out_axes": [0], "fans": "torch"}, "axes stand instead of layout and fans: give one of them"),
    ],
    ids=str,
)
def test_axes_that_contradict_each_other_are_blamed_on_the_tensor(fields: Object, rule: str) -> None:
    [(pointer, message)] = faults(axes(**fields))

    assert pointer == "/layers/0"
    assert message.startswith(f'{rule}; got {{"type": "tensor", ')


@pytest.mark.parametrize("key", ["gain", "std", "scale"])
@pytest.mark.parametrize("value", [0, -1, -0.0, -5e-324])
def test_a_number_that_must_be_above_0_says_so(key: str, value: float) -> None:
    kind = {"gain": "xavier_normal", "std": "truncated_normal", "scale": "variance_scaling"}[key]

    [(pointer, message)] = faults(initialized(kind, **{key: value}))

    assert pointer == f"/initializer/{key}"
    assert message.startswith("must be above 0")
    assert message.endswith(f"; got {json.dumps(value)}")


@pytest.mark.parametrize(
    ("document", "pointer", "name"),
    [
        ({"layers": spec()["layers"]}, "/seed", "seed"),
        ({"seed": 1}, "/layers", "layers"),
        (spec(layers=[{}]), "/layers/0", "type"),
        (spec(layers=[{"name": "fc"}]), "/layers/0", "type"),
        (spec(initializer={}), "/initializer", "type"),
        (spec(initializer={"gain": 1}), "/initializer", "type"),
        (initialized("constant"), "/initializer/value", "value"),
        (initialized("xavier_normal", gain={"negative_slope": 1}), "/initializer/gain/nonlinearity", "nonlinearity"),
        (layer("linear", in_features=3), "/layers/0/out_features", "out_features"),
        (layer("tensor"), "/layers/0/shape", "shape"),
        (layer("group"), "/layers/0/layers", "layers"),
        (nested({"type": "tensor", "name": "e"}), "/layers/0/layers/0/layers/1/shape", "shape"),
        (layer("lstm", input_size=3), "/layers/0/hidden_size", "hidden_size"),
        (layer("multihead_attention", embed_dim=3), "/layers/0/num_heads", "num_heads"),
        (layer("depthwise", in_channels=3), "/layers/0/kernel_size", "kernel_size"),
        (recurrent(recurrent_initializer={"type": "constant"}), "/layers/0/recurrent_initializer/value", "value"),
    ],
    ids=str,
)
def test_a_missing_field_is_named_where_it_should_be(document: Json, pointer: str, name: str) -> None:
    [(found, message)] = faults(document)

    assert found in (pointer, f"{pointer}/type" if name == "type" else pointer)
    assert message.startswith(f"{name} ")
    assert "; got" not in message


def test_every_missing_field_is_named() -> None:
    assert [pointer for pointer, _ in faults({})] == ["/seed", "/layers"]
    assert [pointer for pointer, _ in faults(spec(layers=[{"type": "linear"}]))] == [
        "/layers/0/name",
        "/layers/0/in_features",
        "/layers/0/out_features",
    ]


@pytest.mark.parametrize(("kernel", "kind"), [([1], "conv2d"), ([], "conv1d"), ([], "conv2d"), ([1, 2], "conv3d")])
def test_an_array_that_is_too_short_is_named(kernel: list[int], kind: str) -> None:
    found = faults(convolution(kernel, kind))

    assert found
    assert all(pointer.startswith("/layers/0/kernel_size") for pointer, _ in found)


def test_all_faults_of_form_are_named_together() -> None:
    document = spec(
        seed="one",
        dtype="F31",
        layers=[linear(in_features=0, out_features="2")["layers"][0], convolution([0, 0])["layers"][0], 5],
    )

    assert {pointer for pointer, _ in faults(document)} == {
        "/seed",
        "/dtype",
        "/layers/0/in_features",
        "/layers/0/out_features",
        "/layers/1/kernel_size/0",
        "/layers/1/kernel_size/1",
        "/layers/2",
    }


def test_all_faults_of_form_of_all_kinds_of_layers_are_named_together() -> None:
    documents = (
        recurrent(num_layers=0, recurrent_initializer="ortho", fans="no"),
        attention(num_heads="2", out_initializer={"type": "normal", "std": 0}),
        separable(kernel_size=[1, 1, 1, 1], pointwise_initializer={"type": "constant"}),
        layer("conv_transpose1d", in_channels=3, kernel_size=3),
        layer("tensor", shape=[2, 3], in_axes=[2], out_axes=["0"], batch_axes=[-3]),
    )

    found = faults(spec(layers=[document["layers"][0] for document in documents]))

    assert {pointer for pointer, _ in found} == {
        "/layers/0/num_layers",
        "/layers/0/recurrent_initializer",
        "/layers/0/fans",
        "/layers/1/num_heads",
        "/layers/1/out_initializer/std",
        "/layers/2/kernel_size",
        "/layers/2/pointwise_initializer/value",
        "/layers/3/out_channels",
        "/layers/4/in_axes",
        "/layers/4/out_axes/0",
        "/layers/4/batch_axes",
    }


def test_of_very_many_faults_the_first_are_told() -> None:
    found = faults(spec(layers=[5] * 5000))

    assert len(found) == MOST_FAULTS + 1
    assert found[-1] in (("", "and 4900 more faults"), ("", "and more faults"))


def test_as_many_faults_as_are_told_are_all_of_them() -> None:
    found = faults(spec(layers=[5] * MOST_FAULTS))

    assert found == [(f"/layers/{number}", "must be an object; got 5") for number in range(MOST_FAULTS)]


@pytest.mark.parametrize("value", ["x" * 100_000, ["y"] * 10_000, {"z" * 1000: 1}, "\U0001f600" * 1000], ids=type)
def test_large_wrong_values_are_not_repeated_to_the_caller(value: Json) -> None:
    documents = (spec(seed=value), spec(initializer=value), linear(in_features=value), initialized("normal", std=value))
    for document in (*documents, layer("tensor", shape=value), spec(layers=value)):
        assert all(len(message) < 600 for _, message in faults(document)[:MOST_FAULTS])


def test_unknown_fields_of_any_length_are_not_repeated_in_the_message() -> None:
    [(pointer, message)] = faults(spec(**{"k" * 5000: 1}))

    assert pointer.startswith("/" + "k" * 60)
    assert len(pointer) + len(message) < 600


# Documents that are not JSON.


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"nul",
        b"{'seed': 1}",
        b'{"seed": 1,}',
        b'{"seed": 01}',
        b'{"seed": NaN}',
        b'{"seed": Infinity}',
        b'{"seed": -Infinity}',
        b'{"seed": 1} x',
        b'{"seed": "\\ud800"}',
        b'{"\\udc00": 1}',
        b'{"seed": "\x00"}',
        b'{"seed": "\n"}',
        b"\xff",
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        '{"seed": 1}'.encode("utf-16"),
        b"[" * 250 + b"]" * 250,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"seed": 1, "seed": 1}',
        b'{"layers": [{"name": "a", "name": "b"}]}',
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda raw: ascii(raw[:24]),
)
def test_what_is_not_strict_json_is_a_malformed_document(raw: bytes) -> None:
    with pytest.raises(MalformedDocument) as refusal:
        read_spec(raw)
    assert len(str(refusal.value)) < 500


def test_a_duplicate_name_is_named() -> None:
    with pytest.raises(MalformedDocument, match='duplicate name "seed"'):
        read_document(b'{"seed": 1, "seed": 2}')


def test_json_is_read_as_it_is_written() -> None:
    raw = '{"a": [1, -0, 1e3, 18446744073709551615, true, null, "\\u00e9\U0001f600\\n"]}'.encode()

    assert read_document(raw) == {"a": [1, 0, 1000.0, 2**64 - 1, True, None, "\u00e9\U0001f600\n"]}


# Properties of all faults.


def places(value: Json, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inside for place in places(each, (*path, key)))]


def changed(document: Json, place: tuple[str | int, ...], value: Json, *, remove: bool) -> Json:
    document = deepcopy(document)
    node = document
    for step in place[:-1]:
        node = node[step]
    if not place:
        return value
    if remove:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return document


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=6,
)


@st.composite
def slightly_wrong(draw: st.DrawFn) -> Json:
    document = draw(specifications)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(document)[1:] or [()]))
        document = changed(document, place, draw(any_json), remove=draw(st.booleans()))
    return document


def assert_points_into(document: Json, fault: Fault) -> None:
    """Every step but the last leads somewhere; the last is there, or is the name of what is missing."""
    node = document
    steps = [step.replace("~1", "/").replace("~0", "~") for step in fault.pointer.split("/")[1:]]
    for number, step in enumerate(steps):
        if isinstance(node, list):
            assert step.isdecimal(), fault
            assert int(step) < len(node) or number == len(steps) - 1, fault
            node = node[int(step)] if int(step) < len(node) else None
        else:
            assert isinstance(node, dict), fault
            assert step in node or number == len(steps) - 1, fault
            node = node.get(step)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(slightly_wrong())
def test_every_fault_points_into_the_callers_own_document(document: Json) -> None:
    try:
        read_spec(json.dumps(document).encode())
    except Refused as refusal:
        found = refusal.faults
    except MalformedDocument:
        return
    else:
        return
    assert found
    for fault in found:
        assert_points_into(document, fault)


@settings(max_examples=200, deadline=None)
@given(any_json)
def test_any_json_is_a_specification_or_has_faults(document: Json) -> None:
    with pytest.raises((InvalidSpec, MalformedDocument)):
        read_spec(json.dumps(document).encode())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_malformed_document_or_have_faults(raw: bytes) -> None:
    with pytest.raises((InvalidSpec, MalformedDocument)):
        read_spec(raw)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("9007199254740993.0", "must be written as an integer or a string of digits above 2^53"),
        ("9007199254740992.000000001", "must be written as an integer or a string of digits above 2^53"),
        ("1e-400", "must be an integer"),
        ("0.0000000000000000000000001e-999", "must be an integer"),
    ],
)
def test_a_number_is_not_taken_for_the_whole_one_that_it_would_be_rounded_to(number: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=re.escape(message)):
        read_spec(f'{{"seed":{number},"layers":[{{"type":"tensor","name":"w","shape":[]}}]}}'.encode())


def test_true_is_no_version_of_the_stream() -> None:
    [(pointer, message)] = faults(spec(stream=True))

    assert (pointer, message) == ("/stream", "must be 1; got true")
