"""The canonical form, and permalinks: one form for all spellings, and any spelling of it accepted."""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from random import Random
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import UnknownPermalink
from service.schema.canonical import canonical_document, canonical_json, digest_of
from service.schema.model import ModelSpec
from service.schema.parsing import read_spec
from service.schema.permalinks import MOST_INFLATED, encode_permalink, inflate_permalink, read_linked
from tests.schema.specifications import Object, specifications, spelled_otherwise

LAYER: Object = {"type": "tensor", "name": "w", "shape": [2, 3]}


def decode_permalink(permalink: str) -> ModelSpec:
    return read_linked(inflate_permalink(permalink))


def canonical(document: Object | bytes) -> bytes:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return canonical_json(canonical_document(read_spec(raw)))


def spec(**more: Any) -> Object:
    return {"seed": 1, "layers": [LAYER]} | more


def with_layer(**layer: Any) -> Object:
    return {"seed": 1, "layers": [{"name": "a"} | layer]}


def linked(raw: bytes, level: int = 9) -> str:
    deflate = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return urlsafe_b64encode(deflate.compress(raw) + deflate.flush()).rstrip(b"=").decode()


CANONICAL = canonical(spec())


def test_the_canonical_form_is_this() -> None:
    document = spec(
        seed=42,
        dtype="bfloat16",
        initializer={"mode": "fan_avg", "type": "glorot_uniform", "gain": "tanh"},
        layers=[
            {"type": "dense", "out_features": 256, "in_features": 784, "name": "fc\u00e9/1", "bias": True},
            {
                "type": "repeat",
                "name": "h",
                "times": 12,
                "start": 0,
                "layers": [{"type": "conv2d", "name": "", "in_channels": 1, "out_channels": 1, "kernel_size": 3}],
            },
        ],
    )

    assert canonical(document).decode() == (
        '{"dtype":"BF16","initializer":{"gain":"tanh","type":"xavier_uniform"},"layers":[{"in_features":784,'
        '"name":"fc\u00e9/1","out_features":256,"type":"linear"},{"layers":[{"in_channels":1,"kernel_size":[3,3],'
        '"name":"","out_channels":1,"type":"conv2d"}],"name":"h","times":12,"type":"repeat"}],"seed":"42","stream":1}'
    )


