"""Structured distributions: orthogonal matrices are Haar-distributed, identities pass inputs on, zeros are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations, product
from math import ceil, nextafter, sqrt
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from service.distributions import orthogonal
from service.distributions.structured import Sparse
from service.stream.dtypes import DType
from service.stream.words import WordSource
from tests.distributions import structures
from tests.distributions.caches import use_cache
from tests.plan.planned import Layer, planned, tensor, values

Array = NDArray[np.float64]
View = Callable[[Array], Array]
"""A weight as a stack of matrices, (batch, rows, columns)."""

UNIT: Final = 2.0**-53
ORTHONORMAL: Final = 8 * UNIT
"""The most by which a product of two rows or columns may be off, per root of their length; see the test."""


def layer(kind: str, **fields: Any) -> Layer:
    return {"type": kind, "name": "l"} | fields


def weights(subject: Layer, initializer: Any = "orthogonal", dtype: DType = DType.F64, **more: Any) -> dict[str, Array]:
    """The weights of a layer without its biases, by name."""
    plan = planned(subject | {"initializer": initializer, "dtype": dtype}, **more)
    return {each.name: values(each) for each in plan.tensors if "bias" not in each.name}


def weight(subject: Layer, initializer: Any = "orthogonal", dtype: DType = DType.F64, **more: Any) -> Array:
    return next(iter(weights(subject, initializer, dtype, **more).values()))


class Case(NamedTuple):
    """A layer, and the matrices of its first weight as a rule sees them."""

    name: str
    layer: Layer
    view: View
    rule: str | None = None

    def __str__(self) -> str:
        return self.name

    def initializer(self, **more: Any) -> dict[str, Any]:
        return {"type": "orthogonal"} | ({"matricisation": self.rule} if self.rule else {}) | more

    def matrices(self, initializer: Any = None, dtype: DType = DType.F64) -> Array:
        return self.view(weight(self.layer, initializer or self.initializer(), dtype))


def reshaped(*shape: int) -> View:
    return lambda w: w.reshape(shape)


def one(w: Array) -> Array:
    return w.reshape(1, w.shape[0], -1)


LSTM: Final = layer("lstm", input_size=6, hidden_size=5)
GROUPED: Final = layer("conv2d", in_channels=6, out_channels=8, kernel_size=[3, 1], groups=2)
TRANSPOSED: Final = layer("conv_transpose1d", in_channels=4, out_channels=6, kernel_size=3, groups=2)
DEPTHWISE: Final = layer("depthwise_conv", in_channels=3, depth_multiplier=4, kernel_size=[5])
ATTENTION: Final = layer("multihead_attention", embed_dim=6, num_heads=3)
CASES: Final = (
    Case("tall", tensor("l", (29, 13)), one),
    Case("wide", tensor("l", (13, 29)), one),
    Case("square", tensor("l", (17, 17)), one),
    Case("one row", tensor("l", (1, 9)), one),
    Case("one column", tensor("l", (9, 1)), one),
    Case("one element", tensor("l", (1, 1)), one),
    Case("in_out", tensor("l", (3, 5, 7), layout="in_out"), lambda w: w.reshape(15, 7).T[np.newaxis]),
    Case(
        "axes",
        tensor("l", (4, 3, 5, 2), in_axes=[1], out_axes=[2], batch_axes=[0]),
        lambda w: w.transpose(0, 2, 1, 3).reshape(4, 5, 6),
    ),
    Case("linear", layer("linear", in_features=12, out_features=5), one),
    Case("stored linear", layer("linear", in_features=12, out_features=5, layout="in_out"), lambda w: w.T[np.newaxis]),
    Case("bilinear", layer("bilinear", in1_features=3, in2_features=4, out_features=5), one),
    Case("embedding", layer("embedding", num_embeddings=11, embedding_dim=4), one),
    Case("convolution", layer("conv2d", in_channels=5, out_channels=7, kernel_size=[3, 2]), one),
    Case("tall convolution", layer("conv1d", in_channels=2, out_channels=9, kernel_size=3), one),
    Case("grouped", GROUPED, reshaped(2, 4, 9)),
    Case("grouped as torch", GROUPED, one, "torch"),
    Case("transposed", layer("conv_transpose2d", in_channels=5, out_channels=7, kernel_size=[3, 2]), one),
    Case("grouped transposed", TRANSPOSED, reshaped(2, 2, 9)),
    Case("grouped transposed as torch", TRANSPOSED, one, "torch"),
    Case("depthwise", DEPTHWISE, reshaped(3, 4, 5)),
    Case("depthwise as torch", DEPTHWISE, one, "torch"),
    Case("depthwise as keras", DEPTHWISE, lambda w: w.reshape(3, 4, 5).transpose(1, 0, 2).reshape(1, 4, 15), "keras"),
    Case("gates", LSTM, reshaped(4, 5, 6)),
    Case("gates as torch", LSTM, one, "torch"),
    Case("gates as keras", LSTM, one, "keras"),
    Case("gru", layer("gru", input_size=3, hidden_size=5), reshaped(3, 5, 3)),
    Case("projections", ATTENTION, reshaped(3, 6, 6)),
    Case("projections as torch", ATTENTION, one, "torch"),
    Case(
        "projections as keras",
        ATTENTION,
        lambda w: w.reshape(3, 3, 2, 6).transpose(0, 2, 1, 3).reshape(3, 2, 18),
        "keras",
    ),
)
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def tall(matrices: Array) -> Array:
    """The matrices, or their transposes, with at least as many rows as columns."""
    return matrices if matrices.shape[1] >= matrices.shape[2] else matrices.transpose(0, 2, 1)


def deviation(q: Array) -> float:
    """By how much products of columns differ from those of orthonormal ones, in units of the bound."""
    products = q.transpose(0, 2, 1) @ q
    return float(np.abs(products - np.eye(q.shape[2])).max()) / (ORTHONORMAL * sqrt(q.shape[1]))


@each_case
def test_a_matrix_is_the_orthonormal_factor_of_its_normals_whose_triangle_has_a_positive_diagonal(case: Case) -> None:
    # Each element is rounded to 2^-53 of at most 1 and the rows are unit vectors, so that rounding alone gives a
    # product of two of length n an error of about 2^-53, at most 2^-53 sqrt(n). The bound is eight times that.
    q, a = tall(case.matrices()), tall(case.matrices("normal"))

    assert deviation(q) <= 1
    r = q.transpose(0, 2, 1) @ a

    assert np.abs(np.tril(r, -1)).max() < 1e-13 * sqrt(a.shape[1])
    assert (np.diagonal(r, axis1=1, axis2=2) > 0).all()
    np.testing.assert_allclose(q @ r, a, rtol=0, atol=1e-12)


def torch_orthogonal(a: Array) -> Array:
    """As `torch.nn.init.orthogonal_` makes it of the normals of a tensor."""
    flattened = a.reshape(a.shape[0], -1)
    rows, columns = flattened.shape
    q, r = np.linalg.qr(flattened.T if rows < columns else flattened)
    q *= np.sign(np.diag(r))
    return (q.T if rows < columns else q).reshape(a.shape)


def keras_orthogonal(a: Array) -> Array:
    """As `keras.initializers.Orthogonal` makes it of the normals of a kernel in Keras' layout."""
    flat = a.reshape(-1, a.shape[-1])
    rows, columns = flat.shape
    q, r = np.linalg.qr(flat.T if rows < columns else flat)
    q *= np.sign(np.diag(r))
    return (q.T if rows < columns else q).reshape(a.shape)


