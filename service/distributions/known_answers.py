"""Known answers: a check that this machine and this thread draw the same bits as every other.

Every code path to a value is taken, through the same calls that draw weights: consecutive and scattered words,
quantiles with and without a mean, truncation on each side of its case distinctions, matrices through BLAS, zeros from
lane 2, two tensors in one, and every rounding. Subnormal arithmetic, which can be disabled per thread, is checked
separately.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from math import inf
from typing import Final, NamedTuple

import numpy as np

from service.distributions.base import Array, Distribution
from service.distributions.blockwise import Blockwise, Concatenated, Sum
from service.distributions.elementwise import Constant, Elementwise, Normal, TruncatedNormal, Uniform
from service.distributions.orthogonal import Orthogonal
from service.distributions.structured import Identity, Sparse
from service.distributions.truncated import CutNormal
from service.errors import BrokenPlatform
from service.stream.dtypes import DType
from service.stream.engine import Engine, Kind, use
from service.stream.precision import BINARY32, BINARY64, Precision
from service.stream.words import Elements, WordSource

SEED: Final = 20100513
NAME: Final = "digest"
VALUES: Final = 1 << 18
"""Enough values for every constant of the distributions of unit scale to matter."""
SOME: Final = 1 << 14
SCATTERED: Final = np.arange(SOME, dtype=np.int64) * 40503 % 65536
"""Indices in an order that occurs in no layout."""


Drawn = tuple[type[Distribution], DType]
"""A kind of distribution, and the dtype to which its values are rounded."""


class KnownAnswer(NamedTuple):
    """A distribution, the elements to draw from it, and the SHA-256 of their bytes in each dtype."""

    name: str
    distribution: Distribution
    elements: Elements
    digests: dict[DType, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Own(WordSource):
    """The words for one check. It equals no other source, so arrays that another thread has cached are not used."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


