"""What reading and planning may cost, whatever is asked for: in faults, in parameters, and in bytes of memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from service.errors import MOST_COUNTED, MOST_FAULTS, InvalidSpec, LimitExceeded, Refused
from service.formats import json as documents
from service.formats.files import StatisticsOption
from service.formats.safetensors import SafetensorsFile, check_outline
from service.limits import Limits
from service.plan import TensorPlan, findings, make_outline, planner
from service.plan.layers import dispatch as definitions
from service.plan.parameter import LayerParameter
from service.schema import parsing
from service.schema.parsing import read_spec
from tests.plan.planned import Layer, excesses, faults, group, linear, planned, repeat, spec, tensor

MEBIBYTE: Final = 1 << 20
MOST_MEMORY: Final = 150_000_000
"""Bytes of memory that any request of the allowed size may take until something is drawn."""
MOST_VALUES: Final = Limits().spec_values
BEGIN: Final = b'{"seed":1,"layers":['


def listed(template: bytes, count: int) -> bytes:
    """A specification of as many layers, each with its number in it."""
    return BEGIN + b",".join(template.replace(b"#", b"%d" % number) for number in range(count)) + b"]}"


REFUSED: Final[dict[str, Callable[[], bytes]]] = {
    "objects that are empty": lambda: listed(b"{}", MOST_VALUES - 4),
    "numbers for layers": lambda: listed(b"5", MOST_VALUES - 4),
    "too many numbers": lambda: listed(b"5", 2 * MEBIBYTE),
    "strings for dimensions": lambda: BEGIN + b'{"type":"tensor","shape":[' + b'"",' * 1_390_000 + b"1]}]}",
}
A_PART: Final[dict[str, Callable[[], bytes]]] = {
    "different layers": lambda: listed(b'{"type":"linear","name":"#","in_features":1#,"out_features":2}', 1_300),
    "a long repeat": lambda: spec(repeat("h", 2_500, linear("fc", 2, 2))),
    "names of wide characters": lambda: spec(
        repeat("n" * 990 + "\U0001f600", 560, tensor("w", (1,))), framework="keras"
    ),
}
"""A twentieth of what values, tensors and bytes of a header there may be."""


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_takes_little_memory(make: Callable[[], bytes]) -> None:
    raw = make()
    tracemalloc.start()
    with pytest.raises(Refused) as refusal:
        read_spec(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < MOST_MEMORY
    assert len(refusal.value.faults) <= MOST_FAULTS + 1


@pytest.mark.parametrize("make", A_PART.values(), ids=A_PART)
def test_what_is_planned_takes_little_memory(make: Callable[[], bytes]) -> None:
    raw = make()
    tracemalloc.start()
    assert SafetensorsFile(make_outline(read_spec(raw)).expanded()).prepared().length
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < MOST_MEMORY / 20


@pytest.fixture(name="found")
def _found(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many faults each validation, and the planning, has found."""
    counts: list[int] = []
    located = parsing._faults

    def counted(details: Any, document: Any) -> Any:
        counts.append(len(details))
        return located(details, document)

    monkeypatch.setattr(parsing, "_faults", counted)
    return counts


@pytest.mark.parametrize("layer", [b"5", b"{}", b'{"type":"group","name":"g","layers":[{},{},{},{}]}'], ids=str)
def test_validation_stops_looking_for_faults_that_nobody_reads(layer: bytes, found: list[int]) -> None:
    with pytest.raises(InvalidSpec, match="and more faults") as refusal:
        read_spec(listed(layer, MOST_COUNTED + 5000))

    assert MOST_COUNTED <= found[0] < MOST_COUNTED + 10
    assert len(refusal.value.faults) == MOST_FAULTS + 1


def test_layers_behind_very_many_faults_do_not_make_a_specification_valid() -> None:
    wrong = listed(b"5", MOST_COUNTED)[:-2]

    with pytest.raises(InvalidSpec):
        read_spec(wrong + b',{"type":"tensor","name":"w","shape":[],"initializer":"ones"}]}')


def test_planning_stops_looking_for_faults_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MOST_COUNTED", 200)

    meant = faults(*(tensor(f"{number}", (number + 1,), "he_normal") for number in range(300)))
    named = faults(*(tensor("w", ()) for _ in range(300)))
    large = excesses(*(tensor(f"{number}", (1,) * 9) for number in range(300)))

    assert meant[-1] == named[-1] == ("", "and more faults")
    assert len(meant) == len(named) == MOST_FAULTS + 1
    assert len(large) == MOST_FAULTS


