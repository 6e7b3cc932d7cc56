"""The real daemons as processes, one behind the other, under a load that is set, and what they say and use.

Everything is as shipped, TCP of loopback and the spool of kwapi-drivers among it, but that Keystone is not asked and
that only errors are logged. Losses are those of the product's own accounts.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import plug_in
from bench.processes import children, cpu_seconds, usage
from kwapi.keys import make_key_file

HERE = Path(__file__).parents[1]
START_LIMIT, STOP_LIMIT, TICK = 60.0, 20.0, 0.05  # seconds
PAGE = 10_000  # probes, the most that /v2/probes gives at once
MODULES = {
    "drivers": "kwapi.drivers.app",
    "forwarder": "kwapi.forwarder",
    "api": "kwapi.plugins.api.app",
    "rrd": "kwapi.plugins.rrd.app",
}
MOST = "max_wattmeters = 100000\nmax_probes = 1000000\n"


@dataclass(frozen=True, slots=True)
class Load:
    """Wattmeters with so many probes each, of all so many probes, and measurements a second of them together."""

    probes: int
    each: int
    rate: float
    growth: float = 1.0
    step: float = 2.0

    @property
    def wattmeters(self) -> int:
        return -(-self.probes // self.each)

    def sections(self) -> str:
        """Return the sections of drivers.conf."""
        rate = self.rate / self.each / self.wattmeters
        after = 0.5 + self.wattmeters / 1000  # seconds that it takes to start them
        options = f"driver = load\nrate = {rate}\ngrowth = {self.growth}\nstep = {self.step}\nafter = {after}\n"
        if rate < 1:
            options += f"interval = {1 / rate}\n"
        return "".join(
            f"[lyon.pdu{number}]\n{options}probes = {', '.join(self.names(number))}\n"
            for number in range(self.wattmeters)
        )

    def names(self, number: int) -> list[str]:
        """Return the probes of a wattmeter."""
        return [f"server-{number}-{place}.example.org" for place in range(self.each)]


def dummies(wattmeters: int) -> str:
    """Return sections of as many wattmeters that are asked once a second and know at once."""
    return "".join(f"[dummy{number}]\ndriver = dummy\nprobes = dummy-{number}\n" for number in range(wattmeters))


@dataclass(frozen=True, slots=True)
class Window:
    """What was taken and used in some seconds: messages, and by process the CPU seconds, and the MB held at the end."""

    seconds: float
    messages: int
    lost: int
    cpu: dict[str, float]
    memory: dict[str, float]


class Chain:
    """Daemons with one configuration, of one checkout; those that run are ended with the chain."""

    def __init__(
        self,
        directory: Path,
        sections: str,
        *,
        tree: Path = HERE,
        plugins: Sequence[str] = ("api",),
        spool: bool = True,
        published: str = "",
        forwarded: str = "",
    ) -> None:
        """``published`` and ``forwarded`` are the endpoints of the bus; ports of loopback by default."""
        self.plugins = list(plugins)
        self._directory = directory
        self._tree = tree
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        replayed = f"tcp://127.0.0.1:{free_port()}"
        published = published or f"tcp://127.0.0.1:{free_port()}"
        self.forwarded = forwarded = forwarded or f"tcp://127.0.0.1:{free_port()}"
        self.key_file = directory / "signing.key"
        self._ports = {name: free_port() for name in plugins}
        make_key_file(self.key_file)
        plug_in(directory / "plugged")
        replay = f"replay_endpoint = {replayed}\n"
        spooling = replay if spool else f"spool_dir =\n{replay}"
        self._write("drivers", f"probes_endpoint = {published}\n{spooling}{sections}")
        self._write("forwarder", f"probes_endpoint = {published}\nforwarder_endpoint = {forwarded}\n")
        for name, port in self._ports.items():
            own = "acl_enabled = false\n" if name.startswith("api") else ""
            self._write(name, f"probes_endpoint = {forwarded}\n{replay}{MOST}port = {port}\n{own}")

    def _write(self, name: str, text: str) -> None:
        """Write a configuration; each plugin has a state of its own."""
        state = self._directory / name
        state.mkdir()
        common = f"[DEFAULT]\nlog_level = error\nstate_dir = {state}\n"
        key = "" if name == "forwarder" else f"signing_key_file = {self.key_file}\n"
        (self._directory / f"{name}.conf").write_text(f"{common}{key}{text}", encoding="utf-8")

    def start(self, *names: str) -> dict[str, float]:
        """Start daemons, all by default; return by name the seconds until each told systemd that it was ready."""
        return {name: self._start(name) for name in names or (*self.plugins, "forwarder", "drivers")}

    def _start(self, name: str) -> float:
        module = MODULES[name.rstrip("0123456789")]
        address = self._directory / f"{name}.notify"
        command = [sys.executable, "-c", f"import sys; from {module} import main; sys.exit(main())"]
        command += ["--config-file", str(self._directory / f"{name}.conf")]
        environ = os.environ | {
            "PYTHONPATH": f"{self._tree}:{HERE}:{self._directory / 'plugged'}",
            "NOTIFY_SOCKET": str(address),
        }
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told,
            (self._directory / f"{name}.log").open("ab") as log,
        ):
            told.bind(str(address))
            told.settimeout(START_LIMIT)
            begun = time.monotonic()
            self._processes[name] = subprocess.Popen(command, env=environ, stderr=log, cwd=self._tree)  # noqa: S603
            try:
                while b"READY=1" not in told.recv(4096).split(b"\n"):
                    pass
            except TimeoutError as error:
                raise TimeoutError(f"{name} was not ready within {START_LIMIT:g} s") from error
        address.unlink()
        return time.monotonic() - begun

    def stop(self, *names: str, kill: bool = False) -> None:
        """End daemons, all by default."""
        ending = [self._processes.pop(name) for name in names or list(self._processes)]
        for process in ending:
            process.kill() if kill else process.terminate()
        for process in ending:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_LIMIT)
            process.kill()
            process.wait()

    def get(self, path: str, plugin: str = "api") -> Any:
        """Return what a plugin answers."""
        return json.loads(self.read(path, plugin))

    def read(self, path: str, plugin: str = "api") -> bytes:
        """Return the body of a plugin's answer."""
        with urllib.request.urlopen(self.address(path, plugin), timeout=30) as answer:  # noqa: S310 -- our own
            return bytes(answer.read())

    def pages(self, path: str) -> Iterator[Any]:
        """Yield a page of a list, and those that follow it."""
        while path:
            yield (page := self.get(path))
            path = page["next"]

    def address(self, path: str, plugin: str = "api") -> str:
        """Return where a plugin answers."""
        return f"http://127.0.0.1:{self._ports[plugin]}{path}"

    def wait_for(self, probes: int) -> None:
        """Wait until the API knows so many probes."""
        until(f"{probes} probes", lambda: len(self.get("/v1/probe-ids/")["probe_ids"]) >= probes)

    def accounts(self) -> dict[str, int]:
        """Return what became of the messages of all wattmeters, as /v2/probes has it, and of frames that were none."""
        messages: dict[str, dict[str, int]] = {}
        for page in self.pages(f"/v2/probes?limit={PAGE}"):
            messages |= page["messages"]
        counts = {key: sum(each[key] for each in messages.values()) for key in next(iter(messages.values()), {})}
        return counts | {"refused": sum(self.get("/healthz")["rejected"].values())}

    def window(self, seconds: float) -> Window:
        """Return what is taken and used in some seconds."""
        counts = self.get("/healthz") if "api" in self.plugins else {}
        before, begun = self._cpu(), time.monotonic()
        time.sleep(seconds)
        after, ended = self._cpu(), time.monotonic()
        later = self.get("/healthz") if "api" in self.plugins else {}
        return Window(
            ended - begun,
            later.get("accepted", 0) - counts.get("accepted", 0),
            later.get("lost", 0) - counts.get("lost", 0),
            {name: after[name] - before[name] for name in after},
            self.memory(),
        )

    def memory(self) -> dict[str, float]:
        """Return the MB that each daemon holds, with its helpers."""
        return {name: usage(*_all(process.pid)).rss_mb for name, process in self._processes.items()}

    def pid(self, name: str) -> int:
        """Return the process of a daemon."""
        return self._processes[name].pid

    def log(self) -> str:
        """Return what was logged."""
        return "".join(path.read_text(encoding="utf-8") for path in sorted(self._directory.glob("*.log")))

    def _cpu(self) -> dict[str, float]:
        return {name: sum(map(cpu_seconds, _all(process.pid))) for name, process in self._processes.items()}


@contextmanager
def chain(sections: str, **options: Any) -> Iterator[Chain]:
    """Yield daemons that are not started yet, in a directory of their own; at the end all are ended."""
    with tempfile.TemporaryDirectory(prefix="kwapi-bench-") as name:
        daemons = Chain(Path(name), sections, **options)
        try:
            yield daemons
        finally:
            daemons.stop()


def _all(pid: int) -> list[int]:
    return [pid, *children(pid)]


def until(what: str, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; give up when it takes too long."""
    end = time.monotonic() + START_LIMIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {START_LIMIT:g} s: {what}")
        time.sleep(TICK)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
