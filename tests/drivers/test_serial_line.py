"""The serial line, and each driver that has one over it: on a pty and over TCP, with what goes wrong on lines."""

import io
import re
import socket
import threading
from contextlib import closing, contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import serial.rfc2217

from kwapi.drivers.p1 import P1
from kwapi.drivers.serial_line import LONGEST, SerialLine, device_problem
from kwapi.drivers.sml import Sml
from kwapi.drivers.wattsup import Wattsup
from kwapi.errors import DeviceError
from tests.drivers.serial_peers import (
    SML_FRAME,
    TELEGRAM_LINES,
    WATTSUP_PACKET,
    Clock,
    Pty,
    Tcp,
    sml_entry,
    sml_frame,
    sml_signed,
    telegram,
)

SENT = {Wattsup: WATTSUP_PACKET, P1: telegram(), Sml: SML_FRAME}
WATTS = {Wattsup: 123.4, P1: 123.0, Sml: 123.4}
KWH, CLEARED_KWH = {Wattsup: 5.6789, P1: 124.457, Sml: 123.4567}, {Wattsup: 0.0001, P1: 0.001, Sml: 0.001}
FRAME = re.compile(rb"<[^<>]*>")

drivers = pytest.mark.parametrize("driver_class", SENT, ids=lambda each: each.__name__)


@pytest.fixture(params=[Pty, Tcp], ids=["pty", "tcp"])
def meter(request):
    with closing(request.param()) as meter:
        yield meter


@pytest.fixture
def make(meter):
    """Return a driver for the meter, which is closed at the end."""
    made = []

    def make(driver_class, clock=None):
        values = {option.dest: option.default for option in driver_class.options}
        values |= {"device": meter.device, "probes": ["house"], "interval": 1.0}
        made.append(driver_class("cellar.meter", values, monotonic_clock=clock or Clock(1.0)))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


def opened(driver, meter):
    driver.open()
    meter.accept()
    return driver


@drivers
def test_what_the_meter_pushes_is_read(driver_class, meter, make):
    driver = opened(make(driver_class), meter)
    meter.send(SENT[driver_class])
    measured = driver.read()
    assert (measured[0].probe, measured[0].watts) == ("house", WATTS[driver_class])
    assert [each.probe for each in measured] == driver.probe_names()


