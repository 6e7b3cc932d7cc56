from fractions import Fraction

import pytest

from kwapi.drivers.snmp.profile import KINDS, Column, Condition, detect, generic, load
from kwapi.drivers.snmp.rows import Cell
from kwapi.drivers.units import parse_unit
from kwapi.errors import ConfigError
from kwapi.measurement import LEVELS

GOOD = """
[pdu]
title = "A PDU"
source = "its MIB"
checked = "MIB"
sys_object_ids = ["1.3.6.1.4.1.99999.1"]
base = "1.3.6.1.4.1.99999"

[pdu.outlet]
w = {oid = "1.1", unit = "0.1 W", invalid = [-1], signed = true}
kwh = {oid = "1.2", unit = "Wh", wrap = 4294967296, slow = true}
"""


@pytest.mark.parametrize(
    "raw",
    [-1, -946, -2_000_000, 2**31 - 1, 2**32 - 1, 2**64 - 1, -(2**31), "not-support", "-2000000", "", None, b"\xff"],
)
def test_markers_are_no_values(raw):
    assert Column("w", "1.1", Fraction(1)).count(raw) is None


def test_negative_values_stay_where_they_are_true():
    column = Column("w", "1.1", Fraction(1, 10), signed=True, invalid=frozenset([-2]))
    assert column.count(-946) == -946
    assert column.count(-2) is None


@pytest.mark.parametrize(
    ("quantity", "unit", "raw", "value"),
    [
        ("kwh", "Wh", 785621, 785.621),
        ("a", "0.1 A", 49, 4.9),
        ("kwh", "10 Ws", 360, 0.001),
        ("w", "0.01 kW", 114, 1140),
    ],
)
def test_values_are_exact(quantity, unit, raw, value):
    column = Column(quantity, "1.1", parse_unit(unit, quantity))
    assert Cell(column, (1,), column.scale).value({"1.1": {(1,): raw}}) == value


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "snmp").mkdir()
    return tmp_path / "snmp"


def test_the_profiles_of_kwapi_are_sound():
    profiles = load()
    assert len(profiles) > 40
    assert profiles["apc-rpdu2"].fallback == "apc-rpdu"
    prefixes = [prefix for profile in profiles.values() for prefix in profile.sys_object_ids]
    assert len(set(prefixes)) == len(prefixes)
    for profile in profiles.values():
        assert all(oid.startswith(("1.3.6.1.4.1.", "1.3.6.1.2.1.33.")) for oid in profile.oids())
        assert profile.title
        assert "MIB" in profile.source or profile.name in ("aten", "tripplite-ats")
        for table in profile.tables:
            assert len({column.quantity for column in table.columns}) == len(table.columns)
            assert all(column.quantity == "w" for column in table.columns if column.signed)
            assert all(column.quantity != "w" or not column.slow for column in table.columns), profile.name


def test_power_flows_back_only_where_a_mib_says_so():
    both_ways = {profile.name for profile in load().values() for table in profile.tables if table.two_way}
    assert both_ways == {"e3meter", "e3meter-ipm", "gude-8045", "rnx-updu"}


def test_the_profiles_of_kwapi_know_where_labels_are():
    labels = {(p.name, table.kind): table.labels for p in load().values() for table in p.tables if table.labels}
    assert {row: oid.removeprefix("1.3.6.1.4.1.") for row, oid in labels.items()} == {
        ("apc-rpdu2", "outlet"): "318.1.1.26.9.4.3.1.3",
        ("aten", "outlet"): "21317.1.3.2.2.2.2.10.1.2",
        ("conteg", "outlet"): "28402.12.1.1.2.7.1.1.2",
        ("e3meter-ipm", "phase"): "21695.1.10.7.2.1.11",
        ("eaton-g3", "outlet"): "534.6.6.7.6.1.1.3",
        ("gude-8045", "phase"): "28507.87.1.5.1.2.1.25",
        ("hpe-pdu3", "outlet"): "232.165.11.5.1.1.2",
        ("panduit-g5", "bank"): "19536.10.1.3.1.1.2",
        ("panduit-g5", "outlet"): "19536.10.1.5.1.1.2",
        ("powertek", "outlet"): "42610.1.4.4.1.6.2.1.3.1.2",
        ("raritan-pdu", "outlet"): "13742.4.1.2.2.1.2",
        ("raritan-pdu2", "outlet"): "13742.6.3.5.3.1.3",
        **{("rnx-updu", kind): "55108.1.3.1.1.13" for kind in ("inlet", "phase", "bank", "outlet")},
        ("schleifenbauer", "outlet"): "31034.12.1.1.2.7.1.1.2",
        ("sentry3", "outlet"): "1718.3.2.3.1.3",
        ("sentry3", "phase"): "1718.3.2.2.1.3",
        ("sentry4", "inlet"): "1718.4.1.3.2.1.3",
        ("sentry4", "outlet"): "1718.4.1.8.2.1.3",
        ("vertiv-geist", "bank"): "21239.5.2.3.3.1.3",
        ("vertiv-geist", "outlet"): "21239.5.2.3.6.1.3",
        ("vertiv-geist", "phase"): "21239.5.2.3.2.1.3",
    }


