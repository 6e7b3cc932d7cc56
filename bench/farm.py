"""Measures one kwapi-drivers that reads hundreds of wattmeters: ``python -m bench.farm``.

The daemon is the real one, a process with a configuration written for it; its wattmeters are simulated by another
process, whose CPU time is given apart (agents.py). This process subscribes to the bus and counts from when every
wattmeter has been measured and the warm-up is over. A wattmeter's poll is missed when two measurements of it are two
intervals apart; whether the machine was busy with something else meanwhile is shown beside.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from bench import bmc, pdu
from bench.agents import agents
from bench.processes import Usage, children, machine_cpu_seconds, usage
from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from kwapi.measurement import Message

START_LIMIT = 120.0  # seconds for every wattmeter to be measured
STOP_LIMIT = 10.0
TICK = 0.1
TEN_THOUSAND = -(-10_000 // pdu.OUTLETS)  # probes, in PDUs
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Wattmeters of one kind, and what their sections say beside the port and the probes."""

    title: str
    kind: str
    wattmeters: int
    probes: int
    interval: float
    options: str
    workers: int = 0  # processes

    def configuration(self, ports: list[int], directory: Path) -> str:
        """Return drivers.conf."""
        options = self.options.format(directory=directory)
        head = (
            f"[DEFAULT]\nstate_dir = {directory}\nworkers = {self.workers}\n"
            f"probes_endpoint = {endpoint(directory)}\nreplay_endpoint = ipc://{directory}/replay\n"
        )
        return head + "".join(
            f"[{self.kind}{number}]\nport = {port}\ninterval = {self.interval}\n{options}"
            f"probes = {', '.join(f'{self.kind}{number}-{probe}' for probe in range(self.probes))}\n"
            for number, port in enumerate(ports)
        )


SNMP = "driver = snmp\nhost = 127.0.0.1\nprofile_dir = {directory}\n"
IPMI = f"driver = ipmi\nhost = 127.0.0.1\nuser = {bmc.USER.decode()}\npassword = {bmc.PASSWORD.decode()}\n"


def scenarios(pdus: int, bmcs: int) -> dict[str, Scenario]:
    """Return what can be measured, by name."""
    return {
        "snmp": Scenario("PDUs", "snmp", pdus, pdu.OUTLETS, 1.0, SNMP),
        "snmp-workers": Scenario("PDUs, 2 workers", "snmp", TEN_THOUSAND, pdu.OUTLETS, 1.0, SNMP, workers=2),
        "snmp-all": Scenario("PDUs, all at 1 Hz", "snmp", pdus, pdu.OUTLETS, 1.0, f"{SNMP}slow_interval = 0\n"),
        "ipmi": Scenario("BMCs", "ipmi", bmcs, 1, 5.0, IPMI),
    }


class Arrivals:
    """When each wattmeter was measured, and how many values came; filled by the subscriber's thread."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.times: dict[str, list[float]] = defaultdict(list)
        self.values = 0

    def add(self, message: Message) -> None:
        """Note a message."""
        self.times[message.wattmeter].append(message.monotonic)
        columns = message.w, message.va, message.v, message.a, message.kwh
        self.values += sum(len(column) - column.count(None) for column in columns if column)

    def periods(self, start: float, end: float) -> dict[str, list[float]]:
        """Return by wattmeter the seconds between its measurements; the first begins with the last before ``start``."""
        periods = {}
        for name, times in self.times.items():
            before = [at for at in times if at < start][-1:]
            within = before + [at for at in times if start <= at < end]
            periods[name] = [later - earlier for earlier, later in zip(within, within[1:], strict=False)]
        return periods

    def silences(self, end: float) -> dict[str, float]:
        """Return by wattmeter the seconds since its last measurement before ``end``."""
        return {name: end - max(at for at in times if at < end) for name, times in self.times.items()}


@contextmanager
def daemon(directory: Path, configuration: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run kwapi-drivers on a configuration; its log is a file of the directory."""
    pdu.write_profile(directory)
    (directory / "drivers.conf").write_text(configuration, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("kwapi-drivers")), "--config-dir", str(directory)]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def subscription(directory: Path, process: "subprocess.Popen[bytes]") -> Iterator[Arrivals]:
    """Take what the daemon publishes, in a thread."""
    until("the daemon has its key", lambda: (directory / "signing.key").exists(), process)
    arrivals, stop = Arrivals(Gate(KeyFile(directory / "signing.key"))), Event()
    subscriber = Subscriber([endpoint(directory)], [""], arrivals.gate)
    thread = Thread(target=subscriber.run, args=(stop, arrivals.add))
    thread.start()
    try:
        yield arrivals
    finally:
        stop.set()
        thread.join()


def endpoint(directory: Path) -> str:
    """Return where the daemon publishes."""
    return f"ipc://{directory}/bus"


