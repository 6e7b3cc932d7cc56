"""Measures what kwapi-rrd's store takes: ``python -m bench.rrd``.

10,000 probes of wattmeters with 48 each are measured once a second of their own time for some minutes, and flushed
every 30 s of it, as fast as this process can. CPU is that of this process and of the one that runs rrdtool, with the
kernel's part.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.collector import OUTLETS, messages
from bench.processes import cpu_seconds
from kwapi.plugins.rrd.store import FLUSH_PERIOD, Store
from kwapi.plugins.rrd.tool import ToolApart

Row = tuple[str, str]


class Clock:
    """The wattmeters' time."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def cpu_of(tool: ToolApart) -> float:
    """Return the CPU seconds that this process and rrdtool's have used."""
    return time.process_time() + (cpu_seconds(tool.pid) if tool.pid else 0.0)


def figures(probes: int, flushes: int, directory: Path) -> Iterator[Row]:
    """Yield what was measured and how much it is."""
    clock = Clock()
    tool = ToolApart()
    store = Store(directory, tool=tool, clock=clock, steady_clock=clock)
    wattmeters = -(-probes // OUTLETS)
    taking, flushing, longest = 0.0, 0.0, 0.0
    seconds = int(FLUSH_PERIOD)
    for number in range(flushes + 1):
        batch = list(messages(probes, seconds, start=number * seconds))
        cpu = time.process_time()
        for message in batch:
            clock.now = max(message.timestamp, clock.now)
            store.add(message)
        if number:  # files are made and opened by the first flush
            taking += time.process_time() - cpu
        cpu, before = cpu_of(tool), time.perf_counter()
        store.flush()
        if number:
            flushing += cpu_of(tool) - cpu
            longest = max(longest, time.perf_counter() - before)
    values = wattmeters * OUTLETS * seconds * flushes
    yield "CPU to take a value", f"{taking / values * 1e6:.2f} us"
    yield "CPU to write it", f"{flushing / values * 1e6:.2f} us"
    yield f"of one core for {probes} probes each second", f"{(taking + flushing) / values * probes * 100:.2f} %"
    yield "longest flush", f"{longest:.2f} s"
    for what, call in (
        ("CPU for a list of all probes", store.probes),
        ("CPU to settle the totals", store.flush_totals),
    ):
        cpu = time.process_time()
        for _ in range(5):
            call()
        yield what, f"{(time.process_time() - cpu) / 5 * 1e3:.1f} ms"
    before, cpu = time.perf_counter(), cpu_of(tool)
    Store(directory, tool=tool, clock=clock, steady_clock=clock)
    yield "start with these files", f"{time.perf_counter() - before:.2f} s"
    yield "CPU of that", f"{cpu_of(tool) - cpu:.2f} s"
    tool.close()
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    yield "size of it all", f"{size / 1e6:.0f} MB"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.rrd", description="Measure the store of kwapi-rrd.")
    parser.add_argument("--probes", type=int, default=10_000)
    parser.add_argument("--flushes", type=int, default=4)
    parser.add_argument("--directory", help="where the files are made; that of temporary files by default")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        for what, value in figures(arguments.probes, arguments.flushes, Path(directory)):
            print(f"{what:<70}{value:>12}")
    print(f"{'load average':<70}{os.getloadavg()[0]:>12.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