KNOWN_ANSWERS: Final = (
    KnownAnswer(
        "uniform",
        Uniform(-1.0, 1.0),
        range(VALUES),
        {
            DType.F64: "16ca95a41ec1287d2e4ea010bdd59fe821d0bd6398157782440b36547f61f761",
            DType.F32: "24055f75475e94fc42383923c780ecdfa2db549749e6dc9249f2e8ea79ea843e",
            DType.BF16: "6207e624d9a51b6091fe61fecccb677c2e648d90e0e061b44559d741500f27d1",
            DType.F16: "bf7532ae36c6f515a329f7ea0c547691f10fc805bbca96f6ff75d732d051d7c5",
            DType.F8_E4M3: "683977f02793bd3631785e2bae870987b2f091447104b8f9805cd491e22647f2",
            DType.F8_E5M2: "d3ede27250b1602e0086bc13847171a6615df846350a959d771afa5cc422fbf7",
        },
    ),
    KnownAnswer(
        "normal",
        Normal(0.0, 1.0),
        range(VALUES),
        {
            DType.F64: "725628f00a3bea1dd2def45444e6bb054c3189705c82bb6716374070edd5ac87",
            DType.F32: "bd6039c4012d9472716082b25335bcabd116b0b530a452a34fe4e217d8132e63",
            DType.BF16: "2dfd6e32532f9698a062deafee45eaa126420fb69a880a6630c4776d6b8225dd",
            DType.F16: "e92b5f1c52240905fb7d2c501254fd167560220e37d768c4fc2b588eb0c05e7a",
            DType.F8_E4M3: "485d2a73e07fce40694fb4fa9f1edb43957196e7de0e75be05f09c17e0c041a0",
            DType.F8_E5M2: "201b05b58649d8e0398331f80ddd4433761fd3847ded895422fd9873484d64c4",
        },
    ),
    KnownAnswer(
        "truncated_normal",
        TruncatedNormal(0.0, 1.0),
        range(VALUES),
        {
            DType.F64: "1d4ef645de25a2aef90aaac1d82cb44cfd30d193e7a210d17727ab730a14ede0",
            DType.F32: "3761ea8ff0757bb488f9a96723d8b851afc5b975d64ef489fba7efdfcab34f50",
            DType.BF16: "2e3fbfe354c9af931f6213a85578ad518522bdf3643aa22eec1d947e2f0e32a8",
            DType.F16: "ceb9ae25de761f3dba9cf340e2bb36a1d9c1f224ab81df8d671ea24a64409639",
            DType.F8_E4M3: "941401a344cc832e7d6c205619f0860de2184d601362f24cc1e0467b3bc410e0",
            DType.F8_E5M2: "dbc89125e5f06e16e78b71abc5e168f23431016ffa4a810856e5bfc1e22b7e87",
        },
    ),
    KnownAnswer(
        "uniform about a midpoint",
        Uniform(-0.25, 0.8),
        range(3, SOME),
        {
            DType.F64: "531a773d49646f257b2505fdbc28de0e9e05bd0f37234b4dec254dc1a2b735b0",
            DType.F32: "fe456e731cb4c5a4f2add4f5ec6bb6f52cdd21deab5257cef9bfc14576690710",
        },
    ),
    KnownAnswer(
        "uniform of subnormal width",
        Uniform(-1e-40, 1e-40),
        range(SOME),
        {
            DType.F32: "eba6b1699b4fb7b521d25e0e116cd6cedc9554c226680985670fc7a85c8d7a1e",
        },
    ),
    KnownAnswer(
        "normal with a mean",
        Normal(0.3, 0.1),
        range(3, SOME),
        {
            DType.F64: "c7ad3cf0741209a3e6abafa72dfdf8864e61b7411fe55a6d0a9830c60a48353d",
            DType.F32: "55c3e844c628809c035cd590d0da382aa5c9628f3fc496a590b00bccca089a95",
        },
    ),
    KnownAnswer(
        "truncated normal with a mean",
        TruncatedNormal(-0.5, 0.3),
        range(3, SOME),
        {
            DType.F64: "d0143f983546b33c245341403194669ecd812cbfba5adc24b600b1baa7322bef",
            DType.F32: "7d19ddfd151fa2ff730ae582a2be7c6824167ed3ffdbf3fe16e505685f60cd6d",
        },
    ),
    KnownAnswer(
        "normal at scattered places",
        Normal(0.0, 1.0),
        SCATTERED,
        {
            DType.F64: "7c18ef0c467530af330b6b96bc9e91d20e21a968563c7d15a58fe9476fb24e34",
            DType.F32: "bca169804872b20d72175f54c5cdd8aebdd7140ad5fc4c8753ebce250b86d87d",
        },
    ),
    KnownAnswer(
        "normal cut on both sides",
        CutNormal(0.1, 0.3, -2.5, 3.5),
        range(SOME),
        {
            DType.F64: "2a9e6d7735bfa182a9928855ad76eaca36477f6f41a58e0e2e6a0e78f5cef871",
            DType.F32: "c56e2222914c26536f649e86bbf3556d949090a5305e47a1421d939f2b6c3fb2",
        },
    ),
    KnownAnswer(
        "normal cut below the mean",
        CutNormal(0.0, 1.0, -inf, -0.5),
        range(SOME),
        {
            DType.F64: "7c6659d660f5bf539640c0af771220ce37a5fd0f1b87659550b1a9ff92c81eda",
            DType.F32: "da5208dbfc4ce9ff7284f472d45369be6df4400e7dc4c231246b81e38042ca63",
        },
    ),
    KnownAnswer(
        "normal cut above the mean",
        CutNormal(0.0, 1.0, 0.5, inf),
        SCATTERED,
        {
            DType.F64: "c4f2ef8f4a25ea0d3e9a04eec91ec1050d29f290aa3747537626210609814c4f",
            DType.F32: "1dc7d91703a60b868b34abd54a0bd82e7f7a4d6f27802929d4acb5ac89d0e9be",
        },
    ),
    KnownAnswer(
        "normal cut far out",
        CutNormal(0.0, 1.0, 30.0, inf),
        range(SOME),
        {
            DType.F64: "6039fb1564c1385593b6178ccf27f7aae72e2b7c53254032befa135b2e303232",
            DType.F32: "a755deed13de89e6b4cc9591e72422ecf5fdf2aab671d8d248fa96abb806e89e",
        },
    ),
    KnownAnswer(
        "constant",
        Constant(0.1),
        range(2),
        {
            DType.F64: "27f38bc9041d87370c09400bb227fc5a3737c3c7302176b5418f03923629c36d",
            DType.F32: "e2f8e482c9156e75bc7fa16666925b8b7951c3fda57f959dd079bb28cce10baa",
            DType.BF16: "08a2eba1f0f70dd604ed7c83f36632c1da0844f319ccc47a8e32052b91b31db6",
            DType.F16: "dc769f312f293c835013e796c1c298b611dcfbdf5339b1b2f484c211bf27e0ec",
            DType.F8_E4M3: "d4ba2394ffbd157c87ffc31ac10fa7836bec703398184f424b1435f26d1a36c7",
            DType.F8_E5M2: "5ec1f7e700f37c3d0b2981d04855fc34b94aaa15457b05ca571817442d228f81",
        },
    ),
    KnownAnswer(
        "identity",
        Identity(0.1, (5, 7, 3), (0, 1), ((2, 1),)),
        range(5 * 7 * 3),
        {
            DType.F64: "244f1d1d35f97ec6add0966756c90188e1094705c968216399cac430919db4c9",
            DType.F32: "c4c094658cab89bbfb50a29ab156bf09fbfb10cb078e3eed7a18941750de5749",
        },
    ),
    KnownAnswer(
        "orthogonal rows",  # x87 arithmetic fails this: it computes the elements that fill no vector, and rounds twice
        Orthogonal(1.5, (127, 151), (), (0,)),
        range(127 * 151),
        {
            DType.F64: "7a0c2e28e7eef926895b3886be95b190b8234aaa6996c2db7154ef5eb1244aaf",
        },
    ),
    KnownAnswer(
        "orthogonal columns",
        Orthogonal(0.1, (4200, 4), (), (0,)),
        range(4200 * 4),
        {
            DType.F64: "453724b9f8d5a5ff49acf842a47db7d062cd95100f7f7ad95673c7008c330501",
        },
    ),
    KnownAnswer(
        "orthogonal kernels in groups",
        Orthogonal(1.0, (3, 6, 4, 2), (0,), (1,), ((3, 1),)),
        SCATTERED % 144,
        {
            DType.F32: "6d4271bfe061160ec02110095a271056aef1fd46b558c57757e16a88de10d0bf",
        },
    ),
    KnownAnswer(
        "sparse",
        Sparse(0.5, 40, (100, 80), 0),
        range(100 * 80),
        {
            DType.F64: "0dbc639e131030cd13b798b020a24e2043e3a9bc371d1c66081c72ee29abdd7d",
            DType.F32: "03642df2c1b71ddc9f24c975ab9845c8bc062ab490ba2df049096839adfa9f81",
        },
    ),
    KnownAnswer(
        "blocks",
        Blockwise((Normal(0.0, 1.0), Constant(1.0), Uniform(-0.5, 0.5)), 999),
        range(3 * 999),
        {
            DType.F32: "e2a08be08c2b171e02ff3220cfa78ae2763770218a35dd664822cc6945dd2b6e",
        },
    ),
    KnownAnswer(
        "sum",
        Sum(Normal(0.1, 0.5), Uniform(-1.0, 1.0), "digest", "other"),
        range(SOME),
        {
            DType.F64: "e1543117bea370a12e08c639576f2dae2263f6bb59e855cf7039c5f1473f2a34",
            DType.F32: "6a966531055f6191bf666eb3558ebb9ac7e8d190b2316651c2a6213a3048f64c",
            DType.BF16: "e9acc8ea0e3d83e9a117a1c145886a6c094a23842d794849f99472b96f3b3963",
            DType.F16: "ca628334fc50258f384d91f9c1cb1a72604f60dc435c8ba83b1b38c922c1ee0b",
            DType.F8_E4M3: "f057b7bebcc3628c39f4e7a4d1672e49c5b491ef7bda1d1ad07954c2d5a21286",
            DType.F8_E5M2: "91337305abf7722de80cce86057f885980ca0b621603f981d3efd4240f43707e",
        },
    ),
    KnownAnswer(
        "two in one",
        Concatenated(Normal(0.0, 0.5), Uniform(-1.0, 1.0), "digest", "other", (1, 0, 2), 500),
        range(2 * 3 * 500),
        {
            DType.F32: "5f3555463f4faf7bdffb105ca45c3d5c4616a6f5cbec32dc04ab6450cef7db85",
        },
    ),
)


