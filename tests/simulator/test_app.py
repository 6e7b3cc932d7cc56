"""The command as a process."""

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

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