def jax_orthogonal(a: Array) -> Array:
    """As `jax.nn.initializers.orthogonal(column_axis=-1)` makes it of the normals of a kernel in Flax' layout."""
    rows, columns = a.shape[-1], a.size // a.shape[-1]
    by_rows = np.moveaxis(a, -1, 0).reshape(rows, columns)
    q, r = np.linalg.qr(by_rows if rows > columns else by_rows.T)
    q *= np.sign(np.diag(r))
    q = q if rows > columns else q.T
    return np.moveaxis(q.reshape(rows, *a.shape[:-1]), 0, -1)


@pytest.mark.parametrize("construction", [keras_orthogonal, jax_orthogonal])
@pytest.mark.parametrize(
    "subject",
    [
        layer("linear", in_features=12, out_features=5),
        layer("linear", in_features=5, out_features=12),
        layer("conv2d", in_channels=5, out_channels=7, kernel_size=[3, 2]),
        layer("conv_transpose2d", in_channels=5, out_channels=7, kernel_size=[3, 2]),
        DEPTHWISE,
        layer("lstm", input_size=6, hidden_size=5),
        tensor("l", (3, 2, 7), layout="in_out"),
    ],
    ids=str,
)
def test_orthogonal_as_keras_is_what_keras_and_jax_make_of_the_same_normals(
    subject: Layer, construction: Callable[[Array], Array]
) -> None:
    drawn = weights(subject, {"type": "orthogonal", "matricisation": "keras"}, framework="keras")
    normals = weights(subject, "normal", framework="keras")

    for name, q in drawn.items():
        if q.shape[-1] != q.size // q.shape[-1]:  # a square matrix is factored either way up
            np.testing.assert_allclose(q, construction(normals[name]), rtol=0, atol=1e-12)


