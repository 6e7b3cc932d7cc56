"""Drivers of hosts that are given by name: what they say of a silent name server, and that they find the device.

The name leads to two addresses, of which the first takes no connection.
"""

import re
import ssl
import threading
from contextlib import closing

import pytest

from kwapi.drivers import find_driver
from kwapi.drivers.names import Names
from kwapi.drivers.serial_line import SerialLine
from kwapi.drivers.snmp.driver import Snmp
from kwapi.errors import DeviceError
from tests.drivers.certificates import NAME, make_certificate
from tests.drivers.ipmi.test_driver import make as make_ipmi
from tests.drivers.json import broker as brokers
from tests.drivers.json import web_server
from tests.drivers.kasa.test_iot import HS110, IotPlug
from tests.drivers.kasa.test_iot import make as make_kasa
from tests.drivers.modbus_meter import TcpServer, opened, sdm120
from tests.drivers.nut import upsd
from tests.drivers.serial_peers import Tcp
from tests.drivers.snmp.test_client import TABLE, USERS, WATTS
from tests.drivers.snmp_agent import SnmpAgent

OTHER = "other.test"  # for which no certificate is valid
HERE = Names(dict.fromkeys((NAME, OTHER), ["127.0.0.2", "127.0.0.1"]).__getitem__)
HOST = {"host": NAME}


@pytest.mark.parametrize(
    ("driver", "values"),
    [
        ("http_json", {"url": f"http://{NAME}/", "w": "p W"}),
        ("ipmi", {**HOST, "user": "user", "password": "secret"}),
        ("kasa", HOST),
        ("kasa", {**HOST, "protocol": "smart", "user": "user", "password": "secret"}),
        ("modbus", {**HOST, "profile": "sdm120"}),
        ("mqtt", {**HOST, "topic": "site/{device}", "w": "p W"}),
        ("nut", HOST),
        ("p1", {"device": f"socket://{NAME}:4001"}),
        ("redfish", {**HOST, "user": "user", "password": "secret"}),
        ("sml", {"device": f"rfc2217://{NAME}:4001"}),
        ("snmp", HOST),
        ("snmp", {**HOST, "version": "3", "user": "user"}),
        ("wattsup", {"device": f"socket://{NAME}:4001"}),
    ],
)
def test_a_silent_name_server_is_not_waited_for_longer_than_its_deadline(driver, values):
    pytest.importorskip(find_driver.__module__)
    kind = find_driver(driver)
    over = threading.Event()
    names = Names(lambda host: over.wait(20) and [], patience=0.05)
    values = {option.dest: option.default for option in kind.options} | {"interval": 1.0, "probes": ["rack"]} | values
    shared = kind.open_shared()
    meter = kind("rack", values, shared, names=names)
    try:
        with pytest.raises(DeviceError, match=f"^{NAME}: the name server has not answered in 0.05 s$"):
            meter.open()
            meter.read()
    finally:
        over.set()
        meter.close()
        kind.close_shared(shared)


def measured(driver, names=HERE):
    driver.names = names
    with closing(driver):
        driver.open()
        return driver.read()[0].watts


def test_http_json_finds_its_device_and_calls_it_by_its_name():
    with web_server.serving(web_server.Device()) as device:
        device.behave = web_server.answer_json({"p": 7})
        assert measured(web_server.driver(f"http://{NAME}:{device.server_port}/", "a", w="p W")) == 7
    assert device.requests[0].headers["Host"] == f"{NAME}:{device.server_port}"


def test_ipmi_finds_its_bmc():
    driver, bmc = make_ipmi({})
    driver.host, driver.names = NAME, HERE
    driver.open()
    assert (bmc.target.name, bmc.target.address) == (NAME, "127.0.0.2")


def test_kasa_finds_its_plug():
    with IotPlug(HS110) as plug:
        assert measured(make_kasa(plug.port, host=NAME)) == 61.753


def test_modbus_finds_its_gateway():
    with TcpServer(sdm120()) as server, opened(host="127.0.0.1", port=server.port) as driver:
        watts = driver.read()[0].watts
        driver.close()
        driver.host = NAME
        assert measured(driver) == watts


def test_mqtt_finds_its_broker():
    with brokers.Broker(brokers.saying(brokers.publish("site/plug", {"p": 7}))).running() as broker:
        assert measured(brokers.driver("a@plug", port=broker.port, host=NAME, **brokers.GENERIC)) == 7


def test_http_json_checks_that_its_device_has_the_name(certificate):
    device = web_server.Device()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    device.socket = context.wrap_socket(device.socket, server_side=True)
    device.behave = web_server.answer_json({"p": 7})
    with web_server.serving(device):
        url = f"https://{NAME}:{device.server_port}/"
        assert measured(web_server.driver(url, "a", w="p W", ca_file=certificate)) == 7
        with pytest.raises(DeviceError, match=f"not valid for '{OTHER}'"):
            measured(web_server.driver(url.replace(NAME, OTHER), "a", w="p W", ca_file=certificate))


@pytest.fixture
def certificate(tmp_path):
    """Return the path of a certificate for NAME and its key, in one file."""
    path = tmp_path / "server.pem"
    path.write_bytes(b"".join(file.read_bytes() for file in make_certificate(tmp_path)))
    return str(path)


def test_nut_finds_its_server_and_checks_that_it_has_the_name(certificate):
    with upsd.Upsd(certificate=certificate) as server:
        assert measured(upsd.make(server.port, host=NAME, tls=True, ca_file=certificate)) == 504
        with pytest.raises(DeviceError, match=f"not valid for '{OTHER}'"):
            measured(upsd.make(server.port, host=OTHER, tls=True, ca_file=certificate))


@pytest.mark.parametrize("version", ["2c", "3"])
def test_snmp_finds_its_agent(version):
    shared = Snmp.open_shared()
    values = {option.dest: option.default for option in Snmp.options} | {"interval": 1.0, "probes": ["a"], **HOST}
    values |= {"version": version, "user": "open", "profile": "generic", "oid": [f"{WATTS}.7"]}
    try:
        with SnmpAgent(TABLE, USERS) as agent:
            driver = Snmp("pdu", values | {"port": agent.port}, shared)
            assert measured(driver, Names(lambda host: ["127.0.0.1"])) == 107
    finally:
        Snmp.close_shared(shared)


def test_a_serial_line_finds_its_server():
    with closing(Tcp()) as meter:
        device = meter.device.replace("127.0.0.1", NAME)
        with closing(SerialLine(device, "9600 8N1", names=HERE)) as line:
            line.open()
            meter.accept()
            meter.send(b"#7;")
            assert line.frames(re.compile(rb"#\d;"), 5) == [b"#7;"]
