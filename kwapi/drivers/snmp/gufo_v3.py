"""Makes gufo-snmp fit for SNMPv3, whose answers it takes without a look at their signature.

gufo-snmp speaks to a socket of ours on the loopback interface, which passes its requests on to the agent. Of what comes
back it is given one datagram for each request: one that bears the request's number and the agent's signature. Since the
numbers are drawn by lot, no older answer fits. All happens in the caller's thread.

A signed Report tells the agent's clock: at the beginning, after a long pause and after a restart of the agent. By that
gufo-snmp sets its own and is asked again. An unsigned Report (unknown user or engine, wrong key) may be anybody's: it
is not believed, but a reason to let pysnmp find out.

Only gufo-snmp's internal interface sends and receives apart, so its version is pinned.

Source: gufo-snmp 0.13.0 (unwrap_pdu in src/socket/v3.rs checks user, engine and numbers, and nothing else);
RFC 3412, 7.2; RFC 3414, 3.2 and 4.
"""

import os
import socket
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from gufo.snmp import (
    Aes128Key,
    Aes192Key,
    Aes256Key,
    DesKey,
    KeyExpansion,
    Md5Key,
    Sha1Key,
    Sha224Key,
    Sha256Key,
    Sha384Key,
    Sha512Key,
    SnmpAuthError,
    SnmpDecodeError,
    SnmpVersion,
    User,
)
from gufo.snmp._fast import GetIter
from gufo.snmp.sync import SnmpSession
from gufo.snmp.typing import ValueType

from kwapi.drivers.snmp.client import Target, locate
from kwapi.drivers.snmp.usm import DISCOVERY, SIGNED, is_signed, open_envelope, to_engine_id

LARGEST = 65535
Cells = list[tuple[str, ValueType] | None]
T = TypeVar("T")
AUTH_KEYS = {
    "MD5": Md5Key,
    "SHA": Sha1Key,
    "SHA-224": Sha224Key,
    "SHA-256": Sha256Key,
    "SHA-384": Sha384Key,
    "SHA-512": Sha512Key,
}
PRIV_KEYS = {
    "DES": DesKey,
    "AES-128": Aes128Key,
    "AES-192": Aes192Key,
    "AES-256": Aes256Key,
    "AES-192-C": Aes192Key,
    "AES-256-C": Aes256Key,
}


class VerifiedSession:
    """A session of gufo-snmp with a v3 agent. Its sockets close when nothing refers to it any more."""

    def __init__(self, target: Target) -> None:
        self._target = target
        sockets = ExitStack()
        weakref.finalize(self, sockets.close)
        family, address = locate(target)
        self._agent = sockets.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        self._agent.connect(address)
        self._requests = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._requests.bind(("127.0.0.1", 0))
        self._requests.setblocking(False)  # what was sent on this machine has arrived
        self._session: SnmpSession | None = None
        self._key = b""

    def get_many(self, cells: Sequence[str]) -> dict[str, ValueType]:
        """Return what there is of these cells; raises as gufo-snmp does."""
        return self._ask(lambda sock: sock.send_get_many(list(cells)), lambda sock: sock.recv_get_many())

    def get_bulk(self, walk: GetIter) -> Cells:
        """Return the next cells of a column, None after its last one; nothing if the agent says an error."""
        try:
            return self._ask(lambda sock: sock.send_get_bulk(walk), lambda sock: sock.recv_get_bulk(walk))
        except StopAsyncIteration:
            return []

    def _ask(self, send: Callable[[Any], None], receive: Callable[[Any], T]) -> T:
        session = self._session = self._session or self._start()
        try:
            return self._ask_once(session, send, receive)
        except SnmpAuthError:  # a signed Report: now the clock is right
            return self._ask_once(session, send, receive)

    def _start(self) -> SnmpSession:
        self._agent.settimeout(self._target.timeout)
        self._agent.send(DISCOVERY)
        try:
            engine_id = to_engine_id(self._agent.recv(LARGEST))
        except ValueError as error:
            raise SnmpDecodeError("no engine id") from error
        user = to_user(self._target)
        auth = AUTH_KEYS[self._target.auth_protocol]
        self._key = auth.get_localized_key(auth.get_master_key(user.get_auth_key()), engine_id)
        host, port = self._requests.getsockname()
        session = SnmpSession(
            host,
            port,
            engine_id=engine_id,
            user=user,
            version=SnmpVersion.v3,
            timeout=0,  # likewise
        )
        with socket.socket(fileno=os.dup(session._sock.get_fd())) as peer:
            self._requests.connect(peer.getsockname())
        return session

    def _ask_once(self, session: SnmpSession, send: Callable[[Any], None], receive: Callable[[Any], T]) -> T:
        send(session._sock)
        self._requests.send(self._exchange(self._requests.recv(LARGEST)))
        try:
            return receive(session._sock)
        except BlockingIOError:
            raise SnmpDecodeError("not the answer to what was asked") from None

    def _exchange(self, request: bytes) -> bytes:
        """Return the agent's signed answer to a request."""
        message_id = open_envelope(request).message_id
        ends_at = time.monotonic() + self._target.timeout
        self._agent.send(request)
        while (left := ends_at - time.monotonic()) > 0:
            self._agent.settimeout(left)
            answer = self._agent.recv(LARGEST)
            try:
                envelope = open_envelope(answer)
            except ValueError:
                continue
            if envelope.message_id != message_id:
                continue
            if not envelope.flags & SIGNED:
                raise SnmpDecodeError("an unsigned answer")
            if is_signed(answer, envelope.signature, self._target.auth_protocol, self._key):
                return answer
        raise TimeoutError


def to_user(target: Target) -> User:
    """Return the user that a target names, with its keys."""
    return User(
        target.user,
        auth_key=AUTH_KEYS[target.auth_protocol](target.auth_key.encode()),
        priv_key=PRIV_KEYS[target.priv_protocol](target.priv_key.encode()) if target.priv_key else None,
        key_expansion=KeyExpansion.Cisco if target.priv_protocol.endswith("-C") else KeyExpansion.Blumenthal,
    )
