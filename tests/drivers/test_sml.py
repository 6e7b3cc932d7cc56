import json
from contextlib import closing
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwapi.drivers.sml import FRAME, Reading, Sml, has_time, measure, parse_frame
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.recordings import recordings_root
from tests.drivers.serial_peers import SML_FRAME, Clock, Pty, sml_entry, sml_frame, sml_signed, sml_transport

WATT, WATT_HOUR = 27, 30
IN, OUT = b"\x63\x01\x82", b"\x63\x01\xb0"  # status of a register of EMH ED300L
UNITS = {"W": 1, "Wh": 1000}

# What the recordings have elsewhere than in 16.7.0, 1.8.0 and 2.8.0.
POWER = {
    "DrNeuhaus_SMARTY_ix-130": ("15.7.0", -1),  # the meter of a generator
    "EMH-ED300L_consumption": ("15.7.0", 1),
    "EMH-ED300L_delivery": ("15.7.0", -1),
    "EMH_eHZ-GW8E2A500AK2": ("1.7.0", 1),
    "EMH_eHZ-HW8E2A5L0EK2P": ("15.7.0", 1),
    "EMH_eHZ-HW8E2A5L0EK2P_1": ("15.7.0", 1),
    "EMH_eHZ-HW8E2A5L0EK2P_2": ("15.7.0", 1),
    "EMH_eHZ-HW8E2AWL0EK2P": ("15.7.0", 1),
    "EMH_eHZ361L5R": ("1.7.1", 1),
    "EMH_eHZ361L5R_1": ("1.7.1", 1),
}
REGISTERS = {
    "EMH_eHZ-GW8E2A500AK2": (("1.8.1", "1.8.2"), ()),
    "EMH_eHZ361L5R": ((), ("2.8.1",)),
    "EMH_eHZ361L5R_1": ((), ("2.8.1",)),
}
UNREADABLE = ("DZG_DVS-7420.2V.G2_mtr1_error",)  # not one end of a frame in it


def power(*watts, obis="16.7.0"):
    return [sml_entry(obis, WATT, 0, sml_signed(each)) for each in watts]


def register(obis, watt_hours, status=b"\x01"):
    return sml_entry(obis, WATT_HOUR, 0, sml_signed(watt_hours), status)


@pytest.mark.parametrize(
    ("entries", "reading"),
    [
        (power(1234), (1234, None, None)),
        (power(-1234), (-1234, None, None)),
        ([sml_entry("16.7.0", WATT, -2, sml_signed(12345))], ("123.45", None, None)),
        ([sml_entry("16.7.0", WATT, 3, sml_signed(2))], (2000, None, None)),
        ([sml_entry("16.7.0", WATT, 0, b"\x52\xff")], (-1, None, None)),
        ([sml_entry("16.7.0", WATT, 0, b"\x62\xff")], (255, None, None)),
        ([register("1.8.0", 1_500_250), register("2.8.0", 30)], (None, "1500.25", "0.03")),
        ([sml_entry("1.8.0", WATT_HOUR, -1, b"\x59" + (10**12).to_bytes(8, "big"))], (None, 10**8, None)),
        ([register("1.8.1", 1000), register("1.8.2", 500), register("2.8.1", 7)], (None, "1.5", "0.007")),
        ([register("1.8.0", 1500), register("1.8.1", 1000)], (None, "1.5", None)),
        ([*power(300, obis="1.7.0"), *power(0, obis="2.7.0")], (300, None, None)),
        ([*power(0, obis="1.7.0"), *power(300, obis="2.7.0")], (-300, None, None)),
        (power(-300, obis="1.7.1"), (-300, None, None)),
        ([*power(300, obis="15.7.0"), register("1.8.0", 1000, IN)], (300, 1, None)),
        ([*power(300, obis="15.7.0"), register("1.8.0", 1000, OUT)], (-300, 1, None)),
        ([*power(300, obis="15.7.0"), register("1.8.1", 1000, OUT)], (-300, 1, None)),
        ([*power(300, obis="15.7.0"), register("2.8.0", 1000)], (-300, None, 1)),
        ([*power(300), *power(900, obis="15.7.0"), register("1.8.0", 1000, OUT)], (300, 1, None)),
        ([*power(5), sml_entry("1.8.0", WATT, 0, sml_signed(9)), sml_entry("2.8.0", 29, 0, b"\x62\x09")], (5, 9, None)),
        ([*power(5), sml_entry("1.8.0", WATT_HOUR, 0, b"\x01")], (5, None, None)),
        ([*power(5), sml_entry("1.8.0", WATT_HOUR, 0, b"\x03\x31\x32")], (5, None, None)),
        ([*power(5), register("1.8.1", 1000), sml_entry("1.8.2", WATT_HOUR, 0, b"\x01")], (5, None, None)),
        ([*power(5), sml_entry("1.8.0", WATT_HOUR, 0, b"\x01"), register("1.8.1", 1000)], (5, None, None)),
        ([*power(5), sml_entry("1.8.0", WATT_HOUR, 100, sml_signed(1))], (5, None, None)),
        ([sml_entry("32.7.0", 35, -1, sml_signed(2301)), *power(5)], (5, None, None)),
    ],
)
def test_a_frame_is_power_and_registers_in_our_units(entries, reading):
    expected = Reading(*(None if value is None else Decimal(value) for value in reading))
    assert parse_frame(sml_frame(*entries)) == expected


