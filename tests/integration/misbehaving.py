"""A farm of wattmeters in which half misbehave at random, read by the real daemons; and what must hold of it.

Before and after the farm is paused, so that nothing is drawn: a first and a last reading are exact, whenever they are
made.
"""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.health import Health
from kwapi.keys import KeyFile
from kwapi.measurement import Message
from kwapi.plugins.api.collector import Collector
from kwapi.simulator.control import ask
from tests.integration.daemons import Site
from tests.integration.listener import Listener
from tests.waiting import eventually

MICROJOULES_PER_KWH = 3.6e12
TIMEOUT = 0.4  # seconds for one answer of a device
SHARES = {"snmp": 0.4, "modbus": 0.2, "http": 0.24, "ipmi": 0.06, "redfish": 0.05, "wattsup": 0.05}  # of the farm
OUTLETS = {"snmp": 4, "modbus": 3, "http": 2}
BMC_INTERVAL = 5.0  # seconds; ipmi and redfish
FAULTS = ("silent", "slow", "refused", "cut", "garbage", "frozen", "step-back", "reboot")
RESETS = ("reset", "power-loss")
WRAPS = {"snmp": ("16 bit", "24 bit", "32 bit", "99999.9 kWh")}
MINUTE = 60.0  # seconds
SETTLED = 4.0  # seconds after which every register has been read, but for the intervals of the slow
OPTIONS = {
    "snmp": f"timeout = {TIMEOUT}, retries = 2, slow_interval = 2",
    "modbus": f"timeout = {TIMEOUT}",
    "http": f"timeout = {2 * TIMEOUT}",
    "ipmi": "timeout = 1",
    "redfish": "timeout = 2",
    "wattsup": "",
}


@dataclass(frozen=True, slots=True)
class Episode:
    """A fault, and when it began and ended, by the monotonic clock."""

    wattmeter: str
    kind: str
    begin: float
    end: float


@dataclass(slots=True)
class Heard:
    """What came of one wattmeter: when each message was heard, and its last health."""

    at: list[float] = field(default_factory=list)
    seqs: list[tuple[int, int]] = field(default_factory=list)
    health: Health | None = None
    missed_before: int = 0  # while all were opened


def description(wattmeters: int, interval: float) -> Iterator[str]:
    """Yield the entries of a farm's description; "good" ones never misbehave, "bad" ones do."""
    for kind, share in SHARES.items():
        wraps = WRAPS.get(kind, (None,))
        beat = BMC_INTERVAL if kind in ("ipmi", "redfish") else interval
        for character in ("good", "bad"):
            count = max(round(wattmeters * share / 2), len(wraps))
            for place, wrap in enumerate(wraps):
                part = count // len(wraps) + (place < count % len(wraps))
                yield (
                    f'[[wattmeter]]\nname = "{character}.{kind}{place}-"\nkind = "{kind}"\ncount = {part}\n'
                    f"outlets = {OUTLETS.get(kind, 1)}\ninterval = {beat}\noptions = {{{OPTIONS[kind]}}}\n"
                    + (f'wrap = "{wrap}"\nstart_wh = -1\n' if wrap else "")
                )


