"""The metadata of a safetensors file says how its tensors were made; it is written for a plan, and read to verify."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from json.encoder import encode_basestring
from math import prod
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from service.analysis.statistics import Summary, expected
from service.distributions.base import Distribution
from service.distributions.blockwise import summed
from service.distributions.members import MOST_INTEGER, read_distribution
from service.distributions.structured import MOST_AXES
from service.formats.files import StatisticsOption
from service.initializers.fans import Fans
from service.limits import Limits
from service.plan import Parameter, Plan, TensorPlan
from service.plan.parameter import LayerParameter
from service.plan.rearrangement import Rearrangement
from service.plan.resolve import distribution_of
from service.schema.canonical import canonical_json
from service.schema.fields import Count, Seed, Size, Wire
from service.schema.initializers import AnyInitializer, Initializer, KerasDefault, TorchDefault
from service.schema.parsing import read_document
from service.stream import STREAM_VERSION
from service.stream.dtypes import DType
from service.stream.words import Shape

MEASURED_WIDTH: Final = 24
"""Characters of a measured number, fixed so that the header's length is known before anything is measured."""
LAST_OF_16_BITS: Final = "\uffff"
MOST_ELEMENTS: Final = 1 << 63
"""The number of elements that an index can address."""
TWO_BIASES: Final = re.compile(r"(?s).*bias_ih_l[0-9]+(_reverse)?")
"""The canonical names of biases that are one tensor in Keras, and two in PyTorch."""
StoredAs = tuple[str, Shape]
"""The dtype and the shape of a tensor in a file."""


Indices = Annotated[tuple[Annotated[int, Field(ge=0, le=MOST_INTEGER)], ...], Field(strict=False)]
"""Indices as the service writes them; 1.0, which callers may write for an integer, is not an index."""


class ArrangementDescription(Wire):
    """How a tensor is rearranged from the canonical one."""

    view: Indices
    axes: Indices
    shape: Indices | None
    order: Indices | None
    part: Size | None


class TensorDescription(Wire):
    """How a tensor was made, according to the metadata."""

    initializer: Initializer
    arrangement: ArrangementDescription | None = None
    canonical_name: str | None = None
    distribution: dict[str, Any] | None = None
    fan_in: Count | None = None
    fan_out: Count | None = None
    permutation: Indices | None = None
    statistics: Any = None


class Description(Wire):
    """The value of the metadata key `xavier`."""

    digest: str
    seed: Seed
    stream: Literal[1]
    tensors: dict[str, TensorDescription]


def written(
    plan: Plan, statistics: StatisticsOption, measured: Sequence[Summary] | None, check: Callable[[int], None]
) -> Iterator[bytes]:
    """The value of the metadata key `xavier`, as the inside of a JSON string, piece by piece.

    It is the JSON of RFC 8785, except that `canonical_name` comes first and measured numbers are padded.

    Args:
        plan: what the file contains.
        statistics: what to say about each tensor.
        measured: summaries in model order, if they are known.
        check: is given a lower bound of the length, in bytes, and raises if that is too long.
    """
    tensors = plan.tensors
    begin = f'{{"digest":"{plan.digest}","seed":"{plan.spec.seed}","stream":{STREAM_VERSION},"tensors":{{'
    yield _escape(begin).encode()
    descriptions = _descriptions(tensors, statistics, check)
    for number, place in enumerate(_in_canonical_order([tensor.name for tensor in tensors])):
        description = descriptions[place]
        if statistics == "measured":
            description = _with_measured(description, measured[place] if measured else None)
        name = _escape(f"{',' if number else ''}{encode_basestring(tensors[place].name)}:")
        yield (name + _with_names(description, tensors[place])).encode()
    yield _escape("}}").encode()


def described(tensor: TensorPlan, statistics: StatisticsOption) -> str:
    """How a tensor was made, as the inside of a JSON string, without its names and measured numbers."""
    return _escape(_description(tensor, statistics))


def _descriptions(
    tensors: Sequence[TensorPlan], statistics: StatisticsOption, check: Callable[[int], None]
) -> list[str]:
    """How the tensors were made; equal descriptions are built once."""
    by_parameter: dict[Parameter, str] = {}
    by_content: dict[Hashable, str] = {}
    descriptions, length = [], 0
    for tensor in tensors:
        of = tensor.parameter
        if of not in by_parameter:
            content = (of.initializer, of.fans, of.rearrangement, of.distribution, of.dtype)
            by_parameter[of] = by_content[content] = by_content.get(content) or described(tensor, statistics)
        descriptions.append(by_parameter[of])
        length += len(descriptions[-1])
        check(length)
    return descriptions


