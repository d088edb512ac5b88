"""Initializers that cannot be: each fault has a pointer into the caller's document, the rule, and a way out."""

from __future__ import annotations

from math import inf
from typing import Any, Final

import pytest

from service.distributions.structured import Sparse
from service.errors import InvalidSpec, Refused
from service.schema.parsing import read_spec
from service.stream.dtypes import DType
from tests.plan.planned import Layer, planned, spec, tensor

OVERFLOW: Final = "its largest value overflows {}: use a wider dtype or a smaller scale"


def layer(kind: str, **fields: Any) -> Layer:
    return {"type": kind, "name": "l"} | fields


def of(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"type": kind} | parameters


LINEAR: Final = layer("linear", in_features=4, out_features=6)
CONV: Final = layer("conv2d", in_channels=4, out_channels=6, kernel_size=3, groups=2)
NARROWING: Final = layer("conv1d", in_channels=6, out_channels=4, kernel_size=3)
LSTM: Final = layer("lstm", input_size=3, hidden_size=5)
NORM: Final = layer("layer_norm", normalized_shape=4)
BILINEAR: Final = layer("bilinear", in1_features=2, in2_features=3, out_features=4)
SPARSE: Final = of("sparse", sparsity=0.5)


def faults(*layers: Layer, **more: Any) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as refusal:
        planned(*layers, **more)
    assert type(refusal.value) is InvalidSpec
    return [(fault.pointer, fault.message) for fault in refusal.value.faults]


# Of form: nothing but the initializer is looked at.

FORM: Final[list[tuple[Any, str, str]]] = [
    (of("truncated_normal", low=2, high=-2), "", "low must be below high; got"),
    (of("truncated_normal", low=1, high=1), "", "low must be below high; got"),
    (of("truncated_normal", low=3, high=2, absolute=True), "", "low must be below high; got"),
    (of("truncated_normal", low=2), "", "low must be below high; got"),
    (of("truncated_normal", high=-2), "", "low must be below high; got"),
    (of("truncated_normal", low="a"), "/low", 'must be a number; got "a"'),
    (of("truncated_normal", high=True), "/high", "must be a number; got true"),
    (of("truncated_normal", std=0), "/std", "must be above 0.0; got 0"),
    (of("truncated_normal", absolute="yes"), "/absolute", 'must be true or false; got "yes"'),
    (of("uniform", low=1, high=0), "", "low must be below high; got"),
    ("sparse", "", "sparsity is required, but missing"),
    (of("sparse"), "/sparsity", "sparsity is required, but missing"),
    (of("sparse", sparsity=1), "/sparsity", "must be below 1.0; got 1"),
    (of("sparse", sparsity=1.5), "/sparsity", "must be below 1.0; got 1.5"),
    (of("sparse", sparsity=-0.1), "/sparsity", "must be at least 0.0; got -0.1"),
    (of("sparse", sparsity=None), "/sparsity", "must be a number; got null"),
    (of("sparse", sparsity=0.5, std=-1), "/std", "must be above 0.0; got -1"),
    (of("orthogonal", gain=0), "/gain", "must be above 0.0; got 0"),
    (of("orthogonal", gain=-1), "/gain", "must be above 0.0; got -1"),
    (of("orthogonal", gain="reluu"), "/gain", 'got "reluu"'),
    (of("orthogonal", matricisation="jax"), "/matricisation", "must be 'exact', 'torch' or 'keras'; got \"jax\""),
    (of("orthogonal", groups=2), "/groups", "unknown field"),
    (of("orthogonal", gain={"nonlinearity": "relu", "negative_slope": 1}), "/gain", "goes with leaky_relu only"),
    (of("delta_orthogonal", center="up"), "/center", "must be 'torch' or 'jax'; got \"up\""),
    (of("delta_orthogonal", gain=0), "/gain", "must be above 0.0; got 0"),
    (of("dirac", groups=0), "/groups", "must be at least 1; got 0"),
    (of("dirac", groups=1.5), "/groups", "must be an integer; got 1.5"),
    (of("dirac", center="keras"), "/center", "must be 'torch' or 'jax'; got \"keras\""),
    (of("dirac", multiplier=2), "/multiplier", "unknown field"),
    (of("identity", gain="relu"), "/gain", 'must be a number; got "relu"'),
    (of("identity", gain=None), "/gain", "must be a number; got null"),
    (of("identity", groups=2), "/groups", "unknown field"),
    (of("xavier_uniform", multiplier=0), "/multiplier", "must be above 0.0; got 0"),
    (of("torch_default", multiplier=-1), "/multiplier", "must be above 0.0; got -1"),
    (of("keras_default", gain=2), "/gain", "unknown field"),
    (of("constant", value=1, multiplier=2), "/multiplier", "unknown field"),
    (of("ortogonal"), "/type", "did you mean 'orthogonal'?"),
    ("delta_ortogonal", "", "did you mean 'delta_orthogonal'?"),
]
WHERE: Final = ("initializer", "bias_initializer", "recurrent_initializer")


