"""The two working precisions, binary32 and binary64, with the constants of stream version 1 in each.

The rational functions are minimax fits: PC/QC to the central normal quantile, PT/QT to its tail, LG to the logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

Scalar = Any
"""A NumPy scalar of the working precision: np.float32 or np.float64."""


@dataclass(frozen=True, eq=False)
class Precision:
    """An IEEE 754 binary format and the stream's constants in it (docs/stream.md, sections 4 and 6)."""

    word: type[np.unsignedinteger[Any]]
    signed: type[np.signedinteger[Any]]
    floating: type[np.floating[Any]]
    shift: int
    """The right shift that turns a signed word into an odd integer of 24 (53) bits, after `| 1`."""
    mantissa: int
    """The number of stored mantissa bits: 23 or 52."""
    root_half: int
    """M, the bits just above those of the square root of one half: where the tail splits exponent and mantissa."""
    most_sigmas: str
    """The largest possible |N|, in hexadecimal."""
    constants: dict[str, str]
    """Hexadecimal constants, lowest power first."""

    @cached_property
    def bits(self) -> int:
        """The number of bits in a word: 32 or 64."""
        return 8 * np.dtype(self.word).itemsize

    @cached_property
    def unit(self) -> Scalar:
        """2^-24 or 2^-53, the factor that turns an odd integer into a symmetric fraction."""
        return self.floating(2.0 ** -(self.bits - self.shift - 1))

    @cached_property
    def coefficients(self) -> dict[str, tuple[Scalar, ...]]:
        """Every constant as a tuple in the working precision, lowest power first."""
        return {
            name: tuple(self.floating(float.fromhex(text)) for text in texts.split())
            for name, texts in self.constants.items()
        }


BINARY32: Final = Precision(
    word=np.uint32,
    signed=np.int32,
    floating=np.float32,
    shift=7,
    mantissa=23,
    root_half=0x3F3504F3,
    most_sigmas="0x1.95a11ap+2",
    constants={
        "Y": "0x1.0c340cp-24",
        "S0": "0x1.60170cp+1",
        "H": "-0x1.62e430p+0",
        "PC": "0x1.0p+1 0x1.859818p+4 0x1.2cac80p+6 0x1.b88f0cp+5 0x1.1e9f62p+2",
        "QC": "0x1.0p+0 0x1.bc4f06p+3 0x1.a6c036p+5 0x1.bffe04p+5 0x1.5d2686p+3",
        "PT": "0x1.0p+1 0x1.060fd4p+1 0x1.204edcp-1 0x1.6a211cp-5",
        "QT": "0x1.0p+0 0x1.c6cef0p-2 0x1.69b408p-5",
        "LG": "-0x1.0p+2 -0x1.55557ap+0 -0x1.995ed8p-1 -0x1.31e03cp-1",
    },
)
BINARY64: Final = Precision(
    word=np.uint64,
    signed=np.int64,
    floating=np.float64,
    shift=10,
    mantissa=52,
    root_half=0x3FE6A09E667F3BCD,
    most_sigmas="0x1.24f82aa55eb14p+3",
    constants={
        "Y": "0x1.0c340ce7dc89dp-53",
        "S0": "0x1.60170bbe1fa27p+1",
        "H": "-0x1.62e42fefa39efp+0",
        "PC": (
            "0x1.0p+1 0x1.121ab0db60fe1p+6 0x1.d7b514a181402p+9 0x1.a459e97b13f1ep+12 0x1.a2271bcc20d44p+14"
            " 0x1.d4dd16eb707dbp+15 0x1.1f03ed06c1704p+16 0x1.6473749573876p+15 0x1.87849b20d8597p+13"
            " 0x1.201c5713c26a9p+10 0x1.f4e5bfc0ef201p+3"
        ),
        "QC": (
            "0x1.0p+0 0x1.1fc87bd64e71bp+5 0x1.065d9df705c7cp+9 0x1.f55bae4160dd4p+11 0x1.0f9c0a6c01b13p+14"
            " 0x1.52e09de7470cdp+15 0x1.dbc6a2352b13fp+15 0x1.627018934f1f4p+15 0x1.f77626cfb7ff8p+13"
            " 0x1.16df2fd80efccp+11 0x1.2d2a8220af6bcp+6"
        ),
        "PT": (
            "0x1.0p+1 0x1.dfb8d56603dafp+1 0x1.694d78cb23673p+1 0x1.1f2e0811cdab9p+0 0x1.066374050792cp-2"
            " 0x1.162135b5c82cap-5 0x1.449b4bb555b33p-9 0x1.6ad6d1a9343eap-14 0x1.11bac71c7adf5p-20"
        ),
        "QT": (
            "0x1.0p+0 0x1.4b5cb2e31b4f6p+0 0x1.5cc7424faa9cap-1 0x1.7e29637a6385cp-3 0x1.ccecddc04671fp-6"
            " 0x1.273eb22ddb6c6p-9 0x1.5f1ae51d609a7p-14 0x1.11b942ddf0090p-20"
        ),
        "LG": (
            "-0x1.0p+2 -0x1.5555555555594p+0 -0x1.999999997f721p-1 -0x1.249249423d723p-1 -0x1.c71c51d4197fcp-2"
            " -0x1.74664898c31c4p-2 -0x1.39a0d81bb43efp-2 -0x1.2f0d9b2f7ea4p-2"
        ),
    },
)