@each_case
def test_a_rule_for_fans_says_what_the_matrix_is_where_the_scheme_does_not(case: Case) -> None:
    if "in_axes" in case.layer:
        return
    by_scheme = weight(case.layer, case.initializer(matricisation=case.rule or "exact"))

    np.testing.assert_array_equal(weight(case.layer, "orthogonal", fans=case.rule or "exact"), by_scheme)


@pytest.mark.parametrize(("gain", "factor"), [(3, 3.0), ("relu", sqrt(2.0)), (0.1, 0.1)])
def test_the_gain_multiplies_each_element_once(gain: float | str, factor: float) -> None:
    for case in CASES:
        plain, scaled = case.matrices(), case.matrices(case.initializer(gain=gain))
        np.testing.assert_array_equal(scaled, plain * factor)


@pytest.mark.parametrize("subject", [tensor("clamped", (2, 2)), tensor("clamped", (2, 2, 3))], ids=str)
def test_an_element_that_rounding_puts_beyond_1_is_1(subject: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    beyond = np.array([[[nextafter(1, 2), 0.0], [0.0, -nextafter(1, 2)]]])
    monkeypatch.setattr(orthogonal, "orthogonal_factor", lambda _: beyond.copy())
    use_cache(monkeypatch)
    kind = "orthogonal" if len(subject["shape"]) == 2 else "delta_orthogonal"

    w = weight(subject, {"type": kind, "gain": 3})

    assert (w.max(), w.min()) == (3, -3)


# Haar's measure.

SIZE: Final = 12
COUNT: Final = 4000


def many_matrices(initializer: Any) -> Array:
    return weight(tensor("haar", (COUNT, SIZE, SIZE), in_axes=[2], out_axes=[1], batch_axes=[0]), initializer, seed=4)


def angles(matrices: Array) -> Array:
    """Of the eigenvalues above the real axis."""
    phases = np.angle(np.linalg.eigvals(matrices))
    return np.sort(phases[(phases > 1e-7) & (phases < np.pi - 1e-7)])


def distance_from_uniform(sorted_angles: Array) -> float:
    """Kolmogorov's and Smirnov's, times the root of the number."""
    n = sorted_angles.size
    steps, expected = np.arange(n + 1) / n, sorted_angles / np.pi
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()) * sqrt(n))


def test_the_eigenvalues_of_orthogonal_matrices_are_uniform_on_the_circle() -> None:
    # Over both signs of the determinant, the angles of O(12) other than 0 and pi are exactly uniform, and those of one
    # matrix repel each other, so that their distance is less than that of as many independent ones, of which
    # sqrt(n) D > 3 happens once in 3e7.
    assert distance_from_uniform(angles(many_matrices("orthogonal"))) < 3


def test_without_the_sign_correction_they_would_not_be() -> None:
    assert distance_from_uniform(angles(np.linalg.qr(many_matrices("normal"))[0])) > 6


# Delta-orthogonal and dirac: convolutions.


def circular(w: Array, x: Array, groups: int = 1) -> Array:
    """y[o, p] = sum of w[o, i, t] x[i, p + t], around; x is (in, *places), w (out, in / groups, *kernel)."""
    outputs, inputs = w.shape[0] // groups, w.shape[1]
    y = np.zeros((w.shape[0], *x.shape[1:]))
    for taps in product(*map(range, w.shape[2:])):
        moved = np.roll(x, [-tap for tap in taps], tuple(range(1, x.ndim)))
        for group in range(groups):
            place: Any = (slice(group * outputs, (group + 1) * outputs), slice(None), *taps)
            y[group * outputs : (group + 1) * outputs] += np.tensordot(
                w[place], moved[group * inputs : (group + 1) * inputs], 1
            )
    return y


