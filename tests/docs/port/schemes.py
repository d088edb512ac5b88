"""From an initializer to a distribution: section 10, and what frameworks draw by themselves, section 16."""

from __future__ import annotations

import math
from typing import Any, Final

from tests.docs.port.constants import PAGE

Law = dict[str, Any]
Fans = tuple[int, int]
GAINS: Final = {row["nonlinearity"]: float(row["gain"]) for row in PAGE.table(10, "nonlinearity", "gain")}
SCHEMES: Final = {
    name: row
    for row in PAGE.table(10, "initializer", "scale", "gain", "default mode", "default distribution")
    for name in row["initializer"].split(", ")
}


def _number(cell: str) -> float:
    """A number of the table, or the default of a parameter that stands there by its name."""
    return 1.0 if cell == "scale" else float(cell)


def scaled(initializer: dict[str, Any], fans: Fans, rule: str) -> Law:
    """The distribution of a scheme that divides by fans."""
    row, multiplier = SCHEMES[initializer["type"]], initializer.get("multiplier", 1.0)
    scale = initializer["scale"] if "scale" in initializer else _number(row["scale"])
    mode = initializer.get("mode", row["default mode"])
    law = initializer.get("distribution", _usual(initializer["type"], row))
    n, gain = _fan(fans, mode), _gain(initializer)
    std = gain * math.sqrt(scale / n) * multiplier
    if law == "normal":
        return {"type": "normal", "mean": 0.0, "std": std}
    if law == "truncated_normal":
        return {"type": "truncated_normal", "mean": 0.0, "std_before": std / 0.8796256610342398}
    bound = math.sqrt(3.0 * (scale / n)) * gain * multiplier if rule == "keras" else math.sqrt(3.0) * std
    return {"type": "uniform", "low": -bound, "high": bound}


def _usual(name: str, row: dict[str, str]) -> str:
    usual = row["default distribution"].split(", ")
    return usual[0] if len(usual) == 1 else name.rpartition("_")[2]


def _fan(fans: Fans, mode: str) -> float:
    fan_in, fan_out = fans
    return {
        "fan_in": float(fan_in),
        "fan_out": float(fan_out),
        "fan_avg": (fan_in + fan_out) / 2.0,
        "fan_geo_avg": math.sqrt(fan_in * fan_out),
    }[mode]


def _gain(initializer: dict[str, Any]) -> float:
    kaiming = initializer["type"].startswith("kaiming")
    usual: Any = 1.0
    if kaiming:
        slope = initializer.get("negative_slope", 0.0)
        usual = {"nonlinearity": initializer.get("nonlinearity", "leaky_relu"), "negative_slope": slope}
    gain = initializer.get("gain", usual)
    if isinstance(gain, dict) and gain["nonlinearity"] == "leaky_relu":
        slope = gain.get("negative_slope", 0.01)
        return math.sqrt(2.0 / (1.0 + slope * slope))
    name = gain["nonlinearity"] if isinstance(gain, dict) else gain
    return GAINS[name] if isinstance(name, str) else float(name)


def uniform(low: float, high: float, multiplier: float = 1.0) -> Law:
    if multiplier != 1:
        half, middle = (high - low) / 2 * multiplier, (high + low) / 2
        low, high = middle - half, middle + half
    return {"type": "uniform", "low": low, "high": high}


def within(n: int, multiplier: float) -> Law:
    bound = 1.0 / math.sqrt(n)
    return uniform(-bound, bound, multiplier)


def reset(n: int, multiplier: float) -> Law:
    slope = math.sqrt(5.0)
    bound = math.sqrt(3.0) * (math.sqrt(2.0 / (1 + slope * slope)) / math.sqrt(n))
    return uniform(-bound, bound, multiplier)


def cut_ends(initializer: dict[str, Any]) -> tuple[float, float]:
    """The ends of a truncated normal, in units of its standard deviation."""
    std = initializer.get("std", 1.0) * initializer.get("multiplier", 1.0)
    low, high = initializer.get("low", -2.0), initializer.get("high", 2.0)
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if initializer.get("absolute"):
        mean = initializer.get("mean", 0.0)
        return _in_units(low, mean, std, math.inf), _in_units(high, mean, std, -math.inf)
    return low, high


def _in_units(end: float, mean: float, std: float, inwards: float) -> float:
    units = (end - mean) / std
    while math.isfinite(units) and (units * std + mean < end if inwards > 0 else units * std + mean > end):
        units = math.nextafter(units, inwards)
    return units
