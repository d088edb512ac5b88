"""Known answers: whether this thread of this machine computes the stream.

A digest covers 2^18 values, enough to meet every constant; subnormal arithmetic, which a thread may have switched off,
is checked by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.errors import BrokenPlatform
from service.stream import quantiles
from service.stream.dtypes import DType, narrow
from service.stream.precision import BINARY32, BINARY64, Precision
from service.stream.words import WordSource

SOURCE: Final = WordSource(seed=20100513, name="digest")
VALUES: Final = 1 << 18
DIGESTS: Final = {
    "uniform": {
        DType.F64: "16ca95a41ec1287d2e4ea010bdd59fe821d0bd6398157782440b36547f61f761",
        DType.F32: "24055f75475e94fc42383923c780ecdfa2db549749e6dc9249f2e8ea79ea843e",
        DType.BF16: "6207e624d9a51b6091fe61fecccb677c2e648d90e0e061b44559d741500f27d1",
        DType.F16: "bf7532ae36c6f515a329f7ea0c547691f10fc805bbca96f6ff75d732d051d7c5",
        DType.F8_E4M3: "683977f02793bd3631785e2bae870987b2f091447104b8f9805cd491e22647f2",
        DType.F8_E5M2: "d3ede27250b1602e0086bc13847171a6615df846350a959d771afa5cc422fbf7",
    },
    "normal": {
        DType.F64: "725628f00a3bea1dd2def45444e6bb054c3189705c82bb6716374070edd5ac87",
        DType.F32: "bd6039c4012d9472716082b25335bcabd116b0b530a452a34fe4e217d8132e63",
        DType.BF16: "2dfd6e32532f9698a062deafee45eaa126420fb69a880a6630c4776d6b8225dd",
        DType.F16: "e92b5f1c52240905fb7d2c501254fd167560220e37d768c4fc2b588eb0c05e7a",
        DType.F8_E4M3: "485d2a73e07fce40694fb4fa9f1edb43957196e7de0e75be05f09c17e0c041a0",
        DType.F8_E5M2: "201b05b58649d8e0398331f80ddd4433761fd3847ded895422fd9873484d64c4",
    },
    "truncated_normal": {
        DType.F64: "1d4ef645de25a2aef90aaac1d82cb44cfd30d193e7a210d17727ab730a14ede0",
        DType.F32: "3761ea8ff0757bb488f9a96723d8b851afc5b975d64ef489fba7efdfcab34f50",
        DType.BF16: "2e3fbfe354c9af931f6213a85578ad518522bdf3643aa22eec1d947e2f0e32a8",
        DType.F16: "ceb9ae25de761f3dba9cf340e2bb36a1d9c1f224ab81df8d671ea24a64409639",
        DType.F8_E4M3: "941401a344cc832e7d6c205619f0860de2184d601362f24cc1e0467b3bc410e0",
        DType.F8_E5M2: "dbc89125e5f06e16e78b71abc5e168f23431016ffa4a810856e5bfc1e22b7e87",
    },
}
"""SHA-256 over the first VALUES values of SOURCE, of unit scale and mean 0, by law and dtype."""

_LAWS: Final[dict[str, Callable[[NDArray[Any], Precision, NDArray[Any]], NDArray[Any]]]] = {
    "uniform": lambda words, p, out: quantiles.uniform(words, -1.0, 1.0, p, out),
    "normal": lambda words, p, out: quantiles.normal(words, 0.0, 1.0, p, out),
    "truncated_normal": lambda words, p, out: quantiles.truncated_normal(words, 0.0, 1.0, p, out),
}


def check_known_answers() -> None:
    """Draw the known answers in the calling thread.

    Raises:
        BrokenPlatform: a value differs, or subnormal numbers are flushed to zero.
    """
    for p in (BINARY32, BINARY64):
        _check_subnormals(p)
    for law, digests in DIGESTS.items():
        values = {p: _draw(law, p) for p in (BINARY32, BINARY64)}
        for dtype, expected in digests.items():
            drawn = values[dtype.precision]
            stored = drawn if dtype.drawn_directly else narrow(drawn, dtype, np.empty(VALUES, dtype.storage))
            if sha256(stored.tobytes()).hexdigest() != expected:
                raise BrokenPlatform(f"{law} values in {dtype} differ from the known answers")


def _draw(law: str, p: Precision) -> NDArray[Any]:
    return _LAWS[law](SOURCE.words(range(VALUES), p.bits), p, np.empty(VALUES, p.floating))


def _check_subnormals(p: Precision) -> None:
    smallest_normal = np.full(64, np.finfo(p.floating).smallest_normal)
    halves = smallest_normal * p.floating(0.5)
    if not (halves + halves == smallest_normal).all() or not (halves > 0).all():
        raise BrokenPlatform(f"subnormal numbers of {p.bits} bits are flushed to zero")
