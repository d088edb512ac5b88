"""Fans are exact connectivity: how many inputs an output sees, and how many outputs see an input."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest

from service.initializers.fans import Fans, Layout, convolution_fans, embedding_fans, linear_fans, tensor_fans


def test_the_fans_of_a_linear_layer_are_its_features() -> None:
    assert linear_fans(784, 256) == Fans(fan_in=784, fan_out=256)


def test_the_fans_of_an_embedding_are_its_rows_and_columns() -> None:
    assert embedding_fans(50257, 768) == Fans(fan_in=50257, fan_out=768)


@pytest.mark.parametrize(
    ("channels", "kernel", "groups", "fans"),
    [
        ((3, 64), (7, 7), 1, Fans(147, 3136)),
        ((64, 128), (3,), 1, Fans(192, 384)),
        ((4, 6), (2, 3, 5), 1, Fans(120, 180)),
        ((64, 128), (3, 3), 32, Fans(18, 36)),
        ((32, 32), (3, 3), 32, Fans(9, 9)),
        ((32, 64), (1, 1), 32, Fans(1, 2)),
    ],
)
def test_the_fans_of_a_convolution(channels: tuple[int, int], kernel: tuple[int, ...], groups: int, fans: Fans) -> None:
    assert convolution_fans(*channels, kernel, groups) == fans


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolution_fans_are_the_connections_counted_one_by_one(groups: int) -> None:
    in_channels, out_channels, kernel = 8, 12, (3, 2)
    connections = [
        (i, o, place)
        for i, o, place in product(range(in_channels), range(out_channels), range(prod(kernel)))
        if i * groups // in_channels == o * groups // out_channels
    ]

    fans = convolution_fans(in_channels, out_channels, kernel, groups)

    assert fans.fan_in == sum(o == 0 for _, o, _ in connections)
    assert fans.fan_out == sum(i == 0 for i, _, _ in connections)


@pytest.mark.parametrize(
    ("shape", "layout", "fans"),
    [
        ((10, 20), "out_in", Fans(20, 10)),
        ((10, 20), "in_out", Fans(10, 20)),
        ((10, 20, 3, 5), "out_in", Fans(300, 150)),
        ((3, 5, 20, 10), "in_out", Fans(300, 150)),
        ((1, 1), "in_out", Fans(1, 1)),
    ],
)
def test_the_fans_of_a_bare_tensor_follow_its_layout(shape: tuple[int, ...], layout: Layout, fans: Fans) -> None:
    assert tensor_fans(shape, layout) == fans


@pytest.mark.parametrize("layout", ["out_in", "in_out"])
@pytest.mark.parametrize("shape", [(), (5,), (0,), (0, 4), (4, 0), (2, 3, 0)])
def test_a_tensor_below_rank_2_or_without_elements_has_no_fans(shape: tuple[int, ...], layout: Layout) -> None:
    assert tensor_fans(shape, layout) is None


def test_fans_are_exact_beyond_the_integers_of_binary64() -> None:
    assert linear_fans(2**53 + 1, 1).fan_in == 2**53 + 1
    assert tensor_fans((2**31 - 1, 2**31 - 1, 3), "out_in") == Fans(3 * (2**31 - 1), 3 * (2**31 - 1))
