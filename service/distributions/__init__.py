"""The distributions of weights, and the only code that turns random words into weights.

A distribution draws any range of elements, or any set of element indices in any order, and always gives the same bytes.
"""

from typing import Final

from service.distributions.base import Distribution
from service.distributions.blockwise import Blockwise, Concatenated, Sum
from service.distributions.elementwise import Constant, Normal, TruncatedNormal, Uniform
from service.distributions.members import BY_TAG, read_distribution
from service.distributions.orthogonal import Orthogonal
from service.distributions.structured import Identity, Sparse
from service.distributions.truncated import CutNormal

DISTRIBUTIONS: Final[tuple[type[Distribution], ...]] = (
    Uniform,
    Normal,
    TruncatedNormal,
    CutNormal,
    Constant,
    Identity,
    Orthogonal,
    Sparse,
    Blockwise,
    Sum,
    Concatenated,
)
"""Every distribution."""
BY_TAG.update({distribution.tag: distribution for distribution in DISTRIBUTIONS})
__all__ = ["DISTRIBUTIONS", "Distribution", "read_distribution"]
