"""The command line: the same words and bytes as over HTTP, whole files or none, and messages instead of tracebacks."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread

import click
import httpx
import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner

from service import __version__
from service.cli.commands import cli
from service.cli.output import _renamed
from tests.api.answers import header_of
from tests.api.routes.test_operations import OTHER_ANSWERS
from tests.api.servers import ROOT, Server, environment, request_bytes, wait_for
from tests.api.specs import EIGHT_GIB, EVERY_LAYER, SMALL, Spec, body, linear, spec, tensor
from tests.conftest import CommandLine, StartServer

XAVIER = [sys.executable, "-m", "service"]
BUFFERED = {"PYTHONUNBUFFERED": ""}
"""As a user's Python is: what could not be written is still there when it ends."""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Spec], Path]:
    """Writes a specification into a file."""

    def write_spec(document: Spec) -> Path:
        path = tmp_path / "spec.json"
        path.write_bytes(body(document))
        return path

    return write_spec


Write = Callable[[Spec], Path]


def started(*words: str | Path, **env: str) -> subprocess.Popen[bytes]:
    """The command line as a process of its own."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*XAVIER, *map(str, words)], cwd=ROOT, env=environment(env), stdin=pipe, stdout=pipe, stderr=pipe
    )


# words


def test_every_command_and_option_is_explained() -> None:
    runner = CliRunner()
    for name, command in cli.commands.items():
        shown = runner.invoke(cli, [name, "--help"])
        assert shown.exit_code == 0
        assert (command.help or "").rstrip().endswith("."), name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (name, parameter.name)
                assert parameter.opts[0] in shown.output
    assert set(cli.commands) == {"serve", "generate", "plan", "statistics", "verify", "openapi", "health"}


def test_help_and_version_come_without_a_command(xavier: CommandLine) -> None:
    assert xavier("--version").out.decode().split()[-1] == __version__
    assert b"Commands:" in xavier("-h").out


def test_unknown_words_are_refused(xavier: CommandLine) -> None:
    refused = [
        ["genrate"],
        ["generate", "-"],
        ["generate", "-", "-o", "-", "--sed", "1"],
        ["plan"],
        ["plan", "nowhere"],
    ]
    for words in refused:
        outcome = xavier(*words)
        assert (outcome.code, outcome.out) == (2, b"")
        assert "Error" in outcome.err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--seed", "x", "integer"),
        ("--seed", "-1", "2^64-1"),
        ("--seed", "18446744073709551616", "18446744073709551615"),
        ("--dtype", "F33", "BF16"),
        ("--statistics", "some", "measured"),
    ],
)
def test_a_wrong_value_of_an_option_is_refused(xavier: CommandLine, option: str, value: str, said: str) -> None:
    outcome = xavier("generate", "-", "-o", "-", option, value, stdin=body(SMALL))

    assert (outcome.code, outcome.out) == (2, b"")
    assert said in outcome.err


def test_a_wrong_specification_is_refused_with_pointers(xavier: CommandLine, write: Write, tmp_path: Path) -> None:
    path = write(spec(linear(fan_in=0), tensor("w", -1), seed=-1))

    commands: list[list[str | Path]] = [
        ["generate", path, "-o", tmp_path / "m"],
        ["plan", path],
        ["plan", path, "--json"],
        ["statistics", path],
    ]
    for words in commands:
        outcome = xavier(*words)
        assert (outcome.code, outcome.out) == (2, b"")
        for pointer in ("/seed", "/layers/0/in_features", "/layers/1/shape/0"):
            assert f"{pointer}: " in outcome.err
    assert not (tmp_path / "m").exists()


def test_a_specification_above_a_limit_is_refused(
    xavier: CommandLine, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAVIER_MAX_TENSORS", "1")

    outcome = xavier("plan", write(SMALL))

    assert outcome.code == 2
    assert "at most 1 tensors; this asks for 2" in outcome.err


@pytest.mark.parametrize("content", [b"", b"[" * 100_000])
def test_what_is_not_json_is_refused(xavier: CommandLine, content: bytes) -> None:
    outcome = xavier("plan", "-", stdin=content)

    assert (outcome.code, outcome.out) == (2, b"")
    assert "JSON" in outcome.err


@pytest.mark.parametrize(
    "words", [["generate", "-", "-o", "-"], ["plan", "-"], ["statistics", "-"], ["health"], ["serve"]]
)
@pytest.mark.parametrize(("name", "value"), [("XAVIER_THREADS", "0"), ("XAVIER_PORT", "eight thousand")])
def test_a_wrong_setting_is_refused_with_its_name(
    xavier: CommandLine, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    outcome = xavier(*words, stdin=body(SMALL))

    assert (outcome.code, outcome.out) == (2, b"")
    assert name.removeprefix("XAVIER_").lower() in outcome.err.lower()


# generate


def test_generate_writes_a_file_under_its_name(xavier: CommandLine, write: Write, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"

    outcome = xavier("generate", write(SMALL), "-o", output)

    assert (outcome.code, outcome.out, outcome.err) == (0, b"", "")
    assert safetensors.numpy.load_file(output)["fc1.weight"].shape == (2, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "spec.json"]


def test_generate_replaces_a_file_and_follows_a_link(xavier: CommandLine, write: Write, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)

    assert xavier("generate", write(SMALL), "-o", link).code == 0

    assert link.is_symlink()
    assert target.read_bytes() == xavier("generate", write(SMALL), "-o", "-").out


def test_generate_takes_standard_input_and_writes_standard_output(xavier: CommandLine) -> None:
    process = started("generate", "-", "-o", "-")

    out, err = process.communicate(body(EVERY_LAYER))

    assert (process.returncode, err) == (0, b"")
    assert out == xavier("generate", "-", "-o", "-", stdin=body(EVERY_LAYER)).out


def test_generate_says_every_warning_in_a_line_of_standard_error(xavier: CommandLine, write: Write) -> None:
    guessed = spec(*({"type": "tensor", "name": name, "shape": [2, 3, 5 + len(name)]} for name in ("a", "b\u2028c")))
    warnings = json.loads(xavier("plan", write(guessed), "--json").out)["warnings"]

    outcome = xavier("generate", write(guessed), "-o", "-")

    assert len(warnings) == 2
    assert outcome.err.splitlines() == [f"xavier: warning: {warning}" for warning in warnings]
    assert set(header_of(outcome.out)) == {"a", "b\u2028c", "__metadata__"}


def test_an_existing_file_stays_when_generation_is_refused(xavier: CommandLine, write: Write, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    output.write_bytes(b"precious")

    assert xavier("generate", write(spec(linear(fan_in=0))), "-o", output).code == 2
    assert xavier("generate", "-", "-o", output, "--dtype", "F33", stdin=body(SMALL)).code == 2

    assert output.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "spec.json"]


@pytest.mark.parametrize("output", ["nowhere/model.safetensors", ".", "spec.json/model.safetensors"])
def test_an_output_that_cannot_be_is_an_error(xavier: CommandLine, write: Write, tmp_path: Path, output: str) -> None:
    outcome = xavier("generate", write(SMALL), "-o", tmp_path / output)

    assert outcome.code == 1
    assert outcome.err.startswith("xavier: ")
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]


def test_a_device_is_written_and_not_replaced(xavier: CommandLine, write: Write) -> None:
    assert xavier("generate", write(SMALL), "-o", "/dev/null").code == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_full_disk_is_an_error(xavier: CommandLine, write: Write) -> None:
    outcome = xavier("generate", write(SMALL), "-o", "/dev/full")

    assert outcome.code == 1
    assert "No space left on device" in outcome.err
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_full_disk_behind_standard_output_is_an_error(write: Write) -> None:
    with Path("/dev/full").open("wb") as full:
        words = [*XAVIER, "generate", str(write(SMALL)), "-o", "-"]
        env = environment(BUFFERED)
        outcome = subprocess.run(words, cwd=ROOT, env=env, stdout=full, stderr=subprocess.PIPE, check=False)

    assert outcome.returncode == 1
    assert b"No space left on device" in outcome.stderr
    assert b"Traceback" not in outcome.stderr
    assert b"ignored" not in outcome.stderr


def test_a_pipe_with_a_name_is_written_and_not_replaced(xavier: CommandLine, write: Write, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    received: list[bytes] = []
    reader = Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()

    assert xavier("generate", write(SMALL), "-o", fifo).code == 0

    reader.join(10)
    assert received == [xavier("generate", write(SMALL), "-o", "-").out]
    assert fifo.is_fifo()


CLOSED = {
    "a file": ["generate", "spec.json", "-o", "-"],
    "a table": ["plan", "spec.json"],
    "the version": ["--version"],
}


def closed(streams: str, *words: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """The command line in a folder, with some standard streams closed, as a shell closes them."""
    command = ["sh", "-c", f'exec "$@" {streams}', "sh", *XAVIER, *words]
    env = environment(BUFFERED | {"PYTHONPATH": str(ROOT)})
    return subprocess.run(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def test_who_can_say_nothing_on_a_closed_standard_output_says_so(write: Write, tmp_path: Path) -> None:
    write(SMALL)

    for what, words in CLOSED.items():
        outcome = closed(">&-", *words, folder=tmp_path)
        assert (outcome.returncode, outcome.stderr) == (1, b"xavier: [Errno 9] Bad file descriptor\n"), what


def test_a_closed_standard_input_is_an_error(tmp_path: Path) -> None:
    outcome = closed("<&-", "plan", "-", folder=tmp_path)

    assert (outcome.returncode, outcome.stderr) == (1, b"xavier: [Errno 9] Bad file descriptor\n")


def test_a_file_is_written_without_any_standard_stream(xavier: CommandLine, write: Write, tmp_path: Path) -> None:
    write(SMALL)

    wrong = closed("<&- >&- 2>&-", "plan", "nowhere", folder=tmp_path)
    right = closed("<&- >&- 2>&-", "generate", "spec.json", "-o", "m", folder=tmp_path)

    assert (wrong.returncode, right.returncode) == (2, 0)
    assert (tmp_path / "m").read_bytes() == xavier("generate", "-", "-o", "-", stdin=body(SMALL)).out


@pytest.fixture
def interruptible(tmp_path: Path, write: Write) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A generation of 8 GiB that has begun to write, and then stands still, and the name that it is for."""
    output = tmp_path / "model.safetensors"
    process = started("generate", write(EIGHT_GIB), "-o", output)
    try:
        wait_for(lambda: any(path.stat().st_size for path in tmp_path.glob(".*.part")))
        process.send_signal(signal.SIGSTOP)  # it draws no more than a test needs
        yield process, output
    finally:
        process.kill()
        process.communicate()
        for part in tmp_path.glob(".*.part"):
            part.unlink()


