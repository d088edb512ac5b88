"""What a specification means wrongly: each fault has a pointer into the caller's document, the rule, and a way out."""

from __future__ import annotations

from math import inf
from typing import Any, Final

import pytest

from service.distributions.structured import Sparse
from service.errors import MOST_FAULTS, LimitExceeded
from service.limits import Limits
from service.stream.dtypes import DType
from tests.plan.planned import Layer, faults, group, linear, planned, repeat, tensor
from tests.plan.test_every_layer import convolution, depthwise

FRAMEWORKS: Final = ("torch", "keras")
Fault = tuple[str, str]


def layer(kind: str, **fields: Any) -> Layer:
    return {"type": kind, "name": "a"} | fields


def of(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"type": kind} | parameters


def cells(kind: str = "lstm", **more: Any) -> Layer:
    return layer(kind, **{"input_size": 3, "hidden_size": 5} | more)


def heads(**more: Any) -> Layer:
    return layer("multihead_attention", **{"embed_dim": 12, "num_heads": 3} | more)


def group_norm(groups: int = 1, channels: int = 2, **more: Any) -> Layer:
    return layer("group_norm", num_groups=groups, num_channels=channels, **more)


def separable(**more: Any) -> Layer:
    return convolution("separable_conv", "a", 3, **more)


LINEAR: Final = layer("linear", in_features=4, out_features=6)
CONV: Final = layer("conv2d", in_channels=4, out_channels=6, kernel_size=3, groups=2)
NARROWING: Final = layer("conv1d", in_channels=6, out_channels=4, kernel_size=3)
TRANSPOSED: Final = layer("conv_transpose1d", in_channels=6, out_channels=4, kernel_size=3, groups=2)
NORM: Final = layer("layer_norm", normalized_shape=4)
NORM_2D: Final = layer("layer_norm", normalized_shape=[3, 4])
BILINEAR: Final = layer("bilinear", in1_features=2, in2_features=3, out_features=4)
SPARSE: Final = of("sparse", sparsity=0.5)
SEVERAL_INPUTS: Final = tensor("w", (6, 2), in_axes=[0, 1], out_axes=[])

# Numbers that contradict each other.

DIVIDE: Final = "groups must divide in_channels and out_channels; {} does not divide {}"
SIZES_DIFFER: Final = "projections of different sizes cannot be one tensor: leave out fused, or kdim and vdim"
CONTRADICTIONS: Final[list[tuple[Layer, str]]] = [
    *((convolution(kind, "a", 3, groups=4), DIVIDE.format(4, 6)) for kind in ("conv1d", "conv2d", "conv3d")),
    *((convolution(f"conv_transpose{n}d", "a", 3, groups=2), DIVIDE.format(2, 9)) for n in (1, 2, 3)),
    (heads(num_heads=5), "num_heads must divide embed_dim; 5 does not divide 12"),
    (heads(num_heads=24), "num_heads must divide embed_dim; 24 does not divide 12"),
    (heads(num_heads=5, kdim=5, fused=True), "num_heads must divide embed_dim; 5 does not divide 12"),
    (heads(fused=True, kdim=5), SIZES_DIFFER),
    (heads(fused=True, vdim=5), SIZES_DIFFER),
    (group_norm(4, 6), "num_groups must divide num_channels; 4 does not divide 6"),
    (group_norm(4, 6, affine=False), "num_groups must divide num_channels; 4 does not divide 6"),
]


@pytest.mark.parametrize(("subject", "message"), CONTRADICTIONS, ids=str)
def test_numbers_of_a_layer_must_fit_together(subject: Layer, message: str) -> None:
    for framework in FRAMEWORKS:
        assert faults(subject, framework=framework) == [("/layers/0", message)]


def test_sizes_that_are_written_out_may_be_fused() -> None:
    for subject in (heads(fused=True), heads(fused=True, kdim=12, vdim=12), heads(kdim=12), heads(vdim=12)):
        assert "a.in_proj_weight" in {each.name for each in planned(subject).tensors}


def test_a_forget_bias_goes_with_a_bias() -> None:
    [(pointer, message)] = faults(cells(bias=False, forget_bias=1))

    assert pointer == "/layers/0"
    assert message.startswith("forget_bias needs a bias")


