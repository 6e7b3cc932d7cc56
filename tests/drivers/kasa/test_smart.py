"""Plugs of the second generation over HTTP and KLAP on loopback: what real ones answered, and faults."""

import socket

import pytest

from kwapi.drivers.kasa.driver import Kasa
from kwapi.drivers.kasa.klap import Session
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.drivers.kasa.plugs import PASSWORD, USER, SmartPlug, recording
from tests.drivers.kasa.test_iot import DEFAULTS, expected_of
from tests.drivers.serial_peers import Clock

SMART = {**DEFAULTS, "protocol": "smart", "user": USER, "password": PASSWORD}
EMETER = {"power_mw": 38617, "voltage_mv": 119299, "current_ma": 335, "energy_wh": 23}
P110 = {"component_nego": {"component_list": []}, "get_emeter_data": EMETER}
MEASURED = Measurement("rack", watts=38.617, volts=119.299, amps=0.335, kwh=0.023, level="outlet")
STRIP = [{"id": "child_device", "ver_code": 2}]


def make(port, probes=("rack",), clock=None, **options):
    clocks = {"monotonic_clock": clock} if clock else {}
    return Kasa("lyon.plug", {**SMART, "port": port, "probes": list(probes), **options}, **clocks)


def read(plug, probes=("rack",), **options):
    driver = make(plug.port, probes, **options)
    driver.open()
    return driver.read()


def without(recorded, *methods):
    """Return a recording in which the plug does not know these methods."""
    children = {
        child: {method: answer for method, answer in answers.items() if method not in methods}
        for child, answers in recorded.get("child_devices", {}).items()
    }
    return {method: answer for method, answer in recorded.items() if method not in methods} | {
        "child_devices": children
    }


def test_recorded_plugs_measure_what_they_should():
    compared = 0
    for file, expected in expected_of("smart_").items():
        with SmartPlug(recording(file)) as plug:
            [measurement] = read(plug)
        assert measurement.watts == expected["power_w"]
        assert measurement.kwh == (None if expected["energy_wh"] is None else expected["energy_wh"] / 1000)
        compared += 2
        with SmartPlug(without(recording(file), "get_emeter_data", "get_energy_usage")) as plug:
            if expected["get_current_power_w"] is None:
                with pytest.raises(DeviceError, match="has no energy meter: none of get_emeter_data, "):
                    read(plug)
            else:
                assert read(plug) == [Measurement("rack", watts=float(expected["get_current_power_w"]), level="outlet")]
        compared += 1
    assert compared == 12


def test_a_recorded_strip_has_the_power_of_each_outlet():
    recorded = recording("smart_P316M(US)_1.6_1.0.5.json")
    with SmartPlug(recorded) as strip:
        strip.page_size = 4
        measurements = read(strip, ["a", "b", "c", "d", "e", "f"])
        assert strip.methods.count("get_child_device_list") == 2
    assert [(each.watts, each.volts, each.amps, each.kwh) for each in measurements] == [
        (0.0, 120.209, 0.0, 0.0),
        (0.0, 120.118, 0.0, 0.0),
        (38.617, 119.299, 0.335, 0.023),
        (1.999, 119.801, 0.085, 0.0),
        (0.0, 120.047, 0.0, 0.0),
        (0.0, 119.868, 0.0, 0.0),
    ]
    with SmartPlug(without(recorded, "get_emeter_data")) as strip:  # of get_energy_usage a child tells no power
        watts = [each.watts for each in read(strip, ["a", "b", "c", "d", "e", "f"])]
    assert watts == [0.0, 0.0, 38.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("answers", "measured"),
    [
        ({"get_energy_usage": {"current_power": 38617, "today_energy": 23}, "get_current_power": {}}, 38.617),  # mW
        ({"get_energy_usage": {"today_energy": 23}, "get_current_power": {"current_power": 38}}, 38.0),  # W
        ({"get_emeter_data": {"energy_wh": 5}, "get_current_power": {"current_power": 38}}, 38.0),
    ],
)
def test_the_unit_of_the_power_hangs_on_the_method_and_energy_of_today_is_no_register(answers, measured):
    with SmartPlug({"component_nego": {"component_list": []}, **answers}) as plug:
        assert read(plug) == [Measurement("rack", watts=measured, level="outlet")]


