import math
import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.drivers.modbus.registers import (
    HIGH_FIRST,
    LOW_FIRST,
    MAX_GAP,
    TYPES,
    Place,
    Register,
    decode,
    measure,
    plan,
)
from kwapi.measurement import Measurement
from tests.drivers.modbus_meter import words


def register(quantity, at, kind="float32"):
    return Register(quantity, at, kind, Fraction(1))


@pytest.mark.parametrize(
    ("registers", "kind", "order", "number"),
    [
        ([0x43B2, 0x8000], "float32", HIGH_FIRST, 357.0),
        ([0x8000, 0x43B2], "float32", LOW_FIRST, 357.0),
        (words("d", -0.5), "float64", HIGH_FIRST, -0.5),
        ([0x04D2, 0x0000], "int32", LOW_FIRST, 1234),
        ([0xFB2E, 0xFFFF], "int32", LOW_FIRST, -1234),
        ([0xFFFF], "int16", HIGH_FIRST, -1),
        ([0xFFFE], "uint16", HIGH_FIRST, 65534),
        ([0, 1, 2, 3], "uint64", HIGH_FIRST, (1 << 32) + (2 << 16) + 3),
        ([3, 2, 1, 0], "uint64", LOW_FIRST, (1 << 32) + (2 << 16) + 3),
        ([0, 0, 0x0012, 0xD687], "int64", HIGH_FIRST, 1234567),
        ([0xFFFF], "uint16", HIGH_FIRST, None),
        ([0xFFFF] * 2, "uint32", HIGH_FIRST, None),
        ([0xFFFF] * 4, "uint64", HIGH_FIRST, None),
        ([0x7FFF], "int16", HIGH_FIRST, None),
        ([0x8000], "int16", HIGH_FIRST, None),
        ([0x7FFF, 0xFFFF], "int32", HIGH_FIRST, None),
        ([0xFFFF, 0x7FFF], "int32", LOW_FIRST, None),
        ([0x7FFF, 0xFFFF, 0xFFFF, 0xFFFF], "int64", HIGH_FIRST, None),
        ([0x8000, 0, 0, 0], "int64", HIGH_FIRST, None),
        ([0x7FC0, 0], "float32", HIGH_FIRST, None),  # NaN
        ([0xFFFF, 0xFFFF], "float32", HIGH_FIRST, None),  # NaN as well
        ([0x7F80, 0], "float32", HIGH_FIRST, None),  # infinite
    ],
)
def test_registers_become_a_number_or_none(registers, kind, order, number):
    assert decode(registers, kind, order) == number


@given(kind=st.sampled_from(sorted(TYPES)), bits=st.binary(min_size=8, max_size=8), low_first=st.booleans())
def test_any_registers_of_any_type_give_a_finite_number_or_none(kind, bits, low_first):
    registers = list(struct.unpack(">4H", bits))[: register("w", 0, kind).count]
    number = decode(registers, kind, LOW_FIRST if low_first else HIGH_FIRST)
    assert number is None or math.isfinite(number)


@pytest.mark.parametrize(
    ("quantity", "raw", "unit", "value"),
    [
        ("w", -1234, Fraction(1, 10), -123.4),
        ("v", -1, Fraction(1, 10), None),
        ("kwh", -1, Fraction(1, 10), None),  # all ones where a signed type has no value
        ("hz", 500, Fraction(1, 10), 50.0),
        ("a", -1500, Fraction(1, 1000), 1.5),  # some meters sign the current of what flows back
        ("pf", -950, Fraction(1, 1000), 0.95),
        ("pf", 1001, Fraction(1, 1000), None),
        ("kwh", 2**31 - 2, Fraction(1, 10), 214748364.6),
    ],
)
def test_a_value_that_cannot_be_is_none(quantity, raw, unit, value):
    one = Register(quantity, 5, "int32", unit)
    assert one.value(dict(enumerate(words("i", raw), 5))) == value
    assert one.value({}) is None


def test_what_flows_in_and_what_flows_back_are_apart_and_never_negative():
    registers = (register("w", 0), register("kwh", 2), register("export_kwh", 4))
    place = Place("device", "device", registers, two_way=True)

    def measured(watts, kwh, exported):
        values = words("f", watts) + words("f", kwh) + words("f", exported)
        return measure("solar", place, dict(enumerate(values)))

    assert measured(250.0, 10.0, 2.0) == [
        Measurement("solar", watts=250.0, kwh=10.0),
        Measurement("solar@export", watts=0.0, kwh=2.0),
    ]
    assert measured(-80.0, 10.0, 2.5) == [
        Measurement("solar", watts=0.0, kwh=10.0),
        Measurement("solar@export", watts=80.0, kwh=2.5),
    ]
    assert measured(math.nan, math.nan, 2.5) == [Measurement("solar@export", watts=None, kwh=2.5)]
    assert measured(math.nan, math.nan, math.nan) == []


def test_registers_are_read_in_the_fewest_requests_and_power_first():
    far = register("kwh", 500)
    near = [register("v", 0), register("w", 12), register("hz", 12 + 2 + MAX_GAP)]
    blocks = plan([far, *near])
    assert [(block.at, block.count, block.has_power) for block in blocks] == [(0, 66, True), (500, 2, False)]
    assert [(block.at, block.count) for block in plan(near, max_count=65)] == [(0, 14), (64, 2)]
    beyond = register("hz", 12 + 2 + MAX_GAP + 1)
    assert [(block.at, block.count) for block in plan([near[1], beyond])] == [(12, 2), (65, 2)]
    late_power = plan([register("kwh", 0), register("w", 300)])
    assert [block.at for block in late_power] == [300, 0]


def test_a_block_is_parted_at_its_widest_gap_and_else_in_the_middle():
    (block,) = plan([register("v", 0), register("a", 6), register("w", 12), register("hz", 40)])
    assert [(half.at, half.count) for half in block.halves()] == [(0, 14), (40, 2)]
    (close,) = plan([register("w", at) for at in (0, 2, 4, 6)])
    assert [(half.at, half.count) for half in close.halves()] == [(0, 4), (4, 4)]
    assert plan([register("w", 0)])[0].halves() is None


@given(st.sets(st.integers(0, 1000), min_size=1, max_size=60), st.integers(4, 125))
def test_a_plan_reads_every_register_once_within_the_limits(addresses, most):
    registers = {register("w" if at % 7 else "v", at, "int16") for at in addresses}
    blocks = plan(registers, most)
    assert sorted(each.at for block in blocks for each in block.registers) == sorted(addresses)
    assert all(block.count <= most for block in blocks)