# Initializers that a parameter cannot have.

RANK: Final = "it needs a weight of rank {}, but this one has rank {}; use {}"
KERNEL: Final = RANK.format("at least 3", 2, "identity for a matrix")
NO_FANS: Final = (
    "it needs fan_in and fan_out; a bias, a norm, and a tensor below rank 2 or without elements have none;"
    " use normal, truncated_normal, uniform, constant, zeros or ones"
)
NO_CONNECTION: Final = "it needs inputs and outputs; a norm and a tensor without elements have none; use normal"
SEVERAL: Final = "it needs one axis of inputs and one of outputs, but the inputs or the outputs have {}; use normal"
TOO_MANY_INPUTS: Final = "it needs at most as many inputs as outputs; got {} inputs and {} outputs; use orthogonal"
NO_DEFAULT: Final = "{} has no layer of this kind, and so no default for it; name an initializer"
SIX_CHANNELS: Final = "groups must divide the 6 outputs; 4 does not"
NO_GAIN: Final = "its gain is 0.0; it must be above 0"
NO_DEVIATION: Final = "its standard deviation is 0.0; it must be above 0 and finite"
TOO_LARGE: Final = "its standard deviation is inf; it must be above 0 and finite"
BEYOND_36: Final = (
    "the cut from {} sigmas leaves less than 2^-950 of the normal; it must begin within 36 sigmas of the mean,"
    " or be wider"
)
OF_TENSORS: Final[list[tuple[Layer, Any, str]]] = [
    # Ranks.
    (tensor("w", ()), "orthogonal", RANK.format("at least 2", 0, "normal")),
    (tensor("w", (5,)), "orthogonal", RANK.format("at least 2", 1, "normal")),
    (tensor("w", (4, 4)), "delta_orthogonal", RANK.format("at least 3", 2, "orthogonal")),
    (tensor("w", (4,) * 6), "delta_orthogonal", RANK.format("at most 5", 6, "orthogonal")),
    (tensor("w", (4,)), "identity", RANK.format(2, 1, "dirac for a convolution")),
    (tensor("w", (4, 4, 4)), "identity", RANK.format(2, 3, "dirac for a convolution")),
    (tensor("w", (4, 4)), "dirac", KERNEL),
    (tensor("w", (4,) * 6), "dirac", RANK.format("at most 5", 6, "identity for a matrix")),
    (tensor("w", (4,)), SPARSE, RANK.format(2, 1, "normal")),
    # No fans, and nothing to connect.
    (tensor("w", ()), "xavier_uniform", NO_FANS),
    (tensor("w", (5,)), "xavier_uniform", NO_FANS),
    (tensor("w", (3, 0)), "kaiming_normal", NO_FANS),
    (tensor("w", (2, 0, 5)), "xavier_uniform", NO_FANS),
    (tensor("w", (0, 5)), of("variance_scaling", multiplier=2), NO_FANS),
    (tensor("w", (0, 5)), "orthogonal", NO_CONNECTION),
    (tensor("w", (0, 5)), "identity", NO_CONNECTION),
    (tensor("w", (4, 4, 0)), "dirac", NO_CONNECTION),
    (tensor("w", (4, 4, 0)), "delta_orthogonal", NO_CONNECTION),
    (tensor("w", (5, 0)), SPARSE, NO_CONNECTION),
    # Not one axis of each, and channels.
    (SEVERAL_INPUTS, "identity", SEVERAL.format(0)),
    (SEVERAL_INPUTS, SPARSE, SEVERAL.format(0)),
    (tensor("w", (6, 2, 3, 2), in_axes=[1], out_axes=[0, 3]), of("dirac", groups=2), SEVERAL.format(2)),
    (tensor("w", (3, 4, 5)), "delta_orthogonal", TOO_MANY_INPUTS.format(4, 3)),
    (tensor("w", (5, 4, 3), layout="in_out"), "delta_orthogonal", TOO_MANY_INPUTS.format(4, 3)),
    (tensor("w", (6, 2, 3)), of("dirac", groups=4), SIX_CHANNELS),
    (tensor("w", (3, 2, 6), layout="in_out"), of("dirac", groups=4), SIX_CHANNELS),
    # Defaults of layers that the framework has not.
    (tensor("w", (3, 4)), "torch_default", NO_DEFAULT.format("torch")),
    (tensor("w", (3, 4)), "keras_default", NO_DEFAULT.format("keras")),
    # Numbers that come to nothing.
    *(
        (tensor("w", (4, 4), dtype=dtype), initializer, message)
        for dtype in ("F64", "F32")
        for initializer, message in (
            (of("truncated_normal", low=40, high=None), BEYOND_36.format("40.0 to inf")),
            (of("truncated_normal", low=None, high=-37), BEYOND_36.format("-inf to -37.0")),
            (of("truncated_normal", low=50, high=60), BEYOND_36.format("50.0 to 60.0")),
            (of("truncated_normal", low=1, high=2, std=2**-10, absolute=True), BEYOND_36.format("1024.0 to 2048.0")),
            (
                of("truncated_normal", low=1, high=2, multiplier=2**-10, absolute=True),
                BEYOND_36.format("1024.0 to 2048.0"),
            ),
            (
                of("truncated_normal", low=1, high=1 + 2**-52, mean=2**40, absolute=True),
                f"the cut is from {1.0 - 2**40} to {1.0 - 2**40} sigmas; the lower end must be below the upper",
            ),
            (of("truncated_normal", std=1e-300, multiplier=1e-300), NO_DEVIATION),
            (of("normal", std=1e-300, multiplier=1e-300), NO_DEVIATION),
            (of("sparse", sparsity=0.5, multiplier=1e-323), NO_DEVIATION),
            (of("orthogonal", gain=1e-300, multiplier=1e-300), NO_DEVIATION),
            (of("xavier_uniform", gain=5e-324), NO_DEVIATION),
            (of("orthogonal", gain=1e300, multiplier=1e300), TOO_LARGE),
            (of("xavier_uniform", gain=1e300, multiplier=1e300), TOO_LARGE),
            (of("sparse", sparsity=0.5, std=1e300, multiplier=1e300), TOO_LARGE),
            (of("orthogonal", gain={"nonlinearity": "leaky_relu", "negative_slope": 1e200}), NO_GAIN),
            (of("xavier_normal", gain={"nonlinearity": "leaky_relu", "negative_slope": 1e200}), NO_GAIN),
            (of("kaiming_normal", negative_slope=1e200), NO_GAIN),
            (
                of("uniform", low=1, high=1 + 2**-40, multiplier=2**-20),
                f"its ends are {1 + 2**-41} and {1 + 2**-41}; the lower end must be below the upper",
            ),
        )
    ),
]
"""A bare tensor, its initializer, and what is wrong with it."""
NO_MATRIX: Final = RANK.format(2, 4, "dirac for a convolution")
NO_KERNEL: Final = RANK.format("at least 3", 2, "orthogonal")
OF_LAYERS: Final[list[tuple[Layer, str, Any, str, str]]] = [
    (NORM, "initializer", "orthogonal", "weight", RANK.format("at least 2", 1, "normal")),
    (NORM, "initializer", "kaiming_normal", "weight", NO_FANS),
    (NORM_2D, "initializer", "orthogonal", "weight", NO_CONNECTION),
    (NORM_2D, "initializer", "identity", "weight", NO_CONNECTION),
    (group_norm(), "initializer", "lecun_normal", "weight", NO_FANS),
    (group_norm(), "bias_initializer", "lecun_normal", "bias", NO_FANS),
    (layer("rms_norm", normalized_shape=[2, 3]), "initializer", "lecun_normal", "weight", NO_FANS),
    (LINEAR, "initializer", "delta_orthogonal", "weight", NO_KERNEL),
    (LINEAR, "initializer", "dirac", "weight", KERNEL),
    (LINEAR, "bias_initializer", "orthogonal", "bias", RANK.format("at least 2", 1, "normal")),
    (LINEAR, "bias_initializer", SPARSE, "bias", RANK.format(2, 1, "normal")),
    (LINEAR, "bias_initializer", "lecun_normal", "bias", NO_FANS),
    (BILINEAR, "initializer", "identity", "weight", RANK.format(2, 3, "dirac for a convolution")),
    (BILINEAR, "initializer", "delta_orthogonal", "weight", SEVERAL.format(2)),
    (BILINEAR, "initializer", "dirac", "weight", SEVERAL.format(2)),
    (BILINEAR, "initializer", "keras_default", "weight bias", NO_DEFAULT.format("keras")),
    (BILINEAR, "bias_initializer", "keras_default", "bias", NO_DEFAULT.format("keras")),
    (CONV, "initializer", "identity", "weight", NO_MATRIX),
    (CONV, "initializer", SPARSE, "weight", RANK.format(2, 4, "normal")),
    (CONV, "initializer", of("dirac", groups=4), "weight", SIX_CHANNELS),
    (NARROWING, "initializer", "delta_orthogonal", "weight", TOO_MANY_INPUTS.format(6, 4)),
    (TRANSPOSED, "initializer", "delta_orthogonal", "weight", TOO_MANY_INPUTS.format(3, 2)),
    (depthwise("a", 3), "bias_initializer", "he_normal", "bias", NO_FANS),
    (separable(), "pointwise_initializer", "identity", "pointwise.weight", NO_MATRIX),
    (separable(), "bias_initializer", "he_normal", "pointwise.bias", NO_FANS),
    (
        separable(out_channels=4),
        "pointwise_initializer",
        "delta_orthogonal",
        "pointwise.weight",
        TOO_MANY_INPUTS.format(6, 4),
    ),
    (cells(), "initializer", "dirac", "weight_ih_l0 weight_hh_l0", KERNEL),
    (cells(), "bias_initializer", "identity", "bias_ih_l0", RANK.format(2, 1, "dirac for a convolution")),
    (cells(), "recurrent_initializer", "delta_orthogonal", "weight_hh_l0", NO_KERNEL),
    (cells(), "recurrent_initializer", of("xavier_normal", gain=5e-324), "weight_hh_l0", NO_DEVIATION),
    (heads(), "out_initializer", "dirac", "out_proj.weight", KERNEL),
    (heads(), "bias_initializer", "lecun_normal", "in_proj_bias out_proj.bias", NO_FANS),
]
"""A layer, a field of it, an initializer there, and what is wrong with which parameters."""


