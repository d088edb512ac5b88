"""The safetensors file of a plan: its length is known before, and any byte range can be had alone.

Layout, order and padding are those of the reference writer (safetensors 0.8, `tensor.rs`): an 8-byte little-endian
header length, a JSON header padded with spaces to 8 bytes, then the tensors by dtype (its enumeration, descending)
and name.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from itertools import chain
from json.encoder import encode_basestring
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.analysis.statistics import Summary, expected, misstated
from service.errors import LimitExceeded, LimitFault
from service.formats.etags import etag
from service.limits import Limits
from service.plan import Outline, Parameter, Plan, TensorPlan
from service.schema.canonical import canonical_json
from service.schema.initializers import AnyInitializer, KerasDefault, TorchDefault
from service.stream import STREAM_VERSION
from service.stream.dtypes import DType

StatisticsOption = Literal["expected", "measured", "none"]

CHUNK_BYTES: Final = 2 << 20
"""Bytes drawn at once: 2^19 elements of F32."""
ALIGNMENT: Final = 8
MEASURED_WIDTH: Final = 24
"""Characters of a measured number, so that the header's length is known before anything is measured."""
DTYPE_ORDER: Final = (DType.F64, DType.F32, DType.BF16, DType.F16, DType.F8_E4M3, DType.F8_E5M2)
"""The reference writer's enumeration of dtypes, descending."""
SEGMENT_MEMORY: Final = 200
"""Bytes of memory for a segment; generous."""
MEASURED_EXACTLY: Final = b"measured exactly"
"""What the ETag has more where measured numbers were wrong in version 0.1."""
MANY: Final = 100
"""Tensors of one parameter that are worth a look before they are made."""
LEAST_ENTRY: Final = 54
"""Bytes of a tensor in the header besides its names and its description, at the least."""
_RANKS: Final = {dtype: rank for rank, dtype in enumerate(DTYPE_ORDER)}
LAST_OF_16_BITS: Final = "\uffff"


@dataclass(frozen=True, slots=True)
class Segment:
    """Where a tensor lies, in bytes from the start of the data."""

    tensor: TensorPlan
    start: int
    stop: int


class Part(NamedTuple):
    """Some bytes of a tensor, and the elements that they are of."""

    tensor: TensorPlan
    elements: range
    nbytes: int


def _one_of_each(tensors: Sequence[TensorPlan]) -> Iterable[TensorPlan]:
    """A tensor of each parameter."""
    return {tensor.parameter: tensor for tensor in tensors}.values()


def lay_out(plan: Plan) -> tuple[Segment, ...]:
    """The tensors of a plan in file order."""
    segments, start = [], 0
    for tensor in sorted(plan.tensors, key=lambda tensor: (_RANKS[tensor.parameter.dtype], tensor.name)):
        segments.append(Segment(tensor, start, start + tensor.parameter.nbytes))
        start = segments[-1].stop
    return tuple(segments)


