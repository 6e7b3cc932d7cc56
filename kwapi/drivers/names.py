"""Where the names of hosts lead, found within a deadline.

The system's resolver has none: a name server that is silent makes it wait for 20 s and more, as resolv.conf says. So it
works in threads of ours, which are few, and who waits for one waits for PATIENCE at most. Drivers connect to an address
from here, and go on calling the device by its name: in TLS, in HTTP, in messages.
"""

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from ipaddress import ip_address
from math import inf
from typing import TypeVar

from kwapi.errors import DeviceError

LOG = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE = 2.0  # seconds for which a lookup is waited for
MAX_THREADS = 32  # with one lookup each; all of them are stuck while the name server is silent
PAUSE = 600.0  # seconds for which a known name is not waited for again after that was in vain
QUIET = 3600.0  # seconds between two lines in the log
NO_SUCH_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)  # an answer; the other errors are the lack of one

Addresses = Sequence[str]  # numeric, best first
Resolve = Callable[[str], Addresses]


def resolve(host: str) -> Addresses:
    """Return the addresses of a host, whenever the system's resolver has them."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return [socket.getnameinfo(address, numeric)[0] for *_, address in found]


class Names:
    """The names of hosts, for all drivers of a process.

    Each time the name server is asked, once for all who want the same name then. As long as it is silent, a name leads
    where it last did: that is nearly always right, and devices that are fine go on. A late answer is taken next time.
    """

    def __init__(
        self,
        resolve: Resolve = resolve,
        *,
        patience: float = PATIENCE,
        max_threads: int = MAX_THREADS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve = resolve
        self._patience = patience
        self._max_threads = max_threads
        self._clock = clock
        self._lock = threading.Lock()
        self._lookups: dict[str, Future[Addresses]] = {}  # that have not ended, by host
        self._queue: deque[str] = deque()  # hosts whose lookups have not begun
        self._threads = 0
        self._known: dict[str, Addresses] = {}  # where each host last led
        self._paused_until: dict[str, float] = {}  # by host
        self._quiet_until = -inf

    def addresses(self, host: str, seconds: float = inf) -> Addresses:
        """Return the addresses of a host, waiting for no more than these seconds; DeviceError without an answer."""
        if _is_numeric(host):
            return [host]
        lookup = self._look_up(host)
        patience = min(seconds, self._patience) if self._clock() >= self._paused_until.get(host, -inf) else 0
        try:
            return lookup.result(patience)
        except TimeoutError:
            return self._last_known(host, f"the name server has not answered in {patience:.2g} s")
        except (OSError, UnicodeError) as error:
            if _is_answer(error):
                raise DeviceError(f"{host}: this name is not known") from error
            return self._last_known(host, f"the name server gave no answer: {error}")

    def _last_known(self, host: str, reason: str) -> Addresses:
        with self._lock:
            known, now = self._known.get(host), self._clock()
            if known is None:
                raise DeviceError(f"{host}: {reason}")
            if now < self._paused_until.get(host, -inf):
                return known
            self._paused_until[host] = now + PAUSE
            is_quiet = now < self._quiet_until
            if not is_quiet:
                self._quiet_until = now + QUIET
        if not is_quiet:
            LOG.warning("%s: %s; known names lead where they last did, this one to %s", host, reason, known[0])
        return known

    def _look_up(self, host: str) -> Future[Addresses]:
        """Return the lookup of a host that is under way, or a new one."""
        with self._lock:
            if host not in self._lookups:
                if self._threads < self._max_threads:
                    threading.Thread(target=self._work, name="names", daemon=True).start()
                    self._threads += 1
                self._lookups[host] = Future()
                self._queue.append(host)
            return self._lookups[host]

    def _work(self) -> None:
        while (host := self._next()) is not None:
            try:
                addresses = list(dict.fromkeys(self._resolve(host)))
            except (OSError, UnicodeError) as error:
                self._end(host, None if _is_answer(error) else self._known.get(host)).set_exception(error)
            else:
                self._end(host, addresses).set_result(addresses)

    def _next(self) -> str | None:
        """Return the next host to look up; None ends the thread that asks."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._threads -= 1
            return None

    def _end(self, host: str, known: Addresses | None) -> Future[Addresses]:
        """Return the lookup of a host, which has ended, having noted where the host leads now."""
        with self._lock:
            if known is not None:
                self._known[host] = known
            elif self._known.pop(host, None):
                self._paused_until.pop(host, None)
            return self._lookups.pop(host)


def at_any(
    places: Sequence[str],
    attempt: Callable[[str, float], T],
    seconds: float,
    failures: type[Exception] | tuple[type[Exception], ...] = OSError,
) -> T:
    """Return what an attempt gives at the first place where it does not fail; each gets its share of the seconds."""
    end = time.monotonic() + seconds
    untried = len(places)
    while True:
        try:
            return attempt(places[-untried], (end - time.monotonic()) / untried)
        except failures:
            untried -= 1
            if not untried or time.monotonic() >= end:
                raise


def connect(addresses: Addresses, port: int, seconds: float) -> socket.socket:
    """Return a TCP connection to one of a host's addresses."""
    return at_any(addresses, lambda address, share: socket.create_connection((address, port), share), seconds)


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_answer(error: OSError | UnicodeError) -> bool:
    """Return whether an error says that there is no such name; Python says it of labels that are empty or too long."""
    return isinstance(error, UnicodeError) or (isinstance(error, socket.gaierror) and error.errno in NO_SUCH_NAME)
