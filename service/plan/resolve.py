"""From initializers to distributions: the one `match` over all initializers."""

from __future__ import annotations

from math import ceil, inf, isfinite, nextafter
from typing import Final, NamedTuple, assert_never

from service.distributions.base import Distribution
from service.distributions.elementwise import Constant, Normal, TruncatedNormal, Uniform
from service.distributions.orthogonal import Orthogonal
from service.distributions.structured import Identity, Sparse, central
from service.distributions.truncated import CutNormal
from service.initializers import schemes
from service.initializers.fans import Connectivity, Fans, by_torch, grouped
from service.initializers.gains import Nonlinearity, gain_of
from service.initializers.schemes import ComputedShape
from service.plan.parameter import Default, LayerParameter, Rule
from service.schema import initializers as wire
from service.schema.fields import FanRule
from service.schema.initializers import AnyInitializer, GainOf, InitializerBase
from service.stream.words import Shape

ANY_RANK: Final = 1 << 20
CONVOLUTIONS: Final = range(3, 6)
"""The ranks of convolution weights."""


class Resolved(NamedTuple):
    """The fans of a parameter and the rule by which they were counted, or None; and its distribution."""

    fans: Fans | None
    rule: Rule | None
    distribution: Distribution


def resolve(defined: LayerParameter) -> Resolved:
    """Resolve the initializer of a parameter to a distribution.

    Raises:
        ValueError: the scheme needs connections that the parameter lacks, or its scalars are out of range.
    """
    initializer, rule = defined.initializer, defined.rule
    if isinstance(initializer, wire.TorchDefault):
        rule = "torch"
    elif isinstance(initializer, wire.KerasDefault):
        rule = "keras"
    fans = defined.fans(rule)
    if defined.combine:
        names = tuple(part.name for part in defined.parts)
        distribution = defined.combine(*(resolve(part).distribution for part in defined.parts), names)
    else:
        distribution = distribution_of(initializer, fans, defined)
    return Resolved(fans, rule if fans else None, distribution)


def distribution_of(  # noqa: C901, PLR0911, PLR0912 - one case per initializer, each a line or two
    initializer: AnyInitializer, fans: Fans | None, defined: LayerParameter | None = None
) -> Distribution:
    """The distribution of an initializer.

    Args:
        initializer: the initializer that was asked for.
        fans: the fans of the parameter; None if it has none.
        defined: the parameter; None if there is no layer, which is enough where only scalars matter.

    Raises:
        ValueError: the initializer needs something that the parameter lacks, or its scalars are out of range.
    """
    uniform: ComputedShape = "uniform_by_keras" if defined and defined.rule == "keras" else "uniform"
    match initializer:
        case wire.XavierUniform(mode=mode, multiplier=multiplier):
            return schemes.xavier(_needed(fans), uniform, _gain(initializer.gain), mode, multiplier)
        case wire.XavierNormal(mode=mode, multiplier=multiplier):
            return schemes.xavier(_needed(fans), "normal", _gain(initializer.gain), mode, multiplier)
        case wire.KaimingUniform(mode=mode, multiplier=multiplier):
            return schemes.kaiming(_needed(fans), uniform, _kaiming_gain(initializer), mode, multiplier)
        case wire.KaimingNormal(mode=mode, multiplier=multiplier):
            return schemes.kaiming(_needed(fans), "normal", _kaiming_gain(initializer), mode, multiplier)
        case wire.LecunUniform(multiplier=multiplier):
            return schemes.lecun(_needed(fans), uniform, multiplier)
        case wire.LecunNormal(multiplier=multiplier):
            return schemes.lecun(_needed(fans), "normal", multiplier)
        case wire.VarianceScaling(scale=scale, mode=mode, distribution=shape, multiplier=multiplier):
            computed = uniform if shape == "uniform" else shape
            return schemes.variance_scaling(_needed(fans), scale, mode, computed, multiplier=multiplier)
        case wire.Uniform(low=low, high=high, multiplier=multiplier):
            return _uniform(low, high, multiplier)
        case wire.Normal(mean=mean, std=std, multiplier=multiplier):
            return Normal(mean, schemes.positive_std(std * multiplier))
        case wire.TruncatedNormal():
            return _truncated(initializer)
        case wire.Orthogonal():
            return _orthogonal(initializer, _placed(defined))
        case wire.DeltaOrthogonal():
            return _delta_orthogonal(initializer, _placed(defined))
        case wire.Identity():
            return _identity(initializer, _placed(defined))
        case wire.Dirac():
            return _dirac(initializer, _placed(defined))
        case wire.Sparse():
            return _sparse(initializer, _placed(defined))
        case wire.TorchDefault(multiplier=multiplier):
            return _default(_placed(defined), "torch", _placed(defined).defaults.torch, fans, multiplier)
        case wire.KerasDefault(multiplier=multiplier):
            return _default(_placed(defined), "keras", _placed(defined).defaults.keras, fans, multiplier)
        case wire.Constant(value=value):
            return Constant(value)
        case wire.Zeros():
            return Constant(0.0)
        case wire.Ones():
            return Constant(1.0)
        case _:
            assert_never(initializer)


