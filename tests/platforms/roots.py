"""File trees of other machines: Debian's Python, NumPy and cryptography, unpacked; nothing in them is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

SUITES: Final = ("stable", "testing", "unstable")
"""The first of these that has the packages is taken, from the mirror that this machine itself is set up with."""
PACKAGES: Final = ("python3", "python3-numpy", "python3-cryptography", "libopenblas0-pthread")
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
MERGED: Final = ("bin", "lib", "lib64", "sbin")
LONGEST_DOWNLOAD: Final = 900


class NotToBeHad(Exception):
    """What is needed to try a machine is not there."""


class Architecture(NamedTuple):
    """A machine by Debian's name, what emulates it, and where its libraries lie."""

    name: str
    emulator: str
    libraries: str
    options: tuple[str, ...] = ()


ARCHITECTURES: Final = (
    Architecture("arm64", "aarch64", "aarch64-linux-gnu", ("-cpu", "max,pauth-impdef=on")),
    Architecture("ppc64el", "ppc64le", "powerpc64le-linux-gnu"),
    Architecture("s390x", "s390x", "s390x-linux-gnu"),
    Architecture("riscv64", "riscv64", "riscv64-linux-gnu"),
    Architecture("i386", "i386", "i386-linux-gnu"),
    Architecture("armhf", "arm", "arm-linux-gnueabihf"),
)


def python(architecture: Architecture, folder: Path) -> tuple[list[str], Path]:
    """The command that starts an architecture's Python, and the folder of its packages.

    Args:
        architecture: which.
        folder: where its files are kept between runs.

    Raises:
        NotToBeHad: the emulator or the packages are missing.
    """
    emulator = _program(f"qemu-{architecture.emulator}-static", f"qemu-{architecture.emulator}")
    root = folder / architecture.name
    if not (root / "done").exists():
        _make_root(architecture, root)
    libraries = root / "usr" / "lib" / architecture.libraries
    searched = ":".join(str(libraries / name) for name in ("openblas-pthread", "blas", "lapack"))
    command = [emulator, *architecture.options, "-L", str(root), "-E", f"LD_LIBRARY_PATH={searched}"]
    return [*command, str(root / "usr" / "bin" / "python3")], root / "usr" / "lib" / "python3" / "dist-packages"


def _program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise NotToBeHad(f"{names[0]} is not installed")
    return found


def _make_root(architecture: Architecture, root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    faults = []
    for suite in SUITES:
        try:
            packages = _download(architecture, suite, root / "apt")
        except NotToBeHad as fault:
            faults.append(f"{suite}: {fault}")
        else:
            _unpack(packages, root)
            return (root / "done").touch()
    raise NotToBeHad("; ".join(faults))


def _download(architecture: Architecture, suite: str, apt: Path) -> list[Path]:
    """The packages and all that they need, by an apt of their own that knows nothing of this machine's."""
    shutil.rmtree(apt, ignore_errors=True)
    for part in ("state/lists/partial", "cache/archives/partial", "etc"):
        (apt / part).mkdir(parents=True)
    (apt / "state" / "status").touch()
    (apt / "etc" / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    options = {
        "APT::Architecture": architecture.name,
        "APT::Architectures": architecture.name,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::Cache": apt / "cache",
        "Dir::Etc": apt / "etc",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "state" / "status",
    }
    apt_get = [_program("apt-get"), *(f"-o{name}={value}" for name, value in options.items())]
    _run(*apt_get, "update")
    _run(*apt_get, "install", "--yes", "--download-only", *PACKAGES)
    return sorted((apt / "cache" / "archives").glob("*.deb"))


def _mirror() -> str:
    asked = ("indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main")
    mirrors = _run(_program("apt-get"), *asked).split()
    if not mirrors:
        raise NotToBeHad("apt has no lists: apt-get update")
    return min(mirrors, key=len)  # those of security and the like have a word more


def _unpack(packages: list[Path], root: Path) -> None:
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        files = subprocess.run([_program("dpkg-deb"), "--fsys-tarfile", package], check=True, capture_output=True)
        into = [_program("tar"), "--extract", "--keep-directory-symlink", "--directory", str(root)]
        subprocess.run(into, input=files.stdout, check=True)
    shutil.rmtree(root / "apt")


def _run(*command: Any) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=LONGEST_DOWNLOAD, env=os.environ | {"LC_ALL": "C"}
    )
    if done.returncode:
        faults = [line for line in done.stderr.splitlines() if line.startswith("E:")] or [f"{command[0]} failed"]
        raise NotToBeHad(faults[0].removeprefix("E: "))
    return done.stdout
