"""The values that a specification is made of, as they are read."""

from __future__ import annotations

import json
import re
from math import copysign
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from service.initializers.gains import NONLINEARITY_ALIASES
from service.schema.canonical import canonical_document
from service.schema.fields import DTYPE_ALIASES, DTypeField, named_dtype
from service.schema.initializers import (
    INITIALIZER_ALIASES,
    Constant,
    GainOf,
    KaimingUniform,
    Normal,
    Uniform,
    XavierUniform,
)
from service.schema.layers import LAYER_ALIASES, Convolution, ConvTranspose, LayerNorm, RMSNorm, SeparableConv, Tensor
from service.schema.model import ModelSpec
from service.schema.parsing import read_spec
from service.stream.dtypes import DType

DTYPE_SCHEMA = TypeAdapter(DTypeField).json_schema()
DTYPE = Draft202012Validator(DTYPE_SCHEMA)
PATTERN = next(kind["pattern"] for kind in DTYPE_SCHEMA["anyOf"] if "pattern" in kind).strip("^$")


def read(layer: dict[str, Any] | None = None, **more: Any) -> ModelSpec:
    layers = [{"type": "tensor", "shape": [2, 3]} | (layer or {}) | {"name": "x"}]
    return read_spec(json.dumps({"seed": 1, "layers": layers} | more).encode())


def read_seed(text: str) -> int:
    return read_spec(f'{{"seed": {text}, "layers": [{{"type": "tensor", "name": "w", "shape": []}}]}}'.encode()).seed


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("0", 0),
        ("-0", 0),
        ('"0"', 0),
        ("42", 42),
        ('"42"', 42),
        ("9007199254740993", 2**53 + 1),
        ('"9007199254740993"', 2**53 + 1),
        ("18446744073709551615", 2**64 - 1),
        ('"18446744073709551615"', 2**64 - 1),
        ('"\\u0034\\u0032"', 42),
        ("42.0", 42),
        ("4.2e1", 42),
        ("420E-1", 42),
        ("-0.0", 0),
        ("9007199254740992.0", 2**53),
    ],
)
def test_a_seed_is_read_exactly(text: str, seed: int) -> None:
    assert read_seed(text) == seed


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_a_seed_is_the_same_as_a_number_and_as_a_string_and_is_written_as_a_string(seed: int) -> None:
    assert read_seed(str(seed)) == read_seed(f'"{seed}"') == seed
    assert canonical_document(read(seed=seed))["seed"] == str(seed)


@pytest.mark.parametrize("dtype", DType)
def test_a_dtype_is_read_in_any_letter_case(dtype: DType) -> None:
    for name in (dtype.value, dtype.lower(), dtype.title(), dtype.swapcase()):
        assert read(dtype=name).dtype is dtype
        assert read({"dtype": name}).layers[0].dtype is dtype  # type: ignore[union-attr]  # a tensor


ALIASES = {
    "F64": "float64 double fp64",
    "F32": "float32 float single fp32",
    "F16": "float16 half fp16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn float8e4m3fn f8e4m3fn",
    "F8_E5M2": "float8_e5m2 float8e5m2 f8e5m2",
}
"""PyTorch's names, and those of other libraries that mean the same; float is PyTorch's, not NumPy's."""


@pytest.mark.parametrize("dtype", DType)
def test_a_dtype_is_read_by_the_names_of_torch_and_of_others_in_any_letter_case(dtype: DType) -> None:
    for alias in (dtype.value, *ALIASES[dtype].split()):
        for name in (alias, alias.upper(), alias.title(), f"torch.{alias}", f"TORCH.{alias.upper()}"):
            assert canonical_document(read(dtype=name)).get("dtype", "F32") == dtype
            assert DTYPE.is_valid(name)


def test_no_other_alias_is_read() -> None:
    assert {alias.lower() for alias in DTYPE_ALIASES} == set(" ".join(ALIASES.values()).split())


nearly_dtypes = st.lists(
    st.sampled_from(
        ["torch.", "TORCH", ".", "float", "Half", "16", "F8_E4M3", "bf", "\ufb02oat32", "\u017f", " ", "\n"]
    )
)


@settings(max_examples=300, deadline=None)
@given(nearly_dtypes.map("".join) | st.text(max_size=8))
def test_the_published_schema_accepts_the_names_of_dtypes_and_nothing_else(name: str) -> None:
    assert (named_dtype(name) is not None) == bool(re.fullmatch(PATTERN, name))


@pytest.mark.parametrize(("alias", "name"), {**INITIALIZER_ALIASES}.items())
def test_initializer_aliases_are_resolved(alias: str, name: str) -> None:
    for spelled in (alias, {"type": alias}):
        assert read(initializer=spelled).initializer.type == name
        assert read({"initializer": spelled}).layers[0].initializer.type == name  # type: ignore[union-attr]  # a tensor


def test_layer_aliases_are_resolved() -> None:
    fields = {"linear": {"in_features": 3, "out_features": 2}, "depthwise_conv": {"in_channels": 3, "kernel_size": 2}}
    for alias, name in LAYER_ALIASES.items():
        [layer] = read(layers=[{"type": alias, "name": "fc"} | fields[name]]).layers
        assert layer.type == name