def messages_of(initializer: Any, names: list[str], message: str) -> list[str]:
    kind = initializer if isinstance(initializer, str) else initializer["type"]
    return [f"{kind.replace('he_', 'kaiming_')} for {name}: {message}" for name in names]


WRONG: Final[list[tuple[Layer, str, list[str]]]] = [
    *(
        (subject | {"initializer": initializer}, "initializer", messages_of(initializer, ["the tensor"], message))
        for subject, initializer, message in OF_TENSORS
    ),
    *(
        (subject | {field: initializer}, field, messages_of(initializer, names.split(), message))
        for subject, field, initializer, names, message in OF_LAYERS
    ),
]


@pytest.mark.parametrize(("subject", "field", "messages"), WRONG, ids=str)
def test_an_initializer_that_a_parameter_cannot_have_is_refused_where_it_is_said(
    subject: Layer, field: str, messages: list[str]
) -> None:
    for framework in FRAMEWORKS:
        found = faults(subject, framework=framework)

        assert found[: len(messages)] == [(f"/layers/0/{field}", message) for message in messages]
        assert {pointer for pointer, _ in found} == {f"/layers/0/{field}"}


def test_a_default_of_the_model_is_blamed_on_the_layers_that_cannot_have_it() -> None:
    for default in ("torch_default", "keras_default"):
        message = f"{default} for the tensor: {NO_DEFAULT.format(default.partition('_')[0])}"
        assert faults({"type": "tensor", "name": "w", "shape": [2, 3]}, initializer=default) == [
            ("/layers/0/initializer", message)
        ]
    assert len(planned(BILINEAR | {"initializer": "torch_default"}).tensors) == 2
    assert len(planned(LINEAR, NORM | {"name": "b"}, initializer="kaiming_uniform").tensors) == 4


