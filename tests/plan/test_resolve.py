"""The distribution of an initializer: what is asked for in other units is drawn within what was asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.stream.dtypes import DType
from tests.plan.planned import planned, tensor


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3), st.floats(-5, 5), st.floats(1e-3, 5))
def test_no_value_passes_the_ends_of_an_absolute_cut(mean: float, std: float, start: float, width: float) -> None:
    low, high = mean + start * std, mean + (start + width) * std
    initializer = {"type": "truncated_normal", "mean": mean, "std": std, "low": low, "high": high, "absolute": True}
    [plan] = planned(tensor("w", (8,), initializer, dtype="F64")).tensors
    least, greatest = plan.distribution.support(DType.F64)
    extremes = np.array([1 << 63, (1 << 63) - 1], np.uint64)  # the words that go farthest out

    drawn = plan.distribution.at(extremes, DType.F64.precision)  # type: ignore[attr-defined]  # it is a cut normal

    assert low <= least <= drawn[0] < drawn[1] <= greatest <= high
