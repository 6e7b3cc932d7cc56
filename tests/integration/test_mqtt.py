"""The MQTT driver against mosquitto, with messages published by mosquitto's own client."""

import json
import os
import socket
import subprocess
from contextlib import contextmanager

import pytest

from kwapi.drivers.json.mqtt import Mqtt
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.drivers.certificates import make_certificate
from tests.integration.programs import needed_program
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.integration
DEFAULTS = {option.dest: option.default for option in Mqtt.options}
USER, PASSWORD = "kwapi", "s3cret"


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Mosquitto:
    """A broker that knows one user, with TLS if it has a certificate."""

    def __init__(self, directory, certificate=None):
        self.program, self.publisher = (
            needed_program("mosquitto", "mosquitto"),
            needed_program("mosquitto_pub", "mosquitto-clients"),
        )
        passwords, self.port = directory / "passwords", free_port()
        passwords.write_text(f"{USER}:{PASSWORD}\n")
        passwords.chmod(0o600)
        subprocess.run([needed_program("mosquitto_passwd", "mosquitto"), "-U", str(passwords)], check=True, timeout=10)
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous false",
            f"password_file {passwords}",
            "persistence false",
            *(["user root"] if os.geteuid() == 0 else []),
        ]
        self.tls = []
        if certificate:
            lines += [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
            self.tls = ["--cafile", str(certificate[0])]
        self.configuration = directory / "mosquitto.conf"
        self.configuration.write_text("\n".join(lines) + "\n")

    @contextmanager
    def running(self):
        command = [self.program, "-c", str(self.configuration)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                eventually(lambda: process.poll() is not None or listens(self.port))
                assert process.poll() is None, f"{command} ended"
                yield self
            finally:
                process.terminate()

    def publish(self, topic, *payloads, retain=False):
        command = [self.publisher, "-h", "127.0.0.1", "-p", str(self.port), "-u", USER, "-P", PASSWORD, *self.tls]
        command += ["-t", topic, *(["-r"] if retain else []), "-l"]  # a message for each line
        lines = "\n".join(map(json.dumps, payloads)).encode()
        subprocess.run(command, input=lines, check=True, timeout=10)

    def driver(self, *probes, **values):
        given = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD, "interval": 60.0}
        return Mqtt("broker", {**DEFAULTS, **given, "probes": list(probes), **values})


def read_next(meter):
    found = []
    eventually(lambda: found.extend(meter.read()) or found)
    return found


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_messages_of_many_devices_are_measured_once(tmp_path, version):
    with Mosquitto(tmp_path).running() as broker:
        broker.publish("tele/old/SENSOR", {"ENERGY": {"Power": 99}}, retain=True)
        meter = broker.driver("a@plug1", "b@plug2", "c@old", profile="tasmota", version=version)
        meter.open()
        broker.publish("tele/plug1/SENSOR", {"ENERGY": {"Power": 24, "Total": 235.645, "Voltage": 237}})
        assert read_next(meter) == [Measurement("a", watts=24, volts=237, kwh=235.645)]
        broker.publish("tele/plug2/SENSOR", {"ENERGY": {"Power": [1, 2], "Total": 1.5}})
        assert read_next(meter) == [Measurement("b", watts=3, kwh=1.5)]
        broker.publish("tele/old/SENSOR", {"ENERGY": {"Power": 7}}, retain=True)  # anew, so it is one
        assert read_next(meter) == [Measurement("c", watts=7)]
        meter.close()


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_refused_credentials_are_told_as_such(tmp_path, version):
    with Mosquitto(tmp_path).running() as broker:
        for wrong in ({"password": "no:good"}, {"user": "", "password": ""}):
            meter = broker.driver("a", profile="tasmota", version=version, **wrong)
            with pytest.raises(CredentialsRefused, match="refuses the connection: Not authorized") as refused:
                meter.open()
            assert "no:good" not in str(refused.value)
            meter.close()


def test_a_restarted_broker_is_lost_and_found_again(tmp_path):
    mosquitto = Mosquitto(tmp_path)
    meter = mosquitto.driver("a", topic="site/{device}", w=". W")
    with mosquitto.running():
        meter.open()
    with pytest.raises(DeviceError, match="127.0.0.1"):
        meter.read()
    meter.close()
    with pytest.raises(DeviceError, match="refused"):
        meter.open()
    meter.close()
    with mosquitto.running():
        meter.open()
        mosquitto.publish("site/a", 12.5)
        assert read_next(meter) == [Measurement("a", watts=12.5, level="outlet")]
        meter.close()


def test_tls_is_spoken_to_a_broker_with_a_known_certificate(tmp_path):
    certificate = make_certificate(tmp_path)
    with Mosquitto(tmp_path, certificate).running() as broker:
        meter = broker.driver("a", topic="site/{device}", w=". W", tls=True, ca_file=str(certificate[0]))
        meter.open()
        broker.publish("site/a", *range(100))
        eventually(lambda: Measurement("a", watts=99, level="outlet") in meter.read())
        meter.close()


@pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning")  # the library lets go of a failed handshake's socket
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_with_an_unknown_certificate_is_refused(tmp_path):
    with Mosquitto(tmp_path, make_certificate(tmp_path)).running() as broker:
        meter = broker.driver("a", topic="site/{device}", w=". W", tls=True)
        with pytest.raises(DeviceError, match="CERTIFICATE_VERIFY_FAILED"):
            meter.open()
        meter.close()
