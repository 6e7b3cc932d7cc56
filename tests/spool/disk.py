"""What goes wrong with a disk, on a real one: ``unshare --mount python -m tests.spool.disk FAULT DIRECTORY``.

The directory becomes a file system of 32 megabytes, seen by this process alone. A publisher whose frames a spool on
it keeps goes on all the time; what is asked for afterwards, a subscriber gets over real sockets. Here an hour of the
spool's takes three minutes.
"""

import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from kwapi.bus import Publisher, Subscriber
from kwapi.gate import Gate
from kwapi.measurement import Measurement, Message
from kwapi.replay import Service
from kwapi.signing import KeyRing
from kwapi.spool.segment import log_of
from kwapi.spool.store import Spool, segment_paths
from kwapi.streams import Position, Streams
from tests.messages import KEY
from tests.threads import running
from tests.waiting import eventually

TOPIC, NAME = b"lyon.pdu1.", "lyon.pdu1"
FASTER = 20.0
SIZE = 32 << 20


class Told(logging.Handler):
    """The warnings about the spool, and what is said of their end."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.faults: list[str] = []
        self.damage: list[str] = []
        self.ends: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        print(record.levelname, message, flush=True)
        if "cannot keep" in message:
            self.faults.append(message)
        elif "is damaged" in message:
            self.damage.append(message)
        elif "kept" in message and "again" in message:
            self.ends.append(message)


class Scene:
    """A publisher with a spool on a disk of ours, and its replay service."""

    def __init__(self, disk: Path, sockets: Path, told: Told) -> None:
        self.disk, self.told = disk, told
        self.bus, self.replay = f"ipc://{sockets}/bus", f"ipc://{sockets}/replay"
        self.directory = disk / "spool"
        self._closing = ExitStack()
        self.start()

    def start(self) -> None:
        """Start what a daemon with a spool has, and a subscriber that hears all of it."""
        self.spool = Spool(
            self.directory, max_bytes=64 << 20, max_age=3600.0, steady_clock=lambda: FASTER * time.monotonic()
        )
        service = Service(self.replay, self.directory, damaged=self.spool.distrust)
        self.published = self.live = 0
        self.publisher = Publisher(self.bus, KEY, keep=self.spool.hand_numbered)
        self._sender = self.publisher.sender(NAME, 1.0)
        self.gate = Gate(KeyRing([KEY]))
        live = Subscriber([self.bus], [], self.gate)
        self._closing.callback(self.publisher.close)
        for work in (self.spool.run, service.run, lambda stop: live.run(stop, self._hear)):
            self._closing.enter_context(running(work))
        self.goes_on()

    def stop(self) -> None:
        """Stop all of it; live traffic has had no hole."""
        self._closing.close()
        assert self.gate.lost == 0

    def publish(self, count: int = 1) -> None:
        """Send, which never fails and never waits."""
        for _ in range(count):
            probes = [Measurement(f"{NAME}-{number}", watts=1.0) for number in range(20)]
            assert self._sender.publish(probes, time.time(), time.monotonic())
            self.published += 1

    def _hear(self, _: Message) -> None:
        self.live += 1

    def goes_on(self) -> None:
        """See that live traffic comes."""
        before = self.live
        eventually(lambda: self.publish() or self.live > before + 20)

    def lost_since(self, seq: int) -> int:
        """Return how many messages a subscriber that is at a seq has to do without, up to what is published now."""
        end = self.published
        streams = Streams({TOPIC: Position(self.publisher.boot, seq)}, spools=1)
        gate, taken = Gate(KeyRing([KEY]), streams=streams), []
        subscriber = Subscriber([self.bus], [], gate, spools=[self.replay])
        with running(lambda stop: subscriber.run(stop, lambda message: taken.append(message.seq))):
            eventually(lambda: self.publish() or (taken and taken[-1] >= end))
        assert taken == sorted(set(taken))
        return gate.lost

    def _is_repaired(self) -> bool:
        seq = self.published
        self.publish(100)
        return self.lost_since(seq) == 0

    def is_kept_again(self) -> None:
        """See that what is published from now on can be repaired, and that the fault and its end were told once."""

        kept = self.spool.kept
        eventually(lambda: self.publish() or self.spool.kept > kept + 10)
        eventually(self._is_repaired)  # perhaps the damaged segment is left only now
        if self.told.faults:
            eventually(lambda: self.publish() or self.told.ends)
        assert len(self.told.ends) == len(self.told.faults) <= 1, (self.told.ends, self.told.faults)
        assert len(self.told.damage) <= 2, self.told.damage  # by who reads, and by who writes
        assert self.told.faults or self.told.damage

    def fill(self) -> None:
        """Write a file until there is no room left."""
        with (self.disk / "filler").open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12):
                try:
                    while file.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue

    def fails(self) -> None:
        """See that the fault is told, and that live traffic goes on beside it."""
        eventually(lambda: self.publish(20) or self.told.faults)
        self.goes_on()

    def is_damaged(self) -> None:
        """See that damage is told as soon as somebody asks for what was there, and that live traffic goes on."""
        self.lost_since(0)
        self.goes_on()
        eventually(lambda: self.publish() or self.told.faults or self.told.damage)


def mount(*arguments: str) -> None:
    """Mount, or mount anew."""
    subprocess.run(["mount", *arguments], check=True)  # noqa: S603, S607


def full(scene: Scene) -> None:
    """A disk that fills up, and has room again."""
    scene.fill()
    scene.fails()
    (scene.disk / "filler").unlink()


def read_only(scene: Scene) -> None:
    """A daemon is started on a disk that can only be read for a while: what it has is repaired even then."""
    boot, count = scene.publisher.boot, scene.published
    scene.stop()
    mount("-o", "remount,ro", str(scene.disk))
    scene.start()
    streams = Streams({TOPIC: Position(boot, 0)}, spools=1)
    taken: list[int] = []
    subscriber = Subscriber([scene.bus], [], Gate(KeyRing([KEY]), streams=streams), spools=[scene.replay])
    with running(lambda stop: subscriber.run(stop, lambda message: taken.append(message.seq))):
        eventually(lambda: len(taken) >= count)
    assert taken[:count] == list(range(count))
    assert scene.spool.kept == 0
    mount("-o", "remount,rw", str(scene.disk))


def overwritten(scene: Scene) -> None:
    """Bytes of the segment that is written, and of its log, are others all at once."""
    chance = random.Random(7)
    path = segment_paths(scene.directory)[-1]
    for file in (path, log_of(path)):
        with file.open("r+b") as damaged:
            for _ in range(file.stat().st_size // 100):
                damaged.seek(chance.randrange(file.stat().st_size))
                damaged.write(chance.randbytes(4))
    scene.is_damaged()


def truncated(scene: Scene) -> None:
    """The segment that is written, and its log, are cut."""
    path = segment_paths(scene.directory)[-1]
    for file in (path, log_of(path)):
        os.truncate(file, file.stat().st_size // 2)
    scene.is_damaged()


def log_cut(scene: Scene) -> None:
    """Only the write-ahead log is cut, to nothing, while it has what the segment has not."""

    def is_cut() -> bool:
        path, kept = segment_paths(scene.directory)[-1], scene.spool.kept
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("begin")
            reader.execute("select * from sqlite_schema").fetchall()  # what is kept from now on stays in the log
            eventually(lambda: scene.publish() or scene.spool.kept > kept + 10)
            os.truncate(log_of(path), 0)
        return path == segment_paths(scene.directory)[-1]  # that is, it was not left meanwhile

    eventually(is_cut)
    scene.is_damaged()


def removed(scene: Scene) -> None:
    """The whole directory is removed."""
    shutil.rmtree(scene.directory)
    scene.fails()


def removed_in_part(scene: Scene) -> None:
    """The segment is removed, and its log stays."""
    path = segment_paths(scene.directory)[-1]
    path.unlink()
    scene.fails()


def replaced(scene: Scene) -> None:
    """Somebody puts a backup in the place of the files that are in use."""
    path = segment_paths(scene.directory)[-1]
    for file in (path, log_of(path)):
        copy = file.with_name(f"backup of {file.name}")
        shutil.copy(file, copy)
        copy.replace(file)
    scene.fails()


FAULTS: dict[str, Callable[[Scene], None]] = {
    fault.__name__: fault
    for fault in (full, read_only, overwritten, truncated, log_cut, removed, removed_in_part, replaced)
}


def main(name: str, disk: Path) -> None:
    """Let a fault happen, and see that only what passes meanwhile is not kept."""
    told = Told()
    logging.basicConfig(level=logging.INFO, handlers=[told])
    mount("-t", "tmpfs", "-o", f"size={SIZE}", "none", str(disk))
    with tempfile.TemporaryDirectory() as sockets:
        scene = Scene(disk, Path(sockets), told)
        scene.publish(3000)
        eventually(lambda: scene.spool.kept == scene.published)
        assert scene.lost_since(scene.published - 1000) == 0
        FAULTS[name](scene)
        scene.is_kept_again()
        scene.stop()
        Spool(disk / "spool", max_bytes=64 << 20, max_age=3600.0).close()  # it was given free


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
