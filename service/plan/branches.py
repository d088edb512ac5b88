"""Branches: the layers of a specification, each resolved once, and their cost.

Costs are plain integers, which are multiplied for repeats, so that nothing is expanded or allocated to count them.
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
"""The least number of bytes that a tensor takes in a header besides its names."""


class Cost(NamedTuple):
    """The cost of some layers, in plain integers."""

    tensors: int = 0
    nbytes: int = 0
    name_bytes: int = 0
    """The least number of bytes of all names: the numbers of a repeat count as if all were as short as the first."""
    whole: int = 0
    """The number of elements of matrices that must be drawn as a whole."""

    def plus(self, other: Cost) -> Cost:
        """The sum of two costs."""
        return Cost(*map(add, self, other))

    def times(self, count: int) -> Cost:
        """The cost of a number of repetitions."""
        return Cost(*(part * count for part in self))

    @property
    def header_bytes(self) -> int:
        """The least size of a safetensors header: for each tensor its name twice, an entry, and a description."""
        return 2 * self.name_bytes + LEAST_ENTRY * self.tensors


class Part(NamedTuple):
    """A parameter, with the names that it has in its layer.

    Attributes:
        suffix: the canonical name.
        output_suffix: the name in the file.
        parameter: the parameter.
        others: the canonical names of the other tensors that it contains.
    """

    suffix: str
    output_suffix: str
    parameter: Parameter
    others: tuple[str, ...]

    def numbered(self, number: int) -> Part:
        """The same part of one layer of a stack; a distribution that combines two tensors contains their names."""
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
    """The parts of a layer, or of several layers of a stack that differ only in the numbers in their names."""

    numbers: range | None
    parts: tuple[Part, ...]

    def cost(self, prefix: str, more: int) -> Cost:
        """The cost of the parts under a prefix, with `more` bytes (which may be negative) added to each name."""
        nbytes = sum(part.parameter.nbytes for part in self.parts)
        name_bytes = sum(bytes_of(dotted(prefix, name)) + more for name in self.suffixes(0))
        whole = sum(part.parameter.materialized_elements for part in self.parts)
        return Cost(len(self.parts), nbytes, name_bytes, whole).times(self.times)

    @property
    def times(self) -> int:
        """The number of layers with these parts."""
        return 1 if self.numbers is None else len(self.numbers)

    def each(self) -> Iterator[Part]:
        """All parts, layer by layer."""
        if self.numbers is None:
            yield from self.parts
        else:
            yield from (part.numbered(number) for number in self.numbers for part in self.parts)

    def suffixes(self, number: int) -> list[str]:
        """The names of the parts in the file, for the first (0) or the last (-1) layer."""
        if self.numbers is None:
            return [part.output_suffix for part in self.parts]
        return [part.output_suffix.replace(NUMBER, str(self.numbers[number])) for part in self.parts]


class Branch(NamedTuple):
    """A layer with tensors, resolved once: its own parts, or the branches inside it."""

    name: str
    pointer: str
    numbers: range | None
    """The numbers of a repeat; None for a group or a leaf."""
    inside: tuple[Branch, ...]
    parts: tuple[Parts, ...]
    cost: Cost


class Prefix(NamedTuple):
    """What comes before the names inside: the longest such prefix, and by how many bytes the shortest is shorter."""

    longest: str = ""
    slack: int = 0

    def with_name(self, name: str) -> Prefix:
        """The prefix followed by a name."""
        return Prefix(dotted(self.longest, name), self.slack)

    def with_numbers(self, numbers: range) -> Prefix:
        """The prefix followed by each of some numbers."""
        first, last = str(numbers.start), str(numbers.stop - 1)
        return Prefix(dotted(self.longest, last), self.slack + len(last) - len(first))


def around(layer: Group | Repeat, pointer: str, numbers: range | None, inside: tuple[Branch, ...]) -> Branch:
    """The branch of a group, or of a repeat with its numbers."""
    times = 1 if numbers is None else numbers.stop - numbers.start
    return Branch(layer.name, pointer, numbers, inside, (), total(inside).times(times))


def parameters_of(branches: Sequence[Branch], times: int) -> Iterator[tuple[Parameter, int]]:
    """Every parameter of some branches, and how many tensors it becomes if the branches are repeated."""
    for branch in branches:
        for parts in branch.parts:
            for part in parts.parts:
                yield part.parameter, times * parts.times
        inside = 1 if branch.numbers is None else len(branch.numbers)
        yield from parameters_of(branch.inside, times * inside)


def total(branches: Sequence[Branch]) -> Cost:
    """The total cost of some branches."""
    return reduce(Cost.plus, (branch.cost for branch in branches), Cost())


def bytes_of(name: str) -> int:
    """The number of bytes of a name in UTF-8."""
    return len(name) if name.isascii() else len(name.encode())


def dotted(prefix: str, name: str) -> str:
    """A name after a prefix, separated by a dot unless one of them is empty."""
    return f"{prefix}.{name}" if prefix and name else prefix or name