def test_what_a_killed_generation_leaves_is_not_under_the_name_and_is_taken_over(
    interruptible: tuple[subprocess.Popen[bytes], Path], xavier: CommandLine
) -> None:
    process, output = interruptible

    process.kill()
    process.wait(10)
    assert not output.exists()

    assert xavier("generate", "-", "-o", output, stdin=body(SMALL)) == (0, b"", "")
    assert output.read_bytes() == xavier("generate", "-", "-o", "-", stdin=body(SMALL)).out
    assert sorted(path.name for path in output.parent.iterdir()) == ["model.safetensors", "spec.json"]


@pytest.mark.parametrize("gives_up", [False, True], ids=["is done", "gives up"])
def test_a_writer_waits_until_another_one_of_the_same_name_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], gives_up: bool
) -> None:
    output, said = tmp_path / "m", []

    def write_second() -> None:
        with _renamed(output) as file:
            assert output.exists() is not gives_up
            file.write(b"second")

    def is_waiting() -> bool:
        said.append(capsys.readouterr().err)
        return "waiting for another run, which is writing" in "".join(said)

    with ThreadPoolExecutor(1) as pool:
        with suppress(KeyboardInterrupt), _renamed(output) as file:
            file.write(b"first")
            second = pool.submit(write_second)
            wait_for(is_waiting)
            if gives_up:
                raise KeyboardInterrupt
        second.result(10)

    assert output.read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_simultaneous_writers_of_the_same_name_all_end_with_a_whole_file(tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"

    def write_some(writer: int) -> None:
        for _ in range(20):
            with _renamed(output) as file:
                file.write(bytes([writer]) * 100_000)
            assert len(set(output.read_bytes())) == 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_some, range(4)))

    assert output.stat().st_size == 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_link_in_the_place_of_an_unfinished_file_is_not_followed(
    xavier: CommandLine, write: Write, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / ".m.part").symlink_to(precious)

    assert xavier("generate", write(SMALL), "-o", tmp_path / "m").code == 1

    assert precious.read_bytes() == b"precious"


