"""Tensors that are drawn whole: once for all who ask, kept while there is room, and refused where too large."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock, Thread
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from service.distributions import orthogonal, structured
from service.distributions.base import Distribution
from service.distributions.blockwise import Blockwise, Concatenated, Sum
from service.distributions.cache import CACHE_BYTES, ENTRY_BYTES, Abandoned, Cache, check_wanted, drawing_while
from service.distributions.elementwise import Constant, Normal, Uniform
from service.distributions.numerics.factorisation import TOGETHER, orthogonal_factor
from service.distributions.orthogonal import Orthogonal
from service.distributions.structured import Identity, Sparse
from service.distributions.truncated import CutNormal
from service.limits import Limits
from service.plan import TensorPlan
from service.stream.dtypes import DType
from service.stream.words import WordSource
from tests.api.servers import wait_for
from tests.distributions.caches import use_cache
from tests.plan.planned import Layer, planned, stored, tensor

Array = NDArray[Any]
INITIALIZERS: Final = ("orthogonal", {"type": "sparse", "sparsity": 0.3})
each_initializer = pytest.mark.parametrize("initializer", INITIALIZERS, ids=str)


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.calls = 0
        self._function = function
        self._lock = Lock()

    def __call__(self, *arguments: Any) -> Any:
        with self._lock:
            self.calls += 1
        return self._function(*arguments)


@pytest.fixture(name="kept")
def _kept(monkeypatch: pytest.MonkeyPatch) -> Cache:
    """Nothing is kept from before."""
    fresh = Cache()
    use_cache(monkeypatch, fresh)
    return fresh


@pytest.fixture(name="factored")
def _factored(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted(orthogonal_factor)
    monkeypatch.setattr(orthogonal, "orthogonal_factor", counted)
    return counted


@pytest.fixture(name="often_switched")
def _often_switched() -> Iterator[None]:
    """Threads take turns a thousand times as often."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 1000)
    yield
    sys.setswitchinterval(usual)


def plan_of(initializer: Any, shape: tuple[int, ...] = (40, 50)) -> TensorPlan:
    [plan] = planned(tensor("w", shape, initializer)).tensors
    return plan


def drawn_by_threads(plan: TensorPlan, threads: int, chunk: int) -> bytes:
    """A tensor drawn in chunks, all threads beginning at once."""
    start = Barrier(threads)

    def draw(thread: int) -> dict[int, bytes]:
        start.wait(10)
        mine = range(thread * chunk, plan.elements, threads * chunk)
        return {first: stored(plan, first, min(chunk, plan.elements - first)).tobytes() for first in mine}

    with ThreadPoolExecutor(threads) as pool:
        parts: dict[int, bytes] = {}
        for found in pool.map(draw, range(threads)):
            parts |= found
    return b"".join(parts[first] for first in sorted(parts))


@pytest.mark.usefixtures("often_switched")
@each_initializer
@pytest.mark.parametrize("threads", [2, 8])
def test_chunks_of_several_threads_are_the_whole(
    monkeypatch: pytest.MonkeyPatch, initializer: Any, threads: int
) -> None:
    plan = plan_of(initializer)
    use_cache(monkeypatch)
    whole = stored(plan).tobytes()
    use_cache(monkeypatch)

    assert drawn_by_threads(plan, threads, 97) == whole


@pytest.mark.usefixtures("kept", "often_switched")
def test_a_matrix_is_factored_once_for_all_threads(factored: Counted) -> None:
    plan = plan_of("orthogonal")

    for _ in range(3):
        drawn_by_threads(plan, 8, 61)

    assert factored.calls == 1


@pytest.mark.usefixtures("kept")
def test_the_masks_of_a_sparse_tensor_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(Sparse._limits)

    def limits(distribution: Sparse, source: WordSource) -> Any:  # a function, so that it becomes a method
        return counted(distribution, source)

    monkeypatch.setattr(Sparse, "_limits", limits)

    drawn_by_threads(plan_of(INITIALIZERS[1]), 4, 61)

    assert counted.calls == 1


