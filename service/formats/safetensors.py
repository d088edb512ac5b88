"""The safetensors file of a plan: its length is known before it is drawn, and any byte range can be read by itself.

Layout, order and padding are those of the reference writer (safetensors 0.8, `tensor.rs`): an 8-byte little-endian
header length, a JSON header padded with spaces to a multiple of 8 bytes, and the tensors, sorted by dtype (descending
in the writer's enumeration) and name.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from json.encoder import encode_basestring
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.analysis.statistics import Summary, misstated
from service.errors import LimitExceeded, LimitFault
from service.formats import metadata
from service.formats.etags import etag
from service.formats.files import Format, Part, StatisticsOption
from service.limits import Limits
from service.plan import Outline, Plan, TensorPlan

MODEL: Final = "model.safetensors"
"""The name of the file."""
CHUNK_BYTES: Final = 2 << 20
"""Bytes drawn at once: 2^19 elements of F32."""
ALIGNMENT: Final = 8
SEGMENT_MEMORY: Final = 200
"""A generous estimate of the memory for a segment, in bytes."""
MEASURED_EXACTLY: Final = b"measured exactly"
"""Hashed into the ETag of files whose measured numbers were wrong in version 0.1."""
MANY: Final = 100
"""The number of tensors of one parameter from which their size is checked before they are made."""
LEAST_ENTRY: Final = 54
"""The fewest bytes that a tensor takes in the header besides its names and its description."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Where a tensor lies, in bytes from the start of the data."""

    tensor: TensorPlan
    start: int
    stop: int


def _one_of_each(tensors: Sequence[TensorPlan]) -> Iterable[TensorPlan]:
    """One tensor of each parameter."""
    return {tensor.parameter: tensor for tensor in tensors}.values()


def lay_out(plan: Plan) -> tuple[Segment, ...]:
    """The tensors of a plan in file order."""
    segments, start = [], 0
    for tensor in sorted(plan.tensors, key=lambda tensor: (tensor.parameter.dtype.rank, tensor.name)):
        segments.append(Segment(tensor, start, start + tensor.parameter.nbytes))
        start = segments[-1].stop
    return tuple(segments)


