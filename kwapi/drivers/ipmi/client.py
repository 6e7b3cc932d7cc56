"""Questions to BMCs and their answers: what Kwapi needs of IPMI, whichever library speaks it.

pyghmi is one event loop with global state, and what hangs in it cannot be ended; so it runs in processes of its own
(pyghmi.py), each with the sessions of up to MAX_TARGETS BMCs. A process gets requests, passwords among them, as
lines of JSON on its standard input, replies by lines on its standard output and ends when its input does, also because
this process was killed.

A request has so many seconds to be answered in; after that its process says that there was no answer. A process that
does not say so hangs: it is killed, what else it was asked fails, and the next request starts another, which logs in
again.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import IO

import msgspec

from kwapi.drivers.base import Clock
from kwapi.errors import CredentialsRefused, DeviceError

MAX_TARGETS = 64  # in one process
GRACE = 2.0  # seconds by which a healthy but busy process may be late
START_LIMIT = 30.0  # seconds; it takes half of one, but a thousand BMCs start sixteen processes at once
CLOSE_LIMIT = 0.6  # seconds to log out
READY = 0  # number of the reply by which a process says that it has started


@dataclass(frozen=True, slots=True)
class Target:
    """A BMC, by its address or, instead, by a device of this machine; and who asks it."""

    name: str
    address: str = ""
    port: int = 623
    user: str = ""
    password: str = field(default="", repr=False)
    kg: str = field(default="", repr=False)
    privilege: int = 2
    device: str = ""

    def __str__(self) -> str:
        return self.device or (f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}")

    def is_beside(self, other: "Target") -> bool:
        """Return whether both may be asked by one process: devices block it, and pyghmi confuses users of one BMC."""
        return not (self.device or other.device) and (self.address, self.port) != (other.address, other.port)


@dataclass(frozen=True, slots=True)
class Request:
    """A command of IPMI, to be answered within so many seconds."""

    number: int
    target: Target
    netfn: int
    command: int
    payload: bytes
    lun: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """The BMC's completion code and the rest of its answer; or why there is none."""

    number: int
    code: int = 0
    payload: bytes = b""
    error: str = ""
    refused: bool = False  # the credentials were
    at_login: bool = False  # and so nothing was asked


class ProcessEnded(Exception):
    """The process ended before it replied."""


def to_key(text: str) -> bytes | None:
    """Return the K_g that a text means: hexadecimal after 0x, the text itself, None if it is empty."""
    if text.lower().startswith("0x"):
        return bytes.fromhex(text[2:])
    return text.encode() or None


def start_process() -> "subprocess.Popen[bytes]":
    """Start a process that speaks IPMI; it finds the modules this one finds, and is not meant by Ctrl-C."""
    return subprocess.Popen(  # noqa: S603 -- nothing of it comes from outside
        [sys.executable, "-P", "-m", "kwapi.drivers.ipmi.pyghmi"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        process_group=0,
    )


class Process:
    """A process that speaks IPMI, seen from here, and the thread that takes its replies."""

    def __init__(self, popen: "subprocess.Popen[bytes]", clock: Clock) -> None:
        self.popen = popen
        self.targets: set[Target] = set()
        self.has_ended = False
        self._input, self._output = _pipes(popen)
        os.set_blocking(self._input.fileno(), False)  # what hangs does not read either
        self._clock = clock
        self._started_at = clock()
        self._is_ready = False
        self._waiting: dict[int, Future[Reply]] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._take_replies, name=f"ipmi {popen.pid}", daemon=True)
        self._thread.start()

    def is_starting(self) -> bool:
        """Return whether it has not said yet that it is ready, and still may."""
        return not self._is_ready and self._clock() - self._started_at < START_LIMIT

    def has_room(self, target: Target) -> bool:
        """Return whether the target is one of its own, or may become one."""
        if self.has_ended:
            return False
        return target in self.targets or (len(self.targets) < MAX_TARGETS and all(map(target.is_beside, self.targets)))

    def send(self, request: Request) -> "Future[Reply]":
        """Return what will be the reply, or ProcessEnded."""
        line = msgspec.json.encode(request) + b"\n"
        future: Future[Reply] = Future()
        with self._lock:
            if self.has_ended:
                raise ProcessEnded
            self._waiting[request.number] = future
            try:
                is_sent = self._input.write(line) == len(line)  # all of it or nothing, being shorter than PIPE_BUF
            except BrokenPipeError:
                is_sent = False  # it is about to be known that the process ended
        if not is_sent:
            self.kill()
        return future

    def close(self) -> None:
        """Ask it to end; it takes no more requests."""
        with self._lock:
            self.has_ended = True
            self._input.close()

    def kill(self) -> None:
        """End it, whatever it does."""
        self.popen.kill()

    def join(self, seconds: float) -> bool:
        """Wait for its end, but no longer than so many seconds; return whether it has ended."""
        self._thread.join(max(seconds, 0))
        return not self._thread.is_alive()

    def _take_replies(self) -> None:
        try:
            for line in self._output:
                self._take(msgspec.json.decode(line, type=Reply))
        except msgspec.DecodeError:  # as when it was killed in the middle of a line
            self.kill()
        with self._lock:
            self.has_ended = True
            self._input.close()
        for future in self._waiting.values():
            future.set_exception(ProcessEnded())
        self._output.close()
        self.popen.wait()

    def _take(self, reply: Reply) -> None:
        self._is_ready = True
        with self._lock:
            future = self._waiting.pop(reply.number, None)
        if future is not None:
            future.set_result(reply)


