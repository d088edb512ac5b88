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
CLASSES: Final = (
    "'GlorotUniform', 'GlorotNormal', 'HeUniform', 'HeNormal', 'LecunUniform', 'LecunNormal', 'VarianceScaling',"
    " 'RandomNormal', 'RandomUniform', 'TruncatedNormal', 'Zeros', 'Ones', 'Constant', 'Orthogonal', 'Identity'"
)
NONLINEARITIES: Final = f"must be {quoted(KNOWN_NONLINEARITIES[:-1])} or '{KNOWN_NONLINEARITIES[-1]}'"
RULES: Final = "must be 'exact', 'torch' or 'keras'"
CENTERS: Final = "must be 'torch' or 'jax'"
FIELDS: Final = "seed, stream, dtype, framework, prefix, fans, initializer, layers"
SEED_RULE: Final = "must be an integer, or a string of decimal digits, from 0 to 2^64-1"
DTYPES: Final = "must be one of F64, F32, F16, BF16, F8_E4M3, F8_E5M2"
TOO_LARGE: Final = "must be at most 9007199254740991; got 9007199254740992"
GAIN_INSTEAD: Final = (
    "gain replaces nonlinearity and negative_slope: give only one of them; got "
    '{"type": "kaiming_normal", "gain": 1, "nonlinearity": "relu"…'
)
LEAKY_ONLY: Final = (
    'negative_slope is for leaky_relu only: leave it out; got {"nonlinearity": "relu", "negative_slope": 1}'
)
CELL_FIELDS: Final = (
    "name, dtype, initializer, fans, bias, bias_initializer, input_size, hidden_size, num_layers, bidirectional,"
    " recurrent_initializer, type"
)
NORM_FIELDS: Final = "name, dtype, initializer, fans, type, normalized_shape, elementwise_affine"
TENSOR_AXES: Final = "must be null: give in_axes and out_axes in a tensor layer"
SEEDS_OF_KERAS: Final = "must be an integer, a SeedGenerator or null"
TOGETHER: Final = "in_axes and out_axes go together: give both"
DIFFERENT: Final = "in_axes, out_axes and batch_axes must name different axes"
INSTEAD: Final = "axes replace layout and fans: give only one of them"


def one_of(names: str, got: Json, meant: str = "") -> str:
    return f"must be one of {names}; got {json.dumps(got)}" + (f"; did you mean {meant!r}?" if meant else "")


def each(*values: Json) -> tuple[Json, ...]:
    return values


def known(fields: str) -> str:
    return f"unknown field; known are {fields}"


def unknown(meant: str) -> str:
    return f"unknown field; did you mean {meant!r}?"


def missing(name: str) -> str:
    return f"{name} is required, but missing"


def faults(document: Json) -> list[tuple[str, str]]:
    with pytest.raises(InvalidSpec) as refusal:
        read_spec(json.dumps(document).encode())
    return [(fault.pointer, fault.message) for fault in refusal.value.faults]


def spec(**changed: Any) -> Object:
    return {"seed": 1, "layers": [linear_layer()]} | changed


def linear_layer(**changed: Any) -> Object:
    return {"type": "linear", "name": "fc", "in_features": 3, "out_features": 2} | changed


def linear(**changed: Any) -> Object:
    return spec(layers=[linear_layer(**changed)])


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


def of(kind: str, **fields: Any) -> Object:
    return {"type": kind} | fields


def nested(inside: Object) -> Object:
    repeat = {"type": "repeat", "name": "h", "times": 2, "layers": [linear_layer(type="dense"), inside]}
    return spec(layers=[{"type": "group", "name": "g", "layers": [repeat]}])


def keras(class_name: Json, **config: Json) -> Object:
    return {"class_name": class_name, "config": config}


