"""docs/stream.md against the code: its constants and tables to the last bit, its known answers, and a port of it."""

from __future__ import annotations

import json
import math
import struct
from ast import literal_eval
from hashlib import sha256
from math import inf, prod
from typing import Any, Final

import numpy as np
import pytest

from tests.docs import ours
from tests.docs.document import Row
from tests.docs.layers import LAYERS
from tests.docs.port import cuts, files, metadata, schemes
from tests.docs.port.constants import BINARY32, BINARY64, PAGE
from tests.docs.port.places import canonical_index
from tests.docs.port.values import drawn
from tests.stream import reference

SEED: Final = 20100513
DTYPES: Final = ("F64", "F32", "BF16", "F16", "F8_E4M3", "F8_E5M2")
FRAMEWORKS: Final = ("torch", "keras")
PRECISIONS: Final = {"binary32": ours.BINARY32, "binary64": ours.BINARY64}
each_precision = pytest.mark.parametrize(("name", "p"), PRECISIONS.items(), ids=PRECISIONS)
GOLDEN_RATIO: Final = 0x9E3779B97F4A7C15
WIDTHS: Final = {"of 64 bits": 64, "their upper halves, of 32 bits, the values still in binary64": 32}


def whole(text: str) -> int:
    """An integer, also one such as 2^63 - 1."""
    base, _, rest = text.partition("^")
    exponent, _, less = rest.partition(" - ")
    return int(pow(int(base), int(exponent or 1))) - int(less or 0)


def identity_of(row: Row) -> str:
    return " ".join(value for key, value in row.items() if key not in ("layer", "first bytes"))[:60]


# Sections 2, 6, 7, 8, 10 and 12: constants.


def test_the_tag_and_the_lanes_are_those_of_the_code() -> None:
    constants = {row["constant"]: row["value"] for row in PAGE.table(2, "constant", "value")}

    text = constants["tag"].partition(" ")[0]
    assert text.encode() + b"\0" == ours.TAG
    assert constants["lane of the words that choose zeros (section 14)"] == str(ours.MASK_LANE)


@each_precision
def test_every_constant_of_the_stream_is_that_of_the_code_to_the_last_bit(name: str, p: ours.Precision) -> None:
    rows = {row["constant"]: row[name] for row in PAGE.table(6, "constant", "binary32", "binary64")}
    most, split = rows.pop("N"), rows.pop("M")

    told = PAGE.constants(6, name) | {key: (float.fromhex(text),) for key, text in rows.items()}

    assert told == {key: tuple(map(float, values)) for key, values in p.coefficients.items()}
    assert (int(split, 16), float.fromhex(most)) == (p.root_half, float.fromhex(p.most_sigmas))


def test_every_constant_of_the_far_tail_is_that_of_the_code_to_the_last_bit() -> None:
    assert PAGE.constants(7, "tail") == {"TP": tuple(map(float, ours.TAIL_P)), "TQ": tuple(map(float, ours.TAIL_Q))}


def test_every_constant_of_matrices_is_that_of_the_code() -> None:
    told = {
        row["constant"]: float.fromhex(row["value"]) if "0x" in row["value"] else int(row["value"])
        for row in PAGE.table(12, "constant", "value")
    }

    assert told == ours.CONSTANTS


def test_every_gain_is_that_of_the_code_to_the_last_bit() -> None:
    told = {row["nonlinearity"]: float(row["gain"]) for row in PAGE.table(10, "nonlinearity", "gain")}

    assert told == {name: entry.gain for name, entry in ours.GAINS.items()}


def test_the_deviation_of_a_truncated_normal_is_that_of_the_code() -> None:
    assert f"std_before = std / {ours.STD_OF_TRUNCATED!r}`" in PAGE.section(10)
    assert f"std_before · {ours.STD_OF_TRUNCATED!r} |" in PAGE.section(19)


STORAGE: Final = PAGE.table(
    8, "dtype", "bytes", "mantissa bits", "least normal", "smallest above 0", "largest", "beyond the largest"
)


