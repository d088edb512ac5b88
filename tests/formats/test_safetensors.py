"""The file: byte for byte the reference writer's, any range alone, and an ETag that knows what the bytes depend on."""

from __future__ import annotations

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from math import prod, sqrt
from typing import Any, Final

import numpy as np
import pytest
import rfc8785
import safetensors.numpy
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from service.analysis.statistics import expected
from service.errors import InvalidSpec, LimitExceeded, Refused
from service.formats import safetensors as under_test
from service.formats.files import StatisticsOption
from service.formats.safetensors import CHUNK_BYTES, SafetensorsFile, check_outline
from service.limits import Limits
from service.plan import make_outline, make_plan
from service.plan.resolve import distribution_of
from service.schema.parsing import read_spec
from tests.formats.files import (
    MIXED,
    OPTIONS,
    STRUCTURED,
    file_of,
    header_of,
    layer,
    measured,
    metadata_of,
    mixed_file,
    whole,
    written_by_the_reference,
)
from tests.plan.planned import Layer, linear, planned, repeat, spec, stored, tensor, values
from tests.schema.drawable import specifications

each_option = pytest.mark.parametrize("statistics", OPTIONS)
each_framework = pytest.mark.parametrize("framework", ["torch", "keras"])

FILES: Final = {
    (option, framework): mixed_file(option, framework=framework)
    for option in OPTIONS
    for framework in ("torch", "keras")
}
BYTES: Final = {key: whole(file) for key, file in FILES.items()}
FILE: Final = FILES["expected", "keras"]
WHOLE: Final = BYTES["expected", "keras"]


def deserialized(raw: bytes) -> dict[str, dict[str, Any]]:
    """What the reference reader finds, in any dtype."""
    return dict(safetensors.deserialize(raw))  # type: ignore[no-untyped-call]  # it has no types


@each_option
@each_framework
def test_the_file_is_byte_for_byte_the_one_of_the_reference_writer(
    statistics: StatisticsOption, framework: str
) -> None:
    assert BYTES[statistics, framework] == written_by_the_reference(FILES[statistics, framework])


@pytest.mark.parametrize(
    "layers",
    [
        (tensor("w", ()),),
        (tensor("w", (0,), "zeros"),),
        (tensor("b", (3,)), tensor("a", (3,))),
        (tensor("a", (3,), dtype="F8_E5M2"), tensor("b", (3,), dtype="F8_E4M3"), tensor("c", (1,), dtype="F64")),
        (tensor("a", (0, 5), "zeros"), tensor("b", (2,)), tensor("c", (0,), "zeros"), tensor("d", (1,))),
        tuple(tensor(str(number), (1,)) for number in range(30)),
    ],
    ids=["scalar", "empty", "order", "dtypes", "empty between", "many"],
)
def test_files_of_every_make_are_the_reference_writers(layers: tuple[Layer, ...]) -> None:
    file = file_of(planned(*layers))

    assert whole(file) == written_by_the_reference(file)


@each_framework
def test_the_reference_reader_finds_names_dtypes_and_shapes_of_all(framework: str) -> None:
    file = FILES["expected", framework]
    found = deserialized(BYTES["expected", framework])

    assert set(found) == {each.name for each in file.plan.tensors}
    for each in file.plan.tensors:
        assert found[each.name]["dtype"] == each.parameter.dtype.value
        assert found[each.name]["shape"] == list(each.shape)
        assert bytes(found[each.name]["data"]) == stored(each).tobytes()


@each_option
@each_framework
def test_the_length_is_known_and_the_data_begins_at_a_multiple_of_8(
    statistics: StatisticsOption, framework: str
) -> None:
    file, raw = FILES[statistics, framework], BYTES[statistics, framework]

    assert file.length == len(raw) == len(file.header) + file.plan.nbytes
    assert len(file.header) == 8 + int.from_bytes(raw[:8], "little")
    assert len(file.header) % 8 == 0
    assert raw[: len(file.header)] == file.header