DOCUMENTS: Final[list[tuple[Json, str, str]]] = [
    *((value, "", f"must be an object; got {json.dumps(value)}") for value in each([], 5, "xavier", None)),
    ({"layers": spec()["layers"]}, "/seed", missing("seed")),
    ({"seed": 1}, "/layers", missing("layers")),
    (spec(sed=5), "/sed", unknown("seed")),
    (spec(**{"a/b~c": 1}), "/a~1b~0c", known(FIELDS)),
    (spec(**{"": 1}), "/", known(FIELDS)),
    *((spec(seed=seed), "/seed", f"must be an integer; got {json.dumps(seed)}") for seed in (None, True, 1.5, [1])),
    *((spec(seed=seed), "/seed", f"must be at least 0; got {seed}") for seed in (-1, -1.0)),
    *(
        (spec(seed=seed), "/seed", f"must be an integer or a string of digits, if it is above 2^53; got {seed}")
        for seed in (2.0**53 + 2, 1e17, 2.0**64)
    ),
    *(
        (spec(seed=seed), "/seed", f"must be at most 18446744073709551615; got {json.dumps(seed)}")
        for seed in (2**64, str(2**64))
    ),
    *(
        (spec(seed=text), "/seed", f"{SEED_RULE}; got {json.dumps(text)}")
        for text in ("", "01", "-0", "-1", "+1", "1e3", "1.0", " 1", "1 ", "0x1", "1_000", "9" * 21, "\u0661", "one")
    ),
    *((spec(stream=value), "/stream", f"must be 1; got {json.dumps(value)}") for value in (2, "1", True)),
    *(
        (spec(dtype=name), "/dtype", f"{DTYPES}; got {json.dumps(name)}")
        for name in ("F31", "int8", "torch.int8", "torch", "torch.", "torch.torch.half", "f8", "float8", None, ["F32"])
    ),
    *(
        (spec(dtype=name), "/dtype", f'{DTYPES}; F8_E4M3 is the one without infinities, float8_e4m3fn; got "{name}"')
        for name in ("float8_e4m3", "F8E4M3", "torch.float8_e4m3fnuz")
    ),
    (spec(framework="jax"), "/framework", "must be 'torch' or 'keras'; got \"jax\""),
    (spec(prefix=5), "/prefix", "must be a string; got 5"),
    *((spec(fans=rule), "/fans", f"{RULES}; got {json.dumps(rule)}") for rule in ("axes", None, ["exact"])),
    (spec(fan="exact"), "/fan", unknown("fans")),
    *((spec(layers=some), "/layers", f"must be an array; got {json.dumps(some)}") for some in each(None, {}, "linear")),
    (spec(layers=[]), "/layers", "must have at least 1 item; got []"),
]
OF_LAYERS: Final[list[tuple[Json, str, str]]] = [
    *((spec(layers=[one]), "", f"must be an object; got {json.dumps(one)}") for one in (5, "linear", None)),
    *((spec(layers=[of(kind)]), "/type", one_of(LAYERS, kind)) for kind in ("dropout", 5, [1])),  # type: ignore[arg-type]  # that is wrong
    *(
        (spec(layers=[of(kind)]), "/type", one_of(LAYERS, kind, meant))
        for kind, meant in (
            ("liner", "linear"),
            ("conv_transposed2d", "conv_transpose2d"),
            ("multihead_atention", "multihead_attention"),
            ("depthwise_con", "depthwise_conv"),
            ("lsmt", "lstm"),
        )
    ),
    (spec(layers=[{}]), "/type", missing("type")),
    (spec(layers=[{"name": "fc"}]), "/type", missing("type")),
    (layer("linear", in_features=3), "/out_features", missing("out_features")),
    (layer("tensor"), "/shape", missing("shape")),
    (layer("group"), "/layers", missing("layers")),
    (layer("lstm", input_size=3), "/hidden_size", missing("hidden_size")),
    (layer("multihead_attention", embed_dim=3), "/num_heads", missing("num_heads")),
    (layer("depthwise", in_channels=3), "/kernel_size", missing("kernel_size")),
    *((linear(in_features=n), "/in_features", f"must be at least 1; got {n}") for n in (0, -3, -3.0)),
    *(
        (linear(in_features=n), "/in_features", f"must be an integer; got {json.dumps(n)}")
        for n in ("3", 3.5, False, [3])
    ),
    (linear(in_features=1e300), "/in_features", "must be at most 9007199254740991; got 1e+300"),
    (linear(in_features=2**53), "/in_features", TOO_LARGE),
    *((linear(name=name), "/name", f"must be a string; got {json.dumps(name)}") for name in (5, None)),
    *((linear(bias=bias), "/bias", f"must be true or false; got {json.dumps(bias)}") for bias in ("yes", 1)),
    (linear(layout="in-out"), "/layout", "must be 'out_in' or 'in_out'; got \"in-out\""),
    (linear(dtype="x"), "/dtype", f'{DTYPES}; got "x"'),
    (linear(in_feature=3), "/in_feature", unknown("in_features")),
    (linear(type="dense", in_feature=3), "/in_feature", unknown("in_features")),
    (linear(fans="true"), "/fans", f'{RULES}; got "true"'),
    (linear(initializer="xavier"), "/initializer", one_of(INITIALIZERS, "xavier", "xavier_normal")),
    (linear(bias_initializer=of("one")), "/bias_initializer/type", one_of(INITIALIZERS, "one", "ones")),
    (linear(initializer=of("normal", mean=None)), "/initializer/mean", "must be a number; got null"),
    # Scalars where arrays may be, and arrays.
    (convolution(0), "/kernel_size", "must be at least 1; got 0"),
    (convolution(0, "conv_transpose3d"), "/kernel_size", "must be at least 1; got 0"),
    (convolution(2**53), "/kernel_size", TOO_LARGE),
    *((convolution(size), "/kernel_size", f"must be an array; got {json.dumps(size)}") for size in ("3", 3.5, True)),
    (convolution([3, 0]), "/kernel_size/1", "must be at least 1; got 0"),
    (convolution([3, "3"], "conv_transpose2d"), "/kernel_size/1", 'must be an integer; got "3"'),
    (convolution([1, 2, 3]), "/kernel_size", "must have at most 2 items; got [1, 2, 3]"),
    (convolution([1, 2, 3], "conv_transpose2d"), "/kernel_size", "must have at most 2 items; got [1, 2, 3]"),
    (convolution([3]), "/kernel_size", "must have at least 2 items; got [3]"),
    (convolution([3, 0], "conv3d"), "/kernel_size", "must have at least 3 items; got [3, 0]"),
    (convolution([], "conv_transpose1d"), "/kernel_size", "must have at least 1 item; got []"),
    (depthwise([1, 1, 1, 1]), "/kernel_size", "must have at most 3 items; got [1, 1, 1, 1]"),
    (depthwise([]), "/kernel_size", "must have at least 1 item; got []"),
    (depthwise(True), "/kernel_size", "must be an array; got true"),
    (depthwise(3, depth_multiplier=0), "/depth_multiplier", "must be at least 1; got 0"),
    (depthwise(3, out_channels=3), "/out_channels", unknown("in_channels")),
    (separable(kernel_size=[3, "3"]), "/kernel_size/1", 'must be an integer; got "3"'),
    (separable(pointwise_initialiser="ones"), "/pointwise_initialiser", unknown("pointwise_initializer")),
    (layer("layer_norm", normalized_shape=0), "/normalized_shape", "must be at least 1; got 0"),
    (layer("rms_norm", normalized_shape=[]), "/normalized_shape", "must have at least 1 item; got []"),
    (layer("rms_norm", normalized_shape=3, bias=True), "/bias", known(NORM_FIELDS)),
    (layer("group_norm", num_groups=0, num_channels=4), "/num_groups", "must be at least 1; got 0"),
    (layer("instance_norm", num_features=3, affine="no"), "/affine", 'must be true or false; got "no"'),
    (layer("bilinear", in1_features=0, in2_features=2, out_features=3), "/in1_features", "must be at least 1; got 0"),
    (layer("tensor", shape=5), "/shape", "must be an array; got 5"),
    (layer("tensor", shape=[2, -1]), "/shape/1", "must be at least 0; got -1"),
    *(
        (layer("tensor", shape=[2, n]), "/shape/1", f"must be an integer; got {json.dumps(n)}")
        for n in (1.5, True, [3])
    ),
    # Recurrent layers and attention.
    (recurrent(num_layers=0), "/num_layers", "must be at least 1; got 0"),
    (recurrent("rnn", num_layers="2"), "/num_layers", 'must be an integer; got "2"'),
    (recurrent("gru", bidirectional=1), "/bidirectional", "must be true or false; got 1"),
    (recurrent(forget_bias=True), "/forget_bias", "must be a number; got true"),
    (recurrent("gru", forget_bias=1), "/forget_bias", known(CELL_FIELDS)),
    (attention(kdim=0), "/kdim", "must be at least 1; got 0"),
    (attention(fused="yes"), "/fused", 'must be true or false; got "yes"'),
    (attention(out_initializer=5), "/out_initializer", "must be an object; got 5"),
    (attention(head_dim=2), "/head_dim", unknown("embed_dim")),
    # Axes.
    (axes(in_axes=[0], out_axes=[2]), "/out_axes", "must be axes of the shape, from -2 to 1; got [2]"),
    (axes(in_axes=[-3], out_axes=[1]), "/in_axes", "must be axes of the shape, from -2 to 1; got [-3]"),
    (
        axes(in_axes=[0], out_axes=[1], batch_axes=[2**70]),
        "/batch_axes",
        "must be axes of the shape, from -2 to 1; got [1180591620717411303424]",
    ),
    (axes(in_axes=0, out_axes=[1]), "/in_axes", "must be an array; got 0"),
    *(
        (axes(in_axes=[axis], out_axes=[1]), "/in_axes/0", f"must be an integer; got {json.dumps(axis)}")
        for axis in ("0", True, 1.5)
    ),
    (axes(in_axis=[0]), "/in_axis", unknown("in_axes")),
    # Nested layers.
    (nested(linear_layer(in_features=0)), "/layers/0/layers/1/in_features", "must be at least 1; got 0"),
    (nested({"type": "linr", "name": "a"}), "/layers/0/layers/1/type", one_of(LAYERS, "linr", "linear")),
    (nested({"type": "tensor", "name": "e"}), "/layers/0/layers/1/shape", missing("shape")),
    (nested(of("group", name="a", layers=[])), "/layers/0/layers/1/layers", "must have at least 1 item; got []"),
    (
        nested(linear_layer(initializer=of("normal", mean="0"))),
        "/layers/0/layers/1/initializer/mean",
        'must be a number; got "0"',
    ),
    (
        nested(of("repeat", name="a", times=0, layers=[linear_layer()])),
        "/layers/0/layers/1/times",
        "must be at least 1; got 0",
    ),
    (
        nested(of("repeat", name="a", times=1, start=-1, layers=[linear_layer()])),
        "/layers/0/layers/1/start",
        "must be at least 0; got -1",
    ),
]
"""Of the first layer."""
OF_INITIALIZERS: Final[list[tuple[Json, str, str]]] = [
    *((value, "", f"must be an object; got {json.dumps(value)}") for value in (None, 5, ["zeros"])),
    ("xavier_unifrom", "", one_of(INITIALIZERS, "xavier_unifrom", "xavier_uniform")),
    (of("xavier_unifrom"), "/type", one_of(INITIALIZERS, "xavier_unifrom", "xavier_uniform")),
    ("delta_ortogonal", "", one_of(INITIALIZERS, "delta_ortogonal", "delta_orthogonal")),
    (of("heaviside"), "/type", one_of(INITIALIZERS, "heaviside")),
    *(({"type": kind}, "/type", one_of(INITIALIZERS, kind)) for kind in (5, None)),
    ({}, "/type", missing("type")),
    ({"gain": 1}, "/type", missing("type")),
    (of("constant"), "/value", missing("value")),
    ("sparse", "", missing("sparsity")),
    (of("sparse"), "/sparsity", missing("sparsity")),
    (of("xavier_normal", gain={"negative_slope": 1}), "/gain/nonlinearity", missing("nonlinearity")),
    (of("xavier_uniform", gian=2), "/gian", unknown("gain")),
    (of("glorot_uniform", gian=2), "/gian", unknown("gain")),
    (of("zeros", value=0), "/value", known("type")),
    (of("orthogonal", groups=2), "/groups", known("multiplier, type, gain, matricisation")),
    (of("dirac", multiplier=2), "/multiplier", known("type, gain, groups, center")),
    (of("identity", groups=2), "/groups", known("type, gain")),
    (of("keras_default", gain=2), "/gain", known("multiplier, type")),
    (of("constant", value=1, multiplier=2), "/multiplier", known("type, value")),
    (of("xavier_uniform", mode="x"), "/mode", "must be 'fan_avg', 'fan_in' or 'fan_out'; got \"x\""),
    (of("kaiming_uniform", mode="x"), "/mode", "must be 'fan_in', 'fan_out', 'fan_avg' or 'fan_geo_avg'; got \"x\""),
    (
        of("variance_scaling", distribution="x"),
        "/distribution",
        "must be 'uniform', 'normal' or 'truncated_normal'; got \"x\"",
    ),
    (of("orthogonal", matricisation="jax"), "/matricisation", f'{RULES}; got "jax"'),
    (of("delta_orthogonal", center="up"), "/center", f'{CENTERS}; got "up"'),
    (of("dirac", center="keras"), "/center", f'{CENTERS}; got "keras"'),
    (of("dirac", groups=0), "/groups", "must be at least 1; got 0"),
    (of("dirac", groups=1.5), "/groups", "must be an integer; got 1.5"),
    *((of("constant", value=value), "/value", f"must be a number; got {json.dumps(value)}") for value in ("1", True)),
    (of("normal", mean=[0]), "/mean", "must be a number; got [0]"),
    (of("truncated_normal", low="a"), "/low", 'must be a number; got "a"'),
    (of("truncated_normal", high=True), "/high", "must be a number; got true"),
    (of("truncated_normal", absolute="yes"), "/absolute", 'must be true or false; got "yes"'),
    (of("sparse", sparsity=None), "/sparsity", "must be a number; got null"),
    (of("sparse", sparsity=1.5), "/sparsity", "must be below 1.0; got 1.5"),
    (of("sparse", sparsity=1), "/sparsity", "must be below 1.0; got 1"),
    (of("sparse", sparsity=-0.1), "/sparsity", "must be at least 0.0; got -0.1"),
    *(
        (of(kind, **{key: value}), f"/{key}", f"must be above 0.0; got {json.dumps(value)}")
        for kind, key, value in (
            ("xavier_normal", "gain", 0),
            ("orthogonal", "gain", -1),
            ("delta_orthogonal", "gain", -0.0),
            ("normal", "std", -5e-324),
            ("truncated_normal", "std", 0),
            ("variance_scaling", "scale", -1),
            ("xavier_uniform", "multiplier", 0),
            ("torch_default", "multiplier", -1),
        )
    ),
    (of("sparse", sparsity=0.5, std=-1), "/std", "must be above 0.0; got -1"),
    *(
        (initializer, "", f"low must be below high; got {json.dumps(initializer)}")
        for initializer in (
            of("uniform", low=1, high=0),
            of("uniform", low=2),
            of("uniform", low=0, high=-0.0),
            of("truncated_normal", low=2, high=-2),
            of("truncated_normal", low=1, high=1),
            of("truncated_normal", low=2),
            of("truncated_normal", high=-2),
        )
    ),
    (
        of("truncated_normal", low=3, high=2, absolute=True),
        "",
        'low must be below high; got {"type": "truncated_normal", "low": 3, "high": 2, "absolute"…',
    ),
    # Gains: a number, a name or an object.
    (of("xavier_uniform", gain="tanhh"), "/gain", f'{NONLINEARITIES}; got "tanhh"'),
    (of("orthogonal", gain="reluu"), "/gain", f'{NONLINEARITIES}; got "reluu"'),
    *(
        (of("xavier_uniform", gain=gain), "/gain", f"must be a number; got {json.dumps(gain)}")
        for gain in (None, True, [1])
    ),
    *((of("identity", gain=gain), "/gain", f"must be a number; got {json.dumps(gain)}") for gain in (None, "relu")),
    (of("xavier_uniform", gain={"nonlinearity": "prelu"}), "/gain/nonlinearity", f'{NONLINEARITIES}; got "prelu"'),
    (
        of("xavier_uniform", gain={"nonlinearity": "leaky_relu", "slope": 1}),
        "/gain/slope",
        known("nonlinearity, negative_slope"),
    ),
    (
        of("xavier_uniform", gain={"nonlinearity": "leaky_relu", "negative_slope": "1"}),
        "/gain/negative_slope",
        'must be a number; got "1"',
    ),
    (of("xavier_uniform", gain={"nonlinearity": "relu", "negative_slope": 1}), "/gain", LEAKY_ONLY),
    (of("orthogonal", gain={"nonlinearity": "relu", "negative_slope": 1}), "/gain", LEAKY_ONLY),
    (of("kaiming_normal", gain=1, nonlinearity="relu"), "", GAIN_INSTEAD),
    # As Keras writes them.
    *((keras(name), "/class_name", one_of(CLASSES, name)) for name in ("STFT", "xavier_uniform", None, ["Zeros"])),
    ({"class_name": "Zeros", "config": None}, "/config", "must be an object; got null"),
    ({"class_name": "Zeros", "config": []}, "/config", "must be an object; got []"),
    ({"class_name": "Zeros", "confg": {}}, "/confg", unknown("config")),
    (
        {"class_name": "Zeros", "value": 1},
        "/value",
        known("class_name, config, module, registered_name, build_config, shared_object_id"),
    ),
    (keras("Zeros") | {"module": 5}, "/module", "must be a string or null; got 5"),
    (keras("Zeros") | {"registered_name": []}, "/registered_name", "must be a string or null; got []"),
    (keras("Orthogonal", gain=0), "/config/gain", "must be above 0.0; got 0"),
    (keras("Orthogonal", gain=None), "/config/gain", "must be a number; got null"),
    (
        keras("Orthogonal", gain={"nonlinearity": "leaky_relu", "slope": 1}),
        "/config/gain/slope",
        known("nonlinearity, negative_slope"),
    ),
    (keras("HeNormal", scale=2), "/config/scale", known("seed, dtype, input_axes, output_axes")),
    (keras("RandomNormal", std=1), "/config/std", unknown("stddev")),
    (keras("RandomNormal", stddev=0), "/config/stddev", "must be above 0.0; got 0"),
    (keras("RandomNormal", stddev="1"), "/config/stddev", 'must be a number; got "1"'),
    (keras("Constant", value=[1]), "/config/value", "must be a number; got [1]"),
    (
        keras("RandomUniform", minval=1),
        "",
        'minval must be below maxval; got {"class_name": "RandomUniform", "config": {"minval": 1}}',
    ),
    (
        keras("VarianceScaling", distribution="plain"),
        "/config/distribution",
        "must be 'truncated_normal', 'normal' (the same), 'untruncated_normal' or 'uniform'; got \"plain\"",
    ),
    (keras("GlorotUniform", input_axes=[0]), "/config/input_axes", f"{TENSOR_AXES}; got [0]"),
    (keras("GlorotUniform", output_axes=0), "/config/output_axes", f"{TENSOR_AXES}; got 0"),
    *(
        (keras("HeNormal", seed=seed), "/config/seed", f"{SEEDS_OF_KERAS}; got {json.dumps(seed)}")
        for seed in each(1.5, True, "1", {})
    ),
    (keras("Zeros", dtype="int8"), "/config/dtype", 'must be the name of a float type, or null; got "int8"'),
    # As PyTorch writes them.
    (of("xavier_uniform_", gian=1), "/gian", unknown("gain")),
    (of("xavier_uniform_", mode="fan_in"), "/mode", known("type, gain")),
    (of("xavier_normal_", **{"a/b~": 1}), "/a~1b~0", known("type, gain")),
    (of("normal_", std=-1), "/std", "must be above 0.0; got -1"),
    (of("uniform_", low=0), "/low", known("type, a, b")),
    (of("uniform_", a=1), "", 'a must be below b; got {"type": "uniform_", "a": 1}'),
    (of("uniform_", a="1"), "/a", 'must be a number; got "1"'),
    (of("trunc_normal_", a=3), "", 'a must be below b; got {"type": "trunc_normal_", "a": 3}'),
    (of("constant_"), "/val", missing("val")),
    (of("constant_", val=None), "/val", "must be a number; got null"),
    ("constant_", "", missing("val")),
    ("sparse_", "", missing("sparsity")),
    (of("dirac_", groups=0), "/groups", "must be at least 1; got 0"),
    (of("kaiming_uniform_", a="x", nonlinearity="relu"), "/a", 'must be a number; got "x"'),
    # As Burn writes them, and as nobody does.
    ({"XavierUniform": 5}, "/XavierUniform", "must be an object; got 5"),
    ({"XavierUniform": {"gain": "tanhh"}}, "/XavierUniform/gain", f'{NONLINEARITIES}; got "tanhh"'),
    ({"XavierUniform": {"gain": 0}}, "/XavierUniform/gain", "must be above 0.0; got 0"),
    ({"XavierUniform": {"gain": 1, "type": 1}}, "/XavierUniform/type", known("gain")),
    ({"Constant": {}}, "/Constant/value", missing("value")),
    ({"Uniform": {"min": 2, "max": 1}}, "", 'min must be below max; got {"Uniform": {"min": 2, "max": 1}}'),
    ({"KaimingNormal": {"fan_out_only": 1}}, "/KaimingNormal/fan_out_only", "must be true or false; got 1"),
    ({"Zeros": {}}, "/type", missing("type")),
    ({"XavierUniform": {}, "XavierNormal": {}}, "/type", missing("type")),
    ({"xavierUniform": {}}, "/type", missing("type")),
]
WRONG: Final = [
    *DOCUMENTS,
    *((document, f"/layers/0{pointer}", message) for document, pointer, message in OF_LAYERS),
    *((spec(initializer=one), f"/initializer{pointer}", message) for one, pointer, message in OF_INITIALIZERS),
]


