"""Initializers as Keras, PyTorch and Burn write them: each means one form of ours, and faults speak its language."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from service.errors import MOST_FAULTS, InvalidSpec
from service.schema import dialects
from service.schema.canonical import canonical_document, canonical_json, digest_of
from service.schema.dialects import translated
from service.schema.initializers import Initializer
from service.schema.model import ModelSpec
from service.schema.parsing import read_spec
from tests.schema.specifications import Json, Object, initializers
from tests.schema.test_faults import any_json, assert_points_into, faults, keras

POSITIONS: Final[dict[str, Object]] = {
    "/initializer": {"type": "tensor", "shape": [2]},
    "/layers/0/initializer": {"type": "tensor", "shape": [2]},
    "/layers/0/bias_initializer": {"type": "linear", "in_features": 3, "out_features": 2},
    "/layers/0/recurrent_initializer": {"type": "lstm", "input_size": 3, "hidden_size": 2},
    "/layers/0/pointwise_initializer": {
        "type": "separable_conv",
        "in_channels": 3,
        "out_channels": 2,
        "kernel_size": 3,
    },
    "/layers/0/out_initializer": {"type": "multihead_attention", "embed_dim": 4, "num_heads": 2},
}
"""Where an initializer may stand, and the layer that has it."""


def at(position: str, initializer: Json) -> Object:
    *_, field = position.split("/")
    layer: Object = {"name": "w"} | POSITIONS[position]
    document: Object = {"seed": 1, "layers": [layer]}
    (layer if "layers" in position else document)[field] = initializer
    return document


def everywhere(initializer: Json) -> Object:
    documents = [at(position, initializer) for position in POSITIONS]
    return documents[0] | {"layers": [document["layers"][0] for document in documents]}


def canonical(document: Object | bytes) -> bytes:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return canonical_json(canonical_document(read_spec(raw)))


def scaling(scale: float, mode: str, distribution: str) -> Object:
    return {"type": "variance_scaling", "scale": scale, "mode": mode, "distribution": distribution}


LEAKY: Final = {"nonlinearity": "leaky_relu", "negative_slope": 0.2}
SEED_GENERATOR: Final = {
    "module": "keras.random",
    "class_name": "SeedGenerator",
    "config": {"seed": 1337},
    "registered_name": None,
}
BESIDE: Final = {
    "module": "keras.initializers",
    "registered_name": None,
    "build_config": {"input_shape": [None, 3]},
    "shared_object_id": 3,
}
BY_CLASS: Final[dict[str, Json]] = {
    "GlorotUniform": "xavier_uniform",
    "GlorotNormal": scaling(1, "fan_avg", "truncated_normal"),
    "HeUniform": scaling(2, "fan_in", "uniform"),
    "HeNormal": scaling(2, "fan_in", "truncated_normal"),
    "LecunUniform": "lecun_uniform",
    "LecunNormal": "variance_scaling",
    "LeCunUniform": "lecun_uniform",
    "LeCunNormal": "variance_scaling",
    "VarianceScaling": "variance_scaling",
    "RandomNormal": {"type": "normal", "std": 0.05},
    "RandomUniform": {"type": "uniform", "low": -0.05, "high": 0.05},
    "TruncatedNormal": {"type": "truncated_normal", "std": 0.05},
    "Zeros": "zeros",
    "Ones": "ones",
    "Constant": {"type": "constant", "value": 0},
    "Orthogonal": "orthogonal",
    "OrthogonalInitializer": "orthogonal",
    "Identity": "identity",
    "IdentityInitializer": "identity",
}
BY_DISTRIBUTION: Final = {
    "truncated_normal": "truncated_normal",
    "normal": "truncated_normal",
    "untruncated_normal": "normal",
    "uniform": "uniform",
}
SPELLINGS: Final[list[tuple[Json, Json]]] = [
    # Keras.
    *BY_CLASS.items(),
    *((name[0].lower() + name[1:], ours) for name, ours in BY_CLASS.items() if not name[1:].islower()),
    *(({"class_name": name}, ours) for name, ours in BY_CLASS.items()),
    *((BESIDE | keras(name, seed=None), ours) for name, ours in BY_CLASS.items()),
    *((keras(name), BY_CLASS["GlorotNormal"]) for name in ("glorot_normal", "glorotNormal", "GLOROT_NORMAL")),
    *((keras(name), BY_CLASS["OrthogonalInitializer"]) for name in ("orthogonal", "orthogonal_initializer")),
    (keras("normal"), BY_CLASS["RandomNormal"]),
    (keras("uniform"), BY_CLASS["RandomUniform"]),
    (keras("zero"), "zeros"),
    (keras("one"), "ones"),
    *(
        (keras("HeNormal", seed=seed), BY_CLASS["HeNormal"])
        for seed in (0, -1, 2**70, 42.0, SEED_GENERATOR, {"class_name": "SeedGenerator"})
    ),
    *((keras("Zeros", dtype=dtype), "zeros") for dtype in (None, "float32", "bfloat16", "F16", "half")),
    (keras("GlorotUniform", seed=None, input_axes=None, output_axes=None), "xavier_uniform"),
    *(
        (keras("VarianceScaling", scale=3, mode="fan_out", distribution=distribution), scaling(3, "fan_out", ours))
        for distribution, ours in BY_DISTRIBUTION.items()
    ),
    (keras("RandomNormal", mean=1, stddev=2), {"type": "normal", "mean": 1, "std": 2}),
    (keras("RandomNormal", mean=1), {"type": "normal", "mean": 1, "std": 0.05}),
    (keras("RandomUniform", minval=-1, maxval=2), {"type": "uniform", "low": -1, "high": 2}),
    (keras("RandomUniform", minval=0), {"type": "uniform", "low": 0, "high": 0.05}),
    (keras("TruncatedNormal", mean=1, stddev=0.02), {"type": "truncated_normal", "mean": 1, "std": 0.02}),
    (keras("Constant", value=5), {"type": "constant", "value": 5}),
    (keras("Orthogonal", gain=2, seed=None), {"type": "orthogonal", "gain": 2}),
    (keras("Orthogonal", gain="relu"), {"type": "orthogonal", "gain": "relu"}),
    (keras("OrthogonalInitializer", gain=LEAKY), {"type": "orthogonal", "gain": LEAKY}),
    (keras("Identity", gain=-2), {"type": "identity", "gain": -2}),
    # PyTorch.
    *(
        (f"{name}_", name)
        for name in (
            "uniform",
            "normal",
            "ones",
            "zeros",
            "xavier_uniform",
            "xavier_normal",
            "kaiming_uniform",
            "kaiming_normal",
            "orthogonal",
        )
    ),
    ("eye_", "identity"),
    ("eye", "identity"),
    ({"type": "eye"}, "identity"),
    ("dirac_", {"type": "dirac", "groups": 1}),
    *(({"type": "dirac_", "groups": groups}, {"type": "dirac", "groups": 4}) for groups in (4, 4.0)),
    *(
        (name, {"type": "truncated_normal", "absolute": True})
        for name in ("trunc_normal_", "trunc_normal", {"type": "trunc_normal_"})
    ),
    (
        {"type": "trunc_normal_", "mean": 0.5, "std": 0.02, "a": -1, "b": 1.5},
        {"type": "truncated_normal", "mean": 0.5, "std": 0.02, "low": -1, "high": 1.5, "absolute": True},
    ),
    (
        {"type": "trunc_normal", "std": 0.02},
        {"type": "truncated_normal", "std": 0.02, "low": -2, "high": 2, "absolute": True},
    ),
    ({"type": "uniform_", "a": -1, "b": 2}, {"type": "uniform", "low": -1, "high": 2}),
    ({"type": "normal_", "mean": 1, "std": 2}, {"type": "normal", "mean": 1, "std": 2}),
    ({"type": "constant_", "val": 5}, {"type": "constant", "value": 5}),
    ({"type": "ones_"}, "ones"),
    ({"type": "xavier_uniform_", "gain": 2}, {"type": "xavier_uniform", "gain": 2}),
    ({"type": "xavier_normal_", "gain": "tanh"}, {"type": "xavier_normal", "gain": "tanh"}),
    ({"type": "orthogonal_", "gain": LEAKY}, {"type": "orthogonal", "gain": LEAKY}),
    ({"type": "kaiming_uniform_", "a": 0.2}, {"type": "kaiming_uniform", "negative_slope": 0.2}),
    (
        {"type": "kaiming_uniform_", "a": 0.2, "nonlinearity": "leaky_relu"},
        {"type": "kaiming_uniform", "negative_slope": 0.2},
    ),
    (
        {"type": "kaiming_normal_", "a": 0, "mode": "fan_out", "nonlinearity": "relu"},
        {"type": "kaiming_normal", "mode": "fan_out", "nonlinearity": "relu"},
    ),
    ({"type": "sparse_", "sparsity": 0.5}, {"type": "sparse", "sparsity": 0.5}),
    ({"type": "sparse_", "sparsity": 0.5, "std": 1}, {"type": "sparse", "sparsity": 0.5, "std": 1}),
    # Burn.
    ({"Constant": {"value": 5.0}}, {"type": "constant", "value": 5}),
    ({"Uniform": {"min": -1.0, "max": 2}}, {"type": "uniform", "low": -1, "high": 2}),
    ({"Normal": {"mean": 0, "std": 0.02}}, {"type": "normal", "std": 0.02}),
    ({"XavierUniform": {"gain": 1.0}}, "xavier_uniform"),
    ({"XavierNormal": {"gain": 2}}, {"type": "xavier_normal", "gain": 2}),
    ({"KaimingUniform": {"gain": 0.577, "fan_out_only": False}}, {"type": "kaiming_uniform", "gain": 0.577}),
    ({"KaimingNormal": {"gain": 1, "fan_out_only": True}}, {"type": "kaiming_normal", "gain": 1, "mode": "fan_out"}),
    ({"Orthogonal": {"gain": 1.0}}, "orthogonal"),
]
each_spelling = pytest.mark.parametrize(("theirs", "ours"), SPELLINGS, ids=lambda value: json.dumps(value)[:60])
SCHEMA: Final = ModelSpec.model_json_schema()
INITIALIZER: Final = Draft202012Validator({"$ref": "#/$defs/InitializerForm", "$defs": SCHEMA["$defs"]})


@each_spelling
def test_a_spelling_has_the_digest_of_our_own_wherever_an_initializer_may_stand(theirs: Json, ours: Json) -> None:
    form = canonical(everywhere(theirs))

    assert form == canonical(everywhere(ours))
    assert digest_of(canonical(form)) == digest_of(form)


@each_spelling
def test_the_published_schema_accepts_every_spelling(theirs: Json, ours: Json) -> None:
    assert INITIALIZER.is_valid(theirs)
    assert INITIALIZER.is_valid(ours)


def test_the_published_schema_accepts_dialects_wherever_an_initializer_may_stand() -> None:
    for theirs in ("GlorotUniform", BESIDE | keras("HeNormal"), {"type": "eye_"}, {"XavierUniform": {"gain": 1.0}}):
        assert Draft202012Validator(SCHEMA).is_valid(everywhere(theirs))


@pytest.mark.parametrize("value", [None, 5, [], {}, "Glorot", {"class_name": 5}, {"Zeros": {}}, {"XavierNormal": 1}])
def test_the_published_schema_refuses_what_no_dialect_has(value: Json) -> None:
    assert not INITIALIZER.is_valid(value)
    assert faults(at("/initializer", value))


def test_every_name_of_every_dialect_is_among_the_spellings() -> None:
    spelled = [theirs for theirs, _ in SPELLINGS]
    objects = [theirs for theirs in spelled if isinstance(theirs, dict)]
    names = {theirs for theirs in spelled if isinstance(theirs, str)}
    types = {theirs.get("type") for theirs in objects}

    assert names == {*dialects.NAMES} - {"constant_", "sparse_"}
    assert names | types >= {*dialects._BY_TYPE} - {*dialects._ONLY_IN_KERAS}
    assert {theirs.get("class_name") for theirs in objects} >= {*dialects._CLASSES}
    assert {next(iter(theirs)) for theirs in objects} >= {*dialects._BY_VARIANT}


def test_every_place_of_an_initializer_is_tried() -> None:
    fields = {
        field
        for model in (SCHEMA, *SCHEMA["$defs"].values())
        for field in model.get("properties", ())
        if field.endswith("initializer")
    }

    assert {position.split("/")[-1] for position in POSITIONS} == fields


KERAS_ONLY: Final[list[tuple[Json, Json]]] = [
    ("random_normal", BY_CLASS["RandomNormal"]),
    ("random_uniform", BY_CLASS["RandomUniform"]),
    ({"type": "random_normal"}, BY_CLASS["RandomNormal"]),
    ({"type": "random_normal", "mean": 1, "stddev": 2, "seed": 3}, {"type": "normal", "mean": 1, "std": 2}),
    ({"type": "random_uniform", "minval": -1, "maxval": 2}, {"type": "uniform", "low": -1, "high": 2}),
]


@pytest.mark.parametrize("first", ["framework", "layers"])
@pytest.mark.parametrize(("theirs", "ours"), KERAS_ONLY)
def test_names_of_keras_alone_are_read_under_framework_keras(theirs: Json, ours: Json, first: str) -> None:
    document = everywhere(theirs) | {"framework": "keras"}
    in_order = sorted(document, key=lambda name: name != first)

    assert canonical({name: document[name] for name in in_order}) == canonical(
        everywhere(ours) | {"framework": "keras"}
    )
    assert INITIALIZER.is_valid(theirs)


@pytest.mark.parametrize("framework", [{}, {"framework": "torch"}])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(
    ("name", "class_name"), [("random_normal", "RandomNormal"), ("random_uniform", "RandomUniform")]
)
def test_names_of_keras_alone_are_refused_elsewhere_with_the_way_out(
    framework: Object, position: str, name: str, class_name: str
) -> None:
    for initializer in (name, {"type": name}):
        assert faults(at(position, initializer) | framework) == [
            (
                position,
                f"this name of Keras is accepted only with framework keras: write the class, '{class_name}'; got "
                + json.dumps(initializer),
            )
        ]


def test_faults_of_names_of_keras_alone_are_in_its_words() -> None:
    wrong = at("/initializer", {"type": "random_normal", "stddev": 0}) | {"framework": "keras"}

    assert faults(wrong) == [("/initializer/stddev", "must be above 0.0; got 0")]


@pytest.mark.parametrize("context", [{}, None, {"framework": ["keras"]}])
def test_what_has_no_framework_is_not_keras(context: Json) -> None:
    with pytest.raises(ValidationError, match="only with framework keras"):
        TypeAdapter[Any](Initializer).validate_python("random_normal", context=context)


@pytest.mark.parametrize("name", ["glorot_normal", "he_normal", "lecun_normal", "truncated_normal"])
def test_bare_names_in_snake_case_are_ours_and_plain(name: str) -> None:
    theirs = "".join(part.capitalize() for part in name.split("_"))

    assert canonical(everywhere(name)) == canonical(everywhere({"type": name}))
    assert canonical(everywhere(name)) != canonical(everywhere(theirs))


@pytest.mark.parametrize(
    "name", ["Normal", "Uniform", "Zero", "One", "GLOROT_NORMAL", "Glorot_Normal", "STFT", "_", ""]
)
def test_other_bare_names_are_refused(name: str) -> None:
    [(pointer, message)] = faults(at("/initializer", name))

    assert pointer == "/initializer"
    assert message.startswith("must be one of 'xavier_uniform', ")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("GlorotNorml", "GlorotNormal"), ("xavier_unifrom_", "xavier_uniform_"), ("Normal", "normal"), ("ONES", "ones")],
)
def test_a_misspelt_bare_name_has_a_suggestion_in_its_own_dialect(name: str, meant: str) -> None:
    [(_, message)] = faults(at("/initializer", name))

    assert message.endswith(f"did you mean {meant!r}?")


@pytest.mark.parametrize("position", POSITIONS)
def test_a_gain_is_pointed_at_wherever_an_initializer_may_stand(position: str) -> None:
    for initializer, pointer in (
        (keras("Orthogonal", gain=0), "/config/gain"),
        ({"Normal": {"std": 0}}, "/Normal/std"),
    ):
        assert [found for found, _ in faults(at(position, initializer))] == [position + pointer]


def test_all_faults_of_a_form_are_named_together() -> None:
    initializer = keras("RandomUniform", minval="0", seed="1", input_axes=0, low=1) | {"module": 1, "other": 1}

    assert {pointer for pointer, _ in faults(at("/initializer", initializer))} == {
        "/initializer/config/minval",
        "/initializer/config/seed",
        "/initializer/config/input_axes",
        "/initializer/config/low",
        "/initializer/module",
        "/initializer/other",
    }


def test_what_should_hold_a_required_argument_and_is_no_object_is_pointed_at_itself() -> None:
    assert faults(at("/initializer", {"Constant": 5})) == [
        ("/initializer/Constant", "value is required, but missing"),
        ("/initializer/Constant", "must be an object; got 5"),
    ]


def test_of_very_many_unknown_arguments_the_first_are_told() -> None:
    config = {f"x{number}": number for number in range(1000)}

    assert len(faults(at("/initializer", keras("HeNormal", **config)))) == MOST_FAULTS + 1


# Properties.

FORMS: Final = (*dialects._BY_NAME.values(), *dialects._BURN)
ARGUMENTS: Final = sorted({step for form in FORMS for path in form.arguments for step in path})
their_names: Final = st.sampled_from([*dialects.NAMES, *ARGUMENTS, "low", "SeedGenerator", '["config", "std"]'])
nearly: Final[st.SearchStrategy[Json]] = st.recursive(
    any_json | their_names, lambda inside: st.dictionaries(their_names, inside, max_size=4), max_leaves=8
)
spellings: Final = st.sampled_from([theirs for theirs, _ in SPELLINGS])


@st.composite
def garbage(draw: st.DrawFn) -> Json:
    """A spelling with something wrong in it, as a rule."""
    theirs = draw(spellings | nearly)
    if not isinstance(theirs, dict) or not theirs:
        return theirs
    changed = theirs | draw(st.dictionaries(their_names, nearly, max_size=1))
    inner = draw(st.sampled_from(list(changed)))
    if isinstance(changed[inner], dict):
        changed[inner] = changed[inner] | draw(st.dictionaries(their_names, nearly, max_size=2))
    return changed


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(garbage(), st.sampled_from(list(POSITIONS)))
def test_garbage_is_refused_at_its_place_or_valid_by_the_published_schema(initializer: Json, position: str) -> None:
    document = at(position, initializer)
    try:
        read_spec(json.dumps(document).encode())
    except InvalidSpec as refusal:
        for fault in refusal.faults:
            assert fault.pointer.startswith(position)
            if isinstance(initializer, dict):
                assert_points_into(document, fault)
    else:
        assert initializer is None or INITIALIZER.is_valid(initializer)


hashable: Final = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.tuples(st.text())
)
anything: Final = st.recursive(
    hashable | st.builds(object) | their_names,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(hashable | their_names, inside, max_size=3),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(anything)
def test_nothing_at_all_breaks_the_translation(value: Any) -> None:
    before = repr(value)

    translated(value, "keras")

    assert repr(value) == before


@given(initializers)
def test_our_own_forms_stay_as_they_are(initializer: Json) -> None:
    assert translated(initializer) is initializer


@pytest.mark.parametrize("value", ["x" * 10**6, {"type": "x" * 10**6}, {"class_name": "X_" * 10**6}, {"x" * 10**6: {}}])
def test_huge_names_are_refused_in_few_words(value: Json) -> None:
    assert all(len(message) < 1000 for _, message in faults(at("/initializer", value)))
