"""The C allocator: the memory of a chunk that was sent is kept for the next one.

By default, glibc returns freed chunks to the kernel, and getting fresh pages costs more than filling them.
See mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD.
"""

from __future__ import annotations

import ctypes
from typing import Final

KEPT_BYTES: Final = 512 << 20
"""Free bytes at the end of the heap that are not returned to the kernel; never more than were in use at once."""
LARGEST_FROM_HEAP: Final = 32 << 20
"""The largest allocation that comes from the heap, in bytes; glibc's own upper bound for this threshold."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """Configure the allocator of this process; returns whether it is glibc's, which supports this."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(_M_MMAP_THRESHOLD, LARGEST_FROM_HEAP))