@pytest.mark.parametrize(
    ("document", "pointer", "message"), WRONG, ids=[f"{n}:{row[1]}" for n, row in enumerate(WRONG)]
)
def test_a_wrong_specification_has_this_fault(document: Json, pointer: str, message: str) -> None:
    assert faults(document) == [(pointer, message)]


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"in_axes": [0]}, TOGETHER),
        ({"out_axes": [0]}, TOGETHER),
        ({"batch_axes": [0]}, TOGETHER),
        ({"in_axes": [0], "batch_axes": [1], "layout": "in_out"}, TOGETHER),
        ({"in_axes": [0], "out_axes": [-2]}, DIFFERENT),
        ({"in_axes": [1, 1], "out_axes": [0]}, DIFFERENT),
        ({"in_axes": [1], "out_axes": [0], "batch_axes": [-1]}, DIFFERENT),
        ({"in_axes": [1], "out_axes": [0], "layout": "out_in"}, INSTEAD),
        ({"in_axes": [1], "out_axes": [0], "fans": "torch"}, INSTEAD),
    ],
    ids=str,
)
def test_axes_that_contradict_each_other_are_blamed_on_the_tensor(fields: Object, rule: str) -> None:
    [(pointer, message)] = faults(axes(**fields))

    assert pointer == "/layers/0"
    assert message.startswith(f'{rule}; got {{"type": "tensor", ')