def test_what_is_at_the_edge_is_drawn() -> None:
    planned(
        tensor("a", (4, 3, 5), "delta_orthogonal"),
        tensor("b", (3, 3, 5), "delta_orthogonal"),
        tensor("c", (6, 2, 3), of("dirac", groups=6)),
        tensor("d", (6, 2), of("sparse", sparsity=0)),
        tensor("e", (6, 2), of("sparse", sparsity=0.9999999999999999)),
        tensor("f", (1,), of("truncated_normal", low=35.9, high=None)),
        tensor("g", (1,), of("truncated_normal", low=1e30, high=None, mean=1e30, std=1e20, absolute=True)),
        tensor("h", (6, 2), of("identity", gain=0)),
        SEVERAL_INPUTS | {"initializer": "orthogonal"},
        tensor("j", (0, 2), "normal"),
        tensor("k", (1,) * 8, "orthogonal"),
    )


def test_all_zeros_is_what_a_share_of_nearly_all_comes_to() -> None:
    [plan] = planned(tensor("w", (6, 2), of("sparse", sparsity=0.9))).tensors

    assert plan.distribution == Sparse(0.01, 6, (6, 2), 0)
    assert plan.distribution.std == 0


def test_an_absolute_cut_without_ends_is_a_normal() -> None:
    initializer = of("truncated_normal", low=None, high=None, absolute=True, mean=3)
    [plan] = planned(tensor("w", (6, 2), initializer)).tensors

    assert plan.distribution.support(DType.F32)[0] < 3 - 6 < plan.distribution.support(DType.F32)[1] < inf


