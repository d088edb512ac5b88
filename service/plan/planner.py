"""One pass over a specification: every fault of a stage is collected before the next stage starts.

The stages: what the layers mean, then the limits, then the names, which alone need repeats expanded.
Cost is counted in plain integers, so nothing is allocated or expanded for a specification that is too large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final
from unicodedata import category

from service.errors import Excess, Fault, InvalidSpec, LimitExceeded
from service.initializers.distributions import Constant
from service.limits import Limits
from service.plan.laws import Understood, understand
from service.plan.recurrent import tensors_of
from service.plan.role import Builder, Role
from service.plan.roles import roles_of
from service.plan.tensors import Parameter, Plan, TensorPlan
from service.spec.canonical import canonical_document, canonical_json
from service.spec.layers import GRU, LSTM, RNN, AnyLayer, Group, LayerNorm, Leaf, Repeat, RMSNorm, Tensor
from service.spec.model import ModelSpec
from service.stream.dtypes import DType

NOTHING: Final = Understood(Constant(0.0), None, None)
MOST_TOLD: Final = 10**100
"""The largest number that is told as it is."""
LEAST_ENTRY: Final = 80
"""Bytes of a tensor in a header besides its names, at the least."""


def make_plan(spec: ModelSpec, limits: Limits | None = None) -> Plan:
    """Plan a specification.

    Args:
        spec: a specification of valid form.
        limits: how large it may be; the defaults where None.

    Raises:
        InvalidSpec: it means nothing: a scheme without fans, groups that do not divide, names that collide.
        LimitExceeded: it is larger than the limits.
    """
    planner = _Planner(spec, limits or Limits())
    outline = planner.outline()
    tensors = tuple(planner.expand(outline, ""))
    planner.check_names(tensors)
    return Plan(spec, canonical_json(canonical_document(spec)), tensors, any(branch.cost.whole for branch in outline))


@dataclass(frozen=True, slots=True)
class _Cost:
    """What some layers come to, in plain integers: nothing is expanded to count it."""

    tensors: int = 0
    nbytes: int = 0
    name_bytes: int = 0
    """Bytes of all names at the least; the numbers of repeats grow longer."""
    whole: int = 0
    """Elements that must be drawn together with others."""

    def __add__(self, other: _Cost) -> _Cost:
        return _Cost(
            self.tensors + other.tensors,
            self.nbytes + other.nbytes,
            self.name_bytes + other.name_bytes,
            self.whole + other.whole,
        )

    def __mul__(self, times: int) -> _Cost:
        return _Cost(self.tensors * times, self.nbytes * times, self.name_bytes * times, self.whole * times)

    @property
    def header_bytes(self) -> int:
        """A safetensors header at the least: every name twice, an entry and a description."""
        return 2 * self.name_bytes + LEAST_ENTRY * self.tensors


@dataclass(frozen=True, slots=True)
class _Branch:
    """A layer that has tensors, understood once: its own parameters, or the branches inside it and how often."""

    name: str
    numbers: range | None
    """The numbers of a repeat; None for a group and a leaf."""
    inside: tuple[_Branch, ...]
    parameters: tuple[Parameter, ...]
    cost: _Cost


@dataclass(frozen=True, slots=True)
class _Prefix:
    """What stands before the names inside: the longest there is, and by how much the shortest is shorter."""

    longest: str = ""
    slack: int = 0

    def with_name(self, name: str) -> _Prefix:
        return _Prefix(_joined(self.longest, name), self.slack)

    def with_numbers(self, numbers: range) -> _Prefix:
        first, last = str(numbers.start), str(numbers.stop - 1)
        return _Prefix(_joined(self.longest, last), self.slack + len(last) - len(first))


class _Planner:
    def __init__(self, spec: ModelSpec, limits: Limits) -> None:
        self.spec = spec
        self.limits = limits
        self.faults: list[Fault] = []
        self.excesses: list[Excess] = []
        self._recurrent_tensors = 0

    def outline(self) -> tuple[_Branch, ...]:
        """Every layer understood once, its cost counted with repeats multiplied, and refused where it is too much."""
        self._check_characters(self.spec.prefix, "/prefix")
        branches = self._branches(self.spec.layers, "/layers", _Prefix())
        cost = sum((branch.cost for branch in branches), _Cost())
        self._limit("/layers", "tensors", cost.tensors, "tensors")
        self._limit("/layers", "file_bytes", cost.nbytes, "bytes")
        self._limit("/layers", "header_bytes", cost.header_bytes, "bytes of header")
        self._limit("/layers", "whole_total_elements", cost.whole, "elements of matrices that are drawn whole")
        if not (branches or self.faults or self.excesses):
            self.faults.append(Fault("/layers", "the layers have no tensors; at least one is needed"))
        self._give_up()
        return branches

    def expand(self, branches: Sequence[_Branch], prefix: str) -> Iterator[TensorPlan]:
        """The tensors of some branches, in order."""
        for branch in branches:
            name = _joined(prefix, branch.name)
            for parameter in branch.parameters:
                output = self.spec.prefix + _joined(name, parameter.output_suffix)
                yield TensorPlan(output, _joined(name, parameter.suffix), self.spec.seed, parameter)
            for number in ("",) if branch.numbers is None else branch.numbers:
                yield from self.expand(branch.inside, _joined(name, str(number)))

    def check_names(self, tensors: Sequence[TensorPlan]) -> None:
        """Names must be unique, in the canonical naming too, printable, and not the format's own."""
        self._check_unique((tensor.name, tensor) for tensor in tensors)
        self._check_unique((name, tensor) for tensor in tensors for name in _canonical_names(tensor))
        for tensor in tensors:
            self._check_name(tensor)
        self._give_up()

    def _check_unique(self, named: Iterable[tuple[str, TensorPlan]]) -> None:
        owners: dict[str, str] = {}
        for name, tensor in named:
            pointer = tensor.parameter.pointer
            if name in owners:
                message = (
                    f"the tensor {_short(name)} is already made by {owners[name]}: give the layers different names"
                )
                self.faults.append(Fault(pointer + "/name", message))
            owners.setdefault(name, pointer)

    def _check_name(self, tensor: TensorPlan) -> None:
        pointer = tensor.parameter.pointer + "/name"
        if not tensor.canonical_name:
            self.faults.append(Fault(pointer, "a tensor needs a name; this one is empty"))
        elif tensor.name == "__metadata__":
            self.faults.append(Fault(pointer, "__metadata__ is reserved by the file format: choose another name"))
        else:
            self._check_characters(tensor.name, pointer)

    def _check_characters(self, name: str, pointer: str) -> None:
        if not name.isprintable() and any(category(character) == "Cc" for character in name):
            self.faults.append(Fault(pointer, f"names must be free of control characters; got {_short(name)}"))

    def _give_up(self) -> None:
        if self.faults:
            raise InvalidSpec(list(dict.fromkeys(self.faults)))
        if self.excesses:
            raise LimitExceeded(list(dict.fromkeys(self.excesses)))

    def _limit(self, pointer: str, name: str, requested: int, unit: str) -> bool:
        limit = int(getattr(self.limits, name))
        if requested > limit:
            asked = requested if requested <= MOST_TOLD else f"more than {MOST_TOLD}"
            way_out = f"make it smaller, or raise XAVIER_MAX_{name.upper()}"
            message = f"at most {limit} {unit}; this asks for {asked}: {way_out}"
            self.excesses.append(Excess(pointer, message, name, limit, min(requested, MOST_TOLD)))
        return requested <= limit

    def _branches(self, layers: Sequence[AnyLayer], path: str, prefix: _Prefix) -> tuple[_Branch, ...]:
        branches = (self._branch(layer, f"{path}/{number}", prefix) for number, layer in enumerate(layers))
        return tuple(branch for branch in branches if branch.cost.tensors)

    def _branch(self, layer: AnyLayer, pointer: str, prefix: _Prefix) -> _Branch:
        prefix = prefix.with_name(layer.name)
        match layer:
            case Group():
                return _around(layer.name, None, self._branches(layer.layers, pointer + "/layers", prefix))
            case Repeat(start=start, times=times):
                numbers = range(start, start + times)
                inside = self._branches(layer.layers, pointer + "/layers", prefix.with_numbers(numbers))
                return _around(layer.name, numbers, inside)
            case _:
                return self._leaf(layer, pointer, prefix)

    def _leaf(self, layer: Leaf, pointer: str, prefix: _Prefix) -> _Branch:
        parameters = tuple(self._understand(layer, pointer))
        names = [self.spec.prefix + _joined(prefix.longest, parameter.output_suffix) for parameter in parameters]
        longest = max((len(name.encode()) for name in names), default=0)
        self._limit(pointer + "/name", "name_bytes", longest, "bytes in a name")
        across = max((parameter.whole_bytes for parameter in parameters), default=0)
        self._limit(pointer, "whole_bytes", across, "bytes of matrices that lie across each other in a tensor")
        name_bytes = sum(map(len, names)) - prefix.slack * len(names)
        whole = sum(parameter.whole_elements for parameter in parameters)
        cost = _Cost(len(parameters), sum(parameter.nbytes for parameter in parameters), name_bytes, whole)
        return _Branch(layer.name, None, (), parameters, cost)

    def _understand(self, layer: Leaf, pointer: str) -> Iterator[Parameter]:
        if not self._countable(layer, pointer):
            return
        try:
            for role in roles_of(layer, self.spec):
                yield self._parameter(role, layer, pointer)
        except ValueError as error:
            self.faults.append(Fault(pointer, str(error)))

    def _countable(self, layer: Leaf, pointer: str) -> bool:
        """Whether a layer is small enough to be understood at all."""
        match layer:
            case Tensor(shape=shape):
                return self._limit(pointer, "rank", len(shape), "dimensions")
            case LayerNorm(normalized_shape=shape) | RMSNorm(normalized_shape=shape):
                return self._limit(pointer, "rank", len(shape), "dimensions")
            case RNN() | LSTM() | GRU():  # a short document may ask for many: so many that all count together
                self._recurrent_tensors += tensors_of(layer, Builder(layer, self.spec))
                return self._limit(pointer, "tensors", self._recurrent_tensors, "tensors")
            case _:
                return True

    def _parameter(self, role: Role, layer: Leaf, pointer: str) -> Parameter:
        dtype = layer.dtype or self.spec.dtype
        fits = self._fits(role, dtype, pointer)
        law, fans, rule = self._understood(role, dtype, pointer) if fits else NOTHING
        return Parameter(
            suffix=role.name,
            output_suffix=role.output_name,
            canonical_shape=role.shape if fits else (),  # what is refused need not be counted
            arrangement=role.arrangement if fits else None,
            dtype=dtype,
            fans=fans,
            rule=rule,
            role=role,
            initializer=role.initializer,
            distribution=law,
            pointer=pointer,
        )

    def _fits(self, role: Role, dtype: DType, pointer: str) -> bool:
        rank = max(len(role.shape), len(role.arrangement.axes) if role.arrangement else 0)
        fits = self._limit(pointer, "rank", rank, "dimensions") and self._limit(
            pointer, "dimension", max(role.shape, default=0), "in one dimension"
        )
        if fits and 0 in role.shape:  # readers multiply what is there, even without elements
            return self._limit(pointer, "file_bytes", dtype.itemsize * prod(filter(None, role.shape)), "bytes")
        return fits

    def _understood(self, role: Role, dtype: DType, pointer: str) -> Understood:
        try:
            understood = understand(role)
        except (ValueError, OverflowError) as error:
            self._blame(role, pointer, str(error))
            return NOTHING
        law = understood.law
        if not self._limit(pointer, "whole_elements", law.held, "elements of a matrix that is drawn whole"):
            return NOTHING
        if not law.fits(dtype):
            self._blame(role, pointer, f"its largest value overflows {dtype}: use a wider dtype or a smaller scale")
        return understood

    def _blame(self, role: Role, pointer: str, message: str) -> None:
        name = role.name or "the tensor"
        self.faults.append(Fault(f"{pointer}/{role.field}", f"{role.initializer.type} for {name}: {message}"))


def _around(name: str, numbers: range | None, inside: tuple[_Branch, ...]) -> _Branch:
    times = 1 if numbers is None else numbers.stop - numbers.start
    return _Branch(name, numbers, inside, (), sum((branch.cost for branch in inside), _Cost()) * times)


def _canonical_names(tensor: TensorPlan) -> tuple[str, ...]:
    """The canonical tensors that are in a tensor; of those that share one, the first alone has it."""
    parameter, name = tensor.parameter, tensor.canonical_name
    if parameter.arrangement and parameter.arrangement.part:
        return ()
    others = parameter.role.others if parameter.role else ()
    return (name, *(name.removesuffix(parameter.suffix) + other for other in others))


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name


def _short(name: str) -> str:
    shown = ascii(name)
    return shown if len(shown) <= 80 else shown[:80] + "…"