def test_kinds_of_rows_are_levels_outermost_first():
    assert set(KINDS.values()) == set(LEVELS)
    assert sorted(KINDS.values(), key=LEVELS.index) == list(KINDS.values())


@pytest.mark.parametrize(
    ("sys_object_id", "name"),
    [
        ("1.3.6.1.4.1.534.6.6.7", "eaton-g3"),
        ("1.3.6.1.4.1.13742.6", "raritan-pdu2"),
        ("1.3.6.1.4.1.13742.60", None),
        ("1.3.6.1.4.1.318.1.3.4.6", "apc-rpdu2"),
        ("1.3.6.1.4.1.318.1.3.4.9", "apc-easy"),
        ("1.3.6.1.4.1.318.1.3.2.7", "apc-ups"),
        (".1.3.6.1.4.1.232.165.11", "hpe-pdu3"),
        ("1.3.6.1.4.1.21695.1.10.7", "e3meter-ipm"),
        ("1.3.6.1.4.1.21695.1401", "e3meter"),
        ("1.3.6.1.4.1.42610.1.4.4", "powertek"),
        ("1.3.6.1.4.1.8072.3.2.10", None),
    ],
)
def test_detection(sys_object_id, name):
    profile = detect(load(), sys_object_id)
    assert (profile.name if profile else None) == name


def test_profiles_are_read_once_until_a_file_changes(folder):
    before = load(folder.parent)
    assert load(folder.parent) is before
    (folder / "acme.toml").write_text(GOOD)
    added = load(folder.parent)
    assert set(added) - set(before) == {"pdu"}
    (folder / "acme.toml").write_text(GOOD.replace("A PDU", "Another PDU"))
    assert load(folder.parent)["pdu"].title == "Another PDU"
    (folder / "acme.toml").unlink()
    assert set(load(folder.parent)) == set(before)


def test_the_longest_prefix_wins(folder):
    (folder / "pdu.toml").write_text(GOOD.replace("1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.13742.6.9"))
    profiles = load(folder.parent)
    assert detect(profiles, "1.3.6.1.4.1.13742.6.9.1").name == "pdu"
    assert detect(profiles, "1.3.6.1.4.1.13742.6.8").name == "raritan-pdu2"