def test_the_storage_formats_are_those_of_the_code() -> None:
    assert [row["dtype"] for row in STORAGE] == [str(dtype) for dtype in ours.DTYPE_ORDER]


@pytest.mark.parametrize("row", STORAGE, ids=lambda row: row["dtype"])
def test_a_storage_format_has_its_limits(row: Row) -> None:
    dtype = ours.DType(row["dtype"])
    normal, smallest, largest = (float.fromhex(row[key]) for key in ("least normal", "smallest above 0", "largest"))

    assert dtype.itemsize == int(row["bytes"])
    assert (dtype.largest, dtype.step(0.0)) == (largest, smallest)
    assert dtype.step(normal) == smallest == normal * 2.0 ** -int(row["mantissa bits"])
    assert dtype.step(1.0) == 2.0 ** -int(row["mantissa bits"])


@pytest.mark.parametrize("row", STORAGE[2:], ids=lambda row: row["dtype"])
def test_what_lies_beyond_the_largest_value_is_rounded_as_told(row: Row) -> None:
    dtype, largest = ours.DType(row["dtype"]), float.fromhex(row["largest"])
    tie = largest + dtype.step(largest) / 2
    values = np.array(
        [np.nextafter(np.float32(tie), np.float32(0)), tie, np.nextafter(np.float32(tie), np.float32(inf))], np.float32
    )
    with np.errstate(over="ignore"):
        stored = ours.widen(ours.narrow(values, dtype, np.empty(3, dtype.storage)), dtype)

    beyond = {"infinity": inf, "NaN": math.nan}[row["beyond the largest"]]
    np.testing.assert_array_equal(stored, [largest, largest if dtype == "F8_E4M3" else beyond, beyond])


# Section 10: from an initializer to a distribution.

GAIN: Final = ("tanh", 3, {"nonlinearity": "leaky_relu", "negative_slope": 0.3}, {"nonlinearity": "relu"}, "leaky_relu")
WITH_MODE: Final = {
    entry.type
    for entry in ours.initializer_catalogue().initializers
    if "mode" in [parameter.name for parameter in entry.parameters]
}
INITIALIZERS: Final[list[dict[str, Any]]] = [
    *({"type": kind} | more for kind in schemes.SCHEMES for more in ({}, {"multiplier": 0.3}, {"mode": "fan_out"})),
    *({"type": kind, "gain": gain} for kind in ("xavier_uniform", "kaiming_normal") for gain in GAIN),
    *({"type": "kaiming_uniform", "nonlinearity": name} for name in ("selu", "mish", "linear")),
    {"type": "kaiming_normal", "negative_slope": 0.2, "multiplier": 7},
    *(
        {"type": "variance_scaling", "scale": 0.7, "mode": mode, "distribution": law}
        for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
        for law in ("uniform", "normal", "truncated_normal")
    ),
]


def law_of(body: dict[str, Any], rule: str = "exact") -> dict[str, Any]:
    [tensor] = ours.tensors({"seed": 1, "fans": rule, "layers": [body]}).values()
    return tensor.distribution


@pytest.mark.parametrize("rule", ["exact", "torch", "keras"])
@pytest.mark.parametrize(
    "initializer", [each for each in INITIALIZERS if "mode" not in each or each["type"] in WITH_MODE], ids=str
)
def test_every_scheme_has_the_scalars_of_the_page_to_the_last_bit(initializer: dict[str, Any], rule: str) -> None:
    body = {"type": "tensor", "name": "w", "shape": [7, 5, 3], "initializer": initializer}

    fans = (7 * 5, 7 * 3) if rule == "keras" else (5 * 3, 7 * 3)
    assert law_of(body, rule) == schemes.scaled(initializer, fans, rule)


