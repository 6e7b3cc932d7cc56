import base64
import hashlib
import json
import logging
import re
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from kwapi.drivers.json.http import HttpJson
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.drivers.certificates import make_certificate
from tests.drivers.recordings import recordings_root

DEFAULTS = {option.dest: option.default for option in HttpJson.options}
SHELLY1 = {
    "meters": [
        {"power": 81.5, "is_valid": True, "timestamp": 1, "counters": [80.1, 0, 0], "total": 6000},
        {"power": 0, "is_valid": True, "total": 0},
    ],
}
SHELLY_3EM = {
    "emeters": [
        {"power": 51.1, "pf": 0.27, "current": 0.78, "voltage": 234.9, "total": 1686.2, "total_returned": 42},
        {"power": -155, "pf": -0.98, "current": 0.66, "voltage": 235.6, "total": 878.9, "total_returned": 4.1},
        {"power": 6.7, "is_valid": False, "total": 206.1, "total_returned": 0},
    ],
    "total_power": -97.2,
}
SHELLY_PRO_3EM = {
    "em:0": {
        "a_act_power": 485, "a_aprt_power": 490, "a_voltage": 230, "a_current": 2.1, "a_pf": 0.99, "a_freq": 50,
        "b_act_power": 20, "c_act_power": -10, "total_act_power": 495, "total_aprt_power": 520,
    },
    "emdata:0": {
        "a_total_act_energy": 100.5, "a_total_act_ret_energy": 0, "b_total_act_energy": 0, "b_total_act_ret_energy": 0,
        "c_total_act_energy": 0, "c_total_act_ret_energy": 7000, "total_act": 100.5, "total_act_ret": 7000,
    },
    "sys": {"uptime": 12},
}  # fmt: skip
SHELLY_PRO_EM = {
    "em1:0": {"id": 0, "current": 0.02, "voltage": 224.6, "act_power": 0.0, "aprt_power": 4.6, "pf": 0.0, "freq": 50.0},
    "em1data:0": {"id": 0, "total_act_energy": 6644.9, "total_act_ret_energy": 2595.26},
    "pm1:0": {"id": 0, "voltage": 230.0, "current": 0.1, "apower": 23.0, "freq": 50.1, "aenergy": {"total": 5.0}},
    "switch:0": {"id": 0, "output": True, "temperature": {"tC": 29.4}},
}
SONOFF_DUAL = {
    "StatusSNS": {
        "Time": "1970-01-01T00:00:10",
        "ENERGY": {
            "Total": [2.813, 0.254], "Power": [52, 5], "ApparentPower": [66, 10], "Factor": [0.79, 0.5],
            "Voltage": 235, "Current": [0.278, 0.044],
        },
    }
}  # fmt: skip


class Device(ThreadingHTTPServer):
    """A web server whose handler does what the test says."""

    daemon_threads = False  # so that closing it waits for every answer

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.behave = answer_json({})
        self.requests = []
        self.released = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Say nothing of clients that hang up, as ours does at its deadline."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self)
        self.server.behave(self)

    def log_message(self, *arguments):
        """Say nothing."""


def send(handler, status, body, *headers):
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def answer_json(document):
    return lambda handler: send(handler, 200, json.dumps(document).encode())


