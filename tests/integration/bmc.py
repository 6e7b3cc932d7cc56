"""BMCs as a process, made of pyghmi's server side: RMCP+ on 127.0.0.1, user ``user``, password ``pa55w0rd``.

What each answers is read from a file of JSON at every command, so that a test may change it: ``answers`` has the
completion code and the rest of an answer in hexadecimal, by netfn/command, "" where none is to come; with ``mute`` no
command is answered, with
``silent`` nothing at all. What it gets becomes a line of a second file: commands, logins and logouts.

usage: python -m tests.integration.bmc DIRECTORY PORT...
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from pyghmi.ipmi import bmc
from pyghmi.ipmi.private import serversession, session

from kwapi.drivers.ipmi.pyghmi import send_datagram
from kwapi.simulator import ipmi_bmc
from tests.ports import free_port

USER, PASSWORD = "user", "pa55w0rd"
POWER_READING = "2c/02"


class Bmcs:
    """A process with BMCs, seen from a test; killed and started again they keep their ports."""

    def __init__(self, directory: Path, number: int = 1) -> None:
        self.directory = directory
        self.ports = [free_port(socket.SOCK_DGRAM) for _ in range(number)]
        self.process: subprocess.Popen[bytes] | None = None
        for port in self.ports:
            self.set(port)
        self.start()

    def __enter__(self) -> "Bmcs":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the process, and return when its ports are open."""
        command = [sys.executable, "-m", "tests.integration.bmc", str(self.directory), *map(str, self.ports)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        assert self.process.stdout.readline() == b"open\n"

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def set(
        self, port: int, answers: dict[str, str] | None = None, *, mute: bool = False, silent: bool = False
    ) -> None:
        """Say what the BMC at a port answers from now on."""
        path = self.directory / f"{port}.json"
        with tempfile.NamedTemporaryFile("w", dir=self.directory, delete=False) as file:
            json.dump({"answers": answers or {}, "mute": mute or silent, "silent": silent}, file)
        os.replace(file.name, path)

    def received(self, port: int) -> list[str]:
        """Return what the BMC at a port got: netfn/command, login, logout."""
        log = self.directory / f"{port}.log"
        return log.read_text().split() if log.exists() else []


def power_reading(watts: int, *, timestamp: int = 0, period: int = 1000, active: bool = True, statistics=None) -> str:
    """Return an answer to Get Power Reading as answers have it; statistics are minimum, maximum and average."""
    numbers = [watts, *(statistics or [watts] * 3)]
    octets = b"\xdc" + b"".join(number.to_bytes(2, "little") for number in numbers)
    octets += timestamp.to_bytes(4, "little") + period.to_bytes(4, "little") + bytes([0x40 if active else 0])
    return "00" + octets.hex()


class Bmc(bmc.Bmc):
    """One BMC."""

    directory: Path

    def state(self):
        return json.loads((self.directory / f"{self.port}.json").read_text())

    def note(self, received):
        with (self.directory / f"{self.port}.log").open("a") as log:
            log.write(f"{received}\n")

    def sessionless_data(self, octets, address):
        if not self.state()["silent"]:
            super().sessionless_data(octets, address)

    def handle_raw_request(self, request, session):
        command = f"{request['netfn']:02x}/{request['command']:02x}"
        self.note(command)
        answer = self.state()["answers"].get(command)
        if answer:
            octets = bytes.fromhex(answer)
            session.send_ipmi_response(data=list(octets[1:]), code=octets[0])
        elif answer is None:
            super().handle_raw_request(request, session)


class BmcSession(ipmi_bmc.ServerSession):
    """A session of one BMC."""

    def create_open_session_response(self, request):
        if request[20] == ipmi_bmc.HMAC_SHA1:
            self.bmc.note("login")
        return super().create_open_session_response(request)

    def handle_client_request(self, request):
        if not self.bmc.state()["mute"]:
            super().handle_client_request(request)

    def close_server_session(self):
        self.bmc.note("logout")


def serve(directory: Path, ports: list[int]) -> None:
    """Be the BMCs."""
    serversession.ServerSession = BmcSession  # pyghmi has no other way to say so
    session._io_sendto = send_datagram
    Bmc.directory = directory
    bmcs = [Bmc({USER: PASSWORD}, port=port, address="127.0.0.1") for port in ports]
    print("open", flush=True)
    while bmcs:
        session.Session.wait_for_rsp(30)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), list(map(int, sys.argv[2:])))