@pytest.mark.parametrize(("initializer", "pointer", "message"), FORM, ids=str)
def test_an_initializer_of_the_wrong_form_is_refused_where_it_stands(
    initializer: Any, pointer: str, message: str
) -> None:
    for field in WHERE:
        [(found, said)] = faults(LSTM | {field: initializer})
        assert found == f"/layers/0/{field}{pointer}"
        assert message in said

    [(found, said)] = faults(LINEAR, initializer=initializer)
    assert found == f"/initializer{pointer}"
    assert message in said


def test_all_faults_of_form_are_named_at_once() -> None:
    layers = [LINEAR | {"initializer": initializer} for initializer, _, _ in FORM]

    with pytest.raises(InvalidSpec) as refusal:
        read_spec(spec(*layers))

    pointers = [f"/layers/{number}/initializer{pointer}" for number, (_, pointer, _) in enumerate(FORM)]
    assert [fault.pointer for fault in refusal.value.faults] == pointers


# Of meaning: an initializer that its parameter cannot have.

RANK: Final = "it needs a weight of rank {}, and this has rank {}; use {}"
NO_FANS: Final = (
    "it needs fan_in and fan_out, which a bias, a norm, and a tensor below rank 2 or without elements has not;"
    " use normal, truncated_normal, uniform, constant, zeros or ones"
)
NO_CONNECTION: Final = "it needs inputs and outputs, which a norm, and a tensor without elements has not; use normal"
SEVERAL: Final = "it needs one axis of inputs and one of outputs, and here one of them has {}; use normal"
TOO_MANY_INPUTS: Final = "it needs at most as many inputs as outputs, and here {} go to {}; use orthogonal"
NO_DEFAULT: Final = "{} has no layer of this kind, so no default for it; name an initializer"
SIX_CHANNELS: Final = "groups must divide the 6 outputs; 4 does not"
MEANING: Final[list[tuple[Layer, Any, str, str]]] = [
    # Ranks.
    (tensor("w", ()), "orthogonal", "the tensor", RANK.format("at least 2", 0, "normal")),
    (tensor("w", (5,)), "orthogonal", "the tensor", RANK.format("at least 2", 1, "normal")),
    (NORM, "orthogonal", "weight", RANK.format("at least 2", 1, "normal")),
    (tensor("w", (4, 4)), "delta_orthogonal", "the tensor", RANK.format("at least 3", 2, "orthogonal")),
    (tensor("w", (4,) * 6), "delta_orthogonal", "the tensor", RANK.format("at most 5", 6, "orthogonal")),
    (LINEAR, "delta_orthogonal", "weight", RANK.format("at least 3", 2, "orthogonal")),
    (tensor("w", (4,)), "identity", "the tensor", RANK.format(2, 1, "dirac for a convolution")),
    (tensor("w", (4, 4, 4)), "identity", "the tensor", RANK.format(2, 3, "dirac for a convolution")),
    (CONV, "identity", "weight", RANK.format(2, 4, "dirac for a convolution")),
    (BILINEAR, "identity", "weight", RANK.format(2, 3, "dirac for a convolution")),
    (tensor("w", (4, 4)), "dirac", "the tensor", RANK.format("at least 3", 2, "identity for a matrix")),
    (tensor("w", (4,) * 6), "dirac", "the tensor", RANK.format("at most 5", 6, "identity for a matrix")),
    (LINEAR, "dirac", "weight", RANK.format("at least 3", 2, "identity for a matrix")),
    (tensor("w", (4,)), SPARSE, "the tensor", RANK.format(2, 1, "normal")),
    (CONV, SPARSE, "weight", RANK.format(2, 4, "normal")),
    # No fans, and nothing to connect.
    (tensor("w", (5,)), "xavier_uniform", "the tensor", NO_FANS),
    (tensor("w", (0, 5)), of("variance_scaling", multiplier=2), "the tensor", NO_FANS),
    (NORM, "kaiming_normal", "weight", NO_FANS),
    (tensor("w", (0, 5)), "orthogonal", "the tensor", NO_CONNECTION),
    (tensor("w", (0, 5)), "identity", "the tensor", NO_CONNECTION),
    (tensor("w", (4, 4, 0)), "dirac", "the tensor", NO_CONNECTION),
    (tensor("w", (4, 4, 0)), "delta_orthogonal", "the tensor", NO_CONNECTION),
    (tensor("w", (5, 0)), SPARSE, "the tensor", NO_CONNECTION),
    (layer("layer_norm", normalized_shape=[3, 4]), "orthogonal", "weight", NO_CONNECTION),
    (layer("layer_norm", normalized_shape=[3, 4]), "identity", "weight", NO_CONNECTION),
    # Not one axis of each.
    (BILINEAR, "delta_orthogonal", "weight", SEVERAL.format(2)),
    (BILINEAR, "dirac", "weight", SEVERAL.format(2)),
    (tensor("w", (6, 2), in_axes=[0, 1], out_axes=[]), "identity", "the tensor", SEVERAL.format(0)),
    (tensor("w", (6, 2), in_axes=[0, 1], out_axes=[]), SPARSE, "the tensor", SEVERAL.format(0)),
    (
        tensor("w", (6, 2, 3, 2), in_axes=[1], out_axes=[0, 3]),
        of("dirac", groups=2),
        "the tensor",
        SEVERAL.format(2),
    ),
    # Channels.
    (NARROWING, "delta_orthogonal", "weight", TOO_MANY_INPUTS.format(6, 4)),
    (tensor("w", (3, 4, 5)), "delta_orthogonal", "the tensor", TOO_MANY_INPUTS.format(4, 3)),
    (tensor("w", (5, 4, 3), layout="in_out"), "delta_orthogonal", "the tensor", TOO_MANY_INPUTS.format(4, 3)),
    (
        layer("conv_transpose1d", in_channels=6, out_channels=4, kernel_size=3, groups=2),
        "delta_orthogonal",
        "weight",
        TOO_MANY_INPUTS.format(3, 2),
    ),
    (CONV, of("dirac", groups=4), "weight", SIX_CHANNELS),
    (tensor("w", (6, 2, 3)), of("dirac", groups=4), "the tensor", SIX_CHANNELS),
    (tensor("w", (3, 2, 6), layout="in_out"), of("dirac", groups=4), "the tensor", SIX_CHANNELS),
    # Defaults of layers that the framework has not.
    (tensor("w", (3, 4)), "torch_default", "the tensor", NO_DEFAULT.format("torch")),
    (tensor("w", (3, 4)), "keras_default", "the tensor", NO_DEFAULT.format("keras")),
    (BILINEAR | {"bias": False}, "keras_default", "weight", NO_DEFAULT.format("keras")),
]


