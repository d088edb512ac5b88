"""One table over every initializer of the catalogue: what it draws, in every dtype, and that its bytes never change."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from math import erf, exp, pi, sqrt
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from service.initializers.distributions import Constant, Distribution, Normal, TruncatedNormal, Uniform
from service.plan import TensorPlan
from service.spec.canonical import canonical_json
from service.spec.catalogue import initializer_models, type_of
from service.stream.dtypes import DType, narrow, widen
from tests.plan.planned import planned, stored, tensor, values
from tests.stream import reference

GOLDEN: Final = Path(__file__).parents[1] / "data" / "golden.json"
GOLDEN_SEED: Final = 20100513
GOLDEN_SHAPE: Final = (31, 33)
LARGE: Final = (256, 1024)
SMALL: Final = ((5, 7), (3, 2, 3, 3), (64, 1), (1, 1))
BELOW_RANK_2: Final = ((), (1,), (13,))
Variance = Callable[[int, int], float]


class Row(NamedTuple):
    """An initializer as a caller writes it, and the law that its definition gives a weight of these fans."""

    initializer: Any
    law: str
    variance: Variance
    mean: float = 0.0
    needs_fans: bool = True

    def __str__(self) -> str:
        return canonical_json(self.initializer).decode()


def fixed(variance: float) -> Variance:
    return lambda _fan_in, _fan_out: variance


def average(fan_in: int, fan_out: int) -> float:
    return 2 / (fan_in + fan_out)


TRUNCATED_VARIANCE: Final = 1 - 4 * exp(-2) / sqrt(2 * pi) / erf(sqrt(2))
ROWS: Final = (
    Row("xavier_uniform", "uniform", average),
    Row({"type": "xavier_uniform", "gain": 2}, "uniform", lambda i, o: 4 * average(i, o)),
    Row({"type": "xavier_uniform", "gain": "relu", "mode": "fan_in"}, "uniform", lambda i, _: 2 / i),
    Row("xavier_normal", "normal", average),
    Row({"type": "xavier_normal", "gain": "tanh", "mode": "fan_out"}, "normal", lambda _, o: 25 / 9 / o),
    Row({"type": "xavier_normal", "gain": {"nonlinearity": "leaky_relu", "negative_slope": 1}}, "normal", average),
    Row("kaiming_uniform", "uniform", lambda i, _: 2 / i),
    Row({"type": "kaiming_uniform", "nonlinearity": "selu", "mode": "fan_out"}, "uniform", lambda _, o: 9 / 16 / o),
    Row({"type": "kaiming_uniform", "negative_slope": 2}, "uniform", lambda i, _: 2 / 5 / i),
    Row("kaiming_normal", "normal", lambda i, _: 2 / i),
    Row({"type": "kaiming_normal", "gain": 3, "mode": "fan_avg"}, "normal", lambda i, o: 9 * average(i, o)),
    Row("lecun_uniform", "uniform", lambda i, _: 1 / i),
    Row("lecun_normal", "normal", lambda i, _: 1 / i),
    Row("variance_scaling", "truncated_normal", lambda i, _: 1 / i),
    Row(
        {"type": "variance_scaling", "scale": 2, "mode": "fan_geo_avg", "distribution": "normal"},
        "normal",
        lambda i, o: 2 / sqrt(i * o),
    ),
    Row(
        {"type": "variance_scaling", "scale": 0.5, "mode": "fan_out", "distribution": "uniform"},
        "uniform",
        lambda _, o: 0.5 / o,
    ),
    Row("uniform", "uniform", fixed(1 / 12), mean=0.5, needs_fans=False),
    Row({"type": "uniform", "low": -0.5, "high": 1.25}, "uniform", fixed(1.75**2 / 12), mean=0.375, needs_fans=False),
    Row("normal", "normal", fixed(1), needs_fans=False),
    Row({"type": "normal", "mean": -2, "std": 0.125}, "normal", fixed(0.125**2), mean=-2, needs_fans=False),
    Row("truncated_normal", "truncated_normal", fixed(TRUNCATED_VARIANCE), needs_fans=False),
    Row(
        {"type": "truncated_normal", "mean": 0.5, "std": 0.25},
        "truncated_normal",
        fixed(TRUNCATED_VARIANCE / 16),
        mean=0.5,
        needs_fans=False,
    ),
    Row({"type": "constant", "value": -1.75}, "constant", fixed(0), mean=-1.75, needs_fans=False),
    Row("zeros", "constant", fixed(0), needs_fans=False),
    Row("ones", "constant", fixed(0), mean=1, needs_fans=False),
)
RANDOM_ROWS: Final = [row for row in ROWS if row.law != "constant"]
# The fourth moment over the square of the second, on which the error of a measured variance depends.
KURTOSIS: Final = {
    "uniform": 9 / 5,
    "normal": 3.0,
    "truncated_normal": (3 * TRUNCATED_VARIANCE - 16 * exp(-2) / sqrt(2 * pi) / erf(sqrt(2))) / TRUNCATED_VARIANCE**2,
}
each_row = pytest.mark.parametrize("row", ROWS, ids=str)
each_random_row = pytest.mark.parametrize("row", RANDOM_ROWS, ids=str)
each_dtype = pytest.mark.parametrize("dtype", DType)


def planned_tensor(row: Row, dtype: DType, shape: tuple[int, ...], seed: int = 7) -> TensorPlan:
    [only] = planned(tensor("w", shape, row.initializer, dtype=dtype), seed=seed).tensors
    return only


def shapes(row: Row) -> tuple[tuple[int, ...], ...]:
    return SMALL if row.needs_fans else SMALL + BELOW_RANK_2


def test_the_table_has_every_initializer_of_the_catalogue() -> None:
    rows = {row.initializer if isinstance(row.initializer, str) else row.initializer["type"] for row in ROWS}

    assert rows == {type_of(model) for model in initializer_models()}


@each_row
@each_dtype
def test_every_initializer_fills_every_shape_within_its_reach(row: Row, dtype: DType) -> None:
    for shape in shapes(row):
        plan = planned_tensor(row, dtype, shape)
        ends = np.array(plan.distribution.reach(dtype)).astype(dtype.precision.floating)
        low, high = widen(narrow(ends, dtype, np.empty(2, dtype.storage)), dtype)

        drawn = values(plan)

        assert drawn.shape == plan.shape == shape
        assert np.isfinite(drawn).all()
        assert low <= drawn.min()
        assert drawn.max() <= high


@each_row
@each_dtype
def test_every_slice_of_every_initializer_is_a_slice_of_the_whole(row: Row, dtype: DType) -> None:
    for shape in shapes(row):
        plan = planned_tensor(row, dtype, shape)
        whole = stored(plan)
        for first in {0, 1, 3, whole.size // 2, whole.size}:
            for last in {first, first + 1, whole.size - 1, whole.size}:
                if first <= last <= whole.size:
                    assert stored(plan, first, last - first).tobytes() == whole[first:last].tobytes()


def reference_value(law: Distribution, word: int, f: reference.Format) -> float:
    match law:
        case Uniform(low, high):
            return reference.uniform(word, low, high, f)
        case Normal(mean, std):
            return reference.normal(word, mean, std, f)
        case TruncatedNormal(mean, std):
            return reference.truncated_normal(word, mean, std, f)
        case Constant(value):
            return f.rn(value)
    raise AssertionError(law)


@each_row
@each_dtype
def test_every_initializer_draws_what_the_independent_implementation_draws(row: Row, dtype: DType) -> None:
    plan = planned_tensor(row, dtype, (5, 7), seed=2**64 - 1)
    draw_word = reference.word64 if dtype is DType.F64 else reference.word
    f = reference.BINARY64 if dtype is DType.F64 else reference.BINARY32

    drawn = [reference_value(plan.distribution, draw_word(2**64 - 1, "w", index), f) for index in range(35)]

    assert stored(plan).tobytes() == b"".join(reference.stored(value, dtype) for value in drawn)


@each_row
def test_every_initializer_has_the_mean_and_variance_of_its_definition(row: Row) -> None:
    for shape in SMALL:
        plan = planned_tensor(row, DType.F32, shape)
        assert plan.parameter.fans is not None
        variance = row.variance(plan.parameter.fans.fan_in, plan.parameter.fans.fan_out)

        assert plan.distribution.mean == row.mean
        assert plan.distribution.std**2 == pytest.approx(variance, rel=1e-14, abs=0)


@each_random_row
@pytest.mark.parametrize("dtype", [DType.F64, DType.F32, DType.BF16, DType.F16])
def test_what_every_initializer_draws_has_that_mean_and_variance(row: Row, dtype: DType) -> None:
    # 2^18 values. |z| < 6 would fail by chance for one seed in 5e8, and 4 dtypes of 22 rows are two tests each: for
    # one seed in 3e6. The seed is fixed, so the test passes always or never.
    drawn = values(planned_tensor(row, dtype, LARGE)).astype(np.float64)
    variance = row.variance(LARGE[1], LARGE[0])

    z_mean = (drawn.mean() - row.mean) / sqrt(variance / drawn.size)
    z_variance = (((drawn - row.mean) ** 2).mean() / variance - 1) / sqrt((KURTOSIS[row.law] - 1) / drawn.size)

    assert abs(z_mean) < 6
    assert abs(z_variance) < 6


def standard_normal_cdf(z: float) -> float:
    return (1 + erf(z / sqrt(2))) / 2


def truncated_normal_cdf(z: float) -> float:
    return (standard_normal_cdf(z) - standard_normal_cdf(-2)) / erf(sqrt(2))


CDFS: Final[dict[str, Callable[[float], float]]] = {
    "uniform": lambda z: (z / sqrt(3) + 1) / 2,  # of deviation 1
    "normal": standard_normal_cdf,
    "truncated_normal": lambda z: truncated_normal_cdf(z * sqrt(TRUNCATED_VARIANCE)),  # of deviation 1 after the cut
}


@each_random_row
@pytest.mark.parametrize("dtype", [DType.F64, DType.F32])
def test_what_every_initializer_draws_follows_its_law(row: Row, dtype: DType) -> None:
    # Kolmogorov and Smirnov: sqrt(n) D > 3.3 happens by chance once in 1.4e9 (2 exp(-2 3.3^2)), so for one seed in
    # 3e7 over these 44 tests. The seed is fixed.
    shape = (64, 256)
    drawn = np.sort(values(planned_tensor(row, dtype, shape, seed=8)).reshape(-1).astype(np.float64))
    std = sqrt(row.variance(shape[1], shape[0]))

    expected = np.array([CDFS[row.law](z) for z in (drawn - row.mean) / std])
    steps = np.arange(drawn.size + 1) / drawn.size
    distance = max((steps[1:] - expected).max(), (expected - steps[:-1]).max())

    assert sqrt(drawn.size) * distance < 3.3


@pytest.mark.parametrize("dtype", [DType.F64, DType.F32])
def test_the_tails_of_a_normal_are_as_heavy_as_they_should_be(dtype: DType) -> None:
    # Counts beyond k sigmas among 2^22 values are Poisson; a deviation of 6 of its own happens about once in 1e8.
    [plan] = planned(tensor("w", (1 << 22,), "normal", dtype=dtype), seed=3).tensors
    drawn = np.abs(stored(plan))

    for sigmas in (2, 3, 4, 4.5):
        expected = drawn.size * 2 * (1 - standard_normal_cdf(sigmas))
        assert abs((drawn > sigmas).sum() - expected) < 6 * sqrt(expected)


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Of standard normal values, times the root of their number: itself about standard normal."""
    return float((a.astype(np.float64) * b).sum() / sqrt(a.size))


