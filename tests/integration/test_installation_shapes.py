"""The configurations of docs/installation.md for more than one machine, run as they stand there.

Each machine is a directory here, and loopback is the network: hosts, ports and paths give way to such of the test.
"""

import grp
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from kwapi.options import OPTIONS
from tests.integration.daemons import Site, free_port
from tests.test_layers import ROOT
from tests.waiting import eventually

pytestmark = pytest.mark.integration

TEXT = (ROOT / "docs/installation.md").read_text("utf-8")
METER = "\n[{0}.pdu1]\ndriver = dummy\nload = steady\nwatts = 3600\ninterval = 0.1\nprobes = {0}-1\n"


BESIDE = "A second site, beside a machine that has all"
OWNER = {"kwapi": ("drivers", "api", "rrd"), "kwapi-forwarder": ("forwarder",)}  # of directories, and their daemons


def section_of(heading):
    """Return a section of the document, up to the next heading."""
    return re.split(r"\n##+ ", TEXT.partition(f"# {heading}\n")[2])[0]


def blocks(heading):
    """Return the configurations of a section of the document, by file."""
    return dict(re.findall(r"```ini (\w+)\.conf\n(.*?)```", section_of(heading), re.DOTALL))


class Machine(Site):
    """One machine: what stands in its /etc/kwapi, /var/lib, /run and /etc/credstore is in its directory."""

    def __init__(self, directory, ports):
        directory.mkdir()
        super().__init__(directory, "")
        self.ports = ports
        for state in ("state", "forwarder"):
            for name in ("clients", "servers"):
                (directory / state / name).mkdir(parents=True)

    def configure(self, daemon, text, further=""):
        """Take a daemon's configuration of the document."""
        text = re.sub(r"tcp://\S*?:(\d+)", lambda found: f"tcp://127.0.0.1:{self.ports[found[0]]}", text)
        text = text.replace("/run/kwapi/drivers", str(self.directory)).replace(
            "/run/kwapi/forwarder", str(self.state_of("forwarder"))
        )
        text = text.replace(":kwapi-forwarder", f":{grp.getgrgid(os.getgid()).gr_name}")
        text = re.sub(r"/run/credentials/\S+/", f"{self.directory}/", text)
        text = text.replace("/var/lib/kwapi-forwarder", str(self.state_of("forwarder")))
        (self.directory / f"{daemon}.conf").write_text(f"{text}state_dir = {self.state_of(daemon)}\n{further}")
        if "curve_key_file" in text:
            self.kwapi("keygen", str(self.directory), f"kwapi-{daemon}")

    def state_of(self, daemon):
        """Return a daemon's directory in /var/lib."""
        return self.directory / ("forwarder" if daemon == "forwarder" else "state")

    def kwapi(self, *arguments):
        """Run a command of kwapi."""
        command = [Path(sys.executable).with_name("kwapi"), *arguments]
        subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)

    def let_in(self, daemon, other, client):
        """Have a daemon let in one of another machine."""
        shutil.copy(other.directory / f"kwapi-{client}.key", self.state_of(daemon) / "clients")

    def trust(self, daemon, other, server, *endpoints):
        """Have a daemon know one of another machine by its key, where these endpoints lead."""
        for endpoint in endpoints:
            place = self.state_of(daemon) / f"servers/127.0.0.1:{self.ports[endpoint]}.key"
            shutil.copy(other.directory / f"kwapi-{server}.key", place)


class Ports:
    """A free port for each endpoint, the same for who listens on all addresses and for who connects to a name."""

    def __init__(self, hosts, known):
        self._hosts = hosts  # the host that listens, by port of the document
        self._known = known

    def __getitem__(self, endpoint):
        host, port = endpoint.removeprefix("tcp://").split(":")
        name = f"{self._hosts[port] if host == '*' else host}:{port}"
        while name not in self._known:
            port = free_port()  # which may be one of before: nobody listens there yet
            if port not in self._known.values():
                self._known[name] = port
        return self._known[name]


def read_by_office(office, forwarder, host, shape):
    """Let the plugins of the document read what a forwarder passes on."""
    for daemon, port in (("api", office.api_port), ("rrd", office.rrd_port)):
        further = f"port = {port}\n" + ("acl_enabled = false\n" if daemon == "api" else "")
        office.configure(daemon, shape[daemon], further)
        forwarder.let_in("forwarder", office, daemon)
    office.trust("plugins", forwarder, "forwarder", f"tcp://{host}:5556", f"tcp://{host}:5566")
    office.kwapi("check", *(str(office.directory / f"{daemon}.conf") for daemon in ("api", "rrd")))
    office.start("api", "rrd")


