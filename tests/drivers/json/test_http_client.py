import base64
import hashlib
import logging
import re
import ssl
from urllib.parse import parse_qs, urlsplit

import pytest

from kwapi.drivers.json.http import HttpJson
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.drivers.certificates import make_certificate
from tests.drivers.json.web_server import SHELLY1, SONOFF_DUAL, Device, answer_json, driver, read_once, send, serving


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