# Values beyond a dtype.

OVERFLOW: Final = "its largest value overflows {}: use a wider dtype or a smaller scale"
LARGEST: Final = {
    DType.F64: 1.7976931348623157e308,
    DType.F32: 3.4028234663852886e38,
    DType.F16: 65504.0,
    DType.BF16: 3.3895313892515355e38,
    DType.F8_E4M3: 448.0,
    DType.F8_E5M2: 57344.0,
}


@pytest.mark.parametrize("dtype", DType)
@pytest.mark.parametrize(
    ("name", "parameter", "shape"),
    [
        ("orthogonal", "gain", (4, 4)),
        ("orthogonal", "multiplier", (4, 4)),
        ("delta_orthogonal", "gain", (4, 4, 3)),
        ("identity", "gain", (4, 4)),
        ("dirac", "gain", (4, 4, 3)),
        ("constant", "value", (4, 4)),
    ],
)
def test_a_value_may_be_the_largest_of_its_dtype_and_not_beyond(
    name: str, parameter: str, shape: tuple[int, ...], dtype: DType
) -> None:
    signs = (1,) if name.endswith("orthogonal") else (1, -1)
    for sign in signs:
        planned(tensor("w", shape, of(name, **{parameter: sign * LARGEST[dtype]}), dtype=dtype))
        if dtype is not DType.F64:
            assert faults(tensor("w", shape, of(name, **{parameter: sign * 1.2 * LARGEST[dtype]}), dtype=dtype)) == [
                ("/layers/0/initializer", f"{name} for the tensor: {OVERFLOW.format(dtype)}")
            ]


