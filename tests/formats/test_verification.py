"""Verification finds whatever is not as it should be in a file, and says of other files that they are none of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from service.errors import InvalidFile, InvalidSpec
from service.formats import verification
from service.formats.files import StatisticsOption
from service.formats.safetensors import SafetensorsFile
from service.formats.verification import COMPARED_ELEMENTS, Difference, comparisons, open_stored, planned_by_metadata
from service.limits import Limits
from service.plan import Plan, TensorPlan, make_plan
from service.schema.parsing import read_spec
from tests.formats.files import MIXED, OPTIONS, STRUCTURED, file_of, header_of, layer, metadata_of, whole
from tests.plan.planned import Layer, linear, planned, repeat, tensor
from tests.schema.drawable import specifications

PLAN: Final = planned(*MIXED)
KERAS: Final = planned(*MIXED, framework="keras")
FILES: Final = {"torch": file_of(PLAN), "keras": file_of(KERAS)}
BYTES: Final = {framework: whole(file) for framework, file in FILES.items()}
each_framework = pytest.mark.parametrize("framework", ["torch", "keras"])


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def differences(path: Path, planned_tensors: Sequence[TensorPlan] | None = None) -> list[Difference]:
    file = open_stored(path)
    wanted = planned_by_metadata(file) if planned_tensors is None else planned_tensors
    return [found for compare in comparisons(file, wanted) if (found := compare()) is not None]


def rewritten(raw: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The same data under a changed header."""
    header = header_of(raw)
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw[8 + int.from_bytes(raw[:8], "little") :]