def test_an_ended_run_removes_no_file_of_another_one(tmp_path: Path) -> None:
    part = tmp_path / ".m.part"

    def interrupted_late() -> None:
        with _renamed(tmp_path / "m"):
            part.rename(tmp_path / "m")
            part.write_bytes(b"of another run")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_late()

    assert part.read_bytes() == b"of another run"


def test_an_interrupted_generation_leaves_nothing_at_all(interruptible: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, output = interruptible

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=10)

    assert process.returncode != 0
    assert b"Traceback" not in err
    assert [path.name for path in output.parent.iterdir()] == ["spec.json"]


def test_a_closed_pipe_ends_generation_quietly(write: Write) -> None:
    with started("generate", write(EIGHT_GIB), "-o", "-") as process:
        assert process.stdout is not None
        assert process.stderr is not None

        assert len(process.stdout.read(10)) == 10
        process.stdout.close()

        assert process.wait(10) != 0
        assert process.stderr.read() == b""


def test_progress_is_shown_on_a_terminal_and_nowhere_else(write: Write, tmp_path: Path) -> None:
    path = write(spec(tensor("w", 4000, 4000)))
    master, slave = pty.openpty()
    words = [*XAVIER, "generate", str(path), "-o", str(tmp_path / "m")]
    env = environment({"TERM": "xterm-256color", "COLUMNS": "100"})

    process = subprocess.Popen(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    shown = b"".join(iter(lambda: _read(master), b""))
    os.close(master)

    assert process.wait(20) == 0
    assert b"drawing" in shown
    assert b"MB" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 12)
    except OSError:  # Linux says so when the other side is closed
        return b""