@pytest.mark.parametrize(("subject", "initializer", "name", "message"), MEANING, ids=str)
def test_an_initializer_that_a_parameter_cannot_have_is_refused_with_a_way_out(
    subject: Layer, initializer: Any, name: str, message: str
) -> None:
    kind = initializer if isinstance(initializer, str) else initializer["type"]

    assert faults(subject | {"initializer": initializer}) == [
        ("/layers/0/initializer", f"{kind} for {name}: {message}")
    ]


@pytest.mark.parametrize(
    ("subject", "field", "initializer", "expected"),
    [
        (LINEAR, "bias_initializer", "orthogonal", [("bias", RANK.format("at least 2", 1, "normal"))]),
        (LINEAR, "bias_initializer", SPARSE, [("bias", RANK.format(2, 1, "normal"))]),
        (
            LSTM,
            "bias_initializer",
            "identity",
            [(f"bias_{which}_l0", RANK.format(2, 1, "dirac for a convolution")) for which in ("ih", "hh")],
        ),
        (
            LSTM,
            "recurrent_initializer",
            "delta_orthogonal",
            [("weight_hh_l0", RANK.format("at least 3", 2, "orthogonal"))],
        ),
        (
            layer("multihead_attention", embed_dim=6, num_heads=2),
            "out_initializer",
            "dirac",
            [("out_proj.weight", RANK.format("at least 3", 2, "identity for a matrix"))],
        ),
        (
            layer("separable_conv", in_channels=6, out_channels=4, kernel_size=3),
            "pointwise_initializer",
            "delta_orthogonal",
            [("pointwise.weight", TOO_MANY_INPUTS.format(6, 4))],
        ),
        (
            LSTM,
            "initializer",
            "dirac",
            [(f"weight_{which}_l0", RANK.format("at least 3", 2, "identity for a matrix")) for which in ("ih", "hh")],
        ),
    ],
    ids=str,
)
def test_the_pointer_leads_to_the_initializer_of_the_parameter(
    subject: Layer, field: str, initializer: Any, expected: list[tuple[str, str]]
) -> None:
    kind = initializer if isinstance(initializer, str) else initializer["type"]

    assert faults(subject | {field: initializer}) == [
        (f"/layers/0/{field}", f"{kind} for {name}: {message}") for name, message in expected
    ]


