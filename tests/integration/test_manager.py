"""kwapi-drivers as a process: reload, mute, worker processes, metrics."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from tests.integration.daemons import Site
from tests.integration.listener import Listener
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.integration


def section(name, interval=0.2, more=""):
    return f"[{name}]\ndriver = dummy\nload = steady\nwatts = 42\ninterval = {interval}\nprobes = {name}-1\n{more}"


def configure(site, text):
    """Write the wattmeters' sections anew and have the daemon read them."""
    path = site.directory / "drivers.conf"
    before = path.read_text(encoding="utf-8")
    path.write_text(before[: before.index("\n[m")] + "\n" + text, encoding="utf-8")
    site.processes["drivers"].send_signal(signal.SIGHUP)


def listener(site):
    """Return what is published, heard as kwapi-drivers sends it."""
    gate = Gate(KeyFile(site.directory / "state" / "signing.key"), health=True)
    return Listener(Subscriber([site.published], [""], gate))


def kwapi(site, *argv):
    command = [
        str(Path(sys.executable).with_name("kwapi")),
        *argv,
        "--config-file",
        str(site.directory / "drivers.conf"),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_reload_starts_stops_and_changes_wattmeters_and_the_rest_miss_nothing(tmp_path, workers):
    head = f"workers = {workers}\n"
    with Site(tmp_path, head + section("m.kept") + section("m.gone") + section("m.changed")) as site:
        site.start("drivers")
        with listener(site) as bus:
            eventually(lambda: bus.wattmeters() == {"m.kept", "m.gone", "m.changed"})
            configure(site, section("m.kept") + section("m.changed", interval=0.5) + section("m.new"))
            eventually(lambda: "reloaded: 1 wattmeter new, 1 removed, 1 changed, 1 as before" in site.log("drivers"))
            eventually(lambda: "m.new" in bus.wattmeters())
            eventually(lambda: bus.messages and any(m.interval == 0.5 for m in bus.of("m.changed")))
            since = len(bus.messages)
            eventually(lambda: len(bus.messages) > since + 20)
            assert "m.gone" not in bus.wattmeters(since)
            configure(site, section("m.kept") + "[m.bad]\ndriver = dumy\n")
            eventually(lambda: "not reloaded: " in site.log("drivers"))
            assert "unknown driver 'dumy'" in site.log("drivers")
            since = len(bus.messages)
            eventually(lambda: {"m.kept", "m.changed", "m.new"} <= bus.wattmeters(since))
            seqs = [message.seq for message in bus.of("m.kept")]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
            assert {health.restarts for health in bus.healths if health.wattmeter == "m.kept"} == {0}
        assert site.stop("drivers") == 0


def test_a_killed_worker_process_is_replaced_and_nothing_outlives_the_daemon(tmp_path):
    names = [f"m{number}" for number in range(6)]
    with Site(tmp_path, "workers = 2\n" + "".join(map(section, names))) as site:
        site.start("drivers")
        with listener(site) as bus:
            eventually(lambda: bus.wattmeters() == set(names))
            before = children(site)
            assert len(before) == 2
            os.kill(before[0], signal.SIGKILL)
            eventually(lambda: "ended with status -9" in site.log("drivers"))
            since = len(bus.messages)
            eventually(lambda: bus.wattmeters(since) == set(names))
            after = children(site)
            assert before[1] in after
        assert site.stop("drivers") == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in after)


def test_worker_processes_end_with_a_daemon_that_is_killed(tmp_path):
    with Site(tmp_path, "workers = 2\n" + section("m1") + section("m2")) as site:
        site.start("drivers")
        eventually(lambda: len(children(site)) == 2)
        pids = children(site)
        site.kill("drivers")
        eventually(lambda: not any(is_alive(pid) for pid in pids))


@pytest.mark.parametrize("workers", [0, 2])
def test_systemd_is_told_that_it_is_ready_when_it_can_be_heard_and_how_its_wattmeters_are(tmp_path, workers):
    heard = []
    with Site(tmp_path, f"workers = {workers}\n" + section("m1")) as site, notified(tmp_path / "notify") as systemd:
        site.start("drivers", environ={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"})
        eventually(lambda: heard.append(systemd.recv(1000).decode()) or heard[-1] == "READY=1")
        assert "STATUS=1 wattmeter: 1 starting" in heard
        with socket.create_connection(address(site.published), timeout=5):
            told = {"STATUS=1 wattmeter: 1 up", "WATCHDOG=1"}
            eventually(lambda: heard.append(systemd.recv(1000).decode()) or told <= set(heard))
        assert site.stop("drivers") == 0
        eventually(lambda: systemd.recv(1000) == b"STOPPING=1")


@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_not_ready_when_its_endpoint_is_taken(tmp_path, workers):
    with Site(tmp_path, f"workers = {workers}\n" + section("m1")) as site, notified(tmp_path / "notify") as systemd:
        with socket.create_server(address(site.published)):
            site.start("drivers", environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})
            assert site.processes.pop("drivers").wait(10) in (1, 2)
        assert "cannot listen on the endpoint" in site.log("drivers")
        systemd.settimeout(0)
        heard = []
        with pytest.raises(BlockingIOError):
            while True:
                heard.append(systemd.recv(1000))
        assert b"READY=1" not in heard


@contextmanager
def notified(path):
    """Yield the socket at which systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(10)
        yield systemd


def address(endpoint):
    return "127.0.0.1", int(endpoint.rpartition(":")[2])


def test_health_is_shown_muted_and_measured(tmp_path):
    port = free_port()
    gone = "[m.gone]\ndriver = snmp\nhost = 127.0.0.1\nport = 9\ntimeout = 0.1\nretries = 0\nprobes = b\n"
    with Site(tmp_path, f"metrics_port = {port}\n" + section("m.good") + gone) as site:
        site.start("drivers")
        eventually(lambda: "m.gone is down" in site.log("drivers"))
        shown = kwapi(site, "status")
        assert shown.returncode == 2
        assert shown.stdout.startswith("KWAPI CRITICAL - 1 up, 1 down | ")
        assert kwapi(site, "mute", "m.gone", "1").returncode == 0
        eventually(lambda: "m.gone is muted" in site.log("drivers"))
        assert kwapi(site, "status").returncode == 0
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            samples = page.read().decode()
        assert 'kwapi_wattmeter_state{driver="snmp",state="muted",wattmeter="m.gone"} 1.0' in samples
        assert kwapi(site, "mute", "m.gone", "--off").returncode == 0
        eventually(lambda: "m.gone is polled again" in site.log("drivers"))


def children(site):
    """Return the pids of the daemon's worker processes."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = status.with_name("cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == site.processes["drivers"].pid and b"kwapi.drivers.share" in command:
            found.append(int(status.parent.name))
    return sorted(found)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
