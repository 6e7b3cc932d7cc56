import csv
from fractions import Fraction
from pathlib import Path

import pytest

from kwapi.drivers.modbus.profile import generic, load
from kwapi.drivers.modbus.registers import HIGH_FIRST, LOW_FIRST, Register, plan
from kwapi.errors import ConfigError
from tests.drivers.recordings import recordings_root

MAPS = {  # profile: meter of register_maps.csv
    "sdm120": "Eastron SDM120",
    "sdm230": "Eastron SDM230",
    "sdm630": "Eastron SDM630",
    "em24": "Carlo Gavazzi EM24 RS485",
    "em24-e1": "Carlo Gavazzi EM24 Ethernet",
    "em340": "Carlo Gavazzi EM330/EM340/ET340",
    "iem3155": "Schneider iEM3000 series (iEM3155)",
    "b23": "ABB A/B-series (B21/B23/B24)",
}
NAMES = {
    "w": "Power",
    "va": "ApparentPower",
    "v": "Voltage",
    "a": "Current",
    "pf": "Cosphi",
    "hz": "Frequency",
    "kwh": "Import",
    "export_kwh": "Export",
}
PARTIAL = ("em24", "device", "kwh")  # the map has the partial register, which users reset


@pytest.mark.parametrize(
    ("name", "places", "requests"),
    [
        ("sdm120", 1, [(0x00, 76)]),
        ("sdm230", 1, [(0x00, 76)]),
        ("sdm630", 1, [(0x34, 24)]),
        ("sdm630", 4, [(0x00, 76), (0x15A, 12)]),
        ("em24", 1, [(0x28, 54)]),
        ("em24", 4, [(0x00, 94)]),
        ("em24-e1", 4, [(0x00, 80)]),
        ("em340", 4, [(0x00, 80)]),
        ("iem3155", 1, [(3059, 52), (3203, 8)]),
        ("iem3155", 4, [(2999, 112), (3203, 8), (3517, 12)]),
        ("b23", 1, [(0x5B14, 39), (0x5000, 8)]),
        ("b23", 4, [(0x5B00, 62), (0x5000, 8), (0x5460, 24)]),
    ],
)
def test_how_each_meter_is_asked(name, places, requests):
    profile = load()[name]
    registers = [each for place in profile.places[:places] for each in place.registers]
    assert [(block.at, block.count) for block in plan(registers, profile.max_count)] == requests


def test_every_register_of_the_profiles_agrees_with_the_maps():
    with (recordings_root() / "modbus" / "register_maps.csv").open(encoding="utf-8") as file:
        rows = {(row["meter"], row["quantity"]): row for row in csv.DictReader(file)}
    profiles, compared = load(), 0
    assert set(profiles) == set(MAPS)
    for name, meter in MAPS.items():
        for place in profiles[name].places:
            for each in place.registers:
                row = rows[meter, NAMES[each.quantity] + ("" if place.name == "device" else place.name)]
                where = (name, place.name, each.quantity)
                assert row["table"].startswith(profiles[name].table), where
                assert float(each.scale) == float(row["scale_to_unit"].split()[0]), where
                assert each.type == type_in(row), where
                assert (each.words == LOW_FIRST) == ("LSW first" in row["type"]), where
                if where == PARTIAL:
                    assert (each.at, int(row["address_dec"])) == (0x3E, 0x42)
                else:
                    assert each.at == int(row["address_dec"]), where
                compared += 1
    assert compared == 142


def type_in(row):
    """Return the type that the map has for a register: it is told for the whole meter, in words."""
    text, quantity = row["type"], row["quantity"]
    energy = quantity.startswith(("Import", "Export"))
    if "int32 word-swapped" in text:
        return "int16" if quantity.startswith(("Cosphi", "Freq")) else "int32"
    if "U,I uint32" in text:
        kinds = {"V": "uint32", "Cu": "uint32", "P": "int32", "Co": "int16", "F": "uint16"}
        return "uint64" if energy else next(kind for start, kind in kinds.items() if quantity.startswith(start))
    return "int64" if "int64" in text and energy else "float32"