def test_a_tensor_of_no_elements_is_refused_or_readable_however_large_its_other_dimensions() -> None:
    huge = 2**31 - 1
    for shape in ((0, huge, huge), (huge, huge, huge, 0), (huge,) * 7 + (0,)):
        with suppress(Refused):
            plan = planned(tensor("w", shape, "zeros"))
            for statistics in OPTIONS:
                deserialized(whole(file_of(plan, statistics)))


# Ranges.


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_byte_range_is_that_slice_of_the_whole(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(WHOLE)) | st.integers(len(FILE.header) - 9, len(FILE.header) + 9))
    stop = data.draw(st.integers(start, len(WHOLE)) | st.integers(start, min(start + 20, len(WHOLE))))

    assert bytes(FILE.read(start, stop)) == WHOLE[start:stop]


@pytest.mark.parametrize("layers", [MIXED, STRUCTURED], ids=["mixed", "structured"])
def test_the_file_read_seven_bytes_at_a_time_is_the_file(layers: tuple[Layer, ...]) -> None:
    file = file_of(planned(*layers, framework="keras"))
    raw, first = whole(file), len(file.header) - 20

    parts = [file.read(start, min(start + 7, len(raw))) for start in range(first, len(raw), 7)]

    assert b"".join(parts) == raw[first:]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_spans_cover_a_range_and_their_cuts_do_not_depend_on_it(data: st.DataObject) -> None:
    file = file_of(planned(tensor("w", (1 << 20, 3), "normal", dtype="F64")))
    cuts = [start for start, _ in file.spans(0, file.length)]
    start = data.draw(st.integers(0, file.length))
    stop = data.draw(st.integers(start, file.length))

    spans = list(file.spans(start, stop))

    ends = [start, *(cut for cut in cuts if start < cut < stop), stop]
    assert spans == (list(pairwise(ends)) if start < stop else [])
    assert all(last - first <= max(CHUNK_BYTES, len(file.header)) for first, last in spans)


def test_the_parts_of_a_range_are_the_elements_that_it_touches() -> None:
    data = len(FILE.header)
    everything = [(part.tensor.name, part.elements) for part in FILE.parts(data, FILE.length)]

    assert list(FILE.parts(0, data)) == []
    assert everything == [
        (segment.tensor.name, range(segment.tensor.elements))
        for segment in FILE.segments
        if segment.start < segment.stop
    ]
    [segment] = [each for each in FILE.segments if each.tensor.name == "fc.kernel"]
    size = segment.tensor.parameter.dtype.itemsize
    [part] = FILE.parts(data + segment.start + 2 * size - 1, data + segment.start + 3 * size + 1)
    assert part == (segment.tensor, range(1, 4), size + 2)


def test_spans_of_a_file_larger_than_memory_come_one_by_one() -> None:
    file = file_of(planned(repeat("h", 8, tensor("w", (1 << 30, 2)))))

    assert file.length > 64 << 30
    assert next(file.spans(0, file.length)) == (0, len(file.header))
    assert next(file.spans(file.length - 3, file.length)) == (file.length - 3, file.length)
    assert len(file.read(file.length - 3, file.length)) == 3


def test_what_was_read_is_never_written_again() -> None:
    file = file_of(planned(tensor("w", (1 << 19,), "normal"), tensor("v", (1 << 19,), "normal")))
    spans = list(file.spans(0, file.length))
    first = [file.read(*span) for span in spans]
    copies = [bytes(part) for part in first]

    for span in spans:
        file.read(*span)

    assert [bytes(part) for part in first] == copies
    assert not any(
        np.shares_memory(np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)) for one, other in pairwise(first)
    )


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_two_files_read_at_once_on_any_number_of_threads_are_the_files(threads: int) -> None:
    tasks = [
        (file, BYTES[key][start : start + 97], start)
        for start in range(0, min(map(len, BYTES.values())) - 97, 4001)
        for key, file in FILES.items()
    ]

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(lambda task: bytes(task[0].read(task[2], task[2] + 97)), tasks))

    assert parts == [expected_part for _, expected_part, _ in tasks]


# Metadata.


