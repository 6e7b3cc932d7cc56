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
UNREAD = 10.0  # seconds that one is waited for which cannot be read: it may be for a moment, or a file of root's
AGAIN = 0.1  # seconds until a spool that cannot be read is tried again


class Backlog:
    """The messages of a spool, by wattmeter, from where on they are not stored."""

    def __init__(self, spool: Spool, *, patience: float = UNREAD) -> None:
        """``patience`` is for how many seconds a spool that cannot be read is waited for."""
        self._spool = spool
        self._patience = patience
        self._unread_since: float | None = None
        self._is_told = False
        self._path = spool.directory / FILE_NAME
        self._since, self.stored = _load(self._path)
        self._reader = Reader(spool.directory)

    def unstored(self, is_over: Callable[[], bool]) -> dict[bytes, Position]:
        """Return the last message of each wattmeter that is to be stored, as soon as that can be said.

        When it cannot be, nothing is to be: live traffic goes on.
        """
        self._spool.opened.wait(OPENED)
        self.save(self.stored)
        while not is_over():
            try:
                found = self._unstored()
            except CannotRead as error:
                if self._is_given_up(error):
                    break
                time.sleep(AGAIN)
            else:
                self._unread_since = None
                return found
        return {}

    def _unstored(self) -> dict[bytes, Position]:
        found: dict[bytes, Position] = {}
        for topic, boot, _, last, *_ in self._reader.runs(b"", self._since):
            if (boot, last) >= self.stored.get(topic, Position(-1, 0)):
                found[topic] = max(Position(boot, last), found.get(topic, Position(-1, 0)))
        return found

    def page(self, topic: bytes, stored: Position | None) -> list[Parcel] | None:
        """Return what there is next of a wattmeter, None if nobody can say that yet."""
        try:
            page = self._page(topic, stored)
        except CannotRead as error:
            return [] if self._is_given_up(error) else None
        self._unread_since = None
        return page

    def _page(self, topic: bytes, stored: Position | None) -> list[Parcel]:
        begin = stored or Position(-1, 0)
        for run in sorted(self._reader.runs_of(topic), key=lambda run: run.boot):
            if (run.boot, run.last) < begin or (stored is None and run.timestamp < self._since):
                continue
            first = begin.seq if run.boot == begin.boot else run.first
            if frames := self._reader.frames(topic, run.boot, first, run.last, PAGE):
                return [Parcel(topic, run.boot, seq, frame) for seq, frame in frames.items()]
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

    def _is_given_up(self, error: CannotRead) -> bool:
        """Return whether the spool could not be read for so long that nobody waits for it, which is told once."""
        now = time.monotonic()
        self._unread_since = self._unread_since or now
        if now - self._unread_since < self._patience:
            return False
        if not self._is_told:
            LOG.warning("cannot read %s, what it has for NATS servers is given to none: %s", self._path.parent, error)
        self._is_told = True
        return True


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
