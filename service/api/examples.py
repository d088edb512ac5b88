"""The example specifications of the documentation; every example answer is made from one of them."""

from __future__ import annotations

import json
from functools import cache
from typing import Final

from service.plan import Plan, make_plan
from service.schema.parsing import read_spec

EXAMPLE_SPEC: Final = {
    "seed": 42,
    "layers": [
        {
            "type": "linear",
            "name": "fc1",
            "in_features": 3,
            "out_features": 2,
            "bias": False,
            "initializer": {"type": "xavier_uniform", "gain": "tanh"},
        }
    ],
}
WRONG_SPEC: Final = {
    "seed": -1,
    "layers": [
        {"type": "conv2d", "name": "conv1", "in_channels": 3, "out_channels": 8, "kernel_size": 0, "biass": False}
    ],
}


@cache
def example_plan() -> Plan:
    """The plan of the example specification."""
    return make_plan(read_spec(json.dumps(EXAMPLE_SPEC).encode()))
