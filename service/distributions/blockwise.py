"""Combined laws: the biases of gates one after the other, and two biases of PyTorch where Keras has one tensor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum, sqrt
from typing import Final

import numpy as np

from service.distributions.elementwise import Array, BaseLaw, Constant, Distribution
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
"""Into how many shares of words a law is cut, of which one value each stands for all."""
MOST_VALUES: Final = 1 << 8
"""Values of each of two laws, at most, of which every pair is added."""


@dataclass(frozen=True, slots=True)
class Stacked(BaseLaw):
    """Blocks of equal length, each of its own law; an element keeps its word.

    Attributes:
        laws: one a block.
        length: elements of a block.
    """

    laws: tuple[Distribution, ...]
    length: int

    @property
    def mean(self) -> float:
        return _mean(self.laws)

    @property
    def std(self) -> float:
        return _std(self.laws)

    @property
    def held(self) -> int:
        return max(law.held for law in self.laws)

    @property
    def whole_elements(self) -> int:
        return sum(law.whole_elements for law in set(self.laws))

    def whole_bytes(self, elements: range, dtype: DType) -> int:
        return sum(law.whole_bytes(elements, dtype) for law in set(self.laws))

    def reach(self, dtype: DType) -> tuple[float, float]:
        least, greatest = zip(*(law.reach(dtype) for law in self.laws), strict=True)
        return min(least), max(greatest)

    def stored(self, dtype: DType) -> Stored:
        blocks = [law.stored(dtype) for law in self.laws]
        return Stored(
            mean=_mean(blocks),
            std=_std(blocks),
            min=min(block.min for block in blocks),
            max=max(block.max for block in blocks),
            nonzero=fsum(block.nonzero for block in blocks) / len(blocks),
            lost=fsum(block.lost for block in blocks) / len(blocks),
        )

    def fits(self, dtype: DType) -> bool:
        return all(law.fits(dtype) for law in self.laws)

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        indices = np.asarray(elements, np.int64)
        block = indices // self.length
        for number, law in enumerate(self.laws):
            chosen = np.flatnonzero(block == number)
            values = np.empty(chosen.size, out.dtype)
            law.fill(source, indices[chosen], dtype, values)
            out[chosen] = values


@dataclass(frozen=True, slots=True)
class _Pair(BaseLaw):
    """Two tensors of the canonical naming in one.

    Attributes:
        first: the law of the tensor that the words are asked of.
        second: that of the other.
        suffix: how the name of the first ends.
        other_suffix: how the name of the other ends instead.
    """

    first: Distribution
    second: Distribution
    suffix: str
    other_suffix: str

    @property
    def held(self) -> int:
        return max(self.first.held, self.second.held)

    @property
    def whole_elements(self) -> int:
        return self.first.whole_elements + self.second.whole_elements

    def whole_bytes(self, elements: range, dtype: DType) -> int:
        return self.first.whole_bytes(elements, dtype) + self.second.whole_bytes(elements, dtype)

    def fits(self, dtype: DType) -> bool:
        return self.first.fits(dtype) and self.second.fits(dtype) and BaseLaw.fits(self, dtype)

    def _drawn(self, source: WordSource, indices: Indices, dtype: DType, *, other: bool) -> Array:
        """Some elements of one of the two, as they are stored."""
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
    """The sum of two tensors as they are stored, rounded once more."""

    @property
    def mean(self) -> float:
        return self.first.mean + self.second.mean

    @property
    def std(self) -> float:
        return hypotenuse(self.first.std, self.second.std)

    def reach(self, dtype: DType) -> tuple[float, float]:
        ends = zip(self.first.reach(dtype), self.second.reach(dtype), strict=True)
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
        (values, shares), (others, other_shares) = (_values_and_shares(law, dtype) for law in (self.first, self.second))
        sums, of_sums = np.add.outer(values, others), np.multiply.outer(shares, other_shares)
        return rounded_again(sums.reshape(-1), of_sums.reshape(-1), (mean, std), dtype, between)

    def fill(self, source: WordSource, elements: Elements, dtype: DType, out: Array) -> None:
        indices = np.asarray(elements, np.int64)
        one, other = (widen(self._drawn(source, indices, dtype, other=which), dtype) for which in (False, True))
        narrow(one + other, dtype, out)


@dataclass(frozen=True, slots=True)
class Joined(_Pair):
    """Two tensors of the same length, one after the other; the blocks of each may be in another order.

    Attributes:
        order: for each block the one that stands there.
        length: elements of a block.
    """

    order: tuple[int, ...]
    length: int

    @property
    def mean(self) -> float:
        return Stacked((self.first, self.second), 1).mean

    @property
    def std(self) -> float:
        return Stacked((self.first, self.second), 1).std

    def reach(self, dtype: DType) -> tuple[float, float]:
        return Stacked((self.first, self.second), 1).reach(dtype)

    def stored(self, dtype: DType) -> Stored:
        return Stacked((self.first, self.second), 1).stored(dtype)

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


def _values_and_shares(law: Distribution, dtype: DType) -> tuple[Array, Array]:
    """Stored values of a law and the share of each: all but the rarest, or some of very many."""
    values, counts = np.unique(_drawn_evenly(law, dtype, EVEN_SHARES), return_counts=True)
    if values.size > MOST_VALUES:
        values, counts = np.unique(_drawn_evenly(law, dtype, MOST_VALUES), return_counts=True)
    return values, counts / counts.sum()


def _drawn_evenly(law: Distribution, dtype: DType, count: int) -> Array:
    out = np.empty(count, dtype.storage)
    law.fill(EvenWords(0, ""), range(count), dtype, out)
    return widen(out, dtype).astype(np.float64)


def stacked(laws: Sequence[Distribution], length: int) -> Distribution:
    """Blocks one after the other; a plain law where all are the same."""
    return laws[0] if all(law == laws[0] for law in laws) else Stacked(tuple(laws), length)


def summed(first: Distribution, second: Distribution, suffixes: tuple[str, str]) -> Distribution:
    """The sum of two tensors, block by block; a plain law where the second adds nothing, or both are constants."""
    if second == Constant(0.0):
        return first
    if isinstance(first, Constant) and isinstance(second, Constant):
        return Constant(first.value + second.value)
    for stack in (first, second):
        if isinstance(stack, Stacked):
            blocks = zip(_blocks(first, len(stack.laws)), _blocks(second, len(stack.laws)), strict=True)
            return stacked([summed(*both, suffixes) for both in blocks], stack.length)
    return Sum(first, second, *suffixes)


def _blocks(law: Distribution, count: int) -> tuple[Distribution, ...]:
    return law.laws if isinstance(law, Stacked) else (law,) * count


def joined(
    first: Distribution, second: Distribution, suffixes: tuple[str, str], order: Sequence[int], length: int
) -> Distribution:
    """Two tensors one after the other, the blocks of each in an order; a plain law where both are one constant."""
    if first == second and isinstance(first, Constant):
        return first
    return Joined(first, second, *suffixes, tuple(order), length)


def renamed(law: Distribution, suffixes: tuple[str, str]) -> Distribution:
    """The same law for two tensors of other names."""
    match law:
        case Sum() | Joined():
            return replace(law, suffix=suffixes[0], other_suffix=suffixes[1])
        case Stacked(laws=laws):
            return stacked([renamed(each, suffixes) for each in laws], law.length)
        case _:
            return law
