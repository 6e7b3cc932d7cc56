from fractions import Fraction

import pytest

from kwapi.drivers.profile import UNITS, Column, detect, generic, load, parse_unit, to_number
from kwapi.errors import ConfigError

GOOD = """
[pdu]
title = "A PDU"
source = "its MIB"
sys_object_ids = ["1.3.6.1.4.1.99999.1"]
base = "1.3.6.1.4.1.99999"

[pdu.outlet]
w = {oid = "1.1", unit = "0.1 W", invalid = [-1], signed = true}
kwh = {oid = "1.2", unit = "Wh", wrap = 4294967296, slow = true}
"""


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
    + [("nan", None), (float("inf"), None), ("92.9kWh", None), (b"12", None), (None, None)],
)
def test_numbers(raw, number):
    assert to_number(raw) == number


@pytest.mark.parametrize("raw", [-1, -946, 2**31 - 1, 2**32 - 1, 2**64 - 1, -(2**31), "not-support", None, b"\xff"])
def test_markers_are_no_values(raw):
    assert Column("w", "1.1", Fraction(1)).value(raw) is None


def test_negative_values_stay_where_they_are_true():
    column = Column("w", "1.1", Fraction(1, 10), signed=True, invalid=frozenset([-2]))
    assert column.value(-946) == -94.6
    assert column.value(-2) is None


def test_values_are_exact():
    column = Column("kwh", "1.1", parse_unit("Wh", "kwh"))
    assert column.value(785621) == 785.621
    assert column.value(785621, digits=1) == 78.5621
    assert Column("a", "1.1", parse_unit("0.1 A", "a")).value(49) == 4.9


def test_the_profiles_of_kwapi_are_sound():
    profiles = load()
    assert {"eaton-g3", "raritan-pdu2", "apc-rpdu2", "apc-rpdu"} <= set(profiles)
    assert profiles["apc-rpdu2"].fallback == "apc-rpdu"
    for profile in profiles.values():
        assert all(oid.startswith("1.3.6.1.4.1.") for oid in profile.oids())
        assert profile.source
        for table in profile.tables:
            assert len({column.quantity for column in table.columns}) == len(table.columns)


@pytest.mark.parametrize(
    ("sys_object_id", "name"),
    [
        ("1.3.6.1.4.1.534.6.6.7", "eaton-g3"),
        ("1.3.6.1.4.1.13742.6", "raritan-pdu2"),
        ("1.3.6.1.4.1.13742.60", None),
        ("1.3.6.1.4.1.318.1.3.4.6", "apc-rpdu2"),
        ("1.3.6.1.4.1.8072.3.2.10", None),
    ],
)
def test_detection(sys_object_id, name):
    profile = detect(load(), sys_object_id)
    assert (profile.name if profile else None) == name


def test_the_longest_prefix_wins(tmp_path):
    (tmp_path / "pdu.toml").write_text(GOOD.replace("1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.13742.6.9"))
    profiles = load(tmp_path)
    assert detect(profiles, "1.3.6.1.4.1.13742.6.9.1").name == "pdu"
    assert detect(profiles, "1.3.6.1.4.1.13742.6.8").name == "raritan-pdu2"


def test_a_directory_adds_profiles(tmp_path):
    (tmp_path / "README").write_text("no profile")
    (tmp_path / "pdu.toml").write_text(GOOD)
    (table,) = load(tmp_path)["pdu"].tables
    watts, kwh = table.columns
    assert (table.level, watts.quantity, watts.oid, watts.scale) == (
        "outlet",
        "w",
        "1.3.6.1.4.1.99999.1.1",
        Fraction(1, 10),
    )
    assert watts.signed
    assert watts.invalid == {-1}
    assert kwh.slow
    assert kwh.wrap == 2**32


@pytest.mark.parametrize(
    ("old", "new", "mistakes"),
    [
        ("[pdu]", "[pdu", ["my.toml: "]),
        ("[pdu]", "[eaton-g3]", ["my.toml: [eaton-g3]: there is a profile", "my.toml: [pdu]: lacks title"]),
        ("source", "sauce", ["my.toml: [pdu]: lacks source", "my.toml: [pdu] sauce: unknown key"]),
        ('title = "A PDU"', "title = 5", ["my.toml: [pdu] title: 5 is not of type str"]),
        ('"1.3.6.1.4.1.99999"', '"enterprises.99999"', ["my.toml: [pdu] base: 'enterprises.99999' is no OID"]),
        ('["1.3.6.1.4.1.99999.1"]', "[5]", ["my.toml: [pdu] sys_object_ids: [5] are not all OIDs"]),
        ("[pdu.outlet]", "[pdu.plug]", ["my.toml: [pdu] plug: unknown key", "my.toml: [pdu]: has none of the tables"]),
        ("w = {", "watts = {", ["my.toml: [pdu.outlet] watts: unknown key"]),
        ('"1.1"', '".1.1"', ["my.toml: [pdu.outlet] w oid: '.1.1' is no OID"]),
        ('"0.1 W"', '"0.1 VA"', ["my.toml: [pdu.outlet] w unit: '0.1 VA' is no unit of w"]),
        (', unit = "Wh"', "", ["my.toml: [pdu.outlet] kwh: lacks unit"]),
        ("signed = true", "signed = 1", ["my.toml: [pdu.outlet] w signed: 1 is not of type bool"]),
        ("[-1]", '["none"]', ["my.toml: [pdu.outlet] w invalid: ['none'] are not all whole numbers"]),
        ("4294967296", "0", ["my.toml: [pdu.outlet] kwh wrap: 0 is not positive"]),
        ("base", 'fallback = "nothing"\nbase', ["[pdu] fallback: there is no profile 'nothing'"]),
        (
            "[pdu.outlet]",
            "[other]\nx = 1\n[pdu.outlet]",
            ["my.toml: [other]: lacks title", "my.toml: [other] x: unknown"],
        ),
        ("[pdu]", "other = 1\n[pdu]", ["my.toml: [other]: must be a table"]),
    ],
)
def test_mistakes_name_file_profile_table_and_key(tmp_path, old, new, mistakes):
    (tmp_path / "my.toml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    for mistake in mistakes:
        assert any(found.startswith(mistake) for found in caught.value.mistakes), caught.value.mistakes


def test_all_mistakes_of_all_files_are_found(tmp_path):
    (tmp_path / "a.toml").write_text(GOOD.replace("0.1 W", "W h").replace("Wh", "hW"))
    (tmp_path / "b.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert [mistake.split(":")[0] for mistake in caught.value.mistakes] == ["a.toml", "a.toml", "b.toml"]


def test_generic_takes_columns_and_single_values_in_the_order_of_the_list():
    options = {"quantity": "w", "unit": "0.1 W", "signed": False, "wrap": None, "level": "outlet"}
    (table,) = generic(["1.2.5", "1.3.0", "1.1"], {"1.3.0"}, **options).tables
    answers = {"1.2.5": {(2,): 1, (1,): 1}, "1.3": {(0,): 1, (9,): 1}, "1.1": {(1,): 1}}
    rows = [row for column in table.columns for row in sorted(column.rows(answers[column.oid]))]
    assert rows == [(1, 1), (1, 2), (2, 0), (3, 1)]
    (only,) = generic(["1.2.5"], (), **options).tables[0].columns
    assert only.rows(answers["1.2.5"]) == {(1,), (2,)}


def test_every_quantity_has_a_unit_that_parses():
    for quantity, unit in UNITS.items():
        assert parse_unit(unit or "1", quantity) == (Fraction(1, 1000) if quantity == "kwh" else 1)
