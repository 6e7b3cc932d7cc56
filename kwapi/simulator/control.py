"""The control socket of a farm: a Unix socket, one JSON object a line in and out.

    {"do": "list"}                                 wattmeters with kind, port, probes and faults; whether it is paused
    {"do": "fault", "wattmeter": NAME, "kind": "slow", "seconds": 3, "for": 20}
                                                   as in a farm's description; without "for" until it is healed
    {"do": "heal", "wattmeter": NAME}              end all its faults; without a name those of all
    {"do": "energy"}                               of each probe: "true" energy since the start and what its "register"
                                                   shows, in microjoules, and true "milliwatts"
    {"do": "pause"}, {"do": "run"}                 let nothing be drawn while time goes on; and everything again

An answer is {"ok": true} or has what was asked for; {"error": TEXT} says what is wrong.
"""

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kwapi.simulator.description import parse_fault
from kwapi.simulator.farm import Farm

TIMEOUT = 10.0  # seconds for an answer
MAX_LINE = 1 << 24  # bytes; of a thousand wattmeters "energy" has less than a million
KEYS = {
    "list": set(),
    "fault": {"wattmeter", "kind", "seconds", "for"},
    "heal": {"wattmeter"},
    "energy": set(),
    "pause": set(),
    "run": set(),
}
DONE = {"ok": True}


def obey(farm: Farm, command: Any) -> dict[str, Any]:
    """Do what a command says and return the answer; ValueError says what is wrong with it."""
    if not isinstance(command, dict) or command.get("do") not in KEYS:
        raise ValueError(f"do must be one of {', '.join(KEYS)}")
    if unknown := command.keys() - KEYS[command["do"]] - {"do"}:
        raise ValueError(f"{sorted(unknown)[0]}: unknown key")
    if "wattmeter" in command and command["wattmeter"] not in farm.wattmeters:
        raise ValueError(f"there is no wattmeter {command['wattmeter']!r}")
    match command["do"]:
        case "list":
            return {"paused": farm.is_paused, "wattmeters": listing(farm)}
        case "energy":
            return {"energy": farm.energy()}
        case "pause":
            farm.pause()
        case "run":
            farm.run()
        case "heal":
            for name in [command["wattmeter"]] if "wattmeter" in command else farm.wattmeters:
                farm.heal(name)
        case "fault":
            begin(farm, command)
    return DONE


def begin(farm: Farm, command: Mapping[str, Any]) -> None:
    """Let a wattmeter misbehave."""
    if "wattmeter" not in command:
        raise ValueError("wattmeter is missing")
    fault, lasts = parse_fault(command)
    farm.fault(command["wattmeter"], fault, lasts)


def listing(farm: Farm) -> list[dict[str, Any]]:
    """Return the wattmeters as they are listed."""
    return [
        {
            "wattmeter": wattmeter.name,
            "kind": wattmeter.plan.kind,
            "port": wattmeter.port,
            "probes": [name for name, _ in wattmeter.probes],
            "faults": sorted(wattmeter.faults),
        }
        for wattmeter in farm.wattmeters.values()
    ]


class Control:
    """The control socket, answered while the event loop runs."""

    def __init__(self, farm: Farm, path: Path) -> None:
        self._farm = farm
        self._path = path
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Make the socket, for its owner alone; OSError if there is something already."""
        unix = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            unix.bind(str(self._path))
        except OSError as error:
            unix.close()
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=unix)

    def close(self) -> None:
        """Remove it."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):  # the client has left, or sends a line that does not end
            return
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return obey(self._farm, json.loads(line))
        except ValueError as error:
            return {"error": str(error)}


def ask(path: Path, command: Mapping[str, Any]) -> Any:
    """Return the answer to a command; OSError if the farm is not there."""
    with socket.socket(socket.AF_UNIX) as unix:
        unix.settimeout(TIMEOUT)
        unix.connect(str(path))
        unix.sendall(json.dumps(command).encode() + b"\n")
        with unix.makefile("rb") as answers:
            return json.loads(answers.readline(MAX_LINE))
