"""A plan says what rounding to a dtype loses: a standard deviation, or values that become zero."""

from __future__ import annotations

from typing import Any, Final

import pytest

from service.plan import rounding
from service.plan.rounding import MOST_CHANGED, MOST_LOST, rounding_warnings
from service.stream.dtypes import DType
from tests.plan.planned import Layer, linear, planned, repeat, tensor, values

DEAD: Final = {"type": "normal", "std": 1e-9}


def warnings_of(initializer: Any, dtype: str, shape: tuple[int, ...] = (64, 64), **more: Any) -> tuple[str, ...]:
    return planned(tensor("w", shape, initializer, dtype=dtype, **more)).warnings


@pytest.mark.parametrize(
    ("initializer", "dtype", "losses"),
    [
        (DEAD, "F16", "the standard deviation 1e-09 becomes 0 and 100 % of the values other than 0 become 0"),
        (
            {"type": "normal", "std": 3e-4},
            "F8_E4M3",
            "the standard deviation 0.0003 becomes 6.57e-05 and 99.9 % of the values other than 0 become 0",
        ),
        ({"type": "normal", "mean": 100, "std": 1}, "F8_E4M3", "the standard deviation 1 becomes 4;"),
        ({"type": "normal", "std": 0.02}, "F8_E4M3", "3.89 % of the values other than 0 become 0"),
        ({"type": "constant", "value": 1e-60}, "F32", "100 % of the values other than 0 become 0"),
        ({"type": "identity", "gain": 1e-9}, "F16", "the standard deviation 1.24e-10 becomes 0 and 100 % of"),
        ({"type": "sparse", "std": 1e-9}, "F16", "100 % of the values other than 0 become 0"),
        ({"type": "orthogonal", "gain": 1e-9}, "F16", "100 % of the values other than 0 become 0"),
        ({"type": "truncated_normal", "mean": 1, "std": 1e-12}, "F32", "the standard deviation 8.8e-13 becomes 0"),
    ],
    ids=str,
)
def test_a_plan_warns_of_what_rounding_loses(initializer: Layer, dtype: str, losses: str) -> None:
    if initializer["type"] == "sparse":
        initializer = initializer | {"sparsity": 0.5}

    [warning] = warnings_of(initializer, dtype)

    assert warning.startswith(f"'w': in {dtype} ")
    assert losses in warning
    assert warning.endswith("; use a wider dtype or a larger scale")


def test_the_widest_dtype_has_no_wider_one() -> None:
    [warning] = warnings_of({"type": "normal", "mean": 1, "std": 1e-20}, "F64")

    assert warning.endswith("; use a larger scale")


@pytest.mark.parametrize("dtype", DType)
@pytest.mark.parametrize(
    "initializer",
    [
        "zeros",
        "ones",
        "normal",
        "identity",
        {"type": "sparse", "sparsity": 0.9, "std": 1},
        {"type": "constant", "value": 0.1},
        {"type": "uniform", "low": -1.1, "high": 1.1},
        {"type": "truncated_normal", "low": 0.5, "high": None},
        {"type": "orthogonal", "gain": 8},
    ],
    ids=str,
)
def test_a_plan_does_not_warn_of_ordinary_rounding(initializer: Any, dtype: DType) -> None:
    assert warnings_of(initializer, dtype) == ()


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_an_ordinary_network_gets_no_warnings(dtype: str) -> None:
    layers = (
        linear("fc", 4096, 4096),
        {"type": "lstm", "name": "r", "input_size": 64, "hidden_size": 64, "forget_bias": 1},
        {"type": "conv2d", "name": "c", "in_channels": 64, "out_channels": 64, "kernel_size": 3},
        {"type": "batch_norm", "name": "n", "num_features": 64},
        {"type": "embedding", "name": "e", "num_embeddings": 100, "embedding_dim": 64},
    )

    for framework in ("torch", "keras"):
        assert planned(*layers, dtype=dtype, framework=framework).warnings == ()


@pytest.mark.parametrize("std", [2e-4, 4e-4, 1e-3, 2e-3, 5e-3, 0.02, 0.05, 0.1, 1.0])
def test_a_warning_says_what_is_seen_in_the_values(std: float) -> None:
    plan = planned(tensor("w", (512, 512), {"type": "normal", "std": std}, dtype="F8_E4M3"))
    drawn = values(plan.tensors[0])
    changed = abs(drawn.std() / std - 1) > MOST_CHANGED
    lost = (drawn == 0).mean() > MOST_LOST

    warning = " ".join(plan.warnings)

    assert ("the standard deviation" in warning) == changed
    assert ("become 0" in warning) == lost


def test_repeats_share_one_warning_that_names_the_first() -> None:
    plan = planned(repeat("h", 12, linear("fc", initializer=DEAD), tensor("v", (3,), DEAD)), dtype="F16")

    of_layer, of_tensor = plan.warnings

    assert of_layer.startswith("'h.0.fc.weight' and 11 more: in F16 ")
    assert of_tensor.startswith("'h.0.v' and 11 more: in F16 ")


def test_a_tensor_without_values_loses_none() -> None:
    assert warnings_of(DEAD, "F16", (0, 3)) == ()


def test_of_very_many_distributions_the_first_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "MOST_LOOKED_AT", 3)
    layers = [tensor(f"w{n}", (n + 1,), {"type": "normal", "std": 1e-9}, dtype="F16") for n in range(5)]

    assert len(list(rounding_warnings(planned(*layers).tensors))) == 3
