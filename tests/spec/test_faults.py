"""Every fault of form has a pointer into the caller's own document and a message: rule, what was received, way out."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import MOST_FAULTS, Fault, InvalidSpec, MalformedDocument, Refused
from service.spec.parsing import read_document, read_spec
from tests.spec.specifications import Json, Object, specifications

INITIALIZERS: Final = (
    "'xavier_uniform', 'glorot_uniform', 'xavier_normal', 'glorot_normal', 'kaiming_uniform', 'he_uniform',"
    " 'kaiming_normal', 'he_normal', 'lecun_uniform', 'lecun_normal', 'variance_scaling', 'uniform', 'normal',"
    " 'truncated_normal', 'constant', 'zeros', 'ones'"
)
LAYERS: Final = (
    "'linear', 'dense', 'conv1d', 'conv2d', 'conv3d', 'embedding', 'layer_norm', 'batch_norm', 'tensor', 'group',"
    " 'repeat'"
)
NONLINEARITIES: Final = (
    "'linear', 'conv1d', 'conv2d', 'conv3d', 'conv_transpose1d', 'conv_transpose2d', 'conv_transpose3d', 'sigmoid',"
    " 'tanh', 'relu', 'leaky_relu' or 'selu'"
)
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
    (
        spec(**{"a/b~c": 1}),
        "/a~1b~0c",
        "unknown field; known are seed, stream, dtype, framework, prefix, initializer, layers",
    ),
    (spec(**{"": 1}), "/", "unknown field; known are seed, stream, dtype, framework, prefix, initializer, layers"),
    # The seed.
    (spec(seed=None), "/seed", "must be an integer; got null"),
    (spec(seed=True), "/seed", "must be an integer; got true"),
    (spec(seed=1.0), "/seed", "must be an integer; got 1.0"),
    (spec(seed=[1]), "/seed", "must be an integer; got [1]"),
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
    (spec(dtype="I64"), "/dtype", f'{DTYPES}; got "I64"'),
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
    (initialized("orthogonal"), "/initializer/type", f'must be one of {INITIALIZERS}; got "orthogonal"'),
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
        initialized("xavier_uniform", gain={"nonlinearity": "gelu"}),
        "/initializer/gain/nonlinearity",
        f'must be {NONLINEARITIES}; got "gelu"',
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
    (spec(layers=[{"type": "lstm"}]), "/layers/0/type", f'must be one of {LAYERS}; got "lstm"'),
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
    (linear(in_features=3.0), "/layers/0/in_features", "must be an integer; got 3.0"),
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
    (layer("layer_norm", normalized_shape=0), "/layers/0/normalized_shape", "must be at least 1; got 0"),
    (layer("layer_norm", normalized_shape=[]), "/layers/0/normalized_shape", "must have at least 1 item; got []"),
    (layer("layer_norm", normalized_shape=[3, 0]), "/layers/0/normalized_shape/1", "must be at least 1; got 0"),
    (layer("layer_norm", normalized_shape="3"), "/layers/0/normalized_shape", 'must be an array; got "3"'),
    (layer("tensor", shape=3), "/layers/0/shape", "must be an array; got 3"),
    (layer("tensor", shape=None), "/layers/0/shape", "must be an array; got null"),
    (layer("tensor", shape={"0": 3}), "/layers/0/shape", 'must be an array; got {"0": 3}'),
    (layer("tensor", shape=[2, -1]), "/layers/0/shape/1", "must be at least 0; got -1"),
    (layer("tensor", shape=[2, 1.0]), "/layers/0/shape/1", "must be an integer; got 1.0"),
    (layer("tensor", shape=[2, True]), "/layers/0/shape/1", "must be an integer; got true"),
    (layer("tensor", shape=[2, [3]]), "/layers/0/shape/1", "must be an integer; got [3]"),
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
        b"[" * 1_000_000,
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
