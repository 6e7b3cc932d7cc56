import io
import json
from queue import Queue

import pytest

from kwapi.cli.main import main
from kwapi.cli.table import cell, lines, show
from kwapi.cli.watch import Board, total_watts
from kwapi.cli.watch import show as show_bus
from kwapi.gate import Gate
from kwapi.service import Task, stop
from kwapi.signing import KeyRing
from tests.clock import Clock
from tests.messages import message
from tests.waiting import eventually


def configured(tmp_path, *sections):
    path = tmp_path / "drivers.conf"
    path.write_text("".join(sections))
    return ["--config-file", str(path)]


DUMMY = "[lab.meter]\ndriver = dummy\nload = steady\nwatts = 42\nprobes = a, b\n"


def test_read_shows_what_a_wattmeter_measures(tmp_path, capsys):
    assert main(["read", "lab.meter", *configured(tmp_path, DUMMY)]) == 0
    assert capsys.readouterr().out == (
        "probe  level    W    V         A\na      device  42  230  0.182609\nb      device  42  230  0.182609\n"
    )


def test_every_command_takes_the_directory_of_the_files(tmp_path, capsys):
    configured(tmp_path, DUMMY)
    (tmp_path / "api.conf").write_text(f"[DEFAULT]\nstate_dir = {tmp_path}/none\n")
    place = ["--config-dir", str(tmp_path)]
    assert main(["read", "lab.meter", *place]) == 0
    assert main(["watch", *place]) == 2
    assert f"{tmp_path}/none/signing.key" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["read", "lab.meter", *place, *configured(tmp_path, DUMMY)])


@pytest.mark.parametrize("command", [["status"], ["mute", "lab.meter"], ["read", "lab.meter"]])
def test_the_file_of_another_daemon_is_told(tmp_path, capsys, command):
    with pytest.raises(SystemExit):
        main([*command, "--config-file", str(tmp_path / "api.conf")])
    told = f"{tmp_path}/api.conf is the file of kwapi-api; this command reads drivers.conf"
    assert told in capsys.readouterr().err


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


def test_watch_says_once_in_a_pipe_that_nothing_is_heard(capsys):
    messages = Queue()

    def listen(stopping):
        eventually(lambda: "nothing heard" in capsys.readouterr().err)
        messages.put(message("lyon.pdu", 1, w=[659.5339775085449], timestamp=1795309123.5))
        stopping.wait()

    listener = Task("bus", listen)
    listener.start()
    assert show_bus(messages, listener, Gate(KeyRing([])), 1, "'lyon' at tcp://b:1", patience=0) == 0
    stop([listener])
    printed = capsys.readouterr()
    assert [line.split() for line in printed.out.splitlines()] == [
        ["1795309123.500", "lyon.pdu", "taurus-1", "659.534"]
    ]


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


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.1 + 0.2, "0.3"), (659.5339775085449, "659.534"), (1234567.8, "1234568"), (123456789, "123456789")],
)
def test_a_number_has_six_digits(value, text):
    assert cell(value) == text


@pytest.mark.parametrize(("terminal", "expected"), [(False, "p  W\na  -\n"), (True, "\033[1mp  W\033[0m\na  -\n")])
def test_a_terminal_gets_colour_and_a_pipe_does_not(terminal, expected, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    show(["p", "W"], [["a", None]], stream)
    assert stream.getvalue() == expected