@pytest.mark.parametrize(("alias", "name"), NONLINEARITY_ALIASES.items())
def test_nonlinearity_aliases_are_resolved(alias: str, name: str) -> None:
    by_name, by_object, kaiming = (
        read(initializer=initializer).initializer
        for initializer in (
            {"type": "xavier_uniform", "gain": alias},
            {"type": "xavier_uniform", "gain": {"nonlinearity": alias}},
            {"type": "kaiming_uniform", "nonlinearity": alias},
        )
    )

    assert isinstance(by_name, XavierUniform)
    assert by_name.gain == name
    assert isinstance(by_object, XavierUniform)
    assert isinstance(by_object.gain, GainOf)
    assert by_object.gain.nonlinearity == name
    assert isinstance(kaiming, KaimingUniform)
    assert kaiming.nonlinearity == name


@pytest.mark.parametrize("rule", ["exact", "torch", "keras"])
def test_a_rule_for_fans_is_of_the_model_or_of_a_layer(rule: str) -> None:
    assert read(fans=rule).fans == rule
    [layer] = read({"fans": rule}).layers

    assert isinstance(layer, Tensor)
    assert layer.fans == rule
    assert read().fans == "exact"


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (([1], [0], None), ((1,), (0,), None)),
        (([-1], [-4], [-2, 1]), ((3,), (0,), (2, 1))),
        (([3, -4], [], []), ((3, 0), (), ())),
    ],
)
def test_axes_are_counted_from_either_end(axes: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    named = dict(zip(("in_axes", "out_axes", "batch_axes"), axes, strict=True))
    [layer] = read({"shape": [2, 3, 5, 7]} | named).layers

    assert isinstance(layer, Tensor)
    assert (layer.in_axes, layer.out_axes, layer.batch_axes) == expected


def test_negative_zero_is_zero() -> None:
    constant = read(initializer={"type": "constant", "value": -0.0}).initializer
    normal = read(initializer={"type": "normal", "mean": -0.0}).initializer
    uniform = read(initializer={"type": "uniform", "low": -1, "high": -0.0}).initializer

    assert isinstance(constant, Constant)
    assert isinstance(normal, Normal)
    assert isinstance(uniform, Uniform)
    assert [copysign(1, zero) for zero in (constant.value, normal.mean, uniform.high)] == [1, 1, 1]


def test_integers_are_numbers() -> None:
    initializer = read(initializer={"type": "xavier_uniform", "gain": 2}).initializer

    assert isinstance(initializer, XavierUniform)
    assert initializer.gain == 2.0
    assert type(initializer.gain) is float


@pytest.mark.parametrize(
    ("kind", "kernel", "expected"),
    [
        ("conv1d", 3, (3,)),
        ("conv1d", [3], (3,)),
        ("conv2d", 3, (3, 3)),
        ("conv2d", [3, 5], (3, 5)),
        ("conv3d", 1, (1, 1, 1)),
        ("conv3d", [1, 2, 3], (1, 2, 3)),
        ("conv_transpose1d", 3, (3,)),
        ("conv_transpose2d", 3, (3, 3)),
        ("conv_transpose3d", [1, 2, 3], (1, 2, 3)),
        ("separable_conv", 3, (3, 3)),
        ("separable_conv", [3], (3,)),
        ("separable_conv", [3, 5], (3, 5)),
        ("separable_conv", [1, 2, 3], (1, 2, 3)),
    ],
)
def test_a_kernel_size_is_one_number_or_one_a_dimension(
    kind: str, kernel: int | list[int], expected: tuple[int, ...]
) -> None:
    document = {"type": kind, "name": "c", "in_channels": 1, "out_channels": 1, "kernel_size": kernel}

    [layer] = read(layers=[document]).layers

    assert isinstance(layer, Convolution | ConvTranspose | SeparableConv)
    assert layer.kernel_size == expected


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize(("shape", "expected"), [(5, (5,)), ([5], (5,)), ([3, 5], (3, 5))])
def test_a_normalized_shape_is_one_number_or_a_list(
    kind: str, shape: int | list[int], expected: tuple[int, ...]
) -> None:
    [layer] = read(layers=[{"type": kind, "name": "n", "normalized_shape": shape}]).layers

    assert isinstance(layer, LayerNorm | RMSNorm)
    assert layer.normalized_shape == expected


@pytest.mark.parametrize("shape", [[], [0], [1, 2, 3, 4, 5, 6, 7, 8, 9], [2**53 - 1]])
def test_a_shape_is_any_list_of_sizes(shape: list[int]) -> None:
    [layer] = read({"shape": shape}).layers

    assert isinstance(layer, Tensor)
    assert layer.shape == tuple(shape)


@pytest.mark.parametrize("kernel", ["5.0", "[5.0, 5]", "[5e0, 0.5e1]"])
def test_a_whole_number_in_any_spelling_is_an_integer(kernel: str) -> None:
    layer = f'"type": "conv2d", "name": "c", "in_channels": 3.0, "out_channels": 1e1, "kernel_size": {kernel}'
    [read_layer] = read_spec(f'{{"seed": 1, "layers": [{{{layer}}}]}}'.encode()).layers
    [plain] = read(
        layers=[json.loads(f"{{{layer}}}") | {"in_channels": 3, "out_channels": 10, "kernel_size": 5}]
    ).layers

    assert repr(read_layer) == repr(plain)


def test_a_specification_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read().seed = 2  # type: ignore[misc]  # what is tested
