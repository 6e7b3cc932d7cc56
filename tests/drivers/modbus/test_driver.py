"""The driver over TCP, RTU over TCP and a serial line of two ptys, against pymodbus's own server."""

import pytest
from pymodbus import FramerType
from pymodbus.constants import ExcCodes

from kwapi.drivers.modbus.driver import Modbus
from kwapi.drivers.modbus.line import Lines
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.modbus_meter import (
    DEFAULTS,
    EXPORTED,
    VALUES,
    Meter,
    RtuServer,
    TcpServer,
    floats,
    opened,
    over_tcp,
    sdm120,
    serial_line,
    words,
)


def make(**options):
    values = {**DEFAULTS, "host": "meter", "profile": "sdm120", "probes": ["a"], **options}
    return Modbus("rack.meter", values, Lines())


def test_a_meter_is_read_over_tcp_with_one_request_and_one_connection():
    meter = sdm120()
    with over_tcp(meter) as (driver, server):
        assert driver.read() == [VALUES, EXPORTED]
        assert driver.read() == [VALUES, EXPORTED]
        assert driver.answered_at is not None
    assert meter.asked == [(0, 76)] * 2
    assert server.connections == 1


def test_a_meter_is_read_over_a_serial_line():
    meter = sdm120(unit=17)
    with serial_line() as (far, near), RtuServer(far, meter), opened(device=near, unit=17) as driver:
        assert driver.read() == [VALUES, EXPORTED]
        assert driver.read() == [VALUES, EXPORTED]
    assert meter.asked == [(0, 76)] * 2


def test_what_flows_back_is_a_probe_of_its_own():
    meter = sdm120()
    meter.registers |= floats({12: -75.5, 74: 3.5})
    with over_tcp(meter) as (driver, _):
        bought, sold = driver.read()
    assert (bought.watts, bought.kwh) == (0.0, 1234.5)
    assert sold == Measurement("a@export", watts=75.5, kwh=3.5)


def test_names_are_the_meter_and_its_phases_and_an_empty_one_skips_one():
    meter = Meter(floats({52: 600.0, 12: 100.0, 14: 200.0, 16: 300.0, 350: 7.0}))
    with over_tcp(meter, probes=["", "l1", "", "l3"], profile="sdm630") as (driver, _):
        assert driver.probe_names() == ["l1", "l1@export", "l3", "l3@export"]
        measured = {each.probe: each for each in driver.read()}
    assert list(measured) == driver.probe_names()
    assert measured["l3"].watts == 300.0 and measured["l3"].kwh == 7.0 and measured["l3"].level == "phase"
    assert measured["l1"].watts == 100.0 and measured["l1"].kwh == 0.0
    assert meter.asked == [(0, 36), (346, 12)]


def test_low_word_first_and_tenths():
    values = {0x28: ("i", 12345), 0x34: ("i", 70000), 0x4E: ("i", 0), 0x31: ("h", -995), 0x33: ("h", 499)}
    registers = {
        at + number: word for at, pair in values.items() for number, word in enumerate(words(*pair, low_first=True))
    }
    with over_tcp(Meter(registers), profile="em340") as (driver, _):
        assert driver.read() == [
            Measurement("a", watts=1234.5, power_factor=0.995, hertz=49.9, kwh=7000.0),
            Measurement("a@export", watts=0.0, kwh=0.0),
        ]


def test_kilowatts_and_registers_of_64_bits_in_the_holding_table():
    registers = floats({3059: 1.5, 3109: 50.0})
    registers |= dict(enumerate(words("q", 123_456_789_012), 3203)) | dict(enumerate(words("q", -(2**63)), 3207))
    with over_tcp(Meter(registers, table=3), profile="iem3155") as (driver, _):
        assert driver.read() == [
            Measurement("a", watts=1500.0, hertz=50.0, kwh=123_456_789.012),
            Measurement("a@export", watts=0.0, kwh=None),
        ]


def test_registers_that_the_model_does_not_fill_are_none():
    registers = dict.fromkeys([*range(0x5000, 0x5008), *range(0x5B00, 0x5B40)], 0xFFFF)
    registers |= dict(enumerate(words("i", 23456), 0x5B14)) | dict(enumerate(words("h", 0x7FFF), 0x5B3A))
    with over_tcp(Meter(registers, table=3), probes=["a", "l1"], profile="b23") as (driver, _):
        registers |= dict(enumerate(words("i", 2**31 - 1), 0x5B16))
        measured = {each.probe: each for each in driver.read()}
    assert measured["a"] == Measurement("a", watts=234.56)
    assert measured["a@export"] == Measurement("a@export", watts=0.0)
    assert measured["l1"].volts is None and measured["l1"].amps is None