def _needed(fans: Fans | None) -> Fans:
    if fans is None:
        raise ValueError(
            "it needs fan_in and fan_out; a bias, a norm, and a tensor below rank 2 or without elements have none;"
            " use normal, truncated_normal, uniform, constant, zeros or ones"
        )
    return fans


def _gain(gain: float | Nonlinearity | GainOf) -> float:
    match gain:
        case GainOf(nonlinearity=nonlinearity, negative_slope=slope):
            value = gain_of(nonlinearity, slope)
        case str():
            value = gain_of(gain)
        case _:
            value = gain
    if not value > 0:
        raise ValueError(f"its gain is {value}; it must be above 0")
    return value


def _kaiming_gain(initializer: wire.KaimingUniform | wire.KaimingNormal) -> float:
    if initializer.gain is not None:
        return _gain(initializer.gain)
    return _gain(
        GainOf.model_construct(nonlinearity=initializer.nonlinearity, negative_slope=initializer.negative_slope)
    )


def _uniform(low: float, high: float, multiplier: float) -> Distribution:
    distribution = Uniform(low, high).scaled(multiplier)
    if not distribution.low < distribution.high:
        ends = f"{distribution.low} and {distribution.high}"
        raise ValueError(f"its ends are {ends}; the lower end must be below the upper")
    return distribution


def _truncated(initializer: wire.TruncatedNormal) -> Distribution:
    mean, std = initializer.mean, schemes.positive_std(initializer.std * initializer.multiplier)
    low = -inf if initializer.low is None else initializer.low
    high = inf if initializer.high is None else initializer.high
    if initializer.absolute:
        low, high = _in_sigmas(low, mean, std, inf), _in_sigmas(high, mean, std, -inf)
    if (low, high) == (-2.0, 2.0):
        return TruncatedNormal(mean, std)
    if (low, high) == (-inf, inf):
        return Normal(mean, std)
    return CutNormal(mean, std, low, high)


def _in_sigmas(end: float, mean: float, std: float, inwards: float) -> float:
    """An end in units of the standard deviation, rounded so that no value passes the end itself."""
    sigmas = (end - mean) / std
    while isfinite(sigmas) and (sigmas * std + mean - end) * inwards < 0:
        sigmas = nextafter(sigmas, inwards)
    return sigmas


def _placed(defined: LayerParameter | None) -> LayerParameter:
    if defined is None:
        raise ValueError("it depends on the layer, so it needs a specification")
    return defined


