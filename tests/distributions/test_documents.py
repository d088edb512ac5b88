"""Distributions as documents: each can be made again from its own, and nothing else makes one."""

from __future__ import annotations

import json
from copy import deepcopy
from math import inf, nextafter
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.distributions import DISTRIBUTIONS
from service.distributions.base import Distribution
from service.distributions.blockwise import Blockwise, Concatenated, Sum
from service.distributions.elementwise import Constant, Normal, TruncatedNormal, Uniform
from service.distributions.members import read_distribution
from service.distributions.orthogonal import Orthogonal
from service.distributions.structured import MOST_AXES, Identity, Sparse
from service.distributions.truncated import CutNormal
from service.schema.canonical import canonical_json
from service.stream.dtypes import DType, widen
from service.stream.words import WordSource

ELEMENTS: Final = 12
NORMAL: Final = Normal(0.1, 5e-324)
EXAMPLES: Final[dict[type[Any], tuple[Distribution, ...]]] = {
    Uniform: (Uniform(-0.1, 0.1), Uniform(-1e308, nextafter(-1e308, 0)), Uniform(0.0, 1.0)),
    Normal: (NORMAL, Normal(0.0, 1.0), Normal(-1e300, 1e300)),
    TruncatedNormal: (TruncatedNormal(1 / 3, 2 / 3),),
    CutNormal: (
        CutNormal(0.5, 0.1, -1.0, 2.0),
        CutNormal(0.0, 1.0, -inf, 0.5),
        CutNormal(-0.0, 1.0, 3.0, inf),
        CutNormal(1e-300, 1e300, -inf, inf),
    ),
    Constant: (Constant(0.0), Constant(-1.7976931348623157e308)),
    Identity: (
        Identity(-0.5, (3, 4), (0, 1)),
        Identity(0.0, (2, 2, 1, 3), (1, 2), ((3, 1),)),
        Identity(1.0, (2, 3, 1, 2), (0, 2), ((1, 0), (3, 1))),
    ),
    Orthogonal: (
        Orthogonal(2.5, (3, 4), (), (0,)),
        Orthogonal(1.0, (2, 3, 2), (0,), (2,)),
        Orthogonal(1.0, (2, 2, 3), (), (0,), ((2, 1),)),
        Orthogonal(1.0, (12,), (), ()),
    ),
    Sparse: (Sparse(0.01, 0, (3, 4), 0), Sparse(1.0, 4, (3, 4), 1), Sparse(1e-3, 1, (2, 3, 2), 1)),
    Blockwise: (
        Blockwise((NORMAL, Constant(1.0), Uniform(0.0, 1.0)), 4),
        Blockwise((Sum(NORMAL, Uniform(-1.0, 1.0), "a", "b"), Constant(2.0)), 6),
    ),
    Sum: (
        Sum(NORMAL, Uniform(-1.0, 1.0), "bias_ih_l0", "bias_hh_l0"),
        Sum(Blockwise((NORMAL, Constant(1.0)), 6), Orthogonal(1.0, (3, 4), (), (0,)), "é", ""),
    ),
    Concatenated: (
        Concatenated(NORMAL, Constant(1.0), "bias_ih_l0", "bias_hh_l0", (1, 0, 2), 2),
        Concatenated(Blockwise((NORMAL, Constant(1.0)), 3), Sparse(1.0, 1, (2, 3), 0), "a", "b", (0,), 6),
    ),
}
EVERY: Final = [distribution for distributions in EXAMPLES.values() for distribution in distributions]
each_distribution = pytest.mark.parametrize("distribution", EVERY, ids=str)


def as_json(distribution: Distribution) -> Any:
    return json.loads(canonical_json(distribution.document))


def test_the_examples_have_every_distribution() -> None:
    assert set(EXAMPLES) == set(DISTRIBUTIONS)
    assert all(type(distribution) is kind for kind, distributions in EXAMPLES.items() for distribution in distributions)
    assert len({distribution.tag for distribution in DISTRIBUTIONS}) == len(DISTRIBUTIONS)


@each_distribution
def test_a_distribution_is_made_again_from_its_document(distribution: Distribution) -> None:
    again = read_distribution(as_json(distribution))

    assert again == distribution
    assert repr(again) == repr(distribution).replace("-0.0", "0.0")  # JSON of RFC 8785 has no -0
    assert hash(again) == hash(distribution)
    assert canonical_json(again.document) == canonical_json(distribution.document)


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, exclude_min=True, allow_infinity=False))
def test_scalars_are_made_again_to_the_last_bit(mean: float, std: float) -> None:
    distribution = Blockwise((Normal(mean + 0.0, std), Constant(-std)), 3)

    assert read_distribution(as_json(distribution)) == distribution