def test_registers_of_the_section():
    registers = dict(enumerate([*words("h", 215), *words("I", 4_000_000)], 100)) | {300: 99}
    options = {
        "profile": "generic",
        "registers": ["w 100 int16 10 W", "kwh 101 uint32 Wh", "w 300 uint16 W"],
        "level": "outlet",
    }
    meter = Meter(registers, table=3)
    with over_tcp(meter, probes=["a", "b"], **options) as (driver, _):
        assert driver.probe_names() == ["a", "b"]
        assert driver.read() == [
            Measurement("a", watts=2150.0, kwh=4000.0, level="outlet"),
            Measurement("b", watts=99.0, level="outlet"),
        ]
    assert meter.asked == [(100, 3), (300, 1)]


def test_a_register_that_was_reset_is_told_as_it_is():
    meter = sdm120()
    with over_tcp(meter) as (driver, _):
        assert driver.read()[0].kwh == 1234.5
        meter.registers |= floats({72: 0.0})
        assert driver.read()[0].kwh == 0.0


@pytest.mark.parametrize(
    ("limits", "asked"),
    [
        ({"most": 50}, [(0, 76), (0, 32), (70, 6)]),  # some SDM120 refuse more than 50 at once
        ({"strict": True}, [(0, 76), (0, 32), (0, 20), (0, 8), (0, 2), (6, 2), (12, 8)]),
    ],
)
def test_a_meter_that_refuses_a_block_is_asked_for_parts_of_it(limits, asked):
    meter = sdm120(**limits)
    with over_tcp(meter) as (driver, _):
        assert driver.read() == [VALUES, EXPORTED]
        assert meter.asked[: len(asked)] == asked
        meter.asked.clear()
        assert driver.read() == [VALUES, EXPORTED]
        assert (0, 76) not in meter.asked, "it is not tried again at each poll"


def test_a_register_that_a_model_lacks_is_left_out_and_logged_once(caplog):
    meter = sdm120(strict=True)
    for at in (74, 75):
        del meter.registers[at]
    with over_tcp(meter) as (driver, _):
        assert driver.read() == [VALUES, Measurement("a@export", watts=0.0)]
        assert (74, 2) in meter.asked
        meter.asked.clear()
        assert driver.read() == [VALUES, Measurement("a@export", watts=0.0)]
        assert (74, 2) not in meter.asked
        driver.close()
        driver.open()
        assert driver.read() == [VALUES, Measurement("a@export", watts=0.0)]
    (record,) = caplog.records
    assert record.getMessage().startswith("rack.meter goes without export_kwh: ")


def test_a_meter_without_the_register_of_power_is_an_error():
    meter = sdm120(strict=True)
    for at in (12, 13):
        del meter.registers[at]
    with (
        over_tcp(meter) as (driver, _),
        pytest.raises(DeviceError, match=r"registers 12 to 13: .*illegal data address"),
    ):
        driver.read()


def test_a_meter_that_refuses_later_is_an_error_and_goes_without_nothing_for_ever():
    meter = sdm120()
    with over_tcp(meter) as (driver, _):
        driver.read()
        meter.refusal = ExcCodes.ILLEGAL_ADDRESS
        with pytest.raises(DeviceError, match=r"illegal data address \(2\)"):
            driver.read()
        meter.refusal = None
        assert driver.read() == [VALUES, EXPORTED]


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (ExcCodes.DEVICE_BUSY, r"server device busy \(6\)"),
        (ExcCodes.GATEWAY_NO_RESPONSE, r"gateway target device failed to respond \(11\)"),
        (ExcCodes.ILLEGAL_FUNCTION, r"illegal function \(1\)"),
    ],
)
def test_what_the_meter_refuses_with_is_told(refusal, words):
    meter = sdm120()
    meter.refusal = refusal
    with over_tcp(meter) as (driver, server):
        message = rf"127.0.0.1:{server.port} unit 1: input registers 0 to 75: refused with {words}"
        with pytest.raises(DeviceError, match=message):
            driver.read()
    assert meter.asked == [(0, 76)]