@each_framework
@pytest.mark.parametrize("statistics", ["expected", "none"])
def test_the_metadata_is_canonical_json_about_every_tensor(statistics: StatisticsOption, framework: str) -> None:
    file, raw = FILES[statistics, framework], BYTES[statistics, framework]
    metadata = header_of(raw)["__metadata__"]

    found = metadata_of(raw)

    assert list(metadata) == ["format", "xavier"]
    assert metadata["format"] == "pt"
    assert rfc8785.dumps(found).decode() == metadata["xavier"]
    assert {key: found[key] for key in ("digest", "seed", "stream")} == {
        "digest": file.plan.digest,
        "seed": "1",
        "stream": 1,
    }
    assert set(found["tensors"]) == {each.name for each in file.plan.tensors}


def test_the_metadata_says_how_a_tensor_came_about() -> None:
    layers = (linear("fc", 3, 5, initializer={"type": "xavier_normal", "gain": "tanh"}), tensor("s", ()))
    tensors = metadata_of(whole(file_of(planned(*layers, framework="keras", prefix="m."))))["tensors"]
    std = 5 / 3 * (2 / 8) ** 0.5

    assert tensors == {
        "m.fc.kernel": {
            "canonical_name": "fc.weight",
            "permutation": [1, 0],
            "fan_in": 3,
            "fan_out": 5,
            "initializer": {"gain": "tanh", "type": "xavier_normal"},
            "statistics": {
                "expected": {
                    "mean": 0,
                    "std": std,
                    "max": float.fromhex("0x1.95a11ap+2") * std,
                    "min": -float.fromhex("0x1.95a11ap+2") * std,
                }
            },
        },
        "m.fc.bias": {
            "canonical_name": "fc.bias",
            "initializer": "zeros",
            "statistics": {"expected": {"mean": 0, "std": 0, "min": 0, "max": 0}},
        },
        "m.s": {
            "canonical_name": "s",
            "initializer": "ones",
            "statistics": {"expected": {"mean": 1, "std": 0, "min": 1, "max": 1}},
        },
    }


ELEMENTWISE: Final = {"uniform", "normal", "truncated_normal", "cut_normal", "constant"}


@each_framework
@pytest.mark.parametrize("fans", ["exact", "torch", "keras"])
def test_the_metadata_has_the_distribution_where_initializer_and_fans_do_not_say_it(framework: str, fans: str) -> None:
    plan = planned(*STRUCTURED, framework=framework, fans=fans)
    tensors = metadata_of(SafetensorsFile(plan).header)["tensors"]

    for each in plan.tensors:
        document = json.loads(rfc8785.dumps(each.distribution.document))
        described = tensors[each.name]
        assert described.get("distribution", document) == document
        if "distribution" not in described:
            assert document["type"] in ELEMENTWISE
            assert distribution_of(each.parameter.initializer, each.parameter.fans) == each.distribution


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_the_metadata_has_an_arrangement_where_an_order_of_axes_is_not_enough(framework: str) -> None:
    plan = planned(*STRUCTURED, framework=framework)
    tensors = metadata_of(SafetensorsFile(plan).header)["tensors"]

    arranged = {name for name, described in tensors.items() if "arrangement" in described}

    assert not any({"arrangement", "permutation"} <= set(described) for described in tensors.values())
    for each in plan.tensors:
        described = tensors[each.name]
        canonical = np.arange(prod(each.parameter.canonical_shape)).reshape(each.parameter.canonical_shape)
        if "permutation" in described:
            canonical = canonical.transpose(described["permutation"])
        if each.name not in arranged:
            assert each.shape == canonical.shape
            if each.parameter.rearrangement:
                indices = each.parameter.rearrangement.indices(0, each.elements)
                np.testing.assert_array_equal(indices, canonical.reshape(-1))
    assert arranged if framework == "keras" else not arranged


