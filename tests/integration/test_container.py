"""What stands in container/, without a container engine: the daemons run as the compose file says, as processes."""

import re
import shlex
import subprocess

import pytest
import yaml

from tests.integration.daemons import DAEMONS, Site, program
from tests.test_layers import ROOT
from tests.waiting import eventually

pytestmark = pytest.mark.integration
CONTAINER = ROOT / "container"


@pytest.fixture
def services():
    return yaml.safe_load((CONTAINER / "compose.yaml").read_text("utf-8"))["services"]


def instructions():
    """Return the lines of the Containerfile as (instruction, rest), continued ones joined."""
    text = re.sub(r"\\\n\s*", "", (CONTAINER / "Containerfile").read_text("utf-8"))
    return [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]


class Compose(Site):
    """The daemons with the environment and the files of the compose file's services, and with paths of a test's own."""

    def __init__(self, directory, services):
        super().__init__(directory, "")
        self._services = services
        for path in (CONTAINER / "etc").iterdir():
            (directory / path.name).write_bytes(path.read_bytes())

    def up(self, name):
        environ = {key: self._here(value) for key, value in self._services[name]["environment"].items()}
        port = {"api": self.api_port, "rrd": self.rrd_port}.get(name)
        # Nobody but this machine shall reach what a test starts.
        own = {"KWAPI_HOST": "127.0.0.1", "KWAPI_PORT": str(port)} if port else {}
        self.start(name, environ={**environ, **own, "KWAPI_STATE_DIR": f"{self.directory}/state"})

    def _here(self, value):
        return value.replace("/run/kwapi", str(self.directory))


def test_the_services_of_the_compose_file_measure(services, tmp_path_factory):
    directory = tmp_path_factory.mktemp("c")  # the path of a socket is short
    with Compose(directory, services) as compose:
        for name in DAEMONS:
            compose.up(name)
        eventually(lambda: set(compose.probes()) == {"web-1", "web-2"})
        eventually(lambda: compose.page("/graph/minute/web-1.png").startswith(b"\x89PNG"))


@pytest.mark.parametrize("name", DAEMONS)
def test_a_service_runs_its_daemon_with_a_configuration_that_is_right(services, name):
    service = services[name]
    assert service["command"] == [f"kwapi-{name}"]
    command = [program(name), "--check-config", "--config-dir", CONTAINER / "etc"]
    ended = subprocess.run(command, env=service["environment"], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_only_this_machine_reaches_the_services(services):
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)
    endpoints = [
        value for service in services.values() for key, value in service["environment"].items() if "ENDPOINT" in key
    ]
    assert len(endpoints) == 8
    assert all(endpoint.startswith("ipc:///run/kwapi/") for endpoint in endpoints)


def test_services_may_do_little(services):
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_all_that_the_image_copies_is_there_and_is_not_left_out():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    copied = [
        shlex.split(rest)[:-1] for instruction, rest in instructions() if instruction == "COPY" and "--" not in rest
    ]
    sources = [source for words in copied for source in words]
    assert {"kwapi", "etc", "setup.cfg"} <= set(sources)
    assert all((ROOT / source).exists() for source in sources)
    assert ignored[0] == "*"
    assert {f"!{source}" for source in sources} == {line for line in ignored if line.startswith("!")}


def test_the_image_has_what_the_project_is_installed_with():
    """Bindep.txt says what is needed; the shell lines are sound."""
    runs = [rest for instruction, rest in instructions() if instruction == "RUN"]
    for line in runs:
        subprocess.run(["sh", "-n", "-c", line], check=True)
    packages = set(" ".join(line for line in runs if "apt-get" in line).split())
    needed = [line.split()[0] for line in (ROOT / "bindep.txt").read_text("utf-8").splitlines() if line[0] != "#"]
    unconditional = [name for name in needed[: needed.index("util-linux")]]
    assert set(unconditional) <= packages
