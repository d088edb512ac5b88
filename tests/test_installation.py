"""The locks are complete: they are installed as they stand, without resolving anything, today and in five years.

`pip check` does not look at extras, nor at other machines; here the metadata of the installed packages is held against
the locks for several Pythons and systems.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, distributions, version
from typing import Final, NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.api.servers import ROOT

LOCKS: Final = ("requirements.lock", "requirements-test.lock", "requirements-build.lock", "requirements-bench.lock")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
RECIPES: Final = ("Makefile", "Dockerfile", ".ci/run")
HERE: Final[dict[str, str]] = {}
ELSEWHERE: Final = [
    {"python_version": python.rpartition(".")[0], "python_full_version": python, "sys_platform": system}
    for python in ("3.11.0", "3.11.9", "3.12.1", "3.13.0", "3.14.2", "3.15.0")
    for system in ("linux", "darwin")
]
EVERYWHERE: Final = pytest.mark.parametrize(
    "machine", [HERE, *ELSEWHERE], ids=lambda machine: "-".join(machine.values()) or "here"
)


class Line(NamedTuple):
    """A package of a lock."""

    pinned: Requirement
    hashes: list[str]

    @property
    def name(self) -> str:
        return canonicalize_name(self.pinned.name)

    @property
    def version(self) -> str:
        return str(self.pinned.specifier).removeprefix("==")

    def holds(self, machine: dict[str, str]) -> bool:
        return self.pinned.marker is None or self.pinned.marker.evaluate(machine)


def lines(lock: str) -> list[Line]:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    return [
        Line(Requirement(pinned), hashes) for pinned, *hashes in (line.split(" --hash=") for line in text.splitlines())
    ]


def asked_by(package: str, extra: str, machine: dict[str, str]) -> list[Requirement]:
    """What an installed package needs, or one of its extras."""
    asked = map(Requirement, distribution(package).requires or ())
    return [need for need in asked if need.marker is None or need.marker.evaluate(machine | {"extra": extra})]


def needs(packages: set[str], roots: list[Requirement], machine: dict[str, str]) -> Iterator[tuple[str, Requirement]]:
    """What some requirements and packages need, extras of extras included, and who needs it."""
    yield from (("the tests", need) for need in roots)
    asking = [(name, "") for name in packages] + [(need.name, extra) for need in roots for extra in need.extras]
    for package, extra in asking:  # which grows meanwhile
        for need in asked_by(package, extra, machine) if canonicalize_name(package) in packages else ():
            yield f"{package}[{extra}]", need
            asking += [(need.name, of_it) for of_it in need.extras if (need.name, of_it) not in asking]


def meets(line: Line, need: Requirement) -> bool:
    return need.specifier.contains(line.version, prereleases=True) and need.extras <= line.pinned.extras


def unmet(locks: tuple[str, ...], packages: set[str], roots: list[Requirement], machine: dict[str, str]) -> list[str]:
    """What the lines of some locks do not give, or not as it is needed."""
    locked = {line.name: line for lock in locks for line in lines(lock) if line.holds(machine)}
    return [
        f"{package} needs {need}"
        for package, need in needs(packages, roots, machine)
        if (line := locked.get(canonicalize_name(need.name))) is None or not meets(line, need)
    ]


@EVERYWHERE
def test_every_requirement_of_every_installed_package_is_met_by_a_line_of_a_lock(machine: dict[str, str]) -> None:
    installed = set[str](canonicalize_name(found.name) for found in distributions())
    of_tests = [Requirement(need) for need in PROJECT["dependency-groups"]["test"]]

    assert unmet(("requirements-test.lock", "requirements-bench.lock"), installed, of_tests, machine) == []


@EVERYWHERE
def test_the_lock_of_the_server_is_complete_by_itself(machine: dict[str, str]) -> None:
    here = {line.name for line in lines("requirements.lock") if line.holds(HERE)}

    assert unmet(("requirements.lock",), here | {PROJECT["project"]["name"]}, [], machine) == []


def test_what_is_installed_is_what_the_lock_says() -> None:
    here = [line for line in lines("requirements-test.lock") if line.holds(HERE)]

    assert {line.name: version(line.name) for line in here} == {line.name: line.version for line in here}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_a_lock_is_one_version_with_hashes_and_no_package_has_two(lock: str) -> None:
    for line in lines(lock):
        [specifier] = line.pinned.specifier
        assert (specifier.operator, line.pinned.url) == ("==", None)
        assert line.hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64} *", digest) for digest in line.hashes)
    for machine in ELSEWHERE:
        names = [line.name for line in lines(lock) if line.holds(machine)]
        assert len(names) == len(set(names))


def test_the_locks_agree_with_each_other() -> None:
    pinned = {(line.name, line.version) for lock in LOCKS for line in lines(lock)}

    assert len(pinned) == len({name for name, _ in pinned})
    assert {line.name for line in lines(LOCKS[0])} <= {line.name for line in lines(LOCKS[1])}


def test_torch_is_for_comparisons_of_speed_only() -> None:
    holding = [lock for lock in LOCKS if any(line.name == "torch" for line in lines(lock))]

    assert holding == ["requirements-bench.lock"]


def test_nothing_is_resolved_or_installed_without_its_hash() -> None:
    recipes = "".join((ROOT / recipe).read_text() for recipe in RECIPES)
    installing = re.findall(r".*(?:pip|\(PIP\)) (?:install|wheel) .*", recipes)
    ours = ("--no-build-isolation", "--no-index")  # the service itself, from what is there already

    assert {lock for lock in LOCKS for line in installing if line.endswith(f"--require-hashes -r {lock}")} == {*LOCKS}
    for line in installing:
        assert "--no-deps" in line
        assert "--require-hashes -r" in line or any(flag in line for flag in ours)


def test_the_image_is_made_of_files_that_docker_is_given() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    given = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"]

    assert sorted(given) == sorted(" ".join(copied).split())
    assert all((ROOT / name).exists() for name in given)