@each_distribution
def test_a_distribution_covers_tensors_of_its_own_size_only(distribution: Distribution) -> None:
    elementwise = isinstance(distribution, Uniform | Normal | TruncatedNormal | CutNormal | Constant)
    sizes = {size for size in range(60) if distribution.covers(size)}
    free = elementwise or (isinstance(distribution, Sum) and isinstance(distribution.second, Uniform))

    assert sizes == (set(range(60)) if free else {ELEMENTS})


def identity(shape: Any, diagonal: Any = (0, 1), center: Any = ()) -> Any:
    return {"type": "identity", "value": 1, "shape": shape, "diagonal": [*diagonal], "center": [*center]}


def orthogonal(gain: Any, shape: Any, batch_axes: Any, row_axes: Any) -> Any:
    axes = {"batch_axes": batch_axes, "row_axes": row_axes, "center": []}
    return {"type": "orthogonal", "gain": gain, "shape": shape} | axes


def sparse(std: Any, zeros: Any, row_axis: Any) -> Any:
    return {"type": "sparse", "std_before": std, "zeros": zeros, "shape": [3, 4], "row_axis": row_axis}


def cut(std: Any, low: Any, high: Any) -> Any:
    return {"type": "cut_normal", "location": 0, "std_before": std, "low": low, "high": high}


WRONG: Final[list[tuple[str, Any]]] = [
    ("no object", []),
    ("a number", 5),
    ("a text", "uniform"),
    ("nothing", None),
    ("no members", {}),
    ("no type", {"low": 0, "high": 1}),
    ("a type of no distribution", {"type": "gamma", "value": 1}),
    ("a type that is no text", {"type": ["constant"], "value": 1}),
    ("a type that is null", {"type": None, "value": 1}),
    ("a member missing", {"type": "uniform", "low": 0}),
    ("a member more", {"type": "constant", "value": 1, "mean": 1}),
    ("a text for a number", {"type": "constant", "value": "1"}),
    ("truth for a number", {"type": "constant", "value": True}),
    ("a list for a number", {"type": "constant", "value": [1]}),
    ("null for a number", {"type": "constant", "value": None}),
    ("infinity", {"type": "constant", "value": inf}),
    ("nan", {"type": "constant", "value": float("nan")}),
    ("an integer beyond binary64", {"type": "constant", "value": 10**400}),
    ("an infinite end of a uniform", {"type": "uniform", "low": None, "high": 1}),
    ("both infinite", {"type": "uniform", "low": None, "high": None}),
    ("ends the wrong way round", {"type": "uniform", "low": 1, "high": 0}),
    ("equal ends", {"type": "uniform", "low": 1, "high": 1}),
    ("no deviation", {"type": "normal", "mean": 0, "std": 0}),
    ("a negative deviation", {"type": "truncated_normal", "mean": 0, "std_before": -1}),
    ("a null deviation", {"type": "normal", "mean": 0, "std": None}),
    ("a cut without deviation", cut(0, 0, 1)),
    ("a cut the wrong way round", cut(1, 1, -1)),
    ("a cut of no mass", cut(1, 40, None)),
    ("a cut of text", cut(1, "a", None)),
    ("a shape of text", identity("34")),
    ("a size beyond JSON", identity([2**53, 4])),
    ("a shape of fractions", identity([3.0, 4])),
    ("a negative size", identity([-3, -4])),
    ("a size of 0", identity([0, 4])),
    ("an object for a shape", identity({})),
    ("one diagonal axis", identity([3, 4], [0], [])),
    ("three diagonal axes", identity([3, 4, 1], [0, 1, 2], [])),
    ("the same axis twice", identity([3, 4], [1, 1], [])),
    ("an axis beyond", identity([3, 4], [0, 2], [])),
    ("an axis before", identity([3, 4], [0, -1], [])),
    ("a centre beyond", identity([3, 4, 2], [0, 1], [[2, 2]])),
    ("a centre on an axis of the map", identity([3, 4], [0, 1], [[1, 0]])),
    ("a centre of no pair", identity([3, 4, 2], [0, 1], [[2]])),
    ("a flat centre", identity([3, 4, 2], [0, 1], [2, 1])),
    ("two centres of an axis", identity([3, 4, 2], [0, 1], [[2, 1], [2, 0]])),
    ("too many axes", orthogonal(1, [1] * (MOST_AXES + 1), [], [0])),
    ("no gain", orthogonal(0, [3, 4], [], [0])),
    ("rows of the batch", orthogonal(1, [3, 4], [0], [0])),
    ("a row axis beyond", orthogonal(1, [3, 4], [], [2])),
    ("more zeros than rows", sparse(1, 4, 0)),
    ("fewer zeros than none", sparse(1, -1, 0)),
    ("zeros of a fraction", sparse(1, 1.0, 0)),
    ("sparse without deviation", sparse(0, 1, 0)),
    ("sparse along no axis", sparse(1, 1, 2)),
    ("no blocks", {"type": "stacked", "laws": [], "length": 3}),
    ("blocks of nothing", {"type": "stacked", "laws": [{"type": "constant", "value": 1}], "length": 0}),
    ("a block of no distribution", {"type": "stacked", "laws": [{"type": "constant"}], "length": 1}),
    ("blocks of text", {"type": "stacked", "laws": "constant", "length": 1}),
    (
        "a sum of one",
        {"type": "sum", "first": {"type": "constant", "value": 1}, "second": None, "suffix": "a", "other_suffix": "b"},
    ),
    (
        "a suffix of no text",
        {"type": "sum", "suffix": 1, "other_suffix": "b"}
        | {part: {"type": "constant", "value": 1} for part in ("first", "second")},
    ),
    *(
        (
            f"joined in the order {order}",
            {"type": "joined", "suffix": "a", "other_suffix": "b", "order": order, "length": 2}
            | {part: {"type": "constant", "value": 1} for part in ("first", "second")},
        )
        for order in ([], [0, 0], [1, 2], [0, 2], [-1, 0], "01", [[0, 1]], None)
    ),
]


