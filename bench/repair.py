"""Measures how a spool is read: ``python -m bench.repair``.

A spool with some minutes of many wattmeters at 1 Hz is asked what it has; then a subscriber that was away all the time
catches up, over a real socket, with a replay service in a process of its own.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.frames import BOOT, KEY, frame_of, names_of
from bench.processes import cpu_seconds
from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.measurement import Message, topic_of
from kwapi.replay import Service
from kwapi.signing import KeyRing
from kwapi.spool.reader import Reader
from kwapi.spool.store import Spool, segment_paths
from kwapi.streams import Position, Streams

PROBES, WATTS = ("server-1", "server-2"), (117.3, 98.1)
GROUP = 80  # messages in a transaction, as at 10,000 a second
Row = tuple[str, str]


def fill(directory: Path, names: Sequence[str], seconds: int, size: int) -> int:
    """Keep a message of each wattmeter for each second; return how many segments that takes."""
    spool = Spool(directory, max_bytes=size << 20, max_age=86400.0)
    begun = time.time() - seconds
    for second in range(seconds):
        frames = [frame_of(name, second, begun + second, PROBES, WATTS) for name in names]
        for number in range(0, len(frames), GROUP):
            for frame in frames[number : number + GROUP]:
                spool.hand(frame)
            spool.flush()
        spool.tidy()
    spool.close()
    return len(segment_paths(directory))


def questions(directory: Path, names: Sequence[str], seconds: int) -> Iterator[Row]:
    """Yield how long a spool needs to say what it has, asked first and again."""
    reader, now = Reader(directory), time.time()
    topic = topic_of(names[len(names) // 2])
    asked: dict[str, Callable[[], object]] = {
        "what there is of all": lambda: reader.runs(b""),
        "what there is of all since a time in the middle": lambda: reader.runs(b"", now - seconds / 2),
        "what there is of all since 5 s": lambda: reader.runs(b"", now - 5),
        "what there is of one": lambda: reader.runs_of(topic),
        "ten messages of one": lambda: reader.frames(topic, BOOT, seconds // 2, seconds // 2 + 9, 1 << 18),
    }
    for what, ask in asked.items():
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            ask()
            times.append(time.perf_counter() - begun)
        yield what, f"{times[0] * 1e3:.2f}, then {min(times[1:]) * 1e3:.2f} ms"
    reader.close()


def catch_up(directory: Path, endpoint: str, names: Sequence[str], first: int, seconds: int) -> Iterator[Row]:
    """Yield how fast a subscriber gets what it missed, and what CPU that takes on both sides."""
    command = [sys.executable, "-m", "bench.repair", "serve", str(directory), endpoint]
    with subprocess.Popen(command) as service:  # noqa: S603
        streams = Streams({topic_of(name): Position(BOOT, first) for name in names}, spools=1)
        gate, stop, taken = Gate(KeyRing([KEY]), streams=streams), threading.Event(), 0
        wanted = len(names) * (seconds - first)

        def add(_: Message) -> None:
            nonlocal taken
            taken += 1
            if taken == wanted:
                stop.set()

        begun, cpu, served = time.perf_counter(), time.process_time(), cpu_seconds(service.pid)
        Subscriber([endpoint + "-live"], [], gate, spools=[endpoint]).run(stop, add)
        lasted, used, served = (
            time.perf_counter() - begun,
            time.process_time() - cpu,
            cpu_seconds(service.pid) - served,
        )
        service.terminate()
    what = f"{seconds - first} s missed"
    yield f"{what}: messages repaired", f"{taken} of {wanted}"
    yield f"{what}: repaired in a second", f"{taken / lasted:.0f}"
    yield f"{what}: CPU of a message, of who asks", f"{used / taken * 1e6:.1f} us"
    yield f"{what}: CPU of a message, of who answers", f"{served / taken * 1e6:.1f} us"


def serve(directory: Path, endpoint: str) -> None:
    """Answer until ended."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    Service(endpoint, directory).run(stop)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return the exit status."""
    if argv is None and sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), sys.argv[3])
        return 0
    parser = argparse.ArgumentParser(prog="bench.repair", description="Measure how a spool is read.")
    parser.add_argument("--wattmeters", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--size", type=int, default=1024, help="of the spool, in megabytes")
    parser.add_argument("--directory", help="where the spool is made; that of temporary files by default")
    options = parser.parse_args(argv)
    names = names_of(options.wattmeters)
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        directory = Path(temporary) / "spool"
        segments = fill(directory, names, options.seconds, options.size)
        rows = [("segments", str(segments)), *questions(directory, names, options.seconds)]
        for first in (options.seconds - options.seconds // 10, 0):
            rows += catch_up(directory, f"ipc://{temporary}/replay", names, first, options.seconds)
    for what, value in rows:
        print(f"{what:<58}{value:>24}")
    print(f"{'load average':<58}{os.getloadavg()[0]:>24.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