def check_known_answers(drawn: Collection[Drawn] | None = None) -> None:
    """Draw the known answers in the calling thread, and compare them.

    Args:
        drawn: what is going to be drawn; only the answers that concern it are checked. None checks every answer.

    Raises:
        BrokenPlatform: a value differs, or subnormal numbers are flushed to zero.
    """
    for p in (BINARY32, BINARY64):
        _check_subnormals(p)
    for answer in KNOWN_ANSWERS:
        source, fill = _Own(SEED, NAME), answer.distribution.fill
        for dtype in answer.digests if drawn is None else _concerned(answer, drawn):
            if _digest(answer, dtype, partial(fill, source)) != answer.digests[dtype]:
                raise BrokenPlatform(f"{answer.name} values in {dtype} differ from the known answers")


def adopt(engine: Engine) -> None:
    """From now on, use an engine for the kinds whose known answers it reproduces bit for bit."""
    use(engine, [kind for kind in engine.kinds if _draws_right(engine, kind)])


def _concerned(answer: KnownAnswer, drawn: Collection[Drawn]) -> list[DType]:
    """The dtypes in which to check an answer.

    If its distribution is drawn, these are the dtypes in which it is drawn and the answer is known, or else all in
    which the answer is known. The uniform answer checks the rounding to each dtype, so it concerns every distribution.
    """
    dtypes = {dtype for kind, dtype in drawn if kind is type(answer.distribution) or answer.name == "uniform"}
    same = [dtype for dtype in answer.digests if dtype in dtypes]
    return same or (list(answer.digests) if dtypes else [])


def _draws_right(engine: Engine, kind: Kind) -> bool:
    """Whether an engine reproduces all known answers of a kind."""
    source = WordSource(SEED, NAME)
    return all(
        _digest(answer, dtype, partial(engine.fill, kind, answer.distribution.arguments, source)) == digest
        for answer in KNOWN_ANSWERS
        if isinstance(answer.distribution, Elementwise) and answer.distribution.kind == kind
        for dtype, digest in answer.digests.items()
    )


def _digest(answer: KnownAnswer, dtype: DType, fill: Callable[[Elements, DType, Array], None]) -> str:
    stored = np.empty(len(answer.elements), dtype.storage)
    fill(answer.elements, dtype, stored)
    return sha256(stored.data).hexdigest()


def _check_subnormals(p: Precision) -> None:
    smallest_normal = np.full(64, np.finfo(p.floating).smallest_normal)
    halves = smallest_normal * p.floating(0.5)
    if not (halves + halves == smallest_normal).all() or not (halves > 0).all():
        raise BrokenPlatform(f"subnormal numbers of {p.bits} bits are flushed to zero")