def circular_transposed(w: Array, x: Array, groups: int = 1) -> Array:
    """y[o, p + t] = sum of x[i, p] w[i, o, t], around; w is (in, out / groups, *kernel)."""
    inputs = w.shape[0] // groups
    parts = []
    for group in range(groups):
        block, own = w[group * inputs : (group + 1) * inputs], x[group * inputs : (group + 1) * inputs]
        reversed_taps = np.flip(np.swapaxes(block, 0, 1), tuple(range(2, block.ndim)))
        y = circular(reversed_taps, own)
        parts.append(np.roll(y, [size - 1 for size in block.shape[2:]], tuple(range(1, y.ndim))))
    return np.concatenate(parts)


def signal(channels: int, places: tuple[int, ...]) -> Array:
    return np.random.default_rng(1).normal(size=(channels, *places))


def convolved(subject: Layer, w: Array, x: Array) -> Array:
    convolve = circular_transposed if "transpose" in subject["type"] else circular
    groups = subject["in_channels"] if subject["type"] == "depthwise_conv" else subject.get("groups", 1)
    return convolve(w, x, groups)


CONVOLUTIONS: Final = (
    layer("conv1d", in_channels=4, out_channels=6, kernel_size=4),
    layer("conv2d", in_channels=5, out_channels=5, kernel_size=[3, 2]),
    layer("conv3d", in_channels=2, out_channels=3, kernel_size=[1, 2, 3]),
    layer("conv2d", in_channels=4, out_channels=8, kernel_size=3, groups=2),
    layer("conv_transpose1d", in_channels=4, out_channels=6, kernel_size=4),
    layer("conv_transpose2d", in_channels=4, out_channels=8, kernel_size=[3, 2], groups=2),
    layer("depthwise_conv", in_channels=3, depth_multiplier=2, kernel_size=[2, 4]),
)
each_convolution = pytest.mark.parametrize("subject", CONVOLUTIONS, ids=str)
each_center = pytest.mark.parametrize("center", ["torch", "jax"])


