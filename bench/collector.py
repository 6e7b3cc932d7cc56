"""Measures what the API's collector takes for each measurement, in memory and with its register file.

``python -m bench.collector``: 10,000 probes of wattmeters with 48 each are measured once a second of their own time, as
fast as this process can; then as they come, while threads ask for snapshots and the file is synced every second.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kwapi.measurement import VERSION, Message
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.registers import Registers

OUTLETS = 48
READERS, ASKED_EVERY = 8, 0.01  # seconds
Row = tuple[str, str]


def messages(probes: int, seconds: int, start: int = 0) -> Iterator[Message]:
    """Yield a message of each wattmeter, and so on for each second; their registers rise by 1 Wh a minute."""
    names = [[f"pdu{number}-{place}" for place in range(OUTLETS)] for number in range(-(-probes // OUTLETS))]
    now = time.time()
    for second in range(start, start + seconds):
        columns = {"w": [60.0] * OUTLETS, "v": [230.0] * OUTLETS, "a": [0.3] * OUTLETS}
        kwh = [5.0 + second / 6e4] * OUTLETS
        for number, outlets in enumerate(names):
            yield Message(
                version=VERSION,
                type="measurement",
                wattmeter=f"pdu{number}",
                boot=1,
                seq=second,
                timestamp=now + second,
                monotonic=float(second),
                interval=1.0,
                probes=outlets,
                kwh=kwh,
                **columns,
            )


def cost(collector: Collector, probes: int, seconds: int) -> float:
    """Return microseconds of CPU for each measurement."""
    batch = list(messages(probes, seconds))
    before = time.thread_time()
    for message in batch:
        collector.add(message)
    return (time.thread_time() - before) / len(batch) / OUTLETS * 1e6


def pauses(collector: Collector, registers: Registers, probes: int, seconds: int) -> tuple[float, float, int]:
    """Return the longest and the 99th percentile of add(), ms, at the pace of real wattmeters, and the snapshots."""
    stop, generation = threading.Event(), collector.snapshot().generation

    def ask() -> None:
        while not stop.wait(ASKED_EVERY):
            collector.snapshot()

    def sync() -> None:
        while not stop.wait(1.0):
            registers.sync()

    threads = [threading.Thread(target=ask) for _ in range(READERS)] + [threading.Thread(target=sync)]
    batch = list(messages(probes, seconds, start=seconds))  # after what cost() gave it
    for thread in threads:
        thread.start()
    times, begin = [], time.perf_counter()
    for number, message in enumerate(batch):
        time.sleep(max(begin + number * seconds / len(batch) - time.perf_counter(), 0))
        before = time.perf_counter()
        collector.add(message)
        times.append((time.perf_counter() - before) * 1e3)
    stop.set()
    for thread in threads:
        thread.join()
    times.sort()
    return times[-1], times[len(times) * 99 // 100], collector.snapshot().generation - generation


def milliseconds(collector: Collector) -> float:
    """Return what making a snapshot takes now."""
    collector._taken_at = float("-inf")
    before = time.thread_time()
    collector.snapshot()
    return (time.thread_time() - before) * 1e3


def figures(probes: int, seconds: int, directory: Path) -> Iterator[Row]:
    """Yield what was measured and how much it is."""
    memory = cost(Collector(), probes, seconds)
    yield "CPU for a measurement, in memory", f"{memory:.2f} us"
    registers = Registers(directory)
    collector = Collector(registers)
    filed = cost(collector, probes, seconds)
    yield "CPU for a measurement, with the register file", f"{filed:.2f} us"
    yield f"of one core for {probes} probes each second", f"{filed * probes / 1e4:.1f} %"
    yield "snapshot, all probes new", f"{milliseconds(collector):.1f} ms"
    yield "snapshot, none new", f"{milliseconds(collector):.1f} ms"
    longest, usual, count = pauses(collector, registers, probes, seconds)
    yield f"add() of {OUTLETS} while {READERS} threads ask and the file is synced, longest", f"{longest:.1f} ms"
    yield "99 of 100 within", f"{usual:.1f} ms"
    yield "snapshots made meanwhile", str(count)
    registers.close()
    before = time.perf_counter()
    Collector(registers := Registers(directory))
    yield "start with that file", f"{time.perf_counter() - before:.2f} s"
    yield "its size", f"{os.stat(registers.path).st_size / 1e6:.1f} MB"
    registers.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.collector", description="Measure the API's collector.")
    parser.add_argument("--probes", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        for what, value in figures(arguments.probes, arguments.seconds, Path(directory)):
            print(f"{what:<70}{value:>12}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
