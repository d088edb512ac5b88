"""Fans are connections, counted here one by one; and the rules of PyTorch and Keras, written here once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import Final, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.initializers import fans
from service.initializers.fans import Connectivity, Fans, Layout

Shape = tuple[int, ...]
Unit = tuple[int, ...]


class Connection(NamedTuple):
    """One use of one weight: an element, by its index, and channel and place on both sides."""

    element: int
    source: Unit
    source_place: Unit
    target: Unit
    target_place: Unit


class Map(NamedTuple):
    """What should be counted, and a linear map by all its connections."""

    name: str
    connectivity: Connectivity
    connections: list[Connection]

    def __str__(self) -> str:
        return self.name


def places(size: Shape) -> Iterator[Unit]:
    return product(*map(range, size))


def index(place: Unit, shape: Shape) -> int:
    return int(np.ravel_multi_index(place, shape))


def around(kernel: Shape) -> Shape:
    """A torus that is larger than the kernel, so that no place is at a border."""
    return tuple(size + 1 for size in kernel)


def moved(place: Unit, offset: Unit, torus: Shape) -> Unit:
    return tuple((a + b) % n for a, b, n in zip(place, offset, torus, strict=True))


def matrix(outputs: int, inputs: int) -> Iterator[Connection]:
    """y_o is the sum of W(o, i) x_i."""
    for o, i in product(range(outputs), range(inputs)):
        yield Connection(index((o, i), (outputs, inputs)), (i,), (), (o,), ())


def stack(parts: int, outputs: int, inputs: int) -> Iterator[Connection]:
    """Several matrices, one below the other, each with its own inputs and outputs."""
    for part in range(parts):
        for each in matrix(outputs, inputs):
            element = part * outputs * inputs + each.element
            yield each._replace(element=element, source=(part, *each.source), target=(part, *each.target))


def form(inputs: tuple[int, int], outputs: int) -> Iterator[Connection]:
    """y_o is the sum of W(o, i, j) x_i z_j, whose inputs are the products."""
    for o, i, j in product(range(outputs), *map(range, inputs)):
        yield Connection(index((o, i, j), (outputs, *inputs)), (i, j), (), (o,), ())


def convolved(inputs: int, outputs: int, kernel: Shape, groups: int) -> Iterator[Connection]:
    """y(o, p) is the sum of W(o, c, q) x(c of the group of o, p + q)."""
    torus, shape = around(kernel), (outputs, inputs // groups, *kernel)
    for o, c, q, p in product(range(outputs), range(inputs // groups), places(kernel), places(torus)):
        channel = o // (outputs // groups) * (inputs // groups) + c
        yield Connection(index((o, c, *q), shape), (channel,), moved(p, q, torus), (o,), p)


def scattered(inputs: int, outputs: int, kernel: Shape, groups: int) -> Iterator[Connection]:
    """x(i, p) adds W(i, o, q) x(i, p) to y(o of the group of i, p + q)."""
    torus, shape = around(kernel), (inputs, outputs // groups, *kernel)
    for i, o, q, p in product(range(inputs), range(outputs // groups), places(kernel), places(torus)):
        channel = i // (inputs // groups) * (outputs // groups) + o
        yield Connection(index((i, o, *q), shape), (i,), p, (channel,), moved(p, q, torus))


def channel_by_channel(channels: int, multiplier: int, kernel: Shape) -> Iterator[Connection]:
    """y(c m + j, p) is the sum of W(c m + j, q) x(c, p + q)."""
    torus, shape = around(kernel), (channels, multiplier, *kernel)
    for c, j, q, p in product(range(channels), range(multiplier), places(kernel), places(torus)):
        yield Connection(index((c, j, *q), shape), (c,), moved(p, q, torus), (c * multiplier + j,), p)


def rows(count: int, length: int) -> Iterator[Connection]:
    """y_j is the sum of x_i W(i, j), where one x_i is 1."""
    for i, j in product(range(count), range(length)):
        yield Connection(index((i, j), (count, length)), (i,), (), (j,), ())


Convolved = Callable[[int, int, Shape, int], Iterator[Connection]]


def convolutions(name: str, count: Callable[..., Connectivity], connect: Convolved) -> Iterator[Map]:
    for inputs, outputs, kernel, groups in (
        (3, 4, (3,), 1),
        (4, 6, (2, 3), 1),
        (4, 6, (3,), 2),
        (8, 4, (2, 2), 4),
        (6, 6, (2, 1), 6),
        (2, 4, (1, 2, 3), 2),
        (1, 1, (1,), 1),
    ):
        described = f"{name} {inputs} to {outputs} by {kernel} in {groups}"
        yield Map(described, count(inputs, outputs, kernel, groups), list(connect(inputs, outputs, kernel, groups)))


MAPS: Final = (
    Map("linear", fans.linear(5, 7), list(matrix(7, 5))),
    Map("linear to one", fans.linear(3, 1), list(matrix(1, 3))),
    Map("gates", fans.fused(4, 5, 7), list(stack(4, 7, 5))),
    Map("projections", fans.fused(3, 6, 6), list(stack(3, 6, 6))),
    Map("one gate", fans.fused(1, 2, 3), list(stack(1, 3, 2))),
    Map("bilinear", fans.bilinear(3, 4, 5), list(form((3, 4), 5))),
    Map("bilinear of one", fans.bilinear(1, 4, 2), list(form((1, 4), 2))),
    *convolutions("convolution", fans.convolution, convolved),
    *convolutions("transposed", fans.transposed, scattered),
    Map("depthwise", fans.convolution(4, 4, (3,), 4), list(channel_by_channel(4, 1, (3,)))),
    Map("depthwise, three each", fans.convolution(2, 6, (2, 3), 2), list(channel_by_channel(2, 3, (2, 3)))),
    Map("embedding", fans.embedding(5, 3), list(rows(5, 3))),
)
each_map = pytest.mark.parametrize("each", MAPS, ids=str)


@each_map
def test_fans_are_the_connections_counted_one_by_one(each: Map) -> None:
    into = Counter((connection.target, connection.target_place) for connection in each.connections)
    out_of = Counter((connection.source, connection.source_place) for connection in each.connections)

    assert set(into.values()) == {each.connectivity.fans.fan_in}
    assert set(out_of.values()) == {each.connectivity.fans.fan_out}


@each_map
def test_axes_say_which_elements_share_an_input_or_an_output(each: Map) -> None:
    c = each.connectivity
    for axes, sides in ((c.in_axes, "source"), (c.out_axes, "target")):
        pairs = set()
        for connection in each.connections:
            place = np.unravel_index(connection.element, c.shape)
            pairs.add((tuple(int(place[axis]) for axis in (*c.batch_axes, *axes)), getattr(connection, sides)))
        by_axes, by_map = zip(*pairs, strict=True)

        assert len(set(by_axes)) == len(set(by_map)) == len(pairs)


@each_map
def test_the_shape_is_a_view_of_all_elements(each: Map) -> None:
    assert {connection.element for connection in each.connections} == set(range(prod(each.connectivity.shape)))


@each_map
def test_rows_and_columns_and_independent_maps_are_all_axes_once(each: Map) -> None:
    c = each.connectivity

    assert sorted((*c.batch_axes, *c.row_axes, *c.column_axes)) == list(range(len(c.shape)))
    assert sorted((*c.batch_axes, *c.in_axes, *c.out_axes, *c.kernel_axes)) == list(range(len(c.shape)))


@pytest.mark.parametrize(
    ("connectivity", "maps", "row_count", "column_count"),
    [
        (fans.linear(5, 7), 1, 7, 5),
        (fans.fused(4, 5, 7), 4, 7, 5),
        (fans.bilinear(3, 4, 5), 1, 5, 12),
        (fans.convolution(6, 9, (3, 5), 3), 3, 3, 30),
        (fans.transposed(6, 9, (3, 5), 3), 3, 2, 45),
        (fans.embedding(11, 3), 1, 11, 3),
        (Connectivity((2, 3, 5, 7), in_axes=(3,), out_axes=(1,), batch_axes=(0,)), 2, 3, 35),
    ],
    ids=["linear", "gates", "bilinear", "convolution", "transposed", "embedding", "axes"],
)
def test_a_weight_is_so_many_matrices(connectivity: Connectivity, maps: int, row_count: int, column_count: int) -> None:
    c = connectivity

    assert [c.size(axes) for axes in (c.batch_axes, c.row_axes, c.column_axes)] == [maps, row_count, column_count]


@pytest.mark.parametrize(
    ("connectivity", "counted"),
    [
        (Connectivity((2, 3, 5, 7), in_axes=(3,), out_axes=(1,), batch_axes=(0,)), Fans(35, 15)),
        (Connectivity((2, 3, 5, 7), in_axes=(3,), out_axes=(1,)), Fans(70, 30)),
        (Connectivity((2, 3, 5, 7), in_axes=(0, 2), out_axes=(1, 3)), Fans(10, 21)),
        (Connectivity((2, 3, 5, 7), in_axes=(), out_axes=(1,), batch_axes=(0, 2, 3)), Fans(1, 3)),
        (Connectivity((2, 3), in_axes=(), out_axes=()), Fans(6, 6)),
    ],
    ids=["batch and kernel", "kernel", "several", "nothing in", "kernel only"],
)
def test_axes_that_are_named_nowhere_are_the_kernel_and_a_batch_counts_for_neither(
    connectivity: Connectivity, counted: Fans
) -> None:
    assert connectivity.fans == counted


# The rules of the frameworks.


def torch_rule(shape: Shape) -> tuple[int, int]:
    """`torch.nn.init._calculate_fan_in_and_fan_out`."""
    receptive_field = prod(shape[2:])
    return shape[1] * receptive_field, shape[0] * receptive_field


def keras_rule(shape: Shape) -> tuple[int, int]:
    """`keras.initializers.compute_fans`."""
    if len(shape) < 1:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    if len(shape) == 2:
        return shape[0], shape[1]
    receptive_field = prod(shape[:-2])
    return shape[-2] * receptive_field, shape[-1] * receptive_field


@given(st.lists(st.integers(1, 2**31 - 1), min_size=2, max_size=8).map(tuple))
def test_the_rule_of_torch_is_its_own(shape: Shape) -> None:
    counted = fans.by_torch(shape)

    assert counted
    assert counted.fans == Fans(*torch_rule(shape))


@given(st.lists(st.integers(1, 2**31 - 1), max_size=8).map(tuple))
def test_the_rule_of_keras_is_its_own(shape: Shape) -> None:
    counted = fans.by_keras(shape)

    assert counted
    assert counted.fans == Fans(*keras_rule(shape))


@given(st.lists(st.integers(0, 9), max_size=2).map(tuple))
def test_torch_sees_no_connections_below_rank_2_or_without_elements(shape: Shape) -> None:
    assert (fans.by_torch(shape) is None) == (len(shape) < 2 or 0 in shape)


@given(st.lists(st.integers(0, 2), max_size=4).map(tuple))
def test_keras_sees_connections_wherever_there_are_elements(shape: Shape) -> None:
    assert (fans.by_keras(shape) is None) == (0 in shape)


@pytest.mark.parametrize(
    ("shape", "layout", "counted"),
    [
        ((10, 20), "out_in", Fans(20, 10)),
        ((10, 20), "in_out", Fans(10, 20)),
        ((10, 20, 3, 5), "out_in", Fans(300, 150)),
        ((3, 5, 20, 10), "in_out", Fans(300, 150)),
        ((1, 1), "in_out", Fans(1, 1)),
    ],
)
def test_the_fans_of_a_bare_tensor_follow_its_layout(shape: Shape, layout: Layout, counted: Fans) -> None:
    connectivity = fans.bare(shape, layout)

    assert connectivity
    assert connectivity.shape == shape
    assert connectivity.fans == counted


@pytest.mark.parametrize("layout", ["out_in", "in_out"])
@pytest.mark.parametrize("shape", [(), (5,), (0,), (0, 4), (4, 0), (2, 3, 0)])
def test_a_bare_tensor_below_rank_2_or_without_elements_has_no_fans(shape: Shape, layout: Layout) -> None:
    assert fans.bare(shape, layout) is None


# Groups of outputs.


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_outputs_in_groups_are_maps_of_all_inputs_each(groups: int) -> None:
    whole = fans.convolution(4, 6, (3,), 1)

    parted = fans.grouped(whole, groups)

    assert parted.fans == Fans(whole.fans.fan_in, whole.fans.fan_out // groups)
    assert parted.size(parted.out_axes) == 6 // groups
    assert prod(parted.shape) == prod(whole.shape)


def test_groups_that_do_not_divide_the_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match="groups must divide the 7 outputs; 2 does not"):
        fans.grouped(fans.linear(4, 7), 2)


def test_fans_are_exact_beyond_the_integers_of_binary64() -> None:
    largest = 2**31 - 1
    bare = fans.bare((largest, largest, 3), "out_in")

    assert fans.linear(2**53 + 1, 1).fans.fan_in == 2**53 + 1
    assert fans.bilinear(largest, largest, 1).fans.fan_in == largest**2
    assert bare
    assert bare.fans == Fans(3 * largest, 3 * largest)
