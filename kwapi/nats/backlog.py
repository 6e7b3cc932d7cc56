"""What a spool has that a NATS server has not stored yet; for the one thread that reads the disk.

Beside the spool it is saved since when messages go this way, and up to where those of each wattmeter are stored. What
is sent once more after a kill the server knows, or the subscriber drops.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from kwapi.nats.lanes import Parcel
from kwapi.spool.reader import CannotRead, Reader
from kwapi.spool.store import Spool
from kwapi.stream import Position

LOG = logging.getLogger(__name__)
FILE_NAME, FORMAT = "nats.json", 1
BYTES = "surrogateescape"  # how bytes are written that are no UTF-8: nobody has verified the topics
PAGE = 64 << 10  # bytes that are read at a time
OPENED = 10.0  # seconds that a spool has to be opened
AGAIN = 0.1  # seconds until a spool that cannot be read is tried again


class Backlog:
    """The messages of a spool, by wattmeter, from where on they are not stored."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._path = spool.directory / FILE_NAME
        self._since, self.stored = _load(self._path)
        self._reader = Reader(spool.directory)

    def unstored(self, is_over: Callable[[], bool]) -> dict[bytes, Position]:
        """Return the last message of each wattmeter that is to be stored, as soon as that can be said."""
        self._spool.opened.wait(OPENED)
        self.save(self.stored)
        found: dict[bytes, Position] = {}
        while not is_over():
            try:
                for topic, boot, _, last, *_ in self._reader.runs(b"", self._since):
                    if (boot, last) >= self.stored.get(topic, Position(-1, 0)):
                        found[topic] = max(Position(boot, last), found.get(topic, Position(-1, 0)))
            except CannotRead as error:
                LOG.debug("the spool is not read yet: %s", error)
                time.sleep(AGAIN)
            else:
                break
        return found

    def page(self, topic: bytes, stored: Position | None) -> list[Parcel] | None:
        """Return what there is next of a wattmeter, None if nobody can say that now."""
        begin = stored or Position(-1, 0)
        try:
            for run in sorted(self._reader.runs_of(topic), key=lambda run: run.boot):
                if (run.boot, run.last) < begin or (stored is None and run.timestamp < self._since):
                    continue
                first = begin.seq if run.boot == begin.boot else run.first
                if frames := self._reader.frames(topic, run.boot, first, run.last, PAGE):
                    return [Parcel(topic, run.boot, seq, frame) for seq, frame in frames.items()]
        except CannotRead as error:
            LOG.debug("not read from the spool: %s", error)
            return None
        return []

    def save(self, stored: Mapping[bytes, Position]) -> None:
        """Write down up to where messages are stored."""
        positions = {topic.decode("utf-8", BYTES): position for topic, position in stored.items()}
        temporary = self._path.with_suffix(".new")
        try:
            text = json.dumps({"format": FORMAT, "since": self._since, "positions": positions})
            temporary.write_text(text, "utf-8")
            os.replace(temporary, self._path)
        except OSError as error:
            LOG.debug("cannot save %s: %s", self._path, error)

    def close(self) -> None:
        """Close the files."""
        self._reader.close()


def _load(path: Path) -> tuple[float, dict[bytes, Position]]:
    """Return what was saved; without anything only what comes from now on is stored."""
    try:
        saved = json.loads(path.read_text("utf-8"))
        if saved["format"] != FORMAT:
            raise ValueError(f"its format is {saved['format']}")
        positions = {
            topic.encode("utf-8", BYTES): Position(int(boot), int(seq))
            for topic, (boot, seq) in saved["positions"].items()
        }
        return float(saved["since"]), positions
    except FileNotFoundError:
        LOG.debug("nothing was stored yet")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        LOG.warning("%s cannot be used, what the spool has of before is not published: %r", path, error)
    return time.time(), {}
