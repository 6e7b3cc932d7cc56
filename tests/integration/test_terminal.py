"""``kwapi`` as a person has it in a terminal, and as a shell's pipe has it."""

import re
import socket
import subprocess

import pytest

from tests.integration.daemons import Site
from tests.integration.redfish_server import PASSWORD, USER, make_certificate, serve_redfish
from tests.integration.terminal import CTRL_C, INTERRUPTED, KWAPI, Terminal
from tests.integration.test_redfish import rackmount

pytestmark = pytest.mark.integration

DUMMY = "[lab.meter]\ndriver = dummy\nload = steady\nwatts = 42\nprobes = a, b\ninterval = 0.1\n"


@pytest.fixture
def drivers_conf(tmp_path):
    path = tmp_path / "drivers.conf"
    path.write_text(DUMMY)
    return path


@pytest.fixture(scope="module")
def bus(tmp_path_factory):
    """Return the configuration file of a plugin whose bus is alive."""
    directory = tmp_path_factory.mktemp("site")
    wattmeters = "".join(DUMMY.replace("meter", f"meter{number}").replace("a, b", f"a{number}") for number in range(9))
    with Site(directory, wattmeters) as site:
        site.start("drivers", "forwarder")
        yield directory / "api.conf"


def shell(line):
    """Return what a shell's line prints, both streams; KWAPI stands for the command."""
    command = line.replace("KWAPI", " ".join(KWAPI))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_read_shows_a_table_with_a_bold_heading(drivers_conf):
    with Terminal("read", "lab.meter", "--config-file", drivers_conf) as terminal:
        assert terminal.end() == 0
        lines = terminal.shown.splitlines()
    assert lines[0] == "\033[1mprobe  level    W    V         A\033[0m"
    assert lines[1] == "a      device  42  230  0.182609"
    assert lines[3] == "no two values contradict each other"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colours_gets_none(environ, drivers_conf):
    with Terminal("read", "lab.meter", "--config-file", drivers_conf, **environ) as terminal:
        assert terminal.end() == 0
        assert "\033" not in terminal.shown


def test_a_reader_who_leaves_early_is_no_error(drivers_conf, bus):
    read = f"KWAPI read lab.meter --config-file {drivers_conf}"
    assert shell(f"{read} | head -n 1") == (0, "probe  level    W    V         A\n", "")
    assert shell(f"{read} | true") == (0, "", "")
    status, printed, told = shell(f"KWAPI watch lab --config-file {bus} | head -n 1")
    assert (status, len(printed.splitlines()), told) == (0, 1, "")
    assert shell("KWAPI --help | true") == (0, "", "")


def test_a_full_disk_is_told(drivers_conf):
    status, printed, told = shell(f"KWAPI read lab.meter --config-file {drivers_conf} > /dev/full")
    assert (status, printed, told) == (1, "", "kwapi: No space left on device\n")


def test_watch_draws_what_it_hears_no_larger_than_the_terminal(bus):
    with Terminal("watch", "--config-file", bus, columns=30, lines=8) as terminal:
        terminal.expect("and 6 more lines")
        terminal.type(CTRL_C)
        assert terminal.end() == 0
        screen = terminal.shown.split("\033[H\033[J")[-1]
    lines = re.sub(r"\033\[\d*m", "", screen).replace(CTRL_C, "").replace("^C", "").splitlines()
    assert max(map(len, lines)) <= 30
    assert len(lines) == 7
    assert lines[1].split()[:3] == ["lab.meter0", "1", "42"]
    assert lines[-1].startswith("lost: 0   rejected: none")


def test_watch_shows_the_probes_of_a_single_wattmeter(bus):
    with Terminal("watch", "lab.meter3", "--config-file", bus) as terminal:
        terminal.expect("a3 ")
        terminal.type(CTRL_C)
        assert terminal.end() == 0
        assert re.search(r"^probe +w +v +a\r$", terminal.shown, re.MULTILINE)


def test_watch_says_that_it_hears_nothing(bus):
    with Terminal("watch", "nobody", "--config-file", bus) as terminal:
        terminal.expect("nothing heard yet from 'nobody', a name or its first parts, at tcp://127.0.0.1:")
        terminal.type(CTRL_C)
        assert terminal.end() == 0


def test_watch_tells_of_messages_that_it_rejects(bus, tmp_path):
    stranger = tmp_path / "api.conf"
    key = tmp_path / "signing.key"
    key.write_text("0123456789abcdef" * 4 + "\n")
    key.chmod(0o600)
    stranger.write_text(bus.read_text() + f"signing_key_file = {key}\n")
    with Terminal("watch", "--config-file", stranger) as terminal:
        terminal.expect("unknown key")
        terminal.type(CTRL_C)
        assert terminal.end() == 0
        assert re.search(r"^lost: 0   rejected: \d+ unknown key\r$", terminal.shown, re.MULTILINE)
        assert "dropped" not in terminal.shown
    with subprocess.Popen(
        [*KWAPI, "watch", "--config-file", str(stranger)], stderr=subprocess.PIPE, text=True
    ) as piped:
        told = piped.stderr.readline()
        piped.terminate()
    assert "dropped so far, the last one: unknown key" in told


def test_ctrl_c_ends_a_command_that_waits():
    with socket.create_server(("127.0.0.1", 0)) as meter:
        meter.settimeout(30)
        argv = ("discover", "modbus", f"127.0.0.1:{meter.getsockname()[1]}", "--units", "1-247")
        with Terminal(*argv) as terminal, meter.accept()[0] as connection:
            connection.recv(256)
            terminal.type(CTRL_C)
            assert terminal.end() == INTERRUPTED
            assert terminal.shown in ("^C", "^C\r\n")


def test_ctrl_c_ends_a_command_whose_driver_has_threads(tmp_path):
    with socket.socket(type=socket.SOCK_DGRAM) as pdu:
        pdu.bind(("127.0.0.1", 0))
        pdu.settimeout(30)
        path = tmp_path / "drivers.conf"
        path.write_text(f"[p]\ndriver = snmp\nhost = 127.0.0.1\nport = {pdu.getsockname()[1]}\nprobes = a\n")
        with Terminal("read", "p", "--config-file", path) as terminal:
            pdu.recv(2048)
            terminal.type(CTRL_C)
            assert terminal.end() == INTERRUPTED
            assert terminal.shown in ("^C", "^C\r\n")


def test_a_password_is_asked_for_and_not_shown(tmp_path):
    certificate = make_certificate(tmp_path)
    with serve_redfish(rackmount(), certificate) as server:
        argv = ("--user", USER, "--ca-file", certificate, "--timeout", "10")
        with Terminal("discover", "redfish", f"127.0.0.1:{server.port}", *argv) as terminal:
            terminal.expect("Password: ")
            terminal.type(PASSWORD + "\n")
            assert terminal.end() == 0
            assert "driver = redfish" in terminal.shown
            assert PASSWORD not in terminal.shown
        with Terminal("discover", "redfish", f"127.0.0.1:{server.port}", *argv) as terminal:
            terminal.expect("Password: ")
            terminal.type("\x04")
            assert terminal.end() == 2
            assert "password is missing" in terminal.shown
