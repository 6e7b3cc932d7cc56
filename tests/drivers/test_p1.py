import json
import logging
from contextlib import closing
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwapi.drivers.p1 import FRAME, P1, measure, parse_probe, parse_telegram
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.recordings import recordings_root
from tests.drivers.serial_peers import TELEGRAM_LINES, Clock, Pty, telegram

PHASE_LINES = (
    b"1-0:32.7.0(231.4*V)\r\n1-0:31.7.0(002*A)\r\n1-0:21.7.0(00.123*kW)\r\n1-0:22.7.0(00.000*kW)\r\n"
    b"1-0:52.7.0(229.9*V)\r\n1-0:51.7.0(001.5*A)\r\n1-0:41.7.0(00.000*kW)\r\n1-0:42.7.0(00.321*kW)\r\n"
)
UNCHECKED = TELEGRAM_LINES.replace(b"1-3:0.2.8(50)\r\n", b"") + b"!\r\n"
ENCRYPTED = b"\xdb\x08SAG\x67\x45\x00\x00\x01\x82\x01\xf0\x30\x00\x00\x00\x2a" + bytes(range(256))
NAMES = {  # of a recording's values: probe, attribute of a measurement, how many of our units make one of them
    "CURRENT_ELECTRICITY_USAGE": ("house", "watts", 1000),
    "CURRENT_ELECTRICITY_DELIVERY": ("house@export", "watts", 1000),
    "ELECTRICITY_USED_TARIFF_1": ("house", "kwh", 1),
    "ELECTRICITY_USED_TARIFF_2": ("house", "kwh", 1),
    "ELECTRICITY_DELIVERED_TARIFF_1": ("house@export", "kwh", 1),
    "ELECTRICITY_DELIVERED_TARIFF_2": ("house@export", "kwh", 1),
}
for line in ("L1", "L2", "L3"):
    NAMES |= {
        f"INSTANTANEOUS_ACTIVE_POWER_{line}_POSITIVE": (line, "watts", 1000),
        f"INSTANTANEOUS_ACTIVE_POWER_{line}_NEGATIVE": (f"{line}@export", "watts", 1000),
        f"INSTANTANEOUS_VOLTAGE_{line}": (line, "volts", 1),
        f"INSTANTANEOUS_CURRENT_{line}": (line, "amps", 1),
    }


def with_line(line):
    """Return a telegram with one more line, or another for one it has."""
    obis = line.partition(b"(")[0]
    kept = [each for each in TELEGRAM_LINES.splitlines(keepends=True) if not each.startswith(obis)]
    return telegram(b"".join(kept) + line + b"\r\n")


def without(obis):
    return telegram(b"".join(each for each in TELEGRAM_LINES.splitlines(keepends=True) if obis not in each))


def measured(sent):
    return measure("house", "", parse_telegram(sent))


def test_a_telegram_is_what_flows_in_and_what_flows_out():
    assert measured(telegram()) == [
        Measurement("house", watts=123.0, kwh=124.457),
        Measurement("house@export", watts=0.0, kwh=7.25),
    ]


def test_a_telegram_before_dsmr_4_has_no_crc():
    assert measured(UNCHECKED) == measured(telegram())


def test_phases_have_voltage_and_current_and_what_flows_out_of_them():
    values = parse_telegram(telegram(TELEGRAM_LINES + PHASE_LINES))
    assert measure("a", "L1", values) == [
        Measurement("a", watts=123.0, volts=231.4, amps=2.0, level="phase"),
        Measurement("a@export", watts=0.0, level="phase"),
    ]
    assert measure("b", "L2", values)[1] == Measurement("b@export", watts=321.0, level="phase")
    assert measure("c", "L3", values) == []