@contextmanager
def serving(device):
    thread = threading.Thread(target=device.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield device
    finally:
        device.released.set()
        device.shutdown()
        device.server_close()
        thread.join()


@pytest.fixture
def device():
    with serving(Device()) as device:
        yield device


def driver(url, *probes, **values):
    values = {**DEFAULTS, "url": url, "probes": list(probes), "interval": 1.0, "timeout": 5.0, **values}
    return HttpJson("plug", values)


def read_once(url, *probes, **values):
    meter = driver(url, *probes, **values)
    meter.open()
    try:
        return meter.read()
    finally:
        meter.close()


@pytest.mark.parametrize(
    "profile, page, document, measurements",
    [
        (
            "shelly1",
            "/status",
            SHELLY1,
            [
                Measurement("a", watts=81.5, kwh=0.1, level="outlet"),
                Measurement("b", watts=0, kwh=0, level="outlet"),
            ],
        ),
        (
            "shelly1",
            "/status",
            SHELLY_3EM,
            [
                Measurement("a", watts=51.1, volts=234.9, amps=0.78, power_factor=0.27, kwh=1.6862, level="phase"),
                Measurement("a@export", watts=0, kwh=0.042, level="phase"),
                Measurement("b", watts=0, volts=235.6, amps=0.66, power_factor=-0.98, kwh=0.8789, level="phase"),
                Measurement("b@export", watts=155, kwh=0.0041, level="phase"),
            ],
        ),
        (
            "shelly2",
            "/rpc/Shelly.GetStatus",
            SHELLY_PRO_3EM,
            [
                Measurement("a", watts=495, volt_amperes=520, kwh=0.1005, level="inlet"),
                Measurement("a@export", watts=0, kwh=7, level="inlet"),
                Measurement(
                    "b",
                    watts=485,
                    volt_amperes=490,
                    volts=230,
                    amps=2.1,
                    power_factor=0.99,
                    hertz=50,
                    kwh=0.1005,
                    level="phase",
                ),
                Measurement("b@export", watts=0, kwh=0, level="phase"),
                Measurement("c", watts=20, kwh=0, level="phase"),
                Measurement("c@export", watts=0, kwh=0, level="phase"),
                Measurement("d", watts=0, kwh=0, level="phase"),
                Measurement("d@export", watts=10, kwh=7, level="phase"),
            ],
        ),
        (
            "shelly2",
            "/rpc/Shelly.GetStatus",
            SHELLY_PRO_EM,
            [
                Measurement("a", watts=23, volts=230, amps=0.1, hertz=50.1, kwh=0.005, level="outlet"),
                Measurement(
                    "b",
                    watts=0,
                    volt_amperes=4.6,
                    volts=224.6,
                    amps=0.02,
                    power_factor=0,
                    hertz=50,
                    kwh=6.6449,
                    level="outlet",
                ),
                Measurement("b@export", watts=0, kwh=2.59526, level="outlet"),
            ],
        ),
        (
            "tasmota",
            "/cm?cmnd=Status%208",
            SONOFF_DUAL,
            [
                Measurement("a", watts=57, volt_amperes=76, volts=235, kwh=3.067),
                Measurement("b", watts=52, volt_amperes=66, amps=0.278, power_factor=0.79, kwh=2.813, level="phase"),
                Measurement("c", watts=5, volt_amperes=10, amps=0.044, power_factor=0.5, kwh=0.254, level="phase"),
            ],
        ),
    ],
)
def test_channels_become_probes_in_order(device, profile, page, document, measurements):
    device.behave = answer_json(document)
    probes = dict.fromkeys(measurement.probe.partition("@")[0] for measurement in measurements)
    read = read_once(device.url, *probes, profile=profile)
    assert [request.path for request in device.requests] == [page, page]
    assert read == [approximately(measurement) for measurement in measurements]


class approximately:  # noqa: N801 -- reads as a word, as pytest.approx does
    """Equals a measurement whose numbers are equal but for rounding."""

    def __init__(self, expected):
        self.expected = {name: getattr(expected, name) for name in Measurement.__slots__}

    def __eq__(self, measured):
        return all(
            getattr(measured, name) == (pytest.approx(value) if isinstance(value, float) else value)
            for name, value in self.expected.items()
        )

    def __repr__(self):
        return repr(self.expected)


def test_an_empty_name_skips_a_channel(device):
    device.behave = answer_json(SHELLY1)
    assert [each.probe for each in read_once(device.url, "", "b", profile="shelly1")] == ["b"]


def test_more_names_than_channels_are_an_error_that_counts_them(device):
    device.behave = answer_json(SHELLY1)
    with pytest.raises(DeviceError, match="has 2 channels with power for 3 names"):
        read_once(device.url, "a", "b", "c", profile="shelly1")


def test_a_channel_that_vanishes_does_not_shift_the_others(device):
    device.behave = answer_json({"switch:0": {"apower": 1}, "switch:1": {"apower": 2}})
    meter = driver(device.url, "a", "b", profile="shelly2")
    meter.open()
    device.behave = answer_json({"switch:1": {"apower": 3}})
    assert meter.read() == [Measurement("b", watts=3, level="outlet")]
    device.behave = answer_json({})
    with pytest.raises(DeviceError, match="without a usable value"):
        meter.read()
    meter.close()


def test_paths_of_the_configuration_read_any_device(device):
    device.behave = answer_json({"sensors": [{"p": 120, "e": 3600}, {"p": "7.5", "e": 0}]})
    read = read_once(f"{device.url}/api?all=1", "a", "b", w="sensors[*].p W", kwh="sensors[*].e J", level="bank")
    assert device.requests[0].path == "/api?all=1"
    assert read == [
        approximately(Measurement("a", watts=120, kwh=0.001, level="bank")),
        approximately(Measurement("b", watts=7.5, kwh=0, level="bank")),
    ]


def recorded(folder):
    return sorted((recordings_root() / "plugs" / folder).glob("*.json"))


def test_recorded_shelly_switches_are_read_as_the_device_shows_them(device):
    samples = json.loads((recordings_root() / "plugs/shelly/gen2_switch_getstatus_samples.json").read_text("utf-8"))
    for sample in samples:
        device.behave = answer_json({"switch:0": sample["payload"]})
        measured = read_once(device.url, "a", profile="shelly2")[0]
        assert measured.watts == sample["expected"]["power_w"]
        assert measured.kwh == pytest.approx(sample["expected"]["energy_wh"] / 1000)
        assert (measured.volts, measured.amps) == (sample["payload"]["voltage"], sample["payload"]["current"])
    assert len(samples) == 3


def test_recorded_shelly_devices_have_as_many_channels_as_metered_switches(device):
    metered = {}
    for file in recorded("shelly"):
        recording = json.loads(file.read_text("utf-8"))
        if "status" not in recording:
            continue
        status = recording["status"]
        switches = [entry for name, entry in status.items() if name.startswith("switch:") and "apower" in entry]
        metered[recording["shelly"]["app"]] = len(switches)
        device.behave = answer_json(status)
        names = [f"p{number}" for number, _ in enumerate(switches)]
        if not names:
            with pytest.raises(DeviceError, match="has 0 channels"):
                read_once(device.url, "p0", profile="shelly2")
            continue
        for measured, switch in zip(read_once(device.url, *names, profile="shelly2"), switches, strict=True):
            assert measured.watts == switch["apower"]
            assert measured.volts == switch["voltage"]
            assert measured.kwh == pytest.approx(switch["aenergy"]["total"] / 1000)
    assert metered == {"BluGw": 0, "Plus1PM": 1, "PlusPlugIT": 1, "Pro3": 0, "Pro4PM": 4}


def test_recorded_tasmota_answers_are_read_as_written_down_by_hand(device):
    samples = json.loads((recordings_root() / "plugs/tasmota/samples.json").read_text("utf-8"))
    for sample in samples:
        payload = sample["payload"]
        device.behave = answer_json(payload if "StatusSNS" in payload else {"StatusSNS": payload})
        (measured,) = read_once(device.url, "a", profile="tasmota")
        assert measured.watts == sample["expected"]["power_w"]
        assert measured.kwh == pytest.approx(sample["expected"]["energy_wh"] / 1000)
        assert measured.level == "device"
    assert len(samples) == 3


def refuse(handler):
    send(handler, 401, b"", ("WWW-Authenticate", 'Basic realm="plug"'))


def basic(handler):
    expected = "Basic " + base64.b64encode(b"admin:se:cret").decode()
    (answer_json(SHELLY1) if handler.headers["Authorization"] == expected else refuse)(handler)


def digest(handler):
    """Ask for a digest of SHA-256, as Shelly devices do, and check it (RFC 7616, 3.4.1)."""
    given = dict(re.findall(r'(\w+)="?([^",]+)"?', handler.headers["Authorization"] or ""))

    def sha(*parts):
        return hashlib.sha256(":".join(parts).encode()).hexdigest()

    if given:
        secret, what = sha("admin", "plug", "se:cret"), sha("GET", handler.path)
        if given["response"] == sha(secret, "nonce1", given["nc"], given["cnonce"], "auth", what):
            answer_json({"switch:0": {"apower": 1.0}})(handler)
            return
    challenge = 'Digest qop="auth", realm="plug", nonce="nonce1", algorithm=SHA-256'
    send(handler, 401, b"", ("WWW-Authenticate", challenge))


def query(handler):
    given = parse_qs(urlsplit(handler.path).query)
    known = given.get("user") == ["admin"] and given.get("password") == ["se:cret"] and given["cmnd"] == ["Status 8"]
    need = {"WARNING": "Need user=<username>&password=<password>"}
    answer_json(SONOFF_DUAL if known else need)(handler)


@pytest.mark.parametrize("profile, behave", [("shelly1", basic), ("shelly2", digest), ("tasmota", query)])
def test_credentials_are_sent_as_the_profile_says(device, profile, behave):
    device.behave = behave
    assert read_once(device.url, "a", profile=profile, user="admin", password="se:cret")[0].watts > 0
    for wrong in ({"user": "admin", "password": "no:good"}, {}):
        with pytest.raises(CredentialsRefused, match="refuses user and password") as refused:
            read_once(device.url, "a", profile=profile, **wrong)
        assert "no:good" not in str(refused.value)


@pytest.mark.parametrize(
    "profile, behave, requests", [("shelly1", basic, 1), ("shelly2", digest, 2), ("tasmota", query, 1)]
)
def test_wrong_credentials_are_tried_once(device, profile, behave, requests):
    device.behave = behave
    with pytest.raises(CredentialsRefused):
        read_once(device.url, "a", profile=profile, user="admin", password="no:good")
    assert len(device.requests) == requests  # the first of digest asks for the challenge


def test_no_request_is_logged(device, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpcore")
    HttpJson.open_shared()
    device.behave = query
    read_once(device.url, "a", profile="tasmota", user="admin", password="se:cret")
    assert caplog.records == []


def test_the_way_of_sending_them_can_be_chosen(device):
    device.behave = basic
    assert read_once(device.url, "a", w="meters[*].power W", user="admin", password="se:cret")[0].watts == 81.5
    with pytest.raises(DeviceError, match="refuses"):
        read_once(device.url, "a", w="meters[*].power W", user="admin", password="se:cret", auth="query")


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest realm="x"',
        'Digest realm="x", nonce="y", algorithm=ROT13',
        "Digest realm",
        'Digest realm="x", nonce="y", qop="auth-int"',
    ],
)
def test_an_odd_challenge_is_the_devices_failure(device, challenge):
    device.behave = lambda handler: send(handler, 401, b"", ("WWW-Authenticate", challenge))
    with pytest.raises(DeviceError, match="asks for credentials in an unknown way"):
        read_once(device.url, "a", profile="shelly2", user="admin", password="x")


