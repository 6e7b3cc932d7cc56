import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kwapi.drivers.names import Names
from kwapi.drivers.redfish.driver import Redfish
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.clock import Clock
from tests.drivers.certificates import NAME
from tests.drivers.redfish.parts import CHASSIS, METRICS, OUTLETS, pdu, server
from tests.integration.redfish_server import PASSWORD, ROOT, SESSIONS, bmc
from tests.ports import free_port
from tests.waiting import eventually


def test_basic_authentication_opens_no_session(device):
    served, driver = device(bmc(server()), ["srv1"], auth="basic")
    driver.open()
    driver.read()
    driver.close()
    assert {method for method, _ in served.asked} == {"GET"}


def test_a_session_is_kept_and_ended_at_close(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    assert len(served.sessions) == 1
    driver.read()
    driver.close()
    assert served.sessions == {}
    counted = served.counted()
    assert sum(count for (method, _), count in counted.items() if method == "POST") == 1
    driver.close()  # once more, as after a failure
    assert served.counted() == {}


def test_a_session_that_has_expired_is_made_once_more(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.sessions.clear()  # also after a reboot
    served.counted()
    assert driver.read() == [Measurement("srv1", watts=300, kwh=1200)]
    counted = served.counted()
    assert (counted["GET", METRICS], counted["POST", SESSIONS]) == (2, 1)
    assert len(served.sessions) == 1


def test_a_device_is_found_by_its_name_and_called_by_it(device):
    served, driver = device(bmc(server()), ["srv1"], host=NAME)
    driver.names = Names(lambda host: ["127.0.0.2", "127.0.0.1"])  # of which the first takes no connection
    driver.open()
    assert driver.read() == [Measurement("srv1", watts=300, kwh=1200)]
    assert served.called == {f"{NAME}:{served.port}"}
    assert served.handshakes == 1
    driver.close()
    assert served.sessions == {}


def test_the_certificate_is_to_be_of_the_name_and_not_of_the_address(device):
    _, driver = device(bmc(server()), ["srv1"], host="other.test")
    driver.names = Names(lambda host: ["127.0.0.1"])
    with pytest.raises(DeviceError, match="certificate is refused: .* is not valid for 'other.test'"):
        driver.open()


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_login_is_told_as_such_and_not_tried_again(status, device):
    served, driver = device(bmc(server()), ["srv1"], password="wrong secret")
    served.login_status = status
    with pytest.raises(CredentialsRefused, match=f"refuses user 'kwapi': {status} at login") as raised:
        driver.open()
    assert "wrong secret" not in str(raised.value)
    assert served.counted()["POST", SESSIONS] == 1


def test_refused_basic_credentials_are_told_as_such(device):
    served, driver = device(bmc(server()), ["srv1"], auth="basic", password="wrong secret")
    with pytest.raises(CredentialsRefused, match="refuses user 'kwapi'"):
        driver.open()
    assert served.counted() == {("GET", f"{ROOT}/"): 1, ("GET", CHASSIS): 1}


def test_a_password_changed_meanwhile_is_refused(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.sessions.clear()
    served.password = "another"
    with pytest.raises(CredentialsRefused):
        driver.read()
    assert served.counted()["POST", SESSIONS] == 2  # one of them at open


def test_a_session_that_counts_for_nothing_is_a_refusal(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.faults[METRICS] = 401
    served.counted()
    with pytest.raises(CredentialsRefused, match=f"401 for {METRICS}"):
        driver.read()
    counted = served.counted()
    assert (counted["GET", METRICS], counted["POST", SESSIONS]) == (2, 1)
    driver.close()
    assert served.sessions == {}  # also the one that is still good, though of no use


def test_sessions_are_ended_with_the_loop_whatever_is_under_way(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.shared = Redfish.open_shared()
    driver.open()
    served.faults[METRICS] = "silence"
    served.counted()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(driver.read)
        eventually(lambda: ("GET", METRICS) in served.asked)
        Redfish.close_shared(driver.shared)
        with pytest.raises(DeviceError, match="has ended"):
            waiting.result()
    assert served.sessions == {}
    with pytest.raises(DeviceError, match="has ended"):
        driver.close()


def test_a_device_without_sessions_is_told_to_use_basic(device):
    served, driver = device(bmc(server()), ["srv1"])
    served.faults[SESSIONS] = 404
    with pytest.raises(DeviceError, match="answers 404 and opens no session; auth = basic may do"):
        driver.open()


def test_a_certificate_of_nobody_we_know_is_refused(device):
    served, driver = device(bmc(server()), ["srv1"], ca_file=None)
    with pytest.raises(DeviceError) as raised:
        driver.open()
    assert str(raised.value) == (
        f"127.0.0.1:{served.port}: its certificate is not trusted (self-signed certificate): give ca_file, or "
        "verify = false; to kwapi discover --ca-file or --no-verify"
    )
    assert served.counted() == {}


def test_a_certificate_is_not_looked_at_without_verify(device):
    _, driver = device(bmc(server()), ["srv1"], ca_file=None, verify=False)
    driver.open()
    assert driver.read()[0].watts == 300


@pytest.mark.parametrize("fault", ["silence", "trickle"])
def test_a_device_that_does_not_come_to_an_end_is_left(fault, device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.faults[METRICS] = fault
    driver.deadline = 0.1
    with pytest.raises(DeviceError, match=f"did not answer GET {METRICS} within 0.1 s"):
        driver.read()
    served.faults.clear()
    driver.deadline = 60.0
    assert driver.read()[0].watts == 300


def test_a_request_has_a_timeout_of_its_own(device):
    served, driver = device(bmc(server()), ["srv1"], timeout=0.1)
    served.faults[f"{ROOT}/"] = "silence"
    with pytest.raises(DeviceError, match=f"did not answer GET {ROOT}/ within 0.1 s"):
        driver.open()


def test_all_requests_of_a_poll_share_one_deadline(device):
    class Slow(Clock):
        def __call__(self):
            self.now += 10
            return self.now

    served, driver = device(pdu(), ["a1", "a2", "a3", "b1"], deadline=1000.0)
    driver.monotonic_clock = Slow()
    driver.open()
    driver.deadline = 35.0
    served.counted()
    with pytest.raises(DeviceError, match=f"took too long for everything that is asked; {OUTLETS}/B1 was to come"):
        driver.read()
    assert served.counted() == {("GET", f"{OUTLETS}/{name}"): 1 for name in ("A1", "A2", "A3")}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 900\r\n\r\n{", "closed connection"),
        (b"\x15\x03\x01 no HTTP at all\r\n\r\n", "illegal"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\n<html/>", "answers 200, b'<html/>'"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]", r"answers 200, b'\[\]'"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20000\r\n\r\n" + b"[" * 20000, "answers 200"),
        (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5000000\r\n\r\n" + b" " * 5_000_000,
            "more than 4194304 bytes",
        ),
        (503, "answers 503"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: https://example.org/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "to another device",
        ),
        (
            f"HTTP/1.1 301 Moved\r\nLocation: {METRICS}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode(),
            "on and on",
        ),
    ],
)
def test_no_usable_answer_is_a_device_error(fault, message, device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.faults[METRICS] = fault
    with pytest.raises(DeviceError, match=message) as raised:
        driver.read()
    assert METRICS in str(raised.value)
    served.faults.clear()
    assert driver.read() == [Measurement("srv1", watts=300, kwh=1200)]


def test_a_connection_that_was_closed_just_now_is_made_once_more(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.faults[METRICS] = [b""]
    served.counted()
    assert driver.read()[0].watts == 300
    assert served.counted() == {("GET", METRICS): 2}


def test_a_login_may_take_longer_than_other_requests(device):
    served, driver = device(bmc(server()), ["srv1"], timeout=1.0)
    served.faults[SESSIONS] = 1.2
    driver.open()
    assert driver.read()[0].watts == 300
    driver.close()
    assert served.sessions == {}


def test_a_login_is_not_sent_twice(device):
    served, driver = device(bmc(server()), ["srv1"])
    served.faults[SESSIONS] = b""
    with pytest.raises(DeviceError, match="disconnected"):
        driver.open()
    assert served.counted()["POST", SESSIONS] == 1


def test_a_redirect_on_the_same_device_is_followed(device):
    served, driver = device(bmc(server()), ["srv1"])
    served.faults[CHASSIS] = (
        f"HTTP/1.1 308 X\r\nLocation: {CHASSIS}/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    )
    driver.open()
    assert driver.read()[0].watts == 300


def test_links_to_other_devices_are_not_followed(device):
    resources = bmc(server())
    resources[CHASSIS]["Members"].insert(0, {"@odata.id": "https://other.example/redfish/v1/Chassis/1"})
    _, driver = device(resources, ["srv1"])
    driver.open()
    assert driver.read()[0].watts == 300


def test_nobody_there_is_a_device_error(device):
    _, driver = device(bmc(server()), ["srv1"], port=free_port())
    with pytest.raises(DeviceError, match=f"GET {ROOT}/"):
        driver.open()


def test_a_port_without_tls_is_told_with_its_host(device):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as plain:
        thread = threading.Thread(target=plain.handle_request)
        thread.start()
        _, driver = device(bmc(server()), ["srv1"], port=plain.server_port)
        with pytest.raises(DeviceError, match=f"^127.0.0.1:{plain.server_port}: it does not speak TLS on this port$"):
            driver.open()
        thread.join()


def test_neither_requests_nor_secrets_are_logged(device, caplog):
    caplog.set_level(logging.DEBUG)
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    driver.read()
    (token,) = served.sessions
    driver.close()
    assert [record.name for record in caplog.records if record.name.startswith("http")] == []
    assert token not in caplog.text
    assert PASSWORD not in caplog.text + repr(driver._service.target)


@pytest.mark.parametrize("location", ["https://[bmc/1", "\x01", ""])
def test_a_session_without_a_usable_address_ends_by_itself(location, device):
    served, driver = device(bmc(server()), ["srv1"])
    body = (
        b"HTTP/1.1 201 Created\r\nX-Auth-Token: token\r\nLocation: %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    served.faults[SESSIONS] = body % location.encode()
    served.sessions["token"] = "known"
    driver.open()
    assert driver.read()[0].watts == 300


def test_a_loop_that_has_ended_is_a_device_error(device):
    _, driver = device(bmc(server()), ["srv1"])
    driver.shared = Redfish.open_shared()
    Redfish.close_shared(driver.shared)
    with pytest.raises(DeviceError, match="has ended"):
        driver.open()
    with pytest.raises(DeviceError, match="has ended"):
        driver.close()