def until(what: str, condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    """Wait until the condition holds; give up when it takes too long or the daemon has ended."""
    end = time.monotonic() + START_LIMIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {START_LIMIT:g} s: {what}")
        pause(TICK, process)


def pause(seconds: float, process: "subprocess.Popen[bytes]") -> None:
    """Let time pass; the daemon must not end meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, TICK))
        if process.poll() is not None:
            raise RuntimeError(f"kwapi-drivers ended with {process.returncode}")


def run(scenario: Scenario, seconds: float, warm_up: float) -> Figures:
    """Return the figures of one run."""
    with tempfile.TemporaryDirectory() as name, agents(scenario.kind, scenario.wattmeters) as (ports, agent):
        directory, begun = Path(name), time.monotonic()
        with (
            daemon(directory, scenario.configuration(ports, directory)) as process,
            subscription(directory, process) as arrivals,
        ):
            until("every wattmeter is measured", lambda: len(arrivals.times) == scenario.wattmeters, process)
            started = time.monotonic() - begun
            pause(warm_up, process)
            before, start, values = take(process.pid, agent), time.monotonic(), arrivals.values
            pause(seconds, process)
            after, end, values = take(process.pid, agent), time.monotonic(), arrivals.values - values
            log = (directory / "log").read_text(encoding="utf-8")
        return {
            "wattmeters": scenario.wattmeters,
            "seconds until all were measured": started,
            **polls(arrivals, scenario.interval, start, end),
            "values in a second": values / (end - start),
            "messages lost or refused": arrivals.gate.lost + sum(arrivals.gate.rejected.values()),
            **costs(before, after, end - start),
            "warnings in the log": log.count(" WARNING ") + log.count(" ERROR "),
        }


def take(pid: int, agent: int) -> dict[str, Any]:
    """Return what everybody has used until now."""
    return {
        "daemon": usage(pid),
        "helpers": usage(*children(pid)),
        "agents": usage(agent),
        "here": usage(os.getpid()),
        "machine": machine_cpu_seconds(),
    }


def polls(arrivals: Arrivals, interval: float, start: float, end: float) -> Figures:
    """Return how many polls arrived, how many did not, and how even they were."""
    periods, silences = arrivals.periods(start, end), arrivals.silences(end)
    missed = {
        name: sum(skipped(period / interval, 0.5) for period in each) + skipped(silences[name] / interval, 0.9)
        for name, each in periods.items()
    }
    arrived = sum(map(len, periods.values()))
    every = sorted(period for each in periods.values() for period in each)
    return {
        "polls expected": arrived + sum(missed.values()),
        "polls arrived": arrived,
        "polls missed": sum(missed.values()),
        "polls missed of the worst": max(missed.values()),
        "period, median, s": statistics.median(every),
        "period, 99 of 100 within, s": every[int(len(every) * 0.99)],
        "period, longest, s": every[-1],
    }


def skipped(intervals: float, early: float) -> int:
    """Return how many polls are missing between two that are so many intervals apart, the second perhaps early.

    At the end of a run the second is still to come, and what is a little late is not missing.
    """
    return max(int(intervals + early) - 1, 0)


def costs(before: dict[str, Any], after: dict[str, Any], seconds: float) -> Figures:
    """Return CPU seconds in a second and what is held at the end, of the daemon, its helper processes and the rest."""
    cpu = {name: (after[name].cpu - before[name].cpu) / seconds for name in ("daemon", "helpers", "agents", "here")}
    held: Usage = after["daemon"]
    helpers: Usage = after["helpers"]
    return {
        "CPU of the daemon": cpu["daemon"],
        "CPU of its helpers": cpu["helpers"],
        "CPU of the agents": cpu["agents"],
        "CPU of others here": (after["machine"] - before["machine"]) / seconds - sum(cpu.values()),
        "load average": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "memory of the daemon, MB": held.rss_mb,
        "threads of the daemon": held.threads,
        "files of the daemon": held.files,
        "helper processes": helpers.processes,
        "memory of the helpers, MB": helpers.rss_mb,
    }


def median(runs: list[Figures]) -> Figures:
    """Return the median of each figure."""
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pdus", type=int, default=200)
    parser.add_argument("--bmcs", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0, help="what is measured of a run")
    parser.add_argument("--warm-up", type=float, default=20.0, help="seconds before that")
    parser.add_argument("--runs", type=int, default=1, help="runs, of which the median counts")
    parser.add_argument("--only", action="append", choices=scenarios(0, 0), help="may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    chosen = scenarios(args.pdus, args.bmcs)
    results = {
        chosen[name].title: median([run(chosen[name], args.seconds, args.warm_up) for _ in range(args.runs)])
        for name in args.only or chosen
    }
    if args.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{args.seconds:g} s of one kwapi-drivers, median of {args.runs} runs; CPU in seconds of a second")
    print(f"{'':34}" + "".join(f"{title:>21}" for title in results))
    for name in next(iter(results.values())):
        print(f"{name:34}" + "".join(f"{figures[name]:21.10g}" for figures in results.values()))


if __name__ == "__main__":
    main()
