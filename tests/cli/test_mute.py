import time

import pytest

from kwapi.cli.main import main
from kwapi.drivers.mutes import read_mutes, write_mutes


@pytest.fixture
def mute(tmp_path):
    path = tmp_path / "drivers.conf"
    path.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}\n[lab.a]\ndriver = dummy\nprobes = a\n")
    return lambda *argv: main(["mute", *argv, "--config-file", str(path)])


def test_a_wattmeter_is_muted_for_hours_or_until_off(mute, tmp_path):
    path = tmp_path / "muted.json"
    assert mute("lab.a", "2") == 0
    assert read_mutes(path)["lab.a"] == pytest.approx(time.time() + 7200, abs=60)
    assert mute("lab.a") == 0
    assert read_mutes(path) == {"lab.a": None}
    assert mute("lab.a", "--off") == 0
    assert read_mutes(path) == {}


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
