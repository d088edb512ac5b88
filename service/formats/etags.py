"""ETags: all that a file's bytes depend on, as text that stays the same whatever our classes and fields are called.

The text is an expression of Python in the words of the first release. A law at the top has a table of its scalars, in
hexadecimal; laws within it are calls with decimal numbers, the shortest that read back the same (`repr` of a float).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from math import isfinite
from typing import Any, Final, NamedTuple

from service.distributions.blockwise import Joined, Stacked, Sum
from service.distributions.elementwise import Constant, Distribution, Normal, TruncatedNormal, Uniform
from service.distributions.structured import Identity, Orthogonal, Sparse
from service.distributions.truncated import CutNormal
from service.formats.quoting import quoted
from service.plan import Parameter, TensorPlan
from service.plan.rearrangement import Arrangement
from service.stream import STREAM_VERSION
from service.stream.dtypes import DType


class _Words(NamedTuple):
    """What a law or an arrangement and its members were called in the first release, and where its members are."""

    name: str
    names: tuple[str, ...]
    members: Callable[[Any], tuple[Any, ...]]

    @property
    def table(self) -> str:
        """How a law at the top is written, with a place for each member."""
        members = ", ".join(f"'{name}': %s" for name in self.names)
        return f"'{self.name}', {{{members}}}"

    @property
    def call(self) -> str:
        """How one within another is."""
        return f"{self.name}({', '.join(f'{name}=%s' for name in self.names)})"


_WORDS: Final[dict[type[Any], _Words]] = {
    Uniform: _Words("Uniform", ("low", "high"), lambda law: (law.low, law.high)),
    Normal: _Words("Normal", ("mean", "std"), lambda law: (law.mean, law.std)),
    TruncatedNormal: _Words("TruncatedNormal", ("mean", "std_before"), lambda law: (law.mean, law.std_before)),
    CutNormal: _Words(
        "CutNormal",
        ("location", "std_before", "low", "high"),
        lambda law: (law.location, law.std_before, law.low, law.high),
    ),
    Constant: _Words("Constant", ("value",), lambda law: (law.value,)),
    Identity: _Words(
        "Identity",
        ("value", "shape", "diagonal", "center"),
        lambda law: (law.value, law.shape, law.diagonal, law.center),
    ),
    Orthogonal: _Words(
        "Orthogonal",
        ("gain", "shape", "batch_axes", "row_axes", "center"),
        lambda law: (law.gain, law.shape, law.batch_axes, law.row_axes, law.center),
    ),
    Sparse: _Words(
        "Sparse",
        ("std_before", "zeros", "shape", "row_axis"),
        lambda law: (law.std_before, law.zeros, law.shape, law.row_axis),
    ),
    Stacked: _Words("Stacked", ("laws", "length"), lambda law: (law.laws, law.length)),
    Sum: _Words(
        "Sum",
        ("first", "second", "suffix", "other_suffix"),
        lambda law: (law.first, law.second, law.suffix, law.other_suffix),
    ),
    Joined: _Words(
        "Joined",
        ("first", "second", "suffix", "other_suffix", "order", "length"),
        lambda law: (law.first, law.second, law.suffix, law.other_suffix, law.order, law.length),
    ),
    Arrangement: _Words(
        "Arrangement",
        ("view", "axes", "shape", "order", "part"),
        lambda at: (at.view, at.axes, at.shape, at.order, at.part),
    ),
}
_TABLES: Final = {kind: (words.table, words.members) for kind, words in _WORDS.items()}
_CALLS: Final = {kind: (words.call, words.members) for kind, words in _WORDS.items()}
_DTYPES: Final = {
    DType.F64: "'F64'",
    DType.F32: "'F32'",
    DType.F16: "'F16'",
    DType.BF16: "'BF16'",
    DType.F8_E4M3: "'F8_E4M3'",
    DType.F8_E5M2: "'F8_E5M2'",
}


def etag(header: bytes, tensors: Iterable[TensorPlan]) -> str:
    """A hash over a file's header and how each tensor is drawn; 64 hexadecimal digits, which are no hash of its bytes.

    Args:
        header: without measured numbers, as they follow from the rest.
        tensors: in the order of the file.
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
    """What follows the name: all that the tensors of a parameter share."""
    shape, order = _literal(parameter.canonical_shape), _literal(_order(parameter))
    return f"{shape}, {order}, {_DTYPES[parameter.dtype]}), {_table(parameter.distribution)})"


def _order(parameter: Parameter) -> Any:
    arrangement = parameter.arrangement
    if arrangement and arrangement.permutes_only(parameter.canonical_shape):
        return arrangement.axes
    return arrangement


def _table(law: Distribution) -> str:
    written, where = _TABLES[type(law)]
    return written % tuple(map(_scalar, where(law)))


def _scalar(value: Any) -> str:
    if type(value) is not float:
        return _literal(value)
    return f"'{value.hex()}'" if isfinite(value) else "None"


def _literal(value: Any) -> str:
    """None, a number, text, an arrangement, a law, or a tuple of numbers or of laws."""
    kind = type(value)
    if kind is str:
        return quoted(value)
    if kind is tuple and value and type(value[0]) in _CALLS:
        members = ", ".join(map(_literal, value))
        return f"({members})" if len(value) > 1 else f"({members},)"
    if kind in _CALLS:
        written, where = _CALLS[kind]
        return written % tuple(map(_literal, where(value)))
    return repr(value)
