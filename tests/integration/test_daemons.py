"""The four daemons as processes: values arrive, and return by themselves after each part has been killed."""

import subprocess

import pytest

from tests.integration.daemons import DAEMONS, Site, program
from tests.waiting import eventually

pytestmark = pytest.mark.integration

DUMMY = "[lab.meter]\ndriver = dummy\nload = steady\nwatts = 42\nprobes = Ünï rack.1, b\n"


def test_values_arrive_and_return_after_each_part_was_killed(tmp_path, pdu):
    drivers = f"{DUMMY}[rack1.pdu]\ndriver = snmp\nhost = 127.0.0.1\nport = {pdu.port}\ntimeout = 0.5\nretries = 0\n"
    probes = ("Ünï rack.1", "b", "o1", "o2", "in")
    with Site(tmp_path, drivers + "probes = o1, o2, in@inlet\n") as site:
        site.start("drivers", "forwarder", "api", "rrd")
        site.await_new_values(*probes)
        values = site.probes()
        assert values["b"]["w"] == 42.0
        assert values["in"]["w"] > values["o1"]["w"] > 0

        pdu.kill()
        eventually(lambda: "rack1.pdu is down" in site.log("drivers"))
        site.await_new_values("b")
        pdu.start()
        site.await_new_values(*probes)
        assert "rack1.pdu is back" in site.log("drivers")

        for name in ("forwarder", "api", "drivers", "rrd"):
            site.kill(name)
            site.start(name)
            site.await_new_values(*probes)

        eventually(lambda: site.page("/graph/minute/").startswith(b"\x89PNG"))
        eventually(lambda: all(name in site.page("/last/minute/").decode() for name in probes))
        assert {name: site.stop(name) for name in list(site.processes)} == dict.fromkeys(DAEMONS, 0)
        for name in DAEMONS:
            assert "Traceback" not in site.log(name)


def test_energy_counts_up_to_what_the_watts_say(tmp_path):
    with Site(tmp_path, DUMMY + "register = true\ninterval = 0.1\n") as site:
        site.start("drivers", "api", "forwarder")
        site.await_new_values("b")
        first = site.probes()["b"]
        eventually(lambda: site.probes()["b"]["timestamp"] > first["timestamp"] + 2)
        last = site.probes()["b"]
        expected = 42 * (last["timestamp"] - first["timestamp"]) / 3.6e6
        assert last["kwh"] - first["kwh"] == pytest.approx(expected, rel=0.02)


def refused(name, *arguments):
    """Return what a daemon that refuses its configuration prints."""
    ended = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize("name", DAEMONS)
def test_a_wrong_configuration_is_told_and_nothing_starts(tmp_path, name):
    path = tmp_path / f"{name}.conf"
    path.write_text("[DEFAULT]\nlog_level = loud\nnonsense = 1\n[a]\ndriver = nothing\n")
    printed = refused(name, "--config-file", str(path))
    section = f"{path}:5: [a] driver: unknown driver" if name == "drivers" else f"{path}:4: [a]: unknown section"
    for mistake in (f"{path}:2: [DEFAULT] log_level:", f"{path}:3: [DEFAULT] nonsense:", section):
        assert mistake in printed


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[DEFAULT]\n", "[keystone_authtoken] auth_url: is missing"),
        ("[DEFAULT]\nacl_enabled = false\nhost = 0.0.0.0\n", "api.conf:3: [DEFAULT] host: without acl_enabled"),
    ],
)
def test_the_api_does_not_open_itself_to_anybody(tmp_path, text, mistake):
    path = tmp_path / "api.conf"
    path.write_text(text)
    assert mistake in refused("api", "--config-file", str(path))


def test_a_directory_of_rrd_files_in_use_is_named(tmp_path):
    with Site(tmp_path, DUMMY) as site:
        site.start("drivers", "rrd")
        eventually(lambda: site.page("/healthz"))
        assert f"rrd_dir: another process, such as a kwapi-rrd, uses {tmp_path}" in refused(
            "rrd", "--config-dir", str(tmp_path)
        )


def test_a_state_directory_or_a_port_in_use_is_named(tmp_path):
    with Site(tmp_path, DUMMY) as site:
        site.start("drivers", "api")
        eventually(lambda: site.get("/v1/") is not None)
        assert "another process, such as a kwapi-api, uses" in refused("api", "--config-dir", str(tmp_path))
        conf = (tmp_path / "api.conf").read_text().replace("/state\n", "/other\n")
        (tmp_path / "other.conf").write_text(f"{conf}signing_key_file = {tmp_path}/state/signing.key\n")
        printed = refused("api", "--config-file", str(tmp_path / "other.conf"))
        assert f"cannot listen on host 127.0.0.1 port {site.api_port}" in printed