@pytest.mark.parametrize("more", [{}, {"multiplier": 0.3}, {"low": -0.1, "high": 0.7, "multiplier": 3}], ids=str)
def test_a_multiplier_widens_a_uniform_as_the_page_says(more: dict[str, Any]) -> None:
    body = {"type": "tensor", "name": "w", "shape": [2], "initializer": {"type": "uniform"} | more}

    assert law_of(body) == schemes.uniform(**{"low": 0.0, "high": 1.0} | more)


@pytest.mark.parametrize(
    "more",
    [
        {"low": -0.3, "high": 0.7},
        {"std": 0.3, "mean": 0.1, "low": -0.35, "high": 0.77, "absolute": True},
        {"std": 0.07, "mean": 1e9, "low": 1e9 - 0.1, "high": 1e9 + 1 / 3, "absolute": True, "multiplier": 3},
        {"high": None, "absolute": True, "std": 0.7},
    ],
    ids=str,
)
def test_the_ends_of_a_truncated_normal_are_those_of_the_page(more: dict[str, Any]) -> None:
    initializer = {"type": "truncated_normal"} | more
    law = law_of({"type": "tensor", "name": "w", "shape": [2], "initializer": initializer})

    ends = [end if math.isfinite(end) else None for end in schemes.cut_ends(initializer)]
    assert [law["low"], law["high"]] == ends


# Section 9: zeros.


def bits_of_zeros(values: Any) -> set[int]:
    return {int(bits) for bits in values.view(f"u{values.itemsize}")[values == 0]}


def spread_words(count: int) -> Any:
    return (np.arange(count, dtype=np.uint64) * np.uint64(GOLDEN_RATIO) >> np.uint64(32)).astype(np.uint32)


@pytest.mark.parametrize(
    ("low", "high", "zeros"),
    [(-1e-46, 3e-45, {0}), (-3e-45, -1e-46, {0}), (-1e-45, 1e-45, {0, 1 << 31}), (-1e-45, 1.1e-45, {0})],
)
def test_a_clamp_never_turns_one_zero_into_the_other(low: float, high: float, zeros: set[int]) -> None:
    chosen = spread_words(4096)

    values = ours.uniform_values(chosen, low, high, ours.BINARY32)

    assert bits_of_zeros(values) == zeros
    expected = [reference.uniform(int(word), low, high, BINARY32) for word in chosen]
    assert values.tobytes() == struct.pack("<4096f", *expected)


def constant_bytes(value: float, dtype: str) -> bytes:
    layer = {"type": "tensor", "name": "w", "shape": [1], "initializer": {"type": "constant", "value": value}}
    return ours.tensors({"seed": 1, "dtype": dtype, "layers": [layer]})["w"].stored


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_a_constant_that_rounds_to_zero_keeps_its_sign_and_a_written_zero_has_none(dtype: str) -> None:
    negative = constant_bytes(-1e-60, dtype)

    assert int.from_bytes(negative, "little") == 1 << (8 * len(negative) - 1)
    assert not any(constant_bytes(1e-60, dtype) + constant_bytes(-0.0, dtype))


@pytest.mark.parametrize("kind", ["identity", "sparse"])
def test_zeros_that_are_put_there_are_positive(kind: str) -> None:
    more: dict[str, Any] = {"identity": {"gain": -2.0}, "sparse": {"sparsity": 0.5}}[kind]
    layer = {"type": "tensor", "name": "w", "shape": [8, 8], "initializer": {"type": kind} | more}

    values = np.frombuffer(ours.tensors({"seed": 1, "layers": [layer]})["w"].stored, "<f4")

    assert bits_of_zeros(values) == {0}


# Sections 11 and 16: what the axes of a weight connect, its names, and the order of its elements.

NOT_OF_NAMES: Final = ("linear, layout in_out", "tensor", "multihead_attention")
"""Layers that stand for others in the tables of connections, or are stored otherwise."""
ALONE: Final = "the layer's name alone"


def layers_of(cell: str) -> list[str]:
    """The layers that a cell names; after a colon stand their parameters."""
    title = cell.partition(":")[0]
    return [title] if title in LAYERS else title.split(", ")