@drivers
def test_noise_and_a_packet_cut_in_the_middle_are_passed_over(driver_class, meter, make):
    sent = SENT[driver_class]
    driver = opened(make(driver_class), meter)
    meter.send(b"\x00\xff\x1b#/!;\r\n" * 20 + sent[: len(sent) // 2] + sent)
    assert driver.read()[0].watts == WATTS[driver_class]


@drivers
def test_a_packet_in_pieces_is_put_together(driver_class, meter, make):
    clock, sent = Clock(0.1), SENT[driver_class]
    pieces = [sent[start : start + 40] for start in range(0, len(sent), 40)]
    driver = opened(make(driver_class, clock), meter)
    clock.then = lambda: pieces and meter.send(pieces.pop(0))
    assert driver.read()[0].watts == WATTS[driver_class]
    assert not pieces


@drivers
def test_a_silent_meter_is_told(driver_class, meter, make):
    driver = opened(make(driver_class), meter)
    with pytest.raises(DeviceError, match=f"^{re.escape(meter.device)}: no .* in [58] s$"):
        driver.read()


@drivers
def test_noise_alone_is_told(driver_class, meter, make):
    driver = opened(make(driver_class), meter)
    meter.send(b"\xf0\x80\xc0" * 100)
    with pytest.raises(DeviceError, match="no .* in . s, but 300 bytes such as"):
        driver.read()


@drivers
def test_bytes_that_drip_in_forever_hold_nothing_up(driver_class, meter, make):
    clock = Clock(1.0)
    driver = opened(make(driver_class, clock), meter)
    drips = iter(SENT[driver_class])
    clock.then = lambda: meter.send(bytes([next(drips)]))
    with pytest.raises(DeviceError, match="bytes such as"):
        driver.read()


@drivers
def test_an_unplugged_meter_is_told(driver_class, meter, make):
    driver = opened(make(driver_class), meter)
    meter.send(SENT[driver_class][:20])
    meter.unplug()
    with pytest.raises(DeviceError, match=re.escape(meter.device)):
        driver.read()
    driver.close()
    driver.close()  # the worker closes what failed, whatever it was


@drivers
def test_of_several_packets_the_newest_counts(driver_class, meter, make):
    older = {
        Wattsup: WATTSUP_PACKET.replace(b"1234,", b"1111,"),
        P1: telegram(TELEGRAM_LINES.replace(b"00.123*kW", b"00.111*kW")),
        Sml: sml_frame(sml_entry("16.7.0", 27, -1, sml_signed(1_111))),
    }
    driver = opened(make(driver_class), meter)
    meter.send(older[driver_class] + SENT[driver_class])
    assert driver.read()[0].watts == WATTS[driver_class]
    with pytest.raises(DeviceError) if driver_class is not P1 else nullcontext():
        assert driver.read() == []


@drivers
def test_a_driver_opens_again_and_forgets_what_was_half_read(driver_class, meter, make):
    sent = SENT[driver_class]
    driver = opened(make(driver_class), meter)
    meter.send(sent[:-10])
    with pytest.raises(DeviceError):
        driver.read()
    driver.close()
    opened(driver, meter)
    meter.send(sent[-10:] + sent)
    assert driver.read()[0].watts == WATTS[driver_class]


@drivers
def test_a_register_that_was_cleared_is_told_as_it_is(driver_class, meter, make):
    cleared = {
        Wattsup: WATTSUP_PACKET.replace(b",56789,", b",1,"),
        P1: telegram(TELEGRAM_LINES.replace(b"000123.456", b"000000.001").replace(b"000001.001", b"000000.000")),
        Sml: sml_frame(sml_entry("16.7.0", 27, -1, sml_signed(1_234)), sml_entry("1.8.0", 30, -1, sml_signed(10))),
    }
    driver = opened(make(driver_class, Clock(0.1)), meter)
    for sent, kwh in ((SENT[driver_class], KWH[driver_class]), (cleared[driver_class], CLEARED_KWH[driver_class])):
        meter.send(sent)
        assert driver.read()[0].kwh == kwh


@drivers
def test_a_port_that_is_not_there_is_an_os_error(driver_class, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        refused = f"socket://127.0.0.1:{server.getsockname()[1]}"
    for device in (str(tmp_path / "ttyUSB0"), refused):
        driver = driver_class("cellar.meter", {"device": device, "probes": ["house"], "line": "9600 8N1"})
        with pytest.raises(OSError, match=re.escape(device)):
            driver.open()
        driver.close()


def test_a_file_that_is_no_port_is_refused(tmp_path):
    path = tmp_path / "ttyUSB0"
    path.touch()
    with pytest.raises(OSError, match="Could not configure port"):
        SerialLine(str(path), "9600 8N1").open()


def test_a_local_port_is_opened_once():
    with closing(Pty()) as meter, closing(SerialLine(meter.device, "9600 7E1")) as first:
        first.open()
        with pytest.raises(
            DeviceError, match=f"^{meter.device}: another program uses it, perhaps kwapi-drivers; mute "
        ):
            SerialLine(meter.device, "9600 7E1").open()


def test_noise_without_end_fills_nothing(meter):
    clock = Clock(0.2)
    with closing(SerialLine(meter.device, "9600 8N1", clock=clock)) as line:
        line.open()
        meter.accept()
        clock.then = lambda: meter.send(b"<" + bytes(999))
        assert line.frames(FRAME, 4.0) == []
        assert f"but {LONGEST} bytes" in str(line.nothing("frame", 4.0))


class Modem(io.BytesIO):
    """The remote port of an RFC 2217 server: remembers what it is set to."""

    baudrate = bytesize = stopbits = 0
    parity = "?"
    rtscts = xonxoff = rts = dtr = cts = dsr = ri = cd = False

    def reset_input_buffer(self):
        """Forget what came in."""

    reset_output_buffer = reset_input_buffer


def serve_rfc2217(server, modem, sent, leave):
    """Serve one client: its settings go to the modem, then the bytes go to it, and then it is left when told."""
    connection, _ = server.accept()
    with connection:
        manager = serial.rfc2217.PortManager(modem, SimpleNamespace(write=connection.sendall))
        while received := connection.recv(1024):
            assert not list(manager.filter(received))
            if b"\x2c\x0c\x02" in received:  # purge what you would transmit: the last of what a client asks
                connection.sendall(b"".join(manager.escape(sent)))
                leave.wait(5)
                return


class StubbornModem(Modem):
    """One that keeps its speed."""

    baudrate = property(lambda self: 300, lambda self, speed: None)


@contextmanager
def rfc2217_line(modem, sent=b"", leave=None):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve_rfc2217, args=(server, modem, sent, leave), daemon=True)
        thread.start()
        with closing(SerialLine(f"rfc2217://127.0.0.1:{server.getsockname()[1]}", "9600 7E1")) as line:
            yield line
        thread.join(5)


old_fashioned = pytest.mark.filterwarnings(
    "ignore:set.* is deprecated:DeprecationWarning"
)  # how pyserial starts a thread


@old_fashioned
def test_a_server_that_speaks_rfc_2217_is_set_and_read():
    modem, leave = Modem(), threading.Event()
    with rfc2217_line(modem, b"<a\xff>", leave) as line:
        line.open()
        assert line.frames(FRAME, 5.0) == [b"<a\xff>"]
        assert (modem.baudrate, modem.bytesize, modem.parity, modem.stopbits) == (9600, 7, "E", 1)
        leave.set()
        with pytest.raises(DeviceError, match=line.device):
            line.frames(FRAME, 5.0)


@old_fashioned
def test_a_server_that_refuses_a_setting_is_told():
    with rfc2217_line(StubbornModem()) as line, pytest.raises(DeviceError, match=f"{line.device}: .*baudrate"):
        line.open()


def test_a_command_to_a_meter_that_is_gone_is_told():
    with closing(Pty()) as meter, closing(SerialLine(meter.device, "9600 8N1")) as line:
        line.open()
        meter.unplug()
        with pytest.raises(DeviceError, match=meter.device):
            line.write(b"#")


@pytest.mark.parametrize(
    ("device", "problem"),
    [
        ("/dev/ttyUSB0", None),
        ("/dev/serial/by-id/usb-FTDI_FT232R", None),
        ("socket://10.0.0.7:2001", None),
        ("socket://[fe80::1]:2001", None),
        ("rfc2217://server:2002", None),
        ("ttyUSB0", "no path and no URL"),
        ("", "no path and no URL"),
        ("tcp://server:2001", "no path and no URL"),
        ("socket://server", "lacks a host or a port"),
        ("socket://:2001", "lacks a host or a port"),
        ("socket://server:99999", "ort out of range"),
        ("socket://[::1:2001", "Invalid IPv6"),
    ],
)
def test_the_device_is_checked(device, problem):
    found = device_problem(device)
    assert found is None if problem is None else problem in found


@drivers
def test_one_meter_has_one_name_and_a_port(driver_class):
    sound = {"device": "/dev/ttyUSB0", "line": "9600 8N1", "probes": ["house"], "interval": 1.0}
    assert list(driver_class("cellar.meter", sound).problems()) == []
    wrong = sound | {"device": "COM1", "probes": ["house", "shed"]}
    assert [option for option, _ in driver_class("cellar.meter", wrong).problems()] == ["device", "probes"]
