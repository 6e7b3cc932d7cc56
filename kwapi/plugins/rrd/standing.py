"""How wattmeters stand that catch up with what was missed: their newest power is shown, if it has come. No I/O."""

from typing import NamedTuple

from kwapi.measurement import Message


class Standing(NamedTuple):
    """When a wattmeter was measured last, by our clock, and the message that is ahead of its turn."""

    heard_at: float
    ahead: Message | None = None

    def power_of(self, probe: str) -> tuple[float, float] | None:
        """Return when a probe was measured and its watts, None if nothing of it is ahead."""
        if self.ahead is None or self.ahead.w is None or probe not in self.ahead.probes:
            return None
        watts = self.ahead.w[self.ahead.probes.index(probe)]
        return None if watts is None else (self.ahead.timestamp, watts)


class Standings:
    """Those of all wattmeters that catch up; one thread changes them, any may ask."""

    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}

    def of(self, wattmeter: str) -> Standing | None:
        """Return how a wattmeter stands, None if it has caught up."""
        return self._standings.get(wattmeter)

    def add(self, message: Message) -> None:
        """Take note of a message that came as it was measured."""
        self._standings.pop(message.wattmeter, None)

    def add_late(self, message: Message, measured_at: float) -> None:
        """Take note of one that was missed, and measured at a time of our clock; what is ahead of it stays."""
        standing = self._standings.get(message.wattmeter)
        ahead = None if standing is None else standing.ahead
        if ahead is None or (ahead.boot, ahead.seq) == (message.boot, message.seq):
            self._standings[message.wattmeter] = Standing(measured_at)

    def show(self, message: Message, now: float) -> None:
        """Take note of one that is ahead of its turn."""
        self._standings[message.wattmeter] = Standing(now, message)
