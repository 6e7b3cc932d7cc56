"""Requests that are answered one after the other.

Every thread that computes needs the one lock of Python, and of the many that want it most are woken in vain when it is
let go. With eight clients that ask without rest the thread that reads the bus waits eight times as long as with one.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 0.01  # seconds


class Turns:
    """Lets threads work one after the other.

    One that takes longer than ``patience`` seconds waits for something else, such as Keystone or the reader of a
    stream: it is left to that, and holds up nobody.
    """

    def __init__(self, patience: float = PATIENCE, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._since = 0.0  # when it was taken

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn, then have it."""
        while not (lock := self._lock).acquire(timeout=self._patience):
            if self._lock is lock and self._clock() - self._since >= self._patience:
                self._lock = threading.Lock()
        self._since = self._clock()
        try:
            yield
        finally:
            lock.release()