FEATURES: Object = {"in_features": 3, "out_features": 2}
CHANNELS: Object = {"in_channels": 3, "out_channels": 2, "kernel_size": 5}
CELL: Object = {"input_size": 3, "hidden_size": 2}
HEADS: Object = {"embed_dim": 4, "num_heads": 2}
OF_MODELS: list[tuple[Object, Object]] = [
    (spec(seed=7), spec(seed="7")),
    (spec(), spec(stream=1, dtype="F32", framework="torch", prefix="", initializer="xavier_uniform", fans="exact")),
    (spec(dtype="F8_E4M3"), spec(dtype="float8_E4M3FN")),
]
OF_INITIALIZERS: list[tuple[Any, Any]] = [
    ("he_uniform", {"type": "kaiming_uniform"}),
    ("glorot_normal", {"type": "xavier_normal", "gain": 1, "mode": "fan_avg"}),
    ({"type": "normal", "mean": 0, "std": 1}, "normal"),
    ({"type": "normal", "mean": -0.0}, "normal"),
    ({"type": "constant", "value": -0.0}, {"type": "constant", "value": 0}),
    ({"type": "uniform", "low": -1, "high": -0.0}, {"type": "uniform", "low": -1.0, "high": 0.0}),
    ({"type": "xavier_uniform", "gain": 2}, {"type": "glorot_uniform", "gain": 2.0}),
    ({"type": "xavier_uniform", "gain": "swish"}, {"type": "xavier_uniform", "gain": "silu"}),
    (
        {"type": "kaiming_normal", "nonlinearity": "hard_swish"},
        {"type": "kaiming_normal", "nonlinearity": "hardswish"},
    ),
]
OF_LAYERS: list[tuple[str, Object, Object]] = [
    ("linear", FEATURES, {"type": "dense", "bias": True, "layout": "out_in", "bias_initializer": None}),
    ("conv1d", CHANNELS, {"kernel_size": [5], "groups": 1}),
    ("conv3d", CHANNELS, {"kernel_size": [5, 5, 5]}),
    ("depthwise", {"in_channels": 3, "kernel_size": 5}, {"type": "depthwise_conv", "kernel_size": [5, 5]}),
    ("depthwise", {"in_channels": 3, "kernel_size": 5}, {"depth_multiplier": 1, "bias": True}),
    ("separable_conv", CHANNELS, {"kernel_size": [5, 5], "fans": None}),
    ("conv_transpose1d", CHANNELS, {"kernel_size": [5], "groups": 1}),
    ("lstm", CELL | {"forget_bias": 1}, {"forget_bias": 1.0, "num_layers": 1, "bidirectional": False}),
    ("lstm", CELL | {"forget_bias": -0.0}, {"forget_bias": 0, "recurrent_initializer": None}),
    ("multihead_attention", HEADS, {"kdim": None, "vdim": None, "fused": None}),
    ("instance_norm", {"num_features": 4}, {"affine": True, "track_running_stats": False}),
    (
        "tensor",
        {"shape": [2, 3, 5], "in_axes": [-1], "out_axes": [0], "batch_axes": [-2]},
        {"in_axes": [2], "out_axes": [-3], "batch_axes": [1]},
    ),
    ("layer_norm", {"normalized_shape": 5}, {"normalized_shape": [5], "elementwise_affine": True}),
]
EQUAL = [
    *OF_MODELS,
    *((spec(initializer=one), spec(initializer=other)) for one, other in OF_INITIALIZERS),
    *((with_layer(type=kind, **one), with_layer(**{"type": kind} | one | more)) for kind, one, more in OF_LAYERS),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_specifications_spelled_differently_have_one_digest(one: Object, other: Object) -> None:
    assert canonical(one) == canonical(other)
    assert digest_of(canonical(one)) == sha256(canonical(other)).hexdigest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (spec(seed=1), spec(seed=2)),
        (spec(), spec(dtype="F64")),
        (spec(), spec(framework="keras")),
        (spec(), spec(prefix="a")),
        (spec(), spec(initializer="xavier_normal")),
        (spec(), spec(fans="torch")),
        (spec(fans="keras"), spec(fans="torch")),
        (spec(), spec(layers=[LAYER | {"fans": "exact"}])),
        (spec(), spec(layers=[LAYER | {"in_axes": [1], "out_axes": [0]}])),
        (with_layer(type="lstm", **CELL), with_layer(type="lstm", **CELL, forget_bias=0)),
        (
            with_layer(type="multihead_attention", **HEADS),
            with_layer(type="multihead_attention", **HEADS | {"num_heads": 4}),
        ),
        (spec(seed=2**53), spec(seed=2**53 + 1)),
        (with_layer(type="tensor", shape=[2, 3]), with_layer(type="tensor", shape=[3, 2])),
        (
            with_layer(type="repeat", times=2, layers=[LAYER]),
            {"seed": 1, "layers": [LAYER | {"name": "a.0.w"}, LAYER | {"name": "a.1.w"}]},
        ),
    ],
)
def test_different_specifications_have_different_digests(one: Object, other: Object) -> None:
    assert digest_of(canonical(one)) != digest_of(canonical(other))


def test_repeats_are_kept_however_many() -> None:
    layer = {"type": "repeat", "times": 2**53 - 1, "start": 5, "layers": [LAYER]}

    assert json.loads(canonical(with_layer(**layer)))["layers"] == [layer | {"name": "a"}]


SPELLINGS = ("{whole}", "{whole}.0", "{whole}.000e0", "{tens}E-1", "0.{whole}e{places}")


