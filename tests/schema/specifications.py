"""Specifications of every kind, and the same specifications spelled differently."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from service.initializers.gains import NONLINEARITIES, NONLINEARITY_ALIASES
from service.stream.dtypes import DType

Json = Any
Object = dict[str, Any]

counts = st.integers(1, 2**53 - 1)
sizes = st.integers(0, 2**53 - 1)
numbers = st.one_of(st.floats(-1e300, 1e300), st.integers(-(2**53) + 1, 2**53 - 1))
positive = st.one_of(st.floats(1e-300, 1e300), st.integers(1, 2**53 - 1))
names = st.text(st.characters(codec="utf-8"), max_size=12)
seeds = st.integers(0, 2**64 - 1)
nonlinearities = st.sampled_from(NONLINEARITIES)
dtypes = st.sampled_from(list(DType)).map(str)


def with_some(
    required: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries(required, optional=optional)


def typed(
    kind: str, required: dict[str, st.SearchStrategy[Any]] | None = None, **optional: Any
) -> st.SearchStrategy[Object]:
    return with_some({"type": st.just(kind)} | (required or {}), **optional)


gains = st.one_of(
    positive,
    nonlinearities,
    st.fixed_dictionaries({"nonlinearity": nonlinearities}),
    st.fixed_dictionaries({"nonlinearity": st.just("leaky_relu"), "negative_slope": numbers}),
)
xavier_modes = st.sampled_from(["fan_avg", "fan_in", "fan_out"])
modes = st.sampled_from(["fan_avg", "fan_in", "fan_out", "fan_geo_avg"])
distributions = st.sampled_from(["uniform", "normal", "truncated_normal"])
ends = st.lists(numbers, min_size=2, max_size=2, unique=True).map(sorted)
initializers: st.SearchStrategy[Json] = st.one_of(
    st.sampled_from(["xavier_normal", "he_uniform", "glorot_normal", "lecun_normal", "zeros", "normal", "uniform"]),
    typed("xavier_uniform", gain=gains, mode=xavier_modes),
    typed("glorot_normal", gain=gains, mode=xavier_modes),
    typed("kaiming_uniform", gain=gains, mode=modes),
    typed("he_normal", nonlinearity=nonlinearities, mode=modes),
    typed("kaiming_normal", negative_slope=numbers, mode=modes),
    typed("lecun_uniform"),
    typed("variance_scaling", scale=positive, mode=modes, distribution=distributions),
    ends.map(lambda both: {"type": "uniform", "low": both[0], "high": both[1]}).filter(
        lambda distribution: float(distribution["low"]) < float(distribution["high"])
    ),
    typed("normal", mean=numbers, std=positive),
    typed("truncated_normal", mean=numbers, std=positive),
    typed("constant", {"value": numbers}),
    typed("ones"),
)
rules = st.sampled_from(["exact", "torch", "keras"])
own = {"dtype": dtypes, "initializer": initializers, "fans": rules}
with_bias = own | {"bias": st.booleans(), "bias_initializer": initializers}


def layer(kind: str, required: dict[str, st.SearchStrategy[Any]], **optional: Any) -> st.SearchStrategy[Object]:
    return typed(kind, {"name": names} | required, **optional)


channels = {"in_channels": counts, "out_channels": counts}
kernels = {"kernel_size": st.one_of(counts, st.lists(counts, min_size=1, max_size=3))}
shapes = st.one_of(counts, st.lists(counts, min_size=1, max_size=3))


def convolution(kind: str, rank: int) -> st.SearchStrategy[Object]:
    kernel = st.one_of(counts, st.lists(counts, min_size=rank, max_size=rank))
    return layer(f"{kind}{rank}d", channels | {"kernel_size": kernel}, groups=counts, **with_bias)


def recurrent(kind: str, **more: Any) -> st.SearchStrategy[Object]:
    drawn = layer(
        kind,
        {"input_size": counts, "hidden_size": counts},
        num_layers=counts,
        bidirectional=st.booleans(),
        recurrent_initializer=initializers,
        **with_bias,
        **more,
    )
    return drawn.filter(lambda drawn: drawn.get("bias", True) or "forget_bias" not in drawn)


@st.composite
def with_axes(draw: st.DrawFn) -> Object:
    """A bare tensor that names some of its axes, from either end."""
    shape = draw(st.lists(sizes, min_size=1, max_size=5))
    rank = len(shape)
    axes = draw(st.permutations(range(rank)))
    ends = sorted(draw(st.lists(st.integers(0, rank), min_size=3, max_size=3)))
    groups = zip(("in_axes", "out_axes", "batch_axes"), (0, *ends), ends, strict=False)
    named = {
        name: [axis - rank if draw(st.booleans()) else axis for axis in axes[first:last]]
        for name, first, last in groups
    }
    if not named["batch_axes"]:
        del named["batch_axes"]  # an empty list is no other spelling of none at all
    return draw(layer("tensor", {"shape": st.just(shape)}, dtype=dtypes, initializer=initializers)) | named


leaves = st.one_of(
    layer(
        "linear",
        {"in_features": counts, "out_features": counts},
        layout=st.sampled_from(["out_in", "in_out"]),
        **with_bias,
    ),
    layer("dense", {"in_features": counts, "out_features": counts}, **with_bias),
    layer("bilinear", {"in1_features": counts, "in2_features": counts, "out_features": counts}, **with_bias),
    *(convolution(kind, rank) for kind in ("conv", "conv_transpose") for rank in (1, 2, 3)),
    *(
        layer(kind, {"in_channels": counts} | kernels, depth_multiplier=counts, **with_bias)
        for kind in ("depthwise_conv", "depthwise")
    ),
    layer(
        "separable_conv", channels | kernels, depth_multiplier=counts, pointwise_initializer=initializers, **with_bias
    ),
    recurrent("rnn"),
    recurrent("lstm", forget_bias=numbers),
    recurrent("gru"),
    layer(
        "multihead_attention",
        {"embed_dim": counts, "num_heads": counts},
        kdim=counts,
        vdim=counts,
        fused=st.booleans(),
        out_initializer=initializers,
        **with_bias,
    ),
    layer("embedding", {"num_embeddings": counts, "embedding_dim": counts}, **own),
    layer("layer_norm", {"normalized_shape": shapes}, elementwise_affine=st.booleans(), **with_bias),
    layer("rms_norm", {"normalized_shape": shapes}, elementwise_affine=st.booleans(), **own),
    layer(
        "group_norm",
        {"num_groups": counts, "num_channels": counts},
        affine=st.booleans(),
        bias_initializer=initializers,
        **own,
    ),
    *(
        layer(
            kind,
            {"num_features": counts},
            affine=st.booleans(),
            track_running_stats=st.booleans(),
            bias_initializer=initializers,
            **own,
        )
        for kind in ("batch_norm", "instance_norm")
    ),
    with_axes(),
    layer("tensor", {"shape": st.lists(sizes, max_size=4)}, layout=st.sampled_from(["out_in", "in_out"]), **own),
)
layers: st.SearchStrategy[Object] = st.recursive(
    leaves,
    lambda inside: st.one_of(
        layer("group", {"layers": st.lists(inside, min_size=1, max_size=3)}),
        layer("repeat", {"times": counts, "layers": st.lists(inside, min_size=1, max_size=3)}, start=sizes),
    ),
    max_leaves=5,
)
specifications = with_some(
    {"seed": seeds, "layers": st.lists(layers, min_size=1, max_size=3)},
    stream=st.just(1),
    dtype=dtypes,
    framework=st.sampled_from(["torch", "keras"]),
    prefix=names,
    fans=rules,
    initializer=initializers,
)

SAME_NAMES = {
    "xavier_uniform": "glorot_uniform",
    "glorot_normal": "xavier_normal",
    "kaiming_uniform": "he_uniform",
    "kaiming_normal": "he_normal",
    "he_normal": "kaiming_normal",
    "he_uniform": "kaiming_uniform",
    "linear": "dense",
    "dense": "linear",
    "depthwise_conv": "depthwise",
    "depthwise": "depthwise_conv",
}
OTHER_NONLINEARITIES: dict[str, str] = {name: alias for alias, name in NONLINEARITY_ALIASES.items()}
SAME_DTYPES = {
    "F64": "float64",
    "F32": "Float32",
    "F16": "FLOAT16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "f8_e5m2",
}
MODEL_DEFAULTS: Object = {
    "stream": 1,
    "dtype": "F32",
    "framework": "torch",
    "prefix": "",
    "fans": "exact",
    "initializer": "glorot_uniform",
}
KERNELS = {f"{kind}{rank}d": rank for kind in ("conv", "conv_transpose") for rank in (1, 2, 3)}
KERNELS |= dict.fromkeys(("depthwise_conv", "depthwise", "separable_conv"), 2)
"""What a bare number means for a kernel: so many times itself."""
RECURRENT: Object = {"num_layers": 1, "bidirectional": False, "bias": True, "recurrent_initializer": None}
DEFAULTS: dict[str, Object] = {
    "linear": {
        "bias": True,
        "layout": "out_in",
        "dtype": None,
        "initializer": None,
        "fans": None,
        "bias_initializer": None,
    },
    "dense": {"bias": True, "layout": "out_in"},
    "bilinear": {"bias": True, "bias_initializer": None},
    **{kind: {"groups": 1, "bias": True} for kind in KERNELS if kind.endswith("d")},
    "depthwise_conv": {"depth_multiplier": 1, "bias": True},
    "depthwise": {"depth_multiplier": 1},
    "separable_conv": {"depth_multiplier": 1, "pointwise_initializer": None},
    "rnn": RECURRENT,
    "lstm": RECURRENT | {"forget_bias": None},
    "gru": RECURRENT,
    "multihead_attention": {"kdim": None, "vdim": None, "fused": None, "bias": True, "out_initializer": None},
    "layer_norm": {"elementwise_affine": True, "bias": True},
    "rms_norm": {"elementwise_affine": True},
    "group_norm": {"affine": True, "bias_initializer": None},
    "batch_norm": {"affine": True, "track_running_stats": True},
    "instance_norm": {"affine": True, "track_running_stats": False},
    "tensor": {"layout": "out_in"},
    "repeat": {"start": 0},
    "xavier_uniform": {"gain": 1, "mode": "fan_avg"},
    "variance_scaling": {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"},
    "normal": {"mean": 0, "std": 1},
    "truncated_normal": {"mean": -0.0, "std": 1.0},
}


def spelled_otherwise(spec: Object) -> Object:
    """The same specification by other names, with its defaults written, in another order."""
    other = MODEL_DEFAULTS | spec | {"seed": str(spec["seed"])}
    return {key: _other(key, value) for key, value in reversed(other.items())}


NUMBERS = frozenset({"gain", "low", "high", "mean", "std", "scale", "value", "negative_slope", "forget_bias"})


def _other(key: str, value: Json) -> Json:
    if key == "layers":
        value = [_other_object(each) for each in value]
    elif key.endswith("initializer") and value is not None:
        value = _other_object({"type": value} if isinstance(value, str) else value)
    elif key == "dtype" and value is not None:
        value = SAME_DTYPES[value]
    elif key == "normalized_shape" and isinstance(value, int):
        value = [value]
    elif key in NUMBERS and isinstance(value, int):
        value = float(value)
    elif key in ("gain", "nonlinearity") and isinstance(value, str):
        value = OTHER_NONLINEARITIES.get(value, value)
    elif key == "gain" and isinstance(value, dict):
        value = {name: _other(name, each) for name, each in reversed(value.items())}
    return value


def _other_object(value: Object) -> Object:
    kind = value["type"]
    written: Object = DEFAULTS.get(kind, {}) | value | {"type": SAME_NAMES.get(kind, kind)}
    if kind in KERNELS and isinstance(value["kernel_size"], int):
        written["kernel_size"] = [value["kernel_size"]] * KERNELS[kind]
    if "in_axes" in value:
        del written["layout"]
        for axes in {"in_axes", "out_axes", "batch_axes"} & value.keys():
            written[axes] = [axis % len(value["shape"]) for axis in value[axes]]
    return {key: _other(key, each) for key, each in reversed(written.items())}