def layer(title: str, **more: Any) -> dict[str, Any]:
    return {"type": title.partition(",")[0], "name": "x"} | LAYERS[title] | more


def evaluated(expression: str, body: dict[str, Any], **more: Any) -> Any:
    """An expression of the page over the members of a layer."""
    kernel = body.get("kernel_size", [])
    named = {"groups": 1, "depth_multiplier": 1} | body | {"k": kernel, "ones": [1] * len(kernel), **more}
    if "input_size" in body:
        named |= {"gates": {"rnn": 1, "gru": 3, "lstm": 4}[body["type"]], "inputs": body["input_size"]}
    if "embed_dim" in body:
        named["d"] = body["embed_dim"] // body["num_heads"]
    return tuple(eval(expression, {"__builtins__": {}}, named))  # noqa: S307 - an expression of our own page


def connections() -> list[tuple[str, Row]]:
    """Every row, with each of the layers that it is about."""
    rows = PAGE.table(11, "weight", "rule", "view", "in", "out", "batch", "rows")
    return [(title, row) for row in rows for title in layers_of(row["weight"])]


def parameters_of(title: str, row: Row) -> list[str]:
    """The canonical names of the parameters that a row is about."""
    told = row["weight"].partition(": ")[2]
    if title.startswith("tensor"):
        return ["x"]
    if not told or title == "depthwise_conv":
        return ["x.weight"]
    return [f"x.{name}_l0" if name.startswith("weight_") else f"x.{name}" for name in told.split(", ")]


@pytest.mark.parametrize(
    ("title", "row"), connections(), ids=lambda part: part if isinstance(part, str) else part["rule"]
)
def test_the_fans_and_matrices_of_a_weight_are_those_of_the_table(title: str, row: Row) -> None:
    for name in parameters_of(title, row):
        body = layer(title, initializer="orthogonal", fans=row["rule"])
        tensor = ours.tensors({"seed": 1, "layers": [body]})[name]
        view = evaluated(row["view"], body, size=tensor.canonical_shape[-1])
        inputs, outputs, batch, rows = (
            tuple(axis % len(view) for axis in literal_eval(row[key])) for key in ("in", "out", "batch", "rows")
        )

        kernel = prod(size for axis, size in enumerate(view) if axis not in {*inputs, *outputs, *batch})
        assert tensor.fans == tuple(prod(view[axis] for axis in axes) * kernel for axes in (inputs, outputs))
        law = tensor.distribution
        assert (law["shape"], law["batch_axes"], law["row_axes"]) == (list(view), list(batch), list(rows))


def arranged() -> list[tuple[str, Row]]:
    rows = PAGE.table(16, "weight", "view", "axes", "order", "part")
    return [(title, row) for row in rows for title in layers_of(row["weight"])]


@pytest.mark.parametrize(
    ("title", "row"), arranged(), ids=lambda part: part if isinstance(part, str) else part["weight"]
)
def test_the_order_of_elements_is_that_of_the_table(title: str, row: Row) -> None:
    found = ours.tensors({"seed": 1, "framework": "keras", "layers": [layer(title)]}).values()
    for name in parameters_of(title, row):
        kept = [tensor for tensor in found if tensor.canonical_name == name]
        size, kernel = kept[0].canonical_shape[-1], range(2, len(kept[0].canonical_shape))
        view, axes = (evaluated(row[key], layer(title), size=size, kernel=kernel) for key in ("view", "axes"))
        order = literal_eval(row["order"]) if row["order"] else None
        parts = literal_eval(row["part"]) if row["part"] else (None,)

        told = [{"view": view, "axes": axes, "order": order, "part": part} for part in parts]
        assert [tensor.arrangement for tensor in kept] == told


