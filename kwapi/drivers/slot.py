"""The place of one wattmeter in its daemon: the state it is in and why, and how its polls went.

It outlives the workers that fill it. The worker of the day notes each poll; the manager notes what a worker cannot know
of itself: that it hangs, that it is muted, that nothing has been measured for long.
"""

import logging
import time

from kwapi.drivers.base import Clock
from kwapi.drivers.wattmeter import Wattmeter
from kwapi.health import DOWN, HUNG, MUTED, STALE, STARTING, UP, Health
from kwapi.measurement import VERSION, stale_after

LOG = logging.getLogger(__name__)
AWAY = (STALE, DOWN, HUNG)
NOTHING_NEW = "it answers, and gives no measurement"
QUIET = 60.0  # seconds after an outage; the next one is logged if it lasts until then, else it is only counted


class Slot:
    """One wattmeter's state, with its reason and since when."""

    def __init__(self, wattmeter: Wattmeter, *, clock: Clock = time.monotonic, wall_clock: Clock = time.time) -> None:
        self.wattmeter = wattmeter
        self.state = STARTING
        self.reason = ""
        self.failures = 0  # in a row
        self.restarts = 0
        self.missed = 0  # beats that passed while a poll was under way
        self.is_checked = False  # for plausibility, by its first measurements
        self.start_at = clock()  # when the next worker may start
        self._clock = clock
        self._wall_clock = wall_clock
        self._since = self._away_since = self._measured_at = clock()
        self._last_success: float | None = None
        self._poll_seconds: float | None = None
        self._polls = self._failed_polls = 0
        self._has_answered = False  # since it began to be polled
        self._quiet_until = self._since
        self._is_logged = False  # this outage
        self._unlogged = 0  # outages since the last that was

    def succeeded(self, measured: bool, seconds: float) -> None:
        """Note a poll that ended well within these seconds; without measurements a device has nothing new."""
        self._count_poll(seconds)
        self.failures = 0
        self._has_answered = True
        if measured:
            self._measured_at, self._last_success = self._clock(), self._wall_clock()
            self._enter(UP)
        elif self.state in (DOWN, HUNG):
            self._enter(STALE, NOTHING_NEW)

    def failed(self, reason: str, seconds: float | None = None) -> None:
        """Note a poll that ended after these seconds without an answer, or a driver that ended by an error of ours."""
        if seconds is not None:
            self._count_poll(seconds)
            self._failed_polls += 1
        self.failures += 1
        self._enter(DOWN, reason)

    def hangs(self, seconds: float) -> None:
        """Note that a poll has been under way for these seconds, too long; it is given up and counts as failed."""
        self._count_poll(seconds)
        self.failures += 1
        self._failed_polls += 1
        self._enter(HUNG, f"a poll has not ended for {seconds:.0f} s")

    def still_hangs(self, polls: int) -> None:
        """Note that it is not polled, since so many polls that were given up have not ended."""
        if self.state != HUNG:
            self._enter(HUNG, f"{polls} polls have not ended")

    def muted(self, reason: str) -> None:
        """Note that it is not to be polled, why and how long."""
        self._enter(MUTED, reason)

    def unmuted(self) -> None:
        """Note that it is polled again."""
        self.failures = 0
        self._measured_at = self._clock()
        self._has_answered = False
        self._enter(STARTING)

    def look(self, is_busy: bool, runs_since: float = float("-inf")) -> None:
        """Become stale if it has given no measurement for too long, be it that a poll is under way or not.

        Time in which our process stood still, until it ran again, is not its fault.
        """
        quiet = self._clock() - max(self._measured_at, runs_since)
        is_polled = is_busy or self._has_answered  # and does not just wait for its turn
        if self.state in (UP, STARTING) and is_polled and quiet > stale_after(self.wattmeter.interval):
            self._enter(STALE, "its poll takes long" if is_busy else NOTHING_NEW)
        if self.state in AWAY and not self._is_logged and self._clock() >= self._quiet_until:
            self._log_away(self.state, self.reason)

    def health(self, next_within: float) -> Health:
        """Return how the wattmeter is now; boot and seq are the publisher's."""
        now = self._wall_clock()
        return Health(
            version=VERSION,
            type="health",
            wattmeter=self.wattmeter.name,
            driver=self.wattmeter.driver_name,
            boot=0,
            seq=0,
            timestamp=now,
            state=self.state,
            reason=self.reason,
            since=now - (self._clock() - self._since),
            last_success=self._last_success,
            interval=self.wattmeter.interval,
            poll_seconds=self._poll_seconds,
            polls=self._polls,
            failures=self._failed_polls,
            in_a_row=self.failures,
            missed=self.missed,
            restarts=self.restarts,
            next_within=next_within,
        )

    def _count_poll(self, seconds: float) -> None:
        self._polls += 1
        self._poll_seconds = seconds

    def _enter(self, state: str, reason: str = "") -> None:
        if state != self.state:
            self._log_change(state, reason)
            self._since = self._clock()
        self.state, self.reason = state, reason

    def _log_change(self, state: str, reason: str) -> None:
        """Log one line when it goes away and one when it is back, and nothing of outages that follow too soon."""
        name, now = self.wattmeter.name, self._clock()
        fields = {"wattmeter": name, "state": state}
        if state in AWAY and self.state not in AWAY:
            self._away_since = now
            self._is_logged = False
            if now >= self._quiet_until:
                self._log_away(state, reason)
        elif state == UP and self.state in AWAY:
            if self._is_logged:
                LOG.info("%s is back after %.0f s", name, now - self._away_since, extra=fields)
                self._quiet_until = now + QUIET
            else:
                self._unlogged += 1
        elif state == MUTED:
            LOG.info("%s is muted: %s", name, reason, extra=fields)
        elif self.state == MUTED:
            LOG.info("%s is polled again", name, extra=fields)

    def _log_away(self, state: str, reason: str) -> None:
        more = f" (and {self._unlogged} times since the last such line)" if self._unlogged else ""
        fields = {"wattmeter": self.wattmeter.name, "state": state, "reason": reason}
        LOG.warning("%s is %s: %s%s", self.wattmeter.name, state, reason, more, extra=fields)
        self._is_logged, self._unlogged = True, 0
