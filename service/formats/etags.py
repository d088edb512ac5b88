"""ETags: hashes of everything that a file's bytes depend on, as text that survives the renaming of classes and fields.

The text is a Python expression in the names of the first release. The distribution of a tensor is a table of its
members, with numbers in hexadecimal. Distributions nested in it are calls, with the shortest decimals that read back
the same (`repr` of a float).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from math import isfinite
from typing import Any

from service.distributions.base import Distribution
from service.formats.quoting import quoted
from service.plan import Parameter, TensorPlan
from service.plan.rearrangement import Rearrangement
from service.stream import STREAM_VERSION


def etag(header: bytes, tensors: Iterable[TensorPlan]) -> str:
    """A hash of a file's header and of how each tensor is drawn, not of its bytes: 64 hexadecimal digits.

    Args:
        header: the header without measured numbers, which follow from the rest.
        tensors: the tensors in file order.
    """
    bytes_depend_on = sha256(header)
    shared: dict[Parameter, str] = {}
    for tensor in tensors:
        parameter = tensor.parameter
        how = shared.get(parameter)
        if how is None:
            how = shared[parameter] = _how_drawn(parameter)
        bytes_depend_on.update(f"(({STREAM_VERSION}, {tensor.seed}, {quoted(tensor.canonical_name)}, {how}".encode())
    return bytes_depend_on.hexdigest()


def _how_drawn(parameter: Parameter) -> str:
    """The text after the name, which all tensors of a parameter share."""
    order = _literal(_order(parameter))
    return f"{parameter.canonical_shape}, {order}, '{parameter.dtype.value}'), {_table(parameter.distribution)})"


def _order(parameter: Parameter) -> Any:
    rearrangement = parameter.rearrangement
    if rearrangement and rearrangement.permutes_only(parameter.canonical_shape):
        return rearrangement.axes
    return rearrangement


def _table(distribution: Distribution) -> str:
    return _form(type(distribution)) % tuple(map(_scalar, distribution.values))


@cache
def _form(kind: type[Distribution]) -> str:
    """How a distribution at the top is written, with a place for each member."""
    members = ", ".join(f"'{member.name}': %s" for member in kind.members)
    return f"'{_name(kind)}', {{{members}}}"


def _scalar(value: Any) -> str:
    if type(value) is not float:
        return _literal(value)
    return f"'{value.hex()}'" if isfinite(value) else "None"


def _literal(value: Any) -> str:
    """None, a number, text, a rearrangement, a distribution, or a tuple of numbers or of distributions."""
    match value:
        case None | int() | float():
            return repr(value)
        case str():
            return quoted(value)
        case (Distribution(), *_):
            each = ", ".join(map(_literal, value))
            return f"({each})" if len(value) > 1 else f"({each},)"
        case Distribution():
            members = zip(value.members, value.values, strict=True)
            return f"{_name(type(value))}({', '.join([f'{member.name}={_literal(of)}' for member, of in members])})"
        case Rearrangement():
            places = value.view, value.axes, value.shape, value.order, value.part
            return "Arrangement(view={}, axes={}, shape={}, order={}, part={})".format(*map(_literal, places))
        case _:
            return repr(value)


def _name(kind: type[Distribution]) -> str:
    return kind.etag_name or kind.tag