# Numbers that come to nothing, or to too much.

BEYOND_36: Final = "less than 2^-950 of the normal; it must begin within 36 sigmas of the mean, or be wider"
NO_DEVIATION: Final = "its standard deviation is 0.0; it must be above 0 and finite"
TOO_LARGE: Final = "its standard deviation is inf; it must be above 0 and finite"


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        (of("truncated_normal", low=40, high=None), f"the cut from 40.0 to inf sigmas leaves {BEYOND_36}"),
        (of("truncated_normal", low=None, high=-37), f"the cut from -inf to -37.0 sigmas leaves {BEYOND_36}"),
        (of("truncated_normal", low=50, high=60), f"the cut from 50.0 to 60.0 sigmas leaves {BEYOND_36}"),
        (
            of("truncated_normal", low=1, high=2, std=2**-10, absolute=True),
            f"the cut from 1024.0 to 2048.0 sigmas leaves {BEYOND_36}",
        ),
        (
            of("truncated_normal", low=1, high=2, multiplier=2**-10, absolute=True),
            f"the cut from 1024.0 to 2048.0 sigmas leaves {BEYOND_36}",
        ),
        (
            of("truncated_normal", low=1, high=1 + 2**-52, mean=2**40, absolute=True),
            f"it is cut at {1.0 - 2**40} and {1.0 - 2**40}; the lower end must be below the upper",
        ),
        (of("truncated_normal", std=1e-300, multiplier=1e-300), NO_DEVIATION),
        (of("normal", std=1e-300, multiplier=1e-300), NO_DEVIATION),
        (of("sparse", sparsity=0.5, multiplier=1e-323), NO_DEVIATION),
        (of("orthogonal", gain=1e-300, multiplier=1e-300), NO_DEVIATION),
        (of("orthogonal", gain=1e300, multiplier=1e300), TOO_LARGE),
        (of("xavier_uniform", gain=1e300, multiplier=1e300), TOO_LARGE),
        (of("sparse", sparsity=0.5, std=1e300, multiplier=1e300), TOO_LARGE),
        (
            of("orthogonal", gain={"nonlinearity": "leaky_relu", "negative_slope": 1e200}),
            "its gain is 0.0; it must be above 0",
        ),
        (
            of("uniform", low=1, high=1 + 2**-40, multiplier=2**-20),
            f"its ends are {1 + 2**-41} and {1 + 2**-41}; the lower must be below the upper",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [DType.F64, DType.F32])
def test_scalars_that_leave_nothing_to_draw_are_refused(initializer: Any, message: str, dtype: DType) -> None:
    kind = initializer["type"]

    found = faults(tensor("w", (4, 4), initializer, dtype=dtype))

    assert found == [("/layers/0/initializer", f"{kind} for the tensor: {message}")]


LARGEST: Final = {
    DType.F64: 1.7976931348623157e308,
    DType.F32: 3.4028234663852886e38,
    DType.F16: 65504.0,
    DType.BF16: 3.3895313892515355e38,
    DType.F8_E4M3: 448.0,
    DType.F8_E5M2: 57344.0,
}
ABOVE: Final = {dtype: largest * 1.2 for dtype, largest in LARGEST.items()} | {DType.F64: 1.7976931348623157e308}
BY_A_FACTOR: Final[list[tuple[dict[str, Any], str, tuple[int, ...]]]] = [
    (of("orthogonal"), "gain", (4, 4)),
    (of("orthogonal"), "multiplier", (4, 4)),
    (of("delta_orthogonal"), "gain", (4, 4, 3)),
    (of("identity"), "gain", (4, 4)),
    (of("dirac"), "gain", (4, 4, 3)),
    (of("constant"), "value", (4, 4)),
]