def test_a_directory_adds_profiles(folder):
    (folder / "README").write_text("no profile")
    (folder / "pdu.toml").write_text(GOOD)
    (table,) = load(folder.parent)["pdu"].tables
    watts, kwh = table.columns
    assert (table.kind, watts.quantity, watts.oid, watts.scale) == (
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
        ('"MIB"', '"yes"', ["my.toml: [pdu] checked: 'yes' is neither recording nor MIB"]),
        ('checked = "MIB"', "", ["my.toml: [pdu]: lacks checked"]),
        ('title = "A PDU"', "title = 5", ["my.toml: [pdu] title: 5 is not of type str"]),
        ('"1.3.6.1.4.1.99999"', '"enterprises.99999"', ["my.toml: [pdu] base: 'enterprises.99999' is no OID"]),
        ('["1.3.6.1.4.1.99999.1"]', "[5]", ["my.toml: [pdu] sys_object_ids: [5] are not all OIDs"]),
        ("base", 'known_by = "w"\nbase', ["my.toml: [pdu] known_by: 'w' is no OID"]),
        ("[pdu.outlet]", "[pdu.plug]", ["my.toml: [pdu] plug: unknown key", "my.toml: [pdu]: has to have either"]),
        ("w = {", "watts = {", ["my.toml: [pdu.outlet] watts: unknown key"]),
        ('"1.1"', '".1.1"', ["my.toml: [pdu.outlet] w oid: '.1.1' is no OID"]),
        ('"0.1 W"', '"0.1 VA"', ["my.toml: [pdu.outlet] w unit: '0.1 VA' is no unit of w"]),
        (', unit = "Wh"', "", ["my.toml: [pdu.outlet] kwh: lacks unit"]),
        (
            "kwh",
            'export_kwh = {oid = "1.3", unit = "W"}\nkwh',
            ["my.toml: [pdu.outlet] export_kwh unit: 'W' is no unit"],
        ),
        ("signed = true", "signed = 1", ["my.toml: [pdu.outlet] w signed: 1 is not of type bool"]),
        ("[-1]", '["none"]', ["my.toml: [pdu.outlet] w invalid: ['none'] are not all whole numbers"]),
        ("4294967296", "0", ["my.toml: [pdu.outlet] kwh wrap: 0 is not positive"]),
        ("base", 'fallback = "nothing"\nbase', ["[pdu] fallback: there is no profile 'nothing'"]),
        ("base", 'like = "eaton-g3"\nbase', ["my.toml: [pdu]: has to have either like or some of the tables"]),
        ("signed = true", 'product = ["va"]', ["my.toml: [pdu.outlet] w product: ['va'] are not two quantities"]),
        (
            "signed = true",
            'product = ["kwh", "pf"]',
            ["my.toml: [pdu.outlet] w product: ['kwh', 'pf'] are not quantities of the table"],
        ),
        ("signed = true", 'idle = "va"', ["my.toml: [pdu.outlet] w idle: 'va' is not another quantity of the table"]),
        ("signed = true", "idle = true", ["my.toml: [pdu.outlet] w idle: True is not of type str"]),
        ("signed = true", 'name = "Power"', ["my.toml: [pdu.outlet] w: name needs the table's names"]),
        (
            "[pdu.outlet]",
            '[pdu.outlet]\nnames = "1.9"',
            ["my.toml: [pdu.outlet] w: name needs", "my.toml: [pdu.outlet] kwh: name needs"],
        ),
        (
            "[pdu.outlet]",
            "[pdu.outlet]\nonly = {is = [1], not = [2]}",
            ["my.toml: [pdu.outlet] only: lacks oid", "my.toml: [pdu.outlet] only: has to have either is or not"],
        ),
        (
            "[pdu.outlet]",
            '[pdu.outlet]\navailable = {oid = "1.x", is = ["on"]}',
            [
                "my.toml: [pdu.outlet] available oid: '1.x' is no OID",
                "my.toml: [pdu.outlet] available is: ['on'] are not all whole numbers",
            ],
        ),
        (
            "[pdu.outlet]",
            "[other]\nx = 1\n[pdu.outlet]",
            ["my.toml: [other]: lacks title", "my.toml: [other] x: unknown"],
        ),
        ("[pdu]", "other = 1\n[pdu]", ["my.toml: [other]: must be a table"]),
    ],
)
def test_mistakes_name_file_profile_table_and_key(folder, old, new, mistakes):
    (folder / "my.toml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(folder.parent)
    for mistake in mistakes:
        assert any(found.startswith(mistake) for found in caught.value.mistakes), caught.value.mistakes


def test_all_mistakes_of_all_files_are_found(folder):
    (folder / "a.toml").write_text(GOOD.replace("0.1 W", "W h").replace("Wh", "hW"))
    (folder / "b.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError) as caught:
        load(folder.parent)
    assert [mistake.split(":")[0] for mistake in caught.value.mistakes] == ["a.toml", "a.toml", "b.toml"]


def test_generic_takes_columns_and_single_values_in_the_order_of_the_list():
    options = {"quantity": "w", "unit": "0.1 W", "signed": False, "wrap": None, "level": "outlet"}
    (table,) = generic(["1.2.5", "1.3.0", "1.1"], {"1.3.0"}, **options).tables
    answers = {"1.2.5": {(2,): 1, (1,): 1}, "1.3": {(0,): 1, (9,): 1}, "1.1": {(1,): 1}}
    rows = [row for column in table.columns for row in sorted(column.rows(answers[column.oid]))]
    assert rows == [(1, 1), (1, 2), (2, 0), (3, 1)]
    (only,) = generic(["1.2.5"], (), **options).tables[0].columns
    assert only.rows(answers["1.2.5"]) == {(1,), (2,)}


def test_a_profile_may_be_like_another_below_a_base_of_its_own(folder):
    (folder / "pdu.toml").write_text(GOOD)
    like = '[twin]\ntitle = "Its twin"\nsource = "its MIB"\nchecked = "recording"\nbase = "1.3.6"\nlike = "pdu"\n'
    (folder / "twin.toml").write_text(like)
    profiles = load(folder.parent)
    assert profiles["twin"].oids() == ["1.3.6.1.1", "1.3.6.1.2"]
    assert (profiles["pdu"].checked, profiles["twin"].checked) == ("MIB", "recording")
    (folder / "twin.toml").write_text(like + like.replace("[twin]", "[third]").replace('"pdu"', '"twin"'))
    with pytest.raises(ConfigError, match=r"\[third\] like: 'twin' has no tables of its own"):
        load(folder.parent)


def test_conditions():
    assert Condition("1.1", frozenset([0, 1])).holds(1)
    assert not Condition("1.1", frozenset([0, 1])).holds(None)
    assert Condition("1.1", frozenset([0]), negated=True).holds(2)
