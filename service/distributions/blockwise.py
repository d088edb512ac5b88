"""Several distributions in one tensor: in blocks, as the sum of two tensors, or as two concatenated tensors.

Keras has one bias where PyTorch has two, and each gate of a recurrent layer may have its own distribution.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum, sqrt
from typing import ClassVar, Final

import numpy as np

from service.distributions.base import Array, Distribution
from service.distributions.elementwise import Constant
from service.distributions.members import Member, count, counts, distributions, read_distribution, text
from service.distributions.stored import (
    EvenWords,
    Stored,
    constant,
    ends,
    hypotenuse,
    is_coarse,
    power_of_two,
    rounded_again,
    square,
)
from service.stream.dtypes import DType, narrow, widen
from service.stream.words import Elements, Indices, WordSource

EVEN_SHARES: Final = 1 << 12
"""The number of equal shares into which the words are divided; one value represents each share."""
MOST_VALUES: Final = 1 << 8
"""The most values of each of two distributions whose pairs are all added."""


@dataclass(frozen=True, slots=True)
class Blockwise(Distribution):
    """Blocks of equal length, each with its own distribution; every element keeps its own word.

    Attributes:
        blocks: the distribution of each block.
        length: the number of elements in a block.
    """

    tag = "stacked"
    etag_name = "Stacked"
    members = (Member("laws", distributions), Member("length", count))

    blocks: tuple[Distribution, ...]
    length: int

    def is_sound(self) -> bool:
        return bool(self.blocks and self.length)

    def covers(self, elements: int) -> bool:
        return len(self.blocks) * self.length == elements and all(block.covers(elements) for block in self.blocks)

    @property
    def parts(self) -> tuple[Distribution, ...]:
        return self.blocks

    @property
    def mean(self) -> float:
        return _mean(self.blocks)

    @property
    def std(self) -> float:
        return _std(self.blocks)

    @property
    def matrix_elements(self) -> int:
        return max(distribution.matrix_elements for distribution in self.blocks)

    @property
    def materialized_elements(self) -> int:
        return sum(distribution.materialized_elements for distribution in set(self.blocks))

    def materialized_bytes(self, elements: range, dtype: DType) -> int:
        return sum(distribution.materialized_bytes(elements, dtype) for distribution in set(self.blocks))

    def support(self, dtype: DType) -> tuple[float, float]:
        least, greatest = zip(*(distribution.support(dtype) for distribution in self.blocks), strict=True)
        return min(least), max(greatest)

    def stored(self, dtype: DType) -> Stored:
        blocks = [distribution.stored(dtype) for distribution in self.blocks]
        return Stored(
            mean=_mean(blocks),
            std=_std(blocks),
            min=min(block.min for block in blocks),
            max=max(block.max for block in blocks),
            nonzero=fsum(block.nonzero for block in blocks) / len(blocks),
            lost=fsum(block.lost for block in blocks) / len(blocks),
        )

    def fits(self, dtype: DType) -> bool:
        return all(distribution.fits(dtype) for distribution in self.blocks)

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        indices = np.asarray(elements, np.int64)
        block = indices // self.length
        for number, distribution in enumerate(self.blocks):
            chosen = np.flatnonzero(block == number)
            values = np.empty(chosen.size, out.dtype)
            distribution.fill(source, indices[chosen], dtype, values)
            out[chosen] = values


@dataclass(frozen=True, slots=True)
class _Pair(Distribution):
    """Two canonical tensors in one.

    Attributes:
        first: the distribution of the first tensor, whose words the source gives.
        second: the distribution of the second tensor.
        suffix: the end of the first tensor's name.
        other_suffix: the end of the second tensor's name in its place.
    """

    members: ClassVar[tuple[Member, ...]] = (
        Member("first", read_distribution),
        Member("second", read_distribution),
        Member("suffix", text),
        Member("other_suffix", text),
    )

    first: Distribution
    second: Distribution
    suffix: str
    other_suffix: str

    @property
    def parts(self) -> tuple[Distribution, ...]:
        return self.first, self.second

    @property
    def matrix_elements(self) -> int:
        return max(self.first.matrix_elements, self.second.matrix_elements)

    @property
    def materialized_elements(self) -> int:
        return self.first.materialized_elements + self.second.materialized_elements

    def materialized_bytes(self, elements: range, dtype: DType) -> int:
        return self.first.materialized_bytes(elements, dtype) + self.second.materialized_bytes(elements, dtype)

    def fits(self, dtype: DType) -> bool:
        return self.first.fits(dtype) and self.second.fits(dtype) and Distribution.fits(self, dtype)

    def _drawn(self, source: WordSource, indices: Indices, dtype: DType, *, other: bool) -> Array:
        """Some elements of one of the two tensors, as they are stored."""
        if other:
            source = WordSource(source.seed, source.name.removesuffix(self.suffix) + self.other_suffix)
        out = np.empty(indices.size, dtype.storage)
        (self.second if other else self.first).fill(source, indices, dtype, out)
        return out

    @abstractmethod
    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        """See Distribution."""


@dataclass(frozen=True, slots=True)
class Sum(_Pair):
    """The sum of two stored tensors, rounded once more."""

    tag = "sum"
    etag_name = "Sum"

    def covers(self, elements: int) -> bool:
        return self.first.covers(elements) and self.second.covers(elements)

    @property
    def mean(self) -> float:
        return self.first.mean + self.second.mean

    @property
    def std(self) -> float:
        return hypotenuse(self.first.std, self.second.std)

    def support(self, dtype: DType) -> tuple[float, float]:
        ends = zip(self.first.support(dtype), self.second.support(dtype), strict=True)
        least, greatest = (one + other for one, other in ends)
        return least, greatest

    def stored(self, dtype: DType) -> Stored:
        one, other = self.first.stored(dtype), self.second.stored(dtype)
        p = dtype.precision
        between = ends(np.array([one.min, one.max], p.floating) + np.array([other.min, other.max], p.floating), dtype)
        mean, std = one.mean + other.mean, hypotenuse(one.std, other.std)
        if between[0] == between[1]:
            return constant(between[0])
        if not is_coarse(mean, std, dtype):
            return Stored(mean, std, *between, 1.0, 0.0)
        (values, shares), (others, other_shares) = (
            _values_and_shares(distribution, dtype) for distribution in (self.first, self.second)
        )
        sums, of_sums = np.add.outer(values, others), np.multiply.outer(shares, other_shares)
        return rounded_again(sums.reshape(-1), of_sums.reshape(-1), (mean, std), dtype, between)

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        indices = np.asarray(elements, np.int64)
        one, other = (widen(self._drawn(source, indices, dtype, other=which), dtype) for which in (False, True))
        narrow(one + other, dtype, out)


@dataclass(frozen=True, slots=True)
class Concatenated(_Pair):
    """Two tensors of the same length, one after the other, each with its blocks in a given order.

    Attributes:
        order: for each position, the number of the canonical block that is there.
        length: the number of elements in a block.
    """

    tag = "joined"
    etag_name = "Joined"
    members: ClassVar = (*_Pair.members, Member("order", counts), Member("length", count))

    order: tuple[int, ...]
    length: int

    def is_sound(self) -> bool:
        return self.length > 0 and len(self.order) > 0 and sorted(self.order) == [*range(len(self.order))]

    def covers(self, elements: int) -> bool:
        half = len(self.order) * self.length
        return 2 * half == elements and self.first.covers(half) and self.second.covers(half)

    @property
    def mean(self) -> float:
        return Blockwise((self.first, self.second), 1).mean

    @property
    def std(self) -> float:
        return Blockwise((self.first, self.second), 1).std

    def support(self, dtype: DType) -> tuple[float, float]:
        return Blockwise((self.first, self.second), 1).support(dtype)

    def stored(self, dtype: DType) -> Stored:
        return Blockwise((self.first, self.second), 1).stored(dtype)

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        which, place = np.divmod(np.asarray(elements, np.int64), len(self.order) * self.length)
        block, within = np.divmod(place, self.length)
        indices = np.asarray(self.order, np.int64)[block] * self.length + within
        for number in (0, 1):
            chosen = np.flatnonzero(which == number)
            out[chosen] = self._drawn(source, indices[chosen], dtype, other=bool(number))


def _mean(blocks: Sequence[Distribution | Stored]) -> float:
    """The mean of blocks of equal length."""
    unit = power_of_two([block.mean for block in blocks])
    return fsum(block.mean / unit for block in blocks) / len(blocks) * unit


def _std(blocks: Sequence[Distribution | Stored]) -> float:
    """The standard deviation of blocks of equal length."""
    unit = power_of_two([block.mean for block in blocks] + [block.std for block in blocks])
    mean = _mean(blocks) / unit
    squares = [square(block.std / unit) + square(block.mean / unit - mean) for block in blocks]
    return sqrt(fsum(squares) / len(blocks)) * unit


def _values_and_shares(distribution: Distribution, dtype: DType) -> tuple[Array, Array]:
    """Stored values of a distribution and the share of each: all but the rarest, or a sample if there are many."""
    values, counts = np.unique(_drawn_evenly(distribution, dtype, EVEN_SHARES), return_counts=True)
    if values.size > MOST_VALUES:
        values, counts = np.unique(_drawn_evenly(distribution, dtype, MOST_VALUES), return_counts=True)
    return values, counts / counts.sum()


def _drawn_evenly(distribution: Distribution, dtype: DType, count: int) -> Array:
    out = np.empty(count, dtype.storage)
    distribution.fill(EvenWords(0, ""), range(count), dtype, out)
    return widen(out, dtype).astype(np.float64)


def blockwise(blocks: Sequence[Distribution], length: int) -> Distribution:
    """Combine consecutive blocks; where all are the same, the result is their common distribution."""
    return blocks[0] if all(block == blocks[0] for block in blocks) else Blockwise(tuple(blocks), length)


def summed(first: Distribution, second: Distribution, suffixes: tuple[str, str]) -> Distribution:
    """Sum two tensors block by block, and simplify where the second is zero or both are constant."""
    if second == Constant(0.0):
        return first
    if isinstance(first, Constant) and isinstance(second, Constant):
        return Constant(first.value + second.value)
    for stack in (first, second):
        if isinstance(stack, Blockwise):
            blocks = zip(_blocks(first, len(stack.blocks)), _blocks(second, len(stack.blocks)), strict=True)
            return blockwise([summed(*both, suffixes) for both in blocks], stack.length)
    return Sum(first, second, *suffixes)


def _blocks(distribution: Distribution, count: int) -> tuple[Distribution, ...]:
    return distribution.blocks if isinstance(distribution, Blockwise) else (distribution,) * count


def concatenated(
    first: Distribution, second: Distribution, suffixes: tuple[str, str], order: Sequence[int], length: int
) -> Distribution:
    """Concatenate two tensors, each with its blocks in `order`, and simplify where both are the same constant."""
    if first == second and isinstance(first, Constant):
        return first
    return Concatenated(first, second, *suffixes, tuple(order), length)


def renamed(distribution: Distribution, suffixes: tuple[str, str]) -> Distribution:
    """The same distribution for a pair of tensors with other names."""
    match distribution:
        case Sum() | Concatenated():
            return replace(distribution, suffix=suffixes[0], other_suffix=suffixes[1])
        case Blockwise(blocks=blocks):
            return blockwise([renamed(block, suffixes) for block in blocks], distribution.length)
        case _:
            return distribution
