"""Request bodies: how large they may be, and what is JSON (table 3a of the reliability reference)."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.api.answers import Document, assert_problem, longest_run, pointers
from tests.api.servers import Server, drain, request_bytes
from tests.api.specs import SMALL, Spec, body, linear, spec

MOST = 4 << 20
PATHS = ["/v1/weights", "/v1/plan", "/v1/statistics"]
JSON = {"Content-Type": "application/json"}


def with_gain(literal: str) -> bytes:
    """A specification with a gain that is written in a certain way."""
    return body(spec(linear(initializer={"type": "xavier_uniform", "gain": "GAIN"}))).replace(
        b'"GAIN"', literal.encode()
    )


def with_seed(literal: str) -> bytes:
    """A specification with a seed that is written in a certain way."""
    return body(SMALL | {"seed": "SEED"}).replace(b'"SEED"', literal.encode())


def with_prefix(literal: bytes) -> bytes:
    """A specification with a prefix that is written in a certain way."""
    return body(SMALL | {"prefix": "PREFIX"}).replace(b"PREFIX", literal)


NOT_JSON = {
    "NaN": with_gain("NaN"),
    "Infinity": with_gain("Infinity"),
    "-Infinity": with_gain("-Infinity"),
    "a duplicate name": b'{"seed": 1, ' + body(SMALL)[1:],
    "a duplicate name inside": body(SMALL).replace(b'"in_features"', b'"out_features"', 1),
    "a duplicate name in another spelling": b'{"s\\u0065ed": 1, ' + body(SMALL)[1:],
    "an integer of 5000 digits": with_seed("9" * 5000),
    "100,000 nested arrays": b"[" * 100_000,
    "50,000 nested objects": b'{"a":' * 50_000,
    "1000 nested arrays that end": b"[" * 1000 + b"]" * 1000,
    "1000 nested layers that end": b'{"layers":[' * 1000 + b"]}" * 1000,
    "a lone surrogate": with_prefix(b"\\ud800"),
    "a surrogate pair the wrong way round": with_prefix(b"\\udc00\\ud800"),
    "a lone surrogate in UTF-8": with_prefix(b"\xed\xa0\x80"),
    "bad UTF-8": with_prefix(b"\xff"),
    "overlong UTF-8": with_prefix(b"\xc0\xaf"),
    "UTF-8 cut short": with_prefix(b"\xe2\x82"),
    "Latin-1": with_prefix("é".encode("latin-1")),
    "UTF-16": json.dumps(SMALL).encode("utf-16"),
    "UTF-16 without a mark": json.dumps(SMALL).encode("utf-16-le"),
    "UTF-32": json.dumps(SMALL).encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + body(SMALL),
    "something behind": body(SMALL) + b"x",
    "two documents": body(SMALL) * 2,
    "a comment": b"// hello\n" + body(SMALL),
    "a comma too many": body(SMALL).replace(b"]}", b"],}"),
    "single quotes": body(SMALL).replace(b'"', b"'"),
    "a leading zero": with_seed("01"),
    "a plus sign": with_seed("+1"),
    "a hexadecimal number": with_seed("0x1"),
    "a raw newline in a string": with_prefix(b"\n"),
    "a raw NUL in a string": with_prefix(b"\0"),
    "NUL behind": body(SMALL) + b"\0",
    "a bad escape": with_prefix(b"\\x41"),
    "cut short": body(SMALL)[:-1],
    "True": with_gain("True"),
    "nothing": b"",
    "white space": b" \r\n\t ",
    "not JSON at all": b"seed=1&layers=none",
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_is_refused(client: httpx.Client, content: bytes) -> None:
    problem = assert_problem(client.post("/v1/plan", content=content, headers=JSON), 400, "malformed-document")
    assert "errors" not in problem
    assert longest_run(problem["detail"], "[") <= 100


FAULTY: dict[str, tuple[bytes, str]] = {
    "a number that overflows": (with_gain("1e999"), "/layers/0/initializer/gain"),
    "a negative number that overflows": (with_gain("-1e999"), "/layers/0/initializer/gain"),
    "a seed that overflows": (with_seed("1e999"), "/seed"),
    "a seed of 4000 digits": (with_seed("9" * 4000), "/seed"),
    "a seed of 5000 digits as a string": (with_seed(f'"{"9" * 5000}"'), "/seed"),
    "a seed with an exponent": (with_seed("1e-3"), "/seed"),
    "null": (b"null", ""),
    "100 nested arrays": (b"[" * 100 + b"]" * 100, ""),
    "an unknown layer": (body(spec({"type": "linaer", "name": "a"})), "/layers/0/type"),
    "a parameter that is missing": (body(spec(linear(initializer="constant"))), "/layers/0/initializer"),
}


@pytest.mark.parametrize(("content", "pointer"), FAULTY.values(), ids=FAULTY)
def test_json_that_is_no_specification_is_refused_with_a_pointer(
    client: httpx.Client, content: bytes, pointer: str
) -> None:
    problem = assert_problem(client.post("/v1/plan", content=content, headers=JSON), 422, "invalid-spec")
    assert pointers(problem) == [pointer]


@pytest.mark.parametrize("path", PATHS)
def test_every_resource_reads_specifications_alike(client: httpx.Client, path: str) -> None:
    answers = [client.post(path, content=content, headers=JSON) for content in (with_gain("NaN"), b"[]", body(SMALL))]

    assert_problem(answers[0], 400, "malformed-document")
    assert_problem(answers[1], 422, "invalid-spec")
    assert answers[2].status_code == 200


def test_negative_zero_is_zero(client: httpx.Client) -> None:
    assert client.post("/v1/plan", content=with_seed("-0"), headers=JSON).json()["seed"] == "0"


@pytest.mark.parametrize("seed", [0, 2**53 - 1, 2**53 + 1, 2**64 - 1])
def test_seeds_are_exact_and_answered_as_strings(client: httpx.Client, seed: int) -> None:
    for literal in (str(seed), f'"{seed}"'):
        plan = client.post("/v1/plan", content=with_seed(literal), headers=JSON).json()
        assert plan["seed"] == plan["canonical_spec"]["seed"] == str(seed)


def test_a_near_miss_is_told_what_was_meant(client: httpx.Client) -> None:
    document = spec(linear(initialiser="xavier_uniform"), {"type": "linaer", "name": "a"}, dtpye="F32")

    problem = assert_problem(client.post("/v1/plan", json=document), 422)

    told = {fault["pointer"]: fault["message"] for fault in problem["errors"]}
    assert "'dtype'" in told["/dtpye"]
    assert "'initializer'" in told["/layers/0/initialiser"]
    assert "'linear'" in told["/layers/1/type"]


ECHOES: dict[str, Document] = {
    "a value": SMALL | {"dtype": "x" * 100_000},
    "a name of a field": SMALL | {"x" * 100_000: 1},
    "a name of a field inside": spec(linear() | {"x" * 100_000: 1}),
    "a type": spec({"type": "x" * 100_000, "name": "a"}),
    "a name of a layer": spec(linear("x" * 100_000)),
    "a name of a layer with a control character": spec(linear("x" * 1000 + "\n")),
    "a prefix": SMALL | {"prefix": "x" * 100_000},
    "an initializer": SMALL | {"initializer": "x" * 100_000},
    "a gain": spec(linear(initializer={"type": "xavier_uniform", "gain": "x" * 100_000})),
    "a list": SMALL | {"dtype": ["x"] * 100_000},
    "a layer": {"seed": 1, "layers": ["x" * 100_000]},
    "a seed": SMALL | {"seed": "x" * 100_000},
}


@pytest.mark.parametrize("document", ECHOES.values(), ids=ECHOES)
def test_a_large_input_does_not_come_back(client: httpx.Client, document: Spec) -> None:
    answer = client.post("/v1/plan", json=document)

    assert_problem(answer, 422)
    assert longest_run(answer.text, "x") <= 200
    assert len(answer.content) < 5000


def test_a_duplicate_name_does_not_come_back_whole(client: httpx.Client) -> None:
    name = b'"' + b"x" * 100_000 + b'": 1'

    answer = client.post("/v1/plan", content=b"{" + name + b", " + name + b"}", headers=JSON)

    assert_problem(answer, 400, "malformed-document")
    assert longest_run(answer.text, "x") <= 200


def test_thousands_of_faults_are_counted_and_not_listed(client: httpx.Client) -> None:
    answer = client.post("/v1/plan", json=SMALL | {"layers": [5] * 5000})

    problem = assert_problem(answer, 422, "invalid-spec")
    assert len(problem["errors"]) <= 101
    assert "4900 more" in problem["errors"][-1]["message"]
    assert len(answer.content) < 100_000


def test_keys_that_would_flood_a_hash_table_cost_nothing_special(client: httpx.Client) -> None:
    document = SMALL | {str(number * (2**61 - 1)): 1 for number in range(10_000)}

    answer = client.post("/v1/plan", json=document)

    problem = assert_problem(answer, 422, "invalid-spec")
    assert len(problem["errors"]) == 1


def test_a_body_of_very_many_values_is_not_looked_into(client: httpx.Client) -> None:
    answer = client.post("/v1/plan", json=SMALL | {f"{number:x}": 1 for number in range(250_000)})

    problem = assert_problem(answer, 422, "limit-exceeded")
    assert (problem["name"], problem["limit"]) == ("spec_values", 131_072)


# sizes


def test_a_body_at_the_limit_is_taken_and_a_byte_more_is_not(client: httpx.Client) -> None:
    for path in PATHS:
        exactly = client.post(path, content=body(SMALL).ljust(MOST), headers=JSON)
        more = client.post(path, content=body(SMALL).ljust(MOST + 1), headers=JSON)

        assert exactly.status_code == 200
        assert_problem(more, 413)
        assert str(MOST) in more.json()["detail"]


def test_a_million_layers_are_refused_by_their_bytes(client: httpx.Client) -> None:
    layers = b",".join([body(linear("a", 1, 1))] * 70_000)

    assert_problem(client.post("/v1/plan", content=b'{"seed":1,"layers":[' + layers + b"]}", headers=JSON), 413)


def test_a_body_in_chunks_is_counted_as_it_comes(client: httpx.Client) -> None:
    small = client.post("/v1/plan", content=iter([body(SMALL)[:20], body(SMALL)[20:]]), headers=JSON)
    large = client.post("/v1/plan", content=iter([b" " * (1 << 16)] * 65), headers=JSON)

    assert small.status_code == 200
    assert_problem(large, 413)


@pytest.mark.parametrize("length", [MOST + 1, 10**15, 10**30])
def test_a_declared_size_is_refused_before_the_body_is_sent(server: Server, length: int) -> None:
    request = request_bytes(
        "POST", "/v1/plan", Content_Type="application/json", Expect="100-continue", Content_Length=str(length)
    )
    with server.connect() as connection:
        connection.sendall(request)
        answer = drain(connection)  # to its end: the connection is closed, for nobody will read the body

    assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
    assert length > 2**63 or answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


def test_who_waits_for_continue_is_told_to(server: Server) -> None:
    content = body(SMALL)
    request = request_bytes(
        "POST",
        "/v1/plan",
        Content_Type="application/json",
        Expect="100-continue",
        Connection="close",
        Content_Length=str(len(content)),
    )
    with server.connect() as connection:
        connection.sendall(request)
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(content)
        assert drain(connection).startswith(b"HTTP/1.1 200 ")


FRAMING = {
    "a negative length": b"Content-Length: -1\r\n",
    "a signed length": b"Content-Length: +2\r\n",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n",
    "a length and chunks": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "a length in other digits": b"Content-Length: \xb2\r\n",
}


@pytest.mark.parametrize("fields", FRAMING.values(), ids=FRAMING)
def test_ambiguous_framing_is_refused_and_the_connection_closed(server: Server, fields: bytes) -> None:
    request = b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + fields + b"\r\n0\r\n\r\n"

    assert server.exchange(request).startswith(b"HTTP/1.1 400 ")
