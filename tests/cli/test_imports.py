"""What the command line loads: a server's code only where there is a server, and models only to read with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import pytest

from tests.api.servers import ROOT, environment
from tests.api.specs import SMALL, body

WEB = {"fastapi", "starlette", "uvicorn", "prometheus_client", "limits", "redis", "httptools"}
"""What only a server needs, beside our own code for it."""
RUN = """
import json, sys
from service.cli.commands import cli
from service.schema.catalogue import layer_models

for words in json.loads(sys.argv[1]):
    cli(words, standalone_mode=False)
built = [model.__name__ for model in layer_models() if model.__pydantic_complete__]
print()
print(json.dumps({"loaded": list(sys.modules), "built": built}))
"""
Names = dict[str, list[str]]


def after(*commands: list[str]) -> Names:
    """The modules that a process has loaded, and the layers whose models it has built, after nothing but commands."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)], cwd=ROOT, env=environment(), capture_output=True, check=True
    )
    names: Names = json.loads(ran.stdout.splitlines()[-1])
    return names


def of_a_server(modules: Iterable[str]) -> set[str]:
    """Those that no command should load, unless it is of a server."""
    return {name for name in modules if name in WEB or name.startswith(("service.api", "service.app"))}


@pytest.fixture(scope="module")
def planned() -> Names:
    """After help and a plan."""
    return after(["--help"], ["plan", "--help"], ["plan", "examples/lenet-300-100.json"])


def test_help_and_a_plan_load_nothing_of_a_server_and_nothing_that_draws(planned: Names) -> None:
    assert of_a_server(planned["loaded"]) == set()
    assert "service.delivery.pool" not in planned["loaded"]


def test_a_plan_builds_the_model_of_a_specification_and_those_of_layers_only_within_it(planned: Names) -> None:
    assert planned["built"] == []


def test_commands_that_draw_and_the_options_of_serve_load_nothing_of_a_server(tmp_path: Path) -> None:
    spec, file = str(tmp_path / "spec.json"), str(tmp_path / "model.safetensors")
    Path(spec).write_bytes(body(SMALL))

    drawn = after(["generate", spec, "-o", file], ["verify", file], ["statistics", spec], ["serve", "--help"])

    assert of_a_server(drawn["loaded"]) == set()


def test_serving_loads_all_that_other_commands_do_not() -> None:
    import_module("service.cli.serve")

    assert of_a_server(sys.modules) >= WEB | {"service.app", "service.api"}
