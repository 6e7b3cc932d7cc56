"""The command as a process."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from oslo_config import cfg

from kwapi.config import Reader
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.errors import DeviceError
from kwapi.simulator.app import show_answer
from kwapi.simulator.description import KINDS

DEADLINE = 20  # seconds, after which a process that hangs is killed so that its test fails
GET_DESCRIPTION = (  # SNMPv2c, community "public", GET 1.3.6.1.2.1.1.1.0
    bytes.fromhex("3026 020101 0406")
    + b"public"
    + bytes.fromhex("a019 020101 020100 020100 300e 300c 06082b06010201010100 0500")
)


@contextmanager
def simulator(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-m", "kwapi.simulator", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = threading.Timer(DEADLINE, process.kill)
        deadline.start()
        try:
            yield process
        finally:
            deadline.cancel()
            process.kill()


def port_of(line: str) -> int:
    """Return the port of the line that says the simulator is ready."""
    match = re.fullmatch(r"PDU with 3 outlets answers SNMP on 127\.0\.0\.1:(\d+), community public\n", line)
    assert match, line
    return int(match[1])


def refusal(*arguments: str) -> tuple[int, str]:
    """Return the exit code and the last line of complaint."""
    with simulator(*arguments) as process:
        output, complaint = process.communicate()
    assert output == ""
    return process.returncode, complaint.splitlines()[-1]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_answers_until_it_is_told_to_end(ending):
    with simulator("--port", "0", "--outlets", "3") as process:
        port = port_of(process.stdout.readline())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(DEADLINE)
            client.sendto(GET_DESCRIPTION, ("127.0.0.1", port))
            assert b"ePDU simulated by Kwapi, 3 outlets" in client.recv(1500)
        process.send_signal(ending)
        output, complaint = process.communicate()
    assert (process.returncode, output, complaint) == (0, "", "")


def test_garbage_does_no_harm():
    with simulator("--port", "0", "--outlets", "3") as process:
        port = port_of(process.stdout.readline())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(DEADLINE)
            for end in range(1, len(GET_DESCRIPTION)):
                client.sendto(GET_DESCRIPTION[:end], ("127.0.0.1", port))
            for first in b"\x00\x04\x61\x74\xa1\xb1\xff":  # instead of 0x30; some made pysnmp raise TypeError
                client.sendto(bytes([first]) + GET_DESCRIPTION[1:], ("127.0.0.1", port))
            client.sendto(GET_DESCRIPTION, ("127.0.0.1", port))
            assert b"ePDU" in client.recv(1500)
        process.terminate()
        output, complaint = process.communicate()
    assert (process.returncode, output, complaint) == (0, "", "")


def test_taken_port_is_one_line_of_complaint():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert refusal("--port", str(port)) == (1, f"kwapi-simulator: 127.0.0.1:{port}: Address already in use")


def test_other_machines_are_let_in_only_on_request():
    code, complaint = refusal("--address", "0.0.0.0", "--port", "0")  # noqa: S104
    assert code == 2
    assert complaint == "kwapi-simulator: error: 0.0.0.0 is no loopback address; --any-address allows it"
    with simulator("--address", "0.0.0.0", "--any-address", "--port", "0") as process:  # noqa: S104
        assert " on 0.0.0.0:" in process.stdout.readline()


@pytest.mark.parametrize("arguments", [("--outlets", "0"), ("--port", "65536"), ("--register", "-1"), ("--port", "x")])
def test_number_out_of_range_is_explained(arguments):
    code, complaint = refusal(*arguments)
    assert code == 2
    assert f"'{arguments[1]}' is not a whole number from " in complaint


FARM = """
[[wattmeter]]
name = "rack.pdu"
kind = "snmp"
count = 2
outlets = 2

