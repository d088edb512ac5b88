"""Verification finds whatever is not as it should be in a file, and says of other files that they are none of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import InvalidFile
from service.formats.safetensors import SafetensorsFile, StatisticsOption
from service.formats.verification import COMPARED_ELEMENTS, Difference, comparisons, open_stored, planned_by_metadata
from service.plan import Plan, TensorPlan
from tests.formats.files import MIXED, OPTIONS, file_of, header_of, whole
from tests.plan.planned import linear, planned, repeat, tensor

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
@pytest.mark.parametrize("statistics", OPTIONS)
def test_a_file_of_ours_is_what_its_metadata_and_its_specification_say(
    path: Path, statistics: StatisticsOption, framework: str
) -> None:
    file = file_of(planned(*MIXED, framework=framework), statistics)
    path.write_bytes(whole(file))

    assert differences(path) == []
    assert differences(path, file.plan.tensors) == []


@each_framework
def test_a_flipped_bit_is_found_in_any_tensor_and_at_its_index(path: Path, framework: str) -> None:
    file, raw = FILES[framework], BYTES[framework]
    for segment in file.segments:
        if segment.start == segment.stop:
            continue
        element = segment.tensor.elements * 2 // 3
        spoiled = bytearray(raw)
        spoiled[len(file.header) + segment.start + element * segment.tensor.parameter.dtype.itemsize] ^= 1
        path.write_bytes(spoiled)
        index = [int(place) for place in np.unravel_index(element, segment.tensor.shape)]

        for found in (differences(path), differences(path, file.plan.tensors)):
            [difference] = found
            assert difference.name == segment.tensor.name
            assert difference.reason.startswith(f"differs first at {index}: it is ")


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


@pytest.mark.parametrize("text", ["", "hello", "{", "[]", "3", "null", '"x"', '{"stream": 1}'])
def test_an_xavier_key_that_is_not_ours_is_an_invalid_file(path: Path, text: str) -> None:
    safetensors.numpy.save_file({"w": np.ones(3, np.float32)}, path, {"xavier": text})

    with pytest.raises(InvalidFile):
        differences(path)


@pytest.mark.parametrize("stream", [2, "1", None])
def test_another_stream_version_is_refused(path: Path, stream: Any) -> None:
    path.write_bytes(with_metadata(BYTES["torch"], lambda metadata: metadata.update(stream=stream)))

    with pytest.raises(InvalidFile, match="stream"):
        differences(path)


SMALL: Final = whole(file_of(planned(linear("fc"), framework="keras")))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", str(2**64)),
        ("seed", "one"),
        ("seed", None),
        ("tensors", []),
        ("tensors", None),
        ("tensors", {"fc.kernel": 5, "fc.bias": 5}),
    ],
    ids=str,
)
def test_metadata_that_means_nothing_is_an_invalid_file(path: Path, field: str, value: Any) -> None:
    path.write_bytes(with_metadata(SMALL, lambda metadata: metadata.update({field: value})))

    with pytest.raises(InvalidFile):
        differences(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("initializer", "orthogonal"),
        ("initializer", None),
        ("initializer", {"type": "normal", "std": -1}),
        ("fan_in", 0),
        ("fan_in", "many"),
        ("fan_out", None),
        ("fan_in", -5),
        ("permutation", [0]),
        ("permutation", [0, 0]),
        ("permutation", [1, 2]),
        ("permutation", "10"),
        ("permutation", [1.0, 0.0]),
        ("permutation", 5),
        ("canonical_name", 5),
        ("canonical_name", ["fc.weight"]),
    ],
    ids=str,
)
def test_a_tensor_described_by_nonsense_is_an_invalid_file(path: Path, field: str, value: Any) -> None:
    def change(metadata: dict[str, Any]) -> None:
        metadata["tensors"]["fc.kernel"][field] = value

    path.write_bytes(with_metadata(SMALL, change))

    with pytest.raises(InvalidFile):
        differences(path)


def test_a_law_that_overflows_its_dtype_is_never_verified(path: Path) -> None:
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