def _default(
    defined: LayerParameter, framework: FanRule, default: Default | None, fans: Fans | None, multiplier: float
) -> Distribution:
    if default is None:
        raise ValueError(f"{framework} has no layer of this kind, and so no default for it; name an initializer")
    if not isinstance(default, InitializerBase):
        distribution = default()
        return distribution.scaled(multiplier) if isinstance(distribution, Uniform) else distribution
    if "multiplier" in type(default).model_fields:
        default = default.model_copy(update={"multiplier": multiplier})
    return distribution_of(default, fans, defined._replace(rule=framework))


def _connected(defined: LayerParameter, rule: Rule, ranks: range, way_out: str) -> Connectivity:
    """What the axes of a parameter connect, if its rank is one of `ranks`."""
    connected, rank = defined.connectivity(rule), len(defined.shape)
    if rank not in ranks:
        wanted = f"at least {ranks.start}" if rank < ranks.start else f"at most {ranks.stop - 1}"
        wanted = f"{ranks.start}" if len(ranks) == 1 else wanted
        raise ValueError(f"it needs a weight of rank {wanted}, but this one has rank {rank}{way_out}")
    if connected is None:
        raise ValueError("it needs inputs and outputs; a norm and a tensor without elements have none; use normal")
    return connected


def _one(axes: Shape) -> int:
    if len(axes) != 1:
        raise ValueError(
            f"it needs one axis of inputs and one of outputs, but the inputs or the outputs have {len(axes)};"
            " use normal"
        )
    return axes[0]


def _orthogonal(initializer: wire.Orthogonal, defined: LayerParameter) -> Distribution:
    rule = defined.rule if initializer.matricisation is None else initializer.matricisation
    c = _connected(defined, rule, range(2, ANY_RANK), "; use normal")
    gain = schemes.positive_std(_gain(initializer.gain) * initializer.multiplier)
    return Orthogonal(gain, c.shape, c.batch_axes, c.row_axes)


def _delta_orthogonal(initializer: wire.DeltaOrthogonal, defined: LayerParameter) -> Distribution:
    c = _connected(defined, "exact", CONVOLUTIONS, "; use orthogonal")
    one, other = c.shape[_one(c.in_axes)], c.shape[_one(c.out_axes)]
    if one > other:
        got = f"{one} inputs and {other} outputs"
        raise ValueError(f"it needs at most as many inputs as outputs; got {got}; use orthogonal")
    gain = schemes.positive_std(_gain(initializer.gain) * initializer.multiplier)
    center = central(c.shape, c.kernel_axes, upper=initializer.center == "torch")
    return Orthogonal(gain, c.shape, c.batch_axes, c.row_axes, center)


def _identity(initializer: wire.Identity, defined: LayerParameter) -> Distribution:
    c = _connected(defined, defined.rule, range(2, 3), "; use dirac for a convolution")
    return Identity(initializer.gain, c.shape, (_one(c.out_axes), _one(c.in_axes)))


def _dirac(initializer: wire.Dirac, defined: LayerParameter) -> Distribution:
    c = _connected(defined, "exact", CONVOLUTIONS, "; use identity for a matrix")
    if initializer.groups is not None and defined.rule == "axes" and c.batch_axes:
        raise ValueError("groups and batch_axes both divide the weight into independent maps; leave one of them out")
    if initializer.groups is not None:
        whole = (by_torch(defined.shape) if c.batch_axes else None) or c
        _one(whole.out_axes)
        c = grouped(whole, initializer.groups)
    center = central(c.shape, c.kernel_axes, upper=initializer.center == "torch")
    return Identity(initializer.gain, c.shape, (_one(c.out_axes), _one(c.in_axes)), center)


def _sparse(initializer: wire.Sparse, defined: LayerParameter) -> Distribution:
    c = _connected(defined, defined.rule, range(2, 3), "; use normal")
    row_axis = _one(c.row_axes)
    zeros = ceil(initializer.sparsity * c.shape[row_axis])
    return Sparse(schemes.positive_std(initializer.std * initializer.multiplier), zeros, c.shape, row_axis)
