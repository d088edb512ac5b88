"""The fuzzer itself: it repeats itself, finds nothing where nothing is wrong, and something where something is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, get_args

import pytest

from service.schema.initializers import AnyInitializer
from service.schema.layers import LayerUnion
from service.schema.parsing import read_spec
from tests.api.answers import Contract
from tests.api.servers import Server
from tests.api.specs import body, spec, tensor
from tests.conftest import StartServer
from tests.fuzz.agreement import agreeing
from tests.fuzz.cases import valid_case
from tests.fuzz.claims import same_bytes, strict_json
from tests.fuzz.documents import mutated_text
from tests.fuzz.exchanges import Bound, Client, Request, Wrong
from tests.fuzz.permalinks import mutated_permalink
from tests.fuzz.requests import mutated_request
from tests.fuzz.robustness import check_pointers, mutated_document, mutated_http, mutated_link
from tests.fuzz.rounds import CHECKS, chance_of, played, table
from tests.fuzz.spellings import spelled

SEED: Final = 20100513


@pytest.fixture
def client_of(contract: Contract) -> Any:
    return lambda server: Client(server, contract)


def first_case(check: Any) -> int:
    return next(case for case in range(100) if chance_of(SEED, case).choice(CHECKS) is check)


@pytest.mark.parametrize("check", [agreeing, mutated_document, mutated_link, mutated_http])
def test_a_case_of_each_kind_finds_nothing(impatient: Server, client_of: Any, check: Any) -> None:
    client = client_of(impatient)

    assert [str(finding) for finding in played(client, SEED, [first_case(check)])] == []
    assert client.sent


def test_the_same_seed_and_case_are_the_same_requests() -> None:
    def drawn(seed: int, case: int) -> tuple[Any, ...]:
        chance = chance_of(seed, case)
        valid = valid_case(chance)
        text = json.dumps(valid.spec).encode()
        request = mutated_request(Request("POST", "/v1/plan", text), chance)
        return valid, spelled(valid.spec, chance), mutated_text(chance), mutated_permalink(text, chance), request

    assert drawn(SEED, 3) == drawn(SEED, 3)
    assert drawn(SEED, 3)[0] != drawn(SEED, 4)[0] != drawn(SEED + 1, 4)[0]


def test_every_layer_and_initializer_is_drawn() -> None:
    texts = "".join(json.dumps(valid_case(chance_of(SEED, case)).spec) for case in range(400))
    models = (*get_args(LayerUnion), *get_args(AnyInitializer))

    names = [[f'"{name}"' for name in model.model_fields["type"].annotation.__args__] for model in models]
    assert [name for name in names if not any(spelling in texts for spelling in name)] == []


@pytest.mark.parametrize("case", range(20))
def test_any_spelling_is_the_same_specification(case: int) -> None:
    chance = chance_of(SEED, case)
    drawn = valid_case(chance).spec

    assert read_spec(spelled(drawn, chance).encode()) == read_spec(json.dumps(drawn).encode())


def test_a_wrong_answer_is_a_finding_that_says_how_to_repeat_it(start_server: StartServer, client_of: Any) -> None:
    strict = start_server("--max-tensors", "1", "--max-rank", "1", "--max-dimension", "1")
    case = first_case(agreeing)

    [finding] = played(client_of(strict), SEED, [case])

    assert "422, and should be 200" in str(finding)
    assert str(finding).endswith(f"again: make fuzz SEED={SEED} CASE={case}")


def test_a_server_that_is_gone_is_a_finding_and_ends_the_round(start_server: StartServer, client_of: Any) -> None:
    server = start_server()

    def cases() -> Iterator[int]:
        yield first_case(mutated_link)
        server.stop()
        yield from range(1000, 1003)

    findings = list(played(client_of(server), SEED, cases()))

    assert findings[-1].what == "the server is gone"
    assert {finding.case for finding in findings} == {1000}


def test_what_costs_more_than_its_bound_is_told_and_listed(server: Server, client_of: Any) -> None:
    client = client_of(server)
    text = body(spec(tensor("w", 2000, 2000, initializer="normal")))

    client.ask(Request("POST", "/v1/weights", text), Bound(memory=1 << 40, cpu=1e-9))
    client.ask(Request("POST", "/v1/plan", text))

    [over] = client.over
    assert "of 0.00 s CPU" in over
    assert f"SEED={SEED} CASE=0" in table("processor time:", client.cpu, SEED).splitlines()[1]


@pytest.mark.parametrize(
    "claim",
    [
        lambda: same_bytes("a file", b"ab", b"ac"),
        lambda: strict_json('{"std": NaN}'),
        lambda: check_pointers([{"pointer": "/layers/1"}], b'{"layers": [1]}'),
        lambda: check_pointers([{"pointer": "/a/b/c"}], b'{"a": {}}'),
        lambda: check_pointers([{"pointer": "layers"}], b'{"layers": [1]}'),
    ],
)
def test_false_claims_are_wrong(claim: Any) -> None:
    with pytest.raises(Wrong):
        claim()