[[wattmeter]]
name = "plug"
kind = "http"
"""


def command(*arguments: str) -> tuple[int, str, str]:
    """Return the exit code, the output and the complaint of a command that ends by itself."""
    with simulator(*arguments) as process:
        output, complaint = process.communicate()
    return process.returncode, output, complaint


def test_farm_is_read_and_commanded(tmp_path):
    description, conf, socket_path = (tmp_path / name for name in ("farm.toml", "drivers.conf", "control"))
    description.write_text(FARM)
    with simulator(str(description), "--write-config", str(conf), "--control", str(socket_path)) as process:
        assert process.stdout.readline() == f"3 wattmeters answer on 127.0.0.1; {conf} reads them\n"
        reader = Reader("drivers", [conf], environ={})
        wattmeters = {wattmeter.name: wattmeter for wattmeter in read_wattmeters(reader)}
        reader.finish()
        driver = wattmeters["plug"].new_driver(None)
        driver.open()
        (measurement,) = driver.read()
        assert measurement.watts > 0
        assert command("ctl", str(socket_path), "fault", "plug", "refused", "--for", "60") == (0, "done\n", "")
        with pytest.raises(DeviceError, match="refused"):
            driver.read()
        driver.close()
        listed = json.loads(command("ctl", str(socket_path), "list", "--json")[1])
        assert {each["wattmeter"]: each["faults"] for each in listed["wattmeters"]} == {
            "rack.pdu1": [],
            "rack.pdu2": [],
            "plug": ["refused"],
        }
        code, output, complaint = command("ctl", str(socket_path), "fault", "plug", "slow")
        assert (code, output, complaint) == (1, "", "kwapi-simulator: slow needs seconds\n")
        process.terminate()
        output, complaint = process.communicate()
    assert (process.returncode, output, complaint) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drivers.conf", "farm.toml"]


def test_asking_a_unit_that_is_not_there_fills_no_log(tmp_path):
    (tmp_path / "farm.toml").write_text('[[wattmeter]]\nname = "meter"\nkind = "modbus"\n')
    conf = tmp_path / "drivers.conf"
    with simulator(str(tmp_path / "farm.toml"), "--write-config", str(conf)) as process:
        process.stdout.readline()
        port = Reader("drivers", [conf], environ={}).value("meter", cfg.PortOpt("port"))
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            client.sendall(bytes.fromhex("0001 0000 0006 07 03 0bf3 0002"))  # of unit 7
            assert client.recv(100)[6:8] == bytes.fromhex("07 83")
        process.terminate()
        output, complaint = process.communicate()
    assert (process.returncode, output, complaint) == (0, "", "")


def test_farm_that_is_wrong_is_refused(tmp_path):
    (tmp_path / "farm.toml").write_text('[[wattmeter]]\nname = "plug"\n')
    code, _, complaint = command(str(tmp_path / "farm.toml"))
    assert (code, complaint) == (2, f"{tmp_path}/farm.toml: wattmeter 1: lacks kind\n")


def test_farm_that_is_not_there_is_told(tmp_path):
    path = tmp_path / "control"
    assert command("ctl", str(path), "list") == (1, "", f"kwapi-simulator: {path}: No such file or directory\n")


def test_farm_of_every_kind_leaves_nothing_behind(tmp_path):
    entries = [f'[[wattmeter]]\nname = "{kind}"\nkind = "{kind}"\n' for kind in KINDS]
    (tmp_path / "farm.toml").write_text("".join(entries))
    conf = tmp_path / "drivers.conf"
    with simulator(str(tmp_path / "farm.toml"), "--write-config", str(conf)) as process:
        assert process.stdout.readline() == f"{len(KINDS)} wattmeters answer on 127.0.0.1; {conf} reads them\n"
        reader = Reader("drivers", [conf], environ={})
        options = {wattmeter.name: wattmeter.values for wattmeter in read_wattmeters(reader)}
        reader.finish()
        directory = Path(options["redfish"]["ca_file"]).parent
        assert Path(options["wattsup"]["device"]).is_char_device()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1  # the BMCs
        process.terminate()
        output, complaint = process.communicate()
    assert (process.returncode, output, complaint) == (0, "", "")
    assert not Path(f"/proc/{children[0]}").exists()
    assert not directory.exists()


def test_answer_for_people_is_a_table_in_kwh_and_watts(capsys):
    kwh = 3_600_000_000_000  # microjoules
    plug = {"wattmeter": "plug", "probe": "plug", "true": kwh // 4, "register": kwh // 5, "milliwatts": 118_250}
    show_answer({"energy": [plug, {**plug, "wattmeter": "bmc", "probe": "node-1", "register": None}]})
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["wattmeter", "probe", "true", "kWh", "register", "kWh", "W"]
    assert [row.split() for row in rows][0] == ["plug", "plug", "0.25", "0.2", "118.25"]
    assert [row.split() for row in rows][1][:3] == ["bmc", "node-1", "0.25"]


def test_list_for_people_counts_probes_and_names_faults(capsys):
    strip = {"wattmeter": "strip", "kind": "http", "port": 4711, "probes": ["strip-1", "strip-2"], "faults": []}
    show_answer({"paused": True, "wattmeters": [strip, {**strip, "faults": ["frozen", "silent"]}]})
    heading, healthy, ill, paused = capsys.readouterr().out.splitlines()
    assert heading.split() == ["wattmeter", "kind", "port", "probes", "faults"]
    assert healthy.split()[:4] == ["strip", "http", "4711", "2"]
    assert ill.split() == ["strip", "http", "4711", "2", "frozen,", "silent"]
    assert paused == "paused: nothing is drawn"
