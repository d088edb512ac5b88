"""Planning in two steps: an outline, in which every layer is understood once and its cost counted; then its expansion.

Every fault of a stage is collected before the next stage starts: what the layers mean, then the limits, then the names,
which alone need repeats expanded. Cost is counted in plain integers, so nothing is allocated or expanded for a
specification that is too large. Layers that are equal but for their names are understood once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import groupby
from math import prod
from operator import add, attrgetter
from typing import Final, NamedTuple
from unicodedata import category

from service.distributions.blockwise import renamed
from service.distributions.elementwise import Constant
from service.errors import MOST_COUNTED, Fault, InvalidSpec, LimitExceeded, LimitFault
from service.limits import Limits
from service.plan.layers.dispatch import layer_parameters
from service.plan.parameter import NUMBER, LayerParameter, Parameter
from service.plan.resolve import Resolved, resolve
from service.plan.tensors import Plan, TensorPlan
from service.schema.canonical import canonical_document, canonical_json
from service.schema.initializers import TruncatedNormal
from service.schema.layers import AnyLayer, Group, Leaf, Repeat
from service.schema.model import ModelSpec
from service.stream.dtypes import DType

NOTHING: Final = Resolved(None, None, Constant(0.0))
MOST_TOLD: Final = 10**100
"""The largest number that is told as it is."""
LEAST_ENTRY: Final = 80
"""Bytes of a tensor in a header besides its names, at the least."""
RESERVED: Final = "__metadata__"


def make_plan(spec: ModelSpec, limits: Limits | None = None) -> Plan:
    """Plan a specification.

    Args:
        spec: a specification of valid form.
        limits: how large it may be; the defaults where None.

    Raises:
        InvalidSpec: it means nothing: a scheme without fans, groups that do not divide, names that collide.
        LimitExceeded: it is larger than the limits.
    """
    return make_outline(spec, limits).expanded()


def make_outline(spec: ModelSpec, limits: Limits | None = None) -> Outline:
    """Understand every layer of a specification once, however often it is repeated.

    Args:
        spec: a specification of valid form.
        limits: how large it may be; the defaults where None.

    Raises:
        InvalidSpec: a layer means nothing.
        LimitExceeded: it is larger than the limits.
    """
    planner = _Planner(spec, limits or Limits())
    return Outline(planner, planner.outline())


class Outline:
    """A specification whose layers are understood and whose cost is known; nothing is expanded yet.

    Attributes:
        canonical: the canonical form of the specification.
        tensors: how many tensors the plan will have.
    """

    def __init__(self, planner: _Planner, branches: Sequence[_Branch]) -> None:
        self._planner = planner
        self._branches = branches
        self.canonical = canonical_json(canonical_document(planner.spec))
        self.tensors = _total(branches).tensors

    @property
    def name_bytes(self) -> int:
        """Bytes of all names in the file, at the least."""
        return _total(self._branches).name_bytes

    def parameters(self) -> Iterator[tuple[Parameter, int]]:
        """Every parameter, and how many tensors it becomes."""
        return _parameters(self._branches, 1)

    def expanded(self) -> Plan:
        """The plan, with all its tensors.

        Raises:
            InvalidSpec: names collide, or are none.
        """
        made = list(self._planner.expand(self._branches, ""))
        self._planner.check_names(made)
        materializes = _total(self._branches).whole > 0
        return Plan(self._planner.spec, self.canonical, tuple(each.tensor for each in made), materializes)


class _Cost(NamedTuple):
    """What some layers come to, in plain integers: nothing is expanded to count it."""

    tensors: int = 0
    nbytes: int = 0
    name_bytes: int = 0
    """Bytes of all names at the least; the numbers of repeats grow longer."""
    whole: int = 0
    """Elements that must be drawn together with others."""

    def plus(self, other: _Cost) -> _Cost:
        return _Cost(*map(add, self, other))

    def times(self, count: int) -> _Cost:
        return _Cost(*(part * count for part in self))

    @property
    def header_bytes(self) -> int:
        """A safetensors header at the least: every name twice, an entry and a description."""
        return 2 * self.name_bytes + LEAST_ENTRY * self.tensors


class _Part(NamedTuple):
    """A parameter under the names that it has in its layer.

    Attributes:
        others: canonical names of the further tensors that are in it.
    """

    suffix: str
    output_suffix: str
    parameter: Parameter
    others: tuple[str, ...]

    def numbered(self, number: int) -> _Part:
        """The same part of one layer of a stack; the distribution of two tensors in one has their names in it."""
        suffix, output_suffix, *others = (
            name.replace(NUMBER, str(number)) for name in (self.suffix, self.output_suffix, *self.others)
        )
        parameter = self.parameter
        for other in others:
            distribution = renamed(parameter.distribution, (suffix, other))
            if distribution != parameter.distribution:
                parameter = replace(parameter, distribution=distribution)
        return _Part(suffix, output_suffix, parameter, tuple(others))


class _Parts(NamedTuple):
    """The parts of a layer; or of the layers of a stack that have the same but for the numbers in their names."""

    numbers: range | None
    parts: tuple[_Part, ...]

    def cost(self, prefix: str, more: int) -> _Cost:
        """What they come to under a prefix, each name being some bytes longer (or shorter) than that makes it."""
        nbytes = sum(part.parameter.nbytes for part in self.parts)
        name_bytes = sum(_bytes_of(_dotted(prefix, name)) + more for name in self.suffixes(0))
        whole = sum(part.parameter.materialized_elements for part in self.parts)
        return _Cost(len(self.parts), nbytes, name_bytes, whole).times(self.times)

    @property
    def times(self) -> int:
        """How many layers have them."""
        return 1 if self.numbers is None else len(self.numbers)

    def each(self) -> Iterator[_Part]:
        """All parts, number by number."""
        if self.numbers is None:
            yield from self.parts
        else:
            yield from (part.numbered(number) for number in self.numbers for part in self.parts)

    def suffixes(self, number: int) -> list[str]:
        """The names of the parts in the file, of the first (0) or the last (-1) number."""
        if self.numbers is None:
            return [part.output_suffix for part in self.parts]
        return [part.output_suffix.replace(NUMBER, str(self.numbers[number])) for part in self.parts]


class _Branch(NamedTuple):
    """A layer that has tensors, understood once: its own parts, or the branches inside it and how often."""

    name: str
    pointer: str
    numbers: range | None
    """The numbers of a repeat; None for a group and a leaf."""
    inside: tuple[_Branch, ...]
    parts: tuple[_Parts, ...]
    cost: _Cost


class _Prefix(NamedTuple):
    """What stands before the names inside: the longest there is, and by how much the shortest is shorter."""

    longest: str = ""
    slack: int = 0

    def with_name(self, name: str) -> _Prefix:
        return _Prefix(_dotted(self.longest, name), self.slack)

    def with_numbers(self, numbers: range) -> _Prefix:
        first, last = str(numbers.start), str(numbers.stop - 1)
        return _Prefix(_dotted(self.longest, last), self.slack + len(last) - len(first))


class _Made(NamedTuple):
    """A tensor, the pointer to its layer, and the further canonical tensors that are in it."""

    tensor: TensorPlan
    pointer: str
    others: tuple[str, ...]

    @property
    def canonical_names(self) -> tuple[str, ...]:
        """The canonical tensors that are in it; of those that share one, the first alone has it."""
        rearrangement = self.tensor.parameter.rearrangement
        return () if rearrangement and rearrangement.part else (self.tensor.canonical_name, *self.others)


class _Planner:
    def __init__(self, spec: ModelSpec, limits: Limits) -> None:
        self.spec = spec
        self.limits = limits
        self.faults: list[Fault] = []
        self.excesses: list[LimitFault] = []
        self._known: dict[Hashable, tuple[_Parts, ...]] = {}
        self._cuts: set[TruncatedNormal] = set()
        self._different = 0

    def outline(self) -> tuple[_Branch, ...]:
        """Every layer understood once, its cost counted with repeats multiplied, and refused where it is too much."""
        self._check_characters(self.spec.prefix, "/prefix")
        branches = self._branches(self.spec.layers, "/layers", _Prefix())
        cost = _total(branches)
        self._limit("/layers", "tensors", cost.tensors, "tensors")
        self._limit("/layers", "file_bytes", cost.nbytes, "bytes")
        self._limit("/layers", "header_bytes", cost.header_bytes, "bytes of header")
        self._limit("/layers", "whole_total_elements", cost.whole, "elements of matrices that are drawn whole")
        if not (branches or self.faults or self.excesses):
            self._find(Fault("/layers", "the layers have no tensors; at least one is needed"))
        self._give_up()
        return branches

    def expand(self, branches: Sequence[_Branch], prefix: str) -> Iterator[_Made]:
        """The tensors of some branches, in order."""
        for branch in branches:
            name = _dotted(prefix, branch.name)
            for parts in branch.parts:
                for part in parts.each():
                    yield self._made(part, name, branch.pointer)
            for number in ("",) if branch.numbers is None else branch.numbers:
                yield from self.expand(branch.inside, _dotted(name, str(number)))

    def _made(self, part: _Part, name: str, pointer: str) -> _Made:
        canonical = output = _dotted(name, part.suffix)
        if self.spec.prefix or part.output_suffix != part.suffix:
            output = self.spec.prefix + _dotted(name, part.output_suffix)
        others = tuple(_dotted(name, other) for other in part.others)
        return _Made(TensorPlan(output, canonical, self.spec.seed, part.parameter), pointer, others)

    def check_names(self, made: Sequence[_Made]) -> None:
        """Names must be unique, in the canonical naming too, printable, and not the format's own."""
        names = [each.tensor.name for each in made]
        canonical = [name for each in made for name in each.canonical_names]
        if _all_usable(names) and _all_usable(canonical):
            return
        self._check_unique((each.tensor.name, each.pointer) for each in made)
        self._check_unique((name, each.pointer) for each in made for name in each.canonical_names)
        for each in made:
            self._check_name(each.tensor, each.pointer + "/name")
        self._give_up()

    def _check_unique(self, named: Iterable[tuple[str, str]]) -> None:
        owners: dict[str, str] = {}
        for name, pointer in named:
            if name in owners:
                message = (
                    f"the tensor {_short(name)} is already made by {owners[name]}: give the layers different names"
                )
                self._find(Fault(pointer + "/name", message))
            owners.setdefault(name, pointer)

    def _check_name(self, tensor: TensorPlan, pointer: str) -> None:
        if not tensor.canonical_name:
            self._find(Fault(pointer, "a tensor needs a name; this one is empty"))
        elif tensor.name == RESERVED:
            self._find(Fault(pointer, f"{RESERVED} is reserved by the file format: choose another name"))
        else:
            self._check_characters(tensor.name, pointer)

    def _check_characters(self, name: str, pointer: str) -> None:
        if not name.isprintable() and any(category(character) == "Cc" for character in name):
            self._find(Fault(pointer, f"names must be free of control characters; got {_short(name)}"))

    def _find(self, fault: Fault) -> None:
        """Keep a fault, and go on unless there are so many that nobody reads them."""
        if isinstance(fault, LimitFault):
            self.excesses.append(fault)
        else:
            self.faults.append(fault)
        if len(self.faults) + len(self.excesses) >= MOST_COUNTED:
            self._give_up(None)

    def _give_up(self, total: int | None = 0) -> None:
        if self.faults:
            raise InvalidSpec(list(dict.fromkeys(self.faults)), total)
        if self.excesses:
            raise LimitExceeded(list(dict.fromkeys(self.excesses)), total)

    def _limit(self, pointer: str, name: str, requested: int, unit: str) -> bool:
        limit = int(getattr(self.limits, name))
        if requested > limit:
            asked = requested if requested <= MOST_TOLD else f"more than {MOST_TOLD}"
            way_out = f"make it smaller, or raise XAVIER_MAX_{name.upper()}"
            message = f"at most {limit} {unit}; this asks for {asked}: {way_out}"
            self._find(LimitFault(pointer, message, name, limit, min(requested, MOST_TOLD)))
        return requested <= limit

    def _branches(self, layers: Sequence[AnyLayer], path: str, prefix: _Prefix) -> tuple[_Branch, ...]:
        branches = (self._branch(layer, f"{path}/{number}", prefix) for number, layer in enumerate(layers))
        return tuple(branch for branch in branches if branch.cost.tensors)

    def _branch(self, layer: AnyLayer, pointer: str, prefix: _Prefix) -> _Branch:
        prefix = prefix.with_name(layer.name)
        match layer:
            case Group():
                return _around(layer, pointer, None, self._branches(layer.layers, pointer + "/layers", prefix))
            case Repeat(start=start, times=times):
                numbers = range(start, start + times)
                inside = self._branches(layer.layers, pointer + "/layers", prefix.with_numbers(numbers))
                return _around(layer, pointer, numbers, inside)
            case _:
                return self._leaf(layer, pointer, prefix)

    def _leaf(self, layer: Leaf, pointer: str, prefix: _Prefix) -> _Branch:
        known, more = self._resolve(layer, pointer), _bytes_of(self.spec.prefix)
        names = [_dotted(prefix.longest, name) for parts in known for name in parts.suffixes(-1)]
        longest = more + max(map(_bytes_of, names), default=0)
        self._limit(pointer + "/name", "name_bytes", longest, "bytes in a name")
        across = max((part.parameter.materialized_bytes for parts in known for part in parts.parts), default=0)
        self._limit(pointer, "whole_bytes", across, "bytes of matrices that lie across each other in a tensor")
        cost = reduce(_Cost.plus, (parts.cost(prefix.longest, more - prefix.slack) for parts in known), _Cost())
        return _Branch(layer.name, pointer, None, (), known, cost)

    def _resolve(self, layer: Leaf, pointer: str) -> tuple[_Parts, ...]:
        """The parts of a layer, which are those of any other that is equal but for its name."""
        content = _content(layer)
        known = self._known.get(content)
        if known is None:
            faults = len(self.faults) + len(self.excesses)
            known = tuple(self._parts(layer, pointer))
            self._count(known)
            if len(self.faults) + len(self.excesses) == faults:
                self._known[content] = known
        return known

    def _count(self, known: Sequence[_Parts]) -> None:
        """Stop where more is to be understood than may be."""
        self._different += sum(len(parts.parts) for parts in known)
        if not self._limit("/layers", "different_tensors", self._different, "different tensors"):
            self._give_up(None)

    def _parts(self, layer: Leaf, pointer: str) -> Iterator[_Parts]:
        try:
            for numbers, definitions in groupby(layer_parameters(layer, self.spec), attrgetter("numbers")):
                yield _Parts(numbers, tuple(self._part(defined, layer, pointer) for defined in definitions))
        except ValueError as error:
            self._find(Fault(pointer, str(error)))

    def _part(self, defined: LayerParameter, layer: Leaf, pointer: str) -> _Part:
        first = defined if defined.numbers is None else defined.numbered(defined.numbers.start)
        parameter = self._parameter(first, layer.dtype or self.spec.dtype, pointer)
        return _Part(defined.name, defined.output_name, parameter, defined.others)

    def _parameter(self, defined: LayerParameter, dtype: DType, pointer: str) -> Parameter:
        if not self._fits(defined, dtype, pointer):  # what is refused need not be counted
            return Parameter(defined._replace(shape=(), rearrangement=None), dtype, *NOTHING)
        return Parameter(defined, dtype, *self._resolved(defined, dtype, pointer))

    def _fits(self, defined: LayerParameter, dtype: DType, pointer: str) -> bool:
        rank = max(len(defined.shape), len(defined.rearrangement.axes) if defined.rearrangement else 0)
        fits = self._limit(pointer, "rank", rank, "dimensions") and self._limit(
            pointer, "dimension", max(defined.shape, default=0), "in one dimension"
        )
        if fits and 0 in defined.shape:  # readers multiply what is there, even without elements
            return self._limit(pointer, "file_bytes", dtype.itemsize * prod(filter(None, defined.shape)), "bytes")
        return fits

    def _resolved(self, defined: LayerParameter, dtype: DType, pointer: str) -> Resolved:
        if isinstance(defined.initializer, TruncatedNormal):
            self._cuts.add(defined.initializer)
            if not self._limit(pointer, "cuts", len(self._cuts), "different truncated normals"):
                return NOTHING
        try:
            resolved = resolve(defined)
        except (ValueError, OverflowError) as error:
            self._blame(defined, pointer, str(error))
            return NOTHING
        distribution = resolved.distribution
        if not self._limit(
            pointer, "whole_elements", distribution.matrix_elements, "elements of a matrix that is drawn whole"
        ):
            return NOTHING
        if not distribution.fits(dtype):
            self._blame(defined, pointer, f"its largest value overflows {dtype}: use a wider dtype or a smaller scale")
        return resolved

    def _blame(self, defined: LayerParameter, pointer: str, message: str) -> None:
        name = defined.name or "the tensor"
        self._find(Fault(f"{pointer}/{defined.field}", f"{defined.initializer.type} for {name}: {message}"))