@pytest.mark.parametrize(
    ("sent", "kwh"),
    [
        (with_line(b"1-0:1.8.0(000500.000*kWh)"), 500.0),
        (without(b":1.8.1("), None),
        (without(b":1.8.2("), None),
        (with_line(b"1-0:1.8.2()"), None),
        (with_line(b"1-0:1.8.2(000000.000*kWh)"), 123.456),
    ],
)
def test_the_register_is_the_total_or_all_tariffs_and_never_a_part(sent, kwh):
    assert measured(sent)[0].kwh == kwh


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (telegram().replace(b"00.123*kW", b"00.923*kW"), "CRC error"),
        (telegram()[:-6] + b"0000\r\n", "CRC error"),
        (telegram()[:-6] + b"\r\n", "CRC of ''"),
        (telegram()[:-4] + b"\r\n", "CRC of"),
        (telegram()[:-6] + b"12G4\r\n", "CRC of '12G4'"),
        (with_line(b"1-0:1.7.0(00.1x3*kW)"), "malformed telegram: InvalidOperation"),
        (with_line(b"1-0:1.7.0(NaN*kW)"), "malformed telegram: CURRENT_ELECTRICITY_USAGE is NaN kW"),
        (with_line(b"1-0:1.7.0(00.123*kVA)"), "is 0.123 kVA"),
        (with_line(b"1-0:1.7.0(00.123)"), "is 0.123 None"),
        (with_line(b"1-0:1.7.0(1*2*kW)"), "malformed telegram: ValueError"),
        (with_line(b"1-0:1.7.0(00.123*kW)(5)"), "malformed telegram: ParseError"),
    ],
)
def test_a_broken_telegram_is_refused(sent, problem):
    with pytest.raises(DeviceError, match=problem):
        parse_telegram(sent)


@settings(deadline=None)
@given(st.integers(0, len(telegram()) - 1), st.binary(max_size=3))
def test_whatever_the_line_does_to_a_telegram_its_values_stay_true(place, noise):
    sent = telegram()[:place] + noise + telegram()[place + len(noise) :]
    for frame in FRAME.findall(sent):
        try:
            values = parse_telegram(frame)
        except DeviceError:
            continue
        assert values == parse_telegram(telegram())


@pytest.mark.parametrize(
    ("name", "count"), [("v2_2", 6), ("v4_2", 15), ("v5", 18), ("v5_two_mbus", 18), ("fluvius_v171", 18)]
)
def test_a_recorded_telegram_is_read_as_it_should_be(name, count):
    directory = recordings_root() / "p1"
    sent = (directory / f"telegram_{name}.txt").read_bytes()
    assert FRAME.findall(sent) == [sent]
    expected: dict[tuple[str, str], Decimal] = {}
    recorded = json.loads((directory / "expected" / f"telegram_{name}.json").read_text("utf-8"))["values"]
    known = recorded.keys() & NAMES.keys()
    for key in known:
        probe, attribute, factor = NAMES[key]
        add = Decimal(repr(recorded[key]["value"])) * factor
        expected[probe, attribute] = expected.get((probe, attribute), Decimal()) + add
    values = parse_telegram(sent)
    places = [("house", ""), *((line, line) for line in ("L1", "L2", "L3"))]
    found = {
        (each.probe, attribute): getattr(each, attribute)
        for place in places
        for each in measure(*place, values)
        for attribute in ("watts", "volts", "amps", "kwh")
        if getattr(each, attribute) is not None
    }
    assert found == {key: float(value) for key, value in expected.items()}
    assert len(known) == count


@pytest.mark.parametrize(
    ("name", "place"), [("house", ("house", "")), ("l1@phase.1", ("l1", "L1")), ("a@phase.3", ("a", "L3"))]
)
def test_a_name_may_say_which_phase(name, place):
    assert parse_probe(name) == place


def make(**values):
    values = {"device": "/dev/ttyUSB0", "line": "115200 8N1", "probes": ["house"], "interval": 1.0, **values}
    return P1("cellar.meter", values, monotonic_clock=values.pop("clock", Clock(1.0)))


@pytest.mark.parametrize(
    ("probes", "problems"),
    [
        (["house", "", "l1@phase.1", "l2@phase.2"], []),
        (["l3@phase.3"], []),
        (["house", "shed"], ["name the meter twice"]),
        (["a@phase.1", "b@phase.1"], ["name L1 twice"]),
        (["a@phase.4"], ["'a@phase.4': 'phase.4' is none of phase.1, phase.2, phase.3"]),
        (["a@export"], ["'a@export': 'export' is none of phase.1, phase.2, phase.3"]),
    ],
)
def test_wrong_names_are_told(probes, problems):
    assert list(make(probes=probes).problems()) == [("probes", problem) for problem in problems]


