"""Tells of endpoints at which nothing is to be heard, which looks like a bus on which nobody speaks."""

import logging
import time
from collections.abc import Callable, Sequence

LOG = logging.getLogger(__name__)

SILENT = 60.0  # seconds; kwapi-drivers tells of each wattmeter's health more often


class Silence:
    """Logs once that nothing is heard, and once that something is again. For one thread."""

    def __init__(self, endpoints: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._endpoints = ", ".join(endpoints)
        self._clock = clock
        self._heard_at = clock()
        self._is_told = False

    def look(self, *, was_heard: bool) -> None:
        """Take note whether something has come since the last look."""
        now = self._clock()
        if was_heard:
            self._heard_at = now
            if self._is_told:
                LOG.info("%s: something is heard again", self._endpoints)
                self._is_told = False
        elif not self._is_told and now - self._heard_at > SILENT and self._endpoints:
            LOG.warning(
                "%s: nothing is heard since %d s; does kwapi-drivers or kwapi-forwarder run there?",
                self._endpoints,
                now - self._heard_at,
            )
            self._is_told = True
