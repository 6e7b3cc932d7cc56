"""Plugs of the first generation over TCP on loopback: what real ones answered, and faults."""

import base64
import json
import socket

import pytest

from kwapi.drivers.kasa.driver import Kasa
from kwapi.drivers.kasa.iot import decrypt, encrypt
from kwapi.drivers.kasa.readings import REALTIME, parse_readings
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.kasa.plugs import NOT_SUPPORTED, IotPlug, recording, scramble
from tests.drivers.serial_peers import Clock

DEFAULTS = {option.dest: option.default for option in Kasa.options} | {"host": "127.0.0.1", "interval": 1.0}
REALTIME_ANSWER = {"current_ma": 451, "voltage_mv": 230837, "power_mw": 61753, "total_wh": 16323, "err_code": 0}
HS110 = {"system": {"get_sysinfo": {"err_code": 0}}, "emeter": {"get_realtime": REALTIME_ANSWER}}
MEASURED = Measurement("rack", watts=61.753, volts=230.837, amps=0.451, kwh=16.323, level="outlet")


def make(port, probes=("rack",), clock=None, **options):
    clocks = {"monotonic_clock": clock} if clock else {}
    return Kasa("lyon.plug", {**DEFAULTS, "port": port, "probes": list(probes), **options}, **clocks)


def read(plug, probes=("rack",), **options):
    driver = make(plug.port, probes, **options)
    driver.open()
    return driver.read()


def expected_of(generation):
    """Return file and expected values of each recording of a generation of plugs."""
    entries = recording("expected.json")
    return {entry["file"]: entry["expected"] for entry in entries if entry["file"].startswith(generation)}


@pytest.mark.parametrize(
    ("sent", "text"),  # as many public scripts for the HS100 and the HS110 have them
    [
        ("0PDSt9q/y67c/sS/n73av8uU5oPijvqT/pu5g+2Y9Ji4xeWY", b'{ "emeter":{ "get_realtime":null } }'),
        ("0PDSodir37rX9c+0lLbRtMCf7JXmj+GH6MrwnuuH68u2lus=", b'{ "system":{ "get_sysinfo":null } }'),
        ("0PKB+Iv/mvfV75S2xaDUi/mc8JHot8Sw0aXA4tijgfKG55P21O7fot+i", b'{"system":{"set_relay_state":{"state":1}}}'),
    ],
)
def test_each_byte_is_xored_with_the_one_sent_before_it(sent, text):
    assert decrypt(base64.b64decode(sent)) == text
    assert encrypt(text) == base64.b64decode(sent)
    assert encrypt(b"") == decrypt(b"") == b""


def test_recorded_plugs_measure_what_they_should():
    compared = 0
    for file, expected in expected_of("iot_").items():
        recorded = recording(file)
        names = ["a", "b", "c", "d", "e", "f"] if "HS300" in file else ["a"]
        with IotPlug(recorded) as plug:
            if expected == {"supported": False}:
                with pytest.raises(DeviceError, match="it has no energy meter: .*'module not support'"):
                    read(plug, names)
                compared += 1
                continue
            for name, measurement in zip(names, read(plug, names), strict=True):
                assert measurement == Measurement(
                    name,
                    watts=expected["power_w"],
                    volts=expected["voltage_v"],
                    amps=expected["current_a"],
                    kwh=expected["energy_wh"] / 1000,
                    level="outlet",
                )
        compared += 4
    assert compared == 13


def test_the_outlets_of_a_strip_are_asked_one_by_one_and_an_empty_name_skips_one():
    children = [{"id": "8006A00"}, {"id": "01"}, {"id": "8006A02"}]
    sysinfo = {"deviceId": "8006A", "children": children, "err_code": 0}
    with IotPlug({"system": {"get_sysinfo": sysinfo}, "emeter": {}}) as strip:
        for place, watts in enumerate((10, 20, 30)):
            strip.readings[f"8006A0{place}"] = {"power_mw": watts * 1000, "err_code": 0}
        assert read(strip, ["web", "db"]) == [
            Measurement("web", watts=10.0, level="outlet"),
            Measurement("db", watts=20.0, level="outlet"),
        ]
        assert read(strip, ["", "", "mail"]) == [Measurement("mail", watts=30.0, level="outlet")]
        with pytest.raises(DeviceError, match=r"127.0.0.1:\d+ has 3 outlets for 4 names"):
            read(strip, list("abcd"))