class Farm:
    """The simulated farm as a process, with its control socket."""

    def __init__(self, directory: Path, text: str) -> None:
        self._socket = directory / "farm.sock"
        self.sections = directory / "sections.conf"
        (directory / "farm.toml").write_text(text, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("kwapi-simulator")), str(directory / "farm.toml")]
        command += ["--write-config", str(self.sections), "--control", str(self._socket)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            return "paused" in self.do("list")
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def do(self, what: str, **more: Any) -> Any:
        """Return the farm's answer."""
        answer = ask(self._socket, {"do": what, **more})
        assert "error" not in answer, answer
        return answer

    def energy(self) -> dict[str, dict[str, Any]]:
        """Return true microjoules, register and milliwatts by probe."""
        return {entry["probe"]: entry for entry in self.do("energy")["energy"]}

    def stop(self) -> None:
        """End it; it must within 5 s."""
        self.process.terminate()
        assert self.process.wait(5) == 0


class Watch:
    """Hears all that a site forwards, and counts energy as the API does."""

    def __init__(self, site: Site) -> None:
        self.collector = Collector()
        self.heard: dict[str, Heard] = {}
        self._lock = threading.Lock()
        gate = Gate(KeyFile(site.directory / "state" / "signing.key"), health=True)
        self.listener = Listener(Subscriber([site.forwarded], [""], gate), add=self._add, add_health=self._add_health)

    def _add(self, message: Message) -> None:
        self.collector.add(message)
        with self._lock:
            heard = self.heard.setdefault(message.wattmeter, Heard())
            heard.at.append(time.monotonic())
            heard.seqs.append((message.boot, message.seq))

    def _add_health(self, health: Health) -> None:
        with self._lock:
            self.heard.setdefault(health.wattmeter, Heard()).health = health

    def health(self, name: str) -> Health | None:
        """Return the last health of a wattmeter, if any was heard."""
        with self._lock:
            return self.heard[name].health if name in self.heard else None

    def kwh(self) -> dict[str, float]:
        """Return the energy of each probe so far."""
        return {name: reading.kwh for name, reading in self.collector.readings().items()}


@dataclass(slots=True)
class Result:
    """What was found in a run."""

    episodes: list[Episode]
    watch: Watch
    before: dict[str, dict[str, Any]]  # truth and register of each probe at the start
    after: dict[str, dict[str, Any]]
    counted: dict[str, float]  # kWh of each probe between them
    interval: float
    started: float
    ended: float
    resources: list[tuple[int, int, int]]  # threads, descriptors, KiB of kwapi-drivers: before, each minute, after

    def wattmeters(self, character: str) -> list[str]:
        """Return the good ones or the bad ones."""
        return sorted({entry["wattmeter"] for entry in self.after.values() if entry["wattmeter"].startswith(character)})


def run(
    directory: Path,
    *,
    wattmeters: int,
    seconds: float,
    interval: float,
    longest: float,
    seed: int,
    workers: int = 0,
    meanwhile: Callable[[Site], None] = lambda site: None,
) -> Result:
    """Let half of a farm misbehave for some seconds, no fault being longer than ``longest``, and return what was found.

    meanwhile() is called again and again while faults come and go.
    """
    farm = Farm(directory, "".join(description(wattmeters, interval)))
    try:
        drivers = f"workers = {workers}\n" + farm.sections.read_text(encoding="utf-8")
        with Site(directory, drivers) as site:
            site.start("drivers", "forwarder")
            watch = Watch(site)
            with watch.listener:
                return _run(farm, site, watch, seconds, interval, longest, random.Random(seed), meanwhile)  # noqa: S311
    finally:
        farm.stop()


def _run(
    farm: Farm,
    site: Site,
    watch: Watch,
    seconds: float,
    interval: float,
    longest: float,
    chance: random.Random,
    meanwhile: Callable[[Site], None],
) -> Result:
    probes = farm.energy()
    names = sorted({entry["wattmeter"] for entry in probes.values()})
    await_all(watch, names)
    # The first watts of a slow one may come before we listen, and a machine that draws nothing tells no power.
    eventually(lambda: watch.kwh().keys() >= probes.keys(), 120)
    farm.do("pause")
    settle(watch, names)
    resources = [usage(site)]
    before, kwh = farm.energy(), watch.kwh()
    for heard in watch.heard.values():
        heard.missed_before = heard.health.missed if heard.health else 0
    farm.do("run")
    started = time.monotonic()
    bad = [name for name in names if name.startswith("bad")]
    episodes = misbehave(farm, bad, seconds, longest, chance, site, resources, meanwhile)
    farm.do("heal")
    await_all(watch, names)
    farm.do("pause")
    ended = time.monotonic()
    settle(watch, names)
    resources.append(usage(site))
    counted = {name: watch.kwh()[name] - kwh[name] for name in probes}
    return Result(episodes, watch, before, farm.energy(), counted, interval, started, ended, resources)


def await_all(watch: Watch, names: list[str]) -> None:
    """Wait until every wattmeter is up."""
    end = time.monotonic() + 120
    while others := {name: health for name in names if (health := watch.health(name)) is None or health.state != "up"}:
        assert time.monotonic() < end, others
        time.sleep(0.1)


def settle(watch: Watch, names: list[str]) -> None:
    """Wait until every wattmeter was read again, its registers too."""
    settled = time.monotonic() + SETTLED
    eventually(lambda: all(watch.heard[name].at[-1] >= settled for name in names), 120)


def misbehave(
    farm: Farm,
    names: list[str],
    seconds: float,
    longest: float,
    chance: random.Random,
    site: Site,
    resources: list[tuple[int, int, int]],
    meanwhile: Callable[[Site], None],
) -> list[Episode]:
    """Let each of these wattmeters have one fault after the other, with rests between; return all of them."""
    end, look_at, episodes = time.monotonic() + seconds, time.monotonic() + MINUTE, []
    due = {name: time.monotonic() + chance.uniform(0, longest) for name in names}
    while (now := time.monotonic()) < end:
        for name in names:
            if due[name] > now:
                continue
            kind = chance.choice(FAULTS + RESETS)
            lasts = 0.0 if kind == "reset" else chance.uniform(1, longest)
            more = {"seconds": chance.uniform(1, 5)} if kind == "slow" else {}
            farm.do("fault", wattmeter=name, kind=kind, **{"for": lasts}, **more)
            episodes.append(Episode(name, kind, now, time.monotonic() + lasts))
            due[name] = now + lasts + chance.uniform(3, longest)
        if now >= look_at:
            resources.append(usage(site))
            look_at += MINUTE
        meanwhile(site)
        time.sleep(0.05)
    return episodes


def usage(site: Site) -> tuple[int, int, int]:
    """Return the threads, file descriptors and resident KiB of kwapi-drivers."""
    process = Path(f"/proc/{site.processes['drivers'].pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return int(status["Threads"]), len(list((process / "fd").iterdir())), int(status["VmRSS"].split()[0])