def test_a_meter_without_any_value_is_an_error():
    meter = Meter(dict.fromkeys(range(76), 0x7FC0))
    with over_tcp(meter) as (driver, _), pytest.raises(DeviceError, match="answers, but without a value for any probe"):
        driver.read()


def test_a_unit_that_is_not_there_is_an_error():
    with over_tcp(sdm120(unit=2)) as (driver, _), pytest.raises(DeviceError, match="unit 1: .*refused with"):
        driver.read()


def test_rtu_frames_over_tcp():
    meter = sdm120()
    with TcpServer(meter, framer=FramerType.RTU) as server:
        with opened(host="127.0.0.1", port=server.port, rtu_over_tcp=True) as driver:
            assert driver.read() == [VALUES, EXPORTED]


def test_closing_is_possible_at_any_time_and_twice():
    driver = make()
    driver.close()
    driver.open()
    driver.close()
    driver.close()
    driver.shared.close()
    driver.open()
    driver.shared.close()
    driver.close()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, None),
        ({"host": None, "device": "/dev/ttyUSB0"}, None),
        ({"profile": "generic", "registers": ["w 1 int16 W"]}, None),
        ({"host": None}, ("host", "must be given, or else device, but not both")),
        ({"device": "/dev/ttyUSB0"}, ("host", "must be given, or else device, but not both")),
        ({"unit": 0}, None),
        ({"unit": 0, "rtu_over_tcp": True}, ("unit", "0 is what speaks to all meters of a serial line at once")),
        ({"profile": "sdm999"}, ("profile", "'sdm999' is unknown; there are b23, em24, em24-e1, ")),
        ({"profile": None}, None),  # which is told as an option that is missing
        ({"profile": "generic"}, ("registers", "is empty, and profile = generic needs some")),
        ({"registers": ["w 1 int16 W"]}, ("registers", "is for profile = generic only")),
        ({"profile": "generic", "registers": ["w x int16 W"]}, ("registers", "'w x int16 W': 'x' is no address")),
        ({"probes": ["a", "b"]}, ("probes", "'b' is one too many: there are device")),
        ({"probes": list("abcde"), "profile": "b23"}, ("probes", "'e' is one too many: there are device, L1, L2, L3")),
    ],
)
def test_mistakes_of_a_section_are_told(options, problem):
    found = list(make(**options).problems())
    if problem is None:
        assert found == []
    else:
        option, message = problem
        assert any(name == option and text.startswith(message) for name, text in found), found


def test_names_are_known_even_where_the_profile_is_not():
    assert make(profile="sdm999", probes=["a", ""]).probe_names() == ["a"]
    assert make(probes=["a"]).probe_names() == ["a", "a@export"]


def test_a_profile_that_is_broken_meanwhile_is_no_bug(tmp_path):
    with TcpServer(sdm120()) as server:
        with opened(host="127.0.0.1", port=server.port, profile_dir=str(tmp_path)) as driver:
            driver.read()
            driver.close()
            (tmp_path / "modbus").mkdir()
            (tmp_path / "modbus" / "mine.toml").write_text("[mine", encoding="utf-8")
            with pytest.raises(DeviceError, match="profile sdm120: mine.toml: Expected"):
                driver.open()
            (tmp_path / "modbus" / "mine.toml").unlink()
            driver.open()
            assert driver.read() == [VALUES, EXPORTED]


@pytest.mark.parametrize("refusal", [None, ExcCodes.ILLEGAL_FUNCTION, ExcCodes.ILLEGAL_ADDRESS, ExcCodes.DEVICE_BUSY])
def test_a_unit_that_refuses_is_there(refusal):
    meter = sdm120(unit=3)
    meter.refusal = refusal
    with over_tcp(meter, unit=3) as (driver, _):
        assert driver.is_there()


@pytest.mark.parametrize("code", [ExcCodes.GATEWAY_PATH_UNAVIABLE, ExcCodes.GATEWAY_NO_RESPONSE])
def test_a_unit_of_which_the_gateway_hears_nothing_is_not_there(code):
    meter = sdm120(unit=3)
    meter.refusal = code
    with over_tcp(meter, unit=3) as (driver, _):
        assert not driver.is_there()


def test_a_silent_unit_is_not_there_and_one_that_answers_late_is_not_taken_for_it():
    with over_tcp(sdm120(), timeout=0.3) as (driver, server):
        server.mangle = lambda frame: b""
        assert not driver.is_there()
        server.mangle = lambda frame: frame
        assert driver.is_there()
        assert driver.read() == [VALUES, EXPORTED]