def test_a_broken_machine_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(OTHER_ANSWERS)

    process = started("generate", "-", "-o", tmp_path / "m", PYTHONPATH=str(tmp_path))
    out, err = process.communicate(body(SMALL))

    assert (process.returncode, out) == (3, b"")
    assert b"differ from the known answers" in err
    assert not (tmp_path / "m").exists()


# plan and statistics


def test_a_plan_is_a_readable_table(xavier: CommandLine, write: Write) -> None:
    outcome = xavier("plan", write(spec(linear("h" * 150, 784, 256))))

    lines = outcome.out.decode().splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert lines[0].split() == ["tensor", "dtype", "shape", "fan", "in", "fan", "out", "distribution", "bytes"]
    assert lines[1].split()[:7] == ["h" * 150 + ".weight", "F32", "256", "x", "784", "784", "256"]
    assert lines[1].split()[-1] == "802,816"
    assert "2 tensors, 200,960 values" in lines[3]
    assert any(line.startswith("permalink  /v1/weights/") and line.endswith("/model.safetensors") for line in lines)


def test_a_plan_warns(xavier: CommandLine, write: Write) -> None:
    document = spec(tensor("e\N{COMBINING ACUTE ACCENT}", 3, 3), tensor("\N{LATIN SMALL LETTER E WITH ACUTE}", 3, 3))

    assert "warning: " in xavier("plan", write(document)).out.decode()


def test_statistics_are_a_readable_table(xavier: CommandLine, write: Write) -> None:
    document = spec(linear("fc", 784, 256), tensor("empty", 0, initializer="zeros"))

    outcome = xavier("statistics", write(document))

    lines = outcome.out.decode().splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert lines[0].split() == ["tensor", "dtype", "shape", "mean", "expected", "std", "expected", "min", "max"]
    assert lines[1].startswith("fc.weight")
    assert len(lines) == 4


@pytest.mark.parametrize("document", [SMALL, EVERY_LAYER], ids=["small", "every layer"])
@pytest.mark.parametrize(
    "options", [{}, {"seed": "9", "dtype": "F64"}, {"statistics": "none"}, {"statistics": "measured"}]
)
def test_a_plan_as_json_is_the_document_of_http(
    client: httpx.Client, xavier: CommandLine, write: Write, document: Spec, options: dict[str, str]
) -> None:
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]

    outcome = xavier("plan", write(document), "--json", *flags)

    assert json.loads(outcome.out) == client.post("/v1/plan", json=document, params=options).json()


def test_a_plan_whose_permalink_no_url_carries_is_the_same_as_json(client: httpx.Client, xavier: CommandLine) -> None:
    document = spec(*(tensor(f"{n * 7919:x}{n * 104729:x}", 1, initializer="zeros") for n in range(2000)))

    outcome = xavier("plan", "-", "--json", stdin=body(document))

    assert json.loads(outcome.out) == client.post("/v1/plan", json=document).json()


