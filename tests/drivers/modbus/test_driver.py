"""The driver over TCP, RTU over TCP and a serial line of two ptys, against pymodbus's own server and a faulty one."""

import socket
import threading
from contextlib import contextmanager

import pytest
from pymodbus import FramerType
from pymodbus.constants import ExcCodes

from kwapi.drivers.modbus.driver import Modbus
from kwapi.drivers.modbus.line import Line, Lines, Settings
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.modbus_meter import Meter, RtuServer, TcpServer, serial_line, words

DEFAULTS = {option.dest: option.default for option in Modbus.options} | {"interval": 1.0, "timeout": 0.2}
SDM120 = {0: 230.5, 6: 1.0, 12: 200.0, 18: 230.5, 30: 0.875, 70: 50.0, 72: 1234.5, 74: 0.25}
VALUES = Measurement("a", 200.0, 230.5, 230.5, 1.0, 0.875, 50.0, 1234.5)
EXPORTED = Measurement("a@export", watts=0.0, kwh=0.25)


def floats(values):
    """Return registers by address, given float32 values by address."""
    return {at + number: word for at, value in values.items() for number, word in enumerate(words("f", value))}


def sdm120(unit=1, **options):
    return Meter(floats(SDM120), unit, **options)


@contextmanager
def opened(probes=("a",), shared=None, **options):
    """Yield a driver that is open, and let go of everything at the end."""
    driver = Modbus(
        "rack.meter", {**DEFAULTS, "profile": "sdm120", "probes": list(probes), **options}, shared or Lines()
    )
    try:
        driver.open()
        yield driver
    finally:
        driver.close()
        if shared is None:
            Modbus.close_shared(driver.shared)


@contextmanager
def over_tcp(*meters, **options):
    with TcpServer(*meters) as server, opened(host="127.0.0.1", port=server.port, **options) as driver:
        yield driver, server


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
    (record,) = caplog.records
    assert record.getMessage().startswith("rack.meter goes without kwh_export: ")


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


@pytest.mark.parametrize(
    ("mangle", "message"),
    [
        (lambda frame: b"", "unit 1: input registers 0 to 75: no usable answer within 0.1 s"),  # silent
        (lambda frame: frame[:20], "no usable answer within 0.1 s"),  # cut in mid-answer
        (lambda frame: b"\xff" * 40, "no usable answer within 0.1 s"),  # garbage
        (lambda frame: b"HTTP/1.1 400 Bad Request\r\n\r\n", "no usable answer within 0.1 s"),  # not Modbus at all
        (lambda frame: frame[:6] + b"\x09" + frame[7:], "no usable answer within 0.1 s"),  # of another unit
        (lambda frame: b"\xee\xee" + frame[2:], "no usable answer within 0.1 s"),  # to another request
        (lambda frame: frame[:5] + b"\x05\x01\x04\x02\x00\x00", "answered with 1 of function 4"),  # too short
        (lambda frame: frame[:7] + b"\x03" + frame[8:], "answered with 76 of function 3"),  # of the other table
    ],
)
def test_an_unusable_answer_is_asked_for_again_and_then_an_error(mangle, message):
    meter = sdm120()
    with over_tcp(meter, timeout=0.1) as (driver, server):
        whole, server.mangle = server.mangle, mangle
        with pytest.raises(DeviceError, match=message):
            driver.read()
        assert meter.asked == [(0, 76)] * 2
        assert server.connections == 2, "what comes late cannot be taken for the next answer"
        server.mangle = whole
        assert driver.read() == [VALUES, EXPORTED], "the same driver goes on"


def test_one_answer_that_is_lost_is_made_good():
    meter = sdm120()
    with over_tcp(meter, timeout=0.1) as (driver, server):
        answers = iter([b""])
        server.mangle = lambda frame: next(answers, frame)
        assert driver.read() == [VALUES, EXPORTED]
    assert meter.asked == [(0, 76)] * 2


def test_a_meter_that_was_restarted_is_connected_to_again():
    lines, meter = Lines(), sdm120()
    with TcpServer(meter) as server:
        port = server.port
        with opened(shared=lines, host="127.0.0.1", port=port) as driver:
            driver.read()
            server.drop()
            assert driver.read() == [VALUES, EXPORTED]
    assert server.connections == 2
    with opened(shared=lines, host="127.0.0.1", port=port) as driver:
        with pytest.raises(DeviceError, match=rf"127.0.0.1:{port}: .*refused"):
            driver.read()
    lines.close()


def test_a_connection_that_is_closed_instead_of_an_answer():
    with TcpServer(sdm120()) as server, opened(host="127.0.0.1", port=server.port) as driver:
        server.mangle = lambda frame: server.abort() or b""
        with pytest.raises(DeviceError, match="input registers 0 to 75: the connection was closed"):
            driver.read()