def test_every_name_has_its_export():
    names = make(probes=["house", "", "l1@phase.1"]).probe_names()
    assert names == ["house", "house@export", "l1", "l1@export"]


@pytest.fixture
def meter():
    with closing(Pty()) as meter:
        yield meter


@pytest.fixture
def opened(meter):
    """Return a driver of the meter, open; its clock goes on a second each time it is read."""
    drivers = []

    def opened(**values):
        drivers.append(make(device=meter.device, **values))
        drivers[-1].open()
        return drivers[-1]

    yield opened
    for driver in drivers:
        driver.close()


def test_names_are_measured_in_their_order(meter, opened):
    driver = opened(probes=["", "l2@phase.2", "house"])
    meter.send(telegram(TELEGRAM_LINES + PHASE_LINES))
    assert [each.probe for each in driver.read()] == ["l2", "l2@export", "house", "house@export"]


def test_a_telegram_without_what_was_asked_for_is_told(meter, opened):
    driver = opened(probes=["l3@phase.3"])
    meter.send(telegram())
    with pytest.raises(DeviceError, match=f"{meter.device}: telegram without power or energy"):
        driver.read()


def test_a_crc_error_is_told_with_the_device(meter, opened):
    driver = opened()
    meter.send(telegram().replace(b"00.123", b"00.124"))
    with pytest.raises(DeviceError, match=f"{meter.device}: telegram with a CRC error"):
        driver.read()


def test_an_encrypted_telegram_is_told_at_once(meter, opened):
    driver = opened()
    meter.send(b"\x7e" + ENCRYPTED)
    with pytest.raises(DeviceError, match=f"{meter.device}: the meter encrypts"):
        driver.read()


def test_between_the_telegrams_of_a_slow_meter_there_is_nothing_new(meter, opened):
    clock = Clock(0.4)
    driver = opened(clock=clock, line="9600 7E1")
    meter.send(UNCHECKED)
    assert driver.read()[0].watts == 123.0
    for _ in range(3):
        assert driver.read() == []
    meter.send(UNCHECKED.replace(b"00.123", b"00.124"))
    assert driver.read()[0].watts == 124.0
    clock.now, clock.step = clock.now + 25, 2.0
    with pytest.raises(DeviceError, match="no telegram in 8 s"):
        driver.read()


def test_a_slow_meter_that_failed_is_not_back_before_a_telegram_is_sound(meter, opened):
    driver = opened(clock=Clock(2.0), interval=10.0)
    for sent in (telegram().replace(b"00.123", b"00.124"), b""):
        meter.send(sent)
        with pytest.raises(DeviceError, match="CRC error" if sent else "no telegram in 12 s"):
            driver.read()
        driver.close()
        driver.open()
    meter.send(telegram())
    assert driver.read()[0].watts == 123.0


@pytest.mark.parametrize(("interval", "seconds"), [(1.0, 8), (10.0, 12), (600.0, 15)])
def test_a_silent_meter_is_waited_for_as_long_as_its_interval_allows(opened, interval, seconds):
    with pytest.raises(DeviceError, match=f"no telegram in {seconds} s"):
        opened(interval=interval, clock=Clock(5.0)).read()


def test_a_telegram_that_comes_once_more_is_no_news(meter, opened):
    driver = opened()
    meter.send(telegram())
    assert driver.read()
    meter.send(telegram())
    assert driver.read() == []


def test_a_telegram_without_a_time_of_its_own_may_look_like_the_one_before(meter, opened):
    undated = UNCHECKED.replace(b"0-0:1.0.0(261122040506W)\r\n", b"")
    driver = opened()
    for _ in range(2):
        meter.send(undated)
        assert driver.read()[0].watts == 123.0


def test_a_malformed_telegram_is_raised_and_not_logged_as_well(caplog):
    with caplog.at_level(logging.ERROR, "dsmr_parser"):  # so that it is as before in the end
        P1.close_shared(P1.open_shared())
        with pytest.raises(DeviceError):
            parse_telegram(with_line(b"1-0:1.7.0(00.1x3*kW)"))
    assert caplog.records == []
