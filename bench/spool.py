"""Measures what a spool costs the process that publishes: ``python -m bench.spool``.

One process publishes at a steady rate, a second one hears it. By turns of a few seconds each message is kept in a spool
or not, so that what else the machine does falls on both. CPU is that of all threads of the publishing process, latency
the time from a message's timestamp until a subscriber has it. How long a frame waits until it is committed, which is
what a kill -9 may cost, is looked at a thousand times a second.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.frames import KEY, names_of
from bench.processes import started
from kwapi.bus import Publisher, Sender, Subscriber
from kwapi.gate import Gate
from kwapi.measurement import Measurement, Message
from kwapi.signing import KeyRing
from kwapi.spool.store import Spool

PROGRAM = "bench.spool"
TICK = 0.001  # seconds
WITHOUT, WITH = 1.0, 2.0  # intervals of the wattmeters: whether a message was kept
CPU_BOUND, LATENCY_BOUND = 10.0, 1.0  # us a message, ms
Row = tuple[str, str]


class Turns:
    """Publishes by turns with and without a spool."""

    def __init__(self, directory: Path, wattmeters: int, rate: int) -> None:
        self.spool = Spool(directory / "spool", max_bytes=1 << 30, max_age=86400.0)
        self.publisher = Publisher(f"ipc://{directory}/bus", KEY, keep=self._keep)
        self.delays: list[float] = []  # seconds until a frame was committed
        self._senders = {
            kept: [self.publisher.sender(name, kept) for name in names_of(wattmeters)] for kept in (WITHOUT, WITH)
        }
        self._rate = rate
        self._is_kept = False
        self._handed = self._noted = 0
        self._waiting: deque[tuple[int, float]] = deque()  # how many were handed in, and when

    def take(self, kept: float, seconds: float) -> float:
        """Publish for some seconds; return the CPU seconds of a message."""
        self._is_kept = kept == WITH
        senders = self._senders[kept]
        self._publish(senders, 0.5)
        cpu = time.process_time()
        sent = self._publish(senders, seconds)
        while self._waiting:
            self._look()
            time.sleep(TICK)
        return (time.process_time() - cpu) / sent

    def _publish(self, senders: Sequence[Sender], seconds: float) -> int:
        begun, sent, together = time.monotonic(), 0, int(self._rate * TICK)
        while (now := time.monotonic()) < begun + seconds:
            for number in range(sent, sent + together):
                values = [Measurement("server-1", watts=117.3), Measurement("server-2", watts=98.1)]
                senders[number % len(senders)].publish(values, time.time(), now)
            sent += together
            self._handed += together * self._is_kept
            self._look()
            time.sleep(max(begun + sent / self._rate - time.monotonic(), 0))
        return sent

    def _keep(self, *frame: Any) -> None:
        if self._is_kept:
            self.spool.hand_numbered(*frame)

    def _look(self) -> None:
        """Note how long what has been committed since the last look waited for it."""
        now, kept = time.monotonic(), self.spool.kept + sum(self.spool.dropped.copy().values())
        while self._waiting and self._waiting[0][0] <= kept:
            self.delays.append(now - self._waiting.popleft()[1])
        if self._handed > self._noted:
            self._waiting.append((self._handed, now))
            self._noted = self._handed


def publish(directory: Path, wattmeters: int, rate: int, turns: int, seconds: float) -> None:
    """Publish all turns and print what they took."""
    bench, stop = Turns(directory, wattmeters, rate), threading.Event()
    thread = threading.Thread(target=bench.spool.run, args=(stop,))
    thread.start()
    time.sleep(0.5)  # until the subscription is there
    pairs = [(bench.take(WITHOUT, seconds), bench.take(WITH, seconds)) for _ in range(turns)]
    stop.set()
    thread.join()
    bench.publisher.close()
    figures = {"pairs": pairs, "delays": bench.delays, "dropped": dict(bench.spool.dropped), "kept": bench.spool.kept}
    print(json.dumps(figures))


class Latencies:
    """How long messages took, in seconds, by whether they were kept."""

    def __init__(self) -> None:
        self.of: dict[float, list[float]] = {WITHOUT: [], WITH: []}

    def add(self, message: Message) -> None:
        """Note when a message came."""
        self.of[message.interval].append(time.time() - message.timestamp)


def listen(directory: Path) -> None:
    """Hear the bus until ended, and print the latencies that count."""
    stop, latencies = threading.Event(), Latencies()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    Subscriber([f"ipc://{directory}/bus"], [], Gate(KeyRing([KEY]))).run(stop, latencies.add)
    print(json.dumps({str(kept): percentiles(taken) for kept, taken in latencies.of.items()}))


def percentiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, that within which 99 of 100 are, and the longest, in ms."""
    cuts = quantiles(seconds, n=100)
    return cuts[49] * 1e3, cuts[98] * 1e3, max(seconds) * 1e3


