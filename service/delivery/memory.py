"""The C allocator: memory of a chunk that was sent is kept for the next one.

By default glibc gives freed chunks back to the kernel, and getting fresh pages costs more than filling them.
See mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD.
"""

from __future__ import annotations

import ctypes
from typing import Final

KEPT_BYTES: Final = 512 << 20
"""Free memory at the end of the heap up to which none is given back; never more than was in use at once."""
LARGEST_FROM_HEAP: Final = 32 << 20
"""The largest allocation that comes from the heap; glibc's own upper bound for this threshold."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """Tell the allocator of this process; whether it is glibc's, which understands."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(_M_MMAP_THRESHOLD, LARGEST_FROM_HEAP))
