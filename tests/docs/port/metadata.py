"""The numbers in the metadata of files, expected and measured: section 19."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.docs.port.constants import precision
from tests.docs.port.cuts import cut_normal, moments
from tests.docs.port.matrices import folded
from tests.docs.port.places import canonical_index
from tests.docs.port.values import Law, cut_of, of_word, read, rounded
from tests.stream import reference
from tests.stream.reference import Format


def expected(law: Law, dtype: str) -> dict[str, float]:
    mean, std = _moments(law)
    least, greatest = _ends(law, dtype)
    return {"max": greatest, "mean": mean, "min": least, "std": std}


def _moments(law: Law) -> tuple[float, float]:  # noqa: PLR0911 - one case a distribution
    match law["type"]:
        case "uniform":
            return (law["high"] + law["low"]) / 2, (law["high"] - law["low"]) / 2 / math.sqrt(3.0)
        case "normal":
            return law["mean"], law["std"]
        case "truncated_normal":
            return law["mean"], law["std_before"] * 0.8796256610342398
        case "cut_normal":
            mean, std = moments(*cut_of(law))
            return law["location"] + law["std_before"] * mean, law["std_before"] * std
        case "constant":
            return law["value"], 0.0
        case "identity":
            one, other = (law["shape"][axis] for axis in law["diagonal"])
            share = min(one, other) / (one * other * _taps(law))
            return law["value"] * share, abs(law["value"]) * math.sqrt(share * (1 - share))
        case "orthogonal":
            rows = math.prod(law["shape"][axis] for axis in law["row_axes"])
            matrices = math.prod(law["shape"][axis] for axis in law["batch_axes"])
            longer = max(rows, math.prod(law["shape"]) // (rows * matrices * _taps(law)))
            return 0.0, law["gain"] / math.sqrt(longer * _taps(law))
        case "sparse":
            return 0.0, law["std_before"] * math.sqrt(1 - law["zeros"] / law["shape"][law["row_axis"]])
        case "sum":
            (mean, std), (other, other_std) = _moments(law["first"]), _moments(law["second"])
            unit = _unit([std, other_std])
            a, b = std / unit, other_std / unit
            return mean + other, math.sqrt(a * a + b * b) * unit
        case _:
            return _of_blocks([_moments(block) for block in _blocks(law)])


def _blocks(law: Law) -> list[Law]:
    return list(law["laws"]) if "laws" in law else [law["first"], law["second"]]


def _taps(law: Law) -> int:
    return math.prod(law["shape"][axis] for axis, _ in law["center"])


def _of_blocks(blocks: Sequence[tuple[float, float]]) -> tuple[float, float]:
    means, stds = zip(*blocks, strict=True)
    unit, n = _unit(means), len(blocks)
    mean = math.fsum(each / unit for each in means) / n * unit
    width = _unit([*means, *stds])
    squares = [(s / width) * (s / width) + (m / width - mean / width) * (m / width - mean / width) for m, s in blocks]
    return mean, math.sqrt(math.fsum(squares) / n) * width


def _unit(numbers: Sequence[float]) -> float:
    return math.ldexp(1.0, math.frexp(max(map(abs, numbers)))[1] - 1)


def _ends(law: Law, dtype: str) -> tuple[float, float]:  # noqa: PLR0911 - one case a distribution
    f = precision(dtype)
    words = extreme_words(f)
    most = reference.normal_quantile(words[1], f)
    match law["type"]:
        case "uniform":
            return law["low"], law["high"]
        case "normal":
            return law["mean"] - most * law["std"], law["mean"] + most * law["std"]
        case "truncated_normal":
            return law["mean"] - 2 * law["std_before"], law["mean"] + 2 * law["std_before"]
        case "cut_normal":
            cut = cut_of(law)
            farthest = [cut_normal(word, f.bits, cut) for word in words]
            least, greatest = (end if math.isfinite(end) else far for end, far in zip(cut, farthest, strict=True))
            return law["location"] + least * law["std_before"], law["location"] + greatest * law["std_before"]
        case "constant":
            return law["value"], law["value"]
        case "identity":
            return min(law["value"], 0.0), max(law["value"], 0.0)
        case "orthogonal":
            return -law["gain"], law["gain"]
        case "sparse":
            return 0.0 - most * law["std_before"], 0.0 + most * law["std_before"]
        case "sum":
            (least, greatest), (other, another) = _ends(law["first"], dtype), _ends(law["second"], dtype)
            return least + other, greatest + another
        case _:
            ends_of_blocks = [_ends(block, dtype) for block in _blocks(law)]
            return min(least for least, _ in ends_of_blocks), max(greatest for _, greatest in ends_of_blocks)


def in_canonical_order(raw: bytes, dtype: str, arrangement: Law | None) -> list[float]:
    """The values of a tensor of a file, in canonical order."""
    size = len(reference.stored(0.0, dtype))
    values = [read(raw[at : at + size], dtype) for at in range(0, len(raw), size)]
    if arrangement is None:
        return values
    places = sorted(range(len(values)), key=lambda element: canonical_index(arrangement, element))
    return [values[place] for place in places]


def measured(values: Sequence[float], law: Law, dtype: str) -> dict[str, float | None]:
    n = len(values)
    if not n:
        return dict.fromkeys(("max", "mean", "min", "std"))
    least, greatest = min(values) + 0.0, max(values) + 0.0
    stored = _stored_ends(law, dtype)
    if stored[0] == stored[1]:
        return {"max": stored[0] + 0.0, "mean": stored[0] + 0.0, "min": stored[0] + 0.0, "std": 0.0}
    mean, std = _moments(law)
    unit = 2.0 ** min(max(math.frexp(std)[1], -1000), 1000)
    blocks = [[(value - mean) / unit for value in values[first : first + 131072]] for first in range(0, n, 131072)]
    deviation = math.fsum(map(folded, blocks)) / n
    square = math.fsum(folded([d * d for d in block]) for block in blocks) / n
    spread = math.sqrt(max(square - deviation * deviation, 0.0)) * unit
    return {"max": greatest, "mean": mean + deviation * unit, "min": least, "std": spread}


def extreme_words(f: Format) -> tuple[int, int]:
    """Those of the least and of the greatest value."""
    return 1 << (f.bits - 1), (1 << (f.bits - 1)) - 1


def _stored_ends(law: Law, dtype: str) -> tuple[float, float]:
    """The least and the greatest value that can be stored."""
    f = precision(dtype)
    match law["type"]:
        case "identity":
            put = [] if math.prod(law["shape"]) == 1 else [0.0]
            ends = [f.rn(law["value"]), *put]
        case "orthogonal":
            ends = [f.rn(-law["gain"]), f.rn(law["gain"]), *([0.0] if _taps(law) > 1 else [])]
        case "sparse":
            share, normal = 1 - law["zeros"] / law["shape"][law["row_axis"]], {"type": "normal", "mean": 0.0}
            normal["std"] = law["std_before"]
            ends = [*(_stored_ends(normal, dtype) if share else ()), *([0.0] if share < 1 else [])]
        case "sum":
            pairs = zip(_stored_ends(law["first"], dtype), _stored_ends(law["second"], dtype), strict=True)
            ends = [f.rn(one + other) for one, other in pairs]
        case "stacked" | "joined":
            ends = [end for block in _blocks(law) for end in _stored_ends(block, dtype)]
        case _:
            ends = [of_word(law, word, f) for word in extreme_words(f)]
    stored = [rounded(end, dtype) for end in ends]
    return min(stored), max(stored)