def test_a_server_that_accepts_and_is_silent_costs_two_timeouts():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with opened(host="127.0.0.1", port=silent.getsockname()[1], timeout=0.05) as driver:
            with pytest.raises(DeviceError, match="unit 1: input registers 0 to 75"):
                driver.read()


def test_a_poll_that_takes_too_long_is_ended():
    now = iter([0.0, 1.0, 6.0])
    with TcpServer(sdm120()) as server:
        line = Line(Settings(host="127.0.0.1", port=server.port), clock=lambda: next(now))
        with line.turn():
            assert len(line.read(1, "input", 0, 2)) == 2
            with pytest.raises(DeviceError, match="took longer than 3 s"):
                line.read(1, "input", 0, 2)
        line.hang_up()


def test_rtu_frames_over_tcp():
    meter = sdm120()
    with TcpServer(meter, framer=FramerType.RTU) as server:
        with opened(host="127.0.0.1", port=server.port, rtu_over_tcp=True) as driver:
            assert driver.read() == [VALUES, EXPORTED]


def test_meters_of_one_gateway_share_a_connection_and_are_asked_one_at_a_time():
    lines = Lines()
    meters = [Meter(floats({**SDM120, 12: 100.0 * unit}), unit) for unit in (1, 2, 3)]
    failures = []

    def poll(driver, watts):
        for _ in range(20):
            if driver.read()[0].watts != watts:
                failures.append(watts)

    with TcpServer(*meters) as server:
        drivers = [make(host="127.0.0.1", port=server.port, unit=unit) for unit in (1, 2, 3)]
        threads = []
        for number, driver in enumerate(drivers, 1):
            driver.shared = lines
            driver.open()
            threads.append(threading.Thread(target=poll, args=(driver, 100.0 * number)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not failures
        assert [len(meter.asked) for meter in meters] == [20] * 3
        assert (server.connections, server.most_in_flight) == (1, 1)
        drivers[0].close()
        assert drivers[1].read()[0].watts == 200.0, "one section that closes leaves the line to the others"
        drivers[1].close()
        drivers[2].close()
        lines.close()


def test_a_silent_meter_on_a_serial_line_does_not_spoil_the_others():
    lines, present = Lines(), sdm120(unit=2)
    with serial_line() as (far, near), RtuServer(far, present):
        with (
            opened(shared=lines, device=near, unit=1, timeout=0.1) as absent,
            opened(shared=lines, device=near, unit=2, timeout=0.1) as driver,
        ):
            with pytest.raises(DeviceError, match="unit 1: input registers 0 to 75"):
                absent.read()
            assert driver.read() == [VALUES, EXPORTED]
    lines.close()


def test_a_garbled_frame_on_a_serial_line_is_asked_for_again():
    meter = sdm120()
    with serial_line() as (far, near), RtuServer(far, meter) as server, opened(device=near) as driver:
        garbled = iter([lambda frame: frame[:30] + b"\x55" + frame[31:]])  # the checksum is wrong
        server.mangle = lambda frame: next(garbled, lambda whole: whole)(frame)
        assert driver.read() == [VALUES, EXPORTED]
    assert len(meter.asked) == 2


def test_a_serial_port_that_vanishes_and_comes_back():
    meter, lines = sdm120(), Lines()
    with serial_line() as (far, near), RtuServer(far, meter):
        with opened(shared=lines, device=near) as driver:
            assert driver.read() == [VALUES, EXPORTED]
    with opened(shared=lines, device=near) as driver, pytest.raises(DeviceError, match=near):
        driver.read()
    with serial_line() as (far, near), RtuServer(far, meter), opened(shared=lines, device=near) as driver:
        assert driver.read() == [VALUES, EXPORTED]
    lines.close()


def test_sections_that_disagree_about_their_line_are_told(tmp_path):
    with serial_line() as (_, near):
        lines = Lines()
        link = tmp_path / "meter"
        link.symlink_to(near)
        with opened(shared=lines, device=near), opened(shared=lines, device=str(link)):
            pass  # two names of one port are no disagreement
        with opened(shared=lines, device=near), pytest.raises(DeviceError, match="must agree on every setting"):
            with opened(shared=lines, device=near, baudrate=19200):
                pass
        with opened(shared=lines, device=near, baudrate=19200):
            pass
        lines.close()


def test_a_line_that_others_do_not_let_go_of_is_an_error():
    settings = Settings(host="127.0.0.1", port=1)
    line = Line(settings, patience=0.05)
    holding, done = threading.Event(), threading.Event()

    def hold():
        with line.turn():
            holding.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(10)
    with pytest.raises(DeviceError, match="127.0.0.1:1 was busy with the meters of other sections"), line.turn():
        pass
    done.set()
    thread.join(10)


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
        ({"profile": None}, ("profile", "None is unknown")),
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