@pytest.mark.parametrize("options", [{}, {"seed": "9", "dtype": "F16"}])
def test_statistics_as_json_are_the_document_of_http(
    client: httpx.Client, xavier: CommandLine, write: Write, options: dict[str, str]
) -> None:
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]

    outcome = xavier("statistics", write(EVERY_LAYER), "--json", *flags)

    assert json.loads(outcome.out) == client.post("/v1/statistics", json=EVERY_LAYER, params=options).json()


# verify


@pytest.fixture
def generated(xavier: CommandLine, tmp_path: Path) -> Callable[..., Path]:
    def generate(document: Spec, *flags: str) -> Path:
        output = tmp_path / "model.safetensors"
        assert xavier("generate", "-", "-o", output, *flags, stdin=body(document)).code == 0
        return output

    return generate


@pytest.mark.parametrize(
    ("framework", "flags"),
    [("torch", []), ("keras", ["--statistics", "none"]), ("torch", ["--statistics", "measured", "--dtype", "BF16"])],
)
def test_a_file_of_ours_is_what_it_should_be(
    xavier: CommandLine, generated: Callable[..., Path], framework: str, flags: list[str]
) -> None:
    outcome = xavier("verify", generated(EVERY_LAYER | {"framework": framework, "prefix": "p."}, *flags))

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(b"32 tensors are what they should be")


def test_a_flipped_byte_is_found_and_named(xavier: CommandLine, generated: Callable[..., Path], write: Write) -> None:
    document = spec(linear("a", 1000, 700), linear("b", 3, 2))
    path = generated(document)
    file = bytearray(path.read_bytes())
    data = 8 + int.from_bytes(file[:8], "little")
    begin = data + header_of(bytes(file))["a.weight"]["data_offsets"][0]
    file[begin + 4 * (600 * 1000 + 123) + 1] ^= 1
    file[begin + 4 * (600 * 1000 + 124)] ^= 1
    path.write_bytes(file)

    against: list[list[str | Path]] = [[], ["--spec", write(document)]]
    for words in against:
        outcome = xavier("verify", path, *words)
        assert outcome.code == 1
        assert outcome.out.decode().startswith("a.weight differs first at [600, 123]: ")
        assert outcome.out.count(b"\n") == 1
        assert "1 of 4 tensors differ" in outcome.err


def test_a_file_is_held_against_another_specification(
    xavier: CommandLine, generated: Callable[..., Path], write: Write
) -> None:
    path = generated(spec(linear("a", 5, 4), linear("b", 3, 2)))

    outcome = xavier("verify", path, "--spec", write(spec(linear("a", 4, 5), linear("b", 3, 2, bias=False))))

    assert (outcome.code, outcome.err) == (1, "3 of 3 tensors differ\n")
    assert outcome.out.decode().splitlines() == [
        "b.bias is in the file, but not in the specification",
        "a.weight has shape [4, 5], and should have [5, 4]",
        "a.bias has shape [4], and should have [5]",
    ]