def with_metadata(raw: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The same tensors under changed metadata of ours; what `change` returns stands instead, where it does."""

    def change_header(header: dict[str, Any]) -> None:
        metadata = json.loads(header["__metadata__"]["xavier"])
        returned = change(metadata)
        header["__metadata__"]["xavier"] = json.dumps(metadata if returned is None else returned)

    return rewritten(raw, change_header)


@each_framework
@pytest.mark.parametrize("fans", ["exact", "torch", "keras"])
@pytest.mark.parametrize("statistics", OPTIONS)
def test_a_file_of_ours_is_what_its_metadata_and_its_specification_say(
    path: Path, statistics: StatisticsOption, framework: str, fans: str
) -> None:
    for layers in (MIXED, STRUCTURED):
        file = file_of(planned(*layers, framework=framework, fans=fans, prefix="m."), statistics)
        path.write_bytes(whole(file))

        assert differences(path) == []
        assert differences(path, file.plan.tensors) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(len(FILES["keras"].header), len(BYTES["keras"]) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_of_the_data_is_found(path: Path, place: int, bit: int) -> None:
    spoiled = bytearray(BYTES["keras"])
    spoiled[place] ^= 1 << bit
    path.write_bytes(spoiled)

    [difference] = differences(path)

    data = len(FILES["keras"].header)
    [owner] = [each for each in FILES["keras"].segments if data + each.start <= place < data + each.stop]
    assert difference.name == owner.tensor.name


def test_the_difference_says_what_is_there_and_what_should_be(path: Path) -> None:
    file = file_of(planned(tensor("w", (2, 3), {"type": "constant", "value": 0.5}, dtype="BF16")))
    raw = whole(file)
    path.write_bytes(raw[:-4] + np.array([0x3F80], "<u2").tobytes() + raw[-2:])

    assert differences(path) == [Difference("w", "differs first at [1, 1]: it is 1.0, and should be 0.5")]


@pytest.mark.parametrize(("stored", "drawn"), [(-0.0, 0.0), (float("nan"), 0.0)])
def test_values_are_compared_bit_by_bit(path: Path, stored: float, drawn: float) -> None:
    raw = whole(file_of(planned(tensor("w", (), {"type": "constant", "value": drawn}))))
    path.write_bytes(raw[:-4] + np.array([stored], "<f4").tobytes())

    [difference] = differences(path)

    assert difference.reason == f"differs first at []: it is {stored!r}, and should be {drawn!r}"


def test_every_part_of_a_long_tensor_is_compared(path: Path) -> None:
    plan = planned(tensor("w", (2 * COMPARED_ELEMENTS + 5,), "uniform", dtype="F8_E4M3"))
    raw = bytearray(whole(file_of(plan)))
    for element in (0, COMPARED_ELEMENTS, 2 * COMPARED_ELEMENTS + 4):
        raw[len(raw) - plan.nbytes + element] ^= 0x80
    path.write_bytes(raw)

    assert [difference.reason.split(":")[0] for difference in differences(path)] == [
        f"differs first at [{element}]" for element in (0, COMPARED_ELEMENTS, 2 * COMPARED_ELEMENTS + 4)
    ]


def test_missing_and_extra_tensors_are_found_against_a_specification(path: Path) -> None:
    path.write_bytes(whole(file_of(planned(tensor("a", (3,)), tensor("b", (3,))))))

    found = differences(path, planned(tensor("b", (3,)), tensor("c", (3,))).tensors)

    assert found == [
        Difference("a", "is in the file, but not in the specification"),
        Difference("c", "is missing from the file"),
    ]


def test_a_tensor_that_the_metadata_promises_and_the_file_has_not_is_missing(path: Path) -> None:
    raw = whole(file_of(planned(tensor("a", (3,)), tensor("b", (3,)))))

    def drop_b(header: dict[str, Any]) -> None:
        del header["b"]

    path.write_bytes(rewritten(raw, drop_b)[:-12])

    assert differences(path) == [Difference("b", "is missing from the file")]


def test_a_tensor_that_the_metadata_does_not_know_is_a_difference(path: Path) -> None:
    def forget(metadata: dict[str, Any]) -> None:
        del metadata["tensors"]["fc.bias"]

    path.write_bytes(with_metadata(BYTES["torch"], forget))

    assert differences(path) == [Difference("fc.bias", "is in the file, but not in the specification")]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (tensor("w", (2, 3), dtype="BF16"), "has dtype F32, and should have BF16"),
        (tensor("w", (3, 2)), "has shape [2, 3], and should have [3, 2]"),
        (tensor("w", (6,)), "has shape [2, 3], and should have [6]"),
        (tensor("w", (2, 3), "zeros"), "differs first at [0, 0]: it is 1.0, and should be 0.0"),
    ],
    ids=["dtype", "shape", "rank", "values"],
)
def test_another_specification_is_another_file(path: Path, other: dict[str, Any], reason: str) -> None:
    path.write_bytes(whole(file_of(planned(tensor("w", (2, 3))))))

    assert differences(path, planned(other).tensors) == [Difference("w", reason)]


def test_another_seed_differs_in_every_random_tensor(path: Path) -> None:
    path.write_bytes(BYTES["torch"])

    found = differences(path, planned(*MIXED, seed=2).tensors)

    random = {each.name for each in PLAN.tensors if each.distribution.std > 0}
    assert {difference.name for difference in found} == random


def test_another_framework_differs_in_names(path: Path) -> None:
    path.write_bytes(BYTES["torch"])

    names = {difference.name for difference in differences(path, KERAS.tensors)}

    assert {"fc.weight", "fc.kernel"} <= names


def test_a_file_of_another_maker_can_be_held_against_a_specification(path: Path) -> None:
    safetensors.numpy.save_file({"w": np.ones((2, 3), np.float32), "ids": np.arange(3)}, path)

    assert differences(path, planned(tensor("w", (2, 3))).tensors) == [
        Difference("ids", "is in the file, but not in the specification")
    ]
    assert differences(path, planned(tensor("w", (2, 3)), tensor("ids", (3,))).tensors) == [
        Difference("ids", "has dtype I64, and should have F32")
    ]
    with pytest.raises(InvalidFile, match="does not say how it was made"):
        differences(path)


@pytest.mark.parametrize("metadata", [{}, {"format": "pt"}, {"xavier": "{}"}], ids=str)
def test_foreign_metadata_is_no_promise(path: Path, metadata: dict[str, str]) -> None:
    safetensors.numpy.save_file({"w": np.ones(3, np.float32)}, path, metadata)

    with pytest.raises(InvalidFile):
        differences(path)


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "{",
        '"x"',
        "",
        "not JSON",
        "[]",
        "1",
        "null",
        "{}",
        '{"stream":2}',
        '{"stream":1}',
        '{"stream":1,"seed":"x","tensors":{}}',
        '{"stream":1,"seed":"1","tensors":{}}',
        '{"stream":1,"seed":"1","tensors":[]}',
        '{"stream":1,"seed":"1","tensors":{"w":1}}',
        '{"stream":1,"seed":"1","tensors":{"w":{"initializer":"nonsense"}}}',
        '{"stream":1,"seed":"1","tensors":{"w":{"initializer":"xavier_uniform"}}}',
        '{"stream":1,"seed":"1","tensors":{"w":{"initializer":"xavier_uniform","fan_in":"x","fan_out":1}}}',
        '{"stream":1,"seed":"1","tensors":{"w":{"initializer":"xavier_uniform","fan_in":0,"fan_out":0}}}',
        '{"stream":1,"seed":"1","tensors":{"w":{"initializer":"zeros","axes":[0,0]}}}',
        '{"stream":1,"seed":"-1","tensors":{"w":{"initializer":"normal"}}}',
        '{"stream":1,"seed":"18446744073709551616","tensors":{"w":{"initializer":"normal"}}}',
        '{"stream":1,"seed":"1","tensors":{"w":{"initializer":"normal","canonical_name":3}}}',
    ],
)
def test_an_xavier_key_that_is_not_ours_is_an_invalid_file(path: Path, text: str) -> None:
    safetensors.numpy.save_file({"w": np.zeros((2, 2), np.float32)}, path, {"xavier": text})

    with pytest.raises(InvalidFile):
        differences(path)


@pytest.mark.parametrize("stream", [2, "1", None])
def test_another_stream_version_is_refused(path: Path, stream: Any) -> None:
    path.write_bytes(with_metadata(BYTES["torch"], lambda metadata: metadata.update(stream=stream)))

    with pytest.raises(InvalidFile, match="stream"):
        differences(path)


SMALL: Final = whole(file_of(planned(linear("fc"), framework="keras")))


@pytest.mark.parametrize(
    ("field", "values"),
    [("seed", (-1, str(2**64), "one", None)), ("tensors", ([], None, {"fc.kernel": 5, "fc.bias": 5}))],
)
def test_metadata_that_means_nothing_is_an_invalid_file(path: Path, field: str, values: tuple[Any, ...]) -> None:
    for value in values:

        def change(metadata: dict[str, Any], value: Any = value) -> None:
            metadata[field] = value

        path.write_bytes(with_metadata(SMALL, change))
        with pytest.raises(InvalidFile):
            differences(path)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("initializer", ("orthogonal", None, {"type": "normal", "std": -1})),
        ("fan_in", (0, "many", -5)),
        ("fan_out", (None,)),
        ("permutation", ([0], [0, 0], [1, 2], "10", [1.0, 0.0], 5)),
        ("canonical_name", (5, ["fc.weight"])),
    ],
)
def test_a_tensor_described_by_nonsense_is_an_invalid_file(path: Path, field: str, values: tuple[Any, ...]) -> None:
    for value in values:

        def change(metadata: dict[str, Any], value: Any = value) -> None:
            metadata["tensors"]["fc.kernel"][field] = value

        path.write_bytes(with_metadata(SMALL, change))
        with pytest.raises(InvalidFile):
            differences(path)


# Structured distributions, and the rearrangements of Keras.

STRUCTURED_FILES: Final = {framework: file_of(planned(*STRUCTURED, framework=framework)) for framework in FILES}
STRUCTURED_BYTES: Final = {framework: whole(file) for framework, file in STRUCTURED_FILES.items()}


@each_framework
def test_the_metadata_makes_the_distributions_and_arrangements_of_the_plan_again(path: Path, framework: str) -> None:
    path.write_bytes(STRUCTURED_BYTES[framework])
    file = STRUCTURED_FILES[framework]

    found = {each.name: each for each in planned_by_metadata(open_stored(path))}

    for each in file.plan.tensors:
        again = found[each.name]
        assert again.distribution == each.distribution
        assert again.shape == each.shape
        assert again.canonical_name == each.canonical_name
        assert again.parameter.rearrangement == each.parameter.rearrangement


@pytest.mark.parametrize("layers", [MIXED, STRUCTURED], ids=["mixed", "structured"])
@each_framework
def test_a_flipped_bit_is_found_in_any_tensor_and_at_its_index(
    path: Path, layers: tuple[Layer, ...], framework: str
) -> None:
    file = file_of(planned(*layers, framework=framework))
    raw = bytearray(whole(file))
    indices = {}
    for segment in (each for each in file.segments if each.start < each.stop):
        element = segment.tensor.elements * 2 // 3
        raw[len(file.header) + segment.start + element * segment.tensor.parameter.dtype.itemsize] ^= 1
        indices[segment.tensor.name] = [int(place) for place in np.unravel_index(element, segment.tensor.shape)]
    path.write_bytes(raw)

    for found in (differences(path), differences(path, file.plan.tensors)):
        assert {each.name: each.reason.partition(": it is ")[0] for each in found} == {
            name: f"differs first at {index}" for name, index in indices.items()
        }


def test_a_difference_in_a_tensor_of_more_axes_than_numpy_has_is_found_at_its_index(path: Path) -> None:
    shape = [1] * 68 + [3]
    limits = Limits(rank=100)
    raw = bytearray(whole(SafetensorsFile(planned(tensor("w", shape), limits=limits), limits=limits)))
    raw[-1] ^= 0x80
    path.write_bytes(raw)

    assert differences(path) == [Difference("w", f"differs first at {[0] * 68 + [2]}: it is -1.0, and should be 1.0")]


# Files of a plain, a gated, a part and a structured tensor, whose metadata is then spoiled.
SPOILED: Final = {
    "kernel": whole(file_of(planned(linear("fc", 3, 2), framework="keras"))),
    "gated": whole(file_of(planned(layer("gru", "fc", input_size=3, hidden_size=2, bias=False), framework="keras"))),
    "part": whole(
        file_of(planned(layer("multihead_attention", "fc", embed_dim=6, num_heads=2, bias=False), framework="keras"))
    ),
    "orthogonal": whole(file_of(planned(tensor("fc", (3, 4), "orthogonal")))),
    "sparse": whole(file_of(planned(tensor("fc", (3, 4), {"type": "sparse", "sparsity": 0.5})))),
    "dirac": whole(file_of(planned(tensor("fc", (3, 4, 2), "dirac")))),
    "joined": whole(
        file_of(planned(layer("gru", "fc", input_size=3, hidden_size=2, bias_initializer="uniform"), framework="keras"))
    ),
}
TENSORS: Final = {"kernel": "fc.kernel", "gated": "fc.recurrent_kernel", "part": "fc.query.kernel", "joined": "fc.bias"}
HUGE: Final = 2**53 - 1


NONSENSE: Final[dict[tuple[str, str], dict[str, str]]] = {
    # A rearrangement that fits no shape, or not this one.
    ("gated", "arrangement"): {
        "view": "[] [3,2] [HUGE,HUGE,HUGE] [3,2,HUGE] [3,2,0] [6,1,2] [3,2,2,1] [3,2,-2] '322'",
        "axes": "[] [2,0] [2,0,3] [2,0,0] [2,0,-2] [2,0,1,1] null",
        "shape": "[6,2] [2,7] [12] null [HUGE,HUGE]",
        "order": "[0] [0,1,2,3] [0,0,1] [0,1,3] [HUGE,0,1] [0,1,-1] 5",
        "part": "0 3 -1 HUGE 'one'",
        "more": "1",
    },
    ("part", "arrangement"): {
        "part": "3 HUGE null",
        "order": "[0,1,2]",
        "axes": "[3,0,1] [3,1,2,0]",
        "view": "[3,2,3] [0,2,3,6]",
    },
    # A distribution that is none, or not of this tensor.
    ("orthogonal", "distribution"): {
        "type": "'gamma' 'sparse'",
        "gain": "-1 'large' 1e39",
        "shape": "[3,5] [HUGE,HUGE] [4,3,0] [] null",
        "row_axes": "[2] [0,0]",
        "batch_axes": "[0] [-1]",
        "center": "[[1,4]] [[0,0]] [[2,0]] [1,0]",
        "more": "1",
    },
    ("sparse", "distribution"): {"zeros": "4 -1", "row_axis": "2", "shape": "[3,4,2]", "std_before": "0"},
    ("dirac", "distribution"): {"diagonal": "[0,0] [0]", "center": "[[2,2]]", "shape": "[3,8]"},
    ("joined", "distribution"): {
        "order": "[0,1] [0,1,1]",
        "length": "3 0",
        "first": "{'type':'constant'} {'type':'uniform','low':-1e300,'high':1e300}",
        "second": "{'type':'sparse','std_before':1,'zeros':1,'shape':[2,6],'row_axis':0}",
        "suffix": "null",
    },
}
"""Of a file, what one member of the description of its tensor says instead."""
STACKS: Final = ("[]", "[5]", "[{}]")
CHANGES: Final[list[tuple[str, str, dict[str, Any]]]] = [
    *(
        (kind, field, {member: json.loads(value.replace("HUGE", str(HUGE)).replace("'", '"'))})
        for (kind, field), members in NONSENSE.items()
        for member, listed in members.items()
        for value in listed.split()
    ),
    ("part", "arrangement", {"view": [2**50, 2, 3, 6], "part": 2**50}),
    ("part", "arrangement", {"view": [HUGE, 2, 3, 6, HUGE], "part": HUGE - 1}),
    ("part", "arrangement", {"view": [3], "axes": [], "shape": []}),
    ("kernel", "arrangement", {"view": [2, 3], "axes": [0, 1], "shape": None, "order": None, "part": None}),
    ("kernel", "arrangement", {"view": [1] * 40 + [2, 3], "axes": [41, *range(41)], "shape": [3, 2]}),
    ("orthogonal", "distribution", {"shape": [1] * 40 + [3, 4]}),
    *(("kernel", "distribution", {"type": "stacked", "laws": json.loads(laws), "length": 2}) for laws in STACKS),
    ("kernel", "distribution", {}),
    ("kernel", "distribution", {"type": "uniform", "low": 1, "high": 0}),
    ("kernel", "distribution", {"type": "normal", "mean": 0, "std": 1e300}),
]


@pytest.mark.parametrize(("kind", "field", "change"), CHANGES, ids=str)
def test_metadata_whose_arrangement_or_distribution_is_nonsense_is_an_invalid_file(
    path: Path, kind: str, field: str, change: dict[str, Any]
) -> None:
    def spoil(metadata: dict[str, Any]) -> None:
        described = metadata["tensors"][TENSORS.get(kind, "fc")]
        described[field] = described.get(field, {}) | change

    path.write_bytes(SPOILED[kind])
    assert differences(path) == []
    path.write_bytes(with_metadata(SPOILED[kind], spoil))

    with pytest.raises(InvalidFile, match=r"the metadata of .* cannot be used"):
        differences(path)


@pytest.mark.parametrize("depth", [50, 3000])
def test_a_distribution_of_many_others_is_an_invalid_file_or_verified(path: Path, depth: int) -> None:
    raw = whole(file_of(planned(tensor("w", (2,)))))
    text = '{"type":"stacked","length":2,"laws":[' * depth + '{"type":"constant","value":1}' + "]}" * depth
    spoiled = rewritten(
        raw,
        lambda header: header["__metadata__"].update(
            xavier=header["__metadata__"]["xavier"].replace(
                '"initializer":"ones"', f'"initializer":"ones","distribution":{text}'
            )
        ),
    )
    path.write_bytes(spoiled)

    if depth > 1000:
        with pytest.raises(InvalidFile):
            differences(path)
    else:
        assert differences(path) == []


def test_a_tensor_larger_than_what_is_drawn_whole_by_default_is_an_invalid_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(SPOILED["orthogonal"])
    monkeypatch.setattr(verification, "Limits", lambda: Limits(whole_elements=12))
    assert differences(path) == []
    monkeypatch.setattr(verification, "Limits", lambda: Limits(whole_elements=11))

    with pytest.raises(InvalidFile, match="asks for 12: raise XAVIER_MAX_WHOLE_ELEMENTS"):
        differences(path)


@pytest.mark.parametrize("limit", ["whole_elements", "whole_total_elements", "whole_bytes"])
def test_how_much_may_be_drawn_whole_is_a_matter_of_limits(path: Path, limit: str) -> None:
    path.write_bytes(SPOILED["orthogonal"])
    limits = {"whole_elements": 12, "whole_total_elements": 12, "whole_bytes": 48}

    planned_by_metadata(open_stored(path), Limits(**limits))

    with pytest.raises(InvalidFile, match=f"asks for {limits[limit]}: raise XAVIER_MAX_{limit.upper()}"):
        planned_by_metadata(open_stored(path), Limits(**limits | {limit: limits[limit] - 1}))


def test_a_part_of_a_whole_that_would_fill_all_memory_is_an_invalid_file(path: Path) -> None:
    def spoil(metadata: dict[str, Any]) -> None:
        described = metadata["tensors"]["fc.query.kernel"]
        described["arrangement"]["view"][0] = 10**12
        described["distribution"] = {
            "type": "orthogonal",
            "gain": 1,
            "shape": [10**12, 2, 3, 6],
            "batch_axes": [],
            "row_axes": [0],
            "center": [],
        }

    path.write_bytes(with_metadata(SPOILED["part"], spoil))

    with pytest.raises(InvalidFile, match="drawn whole"):
        differences(path)


def test_a_part_of_a_whole_of_any_size_is_drawn_alone_where_it_can_be(path: Path) -> None:
    def enlarge(metadata: dict[str, Any]) -> None:
        metadata["tensors"]["fc.query.kernel"]["arrangement"]["view"][0] = 2**50

    path.write_bytes(with_metadata(SPOILED["part"], enlarge))

    assert differences(path) == []


def test_a_part_beyond_what_indices_can_count_is_an_invalid_file(path: Path) -> None:
    attention = layer("multihead_attention", "fc", embed_dim=64, num_heads=2, bias=False)
    raw = whole(file_of(planned(attention, framework="keras")))

    def enlarge(metadata: dict[str, Any]) -> None:
        rearrangement = metadata["tensors"]["fc.query.kernel"]["arrangement"]
        rearrangement["view"][0], rearrangement["part"] = HUGE, HUGE - 1

    path.write_bytes(with_metadata(raw, enlarge))

    with pytest.raises(InvalidFile, match="arrangement"):
        differences(path)


def test_a_missing_tensor_may_be_described_by_anything(path: Path) -> None:
    def promise(metadata: dict[str, Any]) -> None:
        for name, view, axes in (("gone", [9, HUGE], [5]), ("lost", [], [])):
            rearrangement = {"view": view, "axes": axes, "shape": None, "order": None, "part": None}
            metadata["tensors"][name] = {"initializer": "ones", "arrangement": rearrangement}

    path.write_bytes(with_metadata(SPOILED["kernel"], promise))

    try:
        assert {difference.name for difference in differences(path)} == {"gone", "lost"}
    except InvalidFile as error:
        assert "arrangement" in str(error)  # noqa: PT017 - either answer is right


values = (
    st.none()
    | st.integers(-2, 7)
    | st.sampled_from([HUGE, 2**31, 2**63, 10**30])
    | st.lists(st.integers(-1, 7), max_size=4)
    | st.lists(st.sampled_from([0, 1, HUGE, 2**62]), max_size=4)
    | st.sampled_from(["", "3", 0.5, 1e300])
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(SPOILED)), st.data())
def test_any_changed_number_of_an_arrangement_or_distribution_is_found_invalid_or_different_or_nothing(
    path: Path, kind: str, data: st.DataObject
) -> None:
    def spoil(metadata: dict[str, Any]) -> None:
        described = metadata["tensors"][TENSORS.get(kind, "fc")]
        field = data.draw(st.sampled_from(sorted({"arrangement", "distribution", "permutation"} & set(described))))
        if not isinstance(described[field], dict):
            described[field] = data.draw(values)
            return
        for _ in range(data.draw(st.integers(1, 2))):
            described[field][data.draw(st.sampled_from(sorted(described[field])))] = data.draw(values)

    path.write_bytes(with_metadata(SPOILED[kind], spoil))

    try:
        found = differences(path)
    except InvalidFile:
        return
    assert {difference.name for difference in found} <= {TENSORS.get(kind, "fc")}


def test_the_spoiled_files_have_an_arrangement_and_a_distribution() -> None:
    described = {kind: metadata_of(raw)["tensors"][TENSORS.get(kind, "fc")] for kind, raw in SPOILED.items()}

    assert {kind for kind, each in described.items() if "arrangement" in each} == {"gated", "part"}
    assert {kind for kind, each in described.items() if "distribution" in each} == {
        "orthogonal",
        "sparse",
        "dirac",
        "joined",
    }


def test_a_distribution_that_overflows_its_dtype_is_never_verified(path: Path) -> None:
    raw = whole(file_of(planned(tensor("w", (3,), "normal", dtype="F16"))))

    def change(metadata: dict[str, Any]) -> None:
        metadata["tensors"]["w"]["initializer"] = {"type": "normal", "std": 1e30}

    path.write_bytes(with_metadata(raw, change))

    try:
        assert differences(path)
    except InvalidFile as error:
        assert "overflow" in str(error)  # noqa: PT017 - either answer is right


@pytest.mark.parametrize(
    "length", [0, 1, 7, 8, 9, 100, len(FILES["torch"].header) - 1, len(FILES["torch"].header), len(BYTES["torch"]) - 1]
)
def test_a_truncated_file_is_an_invalid_file(path: Path, length: int) -> None:
    path.write_bytes(BYTES["torch"][:length])

    with pytest.raises(InvalidFile, match="is not a safetensors file"):
        open_stored(path)


@pytest.mark.parametrize(
    "raw",
    [
        BYTES["torch"] + b"\0",
        b"PK\x03\x04" + bytes(100),
        b"\x80\x02" * 50,
        (2**63).to_bytes(8, "little") + b"{}",
        (100).to_bytes(8, "little") + b"x" * 100,
        (2).to_bytes(8, "little") + b"[]",
        rewritten(BYTES["torch"], lambda header: header["fc.bias"].update(dtype="F7")),
        rewritten(BYTES["torch"], lambda header: header["fc.bias"].update(shape=[14])),
        rewritten(BYTES["torch"], lambda header: header["fc.bias"].update(data_offsets=[0, 26])),
    ],
    ids=["longer", "zip", "pickle", "huge header", "no json", "no object", "dtype", "shape", "offsets"],
)
def test_what_is_not_safetensors_is_an_invalid_file(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)

    with pytest.raises(InvalidFile, match="is not a safetensors file"):
        open_stored(path)


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none\.safetensors"):
        open_stored(tmp_path / "none.safetensors")


def test_a_thousand_tensors_are_verified_by_their_metadata(path: Path) -> None:
    plan: Plan = planned(repeat("h", 400, linear("fc", 3, 2), tensor("s", ())), framework="keras")
    path.write_bytes(whole(SafetensorsFile(plan)))

    assert len(open_stored(path).tensors) == 1200
    assert differences(path) == []


# Whatever is generated.


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specifications(), statistics=st.sampled_from(OPTIONS))
def test_every_file_of_every_layer_and_initializer_is_what_its_metadata_says(
    path: Path, spec: dict[str, Any], statistics: StatisticsOption
) -> None:
    try:
        plan = make_plan(read_spec(json.dumps(spec).encode()))
    except InvalidSpec:
        reject()
    path.write_bytes(whole(file_of(plan, statistics)))

    assert differences(path) == []


def recurrent(kind: str, **more: Any) -> dict[str, Any]:
    return layer(kind, kind, input_size=3, hidden_size=2, num_layers=2, bidirectional=True) | more


@pytest.mark.parametrize("bias", ["ones", "zeros", {"type": "constant", "value": -0.3}], ids=str)
@pytest.mark.parametrize("dtype", ["F32", "F8_E4M3"])
@each_framework
def test_constant_biases_are_what_the_metadata_says(path: Path, framework: str, dtype: str, bias: Any) -> None:
    cells = (recurrent(kind, bias_initializer=bias) for kind in ("rnn", "lstm", "gru"))
    alike = tensor("x.bias_ih_l0", (4,), bias), tensor("x.bias", (4,), bias)
    plan = planned(*cells, *alike, framework=framework, dtype=dtype, prefix="m.")
    path.write_bytes(whole(file_of(plan, "measured")))

    assert differences(path) == []


def test_gates_that_come_to_one_constant_are_what_the_metadata_says(path: Path) -> None:
    for bias, forget in ((0.25, 0.5), (0.0, 0.0)):
        cell = recurrent("lstm", bias_initializer={"type": "constant", "value": bias}, forget_bias=forget)
        path.write_bytes(whole(file_of(planned(cell, framework="keras"))))

        assert differences(path) == []
