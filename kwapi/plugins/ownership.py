"""Who may report what: one publisher a wattmeter, one wattmeter a probe. Pure: the clock is an argument.

The first keeps what two report, until it has been stale for ``cleaning_interval``; the other is dropped, counted, and
logged once. A publisher that has restarted has a new boot and is not another one.
"""

import logging
from collections import Counter
from dataclasses import dataclass

from kwapi.measurement import Message, stale_after

LOG = logging.getLogger(__name__)


class Conflicts:
    """Counts what was dropped by the name of the wattmeter or probe; the first of each name is logged."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def note(self, name: str, text: str) -> None:
        """Count a conflict; ``text`` has one %s for the name."""
        self.counts[name] += 1
        if self.counts[name] == 1:
            LOG.warning(text, name)


def has_lapsed(silent: float, interval: float, cleaning_interval: float) -> bool:
    """Return whether a probe or wattmeter that is silent for so many seconds may be taken over by another."""
    return silent > stale_after(interval) + cleaning_interval


@dataclass(slots=True)
class _Holder:
    """The boot whose messages of a wattmeter are taken."""

    boot: int
    heard_at: float
    timestamp: float  # of its newest message
    interval: float
    since: float  # timestamp of its first message
    predecessor: int | None = None
    rival: int | None = None  # a boot that was alive beside this one
    rival_heard_at: float = 0.0


class Publishers:
    """Decides, for each wattmeter, which of several boots is its publisher."""

    def __init__(self, cleaning_interval: float, conflicts: Conflicts) -> None:
        self._cleaning_interval = cleaning_interval
        self._conflicts = conflicts
        self._holders: dict[str, _Holder] = {}

    def resume(self, wattmeter: str, boot: int, timestamp: float, interval: float, heard_at: float) -> None:
        """Let a boot hold a wattmeter as it did before we were started; its newest message has that timestamp."""
        self._holders[wattmeter] = _Holder(boot, heard_at, timestamp, interval, timestamp)

    def admit(self, message: Message, now: float) -> bool:
        """Return whether a message comes from the wattmeter's publisher; ``now`` never steps."""
        holder = self._holders.get(message.wattmeter)
        if holder is None:
            self._hold(message, now, None)
        elif message.boot == holder.boot:
            holder.heard_at, holder.timestamp, holder.interval = now, message.timestamp, message.interval
        elif not self._may_hold(message, holder, now):
            if message.boot == holder.rival:
                holder.rival_heard_at = now
            self._conflicts.note(message.wattmeter, "two publishers use the name of the wattmeter %s")
            return False
        else:
            self._hold(message, now, holder)
        return True

    def _may_hold(self, message: Message, holder: _Holder, now: float) -> bool:
        """Return whether another boot may replace the one that holds the wattmeter."""
        silent = now - holder.heard_at
        if has_lapsed(silent, holder.interval, self._cleaning_interval):
            return True
        if message.boot == holder.predecessor:
            # The boot thought dead speaks on: it was the first, and what replaced it was not its restart.
            return message.timestamp > holder.since
        if message.boot == holder.rival:
            return False
        contested = holder.rival is not None and now - holder.rival_heard_at <= self._cleaning_interval
        # A boot that is higher began later, though its clock may have been set back. What is neither higher nor newer
        # is a replayed frame of an old boot, or a second publisher.
        is_later = message.boot > holder.boot or message.timestamp > holder.timestamp
        return (is_later and not contested) or silent > stale_after(holder.interval)

    def _hold(self, message: Message, now: float, before: _Holder | None) -> None:
        holder = _Holder(message.boot, now, message.timestamp, message.interval, message.timestamp)
        if before is not None and message.boot == before.predecessor:
            holder.rival, holder.rival_heard_at = before.boot, now
            self._conflicts.note(message.wattmeter, "two publishers use the name of the wattmeter %s")
        elif before is not None:
            holder.predecessor, holder.rival, holder.rival_heard_at = before.boot, before.rival, before.rival_heard_at
        self._holders[message.wattmeter] = holder
