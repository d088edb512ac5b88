"""The safetensors file of a plan: its length is known before, and any byte range can be had alone.

Layout, order and padding are those of the reference writer (safetensors 0.8, `tensor.rs`): an 8-byte little-endian
header length, a JSON header padded with spaces to 8 bytes, then the tensors by dtype (its enumeration, descending)
and name.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from service.analysis.statistics import Summary, expected, misstated
from service.errors import Excess, LimitExceeded
from service.formats.laws import law_document
from service.initializers.distributions import Constant, Normal, TruncatedNormal, Uniform
from service.initializers.truncated import CutNormal
from service.limits import Limits
from service.plan import Parameter, Plan, TensorPlan
from service.spec.canonical import canonical_json
from service.spec.initializers import AnyInitializer, KerasDefault, TorchDefault
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
ELEMENTWISE: Final = (Uniform, Normal, TruncatedNormal, CutNormal, Constant)
"""Laws that scalars alone define."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Where a tensor lies, in bytes from the start of the data."""

    tensor: TensorPlan
    start: int
    stop: int


def lay_out(plan: Plan) -> tuple[Segment, ...]:
    """The tensors of a plan in file order."""
    segments, start = [], 0
    for tensor in sorted(plan.tensors, key=lambda tensor: (DTYPE_ORDER.index(tensor.parameter.dtype), tensor.name)):
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
        _check_header(len(self.header) - ALIGNMENT, self._limits.header_bytes)

    @property
    def length(self) -> int:
        """Bytes of the whole file."""
        return len(self.header) + self.plan.nbytes

    @cached_property
    def etag(self) -> str:
        """A hash over all that the bytes depend on: the header, and how each tensor is drawn. 64 hexadecimal digits."""
        bytes_depend_on = sha256(self.header if self._measured is None else self._unmeasured().header)
        for segment in self.segments:
            bytes_depend_on.update(_draw_parameters(segment.tensor))
            if self.statistics == "measured" and misstated(segment.tensor):
                bytes_depend_on.update(b"measured exactly")
        return bytes_depend_on.hexdigest()

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

    def wholes(self, start: int, stop: int) -> list[Callable[[], object]]:
        """What must be drawn before a byte range can be, because more depends on it."""
        between = self._between(start - len(self.header), stop - len(self.header))
        return [draw for segment in between if (draw := segment.tensor.whole()) is not None]

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
        metadata = {"format": "pt", "xavier": self._metadata()}
        entries = [f'"__metadata__":{_json(metadata)}']
        for segment in self.segments:
            tensor = segment.tensor
            shape = ",".join(map(str, tensor.shape))
            offsets = f"{segment.start},{segment.stop}"
            entry = f'{{"dtype":"{tensor.parameter.dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}'
            entries.append(f"{_json(tensor.name)}:{entry}")
        header = ("{" + ",".join(entries) + "}").encode()
        header += b" " * (-len(header) % ALIGNMENT)
        return len(header).to_bytes(ALIGNMENT, "little") + header

    def _metadata(self) -> str:
        """Canonical JSON (RFC 8785); measured numbers alone are padded to a fixed width."""
        parts: dict[Any, str] = {}
        summaries: Sequence[Summary | None] = self._measured or [None] * len(self.plan.tensors)
        tensors = []
        for tensor, summary in zip(self.plan.tensors, summaries, strict=True):
            of = tensor.parameter
            described = (of.initializer, of.fans, of.arrangement, of.distribution, of.dtype)
            part = parts.get(described)
            if part is None:
                part = parts[described] = describe_parameter(tensor, self.statistics)
            if self.statistics == "measured":
                part = part.replace('"measured":null', f'"measured":{_fixed_width(summary)}')
            if tensor.canonical_name != tensor.name:
                part = f'{{"canonical_name":{_json(tensor.canonical_name)},' + part[1:]
            tensors.append((tensor.name.encode("utf-16-be"), f"{_json(tensor.name)}:{part}"))
        listed = ",".join(text for _, text in sorted(tensors))
        seed = self.plan.spec.seed
        return f'{{"digest":"{self.plan.digest}","seed":"{seed}","stream":{STREAM_VERSION},"tensors":{{{listed}}}}}'


def describe_parameter(tensor: TensorPlan, statistics: StatisticsOption) -> str:
    """How a tensor came about, as canonical JSON: initializer, fans, permutation, expected statistics.

    The members are put together in their canonical order here, as writing a whole plan through the general writer
    takes longer than planning it.
    """
    parameter = tensor.parameter
    members = []
    if parameter.arrangement and not parameter.arrangement.permutes_only(parameter.canonical_shape):
        members.append(f'"arrangement":{canonical_json(asdict(parameter.arrangement)).decode()}')
    if not determined(parameter):
        members.append(f'"distribution":{canonical_json(law_document(parameter.distribution)).decode()}')
    if parameter.fans:
        members.append(f'"fan_in":{parameter.fans.fan_in},"fan_out":{parameter.fans.fan_out}')
    members.append(f'"initializer":{_initializer_json(parameter.initializer)}')
    if parameter.arrangement and parameter.arrangement.permutes_only(parameter.canonical_shape):
        members.append(f'"permutation":{_json(parameter.arrangement.axes)}')
    if statistics != "none":
        promised = expected(tensor)._asdict()
        numbers = ",".join(f'"{name}":{canonical_json(promised[name]).decode()}' for name in sorted(promised))
        measured = ',"measured":null' if statistics == "measured" else ""
        members.append(f'"statistics":{{"expected":{{{numbers}}}{measured}}}')
    return "{" + ",".join(members) + "}"


def determined(parameter: Parameter) -> bool:
    """Whether initializer and fans alone say what the law is, to the last bit."""
    of_layer = isinstance(parameter.initializer, TorchDefault | KerasDefault)
    return isinstance(parameter.distribution, ELEMENTWISE) and not of_layer and parameter.rule != "keras"


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
        message = f"at most {limit} bytes of header; this has {length}: use fewer or shorter names, or statistics=none"
        raise LimitExceeded([Excess("/layers", message, "header_bytes", limit, length)])


def _draw_parameters(tensor: TensorPlan) -> bytes:
    parameter = tensor.parameter
    drawn = (
        STREAM_VERSION,
        tensor.seed,
        tensor.canonical_name,
        parameter.canonical_shape,
        _order(parameter),
        parameter.dtype.value,
    )
    law = parameter.distribution
    scalars = {name: value.hex() if isinstance(value, float) else value for name, value in law.scalars.items()}
    return repr((drawn, type(law).__name__, scalars)).encode()


def _order(parameter: Parameter) -> Any:
    arrangement = parameter.arrangement
    if arrangement and arrangement.permutes_only(parameter.canonical_shape):
        return arrangement.axes
    return arrangement


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
