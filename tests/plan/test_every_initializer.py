"""One table over every initializer of the catalogue: what it draws, in every dtype, and that its bytes never change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from itertools import product
from math import erf, erfc, exp, fsum, inf, pi, prod, sqrt
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray

from service.distributions.base import Distribution
from service.distributions.elementwise import Constant, Normal, TruncatedNormal, Uniform
from service.distributions.orthogonal import Orthogonal
from service.distributions.structured import Sparse
from service.plan import TensorPlan
from service.schema.canonical import canonical_json
from service.schema.catalogue import initializer_models, type_of
from service.stream.dtypes import DType, narrow, widen
from tests.distributions import structures
from tests.plan.planned import Layer, planned, stored, tensor, values
from tests.stream import reference

GOLDEN: Final = Path(__file__).parents[1] / "data" / "golden.json"
GOLDEN_SEED: Final = 20100513

Shape = tuple[int, ...]
Moment = Callable[[Shape], float]
"""Of a tensor (out, in, *kernel)."""


class Standard(NamedTuple):
    """A distribution of deviation 1: its fourth moment, on which the error of a measured variance depends."""

    fourth: float
    cdf: Callable[[float], float] | None = None


class Places(NamedTuple):
    """Where an initializer can stand: shapes that it must fill, one of 2^18 elements, and what is golden."""

    shapes: tuple[Shape, ...]
    large: Shape
    golden: tuple[Layer, ...]
    frameworks: tuple[str, ...] = ("torch",)


class Row(NamedTuple):
    """An initializer as a caller writes it, and what its definition gives a weight of a shape."""

    initializer: Any
    distribution: Standard | None
    variance: Moment
    mean: Moment
    places: Places

    def __str__(self) -> str:
        return canonical_json(self.initializer).decode()

    @property
    def type(self) -> str:
        name: str = self.initializer if isinstance(self.initializer, str) else self.initializer["type"]
        return name

    def parameter(self, name: str, default: Any) -> Any:
        return default if isinstance(self.initializer, str) else self.initializer.get(name, default)


# Where.

SMALL: Final = ((5, 7), (3, 2, 3, 3), (64, 1), (1, 1))
PLAIN: Final = (tensor("golden.weight", (31, 33)),)
ANY: Final = Places((*SMALL, (), (1,), (13,)), (256, 1024), PLAIN)
WEIGHT: Final = Places(SMALL, (256, 1024), PLAIN)
FUSED: Final[tuple[Layer, ...]] = (
    {"type": "linear", "name": "stored", "in_features": 6, "out_features": 9, "layout": "in_out", "bias": False},
    {"type": "lstm", "name": "lstm", "input_size": 5, "hidden_size": 4, "bias": False},
    {"type": "gru", "name": "gru", "input_size": 3, "hidden_size": 4, "bias": False},
)
CONVOLUTIONS: Final[tuple[Layer, ...]] = tuple(
    {"name": layer["type"], "in_channels": 4, "bias": False} | layer
    for layer in (
        {"type": "conv1d", "out_channels": 6, "kernel_size": 4},
        {"type": "conv2d", "out_channels": 6, "kernel_size": [3, 2], "groups": 2},
        {"type": "conv3d", "out_channels": 4, "kernel_size": [1, 2, 3]},
        {"type": "conv_transpose2d", "out_channels": 6, "kernel_size": [2, 3], "groups": 2},
        {"type": "depthwise_conv", "depth_multiplier": 2, "kernel_size": [5]},
    )
)
ATTENTION: Final[Layer] = {
    "type": "multihead_attention",
    "name": "attention",
    "embed_dim": 6,
    "num_heads": 3,
    "bias": False,
}
BOTH: Final = ("torch", "keras")
MATRIX: Final = Places(((5, 7), (7, 5), (64, 1), (1, 9), (1, 1)), (256, 1024), (*PLAIN, *FUSED), BOTH)
MATRICES: Final = Places(SMALL, (64, 16, 16, 16), (*PLAIN, *FUSED, *CONVOLUTIONS, ATTENTION), BOTH)
KERNEL: Final = Places(
    ((5, 4, 3), (3, 2, 4, 3), (4, 3, 2, 1, 3), (1, 1, 1)),
    (128, 64, 8, 4),
    (tensor("golden.weight", (9, 7, 4, 3)), *CONVOLUTIONS),
    BOTH,
)


# What.


def of_fans(moment: Callable[[int, int], float]) -> Moment:
    return lambda shape: moment(prod(shape[1:]), prod(shape) // shape[1])


def fixed(value: float) -> Moment:
    return lambda _shape: value


def average(fan_in: int, fan_out: int) -> float:
    return 2 / (fan_in + fan_out)


def standard_normal_cdf(z: float) -> float:
    return (1 + erf(z / sqrt(2))) / 2


class Cut(NamedTuple):
    """A standard normal between two ends, by quadrature: Gauss and Legendre on panels of an eighth of the part."""

    low: float
    high: float

    def integral(self, power: int, center: float = 0.0) -> float:
        low, high = max(self.low, -12.0), min(self.high, max(self.low, 0) + 12.0)
        wide = (high - low) / 96
        nodes = [(low + (panel + (1 + float(x)) / 2) * wide, float(w)) for panel in range(96) for x, w in LEGENDRE]
        return fsum(w * exp(-z * z / 2) * (z - center) ** power for z, w in nodes)

    @property
    def mean(self) -> float:
        return self.integral(1) / self.integral(0)

    def central(self, power: int) -> float:
        return self.integral(power, self.mean) / self.integral(0)

    @property
    def distribution(self) -> Standard:
        mean, std = self.mean, sqrt(self.central(2))

        def cdf(z: float) -> float:
            beyond_low, beyond, beyond_high = (erfc(x / sqrt(2)) for x in (self.low, mean + std * z, self.high))
            return (beyond_low - beyond) / (beyond_low - beyond_high)

        return Standard(self.central(4) / std**4, cdf)


LEGENDRE: Final = tuple(zip(*leggauss(12), strict=True))
TWO_SIGMAS: Final = Cut(-2, 2)
TRUNCATED_VARIANCE: Final = 1 - 4 * exp(-2) / sqrt(2 * pi) / erf(sqrt(2))
UNIFORM: Final = Standard(9 / 5, lambda z: (z / sqrt(3) + 1) / 2)
NORMAL: Final = Standard(3.0, standard_normal_cdf)
TRUNCATED: Final = TWO_SIGMAS.distribution
ORTHONORMAL: Final = Standard(1.0)
"""The mean of the squares does not vary at all."""


def row(
    initializer: Any,
    distribution: Standard | None,
    variance: Moment,
    mean: float | Moment = 0.0,
    places: Places = WEIGHT,
) -> Row:
    return Row(initializer, distribution, variance, mean if callable(mean) else fixed(mean), places)


def cut_row(initializer: Any, low: float, high: float, mean: float, std: float) -> Row:
    cut = Cut(low, high)
    return row(initializer, cut.distribution, fixed(cut.central(2) * std * std), mean + std * cut.mean, ANY)


def sparse_row(initializer: Any, sparsity: float, std: float) -> Row:
    def kept(shape: Shape) -> float:
        return 1 - -(-sparsity * shape[0] // 1) / shape[0]

    large = kept(MATRIX.large)
    return row(initializer, Standard(1 + 2 / large), lambda shape: std**2 * kept(shape), 0.0, MATRIX)


def sides(shape: Shape) -> tuple[int, int]:
    return shape[0], prod(shape[1:])


def on_diagonal(shape: Shape, groups: int = 1) -> float:
    """The share of ones of an identity, or a dirac."""
    return min(shape[0] // groups, shape[1]) * groups / prod(shape)


ROWS: Final = (
    row("xavier_uniform", UNIFORM, of_fans(average)),
    row({"type": "xavier_uniform", "gain": 2}, UNIFORM, of_fans(lambda i, o: 4 * average(i, o))),
    row({"type": "xavier_uniform", "gain": "relu", "mode": "fan_in"}, UNIFORM, of_fans(lambda i, _: 2 / i)),
    row("xavier_normal", NORMAL, of_fans(average)),
    row({"type": "xavier_normal", "gain": "tanh", "mode": "fan_out"}, NORMAL, of_fans(lambda _, o: 25 / 9 / o)),
    row(
        {"type": "xavier_normal", "gain": {"nonlinearity": "leaky_relu", "negative_slope": 1}}, NORMAL, of_fans(average)
    ),
    row("kaiming_uniform", UNIFORM, of_fans(lambda i, _: 2 / i)),
    row(
        {"type": "kaiming_uniform", "nonlinearity": "selu", "mode": "fan_out"},
        UNIFORM,
        of_fans(lambda _, o: 9 / 16 / o),
    ),
    row({"type": "kaiming_uniform", "negative_slope": 2}, UNIFORM, of_fans(lambda i, _: 2 / 5 / i)),
    row("kaiming_normal", NORMAL, of_fans(lambda i, _: 2 / i)),
    row({"type": "kaiming_normal", "gain": 3, "mode": "fan_avg"}, NORMAL, of_fans(lambda i, o: 9 * average(i, o))),
    row("lecun_uniform", UNIFORM, of_fans(lambda i, _: 1 / i)),
    row("lecun_normal", NORMAL, of_fans(lambda i, _: 1 / i)),
    row("variance_scaling", TRUNCATED, of_fans(lambda i, _: 1 / i)),
    row(
        {"type": "variance_scaling", "scale": 2, "mode": "fan_geo_avg", "distribution": "normal"},
        NORMAL,
        of_fans(lambda i, o: 2 / sqrt(i * o)),
    ),
    row(
        {"type": "variance_scaling", "scale": 0.5, "mode": "fan_out", "distribution": "uniform"},
        UNIFORM,
        of_fans(lambda _, o: 0.5 / o),
    ),
    row("uniform", UNIFORM, fixed(1 / 12), 0.5, ANY),
    row({"type": "uniform", "low": -0.5, "high": 1.25}, UNIFORM, fixed(1.75**2 / 12), 0.375, ANY),
    row("normal", NORMAL, fixed(1), 0.0, ANY),
    row({"type": "normal", "mean": -2, "std": 0.125}, NORMAL, fixed(0.125**2), -2, ANY),
    row("truncated_normal", TRUNCATED, fixed(TRUNCATED_VARIANCE), 0.0, ANY),
    row({"type": "truncated_normal", "mean": 0.5, "std": 0.25}, TRUNCATED, fixed(TRUNCATED_VARIANCE / 16), 0.5, ANY),
    row({"type": "constant", "value": -1.75}, None, fixed(0), -1.75, ANY),
    row("zeros", None, fixed(0), 0.0, ANY),
    row("ones", None, fixed(0), 1, ANY),
    # A factor on top.
    row({"type": "xavier_uniform", "multiplier": 0.25}, UNIFORM, of_fans(lambda i, o: average(i, o) / 16)),
    row({"type": "variance_scaling", "multiplier": 3}, TRUNCATED, of_fans(lambda i, _: 9 / i)),
    row({"type": "uniform", "multiplier": 0.5}, UNIFORM, fixed(1 / 48), 0.5, ANY),
    # Any cut.
    cut_row({"type": "truncated_normal", "low": -1, "high": 2.5}, -1, 2.5, 0, 1),
    cut_row({"type": "truncated_normal", "low": 0, "high": None, "std": 0.5}, 0, inf, 0, 0.5),
    cut_row({"type": "truncated_normal", "low": None, "high": -3, "mean": 2, "multiplier": 2}, -inf, -3, 2, 2),
    cut_row({"type": "truncated_normal", "low": -2, "high": 2, "std": 0.02, "absolute": True}, -100, 100, 0, 0.02),
    cut_row(
        {"type": "truncated_normal", "low": 0, "high": 1.5, "mean": 1, "std": 0.5, "absolute": True}, -2, 1, 1, 0.5
    ),
    row({"type": "truncated_normal", "low": None, "high": None}, NORMAL, fixed(1), 0.0, ANY),
    # Matrices.
    row("orthogonal", ORTHONORMAL, lambda shape: 1 / max(sides(shape)), places=MATRICES),
    row(
        {"type": "orthogonal", "gain": "relu", "matricisation": "torch"},
        ORTHONORMAL,
        lambda shape: 2 / max(sides(shape)),
        places=MATRICES,
    ),
    row(
        {"type": "orthogonal", "multiplier": 0.5, "matricisation": "keras"},
        ORTHONORMAL,
        lambda shape: 0.25 / max(shape[-1], prod(shape[:-1])),
        places=MATRICES,
    ),
    row("delta_orthogonal", ORTHONORMAL, lambda shape: 1 / prod(shape) * shape[1], places=KERNEL),
    row(
        {"type": "delta_orthogonal", "gain": 3, "center": "torch"},
        ORTHONORMAL,
        lambda shape: 9 / prod(shape) * shape[1],
        places=KERNEL,
    ),
    row("identity", None, lambda s: on_diagonal(s) * (1 - on_diagonal(s)), on_diagonal, MATRIX),
    row(
        {"type": "identity", "gain": -0.3},
        None,
        lambda s: 0.09 * on_diagonal(s) * (1 - on_diagonal(s)),
        lambda s: -0.3 * on_diagonal(s),
        MATRIX,
    ),
    row("dirac", None, lambda s: on_diagonal(s) * (1 - on_diagonal(s)), on_diagonal, KERNEL),
    row(
        {"type": "dirac", "groups": 1, "gain": 0.1, "center": "jax"},
        None,
        lambda s: 0.01 * on_diagonal(s) * (1 - on_diagonal(s)),
        lambda s: 0.1 * on_diagonal(s),
        KERNEL,
    ),
    sparse_row({"type": "sparse", "sparsity": 0.1}, 0.1, 0.01),
    sparse_row({"type": "sparse", "sparsity": 0.75, "std": 2, "multiplier": 0.25}, 0.75, 0.5),
)


# Defaults of frameworks: they are of layers.


class DefaultRow(NamedTuple):
    """A framework, and a layer that has its default."""

    framework: str
    layer: Layer


def layer(kind: str, **fields: Any) -> Layer:
    return {"type": kind, "name": "l"} | fields


LINEAR: Final = layer("linear", in_features=6, out_features=4)
TRANSPOSED: Final = layer("conv_transpose2d", in_channels=4, out_channels=6, kernel_size=[3, 2])
GRU: Final = layer("gru", input_size=3, hidden_size=5)
COMMON: Final = (layer("embedding", num_embeddings=7, embedding_dim=3), layer("layer_norm", normalized_shape=5))
TORCH: Final = (
    LINEAR,
    layer("bilinear", in1_features=3, in2_features=5, out_features=2),
    layer("conv2d", in_channels=4, out_channels=6, kernel_size=3, groups=2),
    TRANSPOSED | {"groups": 2},
    layer("depthwise_conv", in_channels=3, depth_multiplier=2, kernel_size=[5]),
    layer("lstm", input_size=3, hidden_size=5),
    GRU | {"bias": False},
    layer("multihead_attention", embed_dim=6, num_heads=2),
    *COMMON,
)
KERAS: Final = (LINEAR, TORCH[2], TRANSPOSED, TORCH[4], TORCH[5], GRU, *COMMON)
DEFAULT_ROWS: Final = (*(DefaultRow("torch", each) for each in TORCH), *(DefaultRow("keras", each) for each in KERAS))
RANDOM_ROWS: Final = [each for each in ROWS if each.distribution]
LAWFUL_ROWS: Final = [each for each in RANDOM_ROWS if each.distribution and each.distribution.cdf]
each_row = pytest.mark.parametrize("row", ROWS, ids=str)
each_random_row = pytest.mark.parametrize("row", RANDOM_ROWS, ids=str)


def planned_tensor(row: Row, dtype: DType, shape: Shape, seed: int = 7) -> TensorPlan:
    [only] = planned(tensor("w", shape, row.initializer, dtype=dtype), seed=seed).tensors
    return only


def test_the_table_has_every_initializer_of_the_catalogue() -> None:
    of_layers = {f"{row.framework}_default" for row in DEFAULT_ROWS}

    assert {row.type for row in ROWS} | of_layers == {type_of(model) for model in initializer_models()}


@each_row
def test_every_initializer_fills_every_shape_within_its_support(row: Row) -> None:
    for dtype, shape in product(DType, row.places.shapes):
        plan = planned_tensor(row, dtype, shape)
        ends = np.array(plan.distribution.support(dtype)).astype(dtype.precision.floating)
        low, high = widen(narrow(ends, dtype, np.empty(2, dtype.storage)), dtype)

        drawn = values(plan)

        assert plan.parameter.dtype == dtype
        assert drawn.shape == plan.shape == shape
        assert np.isfinite(drawn).all()
        assert low <= drawn.min()
        assert drawn.max() <= high


def reference_value(distribution: Distribution, word: int, f: reference.Format) -> float:
    match distribution:
        case Uniform(low, high):
            return reference.uniform(word, low, high, f)
        case Normal(mean, std):
            return reference.normal(word, mean, std, f)
        case TruncatedNormal(mean, std):
            return reference.truncated_normal(word, mean, std, f)
        case Constant(value):
            return f.rn(value)
    raise AssertionError(distribution)


def independent(row: Row, plan: TensorPlan, f: reference.Format) -> list[float]:
    """What a row draws for a tensor, by the implementation beside; for the cut normal and orthogonal ones nearly."""
    shape, name, seed = plan.shape, plan.canonical_name, plan.seed
    match row.type:
        case "identity":
            return structures.identity(shape, f.rn(row.parameter("gain", 1.0)))
        case "dirac":
            upper = row.parameter("center", "torch") == "torch"
            return structures.dirac(shape, f.rn(row.parameter("gain", 1.0)), upper=upper)
        case "sparse":
            std = row.parameter("std", 0.01) * row.parameter("multiplier", 1.0)
            return structures.sparse(seed, name, (shape[0], shape[1]), row.parameter("sparsity", None), std, f=f)
    draw_word = reference.word64 if f is reference.BINARY64 else reference.word
    return [reference_value(plan.distribution, draw_word(seed, name, index), f) for index in range(prod(shape))]


EXACT_ROWS: Final = [
    each
    for each in ROWS
    if each.type not in ("orthogonal", "delta_orthogonal")
    and not {"low", "high"} & set(each.initializer if each.type == "truncated_normal" else ())
]
CUT_ROWS: Final = [
    each for each in ROWS if each not in EXACT_ROWS and each.type == "truncated_normal" and each.distribution != NORMAL
]
ORTHOGONAL_ROWS: Final = [each for each in ROWS if each.type in ("orthogonal", "delta_orthogonal")]


@pytest.mark.parametrize("row", EXACT_ROWS, ids=str)
def test_every_initializer_draws_what_the_independent_implementation_draws(row: Row) -> None:
    for dtype in DType:
        plan = planned_tensor(row, dtype, row.places.shapes[0], seed=2**64 - 1)
        f = reference.BINARY64 if dtype is DType.F64 else reference.BINARY32

        drawn = independent(row, plan, f)

        assert stored(plan).tobytes() == b"".join(reference.stored(value, dtype) for value in drawn)


@pytest.mark.parametrize("row", CUT_ROWS, ids=str)
def test_a_cut_normal_is_the_quantile_of_its_word(row: Row) -> None:
    f64, f32 = (planned_tensor(row, dtype, (20, 20), seed=2**64 - 1) for dtype in (DType.F64, DType.F32))
    distribution = f64.distribution
    location, std, low, high = (getattr(distribution, name) for name in ("location", "std_before", "low", "high"))

    for plan, word, f, ulp in (
        (f64, reference.word64, reference.BINARY64, 1e-12),
        (f32, reference.word, reference.BINARY32, 2.0**-24),
    ):
        words = [word(2**64 - 1, "w", index) for index in range(400)]
        wanted = np.array([location + std * structures.cut_normal(each, f, low, high) for each in words])
        np.testing.assert_allclose(stored(plan), wanted, rtol=ulp * (1 + 1e-5), atol=std * 1e-12)


@pytest.mark.parametrize("row", ORTHOGONAL_ROWS, ids=str)
def test_an_orthogonal_tensor_is_the_factor_of_its_normals(row: Row) -> None:
    for shape in row.places.shapes:
        plan = planned_tensor(row, DType.F64, shape, seed=2**64 - 1)
        taps, upper = prod(shape[2:]), row.parameter("center", "jax") == "torch"
        center = sum(
            (size - (not upper)) // 2 * prod(shape[axis + 1 :]) for axis, size in enumerate(shape) if axis >= 2
        )
        step = (center, taps) if row.type == "delta_orthogonal" else (0, 1)
        drawn = structures.normals(2**64 - 1, "w", range(step[0], prod(shape), step[1]))
        by_keras = row.parameter("matricisation", None) == "keras"  # a bare tensor is as it would be in Keras
        matrix = structures.rows_of(drawn, shape[-1] if by_keras else len(drawn) // shape[0])
        factor = structures.orthogonal(structures.transposed(matrix) if by_keras else matrix)
        lines = structures.transposed(factor) if by_keras else factor
        flat = structures.delta(shape, lines, upper=upper) if step[1] > 1 else [x for line in lines for x in line]
        gain = {"relu": sqrt(2.0)}.get(row.parameter("gain", 1.0), row.parameter("gain", 1.0))

        np.testing.assert_allclose(
            stored(plan), gain * row.parameter("multiplier", 1.0) * np.array(flat), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("row", ORTHOGONAL_ROWS, ids=str)
def test_an_orthogonal_tensor_is_rounded_once_and_once_more(row: Row) -> None:
    for dtype, shape in product(DType, row.places.shapes):
        binary64, plan = (planned_tensor(row, each, shape) for each in (DType.F64, dtype))
        rounded = stored(binary64).astype(dtype.precision.floating)

        assert stored(plan).tobytes() == narrow(rounded, dtype, np.empty(rounded.size, dtype.storage)).tobytes()


@each_row
def test_every_initializer_has_the_mean_and_variance_of_its_definition(row: Row) -> None:
    for shape in (shape for shape in row.places.shapes if len(shape) > 1):
        distribution = planned_tensor(row, DType.F32, shape).distribution
        scale = sqrt(row.variance(shape)) + abs(row.mean(shape))

        assert distribution.mean == pytest.approx(row.mean(shape), rel=1e-14, abs=1e-14 * scale)
        assert distribution.std**2 == pytest.approx(row.variance(shape), rel=2e-14, abs=0)


@each_random_row
def test_what_every_initializer_draws_has_that_mean_and_variance(row: Row) -> None:
    # 2^18 values. |z| < 6 would fail by chance for one seed in 5e8, and 38 rows are two tests each: for one seed in
    # 6e6. The seed is fixed, so the test passes always or never. The mean of an orthogonal matrix is nearer to normal
    # tails than a normal's own, its variance does not vary; 1e-3 is for the roundings of BF16.
    assert row.distribution
    shape = row.places.large
    drawn = values(planned_tensor(row, DType.BF16, shape)).astype(np.float64)
    mean, variance = row.mean(shape), row.variance(shape)
    assert drawn.size == 1 << 18

    z_mean = (drawn.mean() - mean) / sqrt(variance / drawn.size)
    excess = ((drawn - mean) ** 2).mean() / variance - 1

    assert abs(z_mean) < 6
    assert abs(excess) < 6 * sqrt((row.distribution.fourth - 1) / drawn.size) + 1e-3


@pytest.mark.parametrize("row", [each for each in ROWS if each.distribution is None], ids=str)
def test_what_is_not_random_has_its_mean_and_variance_exactly(row: Row) -> None:
    for shape in (shape for shape in row.places.shapes if len(shape) > 1):
        drawn = values(planned_tensor(row, DType.F64, shape))

        assert drawn.mean() == pytest.approx(row.mean(shape), rel=1e-14, abs=0)
        assert drawn.var() == pytest.approx(row.variance(shape), rel=1e-13, abs=1e-30)


@pytest.mark.parametrize("row", LAWFUL_ROWS, ids=str)
def test_what_every_initializer_draws_follows_its_distribution(row: Row) -> None:
    # Kolmogorov and Smirnov: sqrt(n) D > 3.3 happens by chance once in 1.4e9 (2 exp(-2 3.3^2)), so for one seed in
    # 4e7 over these 31 tests. The seed is fixed.
    assert row.distribution
    assert row.distribution.cdf
    shape = (64, 256)
    drawn = np.sort(values(planned_tensor(row, DType.F64, shape, seed=8)).reshape(-1).astype(np.float64))
    std = sqrt(row.variance(shape))

    expected = np.array([row.distribution.cdf(z) for z in (drawn - row.mean(shape)) / std])
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


# Multipliers.

FACTORS: Final = (0.1, 3.0)
MULTIPLIED: Final = {type_of(model) for model in initializer_models() if "multiplier" in model.model_fields}


def evenly(std: float) -> Uniform:
    return Uniform(-(sqrt(3.0) * std), sqrt(3.0) * std)


TORCH_GAIN: Final = sqrt(2.0 / (1 + sqrt(5.0) * sqrt(5.0)))
SCALED: Final[dict[str, Callable[[float], Distribution]]] = {
    "xavier_uniform": lambda m: evenly(1.0 * sqrt(1.0 / 5.0) * m),
    "xavier_normal": lambda m: Normal(0.0, 1.0 * sqrt(1.0 / 5.0) * m),
    "kaiming_uniform": lambda m: evenly(sqrt(2.0) * sqrt(1.0 / 4.0) * m),
    "kaiming_normal": lambda m: Normal(0.0, sqrt(2.0) * sqrt(1.0 / 4.0) * m),
    "lecun_uniform": lambda m: evenly(1.0 * sqrt(1.0 / 4.0) * m),
    "lecun_normal": lambda m: Normal(0.0, 1.0 * sqrt(1.0 / 4.0) * m),
    "variance_scaling": lambda m: TruncatedNormal(0.0, 1.0 * sqrt(1.0 / 4.0) * m / 0.8796256610342398),
    "uniform": lambda m: Uniform(0.5 - 0.5 * m, 0.5 + 0.5 * m),
    "normal": lambda m: Normal(0.0, 1.0 * m),
    "truncated_normal": lambda m: TruncatedNormal(0.0, 1.0 * m),
    "orthogonal": lambda m: Orthogonal(1.0 * m, (6, 4), (), (0,)),
    "delta_orthogonal": lambda m: Orthogonal(1.0 * m, (1, 6, 4, 3), (0,), (1,), ((3, 1),)),
    "sparse": lambda m: Sparse(0.01 * m, 3, (6, 4), 0),
    "torch_default": lambda m: evenly(TORCH_GAIN / sqrt(4)).scaled(m),
    "keras_default": lambda m: Uniform(-(sqrt(3.0 * (1.0 / 5.0)) * m), sqrt(3.0 * (1.0 / 5.0)) * m),
}
"""The distribution of each scheme with a multiplier m for 4 inputs and 6 outputs, operation by operation."""
FOUR_TO_SIX: Final = layer("linear", in_features=4, out_features=6)
CONV1D: Final = layer("conv1d", in_channels=4, out_channels=6, kernel_size=3)


def test_the_table_has_every_initializer_with_a_multiplier() -> None:
    assert set(SCALED) == MULTIPLIED


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("kind", SCALED)
def test_a_multiplier_is_the_last_factor_on_the_scalar_in_binary64(kind: str, factor: float) -> None:
    initializer = {"type": kind, "multiplier": factor} | ({"sparsity": 0.5} if kind == "sparse" else {})
    subject = CONV1D if kind == "delta_orthogonal" else FOUR_TO_SIX

    assert planned(subject | {"initializer": initializer}).tensors[0].distribution == SCALED[kind](factor)


# Golden bytes.


def golden_plans(row: Row, dtype: DType) -> Iterator[TensorPlan]:
    for framework in row.places.frameworks:
        layers = [each | {"initializer": row.initializer, "dtype": dtype} for each in row.places.golden]
        yield from planned(*layers, seed=GOLDEN_SEED, framework=framework).tensors


def default_plans(framework: str, layers: tuple[Layer, ...], dtype: DType) -> Iterator[TensorPlan]:
    for each in layers:
        default = f"{framework}_default"
        yield from planned(each, initializer=default, dtype=dtype, framework=framework, seed=7).tensors


PLANS: Final[dict[str, Callable[[DType], Iterator[TensorPlan]]]] = {
    **{str(row): partial(golden_plans, row) for row in ROWS},
    '"torch_default"': partial(default_plans, "torch", TORCH),
    '"keras_default"': partial(default_plans, "keras", KERAS),
}
GOLDEN_DIGESTS: Final[dict[str, dict[str, str]]] = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(("initializer", "digests"), GOLDEN_DIGESTS.items(), ids=GOLDEN_DIGESTS)
def test_the_bytes_of_every_initializer_are_golden(initializer: str, digests: dict[str, str]) -> None:
    """Each digest is over all tensors of a row together; new rows have one a tensor, in `tests.golden`."""
    found = {
        dtype.value: sha256(b"".join(stored(plan).tobytes() for plan in PLANS[initializer](dtype))).hexdigest()
        for dtype in DType
    }

    assert found == digests