class Client:
    """All BMCs that this process measures: owner of the processes that ask them, and of their replacement."""

    def __init__(
        self,
        start: Callable[[], "subprocess.Popen[bytes]"] = start_process,
        *,
        grace: float = GRACE,
        clock: Clock = time.monotonic,
    ) -> None:
        self.processes: list[Process] = []
        self._start = start
        self._grace = grace
        self._clock = clock
        self._numbers = count(READY + 1)
        self._readers: dict[Target, set[str]] = {}
        self._closed = False
        self._lock = threading.Lock()

    def join(self, target: Target, reader: str) -> None:
        """Note who reads this BMC."""
        with self._lock:
            self._readers.setdefault(target, set()).add(reader)

    def readers(self, target: Target) -> int:
        """Return how many read this BMC."""
        with self._lock:
            return len(self._readers[target])

    def ask(
        self, target: Target, netfn: int, command: int, payload: bytes = b"", *, lun: int = 0, seconds: float
    ) -> tuple[int, bytes]:
        """Return the completion code and the rest of a BMC's answer to a command."""
        request = Request(next(self._numbers), target, netfn, command, payload, lun, seconds)
        process = self._process_for(target)
        try:
            reply = process.send(request).result(seconds + self._grace)
        except ProcessEnded:
            raise DeviceError(f"the process that asked {target} ended; the next poll starts another") from None
        except TimeoutError:
            if process.is_starting():
                raise DeviceError(f"the process that asks {target} is still starting") from None
            process.kill()
            raise DeviceError(f"the process that asked {target} hung; the next poll starts another") from None
        if reply.refused:
            raise CredentialsRefused(f"{target} refuses user {target.user!r}: {reply.error}")
        if reply.error:
            asked = "" if reply.at_login else f", asked {netfn:#04x} {command:#04x}"
            raise DeviceError(f"{target}{asked}: {reply.error}")
        return reply.code, reply.payload

    def close(self) -> None:
        """End the processes; later requests are refused."""
        with self._lock:
            self._closed = True
            processes, self.processes = self.processes, []
        for process in processes:
            process.close()
        end = self._clock() + CLOSE_LIMIT
        late = [process for process in processes if not process.join(end - self._clock())]
        for process in late:
            process.kill()
        for process in late:
            process.join(0.1)

    def _process_for(self, target: Target) -> Process:
        with self._lock:  # over the start of a process too, a matter of milliseconds: else two would be started
            if self._closed:
                raise DeviceError("the IPMI client is closed")
            self.processes = [process for process in self.processes if not process.has_ended]
            own = (process for process in self.processes if target in process.targets)
            roomy = (process for process in self.processes if process.has_room(target))
            process = next(own, None) or next(roomy, None)
            if process is None:
                process = Process(self._start(), self._clock)
                self.processes.append(process)
            process.targets.add(target)
            return process


def _pipes(popen: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    if popen.stdin is None or popen.stdout is None:
        raise ValueError("a process without pipes")
    return popen.stdin, popen.stdout