def test_the_metadata_says_how_a_tensor_lies_in_the_canonical_one() -> None:
    query, _, value, _ = planned(
        layer("multihead_attention", "a", embed_dim=6, num_heads=2, bias=False, initializer="orthogonal"),
        framework="keras",
    ).tensors
    tensors = metadata_of(whole(file_of(planned(*STRUCTURED, framework="keras"), "none")))["tensors"]

    assert tensors["a.value.kernel"] == {
        "arrangement": {"axes": [3, 1, 2], "order": None, "part": 2, "shape": None, "view": [3, 2, 3, 6]},
        "canonical_name": "a.in_proj_weight",
        "distribution": {
            "batch_axes": [0],
            "center": [],
            "gain": 1,
            "row_axes": [1],
            "shape": [3, 6, 6],
            "type": "orthogonal",
        },
        "fan_in": 6,
        "fan_out": 6,
        "initializer": "orthogonal",
    }
    assert tensors["gru.kernel"]["arrangement"] == {
        "axes": [2, 0, 1],
        "order": [1, 0, 2],
        "part": None,
        "shape": [3, 6],
        "view": [3, 2, 3],
    }
    assert not np.array_equal(values(query), values(value))


@each_option
@each_framework
def test_a_file_of_structured_distributions_is_the_reference_writers(
    statistics: StatisticsOption, framework: str
) -> None:
    file = file_of(planned(*STRUCTURED, framework=framework), statistics)

    assert whole(file) == written_by_the_reference(file)


def test_without_statistics_there_are_none() -> None:
    tensors = metadata_of(BYTES["none", "torch"])["tensors"]

    assert not any("statistics" in described for described in tensors.values())


@each_framework
def test_expected_statistics_are_the_distributions_own(framework: str) -> None:
    tensors = metadata_of(BYTES["expected", framework])["tensors"]

    for each in FILES["expected", framework].plan.tensors:
        assert tensors[each.name]["statistics"] == {"expected": expected(each)._asdict()}


@each_framework
def test_measured_statistics_stand_beside_the_expected_ones(framework: str) -> None:
    file = FILES["measured", framework]
    tensors = metadata_of(BYTES["measured", framework])["tensors"]

    for each, summary in zip(file.plan.tensors, measured(file.plan), strict=True):
        statistics = tensors[each.name]["statistics"]
        assert statistics["measured"] == summary._asdict()
        assert statistics["expected"] == expected(each)._asdict()
        if each.elements:
            assert statistics["measured"]["min"] == float(values(each).min())
            assert statistics["measured"]["max"] == float(values(each).max())


@each_framework
def test_length_and_etag_are_known_before_measuring_and_stay(framework: str) -> None:
    plan = planned(*MIXED, framework=framework)
    before = SafetensorsFile(plan, "measured")

    after = before.with_measured(measured(plan))

    assert (after.length, after.etag) == (before.length, before.etag)
    assert before.header != after.header
    assert json.loads(before.header[8:])["t.F32"] == json.loads(after.header[8:])["t.F32"]
    assert before.read(len(before.header), before.length) == after.read(len(after.header), after.length)


def test_only_the_header_of_a_measured_file_needs_measuring() -> None:
    plan = planned(*MIXED)
    unmeasured = SafetensorsFile(plan, "measured")
    data = len(unmeasured.header)

    assert [unmeasured.needs_measuring(start) for start in (0, data - 1, data, unmeasured.length)] == [
        True,
        True,
        False,
        False,
    ]
    assert not unmeasured.with_measured(measured(plan)).needs_measuring(0)
    assert not SafetensorsFile(plan, "expected").needs_measuring(0)
    assert not SafetensorsFile(plan, "none").needs_measuring(0)