def test_an_escape_among_the_values_is_one_of_them():
    frame = sml_frame(sml_entry("1.8.0", WATT_HOUR, 0, b"\x55" + b"\x1b" * 4))
    assert FRAME.findall(b"\x00" + frame + b"\x00") == [frame]
    assert parse_frame(frame).kwh_in == Decimal(0x1B1B1B1B) / 1000


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (SML_FRAME[:-1] + bytes([SML_FRAME[-1] ^ 1]), "broken SML frame: <CrcError"),
        (SML_FRAME[:60] + b"\x00" + SML_FRAME[61:], "broken SML frame: <CrcError"),
        (sml_transport(b""), "without power or energy, but with nothing"),
        (sml_frame(sml_entry("32.7.0", 35, -1, sml_signed(2301))), "but with 1-0:32.7.0"),
        (sml_transport(b"\x1b" * 4), "broken SML frame: .*no whole frame"),
        (sml_transport(b"\x77\x07\x01"), "broken SML frame: "),
        (sml_transport(b"\x77\x07\x01\x00\x10\x07\x00\xff\x01\x01\x62"), "broken SML frame: "),
        (sml_frame(sml_entry("16.7.0", WATT, 0, b"\x01")), "without power or energy"),
    ],
)
def test_a_broken_frame_is_refused(frame, problem):
    with pytest.raises(DeviceError, match=problem):
        parse_frame(frame)


MESSAGES = SML_FRAME[8:-8]


@settings(deadline=None)
@given(st.integers(0, len(MESSAGES) - 1), st.binary(min_size=1, max_size=4))
def test_nonsense_with_a_right_crc_is_a_device_error_at_worst(place, noise):
    frame = sml_transport(MESSAGES[:place] + noise + MESSAGES[place + len(noise) :])
    has_time(frame)
    try:
        parse_frame(frame)
    except DeviceError:
        pass


def test_a_meter_that_counts_one_way_has_one_probe():
    reading = Reading(Decimal(5), Decimal(7), None)
    assert measure("house", reading, exports=False) == [Measurement("house", watts=5.0, kwh=7.0)]


@pytest.mark.parametrize(
    ("watts", "flows_in", "flows_out"), [("-5.5", 0.0, 5.5), ("5.5", 5.5, 0.0), (None, None, None)]
)
def test_what_flows_out_is_a_probe_of_its_own_and_never_negative(watts, flows_in, flows_out):
    reading = Reading(watts and Decimal(watts), Decimal(7), Decimal(3))
    assert measure("house", reading, exports=True) == [
        Measurement("house", watts=flows_in, kwh=7.0),
        Measurement("house@export", watts=flows_out, kwh=3.0),
    ]


def recorded_names():
    return sorted(path.stem for path in (recordings_root() / "sml" / "expected").glob("*.json"))


def recorded_frames(name):
    return FRAME.findall((recordings_root() / "sml" / f"{name}.bin").read_bytes())


