"""Tensors that are drawn whole: once for all who ask, kept while there is room, and refused where too large."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock, Thread
from typing import Any, Final

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import Excess, LimitExceeded
from service.initializers import structured
from service.initializers.combined import Joined, Stacked, Sum
from service.initializers.distributions import Constant, Distribution, Normal, Uniform
from service.initializers.factorisation import orthogonal_factor
from service.initializers.structured import Identity, Orthogonal, Sparse
from service.initializers.truncated import CutNormal
from service.initializers.whole import KEPT_BYTES, Kept
from service.limits import Limits
from service.plan import TensorPlan
from service.stream.dtypes import DType
from service.stream.words import WordSource
from tests.api.servers import wait_for
from tests.conftest import StartServer
from tests.plan.planned import Layer, planned, spec, stored, tensor

Array = NDArray[Any]
INITIALIZERS: Final = ("orthogonal", {"type": "sparse", "sparsity": 0.3})
each_initializer = pytest.mark.parametrize("initializer", INITIALIZERS, ids=str)
each_dtype = pytest.mark.parametrize("dtype", [DType.F64, DType.F32, DType.BF16])


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
def _kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """Nothing is kept from before."""
    fresh = Kept()
    monkeypatch.setattr(structured, "kept", fresh)
    return fresh


@pytest.fixture(name="factored")
def _factored(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted(orthogonal_factor)
    monkeypatch.setattr(structured, "orthogonal_factor", counted)
    return counted


@pytest.fixture(name="often_switched")
def _often_switched() -> Iterator[None]:
    """Threads take turns a thousand times as often."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 1000)
    yield
    sys.setswitchinterval(usual)


def plan_of(initializer: Any, shape: tuple[int, ...] = (40, 50), dtype: DType = DType.F32) -> TensorPlan:
    [plan] = planned(tensor("w", shape, initializer, dtype=dtype)).tensors
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
@each_dtype
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_chunks_of_several_threads_are_the_whole(
    monkeypatch: pytest.MonkeyPatch, initializer: Any, dtype: DType, threads: int
) -> None:
    plan = plan_of(initializer, dtype=dtype)
    monkeypatch.setattr(structured, "kept", Kept())
    whole = stored(plan).tobytes()
    monkeypatch.setattr(structured, "kept", Kept())

    assert drawn_by_threads(plan, threads, 97) == whole


@pytest.mark.usefixtures("kept", "often_switched")
@pytest.mark.parametrize("threads", [2, 8])
def test_a_matrix_is_factored_once_for_all_threads(factored: Counted, threads: int) -> None:
    plan = plan_of("orthogonal")

    for _ in range(3):
        drawn_by_threads(plan, threads, 61)

    assert factored.calls == 1


@pytest.mark.usefixtures("kept")
def test_the_masks_of_a_sparse_tensor_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(Sparse._limits)

    def limits(law: Sparse, source: WordSource) -> Any:  # a function, so that it becomes a method
        return counted(law, source)

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
    monkeypatch.setattr(structured, "kept", Kept(most_bytes=2 * 30 * 40 * 4))
    factored.calls = 0

    for _ in range(2):
        assert [drawn_by_threads(plan, 4, 113) for plan in plans] == alone

    assert factored.calls == 8  # in turn, each has gone when it is asked for again
    monkeypatch.setattr(structured, "kept", Kept(most_bytes=0))
    assert [drawn_by_threads(plan, 4, 113) for plan in plans] == alone


# What keeps them.


def ones(size: int = 10) -> Callable[[], Array]:
    return lambda: np.ones(size, np.uint8)


def never() -> Array:
    pytest.fail("an array that is kept was drawn again")


def test_what_is_kept_is_the_same_array_and_read_only() -> None:
    kept = Kept()

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
    kept = Kept(most_bytes=30)
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
    kept = Kept(most_bytes=30)
    for key in "abc":
        kept.get(key, ones())

    kept.get("large", ones(25))

    kept.get("large", never)
    redrawn = Counted(ones(0))
    for key in "abc":
        kept.get(key, redrawn)
    assert redrawn.calls == 3


def test_an_array_larger_than_the_limit_is_kept_until_the_next() -> None:
    kept = Kept(most_bytes=5)
    kept.get("large", ones(100))
    kept.get("large", never)

    kept.get("other", ones(1))

    redrawn = Counted(ones(100))
    kept.get("large", redrawn)
    assert redrawn.calls == 1


def test_the_array_drawn_last_is_kept_although_others_were_used_meanwhile() -> None:
    kept = Kept(most_bytes=10)
    kept.get("old", ones())

    def slow() -> Array:
        kept.get("old", never)
        return np.ones(10, np.uint8)

    kept.get("new", slow)

    kept.get("new", never)


def test_by_default_so_much_is_kept_as_two_of_the_largest_tensors_take() -> None:
    assert 2 * 8 * Limits().whole_elements <= KEPT_BYTES


def test_one_array_is_drawn_while_another_is_still_being_drawn() -> None:
    kept, begun, finished = Kept(), Event(), Event()

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
    kept, begun, proceed, raised = Kept(), Event(), Event(), []

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
    wait_for(lambda: len(kept._arrays["a"]._condition._waiters) == 4)  # type: ignore[attr-defined]  # a Future's own
    proceed.set()
    for thread in threads:
        thread.join(10)

    assert [type(each) for each in raised] == [error] * 5
    assert kept.get("a", ones()).size == 10


