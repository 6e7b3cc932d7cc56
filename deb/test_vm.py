"""The Debian package on a Debian with a kernel, a disk and a plug of its own: ``tox -e vm``, as root, with a mirror.

KWAPI_DEB names a package that is there already. Its walk prints how long each step took.
"""

import time

import pytest

from deb.machine import debian, install
from deb.test_package import PATIENT, built
from deb.vm import make_bootable, virtual_machine
from tests.waiting import eventually

PASSED = 180.0  # seconds; an outlet of 100 W counts the next Wh within 36, and the processor is emulated

FARM = '[[wattmeter]]\nname = "rack.pdu1"\nkind = "snmp"\noutlets = 8\n'
SIMULATOR = """[Unit]
Before=kwapi-drivers.service
[Service]
Type=exec
ExecStart=/usr/bin/kwapi-simulator /root/farm.toml --write-config /etc/kwapi/drivers.conf.d/farm.conf
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    directory = tmp_path_factory.mktemp("debian")
    debian(directory)
    install(directory, built(tmp_path_factory))
    make_bootable(directory)
    return directory


@pytest.fixture
def machine(tree, tmp_path):
    with virtual_machine(tree, tmp_path) as machine:
        yield machine


def outlets(machine):
    """Return the kWh of the PDU's outlets; kwapi init has made another wattmeter, which invents its watts."""
    return {probe: kwh for probe, kwh in machine.energies().items() if probe.startswith("rack.pdu1-")}


class Walk:
    """What a person does, step by step."""

    def __init__(self, machine):
        self._machine = machine
        self._begun = time.monotonic()

    def step(self, what, script):
        self._machine.do(script)
        self.reached(what)

    def reached(self, what):
        print(f"{time.monotonic() - self._begun:6.1f} s  {what}")


def test_four_daemons_measure_an_snmp_pdu_and_go_on_after_a_reboot_and_a_power_cut(machine):
    walk = Walk(machine)
    walk.step(
        "a simulated PDU answers SNMP",
        f"mkdir -p /etc/kwapi/drivers.conf.d\nprintf '%s' '{FARM}' > /root/farm.toml\n"
        f"cat > /etc/systemd/system/farm.service << 'EOF'\n{SIMULATOR}EOF\n"
        "systemctl enable --now --quiet farm\n"
        "timeout 60 sh -c 'until test -s /etc/kwapi/drivers.conf.d/farm.conf; do sleep 0.1; done'\n"
        "chgrp -R kwapi /etc/kwapi/drivers.conf.d\nchmod -R g+rX /etc/kwapi/drivers.conf.d",
    )
    walk.step("kwapi init has written what lacked", "kwapi init --directory /etc/kwapi")
    walk.step("kwapi check finds no mistake", "kwapi check")
    walk.step("the daemons are enabled and started", "systemctl enable --now --quiet kwapi.target")
    eventually(lambda: len(kwhs := outlets(machine)) == 8 and min(kwhs.values()) > 0, PATIENT)
    walk.reached("the API has kWh of every outlet")
    eventually(lambda: machine.get(8080, "/graph/minute/").startswith(b"\x89PNG"), PATIENT)
    walk.reached("and the page a graph")

    before = outlets(machine)
    machine.switch_off()
    machine.switch_on()
    eventually(lambda: len(outlets(machine)) == 8, PATIENT)
    assert all(outlets(machine)[probe] >= kwh for probe, kwh in before.items())
    walk.reached("switched off and on again, it goes on")

    before, at = outlets(machine), time.monotonic()
    eventually(lambda: time.monotonic() - at > 11, 15)  # SYNC_PERIOD, after which a power cut costs none of it
    machine.cut_power()
    machine.switch_on()
    eventually(lambda: len(outlets(machine)) == 8, PATIENT)
    after = outlets(machine)
    assert all(after[probe] >= kwh for probe, kwh in before.items())
    # Be it that the simulated PDU's registers begin anew with the machine, which is a reset.
    eventually(lambda: sum(outlets(machine).values()) > sum(after.values()), PASSED)
    assert "the machine stopped without warning" in machine.log()
    walk.reached("its plug pulled, it goes on")