def test_all_faults_of_form_are_named_together_and_in_order() -> None:
    rows = OF_LAYERS[:MOST_FAULTS]
    layers = [document["layers"][0] for document, _, _ in rows]

    assert faults(spec(layers=layers)) == [
        (f"/layers/{number}{pointer}", message) for number, (_, pointer, message) in enumerate(rows)
    ]
    assert faults({"layers": [{"type": "linear"}]}) == [
        ("/seed", missing("seed")),
        *((f"/layers/0/{name}", missing(name)) for name in ("name", "in_features", "out_features")),
    ]


def test_of_very_many_faults_the_first_are_told() -> None:
    told = [(f"/layers/{number}", "must be an object; got 5") for number in range(MOST_FAULTS)]

    assert faults(spec(layers=[5] * MOST_FAULTS)) == told
    assert faults(spec(layers=[5] * 5000)) == [*told, ("", "and 4900 more faults")]


@pytest.mark.parametrize("value", ["x" * 100_000, ["y"] * 10_000, {"z" * 1000: 1}, "\U0001f600" * 1000], ids=type)
def test_large_wrong_values_are_not_repeated_to_the_caller(value: Json) -> None:
    documents = (
        spec(seed=value),
        spec(initializer=value),
        linear(in_features=value),
        spec(initializer=of("normal", std=value)),
    )
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
        ("9007199254740993.0", "must be an integer or a string of digits, if it is above 2^53"),
        ("9007199254740992.000000001", "must be an integer or a string of digits, if it is above 2^53"),
        ("1e-400", "must be an integer"),
        ("0.0000000000000000000000001e-999", "must be an integer"),
    ],
)
def test_a_number_is_not_taken_for_the_whole_one_that_it_would_be_rounded_to(number: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=re.escape(message)):
        read_spec(f'{{"seed":{number},"layers":[{{"type":"tensor","name":"w","shape":[]}}]}}'.encode())
