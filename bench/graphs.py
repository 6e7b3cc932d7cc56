"""Measures what kwapi-rrd's graphs take: ``python -m bench.graphs``.

10,000 probes of wattmeters with 48 each have been measured once a second for five minutes. Before each graph a second
passes in which all of them are measured again, so each is drawn anew, from files that were just written; CPU is that
of the whole process without the measuring.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.collector import OUTLETS
from bench.rrd import Clock
from kwapi.measurement import VERSION, Message
from kwapi.plugins.rrd.graph import Graphs
from kwapi.plugins.rrd.look import Look, Target
from kwapi.plugins.rrd.rows import PERIODS
from kwapi.plugins.rrd.store import FLUSH_PERIOD, Store
from kwapi.tariff import Tariff

MEASURED = 310  # seconds
TARIFF = Tariff([(6 * 3600, 0.25), (22 * 3600, 0.15)])
CARD = Look(width=428, height=124, bare=True)  # as a page shows a probe
CARDS, EVERY = 12, 5.0  # of a page, and seconds between two refreshes
PLAIN = Look()

Row = tuple[str, str]


class Farm:
    """A store whose probes draw changing power, second by second of their own time."""

    def __init__(self, probes: int, directory: Path) -> None:
        self.clock = Clock()
        self.store = Store(directory, clock=self.clock, steady_clock=self.clock)
        self.names = [f"pdu{number // OUTLETS}-{number % OUTLETS}" for number in range(probes)]
        self._random = random.Random(1)  # noqa: S311
        self._watts = [self._random.uniform(60, 320) for _ in self.names]
        self._second = 0

    def measure(self, seconds: int = 1) -> None:
        """Let seconds pass in which all probes are measured."""
        for _ in range(seconds):
            self.clock.now += 1
            for number, first in enumerate(range(0, len(self.names), OUTLETS)):
                outlets = slice(first, first + OUTLETS)
                self._watts[outlets] = [self._drawn(watts) for watts in self._watts[outlets]]
                self.store.add(self._message(f"lyon.pdu{number}", outlets))
            self._second += 1
            if not self._second % int(FLUSH_PERIOD):
                self.store.flush()

    def _drawn(self, watts: float) -> float:
        """Return power that is steady for a while and then another, and noisy."""
        if self._random.random() < 0.01:
            watts = self._random.uniform(60, 320)
        return round(watts * self._random.gauss(1, 0.01), 1)

    def _message(self, wattmeter: str, outlets: slice) -> Message:
        return Message(
            version=VERSION,
            type="measurement",
            wattmeter=wattmeter,
            boot=1,
            seq=self._second,
            timestamp=self.clock.now,
            monotonic=float(self._second),
            interval=1.0,
            probes=self.names[outlets],
            w=list(self._watts[outlets]),
        )


def figures(probes: int, rounds: int, directory: Path) -> Iterator[Row]:
    """Yield what was measured and how much it is."""
    farm = Farm(probes, directory)
    farm.measure(MEASURED)
    graphs = Graphs(farm.store, tariff=TARIFF, currency="€", clock=farm.clock)
    yield "CPU to rank all probes by energy", f"{cpu(lambda: graphs.energies('minute')) * 1e3:.0f} ms"
    names = iter(farm.names * rounds)
    cards = 0.0
    for what, look in (
        ("summary", replace(PLAIN, height=200)),
        ("summary of a page", Look(width=886, height=220, bare=True)),
        ("graph of a probe", PLAIN),
        ("graph of a probe at zoom 2", replace(PLAIN, zoom=2)),
        ("graph of a probe, SVG", replace(PLAIN, format="svg")),
        ("card", CARD),
        ("card at zoom 2", replace(CARD, zoom=2)),
        ("card, SVG", replace(CARD, format="svg")),
    ):
        used, size = 0.0, 0
        for _ in range(rounds):
            farm.measure()
            graphs.ranking.renew()  # is done ahead of requests
            target = Target() if what.startswith("summary") else Target("probe", (next(names),))
            used += cpu(lambda target=target, look=look: graphs.graph("minute", target, look))  # type: ignore[misc]
            size = max(size, len(graphs.graph("minute", target, look).image))
        yield f"{what}: CPU", f"{used / rounds * 1e3:.1f} ms"
        yield f"{what}: at most", f"{size / 1000:.1f} kB"
        cards = used / rounds if look is CARD else cards
    yield "a graph that is kept: CPU", f"{cpu(lambda: graphs.graph('minute', target, look), 1000) * 1e6:.0f} us"
    for period in PERIODS:
        graphs.energies(period)
        used = cpu(lambda period=period: graphs.reader.read(period, Target()))  # type: ignore[misc]
        yield f"numbers of a summary, {period}: CPU", f"{used * 1e3:.1f} ms"
    yield f"browsers that each see {CARDS} other cards every {EVERY:.0f} s, on one core", f"{EVERY / CARDS / cards:.0f}"


def cpu(call: Callable[[], object], times: int = 1) -> float:
    """Return the seconds of CPU that a call takes."""
    before = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - before) / times


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.graphs", description="Measure the graphs of kwapi-rrd.")
    parser.add_argument("--probes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--directory", help="where the files are made; that of temporary files by default")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        for what, value in figures(arguments.probes, arguments.rounds, Path(directory)):
            print(f"{what:60}{value:>12}")
    print(f"{'load average':60}{os.getloadavg()[0]:12.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
