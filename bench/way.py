"""Rows of the path of a measurement: what it costs, how many there may be, and how long one takes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench.bare import bare_cpu
from bench.chain import HERE, Chain, Load, Window, chain
from bench.load import measurements
from bench.table import Row, growth, row
from kwapi.measurement import MEASUREMENT, VERSION, Message, encode, to_columns, topic_of
from kwapi.signing import key_from, sign

RATES = {1: 10_000.0, 8: 80_000.0, 48: 300_000.0}  # measurements a second at which the cost of one is measured
SETTLE = 1.5  # seconds
STEADY = 0.97  # of what was to be sent; with less the daemons do not keep up
BOUNDS = {
    "cpu 48": "1.2 us",
    "cpu 1": "12 us",
    "rate 48": "500000/s",
    "rate 1": "60000/s",
    "whole": "1.5 cores",
    "forwarder": "3 us",
}
HOW = "CPU of all daemons in windows of the load at {:g}/s"


@dataclass(frozen=True, slots=True)
class Options:
    """How long is measured, and what other checkout is measured beside."""

    windows: int = 5
    seconds: float = 1.5
    baseline: Path | None = None

    @property
    def trees(self) -> list[Path]:
        return [HERE, *([self.baseline] if self.baseline else [])]


def frame_bytes(each: int) -> int:
    """Return the size of a frame with so many probes."""
    columns = to_columns(measurements(Load(each, each, 1.0).names(100), 0))
    message = Message(
        version=VERSION,
        type=MEASUREMENT,
        wattmeter="lyon.pdu100",
        boot=time.time_ns(),
        seq=1,
        timestamp=time.time(),
        monotonic=time.monotonic(),
        interval=1.0,
        **columns,
    )
    return len(sign(key_from(b"a signing key of the benchmark..."), topic_of(message.wattmeter), encode(message)))


def measure(daemons: Chain, load: Load, options: Options) -> tuple[list[Window], list[float]]:
    """Return windows of daemons that run, and what a bare loop took for a message before each of them, in us."""
    daemons.start()
    if "api" in daemons.plugins:
        daemons.wait_for(load.probes)
    time.sleep(SETTLE)
    windows, bare, size = [], [], frame_bytes(load.each)
    for _ in range(options.windows):
        bare.append(bare_cpu(size, 4_000) * 1e6)
        windows.append(daemons.window(options.seconds))
    return windows, bare


def used(windows: Sequence[Window], each: int) -> list[float]:
    """Return the us of a measurement, of all processes together."""
    return [sum(window.cpu.values()) / max(window.messages * each, 1) * 1e6 for window in windows]


def by_process(windows: Sequence[Window], each: int) -> dict[str, float]:
    """Return the us of a measurement by process."""
    return {
        name: median(window.cpu[name] / max(window.messages * each, 1) * 1e6 for window in windows)
        for name in windows[0].cpu
    }


def cost(
    name: str, load: Load, options: Options, *, plugins: Sequence[str] = ("api",), spool: bool = True, bound: str = ""
) -> Row:
    """Return what a measurement costs."""
    found = []
    for tree in options.trees:
        with chain(load.sections(), tree=tree, plugins=plugins, spool=spool) as daemons:
            windows, bare = measure(daemons, load, options)
            if "api" not in plugins:  # nobody counts
                sent = load.rate / load.each
                windows = [replace(each, messages=round(sent * each.seconds)) for each in windows]
            found.append((windows, bare))
    windows, bare = found[0]
    lost = sum(window.lost for window in windows)
    how = HOW.format(load.rate) + (f"; {lost} messages lost" if lost else "")
    return row(
        name,
        used(windows, load.each),
        "us",
        how,
        bound=bound,
        bare=[each / load.each for each in bare],
        baseline=used(found[1][0], load.each) if found[1:] else (),
        cpu=by_process(windows, load.each),
        memory=windows[-1].memory,
    )


def costs(options: Options) -> Iterator[Row]:
    """Yield what a measurement costs by how many come together, and by how many probes there are."""
    for each, sizes in (
        (48, (100, 1_000, 10_000, 100_000)),
        (8, (100, 1_000, 10_000)),
        (1, (100, 1_000, 3_000)),
    ):
        points, held = {}, {}
        for probes in sizes:
            load = Load(probes, each, RATES[each])
            found = cost(f"CPU of a measurement, {each} a message, {probes} probes", load, options)
            yield found
            points[float(probes)] = found.value
            held[float(probes)] = found.memory["api"]
        yield growth(f"CPU of a measurement with the probes, {each} a message", points)
        yield growth(f"memory of kwapi-api with the probes, {each} a message", held)


def spool(options: Options) -> Iterator[Row]:
    """Yield what a measurement costs without the spool of kwapi-drivers."""
    for each, probes in ((48, 10_000), (1, 1_000)):
        load = Load(probes, each, RATES[each])
        yield cost(f"CPU of a measurement, {each} a message, no spool", load, options, spool=False)


def plugins(options: Options) -> Iterator[Row]:
    """Yield what a measurement costs with no plugin behind the forwarder and with three."""
    load = Load(10_000, 48, 100_000.0)
    points = {}
    for names in ((), ("api",), ("api", "api2", "api3")):
        found = cost(f"CPU of a measurement, {len(names)} plugins", load, options, plugins=names)
        yield found
        points[len(names) + 1.0] = found.value
    yield growth("CPU of a measurement with the plugins, and one", points)


def rates(options: Options) -> Iterator[Row]:
    """Yield how many measurements a second come through without a loss."""
    for each, probes, first in ((48, 10_000, 200_000.0), (1, 1_000, 10_000.0)):
        load = Load(probes, each, first, growth=1.15, step=3.0)
        values, baseline = [], []
        for _ in range(max(options.windows // 2, 1)):
            values.append(highest(load, HERE))
            if options.baseline:
                baseline.append(highest(load, options.baseline))
        how = f"the load grows by {load.growth - 1:.0%} every {load.step:g} s until some is lost, or late"
        bound = BOUNDS[f"rate {each}"]
        name = f"lossless, {each} a message, {probes} probes"
        yield row(name, values, "1/s", how, bound=bound, baseline=baseline)


def highest(load: Load, tree: Path) -> float:
    """Return the measurements a second of the last step in which none was lost and all came."""
    with chain(load.sections(), tree=tree) as daemons:
        daemons.start()
        daemons.wait_for(load.probes)
        best = 0.0
        while True:
            window = daemons.window(load.step)
            rate = window.messages * load.each / window.seconds
            accounts = daemons.accounts()
            if accounts["lost"] or accounts["repaired"] or rate < best * STEADY:
                return best
            best = max(best, rate)


def whole(options: Options) -> Iterator[Row]:
    """Yield what 100 000 probes at 1 Hz use of all daemons at once."""
    for probes in (10_000, 100_000):
        load = Load(probes, 48, float(probes))
        with chain(load.sections(), plugins=("api", "rrd")) as daemons:
            daemons.start()
            daemons.wait_for(probes)
            time.sleep(60.0 if options.windows > 1 else 5.0)  # files are made by the first flush
            window = daemons.window(30.0)  # one flush of each file
            accounts = daemons.accounts()
        missed = {key: accounts[key] for key in ("lost", "repaired", "awaited", "refused") if accounts[key]}
        yield row(
            f"cores of {probes} probes at 1 Hz, drivers, forwarder, api, rrd",
            [sum(window.cpu.values()) / window.seconds],
            "cores",
            f"30 s, a flush among them; {missed or 'nothing lost'}",
            bound=BOUNDS["whole"] if probes == 100_000 else "",
            cpu={name: cpu / max(window.messages * load.each, 1) * 1e6 for name, cpu in window.cpu.items()},
            memory=window.memory,
        )
