"""Plans from layers as a caller writes them, and whole tensors drawn from plans."""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import InvalidSpec, LimitExceeded, LimitFault
from service.limits import Limits
from service.plan import Plan, TensorPlan, make_plan
from service.schema.parsing import read_spec
from service.stream.dtypes import widen

Array = NDArray[Any]
Layer = dict[str, Any]


def tensor(name: str, shape: list[int] | tuple[int, ...], initializer: Any = "ones", **more: Any) -> Layer:
    return {"type": "tensor", "name": name, "shape": list(shape), "initializer": initializer} | more


def linear(name: str, in_features: int = 3, out_features: int = 2, **more: Any) -> Layer:
    return {"type": "linear", "name": name, "in_features": in_features, "out_features": out_features} | more


def group(name: str, *layers: Layer) -> Layer:
    return {"type": "group", "name": name, "layers": list(layers)}


def repeat(name: str, times: int, *layers: Layer, **more: Any) -> Layer:
    return {"type": "repeat", "name": name, "times": times, "layers": list(layers)} | more


def spec(*layers: Layer, **more: Any) -> bytes:
    return json.dumps({"seed": 1, "layers": list(layers)} | more).encode()


def planned(*layers: Layer, limits: Limits | None = None, **more: Any) -> Plan:
    return make_plan(read_spec(spec(*layers, **more)), limits)


def stored(plan: TensorPlan, first: int = 0, count: int | None = None) -> Array:
    """Some elements of a tensor as they lie in its file; all where no count is given."""
    out = np.empty(prod(plan.shape) if count is None else count, plan.parameter.dtype.storage)
    plan.fill(first, out)
    return out


def values(plan: TensorPlan) -> Array:
    """A whole tensor, in its shape."""
    return widen(stored(plan), plan.parameter.dtype).reshape(plan.shape)


def by_name(plan: Plan) -> dict[str, Array]:
    """All tensors of a plan."""
    return {each.name: values(each) for each in plan.tensors}


def faults(*layers: Layer, limits: Limits | None = None, **more: Any) -> list[tuple[str, str]]:
    """What a specification means wrongly: pointers and messages."""
    with pytest.raises(InvalidSpec) as refusal:
        planned(*layers, limits=limits, **more)
    return [(fault.pointer, fault.message) for fault in refusal.value.faults]


def excesses(*layers: Layer, limits: Limits | None = None, **more: Any) -> list[LimitFault]:
    """What a specification has too much of."""
    with pytest.raises(LimitExceeded) as refusal:
        planned(*layers, limits=limits, **more)
    found = [fault for fault in refusal.value.faults if isinstance(fault, LimitFault)]
    assert found[0] == refusal.value.first
    return found