def _with_measured(description: str, measured: Summary | None) -> str:
    """A description with its tensor's measured numbers, or with room for them."""
    numbers = _fixed_width(measured)
    return description.replace(_escape('"measured":null'), _escape(f'"measured":{numbers}'))


def _with_names(description: str, tensor: TensorPlan) -> str:
    """A description with its tensor's canonical name, if that differs from the name."""
    if tensor.canonical_name == tensor.name:
        return description
    return _escape(f'{{"canonical_name":{encode_basestring(tensor.canonical_name)},') + description[1:]


def _in_canonical_order(names: Sequence[str]) -> list[int]:
    """The places of names in the order of RFC 8785 section 3.2.3: by UTF-16, which is mostly by code point."""
    if max(map(max, filter(None, names)), default="") <= LAST_OF_16_BITS:
        return sorted(range(len(names)), key=names.__getitem__)
    return sorted(range(len(names)), key=lambda place: names[place].encode("utf-16-be"))


def _escape(text: str) -> str:
    """A text as part of a JSON string."""
    return encode_basestring(text)[1:-1]


def _description(tensor: TensorPlan, statistics: StatisticsOption) -> str:
    """How a tensor was made, as canonical JSON: initializer, fans, permutation, expected statistics.

    The members are assembled in canonical order here, because the general writer takes longer for a whole plan than
    planning it does.
    """
    parameter = tensor.parameter
    members = []
    if parameter.rearrangement and not parameter.rearrangement.permutes_only(parameter.canonical_shape):
        members.append(f'"arrangement":{canonical_json(asdict(parameter.rearrangement)).decode()}')
    if not determined(parameter):
        members.append(f'"distribution":{canonical_json(parameter.distribution.document).decode()}')
    if parameter.fans:
        members.append(f'"fan_in":{parameter.fans.fan_in},"fan_out":{parameter.fans.fan_out}')
    members.append(f'"initializer":{_initializer_json(parameter.initializer)}')
    if parameter.rearrangement and parameter.rearrangement.permutes_only(parameter.canonical_shape):
        members.append(f'"permutation":{_json(parameter.rearrangement.axes)}')
    if statistics != "none":
        promised = expected(tensor)._asdict()
        numbers = ",".join(f'"{name}":{canonical_json(promised[name]).decode()}' for name in sorted(promised))
        measured = ',"measured":null' if statistics == "measured" else ""
        members.append(f'"statistics":{{"expected":{{{numbers}}}{measured}}}')
    return "{" + ",".join(members) + "}"


def determined(parameter: Parameter) -> bool:
    """Whether the initializer and the fans alone determine the distribution, to the last bit."""
    of_layer = isinstance(parameter.initializer, TorchDefault | KerasDefault)
    return parameter.distribution.by_scalars and not of_layer and parameter.rule != "keras"


@lru_cache(maxsize=1024)
def _initializer_json(initializer: AnyInitializer) -> str:
    return canonical_json(initializer.model_dump(mode="json", exclude_defaults=True)).decode()


