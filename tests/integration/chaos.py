"""Chaos among the processes of chaos_world.py, by a seed, and what must hold after it.

At random a process is killed, or stopped for a while, a link is cut, held (nothing comes through, and nobody is told)
or delayed, and the clock of a site is set. The record of what was signed is the judge: see chaos_judge.py.

Before and after, the farm is paused, so that nothing is drawn: its registers are compared with what it truly drew.
"""

import heapq
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from kwapi.plugins.api.registers import read_registers
from kwapi.plugins.positions import Positions
from tests.integration.chaos_files import judge_files
from tests.integration.chaos_judge import Record, Verdict, energies, judge, judge_accounts
from tests.integration.chaos_wires import APART, Wires, are_possible
from tests.integration.chaos_world import PLUGINS, SITES, World
from tests.integration.misbehaving import MICROJOULES_PER_KWH
from tests.waiting import eventually

STEP = (
    20.0  # seconds that the clock of lyon is off, at most: what a subscriber bears of a publisher that it does not know
)
REST = 3.0  # seconds after which one that was stopped may be killed: what it had to do meanwhile is done by then
SLOWEST = 2.0  # seconds between two readings of a register
COUNTS = {"pdu": 1e-3, "main": 1e-3, "strip": 1e-6}  # kWh of one count of a register, by the wattmeter's name
CAUGHT_UP = 300.0  # seconds
SHOWN = 20  # of what is wrong


@dataclass(frozen=True, slots=True)
class Storm:
    """How long chaos lasts, and how much of it there is; in seconds."""

    seconds: float
    between: float  # two events, on average
    away: float  # a daemon that was killed, at most
    cut: float  # a link, at most
    stopped: float  # a process, at most
    delay: float = 1.0  # on a link, at most
    repair_wait: float = 60.0
    servers: int = 0  # of NATS, that carry the bus


class Chaos:
    """What befalls a world, by a seed."""

    def __init__(self, world: World, storm: Storm, seed: int) -> None:
        self._world = world
        self._storm = storm
        self._chance = random.Random(seed)
        self._due: list[tuple[float, int, Callable[[], None]]] = []  # what ends, and when
        self._order = count()
        self._busy: set[str] = set()  # what something is wrong with
        self._turn = 0  # of the NATS servers
        self.events: Counter[str] = Counter()

    def run(self) -> None:
        """Let it rage, and end with all of it well."""
        end = time.monotonic() + self._storm.seconds
        next_at = time.monotonic()
        while (now := time.monotonic()) < end:
            if now >= next_at:
                self._befall()
                next_at = now + self._chance.expovariate(1 / self._storm.between)
            self._end_what_is_due(now)
            for process in self._world.processes.values():
                process.check()
            time.sleep(0.05)
        self._end_what_is_due(float("inf"))

    def _end_what_is_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()

    def _befall(self) -> None:
        kinds = (self._kill, self._kill_worker, self._cut, self._hold, self._delay, self._stop, self._step, self._pull)
        (kind,) = self._chance.choices(kinds, weights=(5, 3, 2, 2, 2, 3, 1, 3))
        kind()

    def _until(self, busy: str, longest: float, undo: Callable[[], None], rest: float = 0.0) -> None:
        """Have something end after a while, and nothing else befall the same until then."""
        self._busy.add(busy)
        at = time.monotonic() + self._chance.uniform(longest / 20, longest)
        heapq.heappush(self._due, (at, next(self._order), undo))
        heapq.heappush(self._due, (at + rest, next(self._order), partial(self._busy.discard, busy)))

    def _one(self, names: list[str]) -> str | None:
        free = [name for name in names if name not in self._busy]
        return self._chance.choice(free) if free else None

    def _count(self, event: str) -> None:
        self.events[event] += 1

    def _daemon(self) -> str | None:
        """Return one that may be killed or stopped: of a cluster one at a time, in turn."""
        servers = self._world.servers
        names = [name for name in self._world.processes if name not in servers]
        if servers and not self._busy.intersection(servers):
            names.append(servers[self._turn % len(servers)])
        name = self._one(names)
        self._turn += name in servers
        return name

    def _kill(self) -> None:
        name = self._daemon()
        if name is not None:
            self._world.kill(name)
            self._count(f"kill {name}")
            self._until(name, self._storm.away, self._world.processes[name].start)

    def _kill_worker(self) -> None:
        workers = self._world.processes[SITES[0]].workers()
        if SITES[0] not in self._busy and workers:
            self._world.kill_worker(self._chance.choice(workers))
            self._count("kill worker")

    def _link(self) -> str | None:
        return self._one(self._world.link_names)

    def _cut(self) -> None:
        if name := self._link():
            self._world.links.cut(name)
            self._count("cut")
            self._until(name, self._storm.cut, partial(self._world.links.heal, name))

    def _hold(self) -> None:
        if name := self._link():
            self._world.links.hold(name)
            self._count("hold")
            self._until(name, self._storm.cut, partial(self._world.links.heal, name))

    def _pull(self) -> None:
        wires = self._world.wires
        if wires and (name := self._one([link for link in self._world.link_names if wires.has(link)])):
            wires.pull(name)
            self._count("pull")
            self._until(name, self._storm.cut, partial(wires.plug, name))

    def _delay(self) -> None:
        if name := self._link():
            self._world.links.delay(name, self._chance.uniform(0.05, self._storm.delay))
            self._count("delay")
            self._until(name, self._storm.cut, partial(self._world.links.heal, name))

    def _stop(self) -> None:
        name = self._daemon()
        if name is None:
            return
        process = self._world.processes[name]
        pid = self._chance.choice([process.pid, *process.workers()])
        os.kill(pid, signal.SIGSTOP)
        self._count("stop")
        self._until(name, self._storm.stopped, partial(_go_on, pid), REST)

    def _step(self) -> None:
        self._world.set_clock(self._chance.uniform(-STEP, STEP))
        self._count("step of the clock")


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):  # a worker that was silent for so long that it was replaced
        os.kill(pid, signal.SIGCONT)


