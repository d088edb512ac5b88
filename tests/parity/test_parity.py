"""Names, shapes, fans and scalars, held against what PyTorch and Keras said themselves; see produce.py."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import numpy as np
import pytest

from service.distributions.elementwise import Normal, TruncatedNormal, Uniform
from service.distributions.orthogonal import Orthogonal
from service.initializers.fans import Fans
from service.initializers.gains import gain_of
from service.plan import TensorPlan
from service.schema import initializers as wire
from service.schema.catalogue import layer_models, type_of
from service.schema.fields import FanRule
from service.stream.dtypes import DType
from tests.plan.planned import Layer, planned, values

NAME: Final = "layer"
PRODUCED: Final[dict[str, Any]] = {
    framework: json.loads((Path(__file__).parent / f"{framework}.json").read_text()) for framework in ("torch", "keras")
}
XAVIER: Final = {"torch": "xavier_uniform", "keras": "glorot_uniform"}
XAVIER_ULPS: Final = 0
OTHER_ULPS: Final = 2
"""Units in the last place; the frameworks divide, multiply and take roots in different orders."""


class Case(NamedTuple):
    """A layer, and its tensors as a framework has them."""

    framework: str
    layer: Layer
    tensors: list[dict[str, Any]]

    def __str__(self) -> str:
        fields = (f"{key}={value}" for key, value in self.layer.items() if key not in ("type", "name"))
        return " ".join([self.framework, self.layer["type"], *fields])

    @property
    def names(self) -> list[str]:
        """The names of the tensors as they stand in our files."""
        return [each["name"] if self.framework == "torch" else from_keras(each["name"]) for each in self.tensors]

    def drawn_by(self, scheme: str, tensor: dict[str, Any]) -> str:
        """The distribution that a scheme of the framework gives one of the tensors."""
        written: str = PRODUCED[self.framework]["laws"]["{} {}".format(*tensor["fans"])][scheme]
        return written

    def ulps_of_default(self, tensor: dict[str, Any]) -> int:
        """How far ours may be from what the framework draws by itself."""
        is_xavier = "fans" in tensor and tensor["default"] == self.drawn_by(XAVIER[self.framework], tensor)
        return XAVIER_ULPS if is_xavier else OTHER_ULPS

    def planned(self, **more: Any) -> dict[str, TensorPlan]:
        """Our tensors, by name."""
        plan = planned(self.layer, **{"framework": self.framework, "fans": self.framework} | more)
        return {each.name: each for each in plan.tensors}


def from_keras(path: str) -> str:
    """A path of Keras as a name here: without cells, and without the wrapped layer's name after the direction."""
    first, *others = path.split("/")
    parts = [each.partition("_")[0] if each.startswith(("forward_", "backward_")) else each for each in others]
    return ".".join([first.replace("_", "."), *(each for each in parts if not each.endswith(("_cell", "tensor")))])


def initializer_of(name: str) -> str:
    """The field of a layer that says how a tensor is drawn."""
    return "bias_initializer" if name.endswith(("bias", "beta")) else "initializer"


CASES: Final = [
    Case(framework, each["layer"] | {"name": NAME}, each["tensors"])
    for framework, produced in PRODUCED.items()
    for each in produced["layers"]
]
SCHEMES: Final = [(framework, scheme) for framework, produced in PRODUCED.items() for scheme in produced["schemes"]]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def ulps(one: float, other: float) -> int:
    """How many binary64 numbers lie from one to another."""
    places = (int.from_bytes(struct.pack(">d", abs(number))) * (-1 if number < 0 else 1) for number in (one, other))
    first, second = places
    return abs(first - second)


def distribution_of(tensor: TensorPlan) -> tuple[str, list[float]]:
    """The distribution of a tensor as produce.py writes it."""
    match tensor.distribution:
        case Uniform(low=low, high=high):
            return "uniform", [low, high]
        case Normal(mean=mean, std=std):
            return "normal", [mean, std]
        case TruncatedNormal(mean=mean, std_before=std):
            return "truncated_normal", [mean, std]
        case Orthogonal(gain=gain, shape=shape, batch_axes=batch_axes, row_axes=row_axes, center=()):
            matrices, rows = (prod(shape[axis] for axis in axes) for axes in (batch_axes, row_axes))
            sides = rows, prod(shape) // rows // matrices
            matrices = matrices * tensor.elements // prod(shape)  # a tensor of Keras may be a part of one of PyTorch
            return "orthogonal" if matrices == 1 else f"{matrices} orthogonal", [gain, max(sides), min(sides)]
        case distribution:
            return type(distribution).__name__, []


def differences(tensor: TensorPlan, written: str, most: int) -> list[str]:
    """Where our distribution of a tensor is further than some ulps from the written one."""
    kind, *words = written.split()
    if kind in ("constant", "runs"):
        drawn = values(tensor).reshape(-1)
        numbers = np.array([float.fromhex(word) for word in words[::2]])
        expected = np.repeat(numbers, [int(times) for times in words[1::2]] or [drawn.size])
        return [] if np.array_equal(drawn, expected) else [f"{tensor.name}: {tensor.distribution} is not {written}"]
    scalars = [float.fromhex(word) if "x" in word else int(word) for word in words]
    our_kind, ours = distribution_of(tensor)
    if our_kind != kind:
        return [f"{tensor.name}: {our_kind} is not {written}"]
    return [
        f"{tensor.name}: {our_kind} {mine} is {ulps(mine, theirs)} ulp from {theirs}"
        for mine, theirs in zip(ours, scalars, strict=True)
        if ulps(mine, theirs) > most
    ]


