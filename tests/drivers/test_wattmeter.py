import sys

import pytest

from kwapi.config import Reader
from kwapi.drivers import driver_names, find_driver
from kwapi.drivers.dummy import Dummy
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.errors import ConfigError


def read(tmp_path, text):
    path = tmp_path / "drivers.conf"
    path.write_text(text)
    reader = Reader("drivers", [path], {})
    return reader, read_wattmeters(reader)


def mistakes(tmp_path, text):
    reader, _ = read(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        reader.finish()
    return [mistake.replace(f"{tmp_path}/", "") for mistake in caught.value.mistakes]


def test_a_section_is_a_wattmeter(tmp_path):
    reader, wattmeters = read(
        tmp_path, "[Lyon.meter 1]\ndriver = dummy\nprobes = a, , b\nload = steady\nwatts = 7\ninterval = 5\n"
    )
    reader.finish()
    (wattmeter,) = wattmeters
    assert (wattmeter.name, wattmeter.driver, wattmeter.interval) == ("Lyon.meter 1", Dummy, 5.0)
    assert wattmeter.hang_timeout == 15.0
    assert [(each.probe, each.watts) for each in wattmeter.new_driver(None).read()] == [("a", 7.0), ("b", 7.0)]


def test_every_mistake_of_every_section_comes_at_once(tmp_path):
    text = """\
[one]
driver = snmp
probes = a, b
[two]
driver = dumy
probes = c
[three]
driver = dummy
probes = a, d
wats = 5
[four]
driver = dummy
probes = b, e/e, f, f
[five]
probes = g
[six]
driver = dummy
interval = 0
probes =
[kwapi.seven]
driver = dummy
probes = h
[eight]
driver = dummy
probes = i
[nine]
driver = dummy
probes = i
"""
    found = mistakes(tmp_path, text)
    expected = [
        "drivers.conf:1: [one] host: is missing",
        "drivers.conf:5: [two] driver: unknown driver 'dumy'",
        "drivers.conf:9: [three] probes: 'a' is a probe of [one] already",
        "drivers.conf:13: [four] probes: 'b' is a probe of [one] already",
        "drivers.conf:10: [three] wats: unknown option; did you mean watts?",
        "drivers.conf:13: [four] probes: 'e/e' contains '/'",
        "drivers.conf:13: [four] probes: 'f' is listed twice",
        "drivers.conf:14: [five] driver: is missing",
        "drivers.conf:18: [six] interval: ",
        "drivers.conf:19: [six] probes: is missing",
        "drivers.conf:20: [kwapi.seven]: names that begin with kwapi.",
        "drivers.conf:28: [nine] probes: 'i' is a probe of [eight] already",
    ]
    for line in expected:
        assert [each for each in found if each.startswith(line)], (line, found)
    assert len(found) == len(expected)
    lines = [int(each.split(":")[1]) for each in found]
    assert lines == sorted(lines)


def test_of_a_section_that_stands_twice_nothing_else_is_said(tmp_path):
    section = "driver = snmp\nhost = 10.0.0.1\ncommunity = secret\nprobes = a\n"
    text = f"[pdu]\n{section}[PDU]\n{section}nonsense = 1\n[meter]\ndriver = dummy\nprobes = b\nwats = 5\n"
    first, second = mistakes(tmp_path, text)
    assert first.startswith("drivers.conf:6: [PDU]: the section stands at ")
    assert second.startswith("drivers.conf:15: [meter] wats: unknown option")


def test_a_missing_library_is_told_with_how_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kwapi.drivers.modbus.driver", None)
    (mistake,) = mistakes(tmp_path, "[x]\ndriver = modbus\nprobes = a\n")
    assert mistake.startswith("drivers.conf:2: [x] driver: cannot be loaded: ")
    assert f"; install it: {sys.executable} -m pip install 'pymodbus" in mistake


def test_drivers_are_found_by_name():
    assert {"dummy", "snmp"} <= set(driver_names())
    assert find_driver("dummy") is Dummy
    with pytest.raises(LookupError, match="there are dummy, "):
        find_driver("nothing")


def test_a_calibration_is_applied_and_must_name_a_probe(tmp_path):
    section = "[m]\ndriver = dummy\nload = steady\nwatts = 100\nprobes = a, b\n"
    reader, (wattmeter,) = read(tmp_path, section + "factor = a:1.5\noffset = b:-3\n")
    reader.finish()
    assert [one.watts for one in wattmeter.calibrated(wattmeter.new_driver(None).read())] == [150.0, 97.0]
    (mistake,) = mistakes(tmp_path, section + "factor = c:1.5\n")
    assert mistake == "drivers.conf:6: [m] factor: 'c' is no probe of this wattmeter"


def test_a_profile_of_ones_own_is_found_in_profile_dir(tmp_path):
    (tmp_path / "profiles" / "snmp").mkdir(parents=True)
    (tmp_path / "profiles" / "snmp" / "mine.toml").write_text(
        '[mine]\ntitle = "Mine"\nsource = "me"\nchecked = "MIB"\nbase = "1.3.6.1.4.1.99999"\n'
        '[mine.outlet]\nw = {oid = "1.2", unit = "W"}\n'
    )
    section = "[pdu]\ndriver = snmp\nhost = 127.0.0.1\nprobes = a\nprofile = mine\n"
    reader, _ = read(tmp_path, section + f"profile_dir = {tmp_path}/profiles\n")
    reader.finish()
    assert "'mine' is unknown" in mistakes(tmp_path, section)[0]
    (tmp_path / "profiles" / "snmp" / "mine.toml").write_text("[mine]\ntitle = 5\n")
    assert "mine.toml" in mistakes(tmp_path, section + f"profile_dir = {tmp_path}/profiles\n")[0]


def test_a_wattmeter_that_is_printed_shows_no_secret(tmp_path):
    _, (wattmeter,) = read(
        tmp_path, "[bmc1]\ndriver = ipmi\nhost = 127.0.0.1\nuser = u\npassword = s3cret\nprobes = a\n"
    )
    assert wattmeter.values["password"] == "s3cret"
    assert "s3cret" not in repr(wattmeter)


@pytest.mark.parametrize("probes", ["['A', None, 'B']", '["A", "B"]', "[A]"])
def test_a_list_as_programs_write_it_makes_no_probes_of_its_brackets(tmp_path, probes):
    (found, *_) = mistakes(tmp_path, f"[one]\ndriver = dummy\nprobes = {probes}\n")
    assert found.startswith("drivers.conf:3: [one] probes: ")
    assert "begins with a bracket or a quote; names stand as they are" in found


def test_a_directory_of_profiles_that_is_not_there_is_told(tmp_path):
    section = "[a]\ndriver = snmp\nhost = 127.0.0.1\ncommunity = public\nprobes = x\n"
    (mistake,) = mistakes(tmp_path, f"{section}profile_dir = {tmp_path}/profiles\n")
    assert mistake.endswith(": [a] profile_dir: there is no directory profiles")


def test_a_modbus_meter_without_a_profile_is_told_once(tmp_path):
    (mistake,) = mistakes(tmp_path, "[a]\ndriver = modbus\nhost = 127.0.0.1\nprobes = x\n")
    assert "[a] profile: is missing: " in mistake
