"""The types of the values in a specification."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from service.distributions.members import MOST_INTEGER
from service.stream.dtypes import DType

MOST_SEED: Final = (1 << 64) - 1
MOST_EXACT: Final = 1 << 53
"""The largest number up to which binary64 represents every integer (RFC 8259 section 6)."""
DTYPE_ALIASES: Final = {alias: dtype for dtype in DType for alias in dtype.aliases}
"""PyTorch's names, and those of NumPy, JAX, Keras, ONNX and XLA that do not mean something else in PyTorch: `float` is
F32.

As with the names of safetensors, letter case does not matter, and `torch.` may come before them.
"""
TORCH: Final = "TORCH."

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)


class Wire(BaseModel):
    """A JSON object: no unknown fields, no silent conversions, no infinities."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True, defer_build=True)


def _read_seed(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        if value > MOST_EXACT:
            raise PydanticCustomError("rounded", "must be an integer or a string of digits, if it is above 2^53")
        return int(value)
    if not isinstance(value, str):
        return value
    if not _DECIMAL.fullmatch(value):
        raise PydanticCustomError("seed", "must be an integer, or a string of decimal digits, from 0 to 2^64-1")
    return int(value)


def named_dtype(name: object) -> DType | None:
    """The dtype with a name or alias, in any letter case; None if there is none."""
    if not isinstance(name, str) or not name.isascii():
        return None
    name = name.upper().removeprefix(TORCH)
    return DTYPE_ALIASES.get(name) or DType.__members__.get(name)


def read_dtype(value: object) -> DType:
    """The dtype with a name or alias, in any letter case.

    Raises:
        PydanticCustomError: there is no such dtype.
    """
    found = named_dtype(value)
    if found is None:
        way_out = "; F8_E4M3 is the one without infinities, float8_e4m3fn" if "e4m3" in str(value).lower() else ""
        raise PydanticCustomError("dtype", "must be one of " + ", ".join(DType) + way_out)
    return found


@dataclass(frozen=True, slots=True)
class _Whole:
    """An integer within bounds, in any spelling that is one in JSON Schema, such as 4.0 or 1e1.

    Plain integers match the first member of the union, so pydantic validates them without calling Python.
    """

    least: int | None = None
    most: int | None = None

    def __get_pydantic_core_schema__(self, _: type, __: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        spelled = core_schema.no_info_after_validator_function(_whole, core_schema.float_schema(strict=True))
        either = core_schema.union_schema([core_schema.int_schema(strict=True), spelled], custom_error_type="int_type")
        return core_schema.chain_schema([either, core_schema.int_schema(strict=True, ge=self.least, le=self.most)])

    def __get_pydantic_json_schema__(self, _: core_schema.CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        bounds = {"minimum": self.least, "maximum": self.most}
        return {"type": "integer"} | {name: bound for name, bound in bounds.items() if bound is not None}


def _whole(value: float) -> int:
    if not is_whole(value):
        raise ValueError
    return int(value)


def is_whole(value: object) -> bool:
    """Whether a JSON value is an integer, in any spelling."""
    return value.is_integer() if isinstance(value, float) else isinstance(value, int) and not isinstance(value, bool)


Count = Annotated[int, _Whole(1, MOST_INTEGER)]


def _repeated(times: int) -> BeforeValidator:
    def repeat(value: object) -> object:
        if isinstance(value, list) and len(value) < times:  # pydantic would report each missing item, with no pointer
            raise PydanticCustomError("items", f"must have at least {times} item{'s' if times > 1 else ''}")
        return (value,) * times if is_whole(value) else value

    shape = Count | Annotated[list[Count], Field(min_length=times, max_length=times)]
    return BeforeValidator(repeat, json_schema_input_type=shape)


def _square(value: object) -> object:
    return (value, value) if is_whole(value) else value


def _up_to(most: int) -> str:
    """A pattern for the decimal numbers up to `most`, whose first digit must be 1; leading zeros are not allowed."""
    digits = str(most)
    below = [
        f"{digits[:place]}[0-{int(digit) - 1}][0-9]{{{len(digits) - place - 1}}}"
        for place, digit in enumerate(digits)
        if place and digit != "0"
    ]
    return f"^(0|[1-9][0-9]{{0,{len(digits) - 2}}}|{'|'.join(below)}|{digits})$"


def _in_any_case(*names: str) -> str:
    """A pattern for some names in any letter case, with or without `torch.`; JSON Schema has no flag to ignore case."""
    any_case = [
        re.sub("[A-Z]", lambda letter: f"[{letter[0]}{letter[0].lower()}]", re.escape(name)) for name in (TORCH, *names)
    ]
    return f"^({any_case[0]})?({'|'.join(any_case[1:])})$"


def _one_or_more(value: object) -> object:
    return (value,) if is_whole(value) else value


def _without_negative_zero(value: float) -> float:
    return value + 0.0  # RFC 8785 cannot represent -0, so it must mean the same as 0


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
Size = Annotated[int, _Whole(0, MOST_INTEGER)]
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
Axes = Annotated[tuple[Annotated[int, _Whole()], ...], Field(strict=False)]
FanRule = Literal["exact", "torch", "keras"]