def center_of(w: Array, center: str) -> tuple[int, ...]:
    return tuple(size // 2 if center == "torch" else (size - 1) // 2 for size in w.shape[2:])


@each_convolution
@each_center
def test_a_delta_orthogonal_convolution_keeps_the_norm_of_any_signal(subject: Layer, center: str) -> None:
    w = weight(subject, {"type": "delta_orthogonal", "center": center, "gain": 2})
    x = signal(subject["in_channels"], (7, 5, 4)[: w.ndim - 2])

    y = convolved(subject, w, x)

    assert np.linalg.norm(y) == pytest.approx(2 * np.linalg.norm(x), rel=1e-14, abs=0)


@each_convolution
@each_center
def test_delta_orthogonal_is_zero_off_the_centre_and_the_orthogonal_matrix_of_its_normals_there(
    subject: Layer, center: str
) -> None:
    w = weight(subject, {"type": "delta_orthogonal", "center": center})
    middle: Any = (slice(None), slice(None), *center_of(w, center))
    a = weight(subject, "normal")[middle]
    groups = subject["in_channels"] if subject["type"] == "depthwise_conv" else subject.get("groups", 1)

    expected = np.concatenate([torch_orthogonal(part) for part in np.split(a, groups)])

    np.testing.assert_allclose(w[middle], expected, rtol=0, atol=1e-12)
    w[middle] = 0
    assert not w.any()
    assert not np.signbit(w).any()


def test_delta_orthogonal_is_centred_as_jax_does_unless_told_otherwise() -> None:
    subject = layer("conv1d", in_channels=2, out_channels=2, kernel_size=4)

    np.testing.assert_array_equal(
        weight(subject, "delta_orthogonal"), weight(subject, {"type": "delta_orthogonal", "center": "jax"})
    )
    assert weight(subject, "delta_orthogonal")[:, :, 1].all()


def correlated(w: Array, x: Array, before: tuple[int, ...], groups: int) -> Array:
    """A convolution with as many outputs as inputs; zeros stand around, so many of them before."""
    after = [size - 1 - pad for size, pad in zip(w.shape[2:], before, strict=True)]
    padded = np.pad(x, [(0, 0), *zip(before, after, strict=True)])
    y = circular(w, padded, groups)
    inside: Any = (slice(None), *(slice(size) for size in x.shape[1:]))
    return np.asarray(y[inside])


PLAIN_CONVOLUTIONS: Final = (
    layer("conv1d", in_channels=4, out_channels=4, kernel_size=4),
    layer("conv1d", in_channels=4, out_channels=4, kernel_size=5, groups=2),
    layer("conv2d", in_channels=3, out_channels=3, kernel_size=[3, 2]),
    layer("conv2d", in_channels=6, out_channels=6, kernel_size=[4, 4], groups=3),
    layer("conv3d", in_channels=2, out_channels=2, kernel_size=[1, 2, 3]),
    layer("depthwise_conv", in_channels=3, kernel_size=[2, 4]),
)


@pytest.mark.parametrize("subject", PLAIN_CONVOLUTIONS, ids=str)
@each_center
def test_a_convolution_by_dirac_returns_its_input_in_the_framework_of_its_centre(subject: Layer, center: str) -> None:
    groups = subject["in_channels"] if subject["type"] == "depthwise_conv" else subject.get("groups", 1)
    w = weight(subject, {"type": "dirac", "center": center})
    x = signal(subject["in_channels"], (7, 5, 4)[: w.ndim - 2])
    other = center_of(w, "jax" if center == "torch" else "torch")

    np.testing.assert_array_equal(correlated(w, x, center_of(w, center), groups), x)
    if center_of(w, center) != other:  # so that the test tells the centres of an even kernel apart
        assert not np.array_equal(correlated(w, x, other, groups), x)


@pytest.mark.parametrize("shape", [(4, 3, 3), (3, 4, 4), (6, 3, 2, 5), (4, 2, 1, 2, 3)])
@pytest.mark.parametrize("groups", [None, 1, 2])
@each_center
def test_dirac_fills_a_bare_tensor_as_torch_does(shape: tuple[int, ...], groups: int | None, center: str) -> None:
    if shape[0] % (groups or 1):
        return
    initializer = {"type": "dirac", "center": center, "gain": -1.5} | ({"groups": groups} if groups else {})

    expected = structures.dirac(shape, -1.5, upper=center == "torch", groups=groups or 1)

    np.testing.assert_array_equal(weight(tensor("l", shape), initializer).reshape(-1), expected)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_groups_of_dirac_stand_instead_of_those_of_the_layer(groups: int) -> None:
    subject = layer("conv1d", in_channels=8, out_channels=4, kernel_size=3, groups=2)

    w = weight(subject, {"type": "dirac", "groups": groups})

    np.testing.assert_array_equal(w.reshape(-1), structures.dirac((4, 4, 3), 1.0, groups=groups))


def test_the_groups_of_dirac_are_of_the_outputs_in_the_other_layout_too() -> None:
    w = weight(tensor("l", (3, 2, 6), layout="in_out"), {"type": "dirac", "groups": 3})

    np.testing.assert_array_equal(w.transpose(2, 1, 0).reshape(-1), structures.dirac((6, 2, 3), 1.0, groups=3))


def test_an_identity_stands_in_each_gate_by_connectivity_and_once_as_torch_counts() -> None:
    by_connectivity, by_torch = (weight(LSTM, "identity", fans=fans) for fans in ("exact", "torch"))

    np.testing.assert_array_equal(by_connectivity, np.tile(np.eye(5, 6), (4, 1)))
    np.testing.assert_array_equal(by_torch, np.eye(20, 6))


@pytest.mark.parametrize("gain", [1.0, -0.25, 0.0])
@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (tensor("l", (3, 5)), np.eye(3, 5)),
        (tensor("l", (5, 3), layout="in_out"), np.eye(5, 3)),
        (layer("linear", in_features=4, out_features=3), np.eye(3, 4)),
        (layer("linear", in_features=4, out_features=3, layout="in_out"), np.eye(4, 3)),
        (layer("embedding", num_embeddings=5, embedding_dim=2), np.eye(5, 2)),
        (ATTENTION, np.tile(np.eye(6), (3, 1))),
    ],
    ids=str,
)
def test_an_identity_is_its_gain_on_the_diagonal(subject: Layer, expected: Array, gain: float) -> None:
    drawn = weight(subject, {"type": "identity", "gain": gain})

    np.testing.assert_array_equal(drawn, gain * expected)


# Sparse.


