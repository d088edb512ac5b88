"""Names of tensors: unique, without control characters, and not reserved. Only this check needs repeats expanded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from unicodedata import category

from service.errors import Fault
from service.plan.findings import Findings
from service.plan.tensors import TensorPlan

RESERVED: Final = "__metadata__"
"""The member of a safetensors header that is not a tensor."""


class Made(NamedTuple):
    """A tensor, the pointer to its layer, and the other canonical tensors that it contains."""

    tensor: TensorPlan
    pointer: str
    others: tuple[str, ...]

    @property
    def canonical_names(self) -> tuple[str, ...]:
        """The canonical tensors that it contains; where several tensors share one, it counts only for the first."""
        rearrangement = self.tensor.parameter.rearrangement
        return () if rearrangement and rearrangement.part else (self.tensor.canonical_name, *self.others)


def check_names(made: Sequence[Made], findings: Findings) -> None:
    """Refuse names that are invalid, or that collide in the file or in the canonical naming.

    Raises:
        InvalidSpec: there are such names.
    """
    names = [each.tensor.name for each in made]
    canonical = [name for each in made for name in each.canonical_names]
    if _all_usable(names) and _all_usable(canonical):
        return
    _check_unique(((each.tensor.name, each.pointer) for each in made), findings)
    _check_unique(((name, each.pointer) for each in made for name in each.canonical_names), findings)
    for each in made:
        _check_name(each.tensor, each.pointer + "/name", findings)
    findings.give_up()


def check_characters(name: str, pointer: str, findings: Findings) -> None:
    """Refuse control characters."""
    if not name.isprintable() and any(category(character) == "Cc" for character in name):
        findings.add(Fault(pointer, f"names must be free of control characters; got {_short(name)}"))


def _check_unique(named: Iterable[tuple[str, str]], findings: Findings) -> None:
    owners: dict[str, str] = {}
    for name, pointer in named:
        if name in owners:
            rule = f"the tensor {_short(name)} is already made by {owners[name]}"
            findings.add(Fault(pointer + "/name", f"{rule}: give the layers different names"))
        owners.setdefault(name, pointer)


def _check_name(tensor: TensorPlan, pointer: str, findings: Findings) -> None:
    if not tensor.canonical_name:
        findings.add(Fault(pointer, "a tensor needs a name; this one is empty"))
    elif tensor.name == RESERVED:
        findings.add(Fault(pointer, f"{RESERVED} is reserved by the file format: choose another name"))
    else:
        check_characters(tensor.name, pointer, findings)


def _all_usable(names: Sequence[str]) -> bool:
    """Whether no name needs a closer look: all are different and printable, and none is empty or reserved."""
    different = set(names)
    return (
        len(different) == len(names)
        and all(map(str.isprintable, different))
        and "" not in different
        and RESERVED not in different
    )


def _short(name: str) -> str:
    shown = ascii(name)
    return shown if len(shown) <= 80 else shown[:80] + "…"
