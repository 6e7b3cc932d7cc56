"""BMCs as the farm starts them, asked by Kwapi's own driver."""

import json
import signal
import socket
import subprocess
import sys

import pytest

from kwapi.drivers.ipmi.records import parse_power_reading
from kwapi.errors import CredentialsRefused
from kwapi.simulator.description import Plan
from kwapi.simulator.device import Device, Fault
from kwapi.simulator.ipmi_bmc import power_reading
from kwapi.simulator.load import Circuit, Inlet, no_power, rack
from tests.clock import Clock
from tests.simulator.farms import run

MACHINE = Plan("node", "ipmi", options={"min_interval": 0})


def test_power_reading_is_what_the_driver_understands():
    device = Device(rack(1, own=no_power), clock=Clock(0.0), wall_clock=lambda: 1_800_000_000.9)
    reading = parse_power_reading(power_reading(device))
    watts = round(device.outlets[0].reading.milliwatts / 1000)
    assert (reading.watts, reading.minimum, reading.maximum, reading.average) == (watts,) * 4
    assert (reading.timestamp, reading.seconds, reading.active) == (1_800_000_000, 1.0, True)


def test_more_watts_than_the_format_has_are_the_most_it_has():
    outlet = Circuit("furnace", lambda second: 70_000_000, lambda second: 230_000, lambda second: 900)
    device = Device(Inlet((outlet,), outlet, lambda second: 50_000), clock=Clock(0.0))
    assert parse_power_reading(power_reading(device)).watts == 0xFFFF


def test_each_bmc_tells_of_its_own_machine_by_its_own_clock(tmp_path):
    plans = [Plan(f"node{number}", "ipmi", load="step", seed=number, options={"min_interval": 0}) for number in (1, 2)]

    async def conversation(site):
        site.farm.fault("node2", Fault("frozen"), None)
        for name in ("node1", "node2"):
            await site.open(name)
        before = [(await site.read(name))[name].watts for name in ("node1", "node2")]
        await site.pass_time(300)
        return before, [(await site.read(name))[name].watts for name in ("node1", "node2")], site.energy()

    before, after, energy = run(conversation, plans, tmp_path)
    assert abs(after[0] - before[0]) > 150
    assert after[1] == before[1]
    assert after[0] == pytest.approx(energy["node1"]["milliwatts"] / 1000, abs=0.5)


def test_reading_whose_time_stands_still_is_not_taken_twice(tmp_path):
    async def conversation(site):
        await site.open("node")
        return [await site.read("node"), await site.read("node")]

    first, second = run(conversation, [MACHINE], tmp_path)
    assert len(first) == 1
    assert second == {}


def test_wrong_password_is_refused(tmp_path):
    async def conversation(site):
        site.drivers["node"].password = "another"
        await site.open("node")
        with pytest.raises(CredentialsRefused):
            await site.read("node")

    run(conversation, [MACHINE], tmp_path)


@pytest.fixture
def bmc():
    """A process with one BMC, and the port of that."""
    command = [sys.executable, "-m", "kwapi.simulator.ipmi_bmc"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b'["secret"]\n')
        process.stdin.flush()
        yield process, json.loads(process.stdout.readline())[0]
        process.kill()


def test_process_ends_when_the_farm_is_killed(bmc):
    process, _ = bmc
    process.stdin.close()
    assert process.wait(10) == 0


def test_clients_that_come_from_the_port_of_one_before_are_answered(bmc):
    process, port = bmc
    ask_for_a_session = bytes.fromhex(
        "0600ff07 0610 00000000 00000000 2000 00000000 01020304 0000000801000000 0100000801000000 0200000801000000"
    )
    ask_what_there_is = bytes.fromhex("0600ff07 00 00000000 00000000 09 2018c88100388e04b5")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        client.send(ask_for_a_session)
        assert client.recv(1000)[5] == 0x11
        process.send_signal(signal.SIGSTOP)
        client.send(ask_what_there_is)
        client.send(ask_what_there_is)
        process.send_signal(signal.SIGCONT)
        assert [client.recv(1000)[4] for _ in range(2)] == [0, 0]
