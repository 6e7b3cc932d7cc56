"""The record of a chaos test, which no part of Kwapi keeps: what was signed, what plugins were given and gave up.

Each process appends to a file of its own, in one write for each entry, before it goes on: what a kill -9 leaves is all
that was written. An entry is the time (ns of the machine's monotonic clock), a length and so many bytes.

``python -m tests.integration.chaos_record ROLE DIRECTORY ARGUMENTS`` is a daemon that keeps it.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

import msgspec

from kwapi import bus
from kwapi.drivers import app as drivers
from kwapi.drivers import share
from kwapi.drivers.shares import Shares
from kwapi.measurement import Message, topic_of
from kwapi.plugins.api import app as api
from kwapi.plugins.rrd import app as rrd
from kwapi.signing import Key, sign
from kwapi.stream import Lost

HEAD = Struct("<QI")
SIGNED = "signed"  # and the names of the plugins: what the files of the others begin with
WORKER = "worker"


class Given(NamedTuple):
    """A message that a plugin was given; or with ``last`` those that it gave up, -1 for an end that nobody knows."""

    topic: bytes
    boot: int
    seq: int
    last: int | None = None


class Journal:
    """The file of this process."""

    def __init__(self, directory: Path, kind: str) -> None:
        path = directory / f"{kind}.{os.getpid()}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(self, entry: bytes) -> None:
        os.write(self._file, HEAD.pack(time.monotonic_ns(), len(entry)) + entry)


class Tail:
    """Reads a file of the record as it grows."""

    def __init__(self, path: Path) -> None:
        self.pid = int(path.suffix[1:])
        self._path = path
        self._read = 0

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield (ns, entry) of what was appended since the last time; what a kill has torn is none."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            while len(head := file.read(HEAD.size)) == HEAD.size:
                at, length = HEAD.unpack(head)
                if len(entry := file.read(length)) < length:
                    return
                self._read += HEAD.size + length
                yield at, entry


def record_signed(directory: Path) -> None:
    """Have this process write down every measurement that it signs, before it is sent."""
    journal = Journal(directory, SIGNED)

    def recorded(key: Key, topic: bytes, payload: bytes) -> bytes:
        frame = sign(key, topic, payload)
        if not topic.startswith(b"kwapi."):
            journal.append(frame)
        return frame

    bus.sign = recorded  # type: ignore[attr-defined]


def worker(directory: Path, channel: int) -> "subprocess.Popen[bytes]":
    """Start a worker process of kwapi-drivers that keeps the record."""
    command = [sys.executable, "-m", __spec__.name, WORKER, str(directory), str(channel)]
    return subprocess.Popen(command, pass_fds=[channel], stdin=subprocess.DEVNULL)


class Losses(deque[Lost]):
    """What a subscriber gave up, which is written down."""

    def __init__(self, note: Callable[[Given], None]) -> None:
        super().__init__(maxlen=1000)
        self._note = note

    def append(self, lost: Lost) -> None:
        self._note(Given(lost.topic, lost.boot, lost.first, -1 if lost.last is None else lost.last))
        super().append(lost)


def record_given(directory: Path, plugin: str, app: Any, taker: str) -> None:
    """Have a plugin write down each message before ``taker``, its class that takes them, is given it."""
    journal, encoder = Journal(directory, plugin), msgspec.msgpack.Encoder()

    def note(given: Given) -> None:
        journal.append(encoder.encode(given))

    def noting(name: str) -> Callable[[Any, Message], None]:
        def take(self: Any, message: Message) -> None:
            note(Given(topic_of(message.wattmeter), message.boot, message.seq))
            getattr(taken, name)(self, message)

        return take

    def subscribed(*args: Any, **given: Any) -> bus.Subscriber:
        subscriber = subscriber_of(*args, **given)
        streams = subscriber.gate.streams
        streams.losses = losses = Losses(note)
        for stream in streams._streams.values():  # those of saved positions
            stream.losses = losses
        return subscriber

    taken, subscriber_of = getattr(app, taker), app.subscriber_of
    setattr(app, taker, type(taker, (taken,), {name: noting(name) for name in ("add", "add_late")}))
    app.subscriber_of = subscribed


def main(arguments: Sequence[str]) -> int:
    """Be the daemon of a role; return its exit status."""
    role, directory, rest = arguments[0], Path(arguments[1]), arguments[2:]
    if role in ("drivers", WORKER):
        record_signed(directory)
    if role == WORKER:
        return share.main([role, *rest])
    if role == "drivers":
        drivers.Shares = partial(Shares, spawn=partial(worker, directory))  # type: ignore[assignment, misc]
        return drivers.main(rest)
    if role == "api":
        record_given(directory, role, api, "Collector")
        return api.main(rest)
    record_given(directory, role, rrd, "Store")
    return rrd.main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