class SafetensorsFile:
    """A file of weights that exists only as far as it is read.

    Args:
        plan: what is in it.
        statistics: whether the metadata holds expected, expected and measured, or no statistics.
        measured: the measured summaries in model order; reading the header of a `measured` file needs them.
        limits: how large the header may be; the defaults where None.

    Raises:
        LimitExceeded: the header would be too long.
    """

    def __init__(
        self,
        plan: Plan,
        statistics: StatisticsOption = "expected",
        measured: Sequence[Summary] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.plan = plan
        self.statistics = statistics
        self.segments = lay_out(plan)
        self._starts = [segment.start for segment in self.segments]
        self._measured = measured
        self._limits = limits or Limits()
        self.header = self._header()

    @property
    def length(self) -> int:
        """Bytes of the whole file."""
        return len(self.header) + self.plan.nbytes

    @cached_property
    def etag(self) -> str:
        """A hash over all that the bytes depend on, not over the bytes: 64 hexadecimal digits."""
        header = self.header if self._measured is None else self._unmeasured().header
        tensors = [segment.tensor for segment in self.segments]
        corrected = self.statistics == "measured" and any(map(misstated, _one_of_each(tensors)))
        return etag(header + MEASURED_EXACTLY if corrected else header, tensors)

    @property
    def memory(self) -> int:
        """About how many bytes of memory it takes."""
        return self.plan.memory + len(self.header) + SEGMENT_MEMORY * len(self.segments)

    def prepared(self) -> SafetensorsFile:
        """The same, with everything computed that takes longer the more tensors there are."""
        _ = self.etag, self.plan.digest, self.plan.permalink, self.plan.nbytes, self.plan.elements, self.memory
        return self

    def needs_measuring(self, start: int) -> bool:
        """Whether reading from a byte on needs numbers that only drawing gives."""
        return self.statistics == "measured" and self._measured is None and start < len(self.header)

    def with_measured(self, measured: Sequence[Summary]) -> SafetensorsFile:
        """The same file, of the same length and ETag, with its measured numbers."""
        return SafetensorsFile(self.plan, self.statistics, measured, self._limits)

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """A byte range cut into what is drawn at once; the cuts do not depend on the range."""
        data = len(self.header)
        while start < stop:
            end = data if start < data else start - (start - data) % CHUNK_BYTES + CHUNK_BYTES
            yield start, min(end, stop)
            start = end

    def parts(self, start: int, stop: int) -> Iterator[Part]:
        """The parts of tensors that a byte range is made of."""
        start, stop = start - len(self.header), stop - len(self.header)
        for segment in self._between(start, stop):
            size = segment.tensor.parameter.dtype.itemsize
            low, high = max(start, segment.start) - segment.start, min(stop, segment.stop) - segment.start
            yield Part(segment.tensor, range(low // size, -(-high // size)), high - low)

    def read(self, start: int, stop: int) -> memoryview:
        """Bytes start to stop - 1 of the file, in memory that is never written again.

        Args:
            start: from 0 to the length of the file.
            stop: from start to the length of the file.
        """
        header = self.header[start:stop]
        lead = (start + len(header)) % ALIGNMENT  # so that elements lie aligned in memory as they do in the file
        buffer = np.empty(lead + stop - start, np.uint8)[lead:]
        buffer[: len(header)] = np.frombuffer(header, np.uint8)
        self._read_data(start + len(header) - len(self.header), buffer[len(header) :])
        return buffer.data

    def _read_data(self, start: int, out: NDArray[np.uint8]) -> None:
        stop = start + out.size
        for segment in self._between(start, stop):
            low, high = max(start, segment.start), min(stop, segment.stop)
            _read_tensor(segment.tensor, low - segment.start, out[low - start : high - start])

    def _between(self, start: int, stop: int) -> Iterator[Segment]:
        """The tensors that have bytes in a range of the data."""
        first = bisect_right(self._starts, start) - 1
        for segment in self.segments[max(first, 0) :]:
            if segment.start >= stop:
                break
            if max(start, segment.start) < min(stop, segment.stop):
                yield segment

    def _unmeasured(self) -> SafetensorsFile:
        return SafetensorsFile(self.plan, self.statistics, None, self._limits)

    def _header(self) -> bytes:
        """The header with its length before it; it is given up as soon as it is too long."""
        pieces: list[bytes] = []
        length = 0
        for piece in chain(self._metadata(), self._entries()):
            length += len(piece)
            _check_header(length, self._limits.header_bytes)
            pieces.append(piece)
        padding = -length % ALIGNMENT
        _check_header(length + padding, self._limits.header_bytes)
        return b"".join([(length + padding).to_bytes(ALIGNMENT, "little"), *pieces, b" " * padding])

    def _entries(self) -> Iterator[bytes]:
        """Where every tensor lies, in file order."""
        for segment in self.segments:
            tensor = segment.tensor
            shape = ",".join(map(str, tensor.shape))
            offsets = f"{segment.start},{segment.stop}"
            entry = f'{{"dtype":"{tensor.parameter.dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}'
            yield f",{encode_basestring(tensor.name)}:{entry}".encode()
        yield b"}"

    def _metadata(self) -> Iterator[bytes]:
        """Canonical JSON (RFC 8785) as a JSON string; measured numbers alone are padded to a fixed width."""
        tensors, seed = self.plan.tensors, self.plan.spec.seed
        begin = f'{{"digest":"{self.plan.digest}","seed":"{seed}","stream":{STREAM_VERSION},"tensors":{{'
        yield b'{"__metadata__":{"format":"pt","xavier":"' + _escape(begin).encode()
        descriptions = self._descriptions()
        for number, place in enumerate(_in_canonical_order([tensor.name for tensor in tensors])):
            comma = "," if number else ""
            name = _escape(f"{comma}{encode_basestring(tensors[place].name)}:")
            yield (name + self._described(place, descriptions[place])).encode()
        yield _escape("}}").encode() + b'"}'

    def _descriptions(self) -> list[str]:
        """How the tensors came about, as parts of a JSON string; what is equal is written once."""
        by_parameter: dict[Parameter, str] = {}
        by_content: dict[Hashable, str] = {}
        descriptions, length = [], 0
        for tensor in self.plan.tensors:
            of = tensor.parameter
            if of not in by_parameter:
                content = (of.initializer, of.fans, of.rearrangement, of.distribution, of.dtype)
                text = by_content.get(content) or _escape(describe_parameter(tensor, self.statistics))
                by_parameter[of] = by_content[content] = text
            descriptions.append(by_parameter[of])
            length += len(descriptions[-1])
            _check_header(length, self._limits.header_bytes)
        return descriptions

    def _described(self, place: int, description: str) -> str:
        """The description of a tensor, with its own numbers and names in it."""
        tensor = self.plan.tensors[place]
        if self.statistics == "measured":
            measured = self._measured[place] if self._measured else None
            description = description.replace(
                _escape('"measured":null'), _escape(f'"measured":{_fixed_width(measured)}')
            )
        if tensor.canonical_name == tensor.name:
            return description
        return _escape(f'{{"canonical_name":{encode_basestring(tensor.canonical_name)},') + description[1:]


def _in_canonical_order(names: Sequence[str]) -> list[int]:
    """The places of names as RFC 8785 orders them (section 3.2.3): by UTF-16, which mostly is by code point."""
    if max(map(max, filter(None, names)), default="") <= LAST_OF_16_BITS:
        return sorted(range(len(names)), key=names.__getitem__)
    return sorted(range(len(names)), key=lambda place: names[place].encode("utf-16-be"))


def _escape(text: str) -> str:
    """A text as a part of a JSON string."""
    return encode_basestring(text)[1:-1]


def check_outline(outline: Outline, statistics: StatisticsOption, limits: Limits) -> None:
    """Refuse what must have too long a header, before it is expanded.

    Raises:
        LimitExceeded: the header would be too long.
    """
    length = 2 * outline.name_bytes
    for parameter, count in outline.parameters():
        if count >= MANY:
            of_first = TensorPlan("", "", 0, parameter)
            length += count * (LEAST_ENTRY + len(_escape(describe_parameter(of_first, statistics))))
    _check_header(length, limits.header_bytes)


def describe_parameter(tensor: TensorPlan, statistics: StatisticsOption) -> str:
    """How a tensor came about, as canonical JSON: initializer, fans, permutation, expected statistics.

    The members are put together in their canonical order here, as writing a whole plan through the general writer
    takes longer than planning it.
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
    """Whether initializer and fans alone say what the distribution is, to the last bit."""
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


def _check_header(length: int, limit: int) -> None:
    if length > limit:
        message = f"at most {limit} bytes of header; this has more: use fewer or shorter names, or statistics=none"
        raise LimitExceeded([LimitFault("/layers", message, "header_bytes", limit, length)])


def _read_tensor(tensor: TensorPlan, start: int, out: NDArray[np.uint8]) -> None:
    """Bytes of a tensor; elements that the range cuts are drawn aside."""
    storage = tensor.parameter.dtype.storage
    first, skip = divmod(start, storage.itemsize)
    if skip == 0 and out.size % storage.itemsize == 0:
        return tensor.fill(first, out.view(storage))
    count = -(-(skip + out.size) // storage.itemsize)
    elements = np.empty(count, storage)
    tensor.fill(first, elements)
    out[...] = elements.view(np.uint8)[skip : skip + out.size]
    return None