@pytest.mark.parametrize(
    "initializer",
    [
        {"type": "normal", "std": 1e200},
        {"type": "uniform", "low": -1.7e308, "high": 5e306},
        {"type": "truncated_normal", "mean": -1e300, "std": 8e307},
        {"type": "normal", "std": 1e-200},
        {"type": "constant", "value": 1.7976931348623157e308},
        {"type": "constant", "value": -5e-324},
        {"type": "uniform", "low": -2.2250738585072014e-308, "high": 5e-324},
        {"type": "normal", "mean": 1e16, "std": 1},
    ],
    ids=str,
)
def test_measured_numbers_of_any_size_are_json_of_the_promised_length(initializer: Layer) -> None:
    plan = planned(tensor("w", (100,), initializer, dtype="F64"))

    file = file_of(plan, "measured")

    assert file.length == SafetensorsFile(plan, "measured").length
    found = metadata_of(file.header)["tensors"]["w"]["statistics"]["measured"]
    drawn = [Fraction(float(value)) for value in values(plan.tensors[0])]
    unit, mean = max(map(abs, drawn)), sum(drawn) / len(drawn)
    variance = sum(((value - mean) / unit) ** 2 for value in drawn) / len(drawn)
    assert (found["min"], found["max"]) == (min(drawn), max(drawn))
    assert found["mean"] == pytest.approx(float(mean), rel=1e-12, abs=0)
    assert found["std"] == pytest.approx(float(Fraction(sqrt(variance)) * unit), rel=1e-12, abs=0)


# ETags.

BASE: Final[dict[str, Any]] = {"in_features": 5, "out_features": 7, "dtype": "F32", "initializer": "xavier_uniform"}


def etag(statistics: StatisticsOption = "expected", name: str = "fc", layer: Layer | None = None, **more: Any) -> str:
    return SafetensorsFile(planned(linear(name, **BASE | (layer or {})), **more), statistics).etag


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"framework": "keras"},
        {"prefix": "model."},
        {"name": "fc2"},
        {"statistics": "none"},
        {"statistics": "measured"},
        {"layer": {"dtype": "F64"}},
        {"layer": {"dtype": "BF16"}},
        {"layer": {"layout": "in_out"}},
        {"layer": {"initializer": "xavier_normal"}},
        {"layer": {"initializer": {"type": "xavier_uniform", "gain": 1.0000000000000002}}},
        {"layer": {"bias_initializer": "ones"}},
        {"layer": {"bias": False}},
        {"layer": {"in_features": 7, "out_features": 5}},
    ],
    ids=str,
)
def test_the_etag_changes_with_what_the_bytes_depend_on(change: dict[str, Any]) -> None:
    assert etag(**change) != etag()


@pytest.mark.parametrize(
    "same",
    [
        {"seed": "1"},
        {"layer": {"dtype": "float32"}},
        {"layer": {"initializer": {"type": "glorot_uniform", "gain": 1}}},
        {"layer": {"bias": True, "bias_initializer": None}},
        {"stream": 1, "prefix": "", "framework": "torch"},
    ],
    ids=str,
)
def test_the_etag_is_the_same_for_the_same_specification(same: dict[str, Any]) -> None:
    assert etag(**same) == etag()


@pytest.mark.parametrize(
    ("initializer", "other"),
    [
        ("orthogonal", {"type": "orthogonal", "gain": 2}),
        ("orthogonal", {"type": "orthogonal", "multiplier": 2}),
        ("orthogonal", "delta_orthogonal"),
        ("orthogonal", {"type": "orthogonal", "matricisation": "torch"}),
        ("delta_orthogonal", {"type": "delta_orthogonal", "center": "torch"}),
        ("dirac", {"type": "dirac", "center": "jax"}),
        ("dirac", {"type": "dirac", "groups": 1}),
        ("dirac", {"type": "dirac", "gain": -1}),
        ("truncated_normal", {"type": "truncated_normal", "high": 2.5}),
        ("torch_default", "keras_default"),
        ("torch_default", {"type": "torch_default", "multiplier": 0.5}),
    ],
    ids=str,
)
def test_the_etag_changes_with_a_structured_distribution(initializer: Any, other: Any) -> None:
    subject = layer("conv2d", "c", in_channels=4, out_channels=6, kernel_size=[4, 3], groups=2)

    etags = {
        SafetensorsFile(planned(subject | {"initializer": each}), statistics).etag
        for each in (initializer, other)
        for statistics in ("expected", "none")
    }

    assert len(etags) == 4


# The limit of the header.


