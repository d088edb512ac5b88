"""Engines: they turn random words into the values of the stream, behind one small interface.

NumPy is the reference: it draws every kind of distribution on every machine. Another engine declares the kinds that it
draws. It must give the same bits, which `service.distributions.known_answers` checks; NumPy draws the other kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Literal, Protocol

from numpy.typing import NDArray

from service.stream import quantiles
from service.stream.dtypes import DType, narrow
from service.stream.precision import Precision
from service.stream.scratch import scratch
from service.stream.truncation import Cut, cut_normal
from service.stream.words import MOST_WORDS, Elements, Words, WordSource

Array = NDArray[Any]
Kind = Literal["uniform", "normal", "truncated_normal", "cut_normal"]
Scalars = tuple[float, ...]
"""The parameters of a distribution in binary64: the arguments of its quantile function that follow the words."""


class Engine(Protocol):
    """Draws the elements of tensors, each from its own random word."""

    @property
    def kinds(self) -> Collection[Kind]:
        """The kinds of distributions that this engine draws."""

    def fill(  # noqa: PLR0913, PLR0917 - everything that an element depends on
        self, kind: Kind, scalars: Scalars, source: WordSource, elements: Elements, dtype: DType, out: Array
    ) -> None:
        """Draw some elements of a tensor.

        Args:
            kind: the kind of the distribution, one of `kinds`.
            scalars: the parameters of the distribution.
            source: the tensor's random words.
            elements: the canonical indices: a range of step 1, or int64 indices of shape (n,).
            dtype: the dtype to which the values are rounded.
            out: receives the values, shape (n,), of `dtype.storage`.
        """


class NumPyEngine:
    """The reference engine: every step is one correctly rounded operation and one NumPy call."""

    @property
    def kinds(self) -> Collection[Kind]:
        """All kinds."""
        return _QUANTILES

    def fill(  # noqa: PLR0913, PLR0917 - see Engine
        self, kind: Kind, scalars: Scalars, source: WordSource, elements: Elements, dtype: DType, out: Array
    ) -> None:
        """See Engine."""
        for first in range(0, len(elements), MOST_WORDS):
            block = slice(first, first + MOST_WORDS)
            _fill_block(kind, scalars, source, elements[block], dtype, out[block])


def quantile(kind: Kind, scalars: Scalars, words: Words, p: Precision, out: Array) -> Array:
    """Map random words to values in a working precision.

    Args:
        kind: the kind of the distribution.
        scalars: the parameters of the distribution.
        words: words of `p`, shape (n,); may be overwritten.
        p: the working precision.
        out: receives the values, shape (n,), of the working precision.
    """
    return _QUANTILES[kind](words, *scalars, p, out)


def _fill_block(  # noqa: PLR0913, PLR0917 - see Engine
    kind: Kind, scalars: Scalars, source: WordSource, elements: Elements, dtype: DType, out: Array
) -> None:
    p = dtype.precision
    words = source.words(elements, p.bits)
    if dtype.drawn_directly:
        quantile(kind, scalars, words, p, out)
    else:
        narrow(quantile(kind, scalars, words, p, scratch("values", p.floating, out.size)), dtype, out)


def _cut_normal(words: Words, location: float, std: float, *ends: Any) -> Array:
    """`ends` holds the fields of the cut, and then, as for every kind, the precision and the output array."""
    *cut, _, out = ends
    return cut_normal(words, Cut(*cut), location, std, out)


_QUANTILES: Final[dict[Kind, Callable[..., Array]]] = {
    "uniform": quantiles.uniform,
    "normal": quantiles.normal,
    "truncated_normal": quantiles.truncated_normal,
    "cut_normal": _cut_normal,
}
NUMPY: Final = NumPyEngine()
ENGINES: Final[tuple[Engine, ...]] = ()
"""The engines besides NumPy in this installation; where several draw a kind correctly, the last one is used."""
_chosen: dict[Kind, Engine] = {}


def use(engine: Engine, kinds: Iterable[Kind]) -> None:
    """Draw the given kinds with an engine from now on."""
    _chosen.update(dict.fromkeys(kinds, engine))


def engine_of(kind: Kind) -> Engine:
    """The engine that draws a kind of distribution in this process."""
    return _chosen.get(kind, NUMPY)