@pytest.mark.parametrize("text", ["[]", "{}", '"a,b,[{"', r'"\",\\"', "[ \n]", "1"])
def test_values_are_counted_as_they_are_read(text: str) -> None:
    items = [text] * 40
    raw = (
        f'{{"seed":1,"layers":[{",".join(items)}]}}'.encode()
    )  # 43 values: the object, the seed, the array and its own

    with pytest.raises(LimitExceeded) as refusal:
        read_spec(raw, Limits(spec_values=42))
    assert (refusal.value.first.name, refusal.value.first.limit) == ("spec_values", 42)
    with pytest.raises(InvalidSpec):
        read_spec(raw, Limits(spec_values=43))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({f"x{number}": 1 for number in range(1023)}, "an object may have at most 1024 members; one has 1025"),
        ({"prefix": [1] * 1025}, 'an array may have at most 1024 items; "prefix" has 1025'),
    ],
    ids=["members", "items"],
)
def test_objects_and_arrays_larger_than_any_of_a_specification_are_refused(document: Layer, message: str) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        read_spec(spec(tensor("w", ()), **document))

    assert [(fault.pointer, fault.message) for fault in refusal.value.faults] == [("", message)]


@pytest.fixture(name="understood")
def _resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers whose parameters were made."""
    names: list[str] = []
    layer_parameters = definitions.layer_parameters

    def counted(layer: Any, model: Any) -> Iterator[LayerParameter]:
        names.append(layer.name)
        return layer_parameters(layer, model)

    monkeypatch.setattr(planner, "layer_parameters", counted)
    return names


def test_layers_that_are_equal_but_for_their_names_are_understood_once(understood: list[str]) -> None:
    plan = planned(linear("a"), group("g", linear("b"), linear("c", bias=False)), repeat("h", 5, linear("d")))

    assert understood == ["a", "c"]
    assert len({tensor.parameter for tensor in plan.tensors}) == 3


def test_faults_of_equal_layers_are_told_of_each() -> None:
    assert [pointer for pointer, _ in faults(*(tensor(name, (3,), "he_normal") for name in "ab"))] == [
        "/layers/0/initializer",
        "/layers/1/initializer",
    ]


def test_no_more_different_tensors_are_understood_than_may_be(understood: list[str]) -> None:
    layers = [linear(f"{number}", number % 25 + 1) for number in range(100)]
    limits = Limits(different_tensors=50)

    assert len(planned(repeat("h", 100, *layers), limits=limits).tensors) == 20_000
    found = excesses(*(linear(f"{number}", number + 1) for number in range(100)), limits=limits)

    assert [(excess.name, excess.requested) for excess in found] == [("different_tensors", 52)]
    assert len(understood) == 25 + 26


def test_different_cuts_of_a_normal_are_few() -> None:
    def cut(number: int) -> Layer:
        return tensor(f"{number}", (2,), {"type": "truncated_normal", "low": -1 - number / 10, "high": 1})

    layers = [cut(number % 5) | {"name": f"{number}"} for number in range(20)]

    assert len(planned(*layers, limits=Limits(cuts=5)).tensors) == 20
    [excess] = excesses(*layers, cut(5) | {"name": "more"}, limits=Limits(cuts=5))
    assert (excess.pointer, excess.name, excess.requested) == ("/layers/20", "cuts", 6)


def test_a_header_that_is_too_long_is_given_up_before_anything_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    outline = make_outline(read_spec(spec(repeat("h" * 40, 50_000, linear("fc")))))
    monkeypatch.setattr(planner._Planner, "expand", lambda *_: pytest.fail("it was expanded"))

    with pytest.raises(LimitExceeded, match="bytes of header"):
        check_outline(outline, "expected", Limits())


@pytest.mark.parametrize("statistics", StatisticsOption.__args__)  # type: ignore[attr-defined]  # a Literal
def test_a_header_is_never_estimated_longer_than_it_is(statistics: StatisticsOption) -> None:
    stack = {"type": "gru", "name": "r", "input_size": 2, "hidden_size": 2, "num_layers": 150}
    layers = [repeat("h", 300, linear("fc"), tensor("e", (0,), "zeros")), stack | {"bias_initializer": "torch_default"}]
    for framework in ("torch", "keras"):
        outline = make_outline(read_spec(spec(*layers, framework=framework, prefix="p")))
        header = len(SafetensorsFile(outline.expanded(), statistics).header)

        check_outline(outline, statistics, Limits(header_bytes=header))
        with pytest.raises(LimitExceeded):
            check_outline(outline, statistics, Limits(header_bytes=header // 2))


def test_what_a_plan_takes_of_memory_is_about_what_it_says() -> None:
    for layers in ((repeat("h", 1000, linear("fc", 2, 2)),), tuple(linear(f"{n}", n + 1) for n in range(500))):
        tracemalloc.start()
        file = SafetensorsFile(make_outline(read_spec(spec(*layers))).expanded()).prepared()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert taken / 2 < file.memory < 4 * taken


def test_a_description_is_made_as_far_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    described: list[str] = []
    plain = documents._described

    def counted(each: TensorPlan) -> Any:
        described.append(each.name)
        return plain(each)

    monkeypatch.setattr(documents, "_described", counted)
    pieces = documents.plan_json(SafetensorsFile(planned(*(linear(f"{n}", n + 1) for n in range(1000)))))

    next(pieces)
    assert described == []
    next(pieces)
    assert len(described) == documents.PIECE
