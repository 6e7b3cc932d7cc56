"""A BMC that speaks RMCP+ and knows DCMI's power reading: one session at a time, with real keys, signed and encrypted.

The keys are made once for a session; each packet then costs its HMAC and its AES-CBC here as it does in a real BMC.

Source: IPMI 2.0 revision 1.1, 13.6 and 13.8 (packets), 13.17 to 13.24 (messages), 13.28 and 13.31 (algorithms, keys),
22.13 (authentication capabilities); DCMI 1.5, 6.6.1 (power reading).
"""

import hmac
import os
import struct
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

USER, PASSWORD = b"bench", b"bench-secret"
RMCP = b"\x06\x00\xff\x07"
PLAIN, RMCP_PLUS = 0, 6  # authentication types
OPEN, OPENED, RAKP1, RAKP2, RAKP3, RAKP4 = range(0x10, 0x16)  # payload types
SIGNED, ENCRYPTED = 0x40, 0x80  # of an IPMI message
GUID = bytes(range(16))
HASHES = {1: ("sha1", 12), 3: ("sha256", 16)}  # by authentication algorithm; bytes of a signature
UNKNOWN_COMMAND = b"\xc1"
READING = struct.Struct("<BHHHHIIB")
LEAST_WATTS, STEPS = 100, 200


@dataclass
class Session:
    """What the two sides agreed on, and their keys."""

    console: bytes  # its session id
    own: bytes
    hash_name: str
    signature_size: int
    console_random: bytes = b""
    own_random: bytes = b""
    who: bytes = b""  # role, length of the user's name, name
    integrity_key: bytes = b""
    cipher_key: bytes = b""
    sequence: int = 0

    def hmac(self, key: bytes, *parts: bytes) -> bytes:
        return hmac.digest(key, b"".join(parts), self.hash_name)

    def integrity(self, packet: bytes) -> bytes:
        return self.hmac(self.integrity_key, packet)[: self.signature_size]


class Bmc:
    """One BMC; its power rises by a watt at each reading and then starts again."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._readings = 0

    def answer(self, packet: bytes) -> bytes | None:
        """Return the answer to a packet, None to what is not for this BMC or not from who it says."""
        if packet[:4] != RMCP:
            return None
        if packet[4] == PLAIN:
            payload = self._command(packet[14 : 14 + packet[13]])
            return RMCP + bytes([PLAIN]) + bytes(8) + bytes([len(payload)]) + payload
        kind, payload = packet[5] & 0x3F, packet[16:]
        if kind == OPEN:
            return _unsigned(OPENED, self._open(payload))
        session = self._session
        if session is None:
            return None
        if kind == RAKP1:
            return _unsigned(RAKP2, self._begin(session, payload))
        if kind == RAKP3:
            return _unsigned(RAKP4, self._finish(session, payload))
        return self._answer_in_session(session, packet)

    def _open(self, request: bytes) -> bytes:
        """Agree to what the console proposes: suite 3 (SHA-1) or 17 (SHA-256), both with AES."""
        tag, level, console, algorithms = request[:1], request[1:2], request[4:8], request[8:32]
        if algorithms[4] not in HASHES:
            return tag + b"\x11\x00\x00" + console
        self._session = Session(console, os.urandom(4), *HASHES[algorithms[4]])
        return tag + b"\x00" + level + b"\x00" + console + self._session.own + algorithms

    def _begin(self, session: Session, request: bytes) -> bytes:
        session.console_random, session.own_random = request[8:24], os.urandom(16)
        session.who = request[24:25] + request[27 : 28 + request[27]]
        if session.who[2:] != USER:
            return request[:1] + b"\x0d\x00\x00" + session.console
        randoms = session.console_random, session.own_random
        proof = session.hmac(PASSWORD, session.console, session.own, *randoms, GUID, session.who)
        return request[:1] + bytes(3) + session.console + session.own_random + GUID + proof

    def _finish(self, session: Session, request: bytes) -> bytes:
        proof = session.hmac(PASSWORD, session.own_random, session.console, session.who)
        if not hmac.compare_digest(request[8:], proof):
            return request[:1] + b"\x0f\x00\x00" + session.console
        key = session.hmac(PASSWORD, session.console_random, session.own_random, session.who)
        session.integrity_key = session.hmac(key, b"\x01" * 20)
        session.cipher_key = session.hmac(key, b"\x02" * 20)[:16]
        proof = session.hmac(key, session.console_random, session.own, GUID)[: session.signature_size]
        return request[:1] + bytes(3) + session.console + proof

    def _answer_in_session(self, session: Session, packet: bytes) -> bytes | None:
        signature = packet[-session.signature_size :]
        if not session.integrity_key or session.integrity(packet[4 : -session.signature_size]) != signature:
            return None
        size = int.from_bytes(packet[14:16], "little")
        plain = _crypt(session, packet[16:32], packet[32 : 16 + size], encrypt=False)
        reply = self._command(plain[: -1 - plain[-1]])
        session.sequence += 1
        return _signed(session, reply)

    def _command(self, request: bytes) -> bytes:
        """Return the message that answers a message."""
        asked, own, numbers, command = request[3:4], request[0:1], request[4:5], request[5:6]
        netfn = request[1] >> 2
        head = asked + bytes([netfn + 1 << 2])
        body = own + numbers + command + self._result(netfn, command[0], request[6:-1])
        return head + _checksum(head) + body + _checksum(body)

    def _result(self, netfn: int, command: int, data: bytes) -> bytes:
        """Return completion code and data."""
        match netfn, command:
            case (0x2C, 0x02):  # DCMI: Get Power Reading
                self._readings += 1
                watts = LEAST_WATTS + self._readings % STEPS
                return b"\0" + READING.pack(0xDC, watts, watts, watts, watts, int(time.time()), 1000, 0x40)
            case (0x06, 0x38):  # Get Channel Authentication Capabilities: RMCP+'s alone, and users by name
                return b"\0\x01\x80\x04\x02" + bytes(4)
            case (0x06, 0x3B):  # Set Session Privilege Level
                return b"\0" + data[:1]
            case (0x06, 0x3C):  # Close Session
                return b"\0"
            case (0x06, 0x01):  # Get Device ID
                return b"\0\x20\x01\x01\x00\x02\x00" + bytes(5)
        return UNKNOWN_COMMAND


def _unsigned(kind: int, payload: bytes) -> bytes:
    return RMCP + bytes([RMCP_PLUS, kind]) + bytes(8) + struct.pack("<H", len(payload)) + payload


def _signed(session: Session, message: bytes) -> bytes:
    count = -(len(message) + 1) % 16
    start = os.urandom(16)
    payload = start + _crypt(session, start, message + bytes(range(1, count + 1)) + bytes([count]), encrypt=True)
    head = bytes([RMCP_PLUS, SIGNED | ENCRYPTED]) + session.console
    packet = head + struct.pack("<IH", session.sequence, len(payload)) + payload
    count = -(len(packet) + 2) % 4
    packet += b"\xff" * count + bytes([count, 7])
    return RMCP + packet + session.integrity(packet)


def _crypt(session: Session, start: bytes, text: bytes, *, encrypt: bool) -> bytes:
    cipher = Cipher(AES(session.cipher_key), CBC(start))
    context = cipher.encryptor() if encrypt else cipher.decryptor()
    return context.update(text) + context.finalize()


def _checksum(octets: bytes) -> bytes:
    return bytes([-sum(octets) & 0xFF])
