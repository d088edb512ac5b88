"""Planning in two steps: an outline, in which every layer is resolved once and its cost counted; then its expansion.

All faults of a stage are collected before the next stage begins. The stages are the meaning of the layers, the limits,
and the names; only the names need repeats expanded. Costs are plain integers, so nothing is expanded or allocated for a
specification that is too large. Layers that differ only in their names are resolved once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import reduce
from itertools import groupby
from math import prod
from operator import attrgetter
from typing import Final

from service.distributions.elementwise import Constant
from service.errors import Fault
from service.limits import Limits
from service.plan.branches import Branch, Cost, Part, Parts, Prefix, around, bytes_of, dotted, parameters_of, total
from service.plan.findings import Findings
from service.plan.layers.dispatch import layer_parameters
from service.plan.names import Made, check_characters, check_names
from service.plan.parameter import LayerParameter, Parameter
from service.plan.resolve import Resolved, resolve
from service.plan.tensors import Plan, TensorPlan
from service.schema.canonical import canonical_document, canonical_json
from service.schema.initializers import TruncatedNormal
from service.schema.layers import AnyLayer, Group, Leaf, Repeat
from service.schema.model import ModelSpec
from service.stream.dtypes import DType

NOTHING: Final = Resolved(None, None, Constant(0.0))


def make_plan(spec: ModelSpec, limits: Limits | None = None) -> Plan:
    """Plan a specification.

    Args:
        spec: a specification of valid form.
        limits: how large it may be; None for the defaults.

    Raises:
        InvalidSpec: it contradicts itself: a scheme lacks fans, groups do not divide channels, or names collide.
        LimitExceeded: it exceeds the limits.
    """
    return make_outline(spec, limits).expanded()


def make_outline(spec: ModelSpec, limits: Limits | None = None) -> Outline:
    """Resolve every layer of a specification once, however often it is repeated.

    Args:
        spec: a specification of valid form.
        limits: how large it may be; None for the defaults.

    Raises:
        InvalidSpec: a layer contradicts itself.
        LimitExceeded: it exceeds the limits.
    """
    planner = _Planner(spec, limits or Limits())
    return Outline(planner, planner.outline())


class Outline:
    """A specification whose layers are resolved and whose cost is known; nothing is expanded yet.

    Attributes:
        canonical: the canonical form of the specification.
        tensors: the number of tensors that the plan will have.
    """

    def __init__(self, planner: _Planner, branches: Sequence[Branch]) -> None:
        self._planner = planner
        self._branches = branches
        self.canonical = canonical_json(canonical_document(planner.spec))
        self.tensors = total(branches).tensors

    @property
    def name_bytes(self) -> int:
        """The least number of bytes of all names in the file."""
        return total(self._branches).name_bytes

    def parameters(self) -> Iterator[tuple[Parameter, int]]:
        """Every parameter, and how many tensors it becomes."""
        return parameters_of(self._branches, 1)

    def expanded(self) -> Plan:
        """The plan, with all its tensors.

        Raises:
            InvalidSpec: names collide or are invalid.
        """
        made = list(self._planner.expand(self._branches, ""))
        check_names(made, self._planner.findings)
        materializes = total(self._branches).whole > 0
        return Plan(self._planner.spec, self.canonical, tuple(each.tensor for each in made), materializes)


class _Planner:
    def __init__(self, spec: ModelSpec, limits: Limits) -> None:
        self.spec = spec
        self.findings = Findings(limits)
        self._known: dict[Hashable, tuple[Parts, ...]] = {}
        self._cuts: set[TruncatedNormal] = set()
        self._different = 0

    def outline(self) -> tuple[Branch, ...]:
        """Resolve every layer once, multiply the cost of repeats, and refuse a specification that is too large."""
        check_characters(self.spec.prefix, "/prefix", self.findings)
        branches = self._branches(self.spec.layers, "/layers", Prefix())
        cost = total(branches)
        self.findings.limit("/layers", "tensors", cost.tensors, "tensors")
        self.findings.limit("/layers", "file_bytes", cost.nbytes, "bytes")
        self.findings.limit("/layers", "header_bytes", cost.header_bytes, "bytes of header")
        self.findings.limit("/layers", "whole_total_elements", cost.whole, "elements of matrices that are drawn whole")
        if not (branches or self.findings):
            self.findings.add(Fault("/layers", "the layers have no tensors; at least one is needed"))
        self.findings.give_up()
        return branches

    def expand(self, branches: Sequence[Branch], prefix: str) -> Iterator[Made]:
        """The tensors of some branches, in order."""
        for branch in branches:
            name = dotted(prefix, branch.name)
            for parts in branch.parts:
                for part in parts.each():
                    yield self._made(part, name, branch.pointer)
            for number in ("",) if branch.numbers is None else branch.numbers:
                yield from self.expand(branch.inside, dotted(name, str(number)))

    def _made(self, part: Part, name: str, pointer: str) -> Made:
        canonical = output = dotted(name, part.suffix)
        if self.spec.prefix or part.output_suffix != part.suffix:
            output = self.spec.prefix + dotted(name, part.output_suffix)
        others = tuple(dotted(name, other) for other in part.others)
        return Made(TensorPlan(output, canonical, self.spec.seed, part.parameter), pointer, others)

    def _branches(self, layers: Sequence[AnyLayer], path: str, prefix: Prefix) -> tuple[Branch, ...]:
        branches = (self._branch(layer, f"{path}/{number}", prefix) for number, layer in enumerate(layers))
        return tuple(branch for branch in branches if branch.cost.tensors)

    def _branch(self, layer: AnyLayer, pointer: str, prefix: Prefix) -> Branch:
        prefix = prefix.with_name(layer.name)
        match layer:
            case Group():
                return around(layer, pointer, None, self._branches(layer.layers, pointer + "/layers", prefix))
            case Repeat(start=start, times=times):
                numbers = range(start, start + times)
                inside = self._branches(layer.layers, pointer + "/layers", prefix.with_numbers(numbers))
                return around(layer, pointer, numbers, inside)
            case _:
                return self._leaf(layer, pointer, prefix)

    def _leaf(self, layer: Leaf, pointer: str, prefix: Prefix) -> Branch:
        known, more = self._resolve(layer, pointer), bytes_of(self.spec.prefix)
        names = [dotted(prefix.longest, name) for parts in known for name in parts.suffixes(-1)]
        longest = more + max(map(bytes_of, names), default=0)
        self.findings.limit(pointer + "/name", "name_bytes", longest, "bytes in a name")
        across = max((part.parameter.materialized_bytes for parts in known for part in parts.parts), default=0)
        self.findings.limit(pointer, "whole_bytes", across, "bytes of interleaved matrices in a tensor")
        cost = reduce(Cost.plus, (parts.cost(prefix.longest, more - prefix.slack) for parts in known), Cost())
        return Branch(layer.name, pointer, None, (), known, cost)

    def _resolve(self, layer: Leaf, pointer: str) -> tuple[Parts, ...]:
        """The parts of a layer, which it shares with every layer that differs only in its name."""
        content = _content(layer)
        known = self._known.get(content)
        if known is None:
            found = len(self.findings)
            known = tuple(self._parts(layer, pointer))
            self._count(known)
            if len(self.findings) == found:
                self._known[content] = known
        return known

    def _count(self, known: Sequence[Parts]) -> None:
        """Give up if there are more different tensors than the limit allows."""
        self._different += sum(len(parts.parts) for parts in known)
        if not self.findings.limit("/layers", "different_tensors", self._different, "different tensors"):
            self.findings.give_up(None)

    def _parts(self, layer: Leaf, pointer: str) -> Iterator[Parts]:
        try:
            for numbers, definitions in groupby(layer_parameters(layer, self.spec), attrgetter("numbers")):
                yield Parts(numbers, tuple(self._part(defined, layer, pointer) for defined in definitions))
        except ValueError as error:
            self.findings.add(Fault(pointer, str(error)))

    def _part(self, defined: LayerParameter, layer: Leaf, pointer: str) -> Part:
        first = defined if defined.numbers is None else defined.numbered(defined.numbers.start)
        parameter = self._parameter(first, layer.dtype or self.spec.dtype, pointer)
        return Part(defined.name, defined.output_name, parameter, defined.others)

    def _parameter(self, defined: LayerParameter, dtype: DType, pointer: str) -> Parameter:
        if not self._fits(defined, dtype, pointer):  # a refused parameter costs nothing
            return Parameter(defined._replace(shape=(), rearrangement=None), dtype, *NOTHING)
        return Parameter(defined, dtype, *self._resolved(defined, dtype, pointer))

    def _fits(self, defined: LayerParameter, dtype: DType, pointer: str) -> bool:
        rank = max(len(defined.shape), len(defined.rearrangement.axes) if defined.rearrangement else 0)
        fits = self.findings.limit(pointer, "rank", rank, "dimensions") and self.findings.limit(
            pointer, "dimension", max(defined.shape, default=0), "in one dimension"
        )
        if fits and 0 in defined.shape:  # readers may multiply the other dimensions before they see the zero
            return self.findings.limit(
                pointer, "file_bytes", dtype.itemsize * prod(filter(None, defined.shape)), "bytes"
            )
        return fits

    def _resolved(self, defined: LayerParameter, dtype: DType, pointer: str) -> Resolved:
        if isinstance(defined.initializer, TruncatedNormal):
            self._cuts.add(defined.initializer)
            if not self.findings.limit(pointer, "cuts", len(self._cuts), "different truncated normals"):
                return NOTHING
        try:
            resolved = resolve(defined)
        except (ValueError, OverflowError) as error:
            self._blame(defined, pointer, str(error))
            return NOTHING
        distribution = resolved.distribution
        if not self.findings.limit(
            pointer, "whole_elements", distribution.matrix_elements, "elements of a matrix that is drawn whole"
        ):
            return NOTHING
        if not distribution.fits(dtype):
            self._blame(defined, pointer, f"its largest value overflows {dtype}: use a wider dtype or a smaller scale")
        return resolved

    def _blame(self, defined: LayerParameter, pointer: str, message: str) -> None:
        name = defined.name or "the tensor"
        self.findings.add(Fault(f"{pointer}/{defined.field}", f"{defined.initializer.type} for {name}: {message}"))


def _content(layer: Leaf) -> Hashable:
    """Everything that a layer states except its name."""
    return type(layer), *(value for field, value in vars(layer).items() if field != "name")
