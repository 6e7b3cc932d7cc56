"""Rows of single daemons: how soon they are ready, what they use when little happens, what a request costs."""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench import farm, graphs, rrd, snmp
from bench.bare import bare_cpu, free_ports
from bench.chain import PAGE, Load, chain, dummies
from bench.processes import cpu_seconds
from bench.table import Row, growth, row
from bench.traffic import Client
from bench.way import BOUNDS, SETTLE, Options, frame_bytes

PROBES = 10_000
PATHS = ("/v1/probes/", f"/v2/probes?limit={PAGE}", "/metrics")


def starts(options: Options) -> Iterator[Row]:
    """Yield how soon each daemon is ready again that knew 10 000 probes when it was stopped."""
    load = Load(PROBES, 48, float(PROBES))
    with chain(load.sections(), plugins=("api", "rrd")) as daemons:
        daemons.start()
        daemons.wait_for(PROBES)
        time.sleep(5.0)  # until the files of kwapi-rrd are made
        for name in ("drivers", "forwarder", "api", "rrd"):
            seconds = []
            for _ in range(options.windows):
                daemons.stop(name)
                seconds.append(daemons.start(name)[name])
                time.sleep(0.5)
            how = "until READY=1, after SIGTERM"
            yield row(f"{name} ready from start, {PROBES} probes", seconds, "s", how, bound="2 s")


def idle(options: Options) -> Iterator[Row]:
    """Yield what wattmeters use that are polled once a second and know at once what to say."""
    points = {}
    for wattmeters in (1, 100, 1_000):
        with chain(dummies(wattmeters), plugins=()) as daemons:
            daemons.start("drivers")
            time.sleep(SETTLE + wattmeters / 200)  # drivers are opened one after the other
            found = [daemons.window(2.0) for _ in range(options.windows)]
        percent = [100 * sum(window.cpu.values()) / window.seconds for window in found]
        name = f"kwapi-drivers, {wattmeters} wattmeters at 1 Hz"
        yield row(name, percent, "% core", "driver dummy, nobody subscribes", memory=found[-1].memory)
        points[float(wattmeters)] = median(percent)
    yield growth("idle CPU with the wattmeters", points)


def forwarder(options: Options) -> Iterator[Row]:
    """Yield what kwapi-forwarder uses for a message."""
    for each in (48, 1):
        size, messages, found, bare = frame_bytes(each), 20_000, [], []
        published, forwarded = free_ports()
        with chain("", plugins=(), published=published, forwarded=forwarded) as daemons:
            daemons.start("forwarder")
            pid = daemons.pid("forwarder")
            for _ in range(options.windows):
                bare.append(bare_cpu(size, messages) * 1e6)
                before = cpu_seconds(pid)
                bare_cpu(size, messages, published=published, forwarded=forwarded)
                found.append((cpu_seconds(pid) - before) / messages * 1e6)
        bound = BOUNDS["forwarder"] if each == 48 else ""
        how = f"{messages} frames of {size} bytes, 100 on their way"
        yield row(f"forwarder alone, a message of {each} probes", found, "us", how, bound=bound, bare=bare)


def requests(options: Options) -> Iterator[Row]:
    """Yield what a request costs that finds new values, beyond what kwapi-api uses without."""
    for path in PATHS:
        points = {}
        for probes in (1_000, PROBES):
            load = Load(probes, 48, float(probes))
            with chain(load.sections()) as daemons:
                daemons.start()
                daemons.wait_for(probes)
                time.sleep(SETTLE)
                pid = daemons.pid("api")
                client = Client(int(daemons.address("").rpartition(":")[2]), path)
                client.ask()
                found = [_request(client, pid) for _ in range(options.windows)]
                client.close()
            yield row(f"GET {path}, {probes} probes", found, "ms", "CPU beyond that without, one a second")
            points[float(probes)] = median(found)
        yield growth(f"GET {path} with the probes", points)


def memory(options: Options) -> Iterator[Row]:
    """Yield what kwapi-api holds before it is asked for anything, and after it has often been asked for everything."""
    asked = 5 * options.windows
    for probes, bound in ((PROBES, "120 MB"), (10 * PROBES, "400 MB")):
        for path in PATHS:
            load = Load(probes, 48, float(probes))
            with chain(load.sections()) as daemons:
                daemons.start()
                daemons.wait_for(probes)
                time.sleep(SETTLE)
                before = daemons.memory()["api"]
                for _ in range(asked):
                    for _page in daemons.pages(path) if "limit" in path else [daemons.read(path)]:
                        pass
                    time.sleep(0.4)
                after = daemons.memory()["api"]
            how = f"{before:.0f} MB before; values were new each time"
            name = f"memory of kwapi-api, {probes} probes, after {asked} GET {path}"
            yield row(name, [after], "MB", how, bound=bound)


def _request(client: Client, pid: int, seconds: float = 1.0) -> float:
    """Return the ms of CPU that a request takes, asked once a second."""
    before = cpu_seconds(pid)
    time.sleep(seconds)
    resting = cpu_seconds(pid) - before
    before = cpu_seconds(pid)
    client.ask()
    time.sleep(seconds)
    return max(cpu_seconds(pid) - before - resting, 1e-6) * 1e3


def polls(options: Options) -> Iterator[Row]:
    """Yield what polls of devices cost that speak SNMP and IPMI."""
    for outlets in (8, 48):
        asked = argparse.Namespace(outlets=outlets, columns=5, polls=30, runs=options.windows)
        found = snmp.measure("gufo-snmp", snmp.VERSIONS["v2c"], asked)
        yield row(
            f"SNMP poll, {outlets * 5} values", [found["cpu_ms"]], "ms", "python -m bench.snmp, CPU of the driver"
        )
    wattmeters = 100
    scenario = farm.scenarios(0, wattmeters)["ipmi"]
    figures = farm.run(scenario, seconds=5.0 * options.windows**0.5, warm_up=2.0)
    used = (figures["CPU of the daemon"] + figures["CPU of its helpers"]) * scenario.interval / wattmeters * 1e3
    yield row("IPMI poll", [used], "ms", "python -m bench.farm, CPU of the daemon and its helpers")


def files(options: Options) -> Iterator[Row]:
    """Yield what values of kwapi-rrd cost, and its graphs."""
    taking, writing = {}, {}
    for probes in (1_000, PROBES):
        figures = _single(lambda directory, probes=probes: rrd.figures(probes, 2, directory))
        for what, points in (("CPU to take a value", taking), ("CPU to write it", writing)):
            value, unit = figures[what]
            points[float(probes)] = value
            yield row(f"rrd: {what}, {probes} probes", [value], unit, "python -m bench.rrd")
    yield growth("CPU to take a value with the probes", taking)
    yield growth("CPU to write it with the probes", writing)
    figures = _single(lambda directory: graphs.figures(PROBES, min(options.windows, 3), directory))
    for what in ("summary: CPU", "graph of a probe: CPU", "card: CPU"):
        value, unit = figures[what]
        yield row(f"graphs: {what}", [value], unit, "python -m bench.graphs")


def _single(figures: Callable[[Path], Iterator[tuple[str, str]]]) -> Mapping[str, tuple[float, str]]:
    """Return the figures of a single program: value and unit by what they are."""
    with tempfile.TemporaryDirectory(prefix="kwapi-bench-") as directory:
        found: dict[str, Any] = {what: value.split() for what, value in figures(Path(directory))}
    return {what: (float(value[0]), " ".join(value[1:])) for what, value in found.items()}