def test_a_site_with_a_forwarder_is_read_by_an_office(tmp_path):
    shape = blocks("A site with a forwarder")
    ports = Ports(dict.fromkeys(("5556", "5566"), "pdus.example.org"), {})
    with Machine(tmp_path / "pdus", ports) as pdus, Machine(tmp_path / "office", ports) as office:
        pdus.configure("drivers", shape["drivers"], METER.format("lyon"))
        pdus.configure("forwarder", shape["forwarder"])
        pdus.kwapi("check", *(str(pdus.directory / f"{daemon}.conf") for daemon in ("drivers", "forwarder")))
        pdus.start("drivers", "forwarder")
        shutil.copy2(pdus.directory / "state/signing.key", office.directory / "state/signing.key")
        read_by_office(office, pdus, "pdus.example.org", shape)
        office.await_new_values("lyon-1")
        eventually(lambda: office.page("/graph/minute/lyon-1.png").startswith(b"\x89PNG"), 60)
        pdus.kill("forwarder")
        pdus.start("forwarder")
        office.await_new_values("lyon-1")
        page = office.get("/v2/probes")
        assert (page["probes"][0]["unknown_seconds"], page["messages"]["lyon.pdu1"]["lost"]) == (0, 0)


def test_several_sites_are_believed_each_for_its_own_wattmeters(tmp_path):
    shape, office = blocks("Several sites"), blocks("A site with a forwarder")
    hub, ports = "hub.example.org", {}
    names = ("lyon", "paris")
    with ExitStack() as running:
        forwarder, plugins, *sites = (
            running.enter_context(Machine(tmp_path / name, Ports({"5556": hub, "5566": hub}, ports)))
            for name in ("hub", "plugins", *names)
        )
        forwarder.configure("forwarder", shape["forwarder"])
        lines = ""
        for name, site in zip(names, sites, strict=True):
            site.ports = Ports(dict.fromkeys(("5555", "5565"), f"{name}.example.org"), ports)
            site.configure("drivers", shape["drivers"], METER.format(name))
            key = site.directory / "state/signing.key"
            site.kwapi("keygen", "--signing", str(key), "--wattmeters", name)
            lines += key.read_text()
            endpoints = (f"tcp://{name}.example.org:{port}" for port in ("5555", "5565"))
            forwarder.trust("forwarder", site, "drivers", *endpoints)
            site.let_in("drivers", forwarder, "forwarder")
            site.start("drivers")
        forwarder.start("forwarder")
        key = plugins.directory / "state/signing.key"
        key.touch(0o600)
        key.write_text(lines)
        read_by_office(plugins, forwarder, hub, {name: text.replace("pdus.", "hub.") for name, text in office.items()})
        plugins.await_new_values("lyon-1", "paris-1")


def test_a_second_site_is_added_to_a_machine_that_has_all(tmp_path):
    site, shape, ports = blocks("Several sites"), blocks(BESIDE), {}
    hosts = dict.fromkeys(("5555", "5565"), "paris.example.org")
    with Machine(tmp_path / "all", Ports({}, ports)) as all_, Machine(tmp_path / "paris", Ports(hosts, ports)) as paris:
        paris.configure("drivers", site["drivers"], METER.format("paris"))
        key = paris.directory / "state/signing.key"
        paris.kwapi("keygen", "--signing", str(key), "--wattmeters", "paris")
        all_.configure("drivers", shape["drivers"], METER.format("lyon"))
        all_.configure("forwarder", shape["forwarder"])
        all_.configure("api", shape["api"], f"port = {all_.api_port}\nacl_enabled = false\n")
        all_.configure("rrd", shape["api"], f"port = {all_.rrd_port}\n")
        all_.start("drivers")
        with (all_.directory / "state/signing.key").open("a") as file:
            file.write(key.read_text())
        endpoints = (f"tcp://paris.example.org:{port}" for port in ("5555", "5565"))
        all_.trust("forwarder", paris, "drivers", *endpoints)
        paris.let_in("drivers", all_, "forwarder")
        paris.start("drivers")
        all_.kwapi("check", "--config-dir", str(all_.directory))
        all_.start("forwarder", "api", "rrd")
        all_.await_new_values("lyon-1", "paris-1")
        eventually(lambda: all_.page("/graph/minute/paris-1.png").startswith(b"\x89PNG"), 60)


@pytest.mark.parametrize("heading", ["A site with a forwarder", "Several sites", BESIDE])
def test_the_public_keys_are_put_where_the_daemons_look_for_them(heading):
    """For the commands of the document name directories, and its configurations rely on the defaults."""
    used = set(re.findall(r"/var/lib/([\w-]+)/(clients|servers)\b", section_of(heading)))
    assert used
    for owner, which in used:
        options = [
            option.default.replace("$state_dir", default_of("state_dir", daemon))
            for daemon in OWNER[owner]
            for option in OPTIONS[daemon]
            if option.dest == f"curve_{which}_dir"
        ]
        assert f"/var/lib/{owner}/{which}" in options


def default_of(name, daemon):
    """Return the default of an option."""
    return next(option.default for option in OPTIONS[daemon] if option.dest == name)
