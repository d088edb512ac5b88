"""Limits, each with its default: checked before anything is drawn, expanded, or even taken for a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one specification may ask for.

    Attributes:
        spec_values: JSON values of a specification, objects and arrays among them.
        file_bytes: bytes of all tensors of one file.
        tensors: tensors of one file.
        different_tensors: tensors of one file that differ in more than their names; each costs 20 microseconds to plan.
        header_bytes: bytes of a safetensors header; the Hub's clients refuse larger ones.
        rank: dimensions of a tensor; some readers stop at 8.
        dimension: size of one dimension.
        name_bytes: UTF-8 bytes of a tensor's name.
        whole_elements: elements of a matrix that must be drawn at once: orthogonal, sparse.
        whole_total_elements: elements of all such matrices of one file.
        whole_bytes: bytes of such matrices that lie across each other in one tensor, so that any part of it needs all.
        cuts: different truncated normals of one specification; each costs up to half a millisecond to plan.
        json_values: values in a JSON answer.
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
    """How much, and for how long, a connection may take.

    Attributes:
        connections: open at once.
        url_bytes: of a request's target.
        header_bytes: of all header fields together.
        header_fields: how many.
        body_bytes: of a request's content.
        receive_seconds: from a request's first byte to the end of its header, and from there to the end of its body.
        stall_seconds: without a byte taken by the reader of an answer.
    """

    connections: int = 1000
    url_bytes: int = 16 << 10
    header_bytes: int = 32 << 10
    header_fields: int = 100
    body_bytes: int = 4 << 20
    receive_seconds: float = 10
    stall_seconds: float = 60
