"""Warnings of plans: every doubt is told, with the way out, and nothing else is."""

from __future__ import annotations

from typing import Any, Final, get_args

import pytest

from service.distributions.base import Distribution
from service.errors import InvalidSpec
from service.plan.warnings import MOST_SHOWN
from service.schema import initializers as wire
from service.schema.catalogue import initializer_models, type_of
from tests.plan.planned import Layer, linear, planned, repeat, tensor

SCHEMES: Final = [type_of(model) for model in initializer_models()]
REQUIRED: Final[dict[str, Layer]] = {"constant": {"value": 1}, "sparse": {"sparsity": 0.5}}


def embedding(initializer: Any, **more: Any) -> Layer:
    own = {"initializer": initializer, "num_embeddings": 50, "embedding_dim": 8}
    return {"type": "embedding", "name": "e"} | own | more


# Names of tensors.


def test_names_that_unicode_takes_for_the_same_are_a_warning() -> None:
    plan = planned(tensor("\u00e9", ()), tensor("e\u0301", ()), tensor("w", ()))

    assert plan.warnings == ("'\u00e9' occurs 2 times after Unicode normalisation",)
    assert planned(tensor("w", ())).warnings == ()


# Names of initializers that mean something else in Keras.

IN_KERAS: Final = {
    "xavier_uniform": "GlorotUniform",
    "glorot_uniform": "GlorotUniform",
    "xavier_normal": "GlorotNormal",
    "glorot_normal": "GlorotNormal",
    "kaiming_uniform": "HeUniform",
    "he_uniform": "HeUniform",
    "kaiming_normal": "HeNormal",
    "he_normal": "HeNormal",
    "lecun_uniform": "LecunUniform",
    "lecun_normal": "LecunNormal",
    "variance_scaling": "VarianceScaling",
    "uniform": "RandomUniform",
    "normal": "RandomNormal",
    "truncated_normal": "TruncatedNormal",
    "orthogonal": "Orthogonal",
    "identity": "Identity",
    "zeros": "Zeros",
    "ones": "Ones",
}
"""The classes that keras.initializers.get of Keras 3.15 finds by our bare names, or by their aliases."""


def in_keras(initializer: Any) -> tuple[Distribution, tuple[str, ...]]:
    """What is drawn for a kernel, and the warnings."""
    plan = planned(linear("fc", 64, 64, initializer=initializer, bias=False), framework="keras")
    return plan.tensors[0].distribution, plan.warnings


def test_every_bare_name_is_in_keras_or_is_known_not_to_be() -> None:
    assert {*get_args(wire._Bare)} - {*IN_KERAS} == {"delta_orthogonal", "dirac", "torch_default", "keras_default"}
    assert in_keras("torch_default")[1] == in_keras("keras_default")[1] == ()


@pytest.mark.parametrize(("name", "class_name"), IN_KERAS.items())
def test_a_bare_name_is_a_warning_under_keras_where_keras_draws_otherwise(name: str, class_name: str) -> None:
    (distribution, warnings), (distribution_of_keras, none) = in_keras(name), in_keras(class_name)
    is_same = type(distribution) is type(distribution_of_keras) and distribution.std == pytest.approx(
        distribution_of_keras.std, rel=1e-12
    )

    assert in_keras({"type": name}) == (distribution, warnings)
    assert none == ()
    assert len(warnings) == (not is_same)
    for warning in warnings:
        assert name in warning
        assert warning.endswith(f"write '{class_name}'")


def test_a_name_is_a_warning_wherever_it_is_drawn_by_and_under_keras_only() -> None:
    layers = [
        linear("a", bias_initializer="uniform"),
        {"type": "gru", "name": "b", "input_size": 3, "hidden_size": 4, "recurrent_initializer": "normal"},
        embedding("truncated_normal"),
    ]
    model: dict[str, Any] = {"initializer": "he_normal"}

    assert planned(*layers, **model).warnings == ()
    assert [warning.split(" ")[0] for warning in planned(*layers, **model, framework="keras").warnings] == [
        "'a.kernel'",
        "'a.bias':",
        "'b.recurrent_kernel':",
        "'e.embeddings':",
    ]


@pytest.mark.parametrize("initializer", [{"type": "normal", "std": 0.02}, "random_normal", "RandomNormal"])
def test_what_is_no_bare_name_of_ours_is_no_warning_under_keras(initializer: Any) -> None:
    assert in_keras(initializer)[1] == ()


def test_what_nobody_wrote_is_no_warning_under_keras() -> None:
    assert planned(embedding(None), linear("fc"), framework="keras").warnings == ()


# Schemes that guess which axes are inputs.

CONVOLUTION: Final = (
    "reads the shape [8, 256, 64] as that of a convolution, (out, in, *kernel);"
    " if it is not one, give in_axes, out_axes and batch_axes, or layout in_out"
)
SAID: Final[list[Layer]] = [
    {"in_axes": [1], "out_axes": [2], "batch_axes": [0]},
    {"in_axes": [1], "out_axes": [0]},
    {"layout": "in_out"},
    {"fans": "torch"},
    {"fans": "keras"},
]


