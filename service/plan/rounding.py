"""Warnings about what rounding to a dtype loses of a distribution, if it is more than a few per cent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from service.distributions.base import stored
from service.distributions.elementwise import Elementwise
from service.distributions.stored import is_coarse
from service.stream.dtypes import DType

if TYPE_CHECKING:
    from service.plan.parameter import Parameter
    from service.plan.tensors import TensorPlan

MOST_CHANGED: Final = 0.05
"""The largest relative change of the standard deviation without a warning."""
MOST_LOOKED_AT: Final = 1000
"""The most parameters that are examined closely, which takes up to a millisecond each."""
MOST_LOST: Final = 0.01
"""The largest share of nonzero values that may become zero without a warning."""


def rounding_warnings(tensors: Iterable[TensorPlan]) -> Iterator[str]:
    """Warn about what rounding loses, once for each parameter; repeats share theirs.

    Args:
        tensors: the tensors of a plan, in model order.
    """
    first: dict[Parameter, str] = {}
    uses: Counter[Parameter] = Counter()
    for tensor in tensors:
        first.setdefault(tensor.parameter, tensor.name)
        uses[tensor.parameter] += 1
    coarse = (parameter for parameter in first if _may_lose(parameter))
    for parameter in islice(coarse, MOST_LOOKED_AT):
        name = first[parameter]
        if parameter.elements and (losses := list(_losses(parameter))):
            others = f" and {uses[parameter] - 1} more" if uses[parameter] > 1 else ""
            yield f"{name!r}{others}: in {parameter.dtype} {' and '.join(losses)}; use {_way_out(parameter.dtype)}"


def _may_lose(parameter: Parameter) -> bool:
    """Whether rounding needs a closer look; it rarely does, which keeps planning cheap."""
    distribution = parameter.distribution
    return not isinstance(distribution, Elementwise) or is_coarse(distribution.mean, distribution.std, parameter.dtype)


def _losses(parameter: Parameter) -> Iterator[str]:
    distribution, std = parameter.distribution, parameter.distribution.std
    after = stored(distribution, parameter.dtype)
    if abs(after.std - std) > MOST_CHANGED * std:
        yield f"the standard deviation {std:.3g} becomes {after.std:.3g}"
    if after.lost > MOST_LOST * after.nonzero:
        yield f"{100 * after.lost / after.nonzero:.3g} % of the values other than 0 become 0"


def _way_out(dtype: DType) -> str:
    return "a larger scale" if dtype is DType.F64 else "a wider dtype or a larger scale"