def stay_silent(handler):
    handler.server.released.wait(20)
    handler.close_connection = True


def drip_header(handler):
    while not handler.server.released.wait(0.01):
        handler.wfile.write(b"H")


def drip_body(handler):
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.released.wait(0.01):
        handler.wfile.write(b" ")


def flood(handler):
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.released.is_set():
        handler.wfile.write(b" " * 100_000)


def cut_off(handler):
    send(handler, 200, b'{"meters": [', ("Content-Length", "1000"))


def hang_up(handler):
    handler.close_connection = True


@pytest.mark.parametrize(
    "behave, timeout, message",
    [
        (stay_silent, 0.2, "has not answered within 0.2 s"),
        (drip_header, 0.2, "has not answered within 0.2 s"),
        (drip_body, 0.2, "has not answered within 0.2 s"),
        (flood, 5.0, "answers with more than 1000000 bytes"),
        (cut_off, 5.0, "peer closed connection"),
        (hang_up, 5.0, "Server disconnected"),
        (lambda handler: handler.wfile.write(b"\x00\x01 garbage\r\n\r\n"), 5.0, "127.0.0.1"),
        (lambda handler: send(handler, 200, b"<html>"), 5.0, "sends no JSON but b'<html>'"),
        (lambda handler: send(handler, 200, b"x", ("Content-Encoding", "gzip")), 5.0, "sends no JSON"),
        (lambda handler: send(handler, 404, b"{}"), 5.0, "answers 404 Not Found"),
        (lambda handler: send(handler, 302, b"", ("Location", "http://192.0.2.1/")), 5.0, "answers 302 Found"),
        (lambda handler: send(handler, 503, b""), 5.0, "answers 503"),
    ],
)
def test_every_fault_is_the_devices_failure_and_names_it(device, behave, timeout, message):
    device.behave = behave
    with pytest.raises(DeviceError, match=re.escape(message)) as failure:
        read_once(device.url, "a", profile="shelly1", timeout=timeout)
    assert f"127.0.0.1:{device.server_port}" in str(failure.value)