def defaults() -> list[tuple[str, str, str, Any]]:
    """Layers and parameters with what PyTorch draws by itself, as the last table of section 16 has it."""
    return [
        ("linear", "x.weight", "x.bias", "in_features"),
        ("conv2d", "x.weight", "x.bias", "in_channels // groups * k[0] * k[1]"),
        ("conv_transpose2d", "x.weight", "x.bias", "out_channels // groups * k[0] * k[1]"),
        ("depthwise_conv", "x.weight", "x.bias", "k[0] * k[1]"),
        ("separable_conv", "x.depthwise.weight", "", "k[0] * k[1]"),
        ("separable_conv", "x.pointwise.weight", "x.pointwise.bias", "in_channels * depth_multiplier"),
        ("multihead_attention", "x.out_proj.weight", "", "embed_dim"),
    ]


@pytest.mark.parametrize(("title", "weight", "bias", "n"), defaults())
def test_what_torch_draws_by_itself_is_what_the_page_says(title: str, weight: str, bias: str, n: str) -> None:
    body = layer(title, initializer={"type": "torch_default", "multiplier": 0.3})
    found = ours.tensors({"seed": 1, "layers": [body]})
    (count,) = evaluated(f"({n},)", body)

    assert found[weight].distribution == schemes.reset(count, 0.3)
    assert not bias or found[bias].distribution == schemes.within(count, 0.3)


@pytest.mark.parametrize(("title", "n"), [("rnn", 3), ("lstm", 3), ("gru", 3), ("bilinear", 5)])
def test_recurrent_and_bilinear_layers_of_torch_draw_what_the_page_says(title: str, n: int) -> None:
    found = ours.tensors({"seed": 1, "layers": [layer(title, initializer={"type": "torch_default"})]})

    assert all(tensor.distribution == schemes.within(n, 1.0) for tensor in found.values())


@pytest.mark.parametrize(
    ("title", "name", "torch", "keras"),
    [
        ("linear", "x.bias", None, (3, 3)),
        ("lstm", "x.bias_hh_l0", None, (12, 12)),
        ("gru", "x.bias_ih_l0", None, (2, 9)),
        ("multihead_attention", "x.in_proj_bias", None, (2, 3)),
        ("layer_norm", "x.weight", (3, 4), (4, 3)),
        ("group_norm", "x.bias", None, (4, 4)),
    ],
)
def test_biases_and_norms_have_fans_by_their_shape_as_the_page_says(
    title: str, name: str, torch: Any, keras: Any
) -> None:
    for rule, told in (("exact", None), ("torch", torch), ("keras", keras)):
        assert ours.tensors({"seed": 1, "fans": rule, "layers": [layer(title)]})[name].fans == told


def test_the_tables_of_connections_and_names_have_every_layer() -> None:
    every = {entry.type for entry in ours.layer_catalogue().layers} - {"group", "repeat"}
    named = {title.partition(",")[0] for row in names() for title in layers_of(row["layer"])}
    connected = {
        name for name in every if any(each.fans for each in ours.tensors({"seed": 1, "layers": [layer(name)]}).values())
    }

    assert named == every
    assert {title.partition(",")[0] for title, _ in connections()} == connected


def names() -> list[Row]:
    return PAGE.table(16, "layer", "canonical", "shape", "Keras", "Keras shape")


def told_tensors(title: str, framework: str) -> dict[str, tuple[int, ...]]:
    """The names and shapes that the table has for a layer."""
    name, shape = ("canonical", "shape") if framework == "torch" else ("Keras", "Keras shape")
    told: dict[str, tuple[int, ...]] = {}
    for row in names():
        if any(f"{title},".startswith(f"{other},") for other in layers_of(row["layer"])):
            every = row[name].format(n=0).split(", ") if row[name] else []
            told |= {each: evaluated(row[shape], layer(title)) for each in every}
    return told


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("title", [title for title in LAYERS if title not in NOT_OF_NAMES])
def test_the_names_and_shapes_of_a_layer_are_those_of_the_table(title: str, framework: str) -> None:
    found = ours.tensors({"seed": 1, "framework": framework, "layers": [layer(title)]})

    told = told_tensors(title, framework)
    assert {name.removeprefix("x.") if name != "x" else ALONE: each.shape for name, each in found.items()} == told


