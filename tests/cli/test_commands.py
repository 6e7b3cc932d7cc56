import io
import json

import pytest

from kwapi.cli.main import main
from kwapi.cli.table import lines, show
from kwapi.cli.watch import Board, total_watts
from tests.clock import Clock
from tests.messages import message
from tests.test_layers import ROOT


def configured(tmp_path, *sections):
    path = tmp_path / "drivers.conf"
    path.write_text("".join(sections))
    return ["--config-file", str(path)]


DUMMY = "[lab.meter]\ndriver = dummy\nload = steady\nwatts = 42\nprobes = a, b\n"


def test_read_shows_what_a_wattmeter_measures(tmp_path, capsys):
    assert main(["read", "lab.meter", *configured(tmp_path, DUMMY)]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["probe", "level", "W", "V", "A"]
    assert rows[1][:4] == ["a", "device", "42.0", "230.0"]
    assert [row[0] for row in rows] == ["probe", "a", "b"]


def test_read_gives_json(tmp_path, capsys):
    assert main(["read", "lab.meter", "--json", *configured(tmp_path, DUMMY)]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (first["probe"], first["watts"], first["kwh"], first["level"]) == ("a", 42.0, None, "device")


def test_read_says_what_is_wrong(tmp_path, capsys):
    assert main(["read", "nobody", *configured(tmp_path, DUMMY)]) == 2
    assert "there is no wattmeter 'nobody'; there are lab.meter" in capsys.readouterr().err
    assert main(["read", "x", *configured(tmp_path, "[x]\ndriver = dumy\n")]) == 2
    assert "unknown driver" in capsys.readouterr().err
    silent = "[x]\ndriver = snmp\nhost = 127.0.0.1\nport = 9\ntimeout = 0.1\nretries = 0\nprobes = a\n"
    assert main(["read", "x", *configured(tmp_path, silent)]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_check_tells_of_all_files(tmp_path, capsys):
    assert main(["check", "--config-dir", str(ROOT / "etc" / "demo")]) == 0
    assert "no mistakes" in capsys.readouterr().out
    (tmp_path / "drivers.conf").write_text("[x]\ndriver = dumy\n")
    assert main(["check", "--config-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert "unknown driver 'dumy'" in printed
    assert all(f"{daemon}.conf: cannot be read" in printed for daemon in ("forwarder", "api", "rrd"))


def test_check_knows_the_sections_of_keystone_and_of_the_policy(tmp_path, capsys):
    text = "[keystone_authtoken]\nauth_ulr = http://a\npassword = 5ecret words\n[oslo_policy]\npolicy = a\n[other]\n"
    (tmp_path / "api.conf").write_text(text)
    assert main(["check", "--config-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    for mistake in (
        "api.conf:2: [keystone_authtoken] auth_ulr: unknown option; did you mean auth_url?",
        "api.conf:1: [keystone_authtoken] auth_url: is missing",
        "api.conf:1: [keystone_authtoken] username: is missing",
        "api.conf:5: [oslo_policy] policy: unknown option",
        "api.conf:6: [other]: unknown section",
    ):
        assert mistake in printed
    assert "5ecret" not in printed


def test_watch_needs_the_key(tmp_path, capsys):
    path = tmp_path / "api.conf"
    path.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}\n")
    assert main(["watch", "--config-file", str(path)]) == 2
    assert "copy it from where kwapi-drivers runs" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_watch_takes_a_count_above_0(count, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["watch", "--count", count])
    assert ended.value.code == 2
    assert f"invalid positive value: '{count}'" in capsys.readouterr().err


def test_the_board_shows_each_wattmeter():
    clock = Clock()
    board = Board(clock)
    for seq in range(3):
        board.add(
            message("pdu", seq, probes=["in", "o"], w=[100.0, 60.0], level=["inlet", "outlet"], timestamp=clock.now)
        )
    board.add(message("meter", timestamp=clock.now - 2, w=[None]))
    assert board.look(2.0) == [["meter", 1, None, 0.5, 2.0], ["pdu", 2, 100.0, 1.5, 0.0]]
    assert [row[3] for row in board.look(1.0)] == [0.0, 0.0]


def test_watts_of_a_message_are_those_of_its_outermost_level():
    assert total_watts(message(probes=["in", "o"], w=[100.0, 60.0], level=["inlet", "outlet"])) == 100.0
    assert total_watts(message(kwh=[1.0])) is None


def test_a_table_is_aligned():
    assert lines(["probe", "W"], [["a", 5.0], ["long", None]]) == ["probe  W", "a      5", "long   -"]
    assert lines(["probe", "W"], []) == ["probe  W"]


@pytest.mark.parametrize(("terminal", "expected"), [(False, "p\tW\na\t\n"), (True, "\033[1mp  W\033[0m\na  -\n")])
def test_a_terminal_gets_colour_and_a_pipe_gets_tabs(terminal, expected, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    show(["p", "W"], [["a", None]], stream)
    assert stream.getvalue() == expected


def test_check_tells_of_a_machine_with_the_name_of_a_probe(tmp_path, capsys):
    for path in (ROOT / "etc" / "demo").iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    with (tmp_path / "api.conf").open("a") as file:
        file.write("[machine m]\nprobes = web-1\n[machine web-1]\nprobes = x\n")
    assert main(["check", "--config-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert "[machine web-1]: 'web-1' is a probe of the wattmeter" in printed
    assert "[machine m] probes: 'web-1' is a machine" in printed