@pytest.mark.parametrize(
    ("dtype", "fitting", "beyond"),
    [
        ("F8_E4M3", of("constant", value=448), of("constant", value=465)),
        ("F16", of("constant", value=-65504), of("constant", value=-65520)),
        ("F16", of("uniform", low=-65504, high=0), of("uniform", low=-70000, high=0)),
        ("F16", of("normal", std=10337), of("normal", std=10338)),
        ("F8_E4M3", of("truncated_normal", mean=400, std=11), of("normal", mean=400, std=11)),
        ("F32", of("normal", std=1e37), of("normal", std=1e38)),
        ("F32", of("sparse", sparsity=0.5, std=1e37), of("sparse", sparsity=0.5, std=1e38)),
        ("F32", of("truncated_normal", low=-1, high=2.5), of("truncated_normal", low=-1, high=2.5, std=2e38)),
        ("F32", of("truncated_normal", low=None, high=1), of("truncated_normal", low=None, high=1, multiplier=1e38)),
        ("F64", of("normal", std=1e307), of("normal", std=1e308)),
        ("F64", of("uniform", low=-1e307, high=1e307), of("uniform", low=-1.7e308, high=1.7e308)),
        ("F64", of("uniform", low=1e307, high=2e307), of("uniform", low=1e308, high=1.7e308)),
        ("F64", of("uniform", low=-1, high=1), of("uniform", low=-1e308, high=1e308, multiplier=2)),
        *(
            ("F32", of(scheme, gain=1e37), of(scheme, multiplier=1e39))
            for scheme in ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal")
        ),
        *(
            ("F32", of(scheme), of(scheme, multiplier=1e300))
            for scheme in ("lecun_uniform", "lecun_normal", "variance_scaling", "torch_default", "keras_default")
        ),
    ],
    ids=str,
)
def test_what_may_overflow_its_dtype_is_refused(dtype: str, fitting: Layer, beyond: Layer) -> None:
    planned(LINEAR | {"bias": False, "initializer": fitting}, dtype=dtype)

    assert faults(LINEAR | {"bias": False, "initializer": beyond}, dtype=dtype) == [
        ("/layers/0/initializer", f"{beyond['type']} for weight: {OVERFLOW.format(dtype)}")
    ]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("subject", "field"),
    [
        (LINEAR | {"bias_initializer": of("constant", value=1e6)}, "bias_initializer"),
        (cells(bias_initializer=of("constant", value=1e6)), "bias_initializer"),
        (cells(forget_bias=-1e6), "forget_bias"),
        (heads(bias_initializer=of("constant", value=1e6)), "bias_initializer"),
        (cells("rnn", recurrent_initializer=of("constant", value=1e6)), "recurrent_initializer"),
        (heads(out_initializer=of("constant", value=1e6)), "out_initializer"),
    ],
    ids=str,
)
def test_any_parameter_may_overflow(subject: Layer, field: str, framework: str) -> None:
    found = faults(subject, framework=framework, dtype="F16")

    assert {pointer for pointer, _ in found} == {f"/layers/0/{field}"}
    assert all(message.endswith(OVERFLOW.format("F16")) for _, message in found)


def test_two_biases_may_fit_where_their_sum_does_not() -> None:
    subject = cells(bias_initializer=of("constant", value=60_000))

    assert len(planned(subject, dtype="F16").tensors) == 4
    assert [pointer for pointer, _ in faults(subject, dtype="F16", framework="keras")] == ["/layers/0/bias_initializer"]


# Names.

EMPTY_NORM: Final = layer("layer_norm", normalized_shape=3, elementwise_affine=False)
MADE: Final = "the tensor '{}' is already made by {}: give the layers different names"
SCALAR: Final = tensor("w", ())
NAMES: Final[list[tuple[tuple[Layer, ...], dict[str, Any], Fault]]] = [
    ((SCALAR, SCALAR), {}, ("/layers/1/name", MADE.format("w", "/layers/0"))),
    ((LINEAR, tensor("a.bias", ())), {}, ("/layers/1/name", MADE.format("a.bias", "/layers/0"))),
    ((group("g", SCALAR), tensor("g.w", ())), {}, ("/layers/1/name", MADE.format("g.w", "/layers/0/layers/0"))),
    ((tensor("h.1.w", ()), repeat("h", 2, SCALAR)), {}, ("/layers/1/layers/0/name", MADE.format("h.1.w", "/layers/0"))),
    (
        (repeat("h", 2, SCALAR), repeat("h", 1, SCALAR, start=1)),
        {},
        ("/layers/1/layers/0/name", MADE.format("h.1.w", "/layers/0/layers/0")),
    ),
    *(
        ((subject, tensor(name, (2,))), {"framework": framework}, ("/layers/1/name", MADE.format(name, "/layers/0")))
        for subject, name, frameworks in (
            (heads(), "a.in_proj_weight", FRAMEWORKS),
            (heads(), "a.in_proj_bias", FRAMEWORKS),
            *((cells(cell), "a.bias_hh_l0", FRAMEWORKS) for cell in ("rnn", "lstm", "gru")),
            (cells(num_layers=2, bidirectional=True), "a.bias_hh_l1_reverse", ("keras",)),
            (cells(bias_initializer="normal", forget_bias=1), "a.bias_hh_l0", ("keras",)),
            (cells(), "a.weight_hh_l0", ("keras",)),
            (cells(), "a.bias", ("keras",)),
            (LINEAR, "a.kernel", ("keras",)),
            (LINEAR, "a.weight", ("keras",)),
            (heads(), "a.query.kernel", ("keras",)),
            (separable(), "a.pointwise.bias", ("keras",)),
            (heads(name=""), "in_proj_weight", ("keras",)),
        )
        for framework in frameworks
    ),
    *(
        ((tensor(name, ()),), {}, ("/layers/0/name", f"names must be free of control characters; got {name!a}"))
        for name in ("a\nb", "\x00", "a\x7f", "a\x85b", "\x1b[0m")
    ),
    ((SCALAR,), {"prefix": "a\nb"}, ("/prefix", "names must be free of control characters; got 'a\\nb'")),
    ((tensor("", ()),), {"prefix": "p"}, ("/layers/0/name", "a tensor needs a name; this one is empty")),
    ((group("", tensor("", ())),), {}, ("/layers/0/layers/0/name", "a tensor needs a name; this one is empty")),
    *(
        (
            (tensor(name, ()),),
            {"prefix": prefix},
            ("/layers/0/name", "__metadata__ is reserved by the file format: choose another name"),
        )
        for prefix, name in (("", "__metadata__"), ("__meta", "data__"))
    ),
    *(
        ((subject,), {}, ("/layers", "the layers have no tensors; at least one is needed"))
        for subject in (EMPTY_NORM, group("g", EMPTY_NORM), repeat("g", 2**50, EMPTY_NORM))
    ),
]


