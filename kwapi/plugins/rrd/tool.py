"""Calls of rrdtool, in this process or in one of its own.

rrdtool maps files into memory. What touches a page that its file no longer has, because somebody cut it short at that
moment or the disk is full, gets SIGBUS; what computes with a header that is damaged may get SIGFPE or SIGSEGV. Each
ends the process, and one bad file would end all. In a process of its own the call that did it has failed and the others
go on, in the next process.

Between the two go frames of a length (4 bytes, big endian) and MessagePack: there a list of calls, each a list of the
function and its arguments, back one (works, result or error) for each call, when it is done; one of no length if it
works and has no result. This file is the other process's program, too, so it imports nothing of Kwapi.
"""

import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, BinaryIO

import msgspec
import rrdtool

# The latter two where a damaged file has names that are none.
ERRORS = (OSError, rrdtool.OperationalError, rrdtool.ProgrammingError, UnicodeError, SystemError)
LENGTH = struct.Struct(">I")
UNSAID = "rrdtool gives no reason; is the disk full?"  # as it does then, when it makes a file
NOTHING = LENGTH.pack(0)

Call = tuple[Any, ...]  # name of a function of rrdtool, and its arguments


class Tool:
    """rrdtool in this process."""

    def calls(self, calls: Sequence[Call]) -> list[Any]:
        """Return the result of each call, or the error that it raised."""
        return [_result(call) for call in calls]

    def call(self, name: str, *arguments: Any) -> Any:
        """Return the result of a call, or raise its error, one of ERRORS."""
        (result,) = self.calls([(name, *arguments)])
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Nothing is left behind."""


HERE = Tool()


class ToolApart(Tool):
    """rrdtool in a process of its own, which is started when it is needed and ends with ours. For any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The number of the process, None while there is none."""
        return None if self._process is None else self._process.pid

    def calls(self, calls: Sequence[Call]) -> list[Any]:
        results: list[Any] = []
        with self._lock:
            while len(results) < len(calls):
                results += self._results(calls[len(results) :])
        return results

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _results(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results up to the call that ended the process, if one did."""
        process = self._running()
        results: list[Any] = []
        try:
            _send(process.stdin, calls)
            while len(results) < len(calls):
                works, result = _receive(process.stdout)
                results.append(result if works else rrdtool.OperationalError(result))
        except (BrokenPipeError, EOFError):
            status = self._end()
            how = signal.Signals(-status).name if status < 0 else f"status {status}"
            results.append(rrdtool.OperationalError(f"rrdtool was ended by {how}"))
        return results

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            # -P: the directory of this file is no place to import from.
            command = [sys.executable, "-P", __file__]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        return self._process

    def _end(self) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        with process, suppress(BrokenPipeError):  # of what was not sent any more
            process.stdin.close()  # type: ignore[union-attr]  # upon which it ends
        return process.returncode


def _result(call: Call) -> Any:
    name, *arguments = call
    try:
        return getattr(rrdtool, name)(*arguments)
    except ERRORS as error:
        return error if str(error) else rrdtool.OperationalError(UNSAID)


def _send(pipe: Any, what: Any) -> None:
    payload = msgspec.msgpack.encode(what)
    pipe.write(LENGTH.pack(len(payload)) + payload)
    pipe.flush()


def _receive(pipe: Any) -> Any:
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    if head == NOTHING:
        return True, None
    (length,) = LENGTH.unpack(head)
    payload = pipe.read(length)
    if len(payload) < length:
        raise EOFError
    return msgspec.msgpack.decode(payload)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Do what is asked until nobody can ask any more."""
    while True:
        try:
            calls = _receive(requests)
        except EOFError:
            return
        for call in calls:
            result = _result(call)
            if result is None:
                answers.write(NOTHING)
                answers.flush()
            else:
                _send(answers, (False, str(result)) if isinstance(result, Exception) else (True, result))


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # who asked was killed
        serve(sys.stdin.buffer, sys.stdout.buffer)
