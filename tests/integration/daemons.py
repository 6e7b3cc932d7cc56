"""The daemons as processes, for integration tests: on files of the test's own and free ports of loopback."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.ports import free_port
from tests.waiting import eventually

DAEMONS = ("drivers", "forwarder", "api", "rrd")


def program(name: str) -> str:
    """Return the path of a daemon's command; of "" that of ``kwapi``."""
    return str(Path(sys.executable).with_name(f"kwapi-{name}".removesuffix("-")))


class Site:
    """The four daemons with one configuration; what is started is stopped at the end of the ``with``."""

    def __init__(self, directory: Path, drivers: str) -> None:
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.published, self.forwarded, self.replayed = (f"tcp://127.0.0.1:{free_port()}" for _ in range(3))
        self.api_port, self.rrd_port = free_port(), free_port()
        common = f"[DEFAULT]\nstate_dir = {directory}/state\nlog_level = debug\n"
        replay = f"replay_endpoint = {self.replayed}\n"
        files = {
            "drivers": f"{common}probes_endpoint = {self.published}\n{replay}{drivers}",
            "forwarder": f"{common}probes_endpoint = {self.published}\nforwarder_endpoint = {self.forwarded}\n",
            "api": f"{common}{replay}probes_endpoint = {self.forwarded}\nport = {self.api_port}\nacl_enabled = false\n",
            "rrd": f"{common}{replay}probes_endpoint = {self.forwarded}\nport = {self.rrd_port}\n",
        }
        for name, text in files.items():
            (directory / f"{name}.conf").write_text(text, encoding="utf-8")

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stopping:  # the others too where one does not stop
            for name in reversed(self.processes):
                stopping.callback(self.stop, name)

    def start(self, *names: str, environ: Mapping[str, str] = MappingProxyType({})) -> None:
        """Start daemons; kwapi-drivers is awaited until it has made the signing key."""
        for name in names:
            with (self.directory / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [program(name), "--config-dir", str(self.directory)],
                    stderr=log,
                    env={**{name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}, **environ},
                )
            if name == "drivers":
                eventually(lambda: (self.directory / "state" / "signing.key").exists())

    def stop(self, name: str) -> int:
        """Ask a daemon to stop and return its status; fail unless it does within 5 s."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill(self, name: str) -> None:
        """End a daemon as kill -9 does."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def log(self, name: str) -> str:
        """Return what a daemon has logged."""
        return (self.directory / f"{name}.log").read_text(encoding="utf-8")

    def get(self, path: str) -> Any:
        """Return what the API answers, None while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}{path}", timeout=5) as answer:  # noqa: S310
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def probes(self) -> dict[str, dict[str, float]]:
        """Return the readings of /v1/probes/ by id, {} while the API does not answer."""
        answer = self.get("/v1/probes/")
        return answer["probes"] if answer else {}

    def page(self, path: str) -> bytes:
        """Return a page or a graph of kwapi-rrd, b"" while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rrd_port}{path}", timeout=5) as answer:  # noqa: S310
                return bytes(answer.read())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return b""

    def await_new_values(self, *probes: str) -> None:
        """Wait until each probe's value is newer than those the API has now."""
        before = self.probes()

        def all_newer() -> bool:
            now = self.probes()
            return all(
                name in now and now[name]["timestamp"] > before.get(name, {"timestamp": 0.0})["timestamp"]
                for name in probes
            )

        eventually(all_newer, timeout=60)