def test_every_layer_of_the_catalogue_is_held_against_a_framework() -> None:
    kinds = {type_of(model) for model in layer_models()} - {"group", "repeat"}

    assert {case.layer["type"] for case in CASES if case.framework == "torch"} == kinds
    assert {case.layer["type"] for case in CASES if case.framework == "keras"} == kinds - {"bilinear"}


def test_every_tensor_has_a_default_but_those_that_are_of_no_layer_of_the_framework() -> None:
    for case in CASES:
        of_no_layer = case.layer["type"] == "tensor" or "layout" in case.layer
        assert {each["default"] is None for each in case.tensors} == {of_no_layer}


def test_the_catalogue_names_the_versions_that_were_asked() -> None:
    torch, keras = (PRODUCED[framework]["about"][framework] for framework in ("torch", "keras"))

    assert wire.TORCH.startswith(f"PyTorch {torch.rpartition('.')[0]},")
    assert wire.KERAS.startswith(f"Keras {keras.rpartition('.')[0]},")


@each_case
def test_names_and_shapes_are_those_of_the_framework(case: Case) -> None:
    ours = case.planned()

    assert {name: list(each.shape) for name, each in ours.items()} == {
        name: each["shape"] for name, each in zip(case.names, case.tensors, strict=True)
    }


def test_torch_has_the_same_tensors_in_the_same_order() -> None:
    for case in CASES:
        if case.framework == "torch":
            assert list(case.planned()) == case.names


@each_case
def test_fans_are_those_of_the_framework(case: Case) -> None:
    ours = case.planned()
    theirs = {name: Fans(*each["fans"]) for name, each in zip(case.names, case.tensors, strict=True) if "fans" in each}

    assert {name: ours[name].parameter.fans for name in theirs} == theirs


@each_case
def test_defaults_are_those_of_the_framework_however_fans_are_counted(case: Case) -> None:
    default = {"initializer": f"{case.framework}_default"}
    by_layer = case._replace(layer=case.layer | default)
    drawn = {name: each for name, each in zip(case.names, case.tensors, strict=True) if each["default"]}

    for fans in get_args(FanRule) if drawn else ():
        for ours in (case.planned(fans=fans, **default), by_layer.planned(fans=fans)):
            assert not [
                difference
                for name, each in drawn.items()
                for difference in differences(ours[name], each["default"], case.ulps_of_default(each))
            ]


@each_case
def test_orthogonal_matrices_have_the_sides_of_those_of_the_framework(case: Case) -> None:
    drawn = {name: each for name, each in zip(case.names, case.tensors, strict=True) if "sides" in each}
    fields = {initializer_of(name) for name in drawn}
    ours = case._replace(layer=case.layer | dict.fromkeys(fields, "orthogonal")).planned()

    assert {name: distribution_of(ours[name]) for name in drawn} == {
        name: ("orthogonal", [1.0, *each["sides"]]) for name, each in drawn.items()
    }


@pytest.mark.parametrize("of", ["initializer", "bias_initializer"])
@pytest.mark.parametrize(("framework", "scheme"), SCHEMES, ids=[" ".join(each) for each in SCHEMES])
def test_scalars_of_schemes_are_those_of_the_framework(framework: str, scheme: str, of: str) -> None:
    initializer = PRODUCED[framework]["schemes"][scheme]
    most = XAVIER_ULPS if scheme.startswith(("xavier", "glorot")) else OTHER_ULPS
    found: list[str] = []
    for case in CASES:
        named = zip(case.names, case.tensors, strict=True)
        drawn = {name: each for name, each in named if "fans" in each and initializer_of(name) == of}
        if case.framework == framework and drawn:
            ours = case._replace(layer=case.layer | {of: initializer}).planned()
            for name, each in drawn.items():
                distribution = case.drawn_by(scheme, each)
                found += [f"{case}: {difference}" for difference in differences(ours[name], distribution, most)]

    assert not found


@pytest.mark.parametrize("gain", PRODUCED["torch"]["gains"], ids=str)
def test_gains_are_those_of_torch_to_the_last_bit(gain: list[Any]) -> None:
    *arguments, theirs = gain

    assert gain_of(*arguments).hex() == theirs


@pytest.mark.parametrize("asked", PRODUCED["torch"]["trunc_normal_"], ids=str)
def test_the_ends_of_a_truncated_normal_of_torch_are_values_and_not_standard_deviations(asked: dict[str, Any]) -> None:
    ends = {"low": asked["a"], "high": asked["b"], "absolute": True}
    distribution = {"type": "truncated_normal", "mean": asked["mean"], "std": asked["std"]} | ends
    [tensor] = planned({"type": "tensor", "name": NAME, "shape": [1], "initializer": distribution}, dtype="F64").tensors
    ours, drawn = tensor.distribution, asked["drawn"]

    assert ours.support(DType.F64) == pytest.approx((asked["a"], asked["b"]), rel=1e-15)
    assert asked["a"] < drawn["min"] < drawn["max"] < asked["b"]
    assert ours.mean == pytest.approx(drawn["mean"], abs=0.01 * asked["std"])
    assert ours.std == pytest.approx(drawn["std"], rel=0.01)
