import re
import time

import pytest

from kwapi.cli.main import main
from kwapi.drivers.mutes import read_mutes, write_mutes


@pytest.fixture
def mute(tmp_path):
    path = tmp_path / "drivers.conf"
    path.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}\n[lab.a]\ndriver = dummy\nprobes = a\n")
    return lambda *argv: main(["mute", *argv, "--config-file", str(path)])


def test_a_wattmeter_is_muted_for_hours_or_until_off(mute, tmp_path, capsys):
    path = tmp_path / "muted.json"
    assert mute("lab.a", "2") == 0
    assert re.fullmatch(rf"lab\.a is muted until \d{{4}}-\d\d-\d\d \d\d:\d\d; noted in {path}\n", printed(capsys))
    assert read_mutes(path)["lab.a"] == pytest.approx(time.time() + 7200, abs=60)
    assert mute("lab.a") == 0
    assert printed(capsys) == f"lab.a is muted until --off; noted in {path}\n"
    assert read_mutes(path) == {"lab.a": None}
    assert mute("lab.a", "--off") == 0
    assert printed(capsys) == f"lab.a is polled again; noted in {path}\n"
    assert read_mutes(path) == {}


def printed(capsys):
    return capsys.readouterr().out


def test_a_state_dir_that_is_not_there_is_told(tmp_path, capsys):
    path = tmp_path / "drivers.conf"
    path.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}/none\n[lab.a]\ndriver = dummy\nprobes = a\n")
    assert main(["mute", "lab.a", "--config-dir", str(tmp_path)]) == 2
    assert f"there is no directory {tmp_path}/none; let state_dir be" in capsys.readouterr().err


def test_mutes_that_are_over_are_forgotten(mute, tmp_path):
    write_mutes(tmp_path / "muted.json", {"gone": 5.0, "other": None})
    assert mute("lab.a") == 0
    assert read_mutes(tmp_path / "muted.json") == {"other": None, "lab.a": None}


@pytest.mark.parametrize(
    ("argv", "mistake"),
    [
        (["lab.b"], "there is no wattmeter 'lab.b'"),
        (["lab.a", "-1"], "hours are a positive number"),
        (["lab.a", "nan"], "hours are a positive number"),
        (["lab.a", "2", "--off"], "hours are a positive number, and not for --off"),
    ],
)
def test_mistakes_are_told(mute, capsys, argv, mistake):
    assert mute(*argv) == 2
    assert mistake in capsys.readouterr().err


def test_a_damaged_file_is_not_replaced(mute, tmp_path, capsys):
    (tmp_path / "muted.json").write_text("{")
    assert mute("lab.a") == 1
    assert "muted.json" in capsys.readouterr().err
    assert (tmp_path / "muted.json").read_text() == "{"
