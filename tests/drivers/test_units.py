from fractions import Fraction

import pytest

from kwapi.drivers.units import UNITS, parse_unit, to_number


@pytest.mark.parametrize(
    ("text", "quantity", "scale"),
    [
        ("W", "w", 1),
        ("0.1 W", "w", Fraction(1, 10)),
        ("0.01 kW", "w", 10),
        ("mW", "w", Fraction(1, 1000)),
        ("MW", "w", 1_000_000),
        ("0.01 kVA", "va", 10),
        ("mV", "v", Fraction(1, 1000)),
        ("0.1 Hz", "hz", Fraction(1, 10)),
        ("Wh", "kwh", Fraction(1, 1000)),
        ("0.1 kWh", "kwh", Fraction(1, 10)),
        ("10 kWh", "kwh", 10),
        ("10 Ws", "kwh", Fraction(10, 3_600_000)),
        ("1", "pf", 1),
        ("0.001", "pf", Fraction(1, 1000)),
    ],
)
def test_units(text, quantity, scale):
    assert parse_unit(text, quantity) == scale


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("VA", "w"),
        ("W", "va"),
        ("W", "kwh"),
        ("kWh", "w"),
        ("Ws", "w"),
        ("w", "w"),
        ("", "w"),
        ("", "pf"),
        ("0 W", "w"),
        ("-1 W", "w"),
        ("1e3 W", "w"),
        ("m", "pf"),
        ("0.1  W", "w"),
    ],
)
def test_no_units(text, quantity):
    with pytest.raises(ValueError, match="is no unit of"):
        parse_unit(text, quantity)


@pytest.mark.parametrize(
    ("raw", "number"),
    [(5, 5), (0.5, 0.5), ("12", 12), ("12.5", 12.5), (" 7 ", 7), ("notsupported ", None), ("", None)]
    + [
        ("nan", None),
        (float("inf"), None),
        (True, None),
        (10**400, None),
        ("1" * 5000, None),
        ("92.9kWh", None),
        (b"12", None),
        (None, None),
    ],
)
def test_numbers(raw, number):
    assert to_number(raw) == number


def test_every_quantity_has_a_unit_that_parses():
    for quantity, unit in UNITS.items():
        assert parse_unit(unit or "1", quantity) == (Fraction(1, 1000) if quantity == "kwh" else 1)
