"""What goes wrong on a line, and sections that share one."""

import os
import resource
import socket
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from pymodbus import FramerType
from pymodbus.constants import ExcCodes

from kwapi.drivers.modbus.driver import Modbus
from kwapi.drivers.modbus.line import Line, Lines, Settings
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.modbus_meter import (
    DEFAULTS,
    EXPORTED,
    SDM120,
    VALUES,
    Meter,
    RtuServer,
    TcpServer,
    floats,
    opened,
    over_tcp,
    sdm120,
    serial_line,
)


@contextmanager
def held(line):
    """Let another thread have the line."""
    holding, done = threading.Event(), threading.Event()

    def hold():
        with line.turn():
            holding.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(10)
    yield
    done.set()
    thread.join(10)


@pytest.mark.parametrize(
    ("mangle", "message"),
    [
        (lambda frame: b"", "unit 1: input registers 0 to 75: no usable answer within 0.3 s"),  # silent
        (lambda frame: frame[:20], "no usable answer within 0.3 s"),  # cut in mid-answer
        (lambda frame: b"\xff" * 40, "no usable answer within 0.3 s"),  # garbage
        (lambda frame: b"HTTP/1.1 400 Bad Request\r\n\r\n", "no usable answer within 0.3 s"),  # not Modbus at all
        (lambda frame: frame[:6] + b"\x09" + frame[7:], "no usable answer within 0.3 s"),  # of another unit
        (lambda frame: b"\xee\xee" + frame[2:], "no usable answer within 0.3 s"),  # to another request
        (lambda frame: frame[:5] + b"\x05\x01\x04\x02\x00\x00", "answered with 1 of function 4"),  # too short
        (lambda frame: frame[:7] + b"\x03" + frame[8:], "answered with 76 of function 3"),  # of the other table
    ],
)
def test_an_unusable_answer_is_asked_for_again_and_then_an_error(mangle, message):
    meter = sdm120()
    with over_tcp(meter, timeout=0.3) as (driver, server):
        whole, server.mangle = server.mangle, mangle
        with pytest.raises(DeviceError, match=message):
            driver.read()
        assert meter.asked == [(0, 76)] * 2
        assert server.connections == 2, "what comes late cannot be taken for the next answer"
        server.mangle = whole
        assert driver.read() == [VALUES, EXPORTED], "the same driver goes on"


def test_one_answer_that_is_lost_is_made_good():
    meter = sdm120()
    with over_tcp(meter, timeout=0.5) as (driver, server):
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


def test_a_connection_that_is_cut_in_the_middle_of_an_answer():
    def cut(frame):
        server.drop_soon()
        return frame[:20]

    with TcpServer(sdm120()) as server, opened(host="127.0.0.1", port=server.port) as driver:
        whole, server.mangle = server.mangle, cut
        with pytest.raises(DeviceError, match="input registers 0 to 75: the connection was closed"):
            driver.read()
        server.mangle = whole
        assert driver.read() == [VALUES, EXPORTED]


def test_a_slow_meter_is_read_if_it_answers_in_time_and_its_late_answers_are_lost():
    meter = sdm120()
    with over_tcp(meter, timeout=0.5) as (driver, _):
        meter.delay = 0.1
        assert driver.read() == [VALUES, EXPORTED]
        meter.delay = 0.6
        with pytest.raises(DeviceError, match="no usable answer within 0.5 s"):
            driver.read()
        meter.delay = 0.0
        meter.registers |= floats({12: 201.0})
        assert driver.read()[0].watts == 201.0


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