def test_a_closed_port_is_the_devices_failure():
    with serving(Device()) as device:
        url = device.url
    with pytest.raises(DeviceError, match="refused"):
        read_once(url, "a", profile="shelly1")


def test_a_device_that_restarted_is_found_again_with_its_register_at_0():
    with serving(Device()) as device:
        device.behave = answer_json(SHELLY1)
        meter, port = driver(device.url, "a", profile="shelly1"), device.server_port
        meter.open()
        assert meter.read()[0].kwh == pytest.approx(0.1)
    with pytest.raises(DeviceError, match="refused"):
        meter.read()
    with serving(Device(port)) as device:
        device.behave = answer_json({"meters": [{"power": 80, "is_valid": True, "total": 0}]})
        meter.open()
        assert meter.read() == [Measurement("a", watts=80, kwh=0, level="outlet")]


def test_a_certificate_is_checked_unless_told_otherwise(tmp_path):
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    device = Device()
    device.socket = context.wrap_socket(device.socket, server_side=True)
    device.behave = answer_json(SHELLY1)
    url = device.url.replace("http:", "https:")
    with serving(device):
        with pytest.raises(DeviceError, match="CERTIFICATE_VERIFY_FAILED"):
            read_once(url, "a", profile="shelly1")
        assert read_once(url, "a", profile="shelly1", ca_file=str(certificate))[0].watts == 81.5
        assert read_once(url, "a", profile="shelly1", verify=False)[0].watts == 81.5