def test_the_numbers_and_directions_of_a_stack_are_in_the_names() -> None:
    stack = layer("gru", num_layers=2, bidirectional=True)

    torch, keras = (ours.tensors({"seed": 1, "framework": name, "layers": [stack]}) for name in FRAMEWORKS)

    assert {"x.weight_ih_l1_reverse", "x.bias_hh_l0"} < torch.keys()
    assert keras["x.1.backward.kernel"].canonical_name == "x.weight_ih_l1_reverse"
    assert keras["x.1.backward.kernel"].canonical_shape == torch["x.weight_ih_l1_reverse"].shape == (9, 6)


# The port: every kind of tensor, in every dtype and both frameworks.


def drawn_by_port(tensor: ours.Tensor) -> bytes:
    elements: Any = range(prod(tensor.shape))
    if tensor.arrangement:
        elements = [canonical_index(tensor.arrangement, element) for element in elements]
    return drawn(tensor.distribution, tensor.seed, tensor.canonical_name, elements, tensor.dtype)


def small_layers() -> list[dict[str, Any]]:
    """Layers of every distribution; their own dtypes are left to the specification."""
    return [
        {key: value for key, value in body.items() if key != "dtype"} | {"name": f"{place}.{body['name']}"}
        for place, body in enumerate(ours.STRUCTURED)
    ]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_port_written_from_the_page_draws_the_same_bytes(framework: str, dtype: str) -> None:
    found = ours.tensors({"seed": SEED, "framework": framework, "dtype": dtype, "layers": small_layers()})

    for tensor in found.values():
        assert tensor.stored == drawn_by_port(tensor), tensor.name


def test_the_port_has_met_every_distribution() -> None:
    met: set[str] = set()
    for framework in FRAMEWORKS:
        for tensor in ours.tensors({"seed": 1, "framework": framework, "layers": small_layers()}).values():
            met |= kinds(tensor.distribution)

    assert met | {"truncated_normal"} == ours.TAGS


def kinds(law: Any) -> set[str]:
    """The distribution and those within it."""
    inner = [law.get("first"), law.get("second"), *law.get("laws", [])]
    return {law["type"]}.union(*(kinds(each) for each in inner if each))


@pytest.mark.parametrize("shape", [(70, 66), (66, 70), (4100, 2)], ids=str)
def test_the_port_draws_matrices_of_several_panels_and_lanes(shape: tuple[int, int]) -> None:
    body = {"type": "tensor", "name": "w", "shape": list(shape), "initializer": {"type": "orthogonal", "gain": 3}}
    tensor = ours.tensors({"seed": SEED, "dtype": "F64", "layers": [body]})["w"]

    assert tensor.stored == drawn_by_port(tensor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "initializer",
    [
        {"type": "uniform", "low": -0.1, "high": 0.7},
        {"type": "normal", "mean": -0.25, "std": 0.5},
        {"type": "truncated_normal", "mean": 0.1},
        {"type": "truncated_normal", "low": 3, "high": None},
        {"type": "truncated_normal", "mean": 0.1, "std": 0.3, "low": -1, "high": 2.5},
        {"type": "truncated_normal", "low": -36, "high": -35.9, "std": 0.25},
    ],
    ids=str,
)
def test_the_port_draws_values_of_every_elementwise_distribution(initializer: dict[str, Any], dtype: str) -> None:
    body = {"type": "tensor", "name": "e\u0301", "shape": [300], "initializer": initializer}
    tensor = ours.tensors({"seed": SEED, "dtype": dtype, "layers": [body]})["e\u0301"]

    assert tensor.stored == drawn_by_port(tensor)


# Sections 18 and 19: the header of a file.


def header_of(raw: bytes) -> dict[str, Any]:
    return dict(json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]))


