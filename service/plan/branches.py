"""Branches: the layers of a specification, each understood once, and what they come to.

Cost is counted in plain integers, repeats multiplied, so nothing is allocated or expanded to know it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Final, NamedTuple

from service.distributions.blockwise import renamed
from service.plan.parameter import NUMBER, Parameter
from service.schema.layers import Group, Repeat

LEAST_ENTRY: Final = 80
"""Bytes of a tensor in a header besides its names, at the least."""


class Cost(NamedTuple):
    """What some layers come to, in plain integers: nothing is expanded to count it."""

    tensors: int = 0
    nbytes: int = 0
    name_bytes: int = 0
    """Bytes of all names at the least; the numbers of repeats grow longer."""
    whole: int = 0
    """Elements that must be drawn together with others."""

    def plus(self, other: Cost) -> Cost:
        """The sum of two."""
        return Cost(*map(add, self, other))

    def times(self, count: int) -> Cost:
        """The same some times."""
        return Cost(*(part * count for part in self))

    @property
    def header_bytes(self) -> int:
        """A safetensors header at the least: every name twice, an entry and a description."""
        return 2 * self.name_bytes + LEAST_ENTRY * self.tensors


class Part(NamedTuple):
    """A parameter under the names that it has in its layer.

    Attributes:
        others: canonical names of the further tensors that are in it.
    """

    suffix: str
    output_suffix: str
    parameter: Parameter
    others: tuple[str, ...]

    def numbered(self, number: int) -> Part:
        """The same part of one layer of a stack; the distribution of two tensors in one has their names in it."""
        suffix, output_suffix, *others = (
            name.replace(NUMBER, str(number)) for name in (self.suffix, self.output_suffix, *self.others)
        )
        parameter = self.parameter
        for other in others:
            distribution = renamed(parameter.distribution, (suffix, other))
            if distribution != parameter.distribution:
                parameter = replace(parameter, distribution=distribution)
        return Part(suffix, output_suffix, parameter, tuple(others))


class Parts(NamedTuple):
    """The parts of a layer; or of the layers of a stack that have the same but for the numbers in their names."""

    numbers: range | None
    parts: tuple[Part, ...]

    def cost(self, prefix: str, more: int) -> Cost:
        """What they come to under a prefix, each name being some bytes longer (or shorter) than that makes it."""
        nbytes = sum(part.parameter.nbytes for part in self.parts)
        name_bytes = sum(bytes_of(dotted(prefix, name)) + more for name in self.suffixes(0))
        whole = sum(part.parameter.materialized_elements for part in self.parts)
        return Cost(len(self.parts), nbytes, name_bytes, whole).times(self.times)

    @property
    def times(self) -> int:
        """How many layers have them."""
        return 1 if self.numbers is None else len(self.numbers)

    def each(self) -> Iterator[Part]:
        """All parts, number by number."""
        if self.numbers is None:
            yield from self.parts
        else:
            yield from (part.numbered(number) for number in self.numbers for part in self.parts)

    def suffixes(self, number: int) -> list[str]:
        """The names of the parts in the file, of the first (0) or the last (-1) number."""
        if self.numbers is None:
            return [part.output_suffix for part in self.parts]
        return [part.output_suffix.replace(NUMBER, str(self.numbers[number])) for part in self.parts]


class Branch(NamedTuple):
    """A layer that has tensors, understood once: its own parts, or the branches inside it and how often."""

    name: str
    pointer: str
    numbers: range | None
    """The numbers of a repeat; None for a group and a leaf."""
    inside: tuple[Branch, ...]
    parts: tuple[Parts, ...]
    cost: Cost


class Prefix(NamedTuple):
    """What stands before the names inside: the longest there is, and by how much the shortest is shorter."""

    longest: str = ""
    slack: int = 0

    def with_name(self, name: str) -> Prefix:
        """Followed by a name."""
        return Prefix(dotted(self.longest, name), self.slack)

    def with_numbers(self, numbers: range) -> Prefix:
        """Followed by each of some numbers."""
        first, last = str(numbers.start), str(numbers.stop - 1)
        return Prefix(dotted(self.longest, last), self.slack + len(last) - len(first))


def around(layer: Group | Repeat, pointer: str, numbers: range | None, inside: tuple[Branch, ...]) -> Branch:
    """The branch of a group, or of a repeat by its numbers."""
    times = 1 if numbers is None else numbers.stop - numbers.start
    return Branch(layer.name, pointer, numbers, inside, (), total(inside).times(times))


def parameters_of(branches: Sequence[Branch], times: int) -> Iterator[tuple[Parameter, int]]:
    """Every parameter of some branches, and how many tensors it becomes if they are there some times."""
    for branch in branches:
        for parts in branch.parts:
            for part in parts.parts:
                yield part.parameter, times * parts.times
        inside = 1 if branch.numbers is None else len(branch.numbers)
        yield from parameters_of(branch.inside, times * inside)


def total(branches: Sequence[Branch]) -> Cost:
    """What some branches come to together."""
    return reduce(Cost.plus, (branch.cost for branch in branches), Cost())


def bytes_of(name: str) -> int:
    """How long a name is in UTF-8."""
    return len(name) if name.isascii() else len(name.encode())


def dotted(prefix: str, name: str) -> str:
    """A name behind a prefix, with a dot between where both are there."""
    return f"{prefix}.{name}" if prefix and name else prefix or name
