"""Makes gufo-snmp fit for SNMPv1 and v2c, of whose answers it drops the error-status and panics at malformed ones.

A panic is caught (gufo.py), but not before it was printed: three lines in the journal for each. So an answer is looked
at while it still lies in the socket (MSG_PEEK): each of a walk, which must not end by an error, and the first of a
session. To look at all would take as long as what gufo-snmp does with them.

    SEQUENCE {
        INTEGER version, OCTET STRING community,
        answer {INTEGER request id, INTEGER error-status, INTEGER error-index,
                SEQUENCE {SEQUENCE {OBJECT IDENTIFIER name, value}, ...}}}

Only gufo-snmp's internal interface sends and receives apart, so its version is pinned.

Source: gufo-snmp 0.13.0 (from_ber in src/ber/header.rs reads beyond the end); RFC 3416, 3; RFC 1157, 4.
"""

import os
import socket
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gufo.snmp import SnmpDecodeError, SnmpVersion
from gufo.snmp._fast import GetIter
from gufo.snmp.sync import SnmpSession
from gufo.snmp.typing import ValueType

from kwapi.drivers.snmp.ber import INTEGER, LONG, OBJECT, OCTETS, SEQUENCE, Place, elements, integer
from kwapi.drivers.snmp.client import Target

VERSIONS = {"1": SnmpVersion.v1, "2c": SnmpVersion.v2c}
LARGEST = 65535
RESPONSE = 0xA2
LONG_TAG = 0x1F  # says that the tag goes on in the next byte
Cells = list[tuple[str, ValueType] | None]
T = TypeVar("T")


class CheckedSession:
    """A session of gufo-snmp with a v1 or v2c agent. Its sockets close when nothing refers to it any more."""

    def __init__(self, target: Target) -> None:
        self._is_sound = False  # the agent sends answers that are well-formed
        self._session = SnmpSession(
            target.address or target.host,
            target.port,
            community=target.community,
            version=VERSIONS[target.version],
            timeout=target.timeout,
        )
        self._socket = socket.socket(fileno=os.dup(self._session._sock.get_fd()))
        weakref.finalize(self, self._socket.close)

    def get_many(self, cells: Sequence[str]) -> dict[str, ValueType]:
        """Return what there is of these cells, nothing if the agent says an error; raises as gufo-snmp does."""
        if self._is_sound:
            return self._session.get_many(cells)
        sock = self._session._sock
        sock.send_get_many(list(cells))
        return self._receive(sock.recv_get_many) or {}

    def get_bulk(self, walk: GetIter) -> Cells:
        """Return the next cells of a column, None after its last one; nothing if the agent says an error."""
        sock: Any = self._session._sock
        sock.send_get_bulk(walk)
        return self._receive(lambda: sock.recv_get_bulk(walk)) or []

    def _receive(self, receive: Callable[[], T]) -> T | None:
        """Return the answer to what was sent, None if it, or one that came late, is an error, or has no values."""
        try:
            status = error_status(self._socket.recv(LARGEST, socket.MSG_PEEK))
            found = receive()
        except BlockingIOError:
            raise TimeoutError from None
        except (ValueError, IndexError) as error:
            raise SnmpDecodeError("a malformed answer") from error
        except StopAsyncIteration:
            return None
        self._is_sound = True
        return None if status else found


def error_status(datagram: bytes) -> int:
    """Return what an answer says of an error, 0 for none; ValueError or IndexError says that it is malformed."""
    (message,) = elements(datagram, (0, len(datagram)), SEQUENCE)
    *_, answer = elements(datagram, message, INTEGER, OCTETS, RESPONSE)
    *_, status, _, bindings = elements(datagram, answer, INTEGER, INTEGER, INTEGER, SEQUENCE)
    check_bindings(datagram, bindings)
    return integer(datagram, status)


def check_bindings(datagram: bytes, place: Place) -> None:
    """Raise ValueError or IndexError where names and values do not lie exactly within each other."""
    start, end = place
    while start < end:
        if datagram[start] != SEQUENCE:
            raise ValueError("no binding")
        start, binding_end = content(datagram, start)
        if binding_end > end or datagram[start] != OBJECT:
            raise ValueError("no name")
        _, start = content(datagram, start)
        if start >= binding_end or datagram[start] & LONG_TAG == LONG_TAG:
            raise ValueError("no value")
        _, start = content(datagram, start)
        if start != binding_end:
            raise ValueError("a value of another length")


def content(datagram: bytes, start: int) -> Place:
    """Return where the content of the element lies that starts here."""
    length = datagram[start + 1]
    start += 2
    if length & LONG:
        size = length & ~LONG
        length = int.from_bytes(datagram[start : start + size], "big")
        start += size
    return start, start + length