@pytest.mark.parametrize(
    "values, option, problem",
    [
        ({"profile": "shelly9"}, "profile", "'shelly9' is unknown; there are generic, shelly1, shelly2, tasmota"),
        ({"profile": "shelly1", "w": "power W"}, "w", "is for profile = generic only"),
        ({}, "w", "is empty"),
        ({"kwh": "total"}, "kwh", "is not a path and a unit"),
        ({"w": "power VA"}, "w", "is no unit"),
        ({"w": "a W", "password": "x"}, "user", "is empty"),
        ({"w": "a W", "verify": False, "ca_file": "/etc/ca.pem"}, "ca_file", "is of no use with verify = false"),
        ({"w": "a W", "url": "http://admin:secret@plug1"}, "url", "holds a user or a password"),
        ({"w": "a W", "url": "http:///status"}, "url", "names no host"),
        ({"w": "a W", "url": "http://plug1:port"}, "url", "Invalid port"),
    ],
)
def test_mistakes_of_the_options_are_told(values, option, problem):
    ((told, what),) = driver(values.pop("url", "http://plug1"), "a", **values).problems()
    assert told == option
    assert problem in what
    assert "secret" not in what


@pytest.mark.parametrize("values", [{"profile": "tasmota"}, {"w": "[*].power 0.1 W"}, {"kwh": "e Wh", "user": "me"}])
def test_sound_options_have_no_problem(values):
    assert list(driver("http://plug1:8080", "a", **values).problems()) == []