def described(raw: bytes) -> dict[str, Any]:
    return dict(json.loads(header_of(raw)["__metadata__"]["xavier"])["tensors"])


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("statistics", ours.OPTIONS)
def test_a_file_is_put_together_as_the_page_says(framework: str, statistics: Any) -> None:
    spec = {"seed": SEED, "framework": framework, "layers": [*ours.MIXED, *ours.STRUCTURED]}
    raw, plan = ours.file(spec, statistics), ours.plan(spec)
    told = {"digest": plan.digest, "seed": str(SEED), "stream": 1}

    assert raw == files.file(told, described(raw), ours.tensors(spec).values())


def test_the_members_and_scalars_of_a_description_are_those_of_the_tables() -> None:
    members = [name for row in PAGE.table(18, "member", "when", "what") for name in row["member"].split(", ")]
    scalars = {
        row["type"]: row["scalars"].partition(";")[0].split(", ")
        for row in PAGE.table(18, "distribution", "type", "scalars")
    }
    met = set()

    for framework in FRAMEWORKS:
        spec = {"seed": SEED, "framework": framework, "layers": [*ours.STRUCTURED]}
        for description in described(ours.file(spec, "measured")).values():
            assert list(description) == [name for name in members if name in description]
            met |= description.keys()
        for tensor in ours.tensors(spec).values():
            assert sorted(tensor.distribution.keys() - {"type"}) == scalars[tensor.distribution["type"]]

    assert met == set(members)
    assert scalars.keys() == ours.TAGS


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_expected_numbers_in_a_file_are_those_of_the_table(framework: str) -> None:
    spec = {"seed": SEED, "framework": framework, "layers": [*ours.MIXED, *ours.STRUCTURED]}
    told = described(ours.file(spec))

    for name, tensor in ours.tensors(spec).items():
        assert told[name]["statistics"]["expected"] == metadata.expected(tensor.distribution, tensor.dtype), name


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_measured_numbers_in_a_file_are_those_of_the_page(framework: str) -> None:
    long = {"type": "tensor", "name": "long", "shape": [131072 * 2 + 5], "initializer": "normal"}
    tiny = {"type": "tensor", "name": "tiny", "shape": [3], "initializer": {"type": "normal", "std": 1e-50}}
    spec = {"seed": SEED, "framework": framework, "layers": [*ours.MIXED, *ours.STRUCTURED, long, tiny]}
    told = described(ours.file(spec, "measured"))

    for name, tensor in ours.tensors(spec).items():
        values = metadata.in_canonical_order(tensor.stored, tensor.dtype, tensor.arrangement)
        assert told[name]["statistics"]["measured"] == metadata.measured(values, tensor.distribution, tensor.dtype), (
            name
        )


# Section 20: known answers.


@pytest.mark.parametrize(
    "row",
    PAGE.table(20, "seed", "name", "lane", "key", "first word", "word32 there and after"),
    ids=lambda row: f"{row['seed']}-{row['lane']}",
)
def test_the_keys_and_words_of_the_page_are_drawn(row: Row) -> None:
    seed, name, lane, first = int(row["seed"]), row["name"], int(row["lane"]), int(row["first word"])
    words = [int(word) for word in row["word32 there and after"].split()]

    assert ours.derive_key(seed, name, lane).hex() == row["key"] == reference.key(seed, name, lane).hex()
    assert ours.WordSource(seed, name).lane(lane, range(first, first + len(words))).tolist() == words
    assert [reference.word(seed, name, first + place, lane) for place in range(len(words))] == words


@pytest.mark.parametrize("row", PAGE.table(20, "precision", "word", "N"), ids=identity_of)
def test_the_normals_of_single_words_are_drawn(row: Row) -> None:
    p = PRECISIONS[row["precision"]]
    word = np.array([whole(row["word"])], p.word)
    f = BINARY32 if p.bits == 32 else BINARY64

    assert f"{int(ours.values_of('normal', word, p).view(p.word)[0]):0{p.bits // 4}x}" == row["N"]
    assert f.bits_of(reference.normal_quantile(int(word[0]), f)) % 2**p.bits == int(row["N"], 16)