def expected_reading(name, entries):
    """Return what a recording's list of values means for us."""
    values = {
        entry["obis"].removeprefix("1-0:").removesuffix("*255"): Decimal(entry["raw"]).scaleb(entry["scaler"])
        / UNITS[entry["unit"]]
        for entry in entries
    }
    obis, sign = POWER.get(name, ("16.7.0", 1))
    ways = REGISTERS.get(name, (("1.8.0",), ("2.8.0",)))
    known = [[values[each] for each in way if each in values] for way in ways]
    return Reading(values[obis] * sign if obis in values else None, *(sum(way) if way else None for way in known))


def test_recorded_meters_say_what_they_should():
    names = recorded_names()
    assert len(names) == 22
    compared = 0
    for name in names:
        frames = recorded_frames(name)
        expected = json.loads((recordings_root() / "sml" / "expected" / f"{name}.json").read_text("utf-8"))
        if not expected["first"]:
            continue
        assert len(frames) == expected["frames"], name
        for frame, entries in ((frames[0], expected["first"]), (frames[-1], expected["last"])):
            reading = parse_frame(frame)
            assert reading == expected_reading(name, entries), name
            compared += sum(value is not None for value in (reading.watts, reading.kwh_in, reading.kwh_out))
        for frame in frames:
            assert parse_frame(frame) != Reading()
    assert compared == 92


def test_a_recorded_meter_that_sends_an_entry_without_value_is_read_all_the_same():
    readings = [parse_frame(frame) for frame in recorded_frames("EMH_eHZ-IW8E2A5L0EK2P_with_error")]
    assert len(readings) == 11  # of which smllib by itself reads none; by hand: 01AA96BF, 0557
    assert readings[0] == Reading(Decimal("136.7"), Decimal("2795.6927"), None)
    assert [each.kwh_in for each in readings] == sorted(each.kwh_in for each in readings)


@pytest.fixture
def meter():
    with closing(Pty()) as meter:
        yield meter


@pytest.fixture
def driver(meter):
    values = {"device": meter.device, "probes": ["house"], "interval": 1.0}
    with closing(Sml("cellar.meter", values, monotonic_clock=Clock(1.0))) as driver:
        driver.open()
        yield driver


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_recording_without_one_whole_frame_is_told_and_then_got_over(driver, meter, name):
    meter.send((recordings_root() / "sml" / f"{name}.bin").read_bytes())
    with pytest.raises(DeviceError, match="no frame in 8 s, but 2197 bytes"):
        driver.read()
    meter.send(SML_FRAME)
    assert driver.read()[0].watts == 123.4


def test_both_probes_of_a_meter_that_counts_both_ways(driver, meter):
    meter.send(SML_FRAME)
    assert driver.read() == [
        Measurement("house", watts=123.4, kwh=123.4567),
        Measurement("house@export", watts=0.0, kwh=0.25),
    ]
    assert driver.probe_names() == ["house", "house@export"]


def test_the_export_begins_when_power_first_flows_out_and_stays(driver, meter):
    found = []
    for watts in (5, -5, 7):
        meter.send(sml_frame(*power(watts)))
        found.append({each.probe: each.watts for each in driver.read()})
    assert found == [{"house": 5.0}, {"house": 0.0, "house@export": 5.0}, {"house": 7.0, "house@export": 0.0}]


def test_a_frame_with_a_crc_error_is_dropped(driver, meter):
    broken = SML_FRAME[:40] + b"\x00" + SML_FRAME[41:]
    meter.send(broken)
    with pytest.raises(DeviceError, match=f"{meter.device}: broken SML frame: <CrcError"):
        driver.read()
    meter.send(SML_FRAME + broken)
    assert driver.read()[0].watts == 123.4


def test_a_frame_that_begins_anew_is_found_in_the_one_that_was_cut(driver, meter):
    meter.send(SML_FRAME[:50] + SML_FRAME[:9] + SML_FRAME)
    assert driver.read()[0].watts == 123.4


def test_a_frame_with_its_own_time_that_comes_once_more_is_no_news(driver, meter):
    for measured in (2, 0):
        meter.send(SML_FRAME)
        assert len(driver.read()) == measured


def test_a_frame_without_a_time_may_look_like_the_one_before(driver, meter):
    for _ in range(2):
        meter.send(sml_frame(*power(5), time=None))
        assert driver.read()[0].watts == 5.0