def test_a_failure_in_factoring_is_a_failure_of_the_draw_and_the_next_draw_works(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("orthogonal")

    def fail(_: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(structured, "orthogonal_factor", fail)
    with pytest.raises(MemoryError, match="no room"):
        stored(plan)
    assert not kept._arrays

    monkeypatch.setattr(structured, "orthogonal_factor", orthogonal_factor)
    assert stored(plan).any()


# How large they may be.

NORMAL: Final = Normal(0.0, 1.0)
HELD: Final[list[tuple[Distribution, int]]] = [
    (Uniform(-1.0, 1.0), 0),
    (NORMAL, 0),
    (CutNormal(0.0, 1.0, -1.0, 3.0), 0),
    (Constant(1.0), 0),
    (Identity(1.0, (3, 4), (0, 1)), 0),
    (Orthogonal(1.0, (3, 4, 5), (0,), (1,)), 60),
    (Orthogonal(1.0, (3, 4, 5), (), (0,), ((2, 2),)), 12),
    (Sparse(1.0, 2, (3, 4), 0), 12),
    (Stacked((NORMAL, Constant(1.0)), 5), 0),
    (Stacked((NORMAL, Sparse(1.0, 2, (3, 4), 0), Orthogonal(1.0, (6, 2), (), (0,)), Sparse(1.0, 1, (2, 2), 0)), 5), 12),
    (Sum(NORMAL, Sparse(1.0, 2, (3, 4), 0), "a", "b"), 12),
    (Joined(Orthogonal(1.0, (6, 2), (), (0,)), NORMAL, "a", "b", (1, 0), 6), 12),
]


@pytest.mark.parametrize(("law", "held"), HELD, ids=str)
def test_a_law_says_how_many_elements_it_draws_at_once(law: Distribution, held: int) -> None:
    assert law.held == held


@pytest.fixture(name="never_drawn")
def _never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(*_: Any) -> None:
        pytest.fail("a specification beyond the limits was drawn")

    monkeypatch.setattr(WordSource, "lane", draw)
    monkeypatch.setattr(structured, "orthogonal_factor", draw)


def refusal(*layers: Layer, most: int) -> list[Excess]:
    with pytest.raises(LimitExceeded) as refused:
        planned(*layers, limits=Limits(whole_elements=most))
    return [fault for fault in refused.value.faults if isinstance(fault, Excess)]


@pytest.mark.usefixtures("never_drawn")
@each_initializer
def test_one_element_more_than_the_limit_is_refused_before_anything_is_drawn(initializer: Any) -> None:
    planned(tensor("w", (10, 12), initializer), limits=Limits(whole_elements=120))

    [excess] = refusal(tensor("w", (11, 11), initializer), most=120)

    assert (excess.pointer, excess.name, excess.limit, excess.requested) == ("/layers/0", "whole_elements", 120, 121)
    assert excess.message == (
        "at most 120 elements of a tensor that is drawn whole; this asks for 121:"
        " make it smaller, or raise XAVIER_MAX_WHOLE_ELEMENTS"
    )


@pytest.mark.usefixtures("never_drawn")
def test_the_limit_is_for_a_tensor_and_all_that_exceed_it_are_named() -> None:
    layers = [tensor(f"w{size}", (size, 10), "orthogonal") for size in (5, 10, 11, 50)]

    planned(*layers[:2], limits=Limits(whole_elements=100))

    assert [excess.pointer for excess in refusal(*layers, most=100)] == ["/layers/2", "/layers/3"]


@pytest.mark.usefixtures("never_drawn")
def test_only_the_centre_of_a_delta_orthogonal_tensor_counts_and_an_identity_of_any_size_may_be() -> None:
    most = Limits(whole_elements=12)

    planned(tensor("w", (4, 3, 100, 100), "delta_orthogonal"), tensor("i", (1000, 1000), "identity"), limits=most)

    [excess] = refusal(tensor("w", (4, 4, 1), "delta_orthogonal"), most=12)
    assert excess.requested == 16


@pytest.mark.usefixtures("never_drawn")
def test_a_matrix_of_any_size_is_refused_in_integers() -> None:
    [excess] = refusal(tensor("w", (2**31 - 1, 2), "orthogonal"), most=1 << 24)

    assert excess.requested == 2**32 - 2


def test_the_server_refuses_by_its_setting_and_names_it(start_server: StartServer) -> None:
    server = start_server(XAVIER_MAX_WHOLE_ELEMENTS="100")

    def answer(size: int) -> httpx.Response:
        body = spec(tensor("w", (size, 10), "orthogonal"))
        headers = {"Content-Type": "application/json"}
        return httpx.post(f"{server.url}/v1/weights", content=body, headers=headers, trust_env=False)

    assert answer(10).status_code == 200
    refused = answer(11)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    [error] = refused.json()["errors"]
    assert error["pointer"] == "/layers/0"
    assert error["message"].endswith("or raise XAVIER_MAX_WHOLE_ELEMENTS")
