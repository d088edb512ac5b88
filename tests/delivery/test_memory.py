"""The allocator keeps what was freed, where it is glibc's."""

from __future__ import annotations

import platform
import resource

import numpy as np
import pytest

from service.delivery.memory import KEPT_BYTES, LARGEST_FROM_HEAP, keep_freed_memory

CHUNK = 2 << 20


def _faults_of_fresh_chunks(times: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.empty(CHUNK, np.uint8)[::4096] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator, which is left alone")
def test_freed_chunks_are_used_again_without_new_pages() -> None:
    assert keep_freed_memory()
    _faults_of_fresh_chunks(1)

    pages_in_a_chunk = CHUNK // 4096
    assert _faults_of_fresh_chunks(20) < pages_in_a_chunk


def test_a_chunk_comes_from_the_heap() -> None:
    assert CHUNK < LARGEST_FROM_HEAP < KEPT_BYTES
