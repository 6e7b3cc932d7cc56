"""The driver against the real upsd, fed by dummy-ups: values that change, credentials, a dummy-ups that dies."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from kwapi.drivers.nut.driver import Nut
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.drivers.recordings import recordings_root
from tests.integration.programs import needed
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.integration

PROGRAMS = Path("/lib/nut")  # Debian's; its wrapper in /usr/sbin wants the configuration of the system
DEFAULTS = {option.dest: option.default for option in Nut.options} | {"interval": 1.0}
RACK = """device.type: ups
ups.status: OL
ups.realpower: {watts}
ups.power: 611
output.voltage: 235.0
outlet.1.realpower: 162
outlet.2.realpower: 68
"""
WITH_WATTS = {  # of the recordings, some of each kind: where their watts stand
    "Eaton__5PX_2000__usbhid-ups__2.7.4__01": 504.0,  # ups.realpower
    "Huawei__UPS2000-G-3KRTS__huawei-ups2000__2.7.4.1__01": 200.0,  # output.realpower
    "HP__R12000-3UPS__snmp-ups__2.7.1__01": 308.4,  # ups.L1 to L3
    "Eaton__9395__snmp-ups__2.4.3__01": 117298.0,  # output.L1 to L3
    "Eaton__EPDU_MI_38U-A__snmp-ups__2.7.4__01": 6.0,  # input.realpower of a PDU
}


class Server:
    """upsd and a dummy-ups for each of its UPSes, as processes."""

    def __init__(self, directory, dumps):
        self.directory = directory
        self.port = free_port()
        self._user = pwd.getpwuid(os.getuid()).pw_name
        self._environment = os.environ | dict.fromkeys(
            ("NUT_CONFPATH", "NUT_STATEPATH", "NUT_ALTPIDPATH"), str(directory)
        )
        self.processes = {}
        for name, text in dumps.items():
            self.write(name, text)
        sections = (f"[{name}]\ndriver = dummy-ups\nport = {name}.dev\n" for name in dumps)
        self._configure("ups.conf", "".join(sections))
        self._configure("upsd.conf", f"LISTEN 127.0.0.1 {self.port}\n")
        self._configure("upsd.users", '[kwapi]\npassword = "a secret"\nupsmon secondary\n')

    def write(self, name, text):
        """Write what a UPS says; dummy-ups notices that the file has become another."""
        temporary = self.directory / f"{name}.new"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.directory / f"{name}.dev")

    def start(self, program, *arguments):
        name = arguments[1] if arguments else program
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [PROGRAMS / program, *arguments, "-F", "-u", self._user],
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def end(self, name):
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def driver(self, probes=("rack",), **options):
        return Nut("lyon.rack", {**DEFAULTS, "port": self.port, "probes": list(probes), **options})

    def try_read(self, *arguments, **options):
        """Return what a new driver reads, [] when it cannot."""
        driver = self.driver(*arguments, **options)
        try:
            driver.open()
            return driver.read()
        except DeviceError:
            return []
        finally:
            driver.close()

    def error(self, **options):
        """Return the error that a new driver ends with when it connects, None if it does not."""
        driver = self.driver(**options)
        try:
            driver.open()
        except DeviceError as error:
            return error
        finally:
            driver.close()
        return None

    def _configure(self, name, text):
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)


@pytest.fixture
def serve():
    """Return a function that starts a server of these dumps by name; it ends with the test."""
    for name in ("upsd", "dummy-ups"):
        needed(f"{name} in {PROGRAMS}; apt-get install nut-server", shutil.which(PROGRAMS / name))
    servers = []

    def start(dumps):
        directory = Path(tempfile.mkdtemp(prefix="nut"))  # short, as the paths of sockets must be
        servers.append(server := Server(directory, dumps))
        for name in dumps:
            server.start("dummy-ups", "-a", name)
        eventually(lambda: all((directory / f"dummy-ups-{name}").exists() for name in dumps))
        server.start("upsd")
        return server

    yield start
    for server in servers:
        for name in reversed(list(server.processes)):
            server.end(name)
        shutil.rmtree(server.directory)


def test_the_real_server(serve):
    server = serve({"rack": RACK.format(watts=504)})
    names = ["rack", "web1", "web2"]
    eventually(lambda: server.try_read(names))
    driver = server.driver(names)
    driver.open()
    assert driver.read() == [
        Measurement("rack", watts=504.0, volt_amperes=611.0, volts=235.0),
        Measurement("web1", watts=162.0, level="outlet"),
        Measurement("web2", watts=68.0, level="outlet"),
    ]
    server.write("rack", RACK.format(watts=432.5))
    eventually(lambda: driver.read()[0].watts == 432.5)
    server.end("rack")
    with pytest.raises(DeviceError):
        eventually(lambda: not driver.read())
    driver.close()
    eventually(lambda: "DRIVER-NOT-CONNECTED" in str(server.error(ups="rack")))
    server.start("dummy-ups", "-a", "rack")
    eventually(lambda: server.try_read(names))


def test_credentials_of_the_real_server(serve):
    server = serve({"rack": RACK.format(watts=504)})
    eventually(server.try_read)
    assert server.try_read(user="kwapi", password="a secret", login=True)
    wrong = server.error(user="kwapi", password="wrong", login=True)
    assert isinstance(wrong, CredentialsRefused)
    assert "LOGIN rack: ACCESS-DENIED" in str(wrong)
    assert "STARTTLS: FEATURE-NOT-CONFIGURED" in str(server.error(tls=True))
    assert "LIST VAR cellar: UNKNOWN-UPS" in str(server.error(ups="cellar"))


def test_recordings_served_by_the_real_server(serve):
    dumps = {
        f"u{number}": (recordings_root() / "nut" / f"{name}.dev").read_text("utf-8")
        for number, name in enumerate(WITH_WATTS)
    }
    server = serve(dumps)
    for ups, watts in zip(dumps, WITH_WATTS.values(), strict=True):
        eventually(lambda ups=ups: server.try_read(ups=ups))
        assert server.try_read(ups=ups)[0].watts == pytest.approx(watts)
    assert "has u0, u1, u2, u3, u4; set ups" in str(server.error())
