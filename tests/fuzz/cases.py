"""Valid specifications with options, small enough to be drawn often, and what drawing them may cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, Final

from service.delivery.pool import needs
from service.errors import Refused
from service.formats.files import StatisticsOption
from service.formats.safetensors import SafetensorsFile
from service.limits import Limits
from service.plan import Plan, make_plan
from service.schema.parsing import read_spec
from tests.formats.files import OPTIONS, file_of
from tests.fuzz.exchanges import REFUSING, Bound
from tests.fuzz.specifications import Object, dtype, seed, specification

DRAWN: Final = Limits(file_bytes=12 << 20, whole_elements=1 << 17, whole_total_elements=1 << 19)
"""What is small enough to be drawn a dozen times."""
SECONDS_A_TENSOR: Final = 2e-5
SECONDS_A_PARAMETER: Final = 2e-4
SECONDS_AN_ELEMENT: Final = 2e-7
SECONDS_A_DRAWN_TENSOR: Final = 3e-4
BYTES_AN_ELEMENT: Final = 100


def planning_bound(plan: Plan) -> Bound:
    """What a request may cost that has a plan made and described."""
    parameters = {tensor.parameter for tensor in plan.tensors}
    return REFUSING.plus(0, SECONDS_A_TENSOR * len(plan.tensors) + SECONDS_A_PARAMETER * len(parameters))


def drawing_bound(plan: Plan) -> Bound:
    """What one may cost that has all of it drawn and measured, or written as JSON, too."""
    seconds = SECONDS_A_DRAWN_TENSOR * len(plan.tensors) + SECONDS_AN_ELEMENT * plan.elements
    seconds += 3e-9 * sum(whole.work for whole in needs(plan))
    return planning_bound(plan).plus(BYTES_AN_ELEMENT * plan.elements, seconds)


@dataclass(frozen=True)
class Case:
    """A specification and its options.

    Attributes:
        spec: as drawn.
        changes: the options seed and dtype.
        statistics: the option.
    """

    spec: Object
    changes: dict[str, Any]
    statistics: StatisticsOption

    @cached_property
    def plan(self) -> Plan:
        """By this process.

        Raises:
            Refused: it means nothing, or is too large to be drawn so often.
        """
        read = read_spec(json.dumps(self.spec).encode())
        return make_plan(read.model_copy(update=self.changes), DRAWN)

    @cached_property
    def file(self) -> SafetensorsFile:
        """By this process."""
        return file_of(self.plan, self.statistics)

    @property
    def options(self) -> dict[str, Any]:
        """As a query has them."""
        return self.changes | ({} if self.statistics == "expected" else {"statistics": self.statistics})

    @cached_property
    def bound(self) -> Bound:
        """What drawing it may cost the server."""
        return drawing_bound(self.plan)


def valid_case(chance: Random) -> Case:
    """Specifications are drawn until one is valid, and small enough."""
    while True:
        spec = specification(chance)
        changes = {name: draw(chance) for name, draw in (("seed", seed), ("dtype", dtype)) if chance.random() < 0.2}
        case = Case(spec, changes, chance.choice(OPTIONS))
        try:
            _ = case.plan
        except Refused:
            continue
        return case