def _around(layer: Group | Repeat, pointer: str, numbers: range | None, inside: tuple[_Branch, ...]) -> _Branch:
    times = 1 if numbers is None else numbers.stop - numbers.start
    return _Branch(layer.name, pointer, numbers, inside, (), _total(inside).times(times))


def _parameters(branches: Sequence[_Branch], times: int) -> Iterator[tuple[Parameter, int]]:
    for branch in branches:
        for parts in branch.parts:
            for part in parts.parts:
                yield part.parameter, times * parts.times
        inside = 1 if branch.numbers is None else len(branch.numbers)
        yield from _parameters(branch.inside, times * inside)


def _total(branches: Sequence[_Branch]) -> _Cost:
    return reduce(_Cost.plus, (branch.cost for branch in branches), _Cost())


def _content(layer: Leaf) -> Hashable:
    """All that a layer says but its name."""
    return type(layer), *(value for field, value in vars(layer).items() if field != "name")


def _all_usable(names: Sequence[str]) -> bool:
    """Whether no name needs a closer look: all are different, printable, and neither empty nor reserved."""
    different = set(names)
    return (
        len(different) == len(names)
        and all(map(str.isprintable, different))
        and "" not in different
        and RESERVED not in different
    )


def _bytes_of(name: str) -> int:
    return len(name) if name.isascii() else len(name.encode())


def _dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name


def _short(name: str) -> str:
    shown = ascii(name)
    return shown if len(shown) <= 80 else shown[:80] + "…"