def test_neighbours_tensors_and_seeds_are_not_correlated() -> None:
    # 2^18 products each: |z| < 6 fails by chance for one choice of seeds and names in 5e8, times seven comparisons.
    def normal(name: str, seed: int) -> NDArray[Any]:
        [plan] = planned(tensor(name, (1 << 18,), "normal"), seed=seed).tensors
        return stored(plan)

    one = normal("w.0", 1)

    assert all(abs(correlation(one[:-lag], one[lag:])) < 6 for lag in (1, 2, 4, 1024))
    assert all(abs(correlation(one, other)) < 6 for other in (normal("w.1", 1), normal("w.0", 2), normal("w.0", 257)))


def golden_digests() -> dict[str, dict[str, str]]:
    def digest(row: Row, dtype: DType) -> str:
        layer = tensor("golden.weight", GOLDEN_SHAPE, row.initializer, dtype=dtype)
        [plan] = planned(layer, seed=GOLDEN_SEED).tensors
        return sha256(stored(plan).tobytes()).hexdigest()

    return {str(row): {dtype.value: digest(row, dtype) for dtype in DType} for row in ROWS}


def test_the_bytes_of_every_initializer_are_golden() -> None:
    """These digests change with a new stream version only; a new initializer adds some (XAVIER_WRITE_GOLDEN=1)."""
    if os.environ.get("XAVIER_WRITE_GOLDEN") == "1":
        GOLDEN.write_text(json.dumps(golden_digests(), indent=1) + "\n")
        pytest.skip("the golden digests are written anew")

    assert golden_digests() == json.loads(GOLDEN.read_text())