def figures(directory: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Yield what was measured and how much it is."""
    turns = ("--turns", options.turns, "--seconds", options.seconds)
    with started(PROGRAM, "listen", directory) as listener:
        with started(PROGRAM, "publish", directory, options.wattmeters, options.rate, *turns) as publisher:
            published = json.loads(publisher.communicate()[0])
        listener.terminate()
        heard = json.loads(listener.communicate()[0])
    without, kept = (median(pair[number] for pair in published["pairs"]) * 1e6 for number in (0, 1))
    more = median(pair[1] - pair[0] for pair in published["pairs"]) * 1e6
    yield "CPU of a message, not kept", f"{without:.1f} us"
    yield "CPU of a message, kept", f"{kept:.1f} us"
    yield f"what the spool adds (bound {CPU_BOUND:.0f} us)", f"{more:.1f} us"
    late = {}
    for name, mark in (("not kept", WITHOUT), ("kept", WITH)):
        middle, late[mark], longest = heard[str(mark)]
        yield f"latency, {name}: median", f"{middle:.2f} ms"
        yield f"latency, {name}: 99 of 100 within", f"{late[mark]:.2f} ms"
        yield f"latency, {name}: longest", f"{longest:.1f} ms"
    yield f"what the spool adds to 99 of 100 (bound {LATENCY_BOUND:.0f} ms)", f"{late[WITH] - late[WITHOUT]:.2f} ms"
    middle, most, longest = percentiles(published["delays"])
    yield "until a frame is committed: median", f"{middle:.1f} ms"
    yield "until a frame is committed: 99 of 100 within", f"{most:.1f} ms"
    yield "until a frame is committed: longest", f"{longest:.1f} ms"
    yield "frames kept", f"{published['kept']}"
    yield "frames dropped", f"{sum(published['dropped'].values())}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return the exit status, 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(prog="bench.spool", description="Measure what a spool costs.")
    parser.add_argument("--wattmeters", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=10_000, help="messages a second")
    parser.add_argument("--turns", type=int, default=6, help="of each kind")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn")
    parser.add_argument("--directory", help="where the spool is made; that of temporary files by default")
    if argv is None and sys.argv[1:2] in (["publish"], ["listen"]):
        return _child(sys.argv[1:])
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        rows = dict(figures(Path(directory), options))
    for what, value in rows.items():
        print(f"{what:<70}{value:>12}")
    print(f"{'load average':<70}{os.getloadavg()[0]:>12.2f}")
    added = [float(value.split()[0]) for what, value in rows.items() if "bound" in what]
    return int(added[0] > CPU_BOUND or added[1] > LATENCY_BOUND)


def _child(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.spool")
    kinds = parser.add_subparsers(dest="kind", required=True)
    publishing, listening = kinds.add_parser("publish"), kinds.add_parser("listen")
    for each in (publishing, listening):
        each.add_argument("directory", type=Path)
    publishing.add_argument("wattmeters", type=int)
    publishing.add_argument("rate", type=int)
    publishing.add_argument("--turns", type=int)
    publishing.add_argument("--seconds", type=float)
    options = parser.parse_args(argv)
    with suppress(PermissionError):  # what else the machine does comes after us
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    if options.kind == "listen":
        listen(options.directory)
    else:
        publish(options.directory, options.wattmeters, options.rate, options.turns, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