@pytest.mark.parametrize("document", [document for _, document in WRONG], ids=[name for name, _ in WRONG])
def test_what_describes_no_distribution_is_a_value_error(document: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_distribution(document)


@pytest.mark.parametrize("depth", [100, 10_000])
def test_distributions_in_distributions_in_distributions_are_a_value_error_where_they_are_too_many(depth: int) -> None:
    document: dict[str, Any] = {"type": "constant", "value": 1}
    for _ in range(depth):
        document = {"type": "stacked", "laws": [document], "length": 1}

    if depth > 1000:
        with pytest.raises(ValueError, match="does not describe a distribution"):
            read_distribution(document)
    else:
        assert read_distribution(document).covers(1)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
names = st.sampled_from(
    ["type", "laws", "first", "low", "shape", "", *(distribution.tag for distribution in DISTRIBUTIONS)]
)
anything = st.recursive(
    scalars | names | st.sampled_from([as_json(distribution) for distribution in EVERY]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_garbage_is_a_distribution_or_a_value_error(document: Any) -> None:
    try:
        distribution = read_distribution(document)
    except ValueError:
        return
    assert type(distribution) in DISTRIBUTIONS


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every member and item of a document, with what it is in."""
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    found: list[tuple[Any, Any]] = []
    for key, value in inside:
        found.append((document, key))
        if isinstance(value, dict | list):
            found += places(value)
    return found


small = st.integers(-2, 5) | st.sampled_from([1e-320, 0.5, 1e300, 2**70]) | st.lists(st.integers(0, 4), max_size=3)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(EVERY), st.data())
def test_a_document_with_a_changed_member_is_a_distribution_that_can_be_drawn_or_a_value_error(
    distribution: Distribution, data: st.DataObject
) -> None:
    document = deepcopy(as_json(distribution))
    for _ in range(data.draw(st.integers(1, 2))):
        inside, key = data.draw(st.sampled_from(places(document)))
        inside[key] = deepcopy(data.draw(small | anything))
    try:
        read = read_distribution(document)
    except ValueError:
        return

    assert read_distribution(as_json(read)) == read
    with np.errstate(invalid="ignore"):
        fits = read.fits(DType.F32)
    if fits and read.covers(ELEMENTS) and read.matrix_elements <= ELEMENTS:
        out = np.empty(ELEMENTS, np.float32)
        read.fill(WordSource(1, "w"), range(ELEMENTS), DType.F32, out)
        assert np.isfinite(widen(out, DType.F32)).all()
