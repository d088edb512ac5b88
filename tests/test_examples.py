"""The example specs are the published models: each is rebuilt here, tensor by tensor, without its spec."""

from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import pytest

from service.plan import Plan, make_plan
from service.schema.parsing import read_spec

EXAMPLES = Path(__file__).parents[1] / "examples"
RUNNING_STATISTICS = ("running_mean", "running_var")


class Expected(NamedTuple):
    """What a model's source says of one tensor before training."""

    shape: tuple[int, ...]
    std: float
    mean: float = 0.0


Model = dict[str, Expected]  # in the order of the checkpoint


def norm(name: str, width: int) -> Model:
    """A normalization starts as the identity."""
    return {f"{name}.weight": Expected((width,), 0.0, 1.0), f"{name}.bias": Expected((width,), 0.0)}


def lenet_300_100() -> Model:
    """Fully connected layers drawn from U(-2.4/F, 2.4/F), F the fan-in."""
    model: Model = {}
    for number, (fan_in, fan_out) in enumerate([(784, 300), (300, 100), (100, 10)], start=1):
        model[f"fc{number}.weight"] = Expected((fan_out, fan_in), 2.4 / fan_in / sqrt(3))
        model[f"fc{number}.bias"] = Expected((fan_out,), 0.0)
    return model


def glorot_bengio_2010() -> Model:
    """Five hidden layers of a thousand units, with variance 2 / (fan_in + fan_out)."""
    widths = [1024, 1000, 1000, 1000, 1000, 1000, 9]
    names = [*(f"hidden.{index}" for index in range(5)), "output"]
    model: Model = {}
    for name, (fan_in, fan_out) in zip(names, pairwise(widths), strict=True):
        model[f"{name}.weight"] = Expected((fan_out, fan_in), sqrt(2 / (fan_in + fan_out)))
        model[f"{name}.bias"] = Expected((fan_out,), 0.0)
    return model


def convolution_and_batch_norm(names: tuple[str, str], channels_in: int, channels_out: int, kernel: int) -> Model:
    """A convolution of variance 2 / fan_out and the batch norm behind it."""
    convolution, batch_norm = names
    return {
        f"{convolution}.weight": Expected(
            (channels_out, channels_in, kernel, kernel), sqrt(2 / (channels_out * kernel * kernel))
        ),
        **norm(batch_norm, channels_out),
        f"{batch_norm}.running_mean": Expected((channels_out,), 0.0),
        f"{batch_norm}.running_var": Expected((channels_out,), 0.0, 1.0),
    }


def bottleneck(name: str, channels: int, width: int) -> Model:
    """Three convolutions, and a fourth on the shortcut where a stage begins."""
    model: Model = {}
    sizes = [(channels, width, 1), (width, width, 3), (width, 4 * width, 1)]
    for number, size in enumerate(sizes, start=1):
        model |= convolution_and_batch_norm((f"{name}.conv{number}", f"{name}.bn{number}"), *size)
    if channels != 4 * width:
        shortcut = (f"{name}.downsample.0", f"{name}.downsample.1")
        model |= convolution_and_batch_norm(shortcut, channels, 4 * width, 1)
    return model


def resnet_50() -> Model:
    """Bottlenecks in stages of 3, 4, 6 and 3 between a stem and a classifier, as torchvision names them."""
    model = convolution_and_batch_norm(("conv1", "bn1"), 3, 64, 7)
    channels = 64
    for stage, blocks in enumerate([3, 4, 6, 3], start=1):
        width = 32 * 2**stage
        for block in range(blocks):
            model |= bottleneck(f"layer{stage}.{block}", channels, width)
            channels = 4 * width
    std = 1 / sqrt(channels) / sqrt(3)
    model["fc.weight"] = Expected((1000, channels), std)
    model["fc.bias"] = Expected((1000,), std)
    return model


def gpt2_small() -> Model:
    """Twelve blocks of width 768, their linear weights stored (in, out)."""
    width, blocks = 768, 12
    residual_std = 0.02 / sqrt(2 * blocks)

    def linear(name: str, fan_in: int, fan_out: int, std: float) -> Model:
        return {f"{name}.weight": Expected((fan_in, fan_out), std), f"{name}.bias": Expected((fan_out,), 0.0)}

    model: Model = {
        "wte.weight": Expected((50257, width), 0.02),
        "wpe.weight": Expected((1024, width), 0.01),
    }
    for index in range(blocks):
        block = f"h.{index}"
        model |= norm(f"{block}.ln_1", width)
        model |= linear(f"{block}.attn.c_attn", width, 3 * width, 0.02)
        model |= linear(f"{block}.attn.c_proj", width, width, residual_std)
        model |= norm(f"{block}.ln_2", width)
        model |= linear(f"{block}.mlp.c_fc", width, 4 * width, 0.02)
        model |= linear(f"{block}.mlp.c_proj", 4 * width, width, residual_std)
    return model | norm("ln_f", width)


MODELS = {
    "lenet-300-100": lenet_300_100(),
    "glorot-bengio-2010": glorot_bengio_2010(),
    "resnet-50": resnet_50(),
    "gpt2-small": gpt2_small(),
}
PARAMETERS = {
    "lenet-300-100": 266_610,
    "glorot-bengio-2010": 5_038_009,
    "resnet-50": 25_557_032,
    "gpt2-small": 124_439_808,
}
each_model = pytest.mark.parametrize(("example", "model"), MODELS.items(), ids=MODELS)
each_total = pytest.mark.parametrize(("example", "parameters"), PARAMETERS.items(), ids=PARAMETERS)


def plan_of(example: str) -> Plan:
    return make_plan(read_spec((EXAMPLES / f"{example}.json").read_bytes()))


@each_model
def test_an_example_has_the_names_and_shapes_of_its_model_in_order(example: str, model: Model) -> None:
    tensors = plan_of(example).tensors

    assert [(tensor.name, tensor.shape) for tensor in tensors] == [
        (name, expected.shape) for name, expected in model.items()
    ]


@each_model
def test_every_tensor_of_an_example_starts_with_the_mean_and_deviation_its_source_states(
    example: str, model: Model
) -> None:
    drawn = {tensor.name: tensor.distribution for tensor in plan_of(example).tensors}

    assert {name: distribution.mean for name, distribution in drawn.items()} == {
        name: expected.mean for name, expected in model.items()
    }
    assert {name: distribution.std for name, distribution in drawn.items()} == pytest.approx(
        {name: expected.std for name, expected in model.items()}, rel=1e-12, abs=0.0
    )


@each_total
def test_an_example_has_the_published_number_of_parameters(example: str, parameters: int) -> None:
    tensors = plan_of(example).tensors

    assert sum(tensor.elements for tensor in tensors if not tensor.name.endswith(RUNNING_STATISTICS)) == parameters


@each_total
def test_the_table_of_examples_states_the_number_of_parameters_of_each(example: str, parameters: int) -> None:
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines()

    [row] = [line for line in table if line.startswith(f"| `{example}.json` |")]

    assert f"| {parameters:,} |" in row


def test_every_example_is_compared_with_its_source() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.json")} == MODELS.keys() == PARAMETERS.keys()