@pytest.mark.parametrize(
    "row", PAGE.table(20, "a", "b", "below", "above", "half", "anchor", "origin", "slope"), ids=identity_of
)
def test_the_scalars_of_cuts_are_computed(row: Row) -> None:
    low, high, anchor = (float(row[key]) for key in ("a", "b", "anchor"))
    below, above, half, origin, slope = (
        float.fromhex(row[key]) for key in ("below", "above", "half", "origin", "slope")
    )

    assert (
        tuple(ours.tail_probabilities(low, high))
        == cuts.scalars(low, high)
        == (below, above, half, anchor, origin, slope)
    )


@pytest.mark.parametrize("row", PAGE.table(20, "a", "b", "word", "N"), ids=identity_of)
def test_the_values_of_single_words_of_cuts_are_drawn(row: Row) -> None:
    low, high, word = float(row["a"]), float(row["b"]), whole(row["word"])

    value = float(ours.cut_values(np.array([word], np.uint64), low, high)[0])

    assert struct.pack(">d", value).hex() == row["N"]
    assert cuts.cut_normal(word, 64, (low, high)) == value


def cuts_of_the_digests() -> list[tuple[float, float]]:
    block = PAGE.section(20).partition("```text\ncuts\n")[2].partition("```")[0]
    ends = [float.fromhex(text) if "0x" in text else float(text) for text in block.split()]
    return list(zip(ends[::2], ends[1::2], strict=True))


def words_of_the_digests() -> Any:
    spread = np.arange(1 << 14, dtype=np.uint64) * np.uint64(GOLDEN_RATIO)
    small = [int(spread[s]) >> (1 + s) for s in range(63)]
    near = [word for n in small for word in ((2**63 - 1) ^ n, 2**63 ^ n, n, 2**64 - 1 - n)]
    return np.concatenate([spread, np.array(near, np.uint64)])


@pytest.mark.parametrize("row", PAGE.table(20, "words", "SHA-256"), ids=lambda row: row["words"])
def test_the_digests_of_cuts_are_those_of_the_page(row: Row) -> None:
    bits = WIDTHS[row["words"]]
    words = words_of_the_digests() >> np.uint64(64 - bits)
    words = words.astype(np.uint32 if bits == 32 else np.uint64)

    digest = sha256(
        b"".join(ours.cut_values(words, *cut, 0.5, 0.25).astype("<f8").tobytes() for cut in cuts_of_the_digests())
    )

    assert digest.hexdigest() == row["SHA-256"]


@pytest.mark.parametrize(
    "row", PAGE.table(20, "framework", "layer", "tensor", "dtype", "first bytes"), ids=lambda row: row["tensor"]
)
def test_the_tensors_of_the_page_are_drawn(row: Row) -> None:
    spec = {"seed": SEED, "framework": row["framework"], "dtype": row["dtype"], "layers": [json.loads(row["layer"])]}
    tensor, first = ours.tensors(spec)[row["tensor"]], bytes.fromhex(row["first bytes"])

    assert tensor.stored.startswith(first)
    assert drawn_by_port(tensor).startswith(first)


def test_the_file_of_the_page_is_written() -> None:
    section = PAGE.section(20)
    spec = json.loads(section.partition("```json\n")[2].partition("```")[0])
    canonical, *numbers = section.rpartition("```text\n")[2].partition("```")[0].splitlines()
    told = dict(line.split() for line in numbers)

    plan, raw = ours.plan(spec), ours.file(spec)

    assert plan.canonical.decode() == canonical
    assert plan.digest == sha256(canonical.encode()).hexdigest() == told["digest"]
    assert (len(raw), sha256(raw).hexdigest()) == (int(told["length"]), told["sha256"])