def zeros_of(w: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(w == 0)


@pytest.mark.parametrize("sparsity", [0, 0.05, 0.1, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("shape", [(10, 200), (37, 50), (1, 20), (200, 3)])
def test_every_column_has_exactly_so_many_zeros(shape: tuple[int, int], sparsity: float) -> None:
    w = weight(tensor("l", shape), {"type": "sparse", "sparsity": sparsity, "std": 1.0}, DType.BF16)

    np.testing.assert_array_equal(zeros_of(w).sum(axis=0), ceil(sparsity * shape[0]))
    assert not np.signbit(w[zeros_of(w)]).any()


@pytest.mark.parametrize(
    ("subject", "columns"),
    [
        (tensor("l", (20, 30), layout="in_out"), lambda w: w.T),
        (layer("linear", in_features=20, out_features=30), lambda w: w),
        (layer("linear", in_features=20, out_features=30, layout="in_out"), lambda w: w.T),
        (layer("gru", input_size=7, hidden_size=10), lambda w: w.reshape(3, 10, 7).transpose(1, 0, 2).reshape(10, 21)),
        (layer("embedding", num_embeddings=10, embedding_dim=6), lambda w: w),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_columns_of_a_layer_are_those_of_each_of_its_maps(subject: Layer, columns: View) -> None:
    w = columns(weight(subject, {"type": "sparse", "sparsity": 0.25}))

    np.testing.assert_array_equal(zeros_of(w).sum(axis=0), ceil(0.25 * w.shape[0]))


def test_what_is_not_zero_is_the_normal_of_the_same_name() -> None:
    w = weight(tensor("l", (50, 40)), {"type": "sparse", "sparsity": 0.4, "std": 0.5})
    normal = weight(tensor("l", (50, 40)), {"type": "normal", "std": 0.5})

    np.testing.assert_array_equal(w[~zeros_of(w)], normal[~zeros_of(w)])


def test_the_mask_depends_on_neither_dtype_nor_deviation() -> None:
    drawn = [
        zeros_of(weight(tensor("l", (40, 40)), {"type": "sparse", "sparsity": 0.4, "std": std}, dtype))
        for dtype in (DType.F64, DType.F32, DType.F16)
        for std in (1, 0.1)
    ]

    assert all(np.array_equal(drawn[0], other) for other in drawn)


def test_all_sets_of_zero_rows_are_equally_likely() -> None:
    # 15 pairs of six rows: a chi-square of 14 degrees, above 65 by chance once in 6e7.
    columns = 15_000
    mask = zeros_of(weight(tensor("l", (6, columns)), {"type": "sparse", "sparsity": 1 / 3}))
    pairs = Counter(tuple(np.flatnonzero(column).tolist()) for column in mask.T)

    assert set(pairs) == set(combinations(range(6), 2))
    assert sum((count - columns / 15) ** 2 for count in pairs.values()) / (columns / 15) < 65


def test_the_zeros_are_those_of_the_smallest_words_of_lane_2() -> None:
    w = weight(tensor("l", (9, 25)), {"type": "sparse", "sparsity": 0.3}, seed=77)

    for column in range(25):
        found = set(np.flatnonzero(w[:, column] == 0))
        assert found == structures.zero_rows(77, "l", range(column, 9 * 25, 25), 3)


def test_equal_words_are_ordered_by_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def equal(_self: WordSource, lane: int, elements: Any) -> NDArray[np.uint32]:
        return np.full(len(elements), 2**32 - 1 if lane == 2 else 1 << 30, np.uint32)

    monkeypatch.setattr(WordSource, "lane", equal)
    out = np.empty(30, np.float32)
    Sparse(1.0, 2, (5, 6), 0).fill(WordSource(1, "equal words"), range(30), DType.F32, out)

    np.testing.assert_array_equal(zeros_of(out.reshape(5, 6)), np.arange(5)[:, np.newaxis].repeat(6, 1) < 2)


DELTA: Final = Case("delta", layer("conv2d", in_channels=4, out_channels=6, kernel_size=3, groups=2), one)


@pytest.mark.parametrize("together", [1, 40])
@pytest.mark.parametrize("case", [*CASES, DELTA], ids=str)
def test_the_bytes_are_the_same_however_many_matrices_are_drawn_and_kept_together(
    monkeypatch: pytest.MonkeyPatch, case: Case, together: int
) -> None:
    initializer = {"type": "delta_orthogonal"} if case is DELTA else case.initializer()
    for framework in ("torch", "keras"):
        usual = weights(case.layer, initializer, framework=framework)
        with monkeypatch.context() as patch:
            use_cache(patch)
            patch.setattr(orthogonal, "TOGETHER", together)
            parts = weights(case.layer, initializer, framework=framework)

        assert {name: w.tobytes() for name, w in parts.items()} == {name: w.tobytes() for name, w in usual.items()}
