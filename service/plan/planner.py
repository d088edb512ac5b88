"""One pass over a specification: every fault of a stage is collected before the next stage starts.

The stages: what the layers mean, then the limits, then the names, which alone need repeats expanded.
Cost is counted in plain integers, so nothing is allocated or expanded for a specification that is too large.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unicodedata import category

from service.errors import Excess, Fault, InvalidSpec, LimitExceeded
from service.initializers.distributions import Constant, Distribution
from service.limits import Limits
from service.plan.parameters import KERAS_NAMES, Role, distribution_of, roles_of
from service.plan.tensors import Parameter, Plan, TensorPlan
from service.spec.canonical import canonical_document, canonical_json
from service.spec.layers import AnyLayer, Group, Leaf, Repeat
from service.spec.model import ModelSpec
from service.stream.dtypes import DType


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
    return Plan(spec, canonical_json(canonical_document(spec)), tensors)


@dataclass(frozen=True, slots=True)
class _Branch:
    """A layer that has tensors, understood once: its own parameters, or the branches inside it and how often."""

    name: str
    numbers: range | None
    """The numbers of a repeat; None for a group and a leaf."""
    inside: tuple[_Branch, ...]
    parameters: tuple[Parameter, ...]
    tensors: int
    nbytes: int


class _Planner:
    def __init__(self, spec: ModelSpec, limits: Limits) -> None:
        self.spec = spec
        self.limits = limits
        self.faults: list[Fault] = []
        self.excesses: list[Excess] = []

    def outline(self) -> tuple[_Branch, ...]:
        """Every layer understood once, its cost counted with repeats multiplied, and refused where it is too much."""
        branches = self._branches(self.spec.layers, "/layers", self.spec.prefix)
        self._limit("/layers", "tensors", sum(branch.tensors for branch in branches), "tensors")
        self._limit("/layers", "file_bytes", sum(branch.nbytes for branch in branches), "bytes")
        if not branches:
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
        self._check_unique([tensor.name for tensor in tensors], tensors)
        self._check_unique([tensor.canonical_name for tensor in tensors], tensors)
        for tensor in tensors:
            self._check_name(tensor)
        self.faults = list(dict.fromkeys(self.faults))
        self._give_up()

    def _check_unique(self, names: Sequence[str], tensors: Sequence[TensorPlan]) -> None:
        owners: dict[str, str] = {}
        for name, tensor in zip(names, tensors, strict=True):
            pointer = tensor.parameter.pointer
            if name in owners:
                message = (
                    f"the tensor {_short(name)} is already made by {owners[name]}: give the layers different names"
                )
                self.faults.append(Fault(pointer + "/name", message))
            owners.setdefault(name, pointer)

    def _check_name(self, tensor: TensorPlan) -> None:
        name, pointer = tensor.name, tensor.parameter.pointer + "/name"
        if not tensor.canonical_name:
            self.faults.append(Fault(pointer, "a tensor needs a name; this one is empty"))
        elif name == "__metadata__":
            self.faults.append(Fault(pointer, "__metadata__ is reserved by the file format: choose another name"))
        elif not name.isprintable() and any(category(character) == "Cc" for character in name):
            self.faults.append(Fault(pointer, f"names must be free of control characters; got {_short(name)}"))

    def _give_up(self) -> None:
        if self.faults:
            raise InvalidSpec(self.faults)
        if self.excesses:
            raise LimitExceeded(self.excesses)

    def _limit(self, pointer: str, name: str, requested: int, unit: str) -> bool:
        limit = int(getattr(self.limits, name))
        if requested > limit:
            way_out = f"make it smaller, or raise XAVIER_MAX_{name.upper()}"
            message = f"at most {limit} {unit}; this asks for {requested}: {way_out}"
            self.excesses.append(Excess(pointer, message, name, limit, requested))
        return requested <= limit

    def _branches(self, layers: Sequence[AnyLayer], path: str, prefix: str) -> tuple[_Branch, ...]:
        """The layers that have tensors; `prefix` is the longest that they can get."""
        branches = (self._branch(layer, f"{path}/{number}", prefix) for number, layer in enumerate(layers))
        return tuple(branch for branch in branches if branch.tensors)

    def _branch(self, layer: AnyLayer, pointer: str, prefix: str) -> _Branch:
        name = _joined(prefix, layer.name)
        if not self._limit(pointer + "/name", "name_bytes", len(name.encode()), "bytes in a name"):
            name = ""  # said once; the names inside are not to blame
        match layer:
            case Group():
                return _around(layer.name, None, self._branches(layer.layers, pointer + "/layers", name))
            case Repeat(start=start, times=times):
                last = _joined(name, str(start + times - 1))
                inside = self._branches(layer.layers, pointer + "/layers", last)
                return _around(layer.name, range(start, start + times), inside)
            case _:
                parameters = tuple(self._understand(layer, pointer))
                for parameter in parameters:
                    full = len(_joined(name, parameter.output_suffix).encode())
                    self._limit(pointer + "/name", "name_bytes", full, "bytes in a name")
                return _Branch(
                    layer.name, None, (), parameters, len(parameters), sum(each.nbytes for each in parameters)
                )

    def _understand(self, layer: Leaf, pointer: str) -> Iterator[Parameter]:
        try:
            for role in roles_of(layer, self.spec):
                yield self._parameter(role, layer, pointer)
        except ValueError as error:
            self.faults.append(Fault(pointer, str(error)))

    def _parameter(self, role: Role, layer: Leaf, pointer: str) -> Parameter:
        dtype = layer.dtype or self.spec.dtype
        keras = KERAS_NAMES.get(layer.type, {}) if self.spec.framework == "keras" else {}
        return Parameter(
            suffix=role.name,
            output_suffix=keras.get(role.name, role.name),
            canonical_shape=role.shape,
            axes=role.axes,
            dtype=dtype,
            fans=role.fans,
            initializer=role.initializer,
            distribution=self._law(role, dtype, pointer),
            pointer=pointer,
        )

    def _law(self, role: Role, dtype: DType, pointer: str) -> Distribution:
        nothing = Constant(0.0)
        if not (self._limit(pointer, "rank", len(role.shape), "dimensions") and self._dimensions_fit(role, pointer)):
            return nothing
        try:
            law = distribution_of(role.initializer, role.fans)
        except ValueError as error:
            self._blame(role, pointer, str(error))
            return nothing
        if not law.fits(dtype):
            self._blame(role, pointer, f"its largest value overflows {dtype}: use a wider dtype or a smaller scale")
        return law

    def _dimensions_fit(self, role: Role, pointer: str) -> bool:
        return self._limit(pointer, "dimension", max(role.shape, default=0), "in one dimension")

    def _blame(self, role: Role, pointer: str, message: str) -> None:
        place = "/bias_initializer" if role.name == "bias" else "/initializer"
        self.faults.append(
            Fault(pointer + place, f"{role.initializer.type} for {role.name or 'the tensor'}: {message}")
        )


def _around(name: str, numbers: range | None, inside: tuple[_Branch, ...]) -> _Branch:
    times = 1 if numbers is None else len(numbers)
    tensors, nbytes = (sum(branch.tensors for branch in inside), sum(branch.nbytes for branch in inside))
    return _Branch(name, numbers, inside, (), times * tensors, times * nbytes)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name


def _short(name: str) -> str:
    shown = ascii(name)
    return shown if len(shown) <= 80 else shown[:80] + "…"