@pytest.mark.parametrize(("initializer", "parameter", "shape"), BY_A_FACTOR, ids=str)
@pytest.mark.parametrize("dtype", DType)
def test_a_value_may_be_the_largest_of_its_dtype_and_not_beyond(
    initializer: dict[str, Any], parameter: str, shape: tuple[int, ...], dtype: DType
) -> None:
    planned(tensor("w", shape, initializer | {parameter: LARGEST[dtype]}, dtype=dtype))
    if dtype is DType.F64:
        return

    found = faults(tensor("w", shape, initializer | {parameter: ABOVE[dtype]}, dtype=dtype))

    message = f"{initializer['type']} for the tensor: {OVERFLOW.format(dtype)}"
    assert found == [("/layers/0/initializer", message)]


@pytest.mark.parametrize("gain", [-1e39, 1e39])
def test_a_negative_identity_overflows_as_a_positive_one(gain: float) -> None:
    for initializer, shape in ((of("identity", gain=gain), (3, 3)), (of("dirac", gain=gain), (3, 3, 3))):
        [(_, message)] = faults(tensor("w", shape, initializer))
        assert message.endswith(OVERFLOW.format("F32"))
        planned(tensor("w", shape, initializer, dtype="F64"))


@pytest.mark.parametrize(
    ("initializer", "fitting"),
    [
        (of("sparse", sparsity=0.5, std=1e38), 1e37),
        (of("truncated_normal", low=None, high=1, std=1e38), 1e37),
        (of("truncated_normal", low=-1, high=2.5, std=2e38), 1e38),
        (of("normal", std=1e38), 1e37),
    ],
    ids=str,
)
def test_a_deviation_overflows_as_soon_as_its_largest_value_does(initializer: dict[str, Any], fitting: float) -> None:
    [(pointer, message)] = faults(tensor("w", (4, 4), initializer))

    assert pointer == "/layers/0/initializer"
    assert message.endswith(OVERFLOW.format("F32"))
    planned(tensor("w", (4, 4), initializer | {"std": fitting}))
    by_multiplier = initializer | {"std": 1.0, "multiplier": initializer["std"]}
    assert faults(tensor("w", (4, 4), by_multiplier)) == [(pointer, message)]


@pytest.mark.parametrize("multiplier", [1e39, 1e300])
def test_a_multiplier_overflows_a_dtype_on_every_scheme_of_fans(multiplier: float) -> None:
    kinds = ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "lecun_uniform", "lecun_normal")
    for kind in (*kinds, "variance_scaling", "torch_default", "keras_default"):
        [(pointer, message)] = faults(LINEAR | {"bias": False, "initializer": of(kind, multiplier=multiplier)})
        assert pointer == "/layers/0/initializer"
        assert message == f"{kind} for weight: {OVERFLOW.format('F32')}"


def test_uniform_ends_far_beyond_a_dtype_overflow_it() -> None:
    [(_, message)] = faults(tensor("w", (4, 4), of("uniform", low=-1e308, high=1e308, multiplier=2), dtype="F64"))

    assert message.endswith(OVERFLOW.format("F64"))


def test_each_of_several_faults_is_named_in_order() -> None:
    layers = [subject | {"initializer": initializer} for subject, initializer, _, _ in MEANING]
    fine = [tensor("fine", (3, 4), "orthogonal"), CONV | {"name": "conv", "initializer": "dirac"}]
    group = layer("group", layers=[layer("repeat", times=2, layers=[*fine, *layers])])

    found = faults(*layers, group)

    messages = [f"{kind(initializer)} for {name}: {message}" for _, initializer, name, message in MEANING]
    pointers = [f"/layers/{number}/initializer" for number in range(len(layers))]
    nested = f"/layers/{len(layers)}/layers/0/layers"
    pointers += [f"{nested}/{number + len(fine)}/initializer" for number in range(len(layers))]
    assert found == list(zip(pointers, messages * 2, strict=True))


def kind(initializer: Any) -> str:
    name: str = initializer if isinstance(initializer, str) else initializer["type"]
    return name


# What looks bad, and is not.


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
        tensor("i", (6, 2), in_axes=[0, 1], out_axes=[], initializer="orthogonal"),
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