@pytest.mark.usefixtures("kept")
def test_a_matrix_is_factored_once_for_the_dtypes_of_one_precision_and_for_both_frameworks(factored: Counted) -> None:
    layer: Layer = {"type": "linear", "name": "l", "in_features": 9, "out_features": 7, "initializer": "orthogonal"}

    for framework in ("torch", "keras"):
        for dtype in (DType.F32, DType.F16, DType.BF16, DType.F8_E4M3):
            stored(planned(layer, framework=framework, dtype=dtype).tensors[0])

    assert factored.calls == 1


@pytest.mark.usefixtures("kept")
def test_what_the_values_depend_on_tells_kept_matrices_apart(factored: Counted) -> None:
    variants: list[tuple[Any, dict[str, Any]]] = [
        ("orthogonal", {}),
        ("orthogonal", {"seed": 2}),
        ({"type": "orthogonal", "gain": 2}, {}),
        ({"type": "orthogonal", "multiplier": 3}, {}),
        ("orthogonal", {"dtype": "F64"}),
    ]
    subjects = [tensor("w", (8, 6)), tensor("v", (8, 6)), tensor("w", (6, 8)), tensor("w", (6, 8), layout="in_out")]

    for subject in subjects:
        for initializer, more in variants:
            stored(planned(subject | {"initializer": initializer}, **more).tensors[0])

    assert factored.calls == len(subjects) * len(variants)


def test_tensors_larger_than_what_is_kept_are_right_too(monkeypatch: pytest.MonkeyPatch, factored: Counted) -> None:
    plans = [planned(tensor(f"w{number}", (30, 40), "orthogonal")).tensors[0] for number in range(4)]
    alone = [stored(plan).tobytes() for plan in plans]
    use_cache(monkeypatch, Cache(most_bytes=2 * (30 * 40 * 4 + ENTRY_BYTES)))
    factored.calls = 0

    for _ in range(2):
        assert [drawn_by_threads(plan, 4, 113) for plan in plans] == alone

    assert factored.calls == 8  # in turn, each has gone when it is asked for again
    use_cache(monkeypatch, Cache(most_bytes=0))
    assert [drawn_by_threads(plan, 4, 113) for plan in plans] == alone


# What keeps them.


ONE: Final = 10 + ENTRY_BYTES
"""What ten bytes take."""


def ones(size: int = 10) -> Callable[[], Array]:
    return lambda: np.ones(size, np.uint8)


def never() -> Array:
    pytest.fail("an array that is kept was drawn again")


def test_what_is_kept_is_the_same_array_and_read_only() -> None:
    kept = Cache()

    first = kept.get("a", ones())

    assert kept.get("a", never) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 5


@pytest.mark.usefixtures("kept")
@each_initializer
def test_drawing_gives_arrays_of_the_callers_own(initializer: Any) -> None:
    plan = plan_of(initializer)

    one = stored(plan)
    before = one.tobytes()
    one[:] = 0

    assert stored(plan).tobytes() == before


def test_the_least_recently_used_goes_first() -> None:
    kept = Cache(most_bytes=3 * ONE)
    for key in "abc":
        kept.get(key, ones())
    kept.get("a", never)

    kept.get("d", ones())

    for key in "acd":
        kept.get(key, never)
    redrawn = Counted(ones())
    kept.get("b", redrawn)
    assert redrawn.calls == 1


def test_as_many_go_as_there_must_be_room_for() -> None:
    kept = Cache(most_bytes=3 * ONE)
    for key in "abc":
        kept.get(key, ones())

    kept.get("large", ones(25 + ENTRY_BYTES))

    kept.get("large", never)
    redrawn = Counted(ones(0))
    for key in "abc":
        kept.get(key, redrawn)
    assert redrawn.calls == 3


