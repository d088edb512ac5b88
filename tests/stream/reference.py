"""Stream version 1 once more: value by value, straight from docs/stream.md, slow, and without `service` or NumPy.

Every arithmetic step is done in binary64 and, for binary32, rounded by `struct` afterwards. That is the binary32
operation itself: 53 bits are more than twice 24 and two, so rounding twice is rounding once.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Coefficients = tuple[float, ...]


def key(seed: int, name: str, lane: int) -> bytes:
    return sha256(b"xavier/stream/1\0" + struct.pack("<QQ", seed, lane) + name.encode("utf-8")).digest()[:16]


def word(seed: int, name: str, index: int, lane: int = 0) -> int:
    counter = (index // 4).to_bytes(16, "big")
    cipher = Cipher(algorithms.AES(key(seed, name, lane)), modes.ECB()).encryptor()  # noqa: S305 - one counter block
    return int(struct.unpack("<4I", cipher.update(counter))[index % 4])


def word64(seed: int, name: str, index: int) -> int:
    return word(seed, name, index, 0) << 32 | word(seed, name, index, 1)


def rounded_to_binary32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def hexadecimal(texts: str) -> Coefficients:
    return tuple(float.fromhex(text) for text in texts.split())


@dataclass(frozen=True)
class Format:
    bits: int
    shift: int
    mantissa: int
    rn: Callable[[float], float]
    codes: tuple[str, str]
    y: float
    s0: float
    h: float
    m: int
    pc: Coefficients
    qc: Coefficients
    pt: Coefficients
    qt: Coefficients
    lg: Coefficients

    def signed(self, word: int) -> int:
        return word - (1 << self.bits) if word >> (self.bits - 1) else word

    def bits_of(self, value: float) -> int:
        floating, integer = self.codes
        return int(struct.unpack(integer, struct.pack(floating, value))[0])

    def from_bits(self, bits: int) -> float:
        floating, integer = self.codes
        return float(struct.unpack(floating, struct.pack(integer, bits))[0])


BINARY32 = Format(
    bits=32,
    shift=7,
    mantissa=23,
    rn=rounded_to_binary32,
    codes=("<f", "<i"),
    y=float.fromhex("0x1.0c340cp-24"),
    s0=float.fromhex("0x1.60170cp+1"),
    h=float.fromhex("-0x1.62e430p+0"),
    m=0x3F3504F3,
    pc=hexadecimal("0x1.0p+1  0x1.859818p+4  0x1.2cac80p+6  0x1.b88f0cp+5  0x1.1e9f62p+2"),
    qc=hexadecimal("0x1.0p+0  0x1.bc4f06p+3  0x1.a6c036p+5  0x1.bffe04p+5  0x1.5d2686p+3"),
    pt=hexadecimal("0x1.0p+1  0x1.060fd4p+1  0x1.204edcp-1  0x1.6a211cp-5"),
    qt=hexadecimal("0x1.0p+0  0x1.c6cef0p-2  0x1.69b408p-5"),
    lg=hexadecimal("-0x1.0p+2 -0x1.55557ap+0 -0x1.995ed8p-1 -0x1.31e03cp-1"),
)
BINARY64 = Format(
    bits=64,
    shift=10,
    mantissa=52,
    rn=float,
    codes=("<d", "<q"),
    y=float.fromhex("0x1.0c340ce7dc89dp-53"),
    s0=float.fromhex("0x1.60170bbe1fa27p+1"),
    h=float.fromhex("-0x1.62e42fefa39efp+0"),
    m=0x3FE6A09E667F3BCD,
    pc=hexadecimal(
        "0x1.0p+1  0x1.121ab0db60fe1p+6  0x1.d7b514a181402p+9  0x1.a459e97b13f1ep+12  0x1.a2271bcc20d44p+14"
        "  0x1.d4dd16eb707dbp+15 0x1.1f03ed06c1704p+16  0x1.6473749573876p+15  0x1.87849b20d8597p+13"
        "  0x1.201c5713c26a9p+10  0x1.f4e5bfc0ef201p+3"
    ),
    qc=hexadecimal(
        "0x1.0p+0  0x1.1fc87bd64e71bp+5  0x1.065d9df705c7cp+9  0x1.f55bae4160dd4p+11  0x1.0f9c0a6c01b13p+14"
        "  0x1.52e09de7470cdp+15 0x1.dbc6a2352b13fp+15  0x1.627018934f1f4p+15  0x1.f77626cfb7ff8p+13"
        "  0x1.16df2fd80efccp+11  0x1.2d2a8220af6bcp+6"
    ),
    pt=hexadecimal(
        "0x1.0p+1  0x1.dfb8d56603dafp+1  0x1.694d78cb23673p+1  0x1.1f2e0811cdab9p+0  0x1.066374050792cp-2"
        "  0x1.162135b5c82cap-5 0x1.449b4bb555b33p-9  0x1.6ad6d1a9343eap-14  0x1.11bac71c7adf5p-20"
    ),
    qt=hexadecimal(
        "0x1.0p+0  0x1.4b5cb2e31b4f6p+0  0x1.5cc7424faa9cap-1  0x1.7e29637a6385cp-3  0x1.ccecddc04671fp-6"
        "  0x1.273eb22ddb6c6p-9 0x1.5f1ae51d609a7p-14  0x1.11b942ddf0090p-20"
    ),
    lg=hexadecimal(
        "-0x1.0p+2  -0x1.5555555555594p+0  -0x1.999999997f721p-1  -0x1.249249423d723p-1  -0x1.c71c51d4197fcp-2"
        "  -0x1.74664898c31c4p-2 -0x1.39a0d81bb43efp-2  -0x1.2f0d9b2f7ea4p-2"
    ),
)


def odd(word: int, f: Format) -> int:
    return f.signed(word) >> f.shift | 1


def fraction(word: int, f: Format) -> float:
    return odd(word, f) * 2.0 ** -(f.bits - f.shift - 1)


def horner(coefficients: Coefficients, x: float, f: Format) -> float:
    *lower, value = coefficients
    for c in reversed(lower):
        value = f.rn(f.rn(value * x) + c)
    return value


def central(y: float, r: float, f: Format) -> float:
    return f.rn(f.rn(horner(f.pc, r, f) / horner(f.qc, r, f)) * y)


def tail(word: int, f: Format) -> float:
    signed = f.signed(word)
    g = -1 if signed < 0 else 0
    t = ((signed ^ g) ^ ((1 << (f.bits - 1)) - 1)) << 1 | 1
    b = f.bits_of(f.rn(float(t))) - f.m
    e = b >> f.mantissa
    m = f.from_bits((b & ((1 << f.mantissa) - 1)) + f.m)
    q = f.rn(f.rn(m - 1) / f.rn(m + 1))
    log_m = f.rn(horner(f.lg, f.rn(q * q), f) * q)
    minus_two_log = f.rn(log_m + f.rn(f.rn(float(e) - (f.bits + 1)) * f.h))
    u = f.rn(f.rn(math.sqrt(minus_two_log)) - f.s0)
    value = f.rn(horner(f.pt, u, f) / horner(f.qt, u, f))
    return -value if g else value


def normal_quantile(word: int, f: Format) -> float:
    y = f.rn(odd(word, f) * f.y)
    r = f.rn(1 - f.rn(y * y))
    return tail(word, f) if r < 0 else central(y, r, f)


def truncated_quantile(word: int, f: Format) -> float:
    y = fraction(word, f)
    return central(y, f.rn(1 - f.rn(y * y)), f)


def uniform(word: int, low: float, high: float, f: Format) -> float:
    value = f.rn(fraction(word, f) * f.rn((high - low) / 2))
    middle = (high + low) / 2
    if middle == 0:
        return value
    return min(max(f.rn(value + f.rn(middle)), f.rn(low)), f.rn(high))


def normal(word: int, mean: float, std: float, f: Format) -> float:
    return scaled(normal_quantile(word, f), mean, std, f)


def truncated_normal(word: int, mean: float, std: float, f: Format) -> float:
    return scaled(truncated_quantile(word, f), mean, std, f)


def scaled(value: float, mean: float, std: float, f: Format) -> float:
    value = f.rn(value * f.rn(std))
    return value if mean == 0 else f.rn(value + f.rn(mean))


@dataclass(frozen=True)
class Narrow:
    """A float narrower than binary32: bytes, stored mantissa bits, least exponent, and the code of "too large"."""

    size: int
    mantissa: int
    least_exponent: int
    too_large: int


NARROW = {
    "F16": Narrow(2, 10, -14, 0x7C00),
    "BF16": Narrow(2, 7, -126, 0x7F80),
    "F8_E4M3": Narrow(1, 3, -6, 0x7F),
    "F8_E5M2": Narrow(1, 2, -14, 0x7C),
}


def stored(value: float, dtype: str) -> bytes:
    """The bytes of a value in a dtype, rounded to nearest even."""
    if dtype == "F64":
        return struct.pack("<d", value)
    if dtype == "F32":
        return struct.pack("<f", value)
    n = NARROW[dtype]
    magnitude, sign = abs(value), math.copysign(1, value) < 0
    exponent = max(math.frexp(magnitude)[1] - 1, n.least_exponent) if magnitude else n.least_exponent
    units = round(math.ldexp(magnitude, n.mantissa - exponent))  # round() is to even, and ldexp exact
    code = min(units + ((exponent - n.least_exponent) << n.mantissa), n.too_large)
    return (code | sign << (8 * n.size - 1)).to_bytes(n.size, "little")
