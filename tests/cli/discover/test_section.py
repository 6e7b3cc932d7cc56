import pytest

from kwapi.cli.discover.found import Found
from kwapi.cli.discover.section import clean, name_of, probe_names, rows_to_name, section, wattmeter_name
from kwapi.measurement import Measurement


def test_a_section_is_called_as_its_device():
    names = set()
    hosts = [("pdu1.lyon.example", None), ("pdu1.nancy.example", None), ("192.0.2.7", 1161), ("2001:db8::1", None)]
    found = [wattmeter_name(host, port, names) for host, port in [*hosts, hosts[2], hosts[3]]]
    expected = ["pdu1", "pdu1-nancy-example", "192-0-2-7-1161", "2001-db8-1", "192-0-2-7-1161-2", "2001-db8-1-2"]
    assert found == expected
    assert wattmeter_name("gateway.lyon.example", 1502, names, part="7") == "gateway-1502-7"
    given = [wattmeter_name("192.0.2.9", 161, names, "lyon.pdu") for _ in range(2)]
    assert given == ["lyon.pdu", "lyon.pdu-2"]


@pytest.mark.parametrize(
    ("label", "name"),
    [("  a\t b\x00", "a b"), ("..", ""), ("é" * 50, "é" * 40), ("cafe\u0301", "café"), ('"x"', "x"), ("@", "-")],
)
def test_a_label_is_cleaned(label, name):
    assert clean(label) == name


@pytest.mark.parametrize(
    ("label", "is_kept"),
    [
        ("01", False),
        ("Outlet A13", False),
        ("OUTLET 1", False),
        ("OUTLET10", False),
        ("channel1", False),
        ("TowerA_InfeedA_Outlet12", False),
        ("Master_Outlet_3", False),
        ("web-1", True),
        ("Outlet A13 web-1", True),
        ("rack7-outlet-3", True),
        ("outlet", True),
    ],
)
def test_what_the_factory_wrote_on_an_outlet_is_no_name(label, is_kept):
    assert name_of(label) == (label if is_kept else "")


def test_a_label_that_looks_like_the_name_of_another_outlet_is_not_taken():
    rows = [("outlet", "1"), ("outlet", "2")]
    names = probe_names("pdu", rows, {rows[0]: "pdu-outlet-2", rows[1]: "b"}, set())
    assert names == {rows[0]: "pdu-outlet-1", rows[1]: "b"}
    assert probe_names("pdu", rows, {rows[1]: "b"}, {"b"})[rows[1]] == "pdu-outlet-2"


def test_no_two_devices_have_a_probe_of_the_same_name():
    rows = [("outlet", "1"), ("outlet", "2")]
    measured = dict.fromkeys(rows, Measurement("x", watts=1.0))
    labels = [
        {rows[0]: "web", rows[1]: "db"},
        {rows[0]: "web", rows[1]: "pdu4-outlet-2"},
        {rows[0]: "pdu4-outlet-2-2", rows[1]: "bmc"},
        {rows[0]: "01", rows[1]: "02"},
    ]
    taken = set()
    devices = [Found("p", "t", rows, measured, each) for each in labels]
    devices.append(Found("p", "t", [("device", "")], {("device", ""): Measurement("x", watts=1.0)}))
    names = ["pdu1", "pdu2", "pdu3", "pdu4", "bmc"]
    texts = [section(name, "h", {}, found, taken) for name, found in zip(names, devices, strict=True)]
    assert [text[-1] for text in texts] == [
        "probes = web, db",
        "probes = pdu2-outlet-1, pdu4-outlet-2",
        "probes = pdu4-outlet-2-2, bmc",
        "probes = pdu4-outlet-1, pdu4-outlet-2-3",
        "probes = bmc-2",
    ]


def test_without_power_at_the_outlets_the_outermost_rows_with_power_are_named():
    inlet, phase, outlet = ("inlet", "1"), ("phase", "1"), ("outlet", "1")
    power, current = Measurement("x", watts=1.0), Measurement("x", amps=1.0)

    def named(measured):
        return rows_to_name(Found("p", "t", [outlet], measured))

    assert named({inlet: power, phase: power, outlet: current}) == [inlet]
    assert named({inlet: power, outlet: power}) == [outlet]
    assert named({phase: current}) == [phase]
    assert named({}) == []


def test_a_device_cannot_add_lines_of_its_own():
    row = ("inlet", "1\ndriver = dummy")
    found = Found("p", "t", [], {row: Measurement("x", watts=1.0)}, settings={"sensor": "a\r\n[b]"}, notes=["\x1b[2J"])
    lines = section("bmc", "h", {"driver": "ipmi"}, found, set())
    assert lines[1] == "# ?[2J"
    assert lines[-2:] == ["sensor = a??[b]", "probes = bmc@inlet.1?driver = dummy"]
    assert not any(character in line for line in lines for character in "\r\n\x1b")
