"""Working memory: arrays that a thread keeps and reuses, so that drawing allocates no memory."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


class _Arrays(threading.local):
    def __init__(self) -> None:
        self.kept: dict[tuple[str, type[np.generic]], NDArray[Any]] = {}


_thread = _Arrays()


def scratch(use: str, scalar: type[Scalar], size: int) -> NDArray[Scalar]:
    """An uninitialised array that belongs to this thread; the next call for the same use returns the same memory.

    Args:
        use: names the memory; two arrays that are needed at the same time need two names.
        scalar: the element type.
        size: the number of elements.

    Returns:
        An array of shape (size,).
    """
    array = _thread.kept.get((use, scalar))
    if array is None or array.size < size:
        array = _thread.kept[use, scalar] = np.empty(size, scalar)
    return array[:size]
