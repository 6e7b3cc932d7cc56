"""kwapi-drivers: a worker for each wattmeter, and the manager that starts, watches and replaces them.

A device that fails is asked again by its worker. A worker that ends by an error of ours, or whose poll does not end,
is replaced by the manager; what a given-up worker still brings is refused by the publisher.
"""

import logging
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kwapi import service
from kwapi.bus import Publisher, Sender
from kwapi.config import Reader, parse_arguments
from kwapi.drivers.base import Clock, Driver
from kwapi.drivers.wattmeter import Wattmeter, read_wattmeters
from kwapi.errors import ConfigError, CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from kwapi.plausibility import implausibilities
from kwapi.signing import make_key_file, read_key

LOG = logging.getLogger(__name__)
PATIENCE = 5  # failures in a row that are tried again at the next poll
LONGEST_WAIT = 60.0  # seconds
LONGEST_SPREAD = 10.0  # seconds over which first polls are spread
MAX_HUNG_OF_ONE = 2  # given-up workers of one wattmeter beside which no further one is started


def back_off(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row: 0 at first, then 1, 3, 7 ... 60."""
    if failures < PATIENCE:
        return 0.0
    return min(2.0 ** min(failures - PATIENCE + 1, 10) - 1, LONGEST_WAIT)


class Slot:
    """The place of one wattmeter, up or down; it outlives the workers that fill it."""

    def __init__(self, wattmeter: Wattmeter, clock: Clock = time.monotonic) -> None:
        self.wattmeter = wattmeter
        self.up = False
        self.reason = "starting"
        self.since = clock()
        self.failures = 0  # in a row
        self.restarts = 0
        self.is_checked = False  # for plausibility, by its first measurements
        self.worker: Worker | None = None
        self.start_at = self.since
        self._clock = clock

    def succeeded(self) -> None:
        """Note a poll that ended well."""
        if not self.up and self.reason != "starting":
            LOG.info("%s is back after %.0f s", self.wattmeter.name, self._clock() - self.since)
        if not self.up:
            self.up, self.reason, self.since = True, "", self._clock()
        self.failures = 0

    def failed(self, reason: str) -> None:
        """Note a poll that did not."""
        self.failures += 1
        if self.up or self.reason == "starting":
            self.since = self._clock()
        if reason != self.reason:
            LOG.warning("%s is down: %s", self.wattmeter.name, reason)
        self.up, self.reason = False, reason


class Worker(threading.Thread):
    """The thread of one wattmeter: polls it until it is stopped, one poll at a time."""

    def __init__(self, slot: Slot, sender: Sender, shared: Any, *, clock: Clock = time.monotonic) -> None:
        super().__init__(name=slot.wattmeter.name, daemon=True)
        self.slot = slot
        self.sender = sender
        self.stopping = threading.Event()
        self.busy_since: float | None = None  # when the poll under way began
        self._wattmeter = slot.wattmeter
        self._shared = shared
        self._clock = clock
        self._is_open = False

    def run(self) -> None:
        try:
            driver = self._wattmeter.new_driver(self._shared)
            try:
                self._poll_until_stopped(driver)
            finally:
                self._close(driver)
        except Exception as error:
            LOG.exception("%s: the driver ended by an error of ours", self.name)
            self._failed(f"{type(error).__name__}: {error}")

    def _poll_until_stopped(self, driver: Driver) -> None:
        interval = self._wattmeter.interval
        due = self._clock() + (spread(self.name) * min(interval, LONGEST_SPREAD) if not self.slot.restarts else 0)
        while not self.stopping.wait(max(due - self._clock(), 0)):
            self.busy_since = self._clock()
            wait = self._poll(driver)
            now, self.busy_since = self._clock(), None
            due = now if driver.paced and not self.slot.failures else next_poll(due, now, interval)
            due = max(due, now + wait)

    def _poll(self, driver: Driver) -> float:
        """Poll once and return the seconds to wait beyond the next poll's time."""
        try:
            if not self._is_open:
                self._is_open = True  # also half open, so that it is closed
                driver.open()
            driver.answered_at = None
            measurements = self._wattmeter.calibrated(driver.read())
            timestamp, monotonic = driver.answered_at or (driver.wall_clock(), driver.monotonic_clock())
        except (DeviceError, OSError) as error:
            self._failed(str(error) or repr(error))
            self._close(driver)
            return LONGEST_WAIT if isinstance(error, CredentialsRefused) else back_off(self.slot.failures)
        if measurements:
            self.sender.publish(measurements, timestamp, monotonic)
            self._check_once(measurements)
        if not self.sender.revoked:
            self.slot.succeeded()
        return 0.0

    def _check_once(self, measurements: Sequence[Measurement]) -> None:
        if not self.slot.is_checked:
            self.slot.is_checked = True
            for sentence in implausibilities(measurements):
                LOG.warning("%s shows what cannot be: %s", self.name, sentence)

    def _failed(self, reason: str) -> None:
        if not self.sender.revoked and not self.stopping.is_set():
            self.slot.failed(reason)

    def _close(self, driver: Driver) -> None:
        if not self._is_open:
            return
        self._is_open = False
        try:
            driver.close()
        except (DeviceError, OSError) as error:
            LOG.debug("%s: closing: %s", self.name, error)


def spread(name: str) -> float:
    """Return the share of the interval, 0 to 1, at which a wattmeter is polled, the same after every restart."""
    return zlib.crc32(name.encode()) / 2**32


def next_poll(due: float, now: float, interval: float) -> float:
    """Return when to poll next: on the wattmeter's own beat, skipping what was missed, so that polls never pile up."""
    missed = max(int((now - due) // interval), 0)
    return due + (missed + 1) * interval


class Manager:
    """Keeps a worker at work for every wattmeter."""

    def __init__(
        self,
        wattmeters: Sequence[Wattmeter],
        publisher: Publisher,
        *,
        max_hung: int = 32,
        clock: Clock = time.monotonic,
        new_worker: Callable[..., Worker] = Worker,
    ) -> None:
        self.slots = [Slot(wattmeter, clock) for wattmeter in wattmeters]
        self.given_up: list[Worker] = []  # hung ones that have not ended yet
        self._publisher = publisher
        self._max_hung = max_hung
        self._clock = clock
        self._new_worker = new_worker
        self._shared = {driver: driver.open_shared() for driver in {wattmeter.driver for wattmeter in wattmeters}}

    def check(self) -> bool:
        """Start and replace what needs it; return False when so many workers hang that only a new process helps."""
        self.given_up = [worker for worker in self.given_up if worker.is_alive()]
        for slot in self.slots:
            self._check_slot(slot)
        if len(self.given_up) > self._max_hung:
            LOG.critical("%d workers hang, more than max_hung_workers: ending", len(self.given_up))
            return False
        return True

    def stop(self, deadline: float = 3.0) -> None:
        """Stop all workers, waiting for them together no longer than the deadline in seconds."""
        workers = [slot.worker for slot in self.slots if slot.worker is not None]
        for worker in workers:
            worker.stopping.set()
        for driver, shared in self._shared.items():
            driver.close_shared(shared)  # so that who waits for it is told at once
        end = time.monotonic() + deadline
        for worker in workers:
            worker.join(max(end - time.monotonic(), 0))
        if late := [worker.name for worker in workers if worker.is_alive()]:
            LOG.warning("did not stop in time: %s", ", ".join(late))

    def _check_slot(self, slot: Slot) -> None:
        now, worker = self._clock(), slot.worker
        if worker is None:
            hung = sum(worker.slot is slot for worker in self.given_up)
            if now >= slot.start_at and hung < MAX_HUNG_OF_ONE:
                self._start(slot)
        elif not worker.is_alive():
            self._replace_later(slot, worker, max(back_off(slot.failures), slot.wattmeter.interval))
        elif (busy := worker.busy_since) is not None and now - busy > slot.wattmeter.hang_timeout:
            worker.sender.revoke()
            worker.stopping.set()
            self.given_up.append(worker)
            slot.failed(f"hangs: a poll has not ended for {now - busy:.0f} s")
            self._replace_later(slot, worker, back_off(slot.failures))

    def _start(self, slot: Slot) -> None:
        wattmeter = slot.wattmeter
        sender = self._publisher.sender(wattmeter.name, wattmeter.interval)
        slot.worker = self._new_worker(slot, sender, self._shared[wattmeter.driver], clock=self._clock)
        slot.worker.start()

    def _replace_later(self, slot: Slot, worker: Worker, wait: float) -> None:
        worker.sender.revoke()
        slot.worker = None
        slot.restarts += 1
        slot.start_at = self._clock() + wait


def main(argv: Sequence[str] | None = None) -> int:
    """Run kwapi-drivers; return its exit status."""
    arguments = parse_arguments("drivers", argv)
    try:
        reader = Reader("drivers", arguments.files)
        wattmeters = read_wattmeters(reader)
        conf = reader.finish()
        if arguments.check_only:
            return 0
        service.start_logging(conf.log_level)
        service.block_signals()
        key_file = Path(conf.signing_key_file)
        if make_key_file(key_file):
            LOG.info("made a signing key in %s; every plugin needs a copy of this file", key_file)
        publisher = Publisher(conf.probes_endpoint, read_key(key_file))
    except ConfigError as error:
        return service.refuse(error)
    manager = Manager(wattmeters, publisher, max_hung=conf.max_hung_workers)
    LOG.info("measuring %d wattmeters, publishing on %s", len(wattmeters), conf.probes_endpoint)
    manager.check()
    service.notify("READY=1")
    status = service.wait((), manager.check)
    service.notify("STOPPING=1")
    manager.stop()
    publisher.close()
    return status
