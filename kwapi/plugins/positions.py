"""Up to where a plugin has taken the messages of each wattmeter, saved so that it can ask for what came since."""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple
from pathlib import Path
from threading import Event
from typing import NamedTuple

from kwapi.stream import Account, Position

LOG = logging.getLogger(__name__)
FILE_NAME = "positions.json"
FORMAT = 1
SOON, PERIOD = 1.0, 5.0  # seconds until they are first saved, and between saves: what a kill has asked for once more


class Saved(NamedTuple):
    """Positions and accounts by topic, and when they held (Unix seconds)."""

    at: float
    positions: dict[bytes, Position]
    accounts: dict[bytes, Account]


class Positions:
    """The positions of a plugin in a file; without one, or with one that is damaged, it begins with what is live."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._is_broken = False

    def load(self) -> Saved | None:
        """Return what was saved, None if nothing was."""
        try:
            saved = json.loads(self._path.read_text("utf-8"))
            if saved["format"] != FORMAT:
                raise ValueError(f"its format is {saved['format']}")
            positions = {
                topic.encode(): Position(int(boot), int(seq)) for topic, (boot, seq) in saved["positions"].items()
            }
            accounts = {topic.encode(): Account(*map(int, counts)) for topic, counts in saved["accounts"].items()}
            at = min(float(saved["at"]), self._clock())  # which may have been set back
            return Saved(at, positions, accounts) if positions else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            LOG.warning("%s cannot be used, what was missed is not asked for: %r", self._path, error)
            return None

    def save(self, positions: Mapping[bytes, Position], accounts: Mapping[bytes, Account] | None = None) -> None:
        """Save positions, and accounts up to there, that hold now."""
        saved = {
            "format": FORMAT,
            "at": self._clock(),
            "positions": {topic.decode(): position for topic, position in positions.items()},
            "accounts": {topic.decode(): astuple(account) for topic, account in (accounts or {}).items()},
        }
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(saved, ensure_ascii=False), "utf-8")
            os.replace(temporary, self._path)
        except OSError as error:
            if not self._is_broken:
                LOG.warning("cannot save what was taken, a restart will ask for more than it needs: %s", error)
            self._is_broken = True
        else:
            self._is_broken = False

    def run(self, stop: Event, standings: Callable[[], Mapping[bytes, tuple[Position, Account]]]) -> None:
        """Save every few seconds, and a last time when stopped."""
        wait, stopped = SOON, False
        while not stopped:
            stopped = stop.wait(wait)
            now = standings()
            self.save(
                {topic: position for topic, (position, _) in now.items()},
                {topic: account for topic, (_, account) in now.items()},
            )
            wait = PERIOD
