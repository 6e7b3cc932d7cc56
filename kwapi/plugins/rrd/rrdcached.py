"""Updates RRD files through a running rrdcached, for those who want its journal.

Source: rrdcached(1) 1.7.2, "The protocol" and BATCH. A line for each command; a blank or a backslash in a path has a
backslash before it. In a batch nothing is answered but the last line: "N errors", and N lines "NUMBER MESSAGE", where
commands count from 1. An update of which one value is refused ends there; what comes before it is taken.
rrdtool.update with --daemon says nothing when rrdcached is down, and stores nothing.
"""

import re
import socket
from collections.abc import Sequence
from pathlib import Path

from kwapi.plugins.rrd.files import Update

TIMEOUT = 10.0  # seconds
LINE = 4000  # bytes of a command; rrdcached takes 4096
ANSWER = 1 << 20


class Rrdcached:
    """The rrdcached at an address, unix:/path or host:port; OSError names it when it is not there."""

    def __init__(self, address: str, timeout: float = TIMEOUT) -> None:
        self._address = address
        self._timeout = timeout

    def update(self, updates: Sequence[Update]) -> dict[Path, str]:
        """Update files; return what went wrong, by file."""
        return self._batch([(path, line) for path, values in updates for line in _lines(path, values)])

    def settle(self, paths: Sequence[Path]) -> None:
        """Have files written with all that rrdcached has for them; one that it doesn't know has nothing waiting."""
        self._batch([(path, f"FLUSH {_quoted(path)}") for path in paths])

    def forget(self, path: Path) -> None:
        """Have rrdcached drop what it has for a file."""
        self._batch([(path, f"FORGET {_quoted(path)}")])

    def _batch(self, commands: Sequence[tuple[Path, str]]) -> dict[Path, str]:
        """Return what rrdcached refused, by file."""
        if not commands:
            return {}
        try:
            with self._connected() as connection, connection.makefile("rb") as answers:
                connection.sendall(b"BATCH\n")
                _count(answers.readline(ANSWER))
                connection.sendall("".join(f"{line}\n" for _, line in commands).encode() + b".\n")
                errors: dict[Path, str] = {}
                for _ in range(_count(answers.readline(ANSWER))):
                    number, _, message = answers.readline(ANSWER).decode(errors="replace").strip().partition(" ")
                    errors.setdefault(commands[int(number) - 1][0], message)
                return errors
        except (OSError, ValueError, IndexError) as error:
            raise ConnectionError(f"rrdcached at {self._address}: {error}") from error

    def _connected(self) -> socket.socket:
        kind, _, place = self._address.partition(":")
        if kind == "unix":
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._timeout)
            try:
                connection.connect(place)
            except OSError:
                connection.close()
                raise
            return connection
        host, _, port = self._address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), self._timeout)


def _lines(path: Path, values: Sequence[str]) -> list[str]:
    """Return the commands that update a file, each within the length that rrdcached takes."""
    begin = f"UPDATE {_quoted(path)}"
    lines, line = [], begin
    for value in values:
        if len(line.encode()) + len(value) >= LINE and line != begin:
            lines.append(line)
            line = begin
        line += f" {value}"
    return [*lines, line]


def _quoted(path: Path) -> str:
    return re.sub(r"([\\ ])", r"\\\1", str(path))


def _count(answer: bytes) -> int:
    """Return the number an answer begins with; ValueError if it is none, or an error."""
    number = answer.partition(b" ")[0]
    if not number.isdigit():
        raise ValueError(f"it answers {answer!r}")
    return int(number)
