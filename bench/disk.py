"""Measures what a spool writes to its disk: ``python -m bench.disk``.

Frames of wattmeters at 1 Hz are handed in as they come. The disk's own counter (/proc/diskstats) says what reached it,
so nothing else should write there meanwhile.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from kwapi.spool.store import Spool

STATS = Path("/proc/diskstats")
SECTOR = 512  # bytes, whatever the disk has
DAY = 86_400  # seconds
TICK = 0.002  # seconds
LOADS = ((100, 230), (1_000, 230), (1_000, 1_148))  # wattmeters, bytes of a frame: of 1 probe, and of 48


def written(directory: Path) -> int:
    """Return the bytes that were ever written to the disk of a directory."""
    device = directory.stat().st_dev
    for line in STATS.read_text().splitlines():
        fields = line.split()
        if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
            return int(fields[9]) * SECTOR
    raise RuntimeError(f"{directory} is on no disk")


def measure(directory: Path, wattmeters: int, size: int, seconds: float) -> float:
    """Return the bytes that reach the disk for each frame."""
    spool, stop = Spool(directory / "spool", max_bytes=1 << 30, max_age=DAY), threading.Event()
    thread = threading.Thread(target=spool.run, args=(stop,))
    frame, topics = os.urandom(size), [f"lyon.pdu{number}.".encode() for number in range(wattmeters)]
    os.sync()
    before, begun, sent = written(directory), time.monotonic(), 0
    thread.start()
    while (now := time.monotonic() - begun) < seconds:
        for number in range(sent, int(now * wattmeters)):
            spool.hand_numbered(topics[number % wattmeters], 7, number // wattmeters, time.time(), frame)
            sent = number + 1
        time.sleep(TICK)
    stop.set()
    thread.join()
    os.sync()
    return (written(directory) - before) / sent


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench.disk", description="Measure what a spool writes to its disk.")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--directory", help="where the spool is made; that of temporary files by default")
    options = parser.parse_args(argv)
    try:
        written(Path(options.directory or tempfile.gettempdir()))
    except (OSError, RuntimeError) as error:
        parser.error(str(error))
    for wattmeters, size in LOADS:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            each = measure(Path(directory), wattmeters, size, options.seconds)
        print(
            f"{wattmeters} frames of {size} B a second: {each:.0f} B each, {each * wattmeters * DAY / 1e9:.0f} GB a day"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
