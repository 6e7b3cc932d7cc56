"""What the daemons share: refusing a configuration, logging, signals, readiness, threads, HTTP. No framework.

Signals are blocked in every thread and taken by the main thread alone, in wait().
"""

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

import waitress
from oslo_config import cfg
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer

from kwapi import logs
from kwapi.environment import unknown_variables
from kwapi.errors import ConfigError, KwapiError

LOG = logging.getLogger(__name__)
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
RELOAD_SIGNALS = {signal.SIGHUP}
EXIT_CONFIG = 2
EXIT_FAILED = 1
TICK = 0.5  # seconds between two looks at the threads
HANG_LIMIT = 60.0  # seconds after which a task that has not come to its next turn hangs
DISK_LIMIT = 600.0  # the same of one that writes or reads many files: a disk that is slow is no reason to start again
M_ARENA_MAX = -8  # of malloc.h
UNREAD_LIMIT = 60_000  # ms after which a client that takes nothing of what was sent is given up


def refuse(error: ConfigError, stream: TextIO | None = None) -> int:
    """Print every mistake of the configuration, or log it if that has begun; return the exit status for it."""
    stream = stream or sys.stderr
    for mistake in error.mistakes:
        if stream is sys.stderr and logs.is_started():
            LOG.error("%s", mistake)
        else:
            print(f"<{logs.priority_of(logging.ERROR)}>" if logs.goes_to_journal(stream) else "", end="", file=stream)
            print(mistake, file=stream)
    return EXIT_CONFIG


def start_logging(daemon: str, conf: cfg.ConfigOpts) -> None:
    """Log as a daemon's configuration says, first of all what is wrong with the environment."""
    logs.start(conf.log_level, conf.log_format)
    for line in unknown_variables({daemon: conf}):
        LOG.warning("%s", line)


def block_signals(*, reloads: bool = False) -> None:
    """Let wait() alone see the signals; called before any thread starts, since threads inherit the mask.

    SIGHUP is among them for a daemon that reloads, and ends any other.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS | (RELOAD_SIGNALS if reloads else set()))


def keep_memory_together(environ: Mapping[str, str] = os.environ) -> None:
    """Have all threads take memory from one place; called before any starts.

    By default glibc has an arena for every few of them, up to eight for each core, and each keeps what was given back
    to it: the memory of large answers, as many times as there are threads that answer. MALLOC_ARENA_MAX in the
    environment goes first. Source: mallopt(3).
    """
    if "MALLOC_ARENA_MAX" not in environ:
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def notify(state: str) -> None:
    """Tell systemd, if it started us, a state such as READY=1 (sd_notify(3)).

    Nobody waits for one that listens no more, and a failure is said once: a daemon may tell twice a second.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), socket.MSG_DONTWAIT, address)
    except OSError as error:
        log = LOG.getChild("systemd")
        log.warning("cannot tell systemd %r: %s", state, error)
        log.setLevel(logging.ERROR)


class Turns(threading.Event):
    """The event that stops a task, which looks at it at every turn and so shows that its work goes on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.busy_since: float | None = None  # None while it waits for the event, or if it never looked: it is in C
        self._clock = clock

    def is_set(self) -> bool:
        self.busy_since = self._clock()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        self.busy_since = None
        try:
            return super().wait(timeout)
        finally:
            self.busy_since = self._clock()


class Task(threading.Thread):
    """A thread that its daemon cannot do without: when it ends before it was asked to, wait() ends the daemon.

    While it hangs, for longer than its limit in seconds, wait() does not tell systemd that all is well.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[threading.Event], None],
        *,
        hang_limit: float = HANG_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.stopping = Turns(clock)
        self._work = work
        self._hang_limit = hang_limit
        self._clock = clock

    @property
    def hangs(self) -> bool:
        """Whether it has not come to its next turn for too long."""
        since = self.stopping.busy_since
        return since is not None and self._clock() - since > self._hang_limit

    def run(self) -> None:
        try:
            self._work(self.stopping)
        except KwapiError as error:
            LOG.error("%s: %s", self.name, error)
        except Exception:
            LOG.exception("%s ended by an error of ours", self.name)