def distribution_of(shape: tuple[int, ...], initializer: Any, **more: Any) -> Distribution | None:
    """What is drawn for a bare tensor; None where it is refused."""
    try:
        return planned(tensor("w", shape, initializer, **more)).tensors[0].distribution
    except InvalidSpec:
        return None


@pytest.mark.parametrize("kind", SCHEMES)
def test_what_draws_otherwise_with_other_inputs_is_a_warning_on_a_bare_tensor(kind: str) -> None:
    shape, initializer = (5, 2, 3), {"type": kind} | REQUIRED.get(kind, {})
    distribution = distribution_of(shape, initializer)
    depends = distribution != distribution_of(shape, initializer, in_axes=[1], out_axes=[2], batch_axes=[0])
    warnings = () if distribution is None else planned(tensor("w", shape, initializer)).warnings

    assert len(warnings) == depends
    assert all(warning.startswith(f"'w': {kind} reads the shape [5, 2, 3] as ") for warning in warnings)


def test_the_default_of_the_model_and_a_layout_that_is_the_default_are_a_guess_too() -> None:
    experts: Layer = {"type": "tensor", "name": "experts", "shape": [8, 256, 64]}

    for layer in (experts, experts | {"layout": "out_in"}, experts | {"fans": "exact"}):
        assert planned(layer).warnings == (f"'experts': xavier_uniform {CONVOLUTION}",)


@pytest.mark.parametrize("said", SAID)
def test_a_tensor_that_says_its_axes_its_layout_or_a_rule_is_no_warning(said: Layer) -> None:
    assert planned(tensor("w", (8, 256, 64), "he_normal", **said)).warnings == ()


@pytest.mark.parametrize("rule", ["torch", "keras"])
def test_a_matricisation_of_a_framework_is_no_guess(rule: str) -> None:
    by_name, exact = ({"type": "orthogonal", "matricisation": how} for how in (rule, "exact"))

    assert planned(tensor("w", (8, 4, 3), by_name)).warnings == ()
    assert len(planned(tensor("w", (8, 4, 3), exact), fans=rule).warnings) == 1


@pytest.mark.parametrize("kind", ["dirac", "delta_orthogonal"])
def test_a_scheme_that_no_rule_reaches_guesses_under_any(kind: str) -> None:
    assert len(planned(tensor("w", (8, 4, 3), kind), fans="torch").warnings) == 1


def test_a_matrix_and_a_layer_are_no_guess() -> None:
    conv = {"type": "conv2d", "name": "c", "in_channels": 3, "out_channels": 4, "kernel_size": 3}

    assert planned(tensor("w", (8, 256), "he_normal"), linear("fc"), conv, initializer="he_normal").warnings == ()


# Embeddings.


def needs_fans(initializer: Layer) -> bool:
    """Whether an initializer refuses what has no fans."""
    try:
        planned(tensor("b", (3,), initializer))
    except InvalidSpec as refusal:
        return "needs fan_in and fan_out" in str(refusal)
    return False


@pytest.mark.parametrize("kind", SCHEMES)
def test_a_scheme_by_fans_is_a_warning_on_an_embedding(kind: str) -> None:
    initializer = {"type": kind} | REQUIRED.get(kind, {})
    square = embedding(initializer, num_embeddings=8)
    by_fans = needs_fans(initializer)
    warnings = planned(square).warnings if "dirac" != kind != "delta_orthogonal" else ()

    assert len(warnings) == by_fans
    assert all(warning.startswith(f"'e.weight': {kind} counts the 8 rows ") for warning in warnings)


@pytest.mark.parametrize("rule", ["torch", "keras"])
def test_a_rule_that_is_named_is_no_warning_on_an_embedding(rule: str) -> None:
    assert planned(embedding("he_normal", fans=rule)).warnings == ()
    assert planned(embedding("he_normal"), fans=rule).warnings == ()


# How they are told.


def test_the_same_doubt_is_told_once_with_the_first_tensor_and_how_many_more() -> None:
    layers = repeat("h", 1000, tensor("w", (8, 256, 64), "he_normal")), tensor("x", (8, 256, 64), "he_normal")

    assert planned(*layers).warnings == (f"'h.0.w' and 1000 more: kaiming_normal {CONVOLUTION}",)


def test_of_very_many_warnings_the_first_are_told_and_no_more_are_looked_for() -> None:
    layers = [tensor(f"w{n}", (2, 3, n + 1), "he_normal") for n in range(MOST_SHOWN + 50)]

    *told, last = planned(*layers).warnings

    assert [warning.split(":")[0] for warning in told] == [f"'w{n}'" for n in range(MOST_SHOWN)]
    assert last == "and more warnings"
    assert len(planned(*layers[:MOST_SHOWN]).warnings) == MOST_SHOWN
