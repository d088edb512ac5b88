"""The kinds of values that a specification is made of."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from service.stream.dtypes import DType

MOST_SEED: Final = (1 << 64) - 1
MOST_INTEGER: Final = (1 << 53) - 1
"""What every JSON reader holds exactly (RFC 7493 section 2.2)."""
DTYPE_ALIASES: Final = {
    "FLOAT64": DType.F64,
    "FLOAT32": DType.F32,
    "FLOAT16": DType.F16,
    "BFLOAT16": DType.BF16,
    "FLOAT8_E4M3FN": DType.F8_E4M3,
    "FLOAT8_E5M2": DType.F8_E5M2,
}
"""PyTorch's names; like the safetensors names they are read in any letter case."""

Count = Annotated[int, Field(ge=1, le=MOST_INTEGER)]

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)


class Wire(BaseModel):
    """A JSON object: no unknown fields, no silent conversions, no infinities."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


def _read_seed(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not _DECIMAL.fullmatch(value):
        raise PydanticCustomError("seed", "must be an integer, or a string of decimal digits, from 0 to 2^64-1")
    return int(value)


def read_dtype(value: object) -> object:
    """A dtype by its name or alias, in any letter case.

    Raises:
        PydanticCustomError: there is none of that name.
    """
    name = value.upper() if isinstance(value, str) else ""
    if name in DTYPE_ALIASES:
        return DTYPE_ALIASES[name]
    if name in DType.__members__:
        return DType(name)
    raise PydanticCustomError("dtype", "must be one of " + ", ".join(DType))


def _repeated(times: int) -> BeforeValidator:
    shape = Count | Annotated[list[Count], Field(min_length=times, max_length=times)]
    return BeforeValidator(
        lambda value: (value,) * times if _is_integer(value) else value, json_schema_input_type=shape
    )


def _square(value: object) -> object:
    return (value, value) if _is_integer(value) else value


def _up_to(most: int) -> str:
    """The pattern of the decimal numbers up to one whose first digit is 1, without leading zeros."""
    digits = str(most)
    below = [
        f"{digits[:place]}[0-{int(digit) - 1}][0-9]{{{len(digits) - place - 1}}}"
        for place, digit in enumerate(digits)
        if place and digit != "0"
    ]
    return f"^(0|[1-9][0-9]{{0,{len(digits) - 2}}}|{'|'.join(below)}|{digits})$"


def _in_any_case(*names: str) -> str:
    """The pattern of some names in any letter case; JSON Schema has no flag for that."""
    any_case = [re.sub("[A-Z]", lambda letter: f"[{letter[0]}{letter[0].lower()}]", name) for name in names]
    return f"^({'|'.join(any_case)})$"


def _one_or_more(value: object) -> object:
    return (value,) if _is_integer(value) else value


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _without_negative_zero(value: float) -> float:
    return value + 0.0  # RFC 8785 cannot write -0, so it must not mean anything else than 0


SeedNumber = Annotated[int, Field(ge=0, le=MOST_SEED)]
Seed = Annotated[
    SeedNumber,
    BeforeValidator(
        _read_seed,
        json_schema_input_type=SeedNumber | Annotated[str, Field(pattern=_up_to(MOST_SEED))],
    ),
    PlainSerializer(str, return_type=str),
]
DTypeField = Annotated[
    DType,
    BeforeValidator(
        read_dtype,
        json_schema_input_type=DType | Annotated[str, Field(pattern=_in_any_case(*DType, *DTYPE_ALIASES))],
    ),
]
Name = str
Size = Annotated[int, Field(ge=0, le=MOST_INTEGER)]
Number = Annotated[float, AfterValidator(_without_negative_zero)]
Share = Annotated[float, Field(ge=0, lt=1), AfterValidator(_without_negative_zero)]
PositiveNumber = Annotated[float, Field(gt=0)]
Shape = Annotated[tuple[Size, ...], Field(strict=False)]
NormalizedShape = Annotated[
    tuple[Count, ...],
    Field(strict=False, min_length=1),
    BeforeValidator(_one_or_more, json_schema_input_type=Count | Annotated[list[Count], Field(min_length=1)]),
]
Kernel1 = Annotated[tuple[Count], Field(strict=False), _repeated(1)]
Kernel2 = Annotated[tuple[Count, Count], Field(strict=False), _repeated(2)]
Kernel3 = Annotated[tuple[Count, Count, Count], Field(strict=False), _repeated(3)]
KernelAny = Annotated[
    tuple[Count, ...],
    Field(strict=False, min_length=1, max_length=3),
    BeforeValidator(_square, json_schema_input_type=Count | Annotated[list[Count], Field(min_length=1, max_length=3)]),
]
Axes = Annotated[tuple[int, ...], Field(strict=False)]
Layout = Literal["out_in", "in_out"]
FanRule = Literal["exact", "torch", "keras"]
