import json
from contextlib import closing

import pytest

from kwapi.drivers.wattsup import START, Wattsup, parse_packet
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.recordings import recordings_root
from tests.drivers.serial_peers import WATTSUP_PACKET, Clock, Pty

QUANTITIES = {  # of the recordings: attribute of a measurement, and how many of its units make one of ours
    "W": ("watts", 1),
    "V": ("volts", 1),
    "A": ("amps", 1),
    "WH": ("kwh", 1000),
    "PF": ("power_factor", 1),
    "Hz": ("hertz", 1),
    "VA": ("volt_amperes", 1),
}


def packet(*arguments):
    """Return a data packet with these first arguments, and the others off."""
    return f"#d,-,18,{','.join([*arguments, *['_'] * (18 - len(arguments))])};".encode()


@pytest.mark.parametrize(
    ("sent", "values"),
    [
        (packet("1234"), {"watts": 123.4}),
        (packet("0", "2301", "0"), {"watts": 0.0, "volts": 230.1, "amps": 0.0}),
        (packet("_", "_", "_", "2398800000"), {"kwh": 239880.0}),
        (packet("_", "_", "_", "1"), {"kwh": 0.0001}),
        (packet(), {}),
        (
            WATTSUP_PACKET,
            {
                "watts": 123.4,
                "volts": 230.1,
                "amps": 0.54,
                "kwh": 5.6789,
                "power_factor": 0.99,
                "hertz": 50.0,
                "volt_amperes": 124.2,
            },
        ),
    ],
)
def test_a_packet_is_its_fields_in_our_units(sent, values):
    assert parse_packet(sent) == values


@pytest.mark.parametrize(
    "sent",
    [
        b"#d,;",
        b"#d,-,18;",
        b"#d,-,18,965,1204;",
        b"#d,-,17" + packet("965")[7:-3] + b";",
        packet("965")[:-1] + b",_;",
        packet("-5"),
        packet("96.5"),
        packet(" 965"),
        packet(""),
        packet("9\xb25"),
        packet("9_65"),
    ],
)
def test_a_malformed_packet_is_refused_and_shown(sent):
    with pytest.raises(DeviceError, match="malformed data packet b'#d,"):
        parse_packet(sent)


def test_recorded_packets_are_what_they_should_be():
    entries = json.loads((recordings_root() / "serial" / "wattsup" / "expected.json").read_text("utf-8"))
    for entry in entries:
        expected = {name: entry["expected"][key] / divisor for key, (name, divisor) in QUANTITIES.items()}
        assert parse_packet(entry["line"].encode()) == expected
    assert len(entries) == 3


@pytest.fixture
def meter():
    with closing(Pty()) as meter:
        yield meter


@pytest.fixture
def driver(meter):
    values = {"device": meter.device, "probes": ["rack"], "interval": 1.0}
    with closing(Wattsup("rack.meter", values, monotonic_clock=Clock(1.0))) as driver:
        yield driver


def test_the_meter_is_told_to_push_and_keeps_its_memory(driver, meter):
    driver.open()
    meter.send(packet("965"))
    driver.read()
    assert meter.received(1000) == START == b"#L,W,3,E,0,1;"


def test_a_meter_that_lost_its_power_is_told_again(driver, meter):
    driver.open()
    with pytest.raises(DeviceError, match="no data packet in 5 s"):
        driver.read()
    assert meter.received(1000) == 2 * START
    driver.close()
    driver.open()
    assert meter.received(1000) == START
    meter.send(packet("965"))
    assert driver.read() == [Measurement("rack", watts=96.5)]


def test_the_register_comes_with_its_modulus(driver, meter):
    driver.open()
    meter.send(packet("965", "_", "_", "20"))
    assert driver.read() == [Measurement("rack", watts=96.5, kwh=0.002, kwh_wrap=239_880.0)]


def test_other_packets_are_passed_over(driver, meter):
    driver.open()
    meter.send(b"#h,-,18,W,V,A,WH,Cost,WH/Mo,Cost/Mo,Wmax,Vmax,Amax,Wmin,Vmin,Amin,PF,DC,PC,Hz,VA;")
    meter.send(packet("965") + b"#v,-,8,0,1,2,3,4,5,6,7;")
    assert driver.read()[0].watts == 96.5


@pytest.mark.parametrize(
    ("sent", "problem"),
    [(packet("_", "2301"), "logs neither power nor energy"), (packet("x"), "malformed data packet")],
)
def test_a_packet_of_no_use_is_told_with_the_device(driver, meter, sent, problem):
    driver.open()
    meter.send(sent)
    with pytest.raises(DeviceError, match=f"{meter.device}: .*{problem}"):
        driver.read()
