"""The safetensors file: section 18."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

import rfc8785

DTYPE_ORDER: Final = ("F64", "F32", "BF16", "F16", "F8_E4M3", "F8_E5M2")


class Stored(Protocol):
    """A tensor as it lies in the file."""

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def stored(self) -> bytes: ...


def file(told: dict[str, Any], descriptions: dict[str, Any], tensors: Iterable[Stored]) -> bytes:
    """The whole file, from what its metadata says of the specification and of each tensor."""
    placed = sorted(tensors, key=lambda tensor: (DTYPE_ORDER.index(tensor.dtype), tensor.name))
    names = sorted(descriptions, key=lambda name: name.encode("utf-16-be"))
    described = ",".join(f"{_quoted(name)}:{_json(descriptions[name])}" for name in names)
    text = f'{_json(told)[:-1]},"tensors":{{{described}}}}}'
    entries, start = [f'"__metadata__":{{"format":"pt","xavier":{_quoted(text)}}}'], 0
    for tensor in placed:
        stop = start + len(tensor.stored)
        entry = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (start, stop)}
        entries.append(f"{_quoted(tensor.name)}:{_json(entry)}")
        start = stop
    header = ("{" + ",".join(entries) + "}").encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + b"".join(tensor.stored for tensor in placed)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json(value: Any) -> str:
    """Members in their order, and measured numbers in their fields."""
    match value:
        case dict():
            padded = 24 if "measured" in value else 0
            return (
                "{"
                + ",".join(
                    f"{_quoted(k)}:{_padded(v) if padded and k == 'measured' else _json(v)}" for k, v in value.items()
                )
                + "}"
            )
        case list() | tuple():
            return "[" + ",".join(map(_json, value)) + "]"
        case str():
            return _quoted(value)
        case _:
            return rfc8785.dumps(value).decode()


def _member(name: str, value: Any) -> str:
    return _padded(value) if name == "measured" else _json(value)


def _padded(numbers: dict[str, Any]) -> str:
    shown = {name: "null" if number is None else f"{number:.16e}" for name, number in numbers.items()}
    return "{" + ",".join(f'"{name}":{text:>24}' for name, text in shown.items()) + "}"