def test_registers_of_the_configuration_become_a_profile():
    lines = [
        "w 0x28 int32 0.1 W",
        "pf 50 int16 0.001",
        "kwh 52 uint32 Wh",
        "w 0x2A int32 0.1 W",
        "export_kwh 60 uint64 kWh",
    ]
    profile = generic(lines, table="input", words=LOW_FIRST, level="outlet")
    assert [(place.name, place.level, place.two_way) for place in profile.places] == [
        ("1", "outlet", False),
        ("2", "outlet", True),
    ]
    assert profile.places[0].registers == (
        Register("w", 40, "int32", Fraction(1, 10), LOW_FIRST),
        Register("pf", 50, "int16", Fraction(1, 1000), LOW_FIRST),
        Register("kwh", 52, "uint32", Fraction(1, 1000), LOW_FIRST),
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("w 40", "'w 40' is not QUANTITY ADDRESS TYPE UNIT"),
        ("", "is not QUANTITY ADDRESS TYPE UNIT"),
        ("watts 40 int32 W", "'watts' is none of w, va, v, a, pf, hz, kwh, export_kwh"),
        ("w forty int32 W", "'forty' is no address"),
        ("w 65536 int16 W", "65536 is no address from 0 to 65535"),
        ("w 65535 int32 W", "reaches beyond address 65535"),
        ("w 40 int24 W", "'int24' is none of int16, uint16"),
        ("w 40 int32 VA", "'VA' is no unit of w"),
        ("w 40 int32", "'1' is no unit of w"),
    ],
)
def test_a_wrong_register_of_the_configuration_is_told(line, problem):
    with pytest.raises(ValueError, match=problem):
        generic([line], table="input", words=HIGH_FIRST, level="device")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "modbus").mkdir()
    return tmp_path / "modbus"


GOOD = """
[meter]
title = "A meter"
source = "its manual"
table = "input"
type = "float32"
words = "high-first"
[meter.device]
w = {at = 12, unit = "W"}
"""


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        ("[meter", "meter.toml: Expected"),
        ("meter = 1", "[meter]: must be a table"),
        (GOOD.replace('title = "A meter"', ""), "[meter]: lacks title"),
        (GOOD.replace('"input"', '"coils"'), "[meter] table: 'coils' is none of input, holding"),
        (GOOD.replace("high-first", "big"), "[meter] words: 'big' is none of high-first, low-first"),
        (GOOD.replace("float32", "float16"), "[meter] type: 'float16' is none of int16"),
        (GOOD.replace("source", "max_count = 126\nsource"), "[meter] max_count: 126 is not from 4 to 125"),
        (GOOD.replace("source", "max_count = true\nsource"), "[meter] max_count: True is not of type int"),
        (GOOD.replace("source", "colour = 'red'\nsource"), "[meter] colour: unknown key"),
        (GOOD.replace("[meter.device]", "[meter.L1]"), "[meter]: lacks device"),
        (GOOD.replace("w = {", "v = {"), "[meter.device]: lacks w"),
        (GOOD.replace("at = 12, ", ""), "[meter.device] w: lacks at"),
        (GOOD.replace("at = 12", "at = 70000"), "[meter.device] w at: 70000 is no address from 0 to 65535"),
        (GOOD.replace("at = 12", "at = '12'"), "[meter.device] w at: '12' is not of type int"),
        (GOOD.replace('"W"', '"kVA"'), "[meter.device] w unit: 'kVA' is no unit of w"),
        (GOOD.replace("w = {at", "w = {size = 2, at"), "[meter.device] w size: unknown key"),
        (GOOD.replace("w = {", "watts = {"), "[meter.device] watts: unknown key"),
    ],
)
def test_a_mistake_in_a_profile_is_told_with_its_place(folder: Path, content, mistake):
    (folder / "meter.toml").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load(folder.parent)
    assert any(mistake in each for each in raised.value.mistakes), raised.value.mistakes
    assert all(each.startswith("meter.toml: ") for each in raised.value.mistakes)


def test_one_profile_twice_is_a_mistake_and_other_files_are_not_read(folder: Path):
    (folder / "README").write_text("no profile", encoding="utf-8")
    (folder / "a.toml").write_text(GOOD, encoding="utf-8")
    assert set(load(folder.parent)) == {*load(), "meter"}
    (folder / "b.toml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(ConfigError, match="b.toml: \\[meter\\]: there is a profile of this name already"):
        load(folder.parent)
