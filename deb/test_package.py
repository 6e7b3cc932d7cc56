"""The Debian package on a Debian with a real systemd: ``tox -e deb``, which needs root and a mirror of Debian.

KWAPI_DEB names a package that is there already.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from deb.machine import DAEMONS, booted, debian, install
from tests.integration.programs import needed_program
from tests.waiting import eventually

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "installation.md"
PATIENT = 90.0  # seconds
KINDS = {"snmp", "modbus", "http", "ipmi", "redfish"}  # of simulated wattmeters
FARM = "".join(f'[[wattmeter]]\nname = "{kind}"\nkind = "{kind}"\n' for kind in sorted(KINDS))
ENCRYPTED = "[DEFAULT]\ncurve_key_file = /run/credentials/kwapi-{0}.service/kwapi-{0}.key_secret\n"


def built(tmp_path_factory):
    """Return the package."""
    if given := os.environ.get("KWAPI_DEB"):
        return Path(given).resolve()
    ended = subprocess.run([HERE / "build.sh", tmp_path_factory.mktemp("package")], stdout=subprocess.PIPE, text=True)
    assert ended.returncode == 0
    return Path(ended.stdout.split()[-1])


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return built(tmp_path_factory)


@pytest.fixture(scope="module")
def newer(package, tmp_path_factory):
    """Return the same package with a higher version."""
    directory = tmp_path_factory.mktemp("newer")
    subprocess.run(["dpkg-deb", "--raw-extract", package, directory / "tree"], check=True)
    control = directory / "tree/DEBIAN/control"
    version = next(line for line in control.read_text().splitlines() if line.startswith("Version: "))
    control.write_text(control.read_text().replace(version, f"{version}.1"))
    subprocess.run(["dpkg-deb", "--build", "-Zgzip", directory / "tree", directory / "newer.deb"], check=True)
    return directory / "newer.deb"


@pytest.fixture(scope="module")
def tree(package, newer, tmp_path_factory):
    """Return a Debian with the package installed, and both packages in /root."""
    directory = tmp_path_factory.mktemp("debian")
    debian(directory)
    install(directory, package)
    for name, path in {"kwapi.deb": package, "newer.deb": newer}.items():
        (directory / "root" / name).write_bytes(path.read_bytes())
    return directory


@pytest.fixture
def machine(tree):
    with booted(tree) as machine:
        yield machine


def test_lintian_finds_nothing_but_what_is_meant_so(package):
    """What is, stands in lintian-overrides; whom to ask is a matter of who builds it for others (DEBEMAIL)."""
    suppressed = "bogus-mail-host,bogus-mail-host-in-debian-changelog"
    command = [needed_program("lintian", "lintian"), "--allow-root", "--suppress-tags", suppressed, package]
    assert subprocess.run(command, capture_output=True, text=True).stdout == ""


def test_an_installation_starts_nothing_and_closes_what_holds_passwords(machine):
    assert machine.states() == ["inactive"] * 4
    modes = machine.do("cd /etc/kwapi; stat --format='%n %a %U %G' *").splitlines()
    assert modes == [
        "api.conf 640 root kwapi",
        "drivers.conf 640 root kwapi",
        "forwarder.conf 644 root root",
        "rrd.conf 644 root root",
    ]
    assert machine.do("cd /usr/lib/systemd/system; systemd-analyze verify kwapi.target kwapi-*.service 2>&1") == ""
    checked = machine.run("kwapi", "check")
    assert all("[keystone_authtoken]" in line for line in checked.stderr.splitlines())


def test_all_daemons_start_measure_and_stop(machine):
    machine.configure()
    machine.start()
    eventually(lambda: sum(machine.energies().values()) > 0, PATIENT)
    assert set(machine.energies()) == {"a", "b"}
    eventually(lambda: machine.get(8080, "/graph/minute/a.png").startswith(b"\x89PNG"), PATIENT)
    users = [machine.do(f"stat --format=%U /proc/{pid}").strip() for pid in machine.pids()]
    assert users == ["kwapi", "kwapi-forwarder", "kwapi", "kwapi"]
    assert machine.do("stat --format=%a:%U /var/lib/kwapi /var/lib/kwapi/signing.key").split() == [
        "700:kwapi",
        "600:kwapi",
    ]
    assert machine.run("setpriv", "--reuid=kwapi-forwarder", "--clear-groups", "ls", "/var/lib/kwapi").returncode != 0
    machine.do("systemctl stop kwapi.target")
    eventually(lambda: machine.states() == ["inactive"] * 4, PATIENT)
    for complaint in ("Traceback", "Fatal", "not permitted", "SIGKILL"):
        assert complaint not in machine.log()


def test_what_the_document_says_after_the_installation_works(machine):
    first, then = (
        re.search(rf"```sh {name}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)[1] for name in ("first", "then")
    )
    machine.do(first)
    eventually(lambda: sum(machine.energies().values()) > 0, PATIENT)
    shown = machine.do(then)
    assert "1 up" in shown
    assert "web-1" in shown
    assert "showing graphs" in shown


def test_what_is_first_written_under_a_narrow_umask_is_read_by_the_daemons(machine):
    machine.do("rm -r /etc/kwapi\numask 077\nkwapi init")
    machine.start()
    eventually(lambda: sum(machine.energies().values()) > 0, PATIENT)


def test_simulated_wattmeters_are_read_over_their_protocols(machine):
    """So the libraries work with what the unit lets them do, and so do the helper processes of ipmi."""
    machine.configure(drivers="[DEFAULT]\n")
    machine.path("/root/farm.toml").write_text(FARM)
    farm = "kwapi-simulator /root/farm.toml --write-config /etc/kwapi/drivers.conf"
    machine.do(f"systemd-run --quiet --unit=farm --property=Type=exec {farm}")
    eventually(lambda: "[redfish]" in machine.path("/etc/kwapi/drivers.conf").read_text(), PATIENT)
    machine.do("chgrp -R kwapi /etc/kwapi; chmod -R g+rX /etc/kwapi")
    machine.start()
    eventually(lambda: "5 up" in machine.run("kwapi", "status").stdout, PATIENT)
    eventually(lambda: machine.energies().keys() >= KINDS, PATIENT)
    assert "not permitted" not in machine.log()


def test_a_reload_adds_a_wattmeter_to_the_same_process(machine):
    machine.configure()
    machine.start()
    before = machine.pids()
    drivers = machine.path("/etc/kwapi/drivers.conf")
    drivers.write_text(drivers.read_text() + "[rack.other]\ndriver = dummy\nprobes = c\n")
    machine.do("systemctl reload kwapi-drivers")
    eventually(lambda: "c" in machine.energies(), PATIENT)
    assert machine.pids() == before


def test_a_daemon_that_hangs_is_started_again(machine):
    machine.configure()
    for name in DAEMONS:
        directory = machine.path(f"/run/systemd/system/kwapi-{name}.service.d")
        directory.mkdir(parents=True)
        (directory / "soon.conf").write_text("[Service]\nWatchdogSec=3s\nRestartSec=100ms\n")
    machine.do("systemctl daemon-reload")
    machine.start()
    before = machine.pids()
    eventually(lambda: machine.energies(), PATIENT)
    assert machine.pids() == before  # all tell the watchdog in time
    machine.do(f"kill -STOP {' '.join(map(str, before))}")
    eventually(lambda: not set(before) & set(machine.pids()) and machine.states() == ["active"] * 4, PATIENT)
    assert [machine.show(name, "NRestarts") for name in DAEMONS] == ["1"] * 4
    assert machine.log().count("Watchdog timeout") == 4


def test_a_daemon_that_cannot_start_is_given_up_after_a_while(machine):
    machine.configure(api="[DEFAULT]\nno_such_option = 1\n")
    directory = machine.path("/run/systemd/system/kwapi-api.service.d")
    directory.mkdir(parents=True)
    (directory / "soon.conf").write_text("[Service]\nRestartSec=1ms\n")
    machine.do("systemctl daemon-reload")
    assert machine.run("systemctl", "start", "kwapi-api").returncode == 1
    eventually(lambda: machine.show("api", "ActiveState") == "failed", PATIENT)
    assert "[DEFAULT] no_such_option: unknown option" in machine.log()
    assert "Start request repeated too quickly" in machine.log()


def test_worker_processes_measure_and_end_with_the_daemon(machine):
    machine.configure(
        drivers="[DEFAULT]\nworkers = 2\n[one]\ndriver = dummy\nprobes = a\n[two]\ndriver = dummy\nprobes = b\n"
    )
    machine.start()
    eventually(lambda: set(machine.energies()) == {"a", "b"}, PATIENT)
    assert "kwapi.drivers.share" in machine.do("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    machine.do("systemctl stop kwapi-drivers")
    assert "kwapi.drivers.share" not in machine.do("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_curve_keys_are_credentials(machine):
    files = {name: ENCRYPTED.format(name) for name in DAEMONS}
    files["drivers"] += "[rack.pdu]\ndriver = dummy\nprobes = a\n"
    files["api"] += "acl_enabled = false\n"
    machine.configure(**files)
    machine.do(
        """
        for name in drivers forwarder api rrd; do kwapi keygen /etc/credstore kwapi-$name; done
        install -d -o kwapi /var/lib/kwapi /var/lib/kwapi/clients /var/lib/kwapi/servers
        cd /var/lib; install -d -o kwapi-forwarder kwapi-forwarder kwapi-forwarder/clients kwapi-forwarder/servers
        cd /etc/credstore
        cp kwapi-forwarder.key kwapi-api.key kwapi-rrd.key /var/lib/kwapi/clients
        cp kwapi-api.key kwapi-rrd.key /var/lib/kwapi-forwarder/clients
        cp kwapi-drivers.key /var/lib/kwapi-forwarder/servers/127.0.0.1.key
        cp kwapi-drivers.key /var/lib/kwapi/servers/127.0.0.1:5565.key
        cp kwapi-forwarder.key /var/lib/kwapi/servers/127.0.0.1:5556.key
        chmod a+r /var/lib/kwapi/*/* /var/lib/kwapi-forwarder/*/*
        """
    )
    machine.start()
    eventually(lambda: "a" in machine.energies(), PATIENT)


def test_unix_sockets_join_two_users(machine):
    ipc = "ipc_mode = 0660\n"
    drivers, forwarder = "ipc:///run/kwapi/drivers/bus", "ipc:///run/kwapi/forwarder/bus"
    machine.configure(
        drivers=f"[DEFAULT]\nprobes_endpoint = {drivers}\nipc_owner = :kwapi-forwarder\n{ipc}"
        "[rack.pdu]\ndriver = dummy\nprobes = a\n",
        forwarder=f"[DEFAULT]\nprobes_endpoint = {drivers}\nforwarder_endpoint = {forwarder}\n{ipc}",
        api=f"[DEFAULT]\nprobes_endpoint = {forwarder}\nacl_enabled = false\n",
    )
    machine.start()
    eventually(lambda: "a" in machine.energies(), PATIENT)


def test_an_upgrade_restarts_what_runs_and_keeps_energy_and_configuration(machine):
    machine.configure()
    machine.start()
    eventually(lambda: machine.energies(), PATIENT)
    configuration = machine.do("cat /etc/kwapi/*.conf")
    machine.do("systemctl stop kwapi-forwarder; systemctl start kwapi-forwarder kwapi-api kwapi-rrd")
    before, energies = machine.pids(), machine.energies()
    machine.do("dpkg -i /root/newer.deb </dev/null")
    assert machine.states() == ["active"] * 4
    assert not set(before) & set(machine.pids())
    assert machine.do("cat /etc/kwapi/*.conf") == configuration
    eventually(lambda: all(machine.energies().get(name, 0.0) > kwh for name, kwh in energies.items()), PATIENT)


def test_an_upgrade_starts_nothing_that_did_not_run(machine):
    machine.do("dpkg -i /root/newer.deb </dev/null")
    assert machine.states() == ["inactive"] * 4


def test_what_is_removed_comes_back_with_its_energy_and_what_is_purged_does_not(machine):
    machine.configure()
    machine.start()
    eventually(lambda: sum(machine.energies().values()) > 0, PATIENT)
    energies = machine.energies()
    machine.do("dpkg --remove kwapi")
    assert "/usr/bin/kwapi" not in machine.do("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert not machine.path("/usr/lib/kwapi").exists()
    assert machine.do("find /etc/systemd /usr/lib/systemd/system /usr/bin -name '*kwapi*'") == ""
    assert machine.path("/etc/kwapi/drivers.conf").exists()

    machine.do("dpkg -i /root/kwapi.deb </dev/null")
    machine.start()
    eventually(lambda: all(machine.energies().get(name, 0.0) >= kwh for name, kwh in energies.items()), PATIENT)

    machine.do("dpkg --purge kwapi")
    left = machine.do("find / -xdev -name '*kwapi*' -not -path '/proc/*' -not -path '/root/*' -not -path '/tmp/*'")
    assert left == ""
    assert machine.do("systemctl --failed --plain --no-legend") == ""
