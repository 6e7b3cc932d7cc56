import csv
import io

import pytest

from kwapi.cli.main import main
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.registers import Registers
from tests.clock import Clock
from tests.messages import message

BEFORE = 1_700_000_000.0


@pytest.fixture
def kwapi(tmp_path):
    """Return a function that runs a command on registers of two probes; 0.01 and 0.02 kWh were counted."""
    path = tmp_path / "api.conf"
    path.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}\n[machine web-1]\nprobes = a, b\n[machine m]\nprobes = a, x\n")
    registers = Registers(tmp_path / "energy")
    collector = Collector(registers, wall_clock=Clock(BEFORE))
    for seq in range(2):
        times = {"timestamp": BEFORE + 10 * seq, "monotonic": 10.0 * seq}
        collector.add(message(seq=seq, probes=["a", "b"], w=[3600.0, 7200.0], level=["outlet", "outlet"], **times))
    registers.close()
    return lambda *argv: main([*argv, "--config-file", str(path)])


def exported(kwapi, capsys):
    assert kwapi("export") == 0
    return {row["probe"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}


def test_export_prints_the_energy_of_probes_and_machines(kwapi, capsys):
    assert exported(kwapi, capsys) == {
        "a": {
            "probe": "a",
            "wattmeter": "lyon.pdu1",
            "level": "outlet",
            "kwh": "0.010000",
            "since": "2023-11-14 22:13:20",
            "until": "2023-11-14 22:13:30",
            "measured_seconds": "10",
            "unknown_seconds": "0",
            "coverage": "1.000000",
        },
        "b": exported(kwapi, capsys)["b"] | {"kwh": "0.020000"},
        "web-1": exported(kwapi, capsys)["web-1"] | {"level": "machine", "kwh": "0.030000"},
    }


def test_the_directory_of_the_configuration_will_do(kwapi, tmp_path, capsys):
    for argv in (["rename", "a", "c"], ["forget", "b"], ["export"]):
        assert main([*argv, "--config-dir", str(tmp_path)]) == 0
    renamed, forgotten, _, row = capsys.readouterr().out.splitlines()
    assert (renamed, forgotten) == ("a is called c from now on, which has its energy", "b is forgotten, and its energy")
    assert row.startswith("c,lyon.pdu1,outlet,0.010000,")


def test_a_probe_is_renamed_and_forgotten(kwapi, capsys):
    assert kwapi("rename", "a", "c") == 0
    assert capsys.readouterr().err.count("still names 'a'; change that and restart kwapi-api") == 2
    assert kwapi("forget", "b") == 0
    assert "[machine web-1] of" in capsys.readouterr().err
    assert kwapi("forget", "x") == kwapi("rename", "x", "y") == 1
    assert "machine" not in capsys.readouterr().err
    rows = exported(kwapi, capsys)
    assert {name: row["kwh"] for name, row in rows.items()} == {"c": "0.010000"}


@pytest.mark.parametrize("argv", [("rename", "x", "y"), ("forget", "x")])
def test_what_cannot_be_done_is_said(kwapi, capsys, argv):
    assert kwapi(*argv) == 1
    assert "there is no probe 'x'" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [("rename", "a", "b"), ("forget", "a"), ("export",)])
def test_without_registers_a_command_says_where_it_looked(tmp_path, capsys, argv):
    path = tmp_path / "api.conf"
    path.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}/nowhere\n")
    assert main([*argv, "--config-file", str(path)]) == 2
    assert f"{tmp_path}/nowhere/energy" in capsys.readouterr().err


def test_export_of_another_version_is_refused(kwapi, tmp_path, capsys):
    (tmp_path / "energy" / "registers").write_bytes(b"kwapi energy 2\n" + bytes(5000))
    assert kwapi("export") == 2
    assert "no register file of version 1: it begins with b'kwapi energy 2\\n'" in capsys.readouterr().err


def test_a_mistake_in_the_configuration_is_told(tmp_path, capsys):
    path = tmp_path / "api.conf"
    path.write_text("[DEFAULT]\nprot = 1\n")
    assert main(["export", "--config-file", str(path)]) == 2
    assert f"{path}:2: [DEFAULT] prot: unknown option" in capsys.readouterr().err
