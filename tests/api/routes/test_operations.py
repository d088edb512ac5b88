"""Health, information, and a machine that computes other values than the stream's."""

from __future__ import annotations

import ctypes
import platform
import re
from collections.abc import Iterator
from importlib.metadata import version

import httpx
import pytest

from service import __version__
from service.limits import Limits
from tests.api.answers import Contract, assert_problem
from tests.api.servers import Server, running_server
from tests.api.specs import SMALL

FLUSH_BITS = {"x86_64": (28, 0x8040), "AMD64": (28, 0x8040), "aarch64": (0, 1 << 24)}
"""Where in a C library's fenv_t the switches lie that flush subnormal numbers to zero, and which bits they are."""
FLUSH = """
import ctypes
environment = (ctypes.c_uint8 * 64)()
libm = ctypes.CDLL("libm.so.6")
libm.fegetenv(environment)
word = ctypes.c_uint32.from_buffer(environment, {place})
word.value |= {bits}
libm.fesetenv(environment)
"""
OTHER_ANSWERS = """
from service.distributions.known_answers import KNOWN_ANSWERS
for answer in KNOWN_ANSWERS:
    answer.digests.update(dict.fromkeys(answer.digests, "0" * 64))
"""


def test_a_server_that_is_well_says_so(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert answer.headers["cache-control"] == "no-store"


def test_info_names_versions_and_limits(client: httpx.Client) -> None:
    info = client.get("/v1/info").json()

    assert (info["service"], info["version"], info["stream"]) == ("xavier", __version__, 1)
    assert info["versions"]["numpy"] == version("numpy")
    assert info["versions"]["python"] == platform.python_version()
    assert info["threads"] >= 1
    assert info["limits"]["file_bytes"] == Limits().file_bytes == 64 << 30
    assert set(info["limits"]) == {
        "spec_values",
        "cuts",
        "file_bytes",
        "tensors",
        "different_tensors",
        "header_bytes",
        "rank",
        "dimension",
        "name_bytes",
        "whole_elements",
        "whole_total_elements",
        "whole_bytes",
        "json_values",
    }


def test_a_server_does_not_say_what_it_is_made_of_in_every_answer(client: httpx.Client) -> None:
    assert "server" not in client.get("/livez").headers


@pytest.fixture(scope="module", params=["subnormal numbers are flushed to zero", "the known answers differ"])
def broken_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a machine that is broken for real: by the processor's own switch, or by other answers."""
    directory = tmp_path_factory.mktemp("broken")
    (directory / "sitecustomize.py").write_text(flushing() if "flushed" in request.param else OTHER_ANSWERS)
    with running_server(directory / "log", env={"PYTHONPATH": str(directory)}) as server:
        yield server


def flushing() -> str:
    """A start file that makes the processor flush subnormal numbers, in every thread that comes after it."""
    found = FLUSH_BITS.get(platform.machine())
    if found is None or platform.libc_ver()[0] != "glibc" or ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("how to make this machine flush subnormal numbers is not known")
    place, bits = found
    return FLUSH.format(place=place, bits=bits)


def test_a_broken_machine_is_alive_and_not_ready(broken_server: Server) -> None:
    with broken_server.client() as client:
        assert client.get("/livez").status_code == 200
        problem = assert_problem(client.get("/readyz"), 503, "broken-platform")

    assert re.search("flushed to zero|differ from the known answers", problem["detail"])
    assert "no weights are served" in broken_server.log()


def test_a_broken_machine_serves_no_weights_and_no_statistics(broken_server: Server, contract: Contract) -> None:
    hooks = {"response": [contract.check]}
    with broken_server.client(event_hooks=hooks) as client:
        permalink = client.post("/v1/plan", json=SMALL).json()["permalink"]
        statistics = f"/v1/statistics/{permalink.split('/')[3]}"
        for query in ("", "?format=json", "?statistics=none"):
            assert_problem(client.post(f"/v1/weights{query}", json=SMALL), 503, "broken-platform")
        assert_problem(client.post("/v1/statistics", json=SMALL), 503, "broken-platform")
        assert_problem(client.get(permalink), 503, "broken-platform")
        assert_problem(client.get(permalink, headers={"Range": "bytes=0-7"}), 503, "broken-platform")
        assert_problem(client.get(statistics), 503, "broken-platform")


def test_a_broken_machine_still_plans_and_explains(broken_server: Server, client: httpx.Client) -> None:
    with broken_server.client() as broken:
        for path in ("/v1/initializers", "/v1/layers", "/v1/nonlinearities", "/openapi.json", "/docs", "/v1/info"):
            assert broken.get(path).status_code == 200
        plan = broken.post("/v1/plan", json=SMALL)
        head = broken.head(plan.json()["permalink"])

    assert plan.json() == client.post("/v1/plan", json=SMALL).json()
    assert (head.status_code, head.headers["etag"]) == (200, plan.json()["etag"])