class SafetensorsFile:
    """A file of weights whose bytes are computed as they are read.

    Args:
        plan: what the file contains.
        statistics: whether the metadata holds expected, expected and measured, or no statistics.
        measured: the measured summaries in model order; reading the header of a `measured` file needs them.
        limits: how large the header may be; the defaults if None.

    Raises:
        LimitExceeded: the header would be too long.
    """

    name = MODEL

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
        """The length of the whole file, in bytes."""
        return len(self.header) + self.plan.nbytes

    @cached_property
    def etag(self) -> str:
        """A hash of everything that the bytes depend on, not of the bytes: 64 hexadecimal digits."""
        header = self.header if self._measured is None else self._unmeasured().header
        tensors = [segment.tensor for segment in self.segments]
        corrected = self.statistics == "measured" and any(map(misstated, _one_of_each(tensors)))
        return etag(header + MEASURED_EXACTLY if corrected else header, tensors)

    @property
    def memory(self) -> int:
        """The approximate memory that the object takes, in bytes."""
        return self.plan.memory + len(self.header) + SEGMENT_MEMORY * len(self.segments)

    @property
    def pieces(self) -> int:
        """The number of tensors."""
        return len(self.segments)

    def prepared(self) -> SafetensorsFile:
        """The same file, with everything computed whose cost grows with the number of tensors."""
        _ = self.etag, self.plan.digest, self.plan.permalink, self.plan.nbytes, self.plan.elements, self.memory
        return self

    def needs_measuring(self, start: int) -> bool:
        """Whether reading from byte `start` needs numbers that only drawing gives."""
        return self.statistics == "measured" and self._measured is None and start < len(self.header)

    def with_measured(self, measured: Sequence[Summary]) -> SafetensorsFile:
        """The same file, of the same length and ETag, with its measured numbers."""
        return SafetensorsFile(self.plan, self.statistics, measured, self._limits)

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """A byte range, cut into spans that are each drawn at once; the cuts do not depend on the range."""
        data = len(self.header)
        while start < stop:
            end = data if start < data else start - (start - data) % CHUNK_BYTES + CHUNK_BYTES
            yield start, min(end, stop)
            start = end

    def parts(self, start: int, stop: int) -> Iterator[Part]:
        """The parts of tensors that make up a byte range."""
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
        lead = (start + len(header)) % ALIGNMENT  # so that elements are aligned in memory as in the file
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
        """The segments that overlap a range of the data."""
        first = bisect_right(self._starts, start) - 1
        for segment in self.segments[max(first, 0) :]:
            if segment.start >= stop:
                break
            if max(start, segment.start) < min(stop, segment.stop):
                yield segment

    def _unmeasured(self) -> SafetensorsFile:
        return SafetensorsFile(self.plan, self.statistics, None, self._limits)

    def _header(self) -> bytes:
        """The header, preceded by its length; raises as soon as it is too long."""
        pieces: list[bytes] = []
        length = 0
        for piece in chain(self._metadata(), self._entries()):
            length += len(piece)
            _check_header(length, self._limits.header_bytes)
            pieces.append(piece)
        padding = -length % ALIGNMENT
        _check_header(length + padding, self._limits.header_bytes)
        return b"".join([(length + padding).to_bytes(ALIGNMENT, "little"), *pieces, b" " * padding])

    def _metadata(self) -> Iterator[bytes]:
        check = partial(_check_header, limit=self._limits.header_bytes)
        yield b'{"__metadata__":{"format":"pt","xavier":"'
        yield from metadata.written(self.plan, self.statistics, self._measured, check)
        yield b'"}'

    def _entries(self) -> Iterator[bytes]:
        """Where every tensor lies, in file order."""
        for segment in self.segments:
            tensor = segment.tensor
            shape = ",".join(map(str, tensor.shape))
            offsets = f"{segment.start},{segment.stop}"
            entry = f'{{"dtype":"{tensor.parameter.dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}'
            yield f",{encode_basestring(tensor.name)}:{entry}".encode()
        yield b"}"


def check_outline(outline: Outline, statistics: StatisticsOption, limits: Limits) -> None:
    """Refuse an outline whose header would be too long, before it is expanded.

    Raises:
        LimitExceeded: the header would be too long.
    """
    length = 2 * outline.name_bytes
    for parameter, count in outline.parameters():
        if count >= MANY:
            of_first = TensorPlan("", "", 0, parameter)
            length += count * (LEAST_ENTRY + len(metadata.described(of_first, statistics)))
    _check_header(length, limits.header_bytes)


def _check_header(length: int, limit: int) -> None:
    if length > limit:
        message = f"at most {limit} bytes of header; this has more: use fewer or shorter names, or statistics=none"
        raise LimitExceeded([LimitFault("/layers", message, "header_bytes", limit, length)])


def _read_tensor(tensor: TensorPlan, start: int, out: NDArray[np.uint8]) -> None:
    """Read some bytes of a tensor; if the range cuts through elements, whole ones are drawn into a buffer first."""
    storage = tensor.parameter.dtype.storage
    first, skip = divmod(start, storage.itemsize)
    if skip == 0 and out.size % storage.itemsize == 0:
        return tensor.fill(first, out.view(storage))
    count = -(-(skip + out.size) // storage.itemsize)
    elements = np.empty(count, storage)
    tensor.fill(first, elements)
    out[...] = elements.view(np.uint8)[skip : skip + out.size]
    return None


def _open(plan: Plan, _: str, statistics: StatisticsOption, limits: Limits) -> SafetensorsFile:
    return SafetensorsFile(plan, statistics, limits=limits)


SAFETENSORS: Final = Format("application/octet-stream", MODEL, lambda _: (MODEL,), _open, check_outline)
