"""Up to where a plugin has taken the messages of each wattmeter, saved so that it can ask for what came since."""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import NamedTuple

from kwapi.stream import MAX_BOOTS, Account, Boots, Mark, Position
from kwapi.streams import Standing

LOG = logging.getLogger(__name__)
FILE_NAME = "positions.json"
FORMAT = 1
SOON, PERIOD = 1.0, 5.0  # seconds until they are first saved, and between saves: what a kill has asked for once more


class Saved(NamedTuple):
    """Positions, accounts and boots by topic, and when they held (Unix seconds); marks by the key of what was read."""

    at: float
    positions: dict[bytes, Position]
    accounts: dict[bytes, Account]
    marks: Mapping[str, Mark] = MappingProxyType({})
    boots: Mapping[bytes, Boots] = MappingProxyType({})


class Taken:
    """Up to where a plugin has dealt with the messages of each wattmeter: of its newest boot, and of those before."""

    def __init__(self, saved: Saved | None) -> None:
        self.positions = dict(saved.positions) if saved else {}
        self._older = {topic: dict(boots.older) for topic, boots in saved.boots.items()} if saved else {}

    def note(self, topic: bytes, boot: int, seq: int) -> None:
        """Take note of a message that was dealt with; those that another publisher may not send are not noted."""
        before = self.positions.get(topic)
        if before is not None and before.boot != boot:
            older = self._older.setdefault(topic, {})
            older.pop(boot, None)
            older[before.boot] = before.seq
            while len(older) >= MAX_BOOTS:
                del older[next(iter(older))]
        self.positions[topic] = Position(boot, seq + 1)

    def copy(self) -> "Taken":
        """Return what holds now."""
        taken = Taken(None)
        taken.positions = self.positions.copy()
        taken._older = {topic: older.copy() for topic, older in self._older.items()}
        return taken

    def boots(self, standing: Standing) -> dict[bytes, Boots]:
        """Return the boots that are known here and at a standing of the subscriber, which may be an earlier one.

        What is read again from there on was taken here: none of it, nor what it lacks, counts a second time.
        """
        merged: dict[bytes, Boots] = {}
        for topic, boots in standing.boots().items():
            older = dict(boots.older)
            for boot, seq in self._older.get(topic, {}).items():
                older[boot] = max(seq, older.pop(boot, 0))
            merged[topic] = boots._replace(older=dict(list(older.items())[-MAX_BOOTS:]))
        return merged


class Positions:
    """The positions of a plugin in a file; without one, or with one that is damaged, it begins with what is live."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.standing: Callable[[], Standing] = _nowhere  # of a subscriber, for those who save positions of their own
        self._clock = clock
        self._is_broken = False

    def load(self) -> Saved | None:
        """Return what was saved, None if nothing was."""
        try:
            saved = json.loads(self.path.read_text("utf-8"))
            if saved["format"] != FORMAT:
                raise ValueError(f"its format is {saved['format']}")
            saved = {"marks": {}, "boots": {}} | saved
            positions = {
                topic.encode(): Position(int(boot), int(seq)) for topic, (boot, seq) in saved["positions"].items()
            }
            accounts = {topic.encode(): Account(*map(int, counts)) for topic, counts in saved["accounts"].items()}
            marks = {key: Mark(str(since), int(seq), float(at)) for key, (since, seq, at) in saved["marks"].items()}
            boots = {
                topic.encode(): Boots({int(boot): int(seq) for boot, seq in older}, tuple(map(int, ended)))
                for topic, (older, ended) in saved["boots"].items()
            }
            at = min(float(saved["at"]), self._clock())  # which may have been set back
            return Saved(at, positions, accounts, marks, boots) if positions or marks else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"  # the repr of what cannot be decoded has all of the file
            LOG.warning("%s cannot be used, what was missed is not asked for: %s", self.path, reason)
            return None

    def save(
        self,
        positions: Mapping[bytes, Position],
        accounts: Mapping[bytes, Account] | None = None,
        marks: Mapping[str, Mark] | None = None,
        boots: Mapping[bytes, Boots] | None = None,
    ) -> None:
        """Save positions, and what is known up to there, that hold now."""
        saved = {
            "format": FORMAT,
            "at": self._clock(),
            "positions": {topic.decode(): position for topic, position in positions.items()},
            "accounts": {topic.decode(): astuple(account) for topic, account in (accounts or {}).items()},
            "marks": dict(marks or {}),
            "boots": {topic.decode(): (list(older.items()), ended) for topic, (older, ended) in (boots or {}).items()},
        }
        temporary = self.path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(saved, ensure_ascii=False), "utf-8")
            os.replace(temporary, self.path)
        except OSError as error:
            if not self._is_broken:
                LOG.warning("%s cannot be saved, a restart will ask for more than it needs: %s", self.path, error)
            self._is_broken = True
        else:
            if self._is_broken:
                LOG.info("%s is saved again", self.path)
            self._is_broken = False

    def run(self, stop: Event, standing: Callable[[], Standing]) -> None:
        """Save every few seconds, and a last time when stopped."""
        wait, stopped = SOON, False
        while not stopped:
            stopped = stop.wait(wait)
            found = standing()
            self.save(
                {topic: place.position for topic, place in found.topics.items()},
                {topic: place.account for topic, place in found.topics.items()},
                found.marks,
                found.boots(),
            )
            wait = PERIOD


def _nowhere() -> Standing:
    return Standing({}, {})
