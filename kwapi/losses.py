"""Tells of messages that are lost: some of them by name, of the rest how many they are."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable

from kwapi.logs import counted
from kwapi.stream import Lost

LOG = logging.getLogger(__name__)

PAUSE = 10.0  # seconds between two looks
NAMED = 3  # wattmeters of a look


class Losses:
    """Logs what a subscriber loses. For one thread."""

    def __init__(self, losses: deque[Lost], clock: Callable[[], float] = time.monotonic) -> None:
        """``losses`` are taken out as they are told; it bounds how many there can be."""
        self._losses = losses
        self._clock = clock
        self._look_at = clock()

    def look(self) -> None:
        """Tell what was lost since the last look, unless that was just now."""
        if not self._losses or (now := self._clock()) < self._look_at:
            return
        self._look_at = now + PAUSE
        self.tell()

    def tell(self) -> None:
        """Tell what was lost since the last look, if anything was."""
        least = "at least " if len(self._losses) == self._losses.maxlen else ""
        lost: Counter[str] = Counter()
        ends: Counter[str] = Counter()
        while self._losses:
            topic, _, first, last = self._losses.popleft()
            wattmeter = topic[:-1].decode(errors="replace")
            if last is None:
                ends[wattmeter] += 1
            else:
                lost[wattmeter] += last + 1 - first
        if lost:
            total = counted(lost.total(), "message")
            LOG.warning("%s%s lost that nobody could repeat: %s", least, total, _named(lost))
        if ends:
            LOG.warning("a publisher was killed, nobody knows whether it had sent more: %s", _named(ends))


def _named(counts: Counter[str]) -> str:
    """Return those of the most messages by name, and how many others there are."""
    some = [f"{wattmeter} ({count})" for wattmeter, count in counts.most_common(NAMED)]
    more = len(counts) - len(some)
    return ", ".join([*some, counted(more, "more wattmeter")] if more else some)