@dataclass(slots=True)
class Outcome:
    """What was found."""

    events: Counter[str]
    signed: int
    verdicts: dict[str, Verdict]  # by plugin
    lives: dict[str, int]
    wrong: list[str] = field(default_factory=list)
    energies: int = 0  # that were compared
    accounts: int = 0
    truths: int = 0
    rows: int = 0  # of files

    def __str__(self) -> str:
        kills = sum(number for event, number in self.events.items() if event.startswith("kill"))
        lines = [f"{self.signed} messages signed, {kills} kills, events: {dict(sorted(self.events.items()))}"]
        for plugin, verdict in self.verdicts.items():
            lines.append(f"{plugin}, {self.lives[plugin]} lives: {verdict}")
        lines.append(
            f"compared: {self.energies} kWh, {self.accounts} accounts, "
            f"{self.truths} registers with the truth, {self.rows} rows of files"
        )
        return "\n".join(lines)


def run(directory: Path, storm: Storm, seed: int, wires: Wires | None = None) -> Outcome:
    """Let chaos rage; return what was found."""
    with World(directory, storm.repair_wait, wires, storm.servers) as world:
        record = Record(world.record, PLUGINS)
        world.start()
        await_start(world, record)
        true, counted = settled(world, record)
        world.farm.do("run")
        chaos = Chaos(world, storm, seed)
        chaos.run()
        await_all(record)
        true_after, counted_after = settled(world, record)
        for plugin in PLUGINS:
            world.processes[plugin].stop()
        record.read()
    verdicts = {plugin: judge(record, plugin, world.ended) for plugin in PLUGINS}
    lives = {plugin: len(record.lives[plugin]) for plugin in PLUGINS}
    outcome = Outcome(chaos.events, record.signed(), verdicts, lives)
    outcome.wrong += [f"{plugin}: {wrong}" for plugin, verdict in verdicts.items() for wrong in verdict.wrong]
    judge_energy(outcome, record, directory)
    saved = Positions(directory / "api/energy/positions.json").load()
    assert saved is not None
    outcome.wrong += judge_accounts(record, "api", saved)
    outcome.accounts = len(saved.accounts)
    judge_truth(outcome, {name: kwh - true[name] for name, kwh in true_after.items()}, counted, counted_after)
    outcome.rows, wrong_rows = judge_files(record, "rrd", directory / "rrd" / "rrd")
    outcome.wrong += wrong_rows
    outcome.wrong += [f"{name} has logged a traceback" for name in world.processes if world.has_traceback(name)]
    return outcome


