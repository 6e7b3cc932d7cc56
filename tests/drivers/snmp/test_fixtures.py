import tomllib

import pytest

from kwapi.drivers.snmp.profile import load
from tests.drivers.snmp.walks import parse_walk, read_walk
from tests.test_layers import ROOT

FIXTURES = {path.stem: path for path in sorted((ROOT / "tests" / "fixtures" / "snmp").glob("*.toml"))}


@pytest.mark.parametrize("name", FIXTURES)
def test_a_walk_is_found_and_measures_what_its_device_shows(name):
    fixture = tomllib.loads(FIXTURES[name].read_text("utf-8"))
    assert fixture.keys() == {"profile", "origin", "walk", "expected"}
    profile, found = read_walk(fixture["walk"], load())
    assert profile == fixture["profile"]
    assert found == fixture["expected"]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (".1.3.9 = INTEGER: -5", -5),
        (".1.3.9 = Gauge32: 5", 5),
        ("1.3.9 = 347781820", 347781820),
        ('.1.3.9 = STRING: "A: 1"', "A: 1"),
        ('.1.3.9 = STRING: "17"', "17"),
        ('.1.3.9 = ""', ""),
        (".1.3.9 = OID: .1.3.6", "1.3.6"),
        (".1.3.9 = Hex-STRING: 00 C4 ", b"\x00\xc4"),
    ],
)
def test_lines_of_a_walk(line, value):
    end = "1.3.9 = No more variables left in this MIB View (It is past the end of the MIB tree)"
    assert parse_walk(f"\n  {line}\n{end}\n") == {"1.3.9": value}


def test_another_form_of_walk_is_refused():
    with pytest.raises(ValueError, match="no line of snmpbulkwalk"):
        parse_walk("SNMPv2-MIB::sysDescr.0 = STRING: a PDU")
