"""POST /v1/weights, its permalink and the command line are three ways to the same bytes."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.numpy

from service.plan import make_plan
from service.schema.parsing import read_spec
from tests.api.answers import array_of, arrays_of, assert_problem, header_of, messages, pointers
from tests.api.servers import Server, wait_for
from tests.api.specs import EIGHT_GIB, EVERY_LAYER, FORTY_GB, SMALL, Spec, body, linear, spec, tensor
from tests.api.test_hostile import counted
from tests.conftest import CommandLine

OWN = {"date": "", "x-request-id": ""}
"""Header fields of one answer alone."""
DTYPES = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"]
WAYS: dict[str, tuple[Spec, dict[str, str]]] = {
    "every layer": (EVERY_LAYER, {}),
    "every layer as keras": (EVERY_LAYER | {"framework": "keras", "prefix": "model/"}, {}),
    "a prefix": (SMALL | {"prefix": "transformer."}, {}),
    "a weight stored in by out": (spec(linear(layout="in_out")), {}),
    "measured statistics": (EVERY_LAYER, {"statistics": "measured"}),
    "no statistics": (EVERY_LAYER, {"statistics": "none"}),
    "expected statistics": (EVERY_LAYER, {"statistics": "expected"}),
    "another seed": (SMALL, {"seed": "99"}),
    "another dtype": (EVERY_LAYER, {"dtype": "BF16"}),
    "everything changed": (EVERY_LAYER, {"seed": "0", "dtype": "f64", "statistics": "measured"}),
    "a seed that doubles cannot hold": (SMALL | {"seed": 2**53 + 1}, {}),
    "the largest seed": (SMALL | {"seed": "18446744073709551615"}, {}),
    "the largest seed as an option": (SMALL, {"seed": "18446744073709551615"}),
    **{f"in {dtype}": (spec(linear("fc", 300, 211), dtype=dtype), {}) for dtype in DTYPES},
}


@pytest.mark.parametrize(("document", "options"), WAYS.values(), ids=WAYS)
def test_posting_fetching_and_generating_give_the_same_bytes(
    client: httpx.Client, xavier: CommandLine, document: Spec, options: dict[str, str]
) -> None:
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]

    posted = client.post("/v1/weights", json=document, params=options)
    fetched = client.get(posted.headers["content-location"])
    generated = xavier("generate", "-", "-o", "-", *flags, stdin=body(document))

    assert posted.status_code == fetched.status_code == 200
    assert generated.code == 0
    assert posted.content == fetched.content == generated.out
    assert posted.headers["etag"] == fetched.headers["etag"]


@pytest.mark.parametrize("options", [{}, {"statistics": "measured"}, {"statistics": "none"}])
def test_a_file_loads_with_the_reference_reader_and_holds_the_planned_tensors(
    client: httpx.Client, options: dict[str, str]
) -> None:
    file = client.post("/v1/weights", json=EVERY_LAYER, params=options).content
    planned = client.post("/v1/plan", json=EVERY_LAYER).json()["tensors"]

    assert {name: list(array.shape) for name, array in arrays_of(file).items()} == {
        tensor["name"]: tensor["shape"] for tensor in planned
    }
    assert header_of(file)["__metadata__"]["format"] == "pt"


def test_a_file_of_common_dtypes_loads_as_numpy_arrays(client: httpx.Client) -> None:
    file = client.post("/v1/weights", json=SMALL).content

    arrays = safetensors.numpy.load(file)

    assert arrays["fc1.weight"].shape == (2, 3)
    assert arrays["fc1.weight"].dtype == np.float32
    assert np.abs(arrays["fc1.weight"]).max() <= np.sqrt(6 / (2 + 3))
    assert not arrays["fc1.bias"].any()


def test_a_seed_above_2_to_53_is_the_same_as_an_integer_and_as_a_string(client: httpx.Client) -> None:
    seed = 2**53 + 1
    as_integer = client.post(
        "/v1/weights", content=body(SMALL | {"seed": seed}), headers={"Content-Type": "application/json"}
    )
    as_string = client.post("/v1/weights", json=SMALL | {"seed": str(seed)})
    as_option = client.post("/v1/weights", json=SMALL, params={"seed": str(seed)})
    neighbour = client.post("/v1/weights", json=SMALL | {"seed": seed - 1})

    assert as_integer.content == as_string.content == as_option.content
    assert as_integer.content != neighbour.content
    assert json.loads(header_of(as_integer.content)["__metadata__"]["xavier"])["seed"] == str(seed)


def test_options_are_the_same_as_writing_another_specification(client: httpx.Client) -> None:
    by_option = client.post("/v1/weights", json=EVERY_LAYER, params={"seed": "5", "dtype": "F16"})
    by_specification = client.post("/v1/weights", json=EVERY_LAYER | {"seed": 5, "dtype": "F16"})

    assert by_option.content == by_specification.content
    assert by_option.headers["etag"] == by_specification.headers["etag"]
    assert by_option.headers["content-location"] == by_specification.headers["content-location"]


def test_a_permalink_takes_the_same_options(client: httpx.Client) -> None:
    permalink = client.post("/v1/weights", json=SMALL).headers["content-location"]

    other = client.get(permalink, params={"seed": "5", "dtype": "F16", "statistics": "none"})

    expected = client.post("/v1/weights", json=SMALL, params={"seed": "5", "dtype": "F16", "statistics": "none"})
    assert other.content == expected.content
    assert other.headers["content-location"] == expected.headers["content-location"]


def test_a_file_has_the_headers_that_downloads_and_caches_need(client: httpx.Client) -> None:
    posted = client.post("/v1/weights", json=SMALL, headers={"Accept-Encoding": "gzip, br"})
    fetched = client.get(posted.headers["content-location"], headers={"Accept-Encoding": "gzip, br"})

    for answer in (posted, fetched):
        assert answer.headers["content-type"] == "application/octet-stream"
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert answer.headers["etag"].strip('"').isalnum()
        assert answer.headers["etag"][0] == answer.headers["etag"][-1] == '"'
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["content-disposition"] == 'attachment; filename="model.safetensors"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "content-encoding" not in answer.headers
        assert "transfer-encoding" not in answer.headers
    assert "immutable" not in posted.headers["cache-control"]
    assert fetched.headers["cache-control"] == "public, max-age=31536000, immutable, no-transform"


def test_a_file_links_to_its_measured_statistics(client: httpx.Client) -> None:
    posted = client.post("/v1/weights", json=EVERY_LAYER, params={"seed": "3"})

    link = posted.links["describedby"]
    statistics = client.get(link["url"])

    assert statistics.status_code == 200
    assert statistics.json() == client.post("/v1/statistics", json=EVERY_LAYER | {"seed": 3}).json()


def test_a_permalink_too_long_for_a_header_is_left_out_and_works_all_the_same(client: httpx.Client) -> None:
    layers = [tensor(f"{number * 7919 % 9973:x}{number}", 1, initializer="zeros") for number in range(600)]
    posted = client.post("/v1/weights", json=spec(*layers))
    permalink = client.post("/v1/plan", json=spec(*layers)).json()["permalink"]

    assert "content-location" not in posted.headers
    assert 2048 < len(permalink) <= 8000
    assert client.get(permalink).content == posted.content


def test_the_etag_changes_with_whatever_changes_the_bytes(client: httpx.Client) -> None:
    ways = [
        SMALL,
        SMALL | {"seed": 43},
        SMALL | {"dtype": "F16"},
        SMALL | {"prefix": "x"},
        SMALL | {"framework": "keras"},
    ]
    posted = [client.post("/v1/weights", json=way) for way in ways]
    posted += [client.post("/v1/weights", json=SMALL, params={"statistics": way}) for way in ("none", "measured")]
    posted += [client.post("/v1/weights", json=spec(linear(initializer="xavier_normal")))]

    assert (
        len({answer.headers["etag"] for answer in posted}) == len({answer.content for answer in posted}) == len(posted)
    )


@pytest.mark.parametrize(
    "document", [SMALL, EVERY_LAYER, EIGHT_GIB, FORTY_GB], ids=["small", "every", "8 GiB", "44 GiB"]
)
@pytest.mark.parametrize("query", ["", "?statistics=measured"])
def test_head_has_the_headers_of_get(client: httpx.Client, document: Spec, query: str) -> None:
    permalink = client.post("/v1/plan", json=document).json()["permalink"] + query

    head = client.head(permalink)

    assert head.content == b""
    if document in (SMALL, EVERY_LAYER) or not query:
        with client.stream("GET", permalink) as get:
            assert dict(head.headers) | OWN == dict(get.headers) | OWN


def test_the_first_and_the_last_bytes_of_44_gib_cost_a_few_chunks(server: Server, client: httpx.Client) -> None:
    plan = client.post("/v1/plan", json=FORTY_GB).json()
    total = plan["totals"]["file_bytes"]
    drawn = counted(server, "xavier_drawn_bytes_total")

    with client.stream("GET", plan["permalink"]) as whole:
        first = next(whole.iter_raw(8))
    last = client.get(plan["permalink"], headers={"Range": "bytes=-1048576"})

    wait_for(lambda: counted(server, "xavier_streams_active") == 0)
    assert counted(server, "xavier_drawn_bytes_total") - drawn < 32 << 20
    assert int.from_bytes(first, "little") + 8 == plan["totals"]["header_bytes"]
    assert whole.headers["content-length"] == str(total)
    assert total > 40 * 10**9
    assert last.headers["content-range"] == f"bytes {total - 2**20}-{total - 1}/{total}"
    assert last.content == _last_mebibyte_of(FORTY_GB)


def _last_mebibyte_of(document: Spec) -> bytes:
    """Drawn without HTTP and without the file around it."""
    last = max(make_plan(read_spec(body(document))).tensors, key=lambda planned: planned.name)
    values = np.empty(2**18, np.float32)
    last.fill(last.elements - values.size, values)
    return values.tobytes()


def test_json_has_the_values_of_the_file_to_the_last_bit(client: httpx.Client) -> None:
    file = arrays_of(client.post("/v1/weights", json=EVERY_LAYER).content)
    answer = client.post("/v1/weights", json=EVERY_LAYER, params={"format": "json"})

    for entry in answer.json()["tensors"]:
        stored = file[entry["name"]]
        precision = np.float64 if entry["dtype"] == "F64" else np.float32
        read = np.array(entry["data"], precision).reshape(entry["shape"])
        assert np.array_equal(read.view(f"u{read.itemsize}"), stored.astype(precision).view(f"u{read.itemsize}")), (
            entry["name"]
        )


def test_json_numbers_are_the_shortest_that_read_back(client: httpx.Client) -> None:
    text = client.post("/v1/weights?format=json&statistics=none", json=spec(linear("fc", 30, 20))).text

    [weight, _] = json.loads(text, parse_float=str)["tensors"]

    assert weight["data"] == [str(np.float32(number)) for number in weight["data"]]


def test_json_can_carry_the_bytes_as_base64(client: httpx.Client) -> None:
    file = arrays_of(client.post("/v1/weights", json=EVERY_LAYER).content)
    answer = client.post("/v1/weights", json=EVERY_LAYER, params={"format": "json", "encoding": "base64"}).json()

    for entry in answer["tensors"]:
        array = array_of(b64decode(entry["data"], validate=True), entry["dtype"], entry["shape"])
        assert array.tobytes() == file[entry["name"]].tobytes(), entry["name"]


def test_json_is_in_model_order_and_names_what_was_drawn(client: httpx.Client) -> None:
    answer = client.post("/v1/weights?format=json", json=EVERY_LAYER | {"seed": 2**64 - 1}).json()
    plan = client.post("/v1/plan", json=EVERY_LAYER | {"seed": 2**64 - 1}).json()

    assert answer["seed"] == plan["seed"] == "18446744073709551615"
    assert answer["digest"] == plan["digest"]
    assert [entry["name"] for entry in answer["tensors"]] == [entry["name"] for entry in plan["tensors"]]


@pytest.mark.parametrize(
    ("query", "members"),
    [
        ("", {"expected", "measured"}),
        ("&statistics=measured", {"expected", "measured"}),
        ("&statistics=expected", {"expected"}),
        ("&statistics=none", None),
    ],
)
def test_json_has_the_statistics_that_were_asked_for(
    client: httpx.Client, query: str, members: set[str] | None
) -> None:
    answer = client.post(f"/v1/weights?format=json{query}", json=EVERY_LAYER).json()

    assert all((entry.get("statistics") or {}).keys() == (members or set()) for entry in answer["tensors"])
    assert members is not None or all("statistics" not in entry for entry in answer["tensors"])


def test_json_says_the_same_measured_statistics_as_the_statistics_resource(client: httpx.Client) -> None:
    weights = client.post("/v1/weights?format=json", json=EVERY_LAYER).json()
    statistics = client.post("/v1/statistics", json=EVERY_LAYER).json()

    assert [entry["statistics"] for entry in weights["tensors"]] == [
        entry["statistics"] for entry in statistics["tensors"]
    ]


def test_json_has_no_ranges_and_no_etag_of_the_file(client: httpx.Client) -> None:
    answer = client.post("/v1/weights?format=json", json=SMALL, headers={"Range": "bytes=0-3"})

    assert answer.status_code == 200
    assert "etag" not in answer.headers
    assert "accept-ranges" not in answer.headers


def test_json_ends_at_its_limit_of_values(client: httpx.Client) -> None:
    exactly = spec(tensor("w", 2**10, 2**10))
    more = spec(tensor("w", 2**20 + 1, initializer="zeros"))

    assert (
        len(client.post("/v1/weights?format=json&statistics=none", json=exactly).json()["tensors"][0]["data"]) == 2**20
    )
    problem = assert_problem(client.post("/v1/weights?format=json", json=more), 422, "limit-exceeded")
    assert (problem["name"], problem["limit"], problem["requested"]) == ("json_values", 2**20, 2**20 + 1)
    assert pointers(problem) == ["/layers"]
    assert "format=safetensors" in messages(problem)
    assert client.post("/v1/weights?format=safetensors", json=more).status_code == 200


@pytest.mark.parametrize("query", ["", "?statistics=expected", "?statistics=none", "?statistics=measured"])
def test_metadata_says_how_the_tensors_came_about(client: httpx.Client, query: str) -> None:
    file = client.post(f"/v1/weights{query}", json=EVERY_LAYER).content
    statistics = {
        entry["name"]: entry["statistics"]
        for entry in client.post("/v1/statistics", json=EVERY_LAYER).json()["tensors"]
    }

    about: dict[str, Any] = json.loads(header_of(file)["__metadata__"]["xavier"])

    for name, entry in about["tensors"].items():
        said = entry.get("statistics", {})
        assert said.keys() == {"": {"expected"}, "?statistics=measured": {"expected", "measured"}}.get(
            query.replace("?statistics=expected", ""), set()
        )
        assert said.get("measured") in (None, statistics[name]["measured"])
        if expected := said.get("expected"):  # before rounding, which moves it by half a step of a dtype
            assert expected == pytest.approx(statistics[name]["expected"], rel=2.0**-3)