def test_an_array_larger_than_the_limit_is_kept_until_the_next() -> None:
    kept = Cache(most_bytes=5)
    kept.get("large", ones(100))
    kept.get("large", never)

    kept.get("other", ones(1))

    redrawn = Counted(ones(100))
    kept.get("large", redrawn)
    assert redrawn.calls == 1


def test_the_array_drawn_last_is_kept_although_others_were_used_meanwhile() -> None:
    kept = Cache(most_bytes=ONE)
    kept.get("old", ones())

    def slow() -> Array:
        kept.get("old", never)
        return np.ones(10, np.uint8)

    kept.get("new", slow)

    kept.get("new", never)


def test_what_somebody_holds_is_found_although_its_time_is_over_and_goes_with_them() -> None:
    kept = Cache(most_bytes=ONE)
    held = kept.get("held", ones())
    kept.get("next", ones())
    kept.get("last", ones())

    assert kept.find("next") is None
    assert kept.get("held", never) is held

    del held
    assert kept.find("held") is None


def test_small_arrays_count_for_what_they_take_besides_their_elements() -> None:
    kept = Cache(most_bytes=100 * ENTRY_BYTES)

    for key in range(1000):
        kept.get(key, ones(0))

    assert sum(kept.find(key) is not None for key in range(1000)) == 100


def test_by_default_so_much_is_kept_as_the_largest_matrix_takes_in_f64() -> None:
    assert 8 * Limits().whole_elements + ENTRY_BYTES <= CACHE_BYTES


def test_one_array_is_drawn_while_another_is_still_being_drawn() -> None:
    kept, begun, finished = Cache(), Event(), Event()

    def slow() -> Array:
        begun.set()
        assert finished.wait(10)
        return np.zeros(3)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(kept.get, "slow", slow)
        assert begun.wait(10)
        assert kept.get("quick", ones()).size == 10
        assert not first.done()
        finished.set()
        assert first.result(10).size == 3


class Failed(Exception):
    """What a draw may raise."""


@pytest.mark.parametrize("error", [Failed, MemoryError, KeyboardInterrupt])
def test_what_a_draw_raises_reaches_all_who_wait_and_is_not_kept(error: type[BaseException]) -> None:
    kept, begun, proceed, raised = Cache(), Event(), Event(), []

    def fail() -> Array:
        begun.set()
        assert proceed.wait(10)
        raise error("in drawing")

    def ask(draw: Callable[[], Array]) -> None:
        try:
            kept.get("a", draw)
        except BaseException as caught:  # noqa: BLE001 - what is raised is looked at
            raised.append(caught)

    threads = [Thread(target=ask, args=(fail,))]
    threads[0].start()
    assert begun.wait(10)
    threads += [Thread(target=ask, args=(never,)) for _ in range(4)]
    for thread in threads[1:]:
        thread.start()
    wait_for(lambda: len(kept._promises["a"]._condition._waiters) == 4)  # type: ignore[attr-defined]  # a Future's own
    proceed.set()
    for thread in threads:
        thread.join(10)

    assert [type(each) for each in raised] == [error] * 5
    assert kept.get("a", ones()).size == 10


