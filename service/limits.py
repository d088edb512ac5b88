"""Limits and their defaults: a request is checked against them before anything is expanded or drawn."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one specification may ask for.

    Attributes:
        spec_values: JSON values in a specification, including objects and arrays.
        file_bytes: bytes of all tensors in a file.
        tensors: tensors in a file.
        different_tensors: tensors in a file that differ in more than their names; planning one takes 20 microseconds.
        header_bytes: bytes of a safetensors header; the Hub's clients refuse larger ones.
        rank: dimensions of a tensor; some readers support no more than 8.
        dimension: the size of one dimension.
        name_bytes: bytes of a tensor's name in UTF-8.
        whole_elements: elements of a matrix that must be drawn as a whole (orthogonal, sparse).
        whole_total_elements: elements of all such matrices in a file.
        whole_bytes: bytes of such matrices that are interleaved in one tensor, so that any part of it needs them all.
        cuts: different truncated normals in a specification; planning one takes up to half a millisecond.
        json_values: values in a JSON response.
    """

    spec_values: int = 1 << 17
    file_bytes: int = 64 << 30
    tensors: int = 100_000
    different_tensors: int = 1 << 14
    header_bytes: int = 25_000_000 - 1
    rank: int = 8
    dimension: int = (1 << 31) - 1
    name_bytes: int = 1024
    whole_elements: int = 1 << 24
    whole_total_elements: int = 1 << 30
    whole_bytes: int = 512 << 20
    cuts: int = 1024
    json_values: int = 1 << 20


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How much a connection may use, and for how long.

    Attributes:
        connections: connections that are open at the same time.
        url_bytes: bytes of a request's target.
        header_bytes: bytes of all header fields together.
        header_fields: the number of header fields.
        body_bytes: bytes of a request's content.
        receive_seconds: seconds from a request's first byte to the end of its header, and from there to the end of its
            content.
        stall_seconds: seconds during which a client takes no byte of a response.
    """

    connections: int = 1000
    url_bytes: int = 16 << 10
    header_bytes: int = 32 << 10
    header_fields: int = 100
    body_bytes: int = 4 << 20
    receive_seconds: float = 10
    stall_seconds: float = 60
