"""Engines: what turns random words into the values of the stream, behind one small interface.

NumPy is the reference, and draws everything everywhere. Another engine says which kinds it draws; it must give the same
bits, which `service.stream.known_answers` checks, and what it lacks is drawn by NumPy.
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
"""What defines a distribution of some kind, in binary64: the arguments of its quantile function after the words."""


class Engine(Protocol):
    """Draws elements of tensors, each from its own random word."""

    @property
    def kinds(self) -> Collection[Kind]:
        """The kinds of distributions that it draws."""

    def fill(  # noqa: PLR0913, PLR0917 - all that an element depends on
        self, kind: Kind, scalars: Scalars, source: WordSource, elements: Elements, dtype: DType, out: Array
    ) -> None:
        """Draw some elements of a tensor.

        Args:
            kind: of the distribution; one of `kinds`.
            scalars: of the distribution.
            source: the tensor's random words.
            elements: which elements, by canonical index: a range of step 1, or int64 indices of shape (n,).
            dtype: what the values are rounded to.
            out: where they go, shape (n,), of `dtype.storage`.
        """


class NumPyEngine:
    """The reference: every step is one correctly rounded operation, which is one call of NumPy."""

    @property
    def kinds(self) -> Collection[Kind]:
        """All that there are."""
        return _QUANTILES

    def fill(  # noqa: PLR0913, PLR0917 - see Engine
        self, kind: Kind, scalars: Scalars, source: WordSource, elements: Elements, dtype: DType, out: Array
    ) -> None:
        """See Engine."""
        for first in range(0, len(elements), MOST_WORDS):
            block = slice(first, first + MOST_WORDS)
            _fill_block(kind, scalars, source, elements[block], dtype, out[block])


def quantile(kind: Kind, scalars: Scalars, words: Words, p: Precision, out: Array) -> Array:
    """The values of some words, which may be overwritten, in a working precision.

    Args:
        kind: of the distribution.
        scalars: of the distribution.
        words: of `p`, shape (n,).
        p: the working precision.
        out: where the values go, shape (n,), of the working precision.
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
    """Of the scalars after these two, the ends and probabilities of a cut; then, as always, precision and memory."""
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
"""The engines besides NumPy that this installation has; of those that draw a kind right, the last is used."""
_chosen: dict[Kind, Engine] = {}


def use(engine: Engine, kinds: Iterable[Kind]) -> None:
    """Draw some kinds by an engine from now on."""
    _chosen.update(dict.fromkeys(kinds, engine))


def engine_of(kind: Kind) -> Engine:
    """What draws a kind of distributions in this process."""
    return _chosen.get(kind, NUMPY)
