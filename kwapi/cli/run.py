"""``bin/run``: all daemons on one machine in the foreground, each started again when it ends, until Ctrl-C.

For trying Kwapi and for work on it; a site lets systemd do this. Every daemon is told where to report that it is
ready as systemd would tell it, so that kwapi-drivers can make the signing key before the others look for it.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kwapi import service
from kwapi.cli.check import check
from kwapi.errors import ConfigError

DAEMONS = ("kwapi-drivers", "kwapi-forwarder", "kwapi-api", "kwapi-rrd")  # kwapi-drivers first: it makes the key
START_DEADLINE = 20.0  # seconds for a daemon to be ready
STOP_DEADLINE = 4.0
RESTART_WAIT = 1.0
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
SIGNALS = STOP_SIGNALS | {signal.SIGCHLD, signal.SIGHUP}
RELOADABLE = {"kwapi-drivers"}
LOCALLY = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}  # noqa: S104 -- how a browser here asks
ENDS_WITH_US = ["setpriv", "--pdeathsig", "TERM"]  # of util-linux: even kill -9 of this process leaves nothing behind


class Child:
    """One daemon, or the simulator, as a process."""

    def __init__(self, *argv: str) -> None:
        self.name = argv[0]
        program = str(Path(sys.executable).with_name(self.name))
        self._argv = [*(ENDS_WITH_US if shutil.which(ENDS_WITH_US[0]) else ()), program, *argv[1:]]
        self._address = f"kwapi-run-{os.getpid()}-{self.name}"
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind("\0" + self._address)
        self.start()

    def start(self) -> None:
        """Start it and wait until it is ready, has ended, or somebody wants to stop.

        It has a session of its own, so that Ctrl-C reaches this process alone.
        """
        self.process = subprocess.Popen(  # noqa: S603 -- a list of our own words
            self._argv,
            env={**os.environ, "NOTIFY_SOCKET": "@" + self._address},
            start_new_session=True,
            preexec_fn=unblock,
        )
        end = time.monotonic() + START_DEADLINE
        while self.process.poll() is None and time.monotonic() < end and not stop_is_wanted():
            if "READY=1" in self.read_notice(0.1):
                return
        if self.process.poll() is None and not stop_is_wanted():
            print(f"{self.name} is not ready after {START_DEADLINE:.0f} s", file=sys.stderr)

    def read_notice(self, timeout: float) -> list[str]:
        """Return the lines of the next notice, as systemd would get it; [] if there is none within so many seconds."""
        self._notices.settimeout(timeout)
        try:
            return self._notices.recv(4096).decode().splitlines()
        except (TimeoutError, BlockingIOError):
            return []

    def drop_notices(self) -> None:
        """Make room for what it will tell; the kernel keeps ten notices only."""
        while self.read_notice(0):
            pass

    def stop(self, end: float) -> None:
        """Wait until the end, a time of the monotonic clock, for it to end by itself, then kill it."""
        try:
            self.process.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._notices.close()


def stop_is_wanted() -> bool:
    """Return whether a signal to stop is waiting to be taken."""
    return bool(signal.sigpending() & STOP_SIGNALS)


def unblock() -> None:
    """Give a child the signals that this process keeps blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def has_terminal() -> bool:
    """Return whether this process can be reached from a terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def addresses_of(directory: Path) -> list[str]:
    """Return the addresses that a browser can open; raise ConfigError with the mistakes of all four files."""
    configurations = check(directory)
    pages = {"api": "/v1/probes/", "rrd": "/"}
    found = [(configurations[daemon], path) for daemon, path in pages.items()]
    return [f"http://{LOCALLY.get(conf.host, conf.host)}:{conf.port}{path}" for conf, path in found]


def keep_running(children: Sequence[Child], *, had_terminal: bool) -> int:
    """Start again what ends, until a signal or a wrong configuration; return the exit status.

    SIGHUP is for kwapi-drivers, unless it says that our terminal was closed.
    """
    while True:
        received = signal.sigtimedwait(SIGNALS, RESTART_WAIT)
        number = None if received is None else received.si_signo
        if number in STOP_SIGNALS or (number == signal.SIGHUP and had_terminal and not has_terminal()):
            return 0
        for child in children:
            child.drop_notices()
            if number == signal.SIGHUP and child.name in RELOADABLE:
                child.process.send_signal(signal.SIGHUP)
            status = child.process.poll()
            if status is None:
                continue
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            with suppress(OSError):  # as in main()
                print(f"{child.name} {how}", file=sys.stderr)
            if status == service.EXIT_CONFIG:
                return status
            time.sleep(RESTART_WAIT)
            child.start()


def stop(children: Sequence[Child]) -> None:
    """End all children, by force what has not ended in time."""
    for child in children:
        child.process.terminate()
    end = time.monotonic() + STOP_DEADLINE
    for child in children:
        child.stop(end)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemons, and for the demonstration the simulated rack; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bin/run",
        description="Run all daemons of Kwapi until Ctrl-C: a demonstration with a simulated PDU, or your own files.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config-dir",
        type=Path,
        metavar="DIR",
        help="directory with drivers.conf, forwarder.conf, api.conf and rrd.conf; the demonstration without it",
    )
    parser.add_argument("--simulator", action="store_true", help="start the simulated PDU beside your own files too")
    parser.add_argument("--demo", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--state-dir", type=Path, required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    directory = arguments.config_dir or arguments.demo
    is_demo = directory.resolve() == arguments.demo.resolve()
    os.environ["KWAPI_DEFAULT_STATE_DIR"] = str(arguments.state_dir / "demo" if is_demo else arguments.state_dir)
    try:
        addresses = addresses_of(directory)
    except ConfigError as error:
        return service.refuse(error)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    had_terminal = has_terminal()
    commands: list[tuple[str, ...]] = [(daemon, "--config-dir", str(directory)) for daemon in DAEMONS]
    if arguments.simulator or not arguments.config_dir:
        commands.insert(0, ("kwapi-simulator",))
    children: list[Child] = []
    try:
        for command in commands:
            child = Child(*command)
            children.append(child)
            if stop_is_wanted():
                return 0
            if (status := child.process.poll()) is not None:
                print(f"{child.name} did not start", file=sys.stderr)
                return status or service.EXIT_FAILED
        with suppress(OSError):  # of a terminal that is closed already, of which the signal tells
            print("\nKwapi is running. Ctrl-C stops it.", *addresses, sep="\n  ", end="\n\n", flush=True)
        return keep_running(children, had_terminal=had_terminal)
    finally:
        stop(children)


if __name__ == "__main__":
    sys.exit(main())