def _fixed_width(summary: Summary | None) -> str:
    numbers = (summary or Summary(None, None, None, None))._asdict()
    shown = ("null" if numbers[name] is None else f"{numbers[name]:.16e}" for name in sorted(numbers))
    return (
        "{"
        + ",".join(f'"{name}":{text:>{MEASURED_WIDTH}}' for name, text in zip(sorted(numbers), shown, strict=True))
        + "}"
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def planned_tensors(text: str, stored: Mapping[str, StoredAs], limits: Limits) -> tuple[TensorPlan, ...]:
    """The tensors that the metadata of a file describes.

    Args:
        text: the value of the key `xavier`.
        stored: the tensors in the file, by name.
        limits: how much may be drawn whole.

    Raises:
        ValueError: the metadata makes no sense.
        OverflowError: a number in it is out of range.
        XavierError: it is not JSON.
    """
    described = Description.model_validate(read_document(text.encode()))
    planned = tuple(_planned(stored.get(name), name, how, described.seed) for name, how in described.tensors.items())
    present = [tensor for tensor in planned if tensor.name in stored]
    for tensor in present:
        _check_parameter(tensor.parameter, stored[tensor.name][1])
    _check_materialized([tensor.parameter for tensor in present], limits)
    return planned


def _planned(stored: StoredAs | None, name: str, described: TensorDescription, seed: int) -> TensorPlan:
    written, shape = stored or (DType.F32, (1,) * len(described.permutation or ()))
    fans = None
    if described.fan_in is not None and described.fan_out is not None:
        fans = Fans(described.fan_in, described.fan_out)
    canonical_name = described.canonical_name or name
    rearrangement = _arrangement(described, shape)
    defined = LayerParameter(
        name=canonical_name,
        output_name=name,
        shape=shape if rearrangement is None else rearrangement.view,
        initializer=described.initializer,
        rearrangement=rearrangement,
    )
    distribution = _distribution(described, fans, is_sum=_is_sum(name, canonical_name, shape))
    return TensorPlan(name, canonical_name, seed, Parameter(defined, DType(written), fans, None, distribution))


def _distribution(described: TensorDescription, fans: Fans | None, *, is_sum: bool) -> Distribution:
    if described.distribution is not None:
        return read_distribution(described.distribution)
    distribution = distribution_of(described.initializer, fans)
    return summed(distribution, distribution, ("", "")) if is_sum else distribution


def _is_sum(name: str, canonical_name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor is Keras' bias of an RNN or LSTM, a sum of two; the bias of a GRU holds both, with rank 2."""
    return name.endswith("bias") and len(shape) == 1 and TWO_BIASES.fullmatch(canonical_name) is not None


def _check_parameter(parameter: Parameter, shape: Sequence[int]) -> None:
    _check_arrangement(parameter.rearrangement, tuple(shape))
    _check_distribution(parameter.distribution, prod(parameter.canonical_shape), parameter.dtype)


def _arrangement(described: TensorDescription, shape: tuple[int, ...]) -> Rearrangement | None:
    if described.arrangement is not None:
        return Rearrangement(**dict(described.arrangement))
    if described.permutation is None:
        return None
    return Rearrangement(_canonical_shape(shape, described.permutation), described.permutation)


def _check_arrangement(rearrangement: Rearrangement | None, shape: tuple[int, ...]) -> None:
    if rearrangement is None:
        return
    view, order, part = rearrangement.view, rearrangement.order, rearrangement.part
    taken = range(part is not None, len(view))
    if not (
        0 < len(taken) <= len(view) <= MOST_AXES
        and sorted(rearrangement.axes) == [*taken]
        and rearrangement.output_shape == shape
        and prod(shape) == prod(view[axis] for axis in taken)
        and prod(view) < MOST_ELEMENTS
    ):
        raise ValueError(f"a rearrangement does not give the shape {list(shape)}")
    if part is not None and (order is not None or part >= view[0]):
        raise ValueError(f"a rearrangement takes part {part} of {view[0]}")
    if order is not None and (len(order) != view[0] or sorted(order) != [*range(len(order))]):
        raise ValueError(f"a rearrangement orders {len(order)} places of {view[0]}")


def _check_distribution(distribution: Distribution, elements: int, dtype: DType) -> None:
    if not distribution.covers(elements):
        raise ValueError(f"a distribution does not fit a tensor of {elements} elements")
    if not distribution.fits(dtype):
        raise ValueError(f"a distribution overflows {dtype}")


def _check_materialized(parameters: Sequence[Parameter], limits: Limits) -> None:
    """Refuse what would take too long, or too much memory, to draw."""
    for name, asked in (
        ("whole_elements", max((of.distribution.matrix_elements for of in parameters), default=0)),
        ("whole_total_elements", sum(of.materialized_elements for of in parameters)),
        ("whole_bytes", max((of.materialized_bytes for of in parameters), default=0)),
    ):
        most, unit = getattr(limits, name), name.rpartition("_")[2]
        if asked > most:
            way_out = f"raise XAVIER_MAX_{name.upper()}"
            raise ValueError(f"at most {most} {unit} may be drawn whole; this asks for {asked}: {way_out}")


def _canonical_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    if sorted(axes) != list(range(len(shape))):
        raise ValueError(f"axes {list(axes)} do not order a shape of rank {len(shape)}")
    return tuple(size for _, size in sorted(zip(axes, shape, strict=True)))
