"""Working memory: reused within a thread, never shared between threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Barrier

import numpy as np
import pytest

from service.distributions.base import Distribution
from service.distributions.elementwise import Normal, TruncatedNormal, Uniform
from service.distributions.truncated import CutNormal
from service.stream.dtypes import DType
from service.stream.scratch import scratch
from service.stream.words import Elements, WordSource
from tests.stream.drawing import Array

DISTRIBUTIONS: tuple[Distribution, ...] = (
    Uniform(-0.5, 0.25),
    Normal(0.0, 0.02),
    TruncatedNormal(1.0, 0.5),
    CutNormal(0.0, 1.0, -1.0, 3.0),
)
CHUNK = 3001
CHUNKS = 5
Task = tuple[Distribution, DType, str, Elements]


def tasks() -> list[Task]:
    """Chunks of many tensors, interleaved, by ranges and by backward indices."""
    starts = [number * CHUNK for number in range(CHUNKS)]
    return [
        (distribution, dtype, f"{number % 2}.weight", elements)
        for start in starts
        for number, distribution in enumerate(DISTRIBUTIONS)
        for dtype in DType
        for elements in (range(start, start + CHUNK), np.arange(start, start + CHUNK, dtype=np.int64)[::-1])
    ]


def draw(task: Task) -> Array:
    distribution, dtype, name, elements = task
    out = np.empty(len(elements), dtype.storage)
    distribution.fill(WordSource(1, name), elements, dtype, out)
    return out


def digest(parts: list[Array]) -> str:
    return sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_interleaved_work_on_any_number_of_threads_gives_the_same_bytes(threads: int) -> None:
    alone = digest([draw(task) for task in tasks()])

    with ThreadPoolExecutor(threads) as pool:
        assert digest(list(pool.map(draw, tasks()))) == alone


def test_threads_that_draw_at_the_same_moment_do_not_meet() -> None:
    together = Barrier(4)

    def draw_together(task: Task) -> Array:
        together.wait(30)
        return draw(task)

    some = tasks()[:32]
    with ThreadPoolExecutor(4) as pool:
        assert digest(list(pool.map(draw_together, some))) == digest([draw(task) for task in some])


def test_the_same_use_gets_the_same_memory_again_and_another_use_another() -> None:
    first = scratch("test", np.float32, 100)

    assert np.shares_memory(first, scratch("test", np.float32, 50))
    assert not np.shares_memory(first, scratch("test 2", np.float32, 100))
    assert not np.shares_memory(first, scratch("test", np.float64, 100))


def test_memory_grows_with_what_is_asked_for() -> None:
    scratch("grow", np.uint8, 10)

    assert scratch("grow", np.uint8, 1000).shape == (1000,)
    assert scratch("grow", np.uint8, 0).shape == (0,)


def test_another_thread_has_memory_of_its_own() -> None:
    here = scratch("thread", np.float32, 10)
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(scratch, "thread", np.float32, 10).result()

    assert not np.shares_memory(here, there)