def watchdog_period(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the seconds in which systemd wants to be told twice that the daemon is healthy, None if it does not."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None


def wait(
    tasks: Sequence[Task],
    check: Callable[[], bool] = lambda: True,
    reload: Callable[[], None] | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Wait for a signal to stop (return 0), or for a task to end or check() to say no (return 1).

    check() is called every half second, and after it, if systemd watches and no task hangs, the watchdog is told that
    all is well; when it is not told, systemd ends the daemon and starts it again. reload() is called on SIGHUP.
    """
    signals = STOP_SIGNALS | (RELOAD_SIGNALS if reload else set())
    watchdog, told_at = watchdog_period(), float("-inf")
    hung: set[str] = set()
    while True:
        received = signal.sigtimedwait(signals, TICK)
        # After being suspended for longer than the tick, Python (3.11) returns one that it has not filled in.
        if received is not None and received.si_signo in STOP_SIGNALS:
            LOG.info("stopping on %s", signal.Signals(received.si_signo).name)
            return 0
        if received is not None and reload is not None and received.si_signo in RELOAD_SIGNALS:
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            reload()
            notify("READY=1")
        if ended := [task.name for task in tasks if not task.is_alive()]:
            LOG.error("stopping, since %s ended", ", ".join(ended))
            return EXIT_FAILED
        if not check():
            return EXIT_FAILED
        before, hung = hung, {task.name for task in tasks if task.hangs}
        for name in sorted(hung - before):
            LOG.error("%s hangs", name)
        for name in sorted(before - hung):
            LOG.info("%s goes on", name)
        if watchdog and not hung and clock() - told_at >= watchdog / 4:
            notify("WATCHDOG=1")
            told_at = clock()


def run(tasks: Sequence[Task], deadline: float = 3.0) -> int:
    """Start the tasks, say that the daemon is ready, and stop them when wait() ends; return its status.

    They have so many seconds to stop.
    """
    for task in tasks:
        task.start()
    notify("READY=1")
    status = wait(tasks)
    notify("STOPPING=1")
    stop(tasks, deadline)
    return status


def stop(tasks: Sequence[Task], deadline: float = 3.0) -> None:
    """Stop one task after the other, together in no more than the deadline in seconds."""
    end = time.monotonic() + deadline
    for task in tasks:
        task.stopping.set()
        task.join(max(end - time.monotonic(), 0))
        if task.is_alive():
            LOG.warning("%s did not stop in time", task.name)


def listen(host: str, port: int) -> list[socket.socket]:
    """Return a TCP socket that listens on each address of a host; raise ConfigError if one cannot be had."""
    sockets: list[socket.socket] = []
    try:
        for family, *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
            sockets.append(listener := socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_LIMIT)  # its connections inherit it
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen()
    except OSError as error:
        for listener in sockets:
            listener.close()
        raise ConfigError(f"cannot listen on host {host} port {port}: {error.strerror}") from error
    return sockets


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that waitress leaves alone while a thread sends on it.

    Without, the thread that listens finds that it could send too, fails to get the lock and looks again, until the
    other is done: of an answer of a megabyte half of the time.
    """

    def writable(self) -> bool:
        """Return whether there is something to send that no thread is sending; one that leaves some says so."""
        if not super().writable() or not self.outbuf_lock.acquire(blocking=False):
            return False
        self.outbuf_lock.release()
        return True


class HttpServer:
    """A WSGI application served by waitress; run() is the work of a task."""

    def __init__(
        self,
        application: Any,
        host: str,
        port: int,
        threads: int,
        channel: Callable[..., Channel] = Channel,
        **adjustments: Any,
    ) -> None:
        """Listen; a channel is what waitress makes of a connection.

        The adjustments are waitress' own, and a unix_socket among them takes the place of host and port.
        """
        where = {} if "unix_socket" in adjustments else {"sockets": listen(host, port)}
        self._sockets: dict[int, Any] = {}
        self._server = waitress.create_server(
            application, map=self._sockets, threads=threads, ident=None, **where, **adjustments
        )
        for listener in self._sockets.values():
            if isinstance(listener, BaseWSGIServer):
                listener.channel_class = channel

    def run(self, stopping: threading.Event) -> None:
        """Serve until stopping is set; requests under way are given up then."""
        while not stopping.is_set():
            wasyncore.loop(timeout=TICK, use_poll=True, map=self._sockets, count=1)
        self._server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._sockets)
