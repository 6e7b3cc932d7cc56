"""The Redfish service of the simulator: who may read, and what a restart forgets."""

import base64
import json
import ssl

import pytest

from kwapi.simulator.device import Device, Fault
from kwapi.simulator.http_server import Request
from kwapi.simulator.load import no_power, rack
from kwapi.simulator.redfish_chassis import CHASSIS, METRICS, MOST_SESSIONS, ROOT, SESSIONS, USER, Chassis
from kwapi.simulator.servers import Served
from tests.clock import Clock

PASSWORD = "s3same open"


@pytest.fixture
def device():
    return Device(rack(1, own=no_power), clock=Clock(60.0))


@pytest.fixture
def ask(device):
    """Return what asks the service."""
    chassis = Chassis(Served(device, PASSWORD), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def ask(method, path, token=None, content=None, **headers):
        if token:
            headers["x-auth-token"] = token
        return chassis.respond(Request(method, path, headers, json.dumps(content).encode()))

    return ask


def log_in(ask, password=PASSWORD):
    return ask("POST", SESSIONS, content={"UserName": USER, "Password": password})


def test_only_the_root_is_for_everybody(ask):
    assert ask("GET", ROOT).status == ask("GET", f"{ROOT}/").status == 200
    assert ask("GET", METRICS).status == ask("GET", METRICS, "guessed").status == 401


@pytest.mark.parametrize("content", [{"UserName": USER, "Password": "no"}, {"Password": PASSWORD}, {}, [], "x", None])
def test_wrong_login_is_refused(ask, content):
    assert ask("POST", SESSIONS, content=content).status == 401


def test_session_ends_with_a_logout(ask):
    login = log_in(ask)
    token, place = login.headers["X-Auth-Token"], login.headers["Location"]
    assert login.status == 201
    assert ask("GET", CHASSIS, token).content["Members"] == [{"@odata.id": f"{CHASSIS}/1"}]
    assert ask("DELETE", place, token).status == 200
    assert ask("GET", CHASSIS, token).status == 401


def test_oldest_session_makes_room(ask):
    tokens = [log_in(ask).headers["X-Auth-Token"] for _ in range(MOST_SESSIONS + 1)]
    assert [ask("GET", METRICS, token).status for token in tokens] == [401] + [200] * MOST_SESSIONS


def test_restart_forgets_sessions(ask, device):
    token = log_in(ask).headers["X-Auth-Token"]
    device.begin(Fault("reboot"))
    device.end("reboot")
    assert ask("GET", METRICS, token).status == 401
    assert ask("GET", METRICS, log_in(ask).headers["X-Auth-Token"]).status == 200


def test_password_may_come_with_each_request(ask):
    basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert ask("GET", METRICS, authorization=basic).status == 200
    assert ask("GET", METRICS, authorization=basic + "x").status == 401


@pytest.mark.parametrize(("method", "path", "status"), [("GET", f"{ROOT}/Fabrics", 404), ("PATCH", METRICS, 405)])
def test_nothing_else_is_there(ask, method, path, status):
    assert ask(method, path, log_in(ask).headers["X-Auth-Token"]).status == status


def test_metrics_agree_with_each_other(ask, device):
    metrics = ask("GET", METRICS, log_in(ask).headers["X-Auth-Token"]).content
    power = metrics["PowerWatts"]
    assert power["Reading"] == pytest.approx(device.outlets[0].source.reading.milliwatts / 1000, abs=0.05)
    assert power["ApparentVA"] * power["PowerFactor"] == pytest.approx(power["Reading"], rel=0.01)
    assert metrics["EnergykWh"]["Reading"] == 0.001  # of some 100 W in a minute