def test_a_header_may_be_exactly_as_long_as_its_limit() -> None:
    plan = planned(*MIXED)
    length = len(SafetensorsFile(plan).header) - 8

    assert SafetensorsFile(plan, limits=Limits(header_bytes=length)).length
    with pytest.raises(LimitExceeded) as refusal:
        SafetensorsFile(plan, limits=Limits(header_bytes=length - 1))
    assert refusal.value.first.name == "header_bytes"
    assert (refusal.value.first.limit, refusal.value.first.requested) == (length - 1, length)
    assert "statistics=none" in refusal.value.first.message


@each_option
def test_a_header_of_the_smallest_tensors_is_not_estimated_longer_than_it_is(statistics: StatisticsOption) -> None:
    outline = make_outline(read_spec(spec(repeat("", 1000, tensor("", (0,)), start=1000))))
    header = len(SafetensorsFile(outline.expanded(), statistics).header) - 8

    check_outline(outline, statistics, Limits(header_bytes=header))


def test_a_raised_limit_holds_for_the_measured_file_and_its_etag(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(*MIXED)
    limits = Limits(header_bytes=len(SafetensorsFile(plan, "measured").header))
    monkeypatch.setattr(under_test, "Limits", lambda: Limits(header_bytes=8))

    file = SafetensorsFile(plan, "measured", limits=limits)

    assert file.with_measured(measured(plan)).etag == file.etag


@pytest.mark.parametrize("name", ["n" * 1000, '"\\' * 500], ids=["plain", "escaped"])
@pytest.mark.parametrize("times", [450, 5000])
def test_a_header_that_is_too_long_is_refused_in_memory_of_its_limits_order(name: str, times: int) -> None:
    limits = Limits(header_bytes=1_000_000)

    tracemalloc.start()
    try:
        with suppress(LimitExceeded):
            SafetensorsFile(planned(repeat(name, times, tensor("w", ())), limits=limits), limits=limits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 16 * limits.header_bytes  # escaped twice, the names alone come to 30 MB


def strict(text: str) -> Any:
    """JSON by RFC 8259, which has no NaN and no infinities."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@settings(max_examples=40, deadline=None)
@given(specifications())
def test_metadata_is_json_whatever_was_measured(spec: dict[str, Any]) -> None:
    try:
        plan = make_plan(read_spec(json.dumps(spec).encode()))
    except InvalidSpec:
        reject()

    described = strict(strict(file_of(plan, "measured").header[8:].decode())["__metadata__"]["xavier"])

    for each in described["tensors"].values():
        of = each["statistics"]["measured"]
        assert set(of.values()) == {None} or of["min"] <= of["mean"] <= of["max"]


def test_a_deviation_far_below_the_dtype_is_measured_as_a_number() -> None:
    plan = planned(tensor("w", (3, 5), {"type": "normal", "mean": 5.1, "std": 1e-189}))

    of = metadata_of(whole(file_of(plan, "measured")))["tensors"]["w"]["statistics"]

    stored = float(np.float32(5.1))
    assert of["measured"] == {"max": stored, "mean": stored, "min": stored, "std": 0.0}
    assert of["expected"]["std"] == 1e-189


@pytest.mark.parametrize(
    ("distribution", "wrong"),
    [
        ({"type": "normal", "mean": 5.1, "std": 1e-189}, True),
        ({"type": "normal", "mean": 1.3e-9, "std": 1e-11}, True),
        ({"type": "constant", "value": 0.1}, False),
        ("normal", False),
        ("zeros", False),
    ],
    ids=str,
)
def test_a_file_whose_measured_numbers_were_wrong_has_another_etag(
    monkeypatch: pytest.MonkeyPatch, distribution: Any, wrong: bool
) -> None:
    plan = planned(tensor("w", (3, 5), distribution, dtype="F16"))
    now = {option: file_of(plan, option).etag for option in OPTIONS}

    monkeypatch.setattr(under_test, "misstated", lambda _: False)

    before = {option: file_of(plan, option).etag for option in OPTIONS}
    assert {option for option in OPTIONS if now[option] != before[option]} == ({"measured"} if wrong else set())