def test_outlets_are_in_the_order_of_their_positions_and_an_empty_name_skips_one():
    listed = [{"device_id": "B", "position": 2}, {"device_id": "A", "position": 1}]
    recorded = {
        "component_nego": {"component_list": STRIP},
        "get_child_device_list": {"child_device_list": listed},
        "child_devices": {"A": {"get_emeter_data": {"power_mw": 1000}}, "B": {"get_emeter_data": {"power_mw": 2000}}},
    }
    with SmartPlug(recorded) as strip:
        assert [each.watts for each in read(strip, ["a", "b"])] == [1.0, 2.0]
        assert read(strip, ["", "b"]) == [Measurement("b", watts=2.0, level="outlet")]
        with pytest.raises(DeviceError, match="has 2 outlets for 3 names"):
            read(strip, ["a", "b", "c"])


def test_a_session_serves_many_polls():
    with SmartPlug(P110) as plug:
        driver = make(plug.port)
        driver.open()
        for _ in range(3):
            assert driver.read() == [MEASURED]
    assert plug.pages == ["handshake1", "handshake2", *["request"] * 5]


def test_a_plug_that_forgot_the_session_by_a_reboot_gets_a_new_one():
    with SmartPlug(P110) as plug:
        driver = make(plug.port)
        driver.open()
        plug.reboot()
        plug.pages.clear()
        assert driver.read() == [MEASURED]
    assert plug.pages == ["request", "handshake1", "handshake2", "request"]


@pytest.mark.parametrize("wrong", [{"user": "Ann@example.org"}, {"password": "hunter3"}])
def test_wrong_credentials_are_told_apart_and_not_shown(wrong):
    with SmartPlug(P110) as plug:
        with pytest.raises(CredentialsRefused, match="has another user or password") as raised:
            read(plug, **wrong)
    assert plug.pages == ["handshake1"], "nothing is asked after that"
    assert "hunter" not in str(raised.value) and "nn@" not in str(raised.value)


HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("page", "sent", "problem"),
    [
        ("handshake1", None, "has not answered in time"),
        ("handshake1", b"HTTP/1.1 2...", "has not answered in time"),
        ("handshake1", b"", "Remote end closed connection without response"),
        ("handshake1", b"\xff" * 100, r"answers no HTTP: BadStatusLine\('ÿÿÿ"),
        ("handshake1", b"x" * 70_000, "answers no HTTP: LineTooLong"),
        ("handshake1", b"HTTP/1.1 404 Not Found\r\n\r\n", "the handshake with 404 and 0 bytes; it may not speak KLAP"),
        ("handshake1", HTTP % 19 + b'{"error_code":1003}', "with 200 and 19 bytes; it may not speak KLAP"),
        ("handshake1", b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 and 0 bytes; is Third-Party Compatibility on"),
        ("handshake2", b"HTTP/1.1 403 Forbidden\r\n\r\n", "answers the second handshake with 403"),
        ("request", None, "has not answered in time"),
        ("request", HTTP % 48 + b"x" * 20 + b"...", "has not answered in time"),
        ("request", HTTP % 48 + b"x" * 20, "closed the connection 28 bytes before the end"),
        ("request", HTTP % 48 + b"x" * 48, "sends what cannot be decrypted: b'xxx"),
        ("request", HTTP % 7 + b"garbage", "sends what cannot be decrypted: b'garbage'"),
        ("request", HTTP % 0, "sends what cannot be decrypted: b''"),
        ("request", HTTP % 10**9 + b"x" * 100_000, "answers with more than 65536 bytes"),
        ("request", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "IncompleteRead"),
        ("request", b"HTTP/1.1 500 Oops\r\n\r\n", "answers a request with 500"),
    ],
)
def test_an_unusable_answer_is_an_error_and_the_next_poll_goes_on(page, sent, problem):
    with SmartPlug(P110) as plug:
        driver = make(plug.port)
        driver.open()
        driver.timeout = 0.1 if sent is None or sent.endswith(b"...") else 5.0
        if page != "request":
            plug.reboot()
        plug.mangle_page[page] = lambda answer: sent
        with pytest.raises(DeviceError, match=rf"^127.0.0.1:{plug.port}:? .*{problem}"):
            driver.read()
        plug.mangle_page.clear()
        driver.timeout = 5.0
        assert driver.read() == [MEASURED]


