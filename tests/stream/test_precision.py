"""The constants, held against their copy in the independent implementation: digests miss last bits."""

from __future__ import annotations

import pytest

from service.stream.precision import BINARY32, BINARY64, Precision
from tests.stream import reference

each_precision = pytest.mark.parametrize(
    ("p", "f"), [(BINARY32, reference.BINARY32), (BINARY64, reference.BINARY64)], ids=["binary32", "binary64"]
)


@each_precision
def test_every_constant_is_the_one_of_the_contract(p: Precision, f: reference.Format) -> None:
    expected = {"Y": (f.y,), "S0": (f.s0,), "H": (f.h,), "PC": f.pc, "QC": f.qc, "PT": f.pt, "QT": f.qt, "LG": f.lg}

    assert {name: tuple(map(float, values)) for name, values in p.coefficients.items()} == expected
    assert all(isinstance(value, p.floating) for values in p.coefficients.values() for value in values)


@each_precision
def test_the_shape_of_a_format_is_the_one_of_the_contract(p: Precision, f: reference.Format) -> None:
    assert (p.bits, p.shift, p.mantissa, p.root_half) == (f.bits, f.shift, f.mantissa, f.m)
    assert float(p.unit) == 2.0 ** -(f.bits - f.shift - 1)


@each_precision
def test_the_most_sigmas_are_what_the_independent_implementation_draws_from_the_last_word(
    p: Precision, f: reference.Format
) -> None:
    assert float.fromhex(p.most_sigmas) == reference.normal_quantile((1 << (f.bits - 1)) - 1, f)
