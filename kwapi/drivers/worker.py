"""The thread of one wattmeter: polls it until it is stopped, one poll at a time, on a beat of its own.

Beats are spread over the interval by the wattmeter's name, and over the clock's time so that a restart keeps them. A
poll that takes longer than the interval lets beats pass; polls never pile up.
"""

import logging
import threading
import time
import traceback
import zlib
from collections.abc import Sequence
from typing import Any

from kwapi.bus import Sender
from kwapi.drivers.base import Clock, Driver
from kwapi.drivers.names import Names
from kwapi.drivers.slot import Slot
from kwapi.errors import CredentialsRefused, DeviceError, NoKey
from kwapi.measurement import Measurement
from kwapi.plausibility import implausibilities

LOG = logging.getLogger(__name__)
PATIENCE = 5  # failures in a row that are tried again at the next poll
LONGEST_WAIT = 60.0  # seconds
LONGEST_SPREAD = 10.0  # seconds over which first polls are spread


def back_off(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row: 0 at first, then 1, 3, 7 ... 60."""
    if failures < PATIENCE:
        return 0.0
    return min(2.0 ** min(failures - PATIENCE + 1, 10) - 1, LONGEST_WAIT)


def spread(name: str) -> float:
    """Return the share of the interval, 0 to 1, at which a wattmeter is polled, the same after every restart."""
    return zlib.crc32(name.encode()) / 2**32


def first_wait(name: str, interval: float, time_of_day: float, *, at_once: bool = False) -> float:
    """Return the seconds to the first poll: to the next beat, or for a long interval some part of ten seconds.

    At once it is to the beat before, less than nothing, so that those whose polls hung together are spread again.
    """
    step = min(interval, LONGEST_SPREAD)
    wait = (spread(name) * step - (time_of_day if step == interval else 0)) % step
    return wait - step if at_once else wait


def next_poll(due: float, now: float, interval: float, wait: float = 0.0) -> tuple[float, int]:
    """Return when to poll next after a poll that was due then and ended now, and how many beats passed meanwhile.

    It is the first beat of the wattmeter to come, or the last one within ``wait`` seconds after ``due``.
    """
    missed = max(int((now - due) // interval), 0)
    return due + max(missed + 1, int(wait // interval)) * interval, missed


class Pace:
    """Gives turns to open a device, so many a second: after a start, or an outage of a network, all want one at once.

    To open costs far more than to poll: it finds out what the device is, and logs in.
    """

    def __init__(self, turns_a_second: float, clock: Clock = time.monotonic) -> None:
        self._step = 1 / turns_a_second
        self._next = clock()
        self._clock = clock
        self._lock = threading.Lock()

    def take_turn(self) -> float:
        """Return the seconds to wait for the next turn, which is the caller's."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now)
            self._next = turn + self._step
        return turn - now

    def give_back(self) -> None:
        """Let the others go on sooner: what was to be opened did not answer, or need not be, which costs nothing."""
        with self._lock:
            self._next -= self._step


class Worker(threading.Thread):
    """What polls one wattmeter, and fills its slot until it ends or is given up."""

    def __init__(
        self,
        slot: Slot,
        sender: Sender,
        shared: Any,
        pace: Pace,
        names: Names | None = None,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(name=slot.wattmeter.name, daemon=True)
        self.slot = slot
        self.sender = sender
        self.stopping = threading.Event()
        self.busy_since: float | None = None  # when the poll under way began
        self._wattmeter = slot.wattmeter
        self._shared = shared
        self._pace = pace
        self._names = names
        self._clock = clock
        self._is_open = False

    def run(self) -> None:
        try:
            driver = self._wattmeter.new_driver(self._shared, self._names)
            try:
                self._poll_until_stopped(driver)
            finally:
                self._close(driver)
        except Exception as error:
            trace = self._wattmeter.without_secrets(traceback.format_exc())
            LOG.error("%s: the driver ended by an error of ours\n%s", self.name, trace, extra={"wattmeter": self.name})
            if self._counts():
                seconds = None if self.busy_since is None else self._clock() - self.busy_since
                self.slot.failed(self._wattmeter.without_secrets(f"{type(error).__name__}: {error}"), seconds)

    def _poll_until_stopped(self, driver: Driver) -> None:
        interval = self._wattmeter.interval
        at_once = self.slot.restarts > 0
        due = self._clock() + first_wait(self.name, interval, driver.wall_clock(), at_once=at_once)
        while not self._stops_within(due - self._clock()):
            if not self._is_open and self.stopping.wait(self._pace.take_turn()):
                self._pace.give_back()
                return
            self.busy_since = self._clock()
            wait = self._poll(driver)
            now, self.busy_since = self._clock(), None
            if driver.paced and not self.slot.failures:
                due = now
            else:
                due, missed = next_poll(due, now, interval, wait)
                self.slot.missed += missed if self._counts() else 0

    def _stops_within(self, seconds: float) -> bool:
        """Wait, if there is time, and return whether the worker is to stop."""
        return self.stopping.wait(seconds) if seconds > 0 else self.stopping.is_set()

    def _poll(self, driver: Driver) -> float:
        """Poll once and return the seconds that the next poll has to wait, counted from when this one was due."""
        began = self._clock()
        try:
            if not self._is_open:
                self._open(driver)
            driver.answered_at = None
            measurements = self._wattmeter.calibrated(driver.read())
            timestamp, monotonic = driver.answered_at or (driver.wall_clock(), driver.monotonic_clock())
        except (DeviceError, OSError) as error:
            if self._counts():
                self.slot.failed(self._wattmeter.without_secrets(str(error) or repr(error)), self._clock() - began)
            self._close(driver)
            return LONGEST_WAIT if isinstance(error, CredentialsRefused) else back_off(self.slot.failures)
        try:
            if measurements and self.sender.publish(measurements, timestamp, monotonic):
                self._check_once(measurements)
        except NoKey as error:
            if self._counts():
                self.slot.failed(str(error), self._clock() - began)
            return 0.0
        if self._counts():
            self.slot.succeeded(bool(measurements), self._clock() - began)
        return 0.0

    def _open(self, driver: Driver) -> None:
        self._is_open = True  # also half open, so that it is closed
        try:
            driver.open()
        except (DeviceError, OSError):
            self._pace.give_back()
            raise

    def _check_once(self, measurements: Sequence[Measurement]) -> None:
        if not self.slot.is_checked:
            self.slot.is_checked = True
            for sentence in implausibilities(measurements):
                LOG.warning("%s shows what cannot be: %s", self.name, sentence, extra={"wattmeter": self.name})

    def _counts(self) -> bool:
        """Return whether what this worker does is still the slot's matter."""
        return not (self.sender.revoked or self.stopping.is_set())

    def _close(self, driver: Driver) -> None:
        if not self._is_open:
            return
        self._is_open = False
        try:
            driver.close()
        except (DeviceError, OSError) as error:
            LOG.debug("%s: closing: %s", self.name, error)
