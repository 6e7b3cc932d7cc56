"""The line protocol of upsd, the server of Network UPS Tools (NUT): a connection, and what its lines mean.

Requests and answers are lines of text; a list stands between BEGIN and END:

    LIST VAR rack      BEGIN LIST VAR rack
                       VAR rack ups.realpower "504"
                       END LIST VAR rack

or there is ``ERR`` and a word. In a value ``\\"`` is a quote and ``\\\\`` a backslash.

Source: RFC 9271; net-protocol.txt of NUT 2.8.0.
"""

import re
import ssl
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import inf

from kwapi.drivers.base import Clock
from kwapi.drivers.names import Names, connect
from kwapi.errors import CredentialsRefused, DeviceError

ITEM = re.compile(r'(?:VAR \S+|UPS) (\S+) "((?:[^"\\]|\\.)*)"')
ESCAPED = re.compile(r"\\(.)")
QUOTED = re.compile(r'["\\]')
LONGEST_LINE = 1 << 16  # bytes
MOST_LINES = 10_000  # a PDU of 42 outlets has 600
LONGEST_OPENING = 3.0  # seconds after which no further request begins before a connection is ready
CREDENTIAL_ERRORS = (
    "ACCESS-DENIED",
    "INVALID-PASSWORD",
    "INVALID-USERNAME",
    "PASSWORD-REQUIRED",
    "USERNAME-REQUIRED",
)


@dataclass(frozen=True, slots=True)
class Target:
    """A server and how to speak to it."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    tls: bool
    ca_file: str
    timeout: float


def parse_items(lines: list[str]) -> dict[str, str]:
    """Return the values of a list's lines by the name of the variable or the UPS."""
    items = {}
    for line in lines:
        match = ITEM.fullmatch(line)
        if not match:
            raise DeviceError(f"malformed line {line!r}")
        items[match[1]] = ESCAPED.sub(r"\1", match[2])
    return items


def quote(text: str) -> str:
    """Return text as one word of a request."""
    return '"' + QUOTED.sub(r"\\\g<0>", text) + '"'


class Upsd:
    """A connection to upsd. An answer that is not there in ``timeout`` seconds, the whole of it, is an error."""

    def __init__(self, target: Target, *, names: Names | None = None, clock: Clock = time.monotonic) -> None:
        self.target = target
        self.name = f"{target.host}:{target.port}"
        self._clock = clock
        self._opening_ends = clock() + LONGEST_OPENING
        self._received = b""
        addresses = (names or Names()).addresses(target.host)
        try:
            self._socket = connect(addresses, target.port, target.timeout)
        except OSError as error:
            raise DeviceError(f"{self.name}: {error}") from error
        with ExitStack() as unless_complete:
            unless_complete.callback(self.close)
            if target.tls:
                self._start_tls()
            if target.user:
                self._ask(f"USERNAME {quote(target.user)}", "USERNAME")
                self._ask(f"PASSWORD {quote(target.password)}", "PASSWORD")
            unless_complete.pop_all()

    def ready(self) -> None:
        """Note that all is known that was to be found out; from now on each answer has its own time only."""
        self._opening_ends = inf

    def list_ups(self) -> list[str]:
        """Return the names of the server's UPSes."""
        return list(parse_items(self._list("UPS")))

    def login(self, ups: str) -> None:
        """Become a client of the UPS, whose credentials are checked."""
        self._ask(f"LOGIN {ups}", f"LOGIN {ups}")

    def variables(self, ups: str) -> dict[str, str]:
        """Return the variables of a UPS by name; upsd refuses values that have become stale."""
        return parse_items(self._list(f"VAR {ups}"))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _start_tls(self) -> None:
        self._ask("STARTTLS", "STARTTLS")
        if self._received:  # put there by whoever is between, to be taken for an encrypted answer
            raise DeviceError(f"{self.name}: STARTTLS: more than an answer came in the clear")
        try:
            context = ssl.create_default_context(cafile=self.target.ca_file or None)
            self._socket = context.wrap_socket(self._socket, server_hostname=self.target.host)
        except OSError as error:  # of TLS, of the connection, or of the file
            raise DeviceError(f"{self.name}: TLS: {error}") from error

    def _ask(self, request: str, what: str) -> None:
        """Send a request that is answered by one line; ``what`` may be shown, the request may hold a secret."""
        self._send(request, what)
        answer = self._line(self._clock() + self.target.timeout, what)
        if not answer.startswith("OK"):
            raise DeviceError(f"{self.name}: {what}: answered {answer!r}")

    def _list(self, what: str) -> list[str]:
        end = self._clock() + self.target.timeout
        request = f"LIST {what}"
        self._send(request, request)
        if (first := self._line(end, request)) != f"BEGIN {request}":
            raise DeviceError(f"{self.name}: {request}: answered {first!r}")
        lines: list[str] = []
        while (line := self._line(end, request)) != f"END {request}":
            lines.append(line)
            if len(lines) > MOST_LINES:
                raise DeviceError(f"{self.name}: {request}: an answer without end")
        return lines

    def _send(self, request: str, what: str) -> None:
        if self._clock() > self._opening_ends:
            raise DeviceError(f"{self.name}: {what}: connecting took longer than {LONGEST_OPENING:g} s")
        try:
            self._socket.settimeout(self.target.timeout)
            self._socket.sendall(f"{request}\n".encode())
        except OSError as error:
            raise DeviceError(f"{self.name}: {what}: {error}") from error

    def _line(self, end: float, what: str) -> str:
        """Return the next line of an answer, received before the time ``end``; raise what an error means."""
        while b"\n" not in self._received:
            left = end - self._clock()
            if left <= 0:
                raise DeviceError(f"{self.name}: {what}: no whole answer within {self.target.timeout:g} s")
            self._socket.settimeout(left)
            try:
                received = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError as error:
                raise DeviceError(f"{self.name}: {what}: {error}") from error
            if not received:
                raise DeviceError(f"{self.name}: {what}: the server closed the connection")
            self._received += received
            if len(self._received) > LONGEST_LINE and b"\n" not in self._received:
                raise DeviceError(f"{self.name}: {what}: a line without end")
        raw, _, self._received = self._received.partition(b"\n")
        line = raw.decode("utf-8", "replace").rstrip("\r")
        if line.startswith("ERR"):
            word = line[3:].strip()
            refused = word.split(" ")[0] in CREDENTIAL_ERRORS
            raise (CredentialsRefused if refused else DeviceError)(f"{self.name}: {what}: {word}")
        return line