@pytest.mark.parametrize(
    ("recorded", "problem"),
    [
        ({}, "answers component_nego with error -1002"),
        ({"component_nego": []}, r"answers \[\]"),
        ({"component_nego": {"component_list": 5}}, "answers 5"),
        ({"component_nego": {"component_list": ["x"]}}, "answers 'x'"),
        ({"component_nego": {"component_list": []}}, "has no energy meter: none of get_emeter_data, get_energy_usage"),
        ({"component_nego": {"component_list": []}, "get_emeter_data": []}, r"answers \[\]"),
        ({"component_nego": {"component_list": STRIP}}, "answers get_child_device_list with error -1002"),
        (
            {"component_nego": {"component_list": STRIP}, "get_child_device_list": {"child_device_list": []}},
            "is a strip without outlets",
        ),
    ],
)
def test_a_device_that_is_no_meter_is_told(recorded, problem):
    with SmartPlug(recorded) as plug:
        with pytest.raises(DeviceError, match=problem):
            read(plug)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"error_code": -1010}, "has no energy meter"),
        ({"error_code": 0, "result": {"responseData": {"error_code": -1010}}}, "has no energy meter"),
        ({"error_code": 0, "result": {}}, "answers None"),
        ({"error_code": 0, "result": {"responseData": {"result": {"responses": []}}}}, "answers None"),
    ],
)
def test_an_outlet_that_is_not_answered_for_is_an_error(answer, problem):
    recorded = {
        "component_nego": {"component_list": STRIP},
        "get_child_device_list": {"child_device_list": [{"device_id": "A"}]},
    }
    with SmartPlug(recorded) as strip:
        usual = strip.answer_of
        strip.answer_of = lambda request: answer if request["method"] == "control_child" else usual(request)
        with pytest.raises(DeviceError, match=problem):
            read(strip)


def test_a_method_that_fails_later_is_an_error_and_a_register_that_was_cleared_is_told_as_it_is():
    with SmartPlug({**P110, "get_emeter_data": dict(EMETER)}) as plug:
        driver = make(plug.port)
        driver.open()
        plug.recorded["get_emeter_data"]["energy_wh"] = 0
        assert driver.read()[0].kwh == 0.0
        emeter = plug.recorded.pop("get_emeter_data")
        with pytest.raises(DeviceError, match="answers get_emeter_data with error -1002"):
            driver.read()
        plug.recorded["get_emeter_data"] = {"power_mw": None}
        with pytest.raises(DeviceError, match="tells neither power nor energy of rack"):
            driver.read()
        plug.recorded["get_emeter_data"] = emeter
        assert driver.read()[0].watts == 38.617


def test_all_answers_together_have_one_deadline():
    clock = Clock()
    with SmartPlug(P110) as plug:
        driver = make(plug.port, clock=clock, timeout=3.0)
        clock.step = 0.7
        with pytest.raises(DeviceError, match="has not answered in time"):
            driver.open()
    assert "request" not in plug.pages


def test_a_plug_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DeviceError, match=rf"127.0.0.1:{port}: .*refused"):
        make(port).open()


def test_the_number_of_a_request_goes_on_behind_the_largest():
    session = Session(bytes(16), bytes(16), bytes(32))
    session.number = 2**31 - 2
    session.encrypt(b"")
    assert session.number == 2**31 - 1
    session.encrypt(b"")
    assert session.number == -(2**31)