@pytest.mark.parametrize(
    ("answer", "values"),
    [
        ({}, {}),
        ({"power": 0, "total": 0.001}, {"watts": 0.0, "kwh": 0.001}),
        ({"power_mw": 1, "total_wh": 1}, {"watts": 0.001, "kwh": 0.001}),
        ({"power_mw": None, "voltage_mv": "x", "current_ma": True, "total_wh": float("nan")}, {}),
        ({"power_mw": -1, "total_wh": -1, "power": float("inf"), "total": 10**400}, {}),
    ],
)
def test_what_is_no_number_or_below_zero_is_unknown(answer, values):
    assert parse_readings(answer, REALTIME) == values


NO_POWER = json.dumps({"emeter": {"get_realtime": {"err_code": 0}}}).encode()


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (None, "has not answered in time"),
        (b"\0\0...", "has not answered in time"),
        (b"\0\0\0\x40\xd0\xf2...", "has not answered in time"),
        (b"", "closed the connection after 0 of 4 bytes"),
        (b"\0\0\0", "closed the connection after 3 of 4 bytes"),
        (scramble(NO_POWER)[:20], "closed the connection after 16 of 45 bytes"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "announces 1213486160 bytes; it is no Kasa plug"),
        (b"\xff\xff\xff\xff", "announces 4294967295 bytes"),
        (b"\0\0\0\0", "sends no JSON but b''"),
        (b"\0\0\0\x04\x00\xff\x12\x34", "sends no JSON but b"),
        (scramble(b"[" * 60_000), "sends no JSON but b"),
        (scramble(b"[]"), r"answers \[\]"),
        (scramble(b"{}"), "answers None"),
        (scramble(b'{"emeter": {"get_realtime": 5}}'), "answers 5"),
        (scramble(NO_POWER), "tells neither power nor energy of rack"),
        (scramble(json.dumps({"emeter": NOT_SUPPORTED}).encode()), "it has no energy meter"),
        (scramble(b'{"emeter": {"get_realtime": {"err_code": -3}}}'), "get_realtime is answered {'err_code': -3}"),
    ],
)
def test_an_unusable_answer_is_an_error_and_the_next_poll_goes_on(sent, problem):
    with IotPlug(HS110) as plug:
        driver = make(plug.port)
        driver.open()
        driver.timeout = 0.1 if sent is None or sent.endswith(b"...") else 5.0
        plug.mangle = lambda answer: sent
        with pytest.raises(DeviceError, match=rf"^127.0.0.1:{plug.port}:? .*{problem}"):
            driver.read()
        plug.mangle = lambda answer: answer
        driver.timeout = 5.0
        assert driver.read() == [MEASURED]


@pytest.mark.parametrize("children", [5, "ab", [5], {"id": "x"}])
def test_a_list_of_outlets_that_is_none_is_an_error(children):
    with IotPlug({"system": {"get_sysinfo": {"children": children}}}) as plug:
        with pytest.raises(DeviceError, match="answers "):
            read(plug)


def test_all_outlets_together_have_one_deadline():
    clock = Clock()
    sysinfo = {"children": [{"id": "A"}, {"id": "B"}], "err_code": 0}
    with IotPlug({"system": {"get_sysinfo": sysinfo}, "emeter": {"get_realtime": REALTIME_ANSWER}}) as strip:
        driver = make(strip.port, ["a", "b"], clock=clock, timeout=3.0)
        driver.open()
        clock.step = 0.7  # goes on at the start, at each connection, at what is sent and what is received
        with pytest.raises(DeviceError, match="has not answered in time"):
            driver.read()


def test_a_plug_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DeviceError, match=rf"127.0.0.1:{port}: .*refused"):
        make(port).open()


def test_a_register_that_was_cleared_is_told_as_it_is():
    with IotPlug({**HS110, "emeter": {"get_realtime": dict(REALTIME_ANSWER)}}) as plug:
        driver = make(plug.port)
        driver.open()
        assert driver.read() == [MEASURED]
        plug.recorded["emeter"]["get_realtime"]["total_wh"] = 2
        assert driver.read()[0].kwh == 0.002


def test_a_plug_that_rebooted_answers_the_next_poll():
    with IotPlug(HS110) as plug:
        driver, port = make(plug.port), plug.port
        driver.open()
    with pytest.raises(DeviceError, match="refused"):
        driver.read()
    with IotPlug(HS110, port) as plug:
        assert driver.read() == [MEASURED]


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        ({}, []),
        ({"protocol": "smart", "user": "ann@example.org", "password": "hunter2"}, []),
        (
            {"protocol": "smart"},
            [
                ("user", "is empty, and protocol = smart needs it"),
                ("password", "is empty, and protocol = smart needs it"),
            ],
        ),
        ({"user": "ann"}, [("user", "is for protocol = smart only")]),
        ({"password": "hunter2"}, [("password", "is for protocol = smart only")]),
    ],
)
def test_mistakes_of_a_section_are_told(options, problems):
    assert list(make(1, **options).problems()) == problems