def text(value: Any, spell: Callable[[], str]) -> str:
    """JSON with every whole number up to 2^53 in some spelling."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {text(part, spell)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(text(item, spell) for item in value) + "]"
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 2**53:
        return json.dumps(value)
    whole = abs(value)
    return "-" * (value < 0) + spell().format(whole=whole, tens=whole * 10, places=len(str(whole)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specifications, st.randoms(use_true_random=False), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_the_canonical_form_means_the_same_and_is_that_of_any_spelling(
    document: Object, choice: Random, indent: int | str | None, ascii_only: bool
) -> None:
    raw = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    form = canonical(raw)

    assert read_spec(form) == read_spec(raw)
    assert rfc8785.dumps(json.loads(form, parse_int=float)) == form
    for spelling in (form, b"\n " + raw + b"\t\r\n", text(document, lambda: choice.choice(SPELLINGS)).encode()):
        assert canonical(spelling) == form
    assert canonical(spelled_otherwise(document)) == form


# Permalinks.


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specifications, st.integers(0, 9))
def test_a_permalink_is_the_canonical_form_or_any_spelling_deflated_or_plain(document: Object, level: int) -> None:
    form, raw = canonical(document), json.dumps(spelled_otherwise(document), indent=2).encode()
    permalink, plain = encode_permalink(form), urlsafe_b64encode(json.dumps(document).encode()).decode()

    assert set(permalink) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    for each in (permalink, linked(raw, level), plain, plain.rstrip("=")):
        assert decode_permalink(each) == read_spec(form)


def test_a_deflate_of_many_blocks_is_a_permalink() -> None:
    deflate = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    flushed = b"".join(deflate.compress(bytes([byte])) + deflate.flush(zlib.Z_FULL_FLUSH) for byte in CANONICAL)

    assert decode_permalink(urlsafe_b64encode(flushed + deflate.flush()).decode()) == read_spec(CANONICAL)


GOOD = encode_permalink(CANONICAL)
PACKED = urlsafe_b64decode(GOOD + "=" * (-len(GOOD) % 4))


@pytest.mark.parametrize(
    "permalink",
    [
        "",
        "=",
        "====",
        "A",
        "hello",
        "é",
        "層",
        "../../etc/passwd",
        GOOD[:-2],
        GOOD[:10],
        GOOD[0].swapcase() + GOOD[1:],
        urlsafe_b64encode(PACKED + b"\0").decode(),
        urlsafe_b64encode(PACKED + b"more").decode(),
        urlsafe_b64encode(PACKED + PACKED).decode(),
        urlsafe_b64encode(PACKED[:-1]).decode(),
        urlsafe_b64encode(CANONICAL + b"x").decode(),
        urlsafe_b64encode(CANONICAL[:-1]).decode(),
        urlsafe_b64encode(CANONICAL + CANONICAL).decode(),
        urlsafe_b64encode(zlib.compress(CANONICAL)).decode(),
        linked(b""),
        linked(b"not JSON"),
        linked(b"[]"),
        linked(b"null"),
        linked(b'{"seed":1}'),
        linked(b'{"seed":1,"seed":1,"layers":[]}'),
        linked(b'{"seed":1,"layers":[{"type":"nothing"}]}'),
        linked(b"\xff\xfe"),
        linked(b"[" * 100_000),
        urlsafe_b64encode(b"{" * 1000).decode(),
    ],
)
def test_what_carries_no_specification_is_an_unknown_permalink(permalink: str) -> None:
    with pytest.raises(UnknownPermalink):
        decode_permalink(permalink)


def test_of_an_invalid_specification_in_a_permalink_the_first_fault_is_told_and_the_others_are_counted() -> None:
    with pytest.raises(UnknownPermalink) as refusal:
        decode_permalink(linked(b'{"seed":1,"layers":[1,2,3]}'))
    assert str(refusal.value).endswith("specification: /layers/0: must be an object; got 1 (and 2 more)")

    with pytest.raises(UnknownPermalink) as refusal:
        decode_permalink(linked(b"[]"))
    assert str(refusal.value).endswith("specification: must be an object; got []")


@pytest.mark.parametrize("stray", ["!!!!", "    ", "\n\n\n\n", "....", "%%%%", "++++", "////", "==AA", "\0\0\0\0"])
@pytest.mark.parametrize("place", [0, 4, len(GOOD)], ids=["before", "within", "after"])
def test_characters_that_are_not_of_base64url_make_an_unknown_permalink(stray: str, place: int) -> None:
    with pytest.raises(UnknownPermalink):
        decode_permalink(GOOD[:place] + stray + GOOD[place:])


def test_a_permalink_that_inflates_without_end_is_not_followed() -> None:
    bomb = linked(b"[" + b" " * (64 << 20) + b"]")

    assert len(bomb) < 100_000
    with pytest.raises(UnknownPermalink):
        decode_permalink(bomb)


@pytest.mark.parametrize("size", [MOST_INFLATED + 1, MOST_INFLATED + 1000])
def test_a_permalink_of_one_byte_too_many_is_unknown(size: int) -> None:
    with pytest.raises(UnknownPermalink):
        decode_permalink(linked(CANONICAL.ljust(size)))


def test_a_permalink_may_be_as_large_as_its_bound() -> None:
    assert decode_permalink(linked(CANONICAL.ljust(MOST_INFLATED))) == read_spec(CANONICAL)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: urlsafe_b64encode(raw).decode()))
def test_any_text_is_a_permalink_or_an_unknown_one(permalink: str) -> None:
    with suppress(UnknownPermalink):
        decode_permalink(permalink)