def test_a_failure_in_factoring_is_a_failure_of_the_draw_and_the_next_draw_works(
    kept: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("orthogonal")

    def fail(_: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(orthogonal, "orthogonal_factor", fail)
    with pytest.raises(MemoryError, match="no room"):
        stored(plan)
    assert not kept._promises

    monkeypatch.setattr(orthogonal, "orthogonal_factor", orthogonal_factor)
    assert stored(plan).any()


# Whether anybody waits for it.


class Patience:
    """Whether something is wanted: so many times, and then no more."""

    def __init__(self, most: int) -> None:
        self.asked = 0
        self._most = most

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked <= self._most


def checks(plan: TensorPlan, most: int = 1 << 30) -> int:
    """How often the drawing of a tensor looks whether it is wanted."""
    patience = Patience(most)
    with drawing_while(patience):
        for whole in plan.materializations(range(plan.elements)):
            whole.draw()
    return patience.asked


@pytest.mark.parametrize("shape", [(300, 300), (1000, 40), (40, 1000)], ids=str)
def test_an_orthogonal_tensor_is_given_up_wherever_it_is(shape: tuple[int, ...]) -> None:
    plan = plan_of("orthogonal", shape)
    total = checks(plan)

    assert total > min(shape)  # at every column at the least
    for most in (1, 2, total // 3, total // 2, total - 1):
        with pytest.raises(Abandoned):
            checks(plan, most)


def test_a_sparse_tensor_is_given_up_between_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structured, "COLUMNS_AT_ONCE", 400)
    plan = plan_of(INITIALIZERS[1])

    assert checks(plan) == 1 + 5
    with pytest.raises(Abandoned):
        checks(plan, 3)


def test_what_nobody_wants_is_not_even_begun() -> None:
    with pytest.raises(Abandoned), drawing_while(lambda: False):
        never()


def test_outside_of_such_a_context_everything_is_wanted() -> None:
    with pytest.raises(Abandoned), drawing_while(Patience(1)):
        check_wanted()

    check_wanted()


def test_who_still_waits_for_what_was_given_up_draws_it_afresh() -> None:
    kept, begun, proceed = Cache(), Event(), Event()

    def give_up() -> Array:
        begun.set()
        assert proceed.wait(10)
        raise Abandoned

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.get, "a", give_up)
        assert begun.wait(10)
        second = pool.submit(kept.get, "a", ones())
        wait_for(lambda: kept._promises["a"]._condition._waiters)  # type: ignore[attr-defined]  # a Future's own
        proceed.set()

        assert second.result(10).size == 10
        assert isinstance(first.exception(10), Abandoned)


# Which part of a stack of matrices.


def stack_of(*shape: int, **fields: Any) -> TensorPlan:
    axes = {"batch_axes": [0], "out_axes": [1], "in_axes": [2]} | fields
    [plan] = planned(tensor("w", shape, "orthogonal", **axes)).tensors
    return plan


@pytest.mark.usefixtures("kept")
def test_a_part_of_a_stack_needs_only_its_own_matrices(monkeypatch: pytest.MonkeyPatch, factored: Counted) -> None:
    monkeypatch.setattr(orthogonal, "TOGETHER", 1)
    plan = stack_of(5, 6, 4)

    whole = stored(plan)
    factored.calls = 0
    use_cache(monkeypatch)
    part = stored(plan, 2 * 24 + 23, 2)

    assert factored.calls == 2
    assert part.tobytes() == whole[2 * 24 + 23 :][:2].tobytes()
    assert [
        len(plan.materializations(elements)) for elements in (range(24), range(23, 25), range(120), range(7, 7))
    ] == [1, 2, 5, 0]


@pytest.mark.usefixtures("kept")
def test_what_another_has_drawn_is_found_without_drawing(factored: Counted) -> None:
    plan = plan_of("orthogonal")
    [mine], [of_another] = (plan.materializations(range(1)) for _ in range(2))
    assert not mine.find()

    of_another.get()

    assert mine.find()
    assert mine.get() is of_another.get()
    assert factored.calls == 1


def test_small_matrices_are_drawn_and_kept_some_at_once() -> None:
    plan = stack_of(100_000, 5, 4)

    [first, *_, last] = plan.materializations(range(plan.elements))

    assert first.elements == TOGETHER // 20 * 20
    assert sum(whole.elements for whole in plan.materializations(range(plan.elements))) == plan.elements
    assert 0 < last.elements < first.elements


def test_matrices_that_lie_across_each_other_are_all_needed_everywhere() -> None:
    plan = stack_of(6, 5, 4, batch_axes=[1], out_axes=[0])

    [whole] = plan.materializations(range(1))

    assert whole.elements == 120


@pytest.mark.parametrize("fields", [{}, {"batch_axes": [1], "out_axes": [0]}], ids=["one by one", "across"])
def test_a_stack_takes_the_memory_of_one_matrix_beside_what_is_kept(fields: dict[str, Any]) -> None:
    size, count = 400, 4
    shape = (size, count, size) if fields else (count, size, size)
    [*_, whole] = stack_of(*shape, **fields).materializations(range(1))
    [alone] = stack_of(1, size, size).materializations(range(1))
    for each in (whole, alone):
        each.draw()  # makes the scratch arrays of this thread

    def peak(draw: Callable[[], Array]) -> int:
        tracemalloc.start()
        kept = draw().nbytes
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - kept

    assert peak(whole.draw) < peak(alone.draw) + 2 * 8 * size * size


# How large they may be.

NORMAL: Final = Normal(0.0, 1.0)
HELD: Final[list[tuple[Distribution, int, int]]] = [
    (Uniform(-1.0, 1.0), 0, 0),
    (NORMAL, 0, 0),
    (CutNormal(0.0, 1.0, -1.0, 3.0), 0, 0),
    (Constant(1.0), 0, 0),
    (Identity(1.0, (3, 4), (0, 1)), 0, 0),
    (Orthogonal(1.0, (3, 4, 5), (0,), (1,)), 20, 60),
    (Orthogonal(1.0, (3, 4, 5), (1,), (0,)), 15, 60),
    (Orthogonal(1.0, (3, 4, 5), (), (0,)), 60, 60),
    (Orthogonal(1.0, (3, 4, 5), (), (0,), ((2, 2),)), 12, 12),
    (Sparse(1.0, 2, (3, 4), 0), 12, 12),
    (Sparse(1.0, 2, (5, 3, 4), 1), 12, 60),
    (Sparse(1.0, 0, (3, 4), 0), 0, 0),
    (Blockwise((NORMAL, Constant(1.0)), 5), 0, 0),
    (Blockwise((NORMAL, Sparse(1.0, 2, (3, 4), 0), Orthogonal(1.0, (6, 2), (), (0,)), NORMAL), 5), 12, 24),
    (Sum(NORMAL, Sparse(1.0, 2, (3, 4), 0), "a", "b"), 12, 12),
    (Concatenated(Orthogonal(1.0, (6, 2), (), (0,)), NORMAL, "a", "b", (1, 0), 6), 12, 12),
]


@pytest.mark.parametrize(("distribution", "held", "total"), HELD, ids=str)
def test_a_distribution_says_how_many_elements_it_draws_at_once_and_in_all(
    distribution: Distribution, held: int, total: int
) -> None:
    assert (distribution.matrix_elements, distribution.materialized_elements) == (held, total)


BYTES: Final[list[tuple[Distribution, range, int]]] = [
    (NORMAL, range(9), 0),
    (Orthogonal(1.0, (400, 300, 200), (0,), (1,)), range(1), 300 * 200 * 2 * 4),
    (Orthogonal(1.0, (4, 600, 500), (0,), (1,)), range(1), 600 * 500 * 4),
    (Orthogonal(1.0, (4, 600, 500), (0,), (1,)), range(600 * 500 * 4), 4 * 600 * 500 * 4),
    (Orthogonal(1.0, (600, 4, 500), (1,), (0,)), range(1), 4 * 600 * 500 * 4),
    (Sparse(1.0, 2, (30, 40), 0), range(1), 40 * 8),
    (Sparse(1.0, 0, (30, 40), 0), range(1), 0),
    (Blockwise((Sparse(1.0, 2, (3, 4), 0), Sparse(1.0, 2, (3, 4), 0)), 6), range(1), 4 * 8),
    (Sum(Sparse(1.0, 2, (3, 4), 0), Sparse(1.0, 2, (3, 4), 1), "a", "b"), range(1), 7 * 8),
]


@pytest.mark.parametrize(("distribution", "elements", "nbytes"), BYTES, ids=str)
def test_a_distribution_says_how_many_bytes_some_elements_depend_on(
    distribution: Distribution, elements: range, nbytes: int
) -> None:
    assert distribution.materialized_bytes(elements, DType.BF16) == nbytes