@pytest.mark.parametrize(("layers", "more", "fault"), NAMES, ids=[f"{n}:{row[2]}" for n, row in enumerate(NAMES)])
def test_a_wrong_name_is_refused(layers: tuple[Layer, ...], more: dict[str, Any], fault: Fault) -> None:
    assert faults(*layers, **more) == [fault]


def test_the_names_of_another_framework_and_of_other_numbers_are_free() -> None:
    for subject, name in ((cells(), "a.bias"), (heads(), "a.query.kernel"), (heads(bias=False), "a.in_proj_bias")):
        assert planned(subject, tensor(name, (2,))).tensors[-1].name == name
    assert len(planned(repeat("h", 2, SCALAR), repeat("h", 2, SCALAR, start=2)).tensors) == 4


def test_of_two_layers_that_are_one_all_names_are_told() -> None:
    torch, keras = (faults(heads(), heads(), framework=framework) for framework in FRAMEWORKS)

    assert len(torch) == 4
    assert len(keras) == 8 + 4  # of the file, and canonical
    assert {pointer for pointer, _ in torch + keras} == {"/layers/1/name"}


# Stages.


def test_each_of_several_faults_is_named_in_order_wherever_it_is() -> None:
    rows = [row for row in WRONG if "dtype" not in row[0]][:45]
    subjects = [subject for subject, _, _ in rows]
    fine = [tensor("fine", (3, 4), "orthogonal"), CONV | {"name": "conv", "initializer": "dirac"}]
    inside = group("g", repeat("h", 50, *fine, *subjects))

    found = faults(*subjects, inside)

    places = [f"/layers/{n}" for n in range(len(rows))]
    places += [f"/layers/{len(rows)}/layers/0/layers/{n + len(fine)}" for n in range(len(rows))]
    expected = [
        (f"{place}/{field}", message)
        for place, (_, field, messages) in zip(places, rows * 2, strict=True)
        for message in messages
    ]
    assert found[:MOST_FAULTS] == expected[:MOST_FAULTS]


def test_meaning_comes_before_limits_and_limits_before_names() -> None:
    meaningless, large, twice = tensor("w", (), "xavier_uniform"), tensor("v", (1000,)), [SCALAR, SCALAR]
    small = Limits(dimension=999)

    assert [pointer for pointer, _ in faults(meaningless, large, *twice, limits=small)] == ["/layers/0/initializer"]
    with pytest.raises(LimitExceeded):
        planned(large, *twice, limits=small)
    assert [pointer for pointer, _ in faults(*twice, limits=small)] == ["/layers/1/name"]
    many = faults(cells(num_layers=2**53 - 1), heads(num_heads=5, embed_dim=2**40 + 1), linear("c"))
    assert [pointer for pointer, _ in many] == ["/layers/1"]


def test_of_very_many_faults_the_first_are_told() -> None:
    found = faults(*(tensor(f"{number}", (), "xavier_uniform") for number in range(MOST_FAULTS + 17)))

    assert len(found) == MOST_FAULTS + 1
    assert found[-1] in (("", "and 17 more faults"), ("", "and more faults"))