def run_apart(directory: Path, storm: Storm, seed: int) -> str:
    """Let chaos rage in namespaces of our own where that is possible; return what was found, fail if that is wrong."""
    arguments = [str(directory), json.dumps(asdict(storm)), str(seed)]
    command = [sys.executable, "-m", "tests.integration.chaos", *arguments]
    if are_possible():
        command = [*APART, *command, "wires"]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert found.returncode == 0, found.stdout
    return found.stdout


def await_start(world: World, record: Record) -> None:
    """Wait until each plugin was given something of each wattmeter, and has saved its positions."""

    def all_heard() -> bool:
        record.read()
        return all(record.reached(plugin).keys() == world.topics() for plugin in PLUGINS)

    eventually(all_heard, 60)
    eventually((world.directory / "api/energy/positions.json").exists, 60)
    eventually((world.directory / "rrd/rrd/positions.json").exists, 60)


def await_all(record: Record) -> None:
    """Wait until each plugin was given, or has given up, what is signed by now."""
    record.read()
    newest, end = record.newest(), time.monotonic() + CAUGHT_UP
    while late := record.late(newest):
        assert time.monotonic() < end, f"not given in {CAUGHT_UP} s: {late}"
        time.sleep(0.1)
        record.read()


def settled(world: World, record: Record) -> tuple[dict[str, float], dict[str, float]]:
    """Let nothing be drawn; return the true kWh of each register, and what kwapi-api has, once all were read again.

    The first time they may have counted before kwapi-api heard of them.
    """
    world.farm.do("pause")
    settled_at = time.monotonic() + 2 * SLOWEST
    entries = {name: entry for name, entry in world.farm.energy().items() if entry["register"] is not None}
    wattmeters = {entry["wattmeter"] for entry in entries.values()}

    def read_again() -> bool:
        record.read()
        return all(record.register_at(name) > settled_at * 1e9 for name in wattmeters)

    eventually(read_again, 60)
    await_all(record)
    true = {name: entry["true"] / MICROJOULES_PER_KWH for name, entry in entries.items()}
    answers: list[dict[str, dict[str, Any]]] = []
    eventually(lambda: answers.append(world.probes()) or true.keys() <= answers[-1].keys())
    return true, {name: answers[-1][name]["kwh"] for name in true}


def judge_energy(outcome: Outcome, record: Record, directory: Path) -> None:
    """The kWh of each probe are what energy.py makes of the record."""
    registers = read_registers(directory / "api" / "energy").probes
    for name, expected in energies(record, "api").items():
        outcome.energies += 1
        energy = registers[name].energy
        if abs(energy.kwh - expected.kwh) > 1e-9 or abs(energy.total.unknown - expected.total.unknown) > 1e-3:
            outcome.wrong.append(f"{name}: {energy.total}, and by the record {expected.total}")


def judge_truth(outcome: Outcome, true: dict[str, float], before: dict[str, float], after: dict[str, float]) -> None:
    """The kWh of a register are what was drawn, to one count."""
    for name, drawn in true.items():
        outcome.truths += 1
        rise = after[name] - before[name]
        limit = next(count for kind, count in COUNTS.items() if f".{kind}" in name)
        if abs(rise - drawn) >= limit + 1e-9:
            outcome.wrong.append(f"{name}: {rise} kWh, and {drawn} were drawn")


def main(arguments: Sequence[str]) -> int:
    """Run it with the arguments of run_apart()."""
    directory, storm, seed, *wires = arguments
    outcome = run(Path(directory), Storm(**json.loads(storm)), int(seed), Wires() if wires else None)
    print(outcome, *outcome.wrong[:SHOWN], f"{len(outcome.wrong)} things are wrong", sep="\n")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