def test_meters_of_one_gateway_share_a_connection_and_are_asked_one_at_a_time():
    lines = Lines()
    meters = [Meter(floats({**SDM120, 12: 100.0 * unit}), unit) for unit in (1, 2, 3)]
    failures = []

    def poll(driver, watts):
        for _ in range(20):
            if driver.read()[0].watts != watts:
                failures.append(watts)

    with TcpServer(*meters) as server, ExitStack() as stack:
        drivers = [
            stack.enter_context(opened(shared=lines, host="127.0.0.1", port=server.port, unit=unit))
            for unit in (1, 2, 3)
        ]
        threads = [threading.Thread(target=poll, args=(driver, 100.0 * unit)) for unit, driver in enumerate(drivers, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not failures
        assert [len(meter.asked) for meter in meters] == [20] * 3
        assert (server.connections, server.most_in_flight) == (1, 1)
        drivers[0].close()
        assert drivers[1].read()[0].watts == 200.0, "one section that closes leaves the line to the others"


def test_a_silent_meter_on_a_serial_line_does_not_spoil_the_others():
    lines, present = Lines(), sdm120(unit=2)
    with serial_line() as (far, near), RtuServer(far, present):
        with (
            opened(shared=lines, device=near, unit=1, timeout=0.5) as absent,
            opened(shared=lines, device=near, unit=2, timeout=0.5) as driver,
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
    line = Line(Settings(host="127.0.0.1", port=1), patience=0.05)
    message = "127.0.0.1:1 was busy with the meters of other sections"
    with held(line), pytest.raises(DeviceError, match=message), line.turn():
        pass


def test_a_late_answer_is_not_taken_for_that_of_another_request():
    meter = Meter({100: 11, 300: 22}, table=3)
    options = {"profile": "generic", "registers": ["w 100 uint16 W", "kwh 300 uint16 kWh"], "timeout": 0.3}
    with serial_line() as (far, near), RtuServer(far, meter), opened(device=near, **options) as driver:
        meter.delay = 0.4
        for _ in range(3):
            with pytest.raises(DeviceError, match="registers 100 to 100: no usable answer within 0.3 s"):
                driver.read()
        meter.delay = 0.0
        assert driver.read() == [Measurement("a", watts=11.0, kwh=22.0)]
    assert meter.asked == [(100, 1)] * 4 + [(300, 1)]


def test_rtu_frames_that_nobody_asked_for_are_thrown_away():
    meter = sdm120()
    with TcpServer(meter, framer=FramerType.RTU) as server:
        with opened(host="127.0.0.1", port=server.port, rtu_over_tcp=True) as driver:
            driver.read()
            server.repeat()
            meter.registers |= floats({12: 201.0})
            assert driver.read()[0].watts == 201.0
    assert server.connections == 1


def test_a_process_with_many_files_open_reads_its_meters():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 1200:
        pytest.skip(f"this user may open {most} files, not more than 1024 of them")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1200, most))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1050)]
    try:
        with over_tcp(sdm120()) as (driver, _):
            assert driver.read() == [VALUES, EXPORTED]
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_wall_clock_that_is_set_back_makes_nobody_wait(monkeypatch):
    hours = iter(range(1000, 0, -1))
    with serial_line() as (_, near), opened(device=near, timeout=0.05) as driver:
        monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))
        with pytest.raises(DeviceError, match="no usable answer within 0.05 s"):
            driver.read()
        assert next(hours) > 900


def test_a_daemon_that_stops_ends_a_poll_under_way_without_a_bug():
    asked = threading.Event()
    errors = []

    def poll():
        try:
            driver.read()
        except Exception as error:
            errors.append(error)

    with TcpServer(sdm120()) as server, opened(host="127.0.0.1", port=server.port, timeout=0.5) as driver:
        server.mangle = lambda frame: asked.set() or b""
        thread = threading.Thread(target=poll)
        thread.start()
        assert asked.wait(10)
        Modbus.close_shared(driver.shared)
        thread.join(10)
    assert [type(error) for error in errors] == [DeviceError]
    assert "is closed" in str(errors[0])
    assert server.connections == 1, "nothing new is begun"


def test_a_busy_line_does_not_change_the_reason_that_a_meter_is_down_for():
    lines, meter = Lines(patience=0.05), sdm120()
    with TcpServer(meter) as server, opened(shared=lines, host="127.0.0.1", port=server.port) as driver:
        line = lines.take(Settings(host="127.0.0.1", port=server.port, timeout=DEFAULTS["timeout"]))
        with held(line), pytest.raises(DeviceError, match="was busy with the meters of other sections"):
            driver.read()
        meter.refusal = ExcCodes.DEVICE_BUSY
        with pytest.raises(DeviceError, match="refused with server device busy"):
            driver.read()
        driver.close()
        driver.open()
        with held(line), pytest.raises(DeviceError, match="refused with server device busy"):
            driver.read()
        meter.refusal = None
        assert driver.read() == [VALUES, EXPORTED]
        with held(line), pytest.raises(DeviceError, match="was busy with the meters of other sections"):
            driver.read()
        lines.give_back(line)