def test_a_file_of_others_can_be_held_against_a_specification(
    xavier: CommandLine, generated: Callable[..., Path], write: Write, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file(safetensors.numpy.load_file(generated(SMALL)), foreign)

    assert xavier("verify", foreign, "--spec", write(SMALL)).code == 0
    alone = xavier("verify", foreign)
    assert alone.code == 1
    assert "does not say how it was made" in alone.err


def test_metadata_that_means_nothing_is_an_error(xavier: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "strange.safetensors"
    safetensors.numpy.save_file({"w": np.zeros((2, 2), np.float32)}, path, {"xavier": '{"stream":1}'})

    outcome = xavier("verify", path)

    assert (outcome.code, outcome.out) == (1, b"")
    assert outcome.err.startswith("xavier: ")


def test_what_is_not_safetensors_is_an_error(
    xavier: CommandLine, generated: Callable[..., Path], tmp_path: Path
) -> None:
    whole = generated(SMALL).read_bytes()
    path = tmp_path / "broken"

    path.write_bytes(whole[:-1])
    outcome = xavier("verify", path)

    assert (outcome.code, outcome.out) == (1, b"")
    assert "is not a safetensors file" in outcome.err
    assert xavier("verify", tmp_path / "nowhere").code == 2


# openapi and health


def test_the_openapi_document_is_printed_and_checked(
    xavier: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    assert xavier("openapi").out.decode() == (ROOT / "openapi" / "openapi.json").read_text()
    assert xavier("openapi", "--check") == (0, b"", "")

    monkeypatch.chdir(tmp_path)
    assert xavier("openapi", "--check").code == 1
    (tmp_path / "openapi").mkdir()
    (tmp_path / "openapi" / "openapi.json").write_text("{}\n")
    assert "not in step" in xavier("openapi", "--check").err


def test_a_server_that_is_well_is_healthy(xavier: CommandLine, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert xavier("health", "--url", server.url) == (0, b"ok\n", "")
    assert xavier("health", "--url", server.url + "/").code == 0
    monkeypatch.setenv("XAVIER_PORT", str(server.port))
    assert xavier("health") == (0, b"ok\n", "")


@pytest.fixture
def babbling() -> Iterator[int]:
    """The port of something that does not speak HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def babble() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 ready\r\n")

        speaker = Thread(target=babble)
        speaker.start()
        yield listening.getsockname()[1]
        speaker.join(10)


def test_what_does_not_speak_http_is_not_healthy(xavier: CommandLine, babbling: int) -> None:
    outcome = xavier("health", "--url", f"http://127.0.0.1:{babbling}")

    assert (outcome.code, outcome.out) == (1, b"")
    assert f"http://127.0.0.1:{babbling}" in outcome.err


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "http://127.0.0.1:1/x y",
        "127.0.0.1:1",
        "nonsense",
        "http://",
        "http://[",
        "http://127.0.0.1:x",
    ],
)
def test_a_server_that_is_not_there_is_not_healthy(xavier: CommandLine, url: str) -> None:
    outcome = xavier("health", "--url", url)

    assert (outcome.code, outcome.out) in ((1, b""), (2, b""))
    assert outcome.err


# serve


def test_a_server_ends_in_time_though_a_slow_client_is_connected(start_server: StartServer) -> None:
    server = start_server("--shutdown-seconds", "1", XAVIER_THREADS="1")
    with server.connect() as connection:
        connection.sendall(request_bytes("POST", "/v1/weights", body(EIGHT_GIB)))
        assert connection.recv(1000)

        assert server.stop(signal.SIGTERM, within=10) == 143

    with pytest.raises(OSError, match="refused"):
        server.connect()


def test_a_server_lets_short_answers_end(start_server: StartServer) -> None:
    server = start_server()
    document = spec(tensor("w", 3000, 3000))
    with server.connect() as connection:
        connection.sendall(request_bytes("POST", "/v1/weights", body(document)))
        received = bytearray(connection.recv(1 << 16))
        server.process.send_signal(signal.SIGTERM)
        while piece := connection.recv(1 << 16):
            received += piece

    head, _, content = bytes(received).partition(b"\r\n\r\n")
    assert f"content-length: {len(content)}".encode() in head
    assert len(content) > 36_000_000
    assert server.process.wait(10) == 143


def test_a_port_in_use_is_an_error(server: Server) -> None:
    process = started("serve", "--port", str(server.port))

    _, err = process.communicate(timeout=20)

    assert process.returncode > 0
    assert b"in use" in err
    assert b"Traceback" not in err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_setting_that_cannot_be_is_an_error(
    xavier: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: str
) -> None:
    monkeypatch.setenv("XAVIER_API_KEYS_FILE", str(tmp_path / "nowhere"))

    outcome = xavier("serve", "--port", "0", "--workers", workers)

    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert outcome.err.startswith("xavier: [Errno 2] ")


def test_a_server_says_where_it_listens_and_takes_settings_from_flags_before_the_environment(
    start_server: StartServer,
) -> None:
    server = start_server("--threads", "1", XAVIER_THREADS="3", XAVIER_MAX_RANK="5")

    info = httpx.get(f"{server.url}/v1/info", trust_env=False).json()

    assert server.host == "127.0.0.1"
    assert (info["threads"], info["limits"]["rank"]) == (1, 5)
    assert server.stop(signal.SIGINT) == 130


@pytest.mark.parametrize("command", ["plan", "statistics"])
def test_a_seed_that_javascript_may_have_rounded_is_a_warning(xavier: CommandLine, command: str) -> None:
    large = body(SMALL | {"seed": 2**53 + 1})

    assert "came as a JSON number above 2^53" in xavier(command, "-", stdin=large).err
    assert xavier(command, "-", "--seed", "3", stdin=large).err == ""
