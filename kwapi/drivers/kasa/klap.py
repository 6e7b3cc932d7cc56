"""KLAP, the session of newer Kasa and Tapo plugs over HTTP: both ends show that they know user and password, then talk
encrypted.

With auth = SHA256(SHA1(user) SHA1(password)), seeds of 16 bytes and all of it concatenated:

    POST /app/handshake1     ours                             -> theirs, SHA256(ours theirs auth); a cookie
    POST /app/handshake2     SHA256(theirs ours auth)         -> 200
    POST /app/request?seq=N  SHA256(sign N text) text         -> the same of the answer

where text is AES-128-CBC with the key SHA256("lsk" ours theirs auth)[:16] and the IV SHA256("iv" ours theirs auth)[:12]
N; sign is SHA256("ldk" ours theirs auth)[:28]; N has 4 bytes, big endian, signed, begins as the last four of that IV's
hash, and goes up by one with each request. What signs an answer is not known for sure, and goes unchecked, as it does
in other clients.

Source: mihai-dinculescu/tapo (MIT), klap_protocol.rs, klap_cipher.rs. The first version of KLAP (MD5) and the sessions
before and after it (securePassthrough, TPAP) are not spoken here.
"""

import os
import time
from collections.abc import Callable
from hashlib import sha1, sha256
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from kwapi.drivers.base import Clock
from kwapi.drivers.kasa.connection import Connection, address
from kwapi.drivers.names import Names
from kwapi.errors import CredentialsRefused, DeviceError

PORT = 80
SEED, HASH = 16, 32  # bytes
MAX_BYTES = 65_536  # the longest answer that is asked for has 20000
FORBIDDEN = "; is Third-Party Compatibility on in the Tapo app (Me, Third-Party Services)?"


class Session:
    """The keys that both ends have agreed upon, and the number of the next request."""

    def __init__(self, ours: bytes, theirs: bytes, auth: bytes) -> None:
        start = sha256(b"iv" + ours + theirs + auth).digest()
        self._key = sha256(b"lsk" + ours + theirs + auth).digest()[:16]
        self._sign = sha256(b"ldk" + ours + theirs + auth).digest()[:28]
        self._iv = start[:12]
        self.number = int.from_bytes(start[-4:], "big", signed=True)

    def encrypt(self, text: bytes) -> bytes:
        """Return the next request, signed."""
        self.number = (self.number + 1 + 2**31) % 2**32 - 2**31
        padder, cipher = PKCS7(128).padder(), self._cipher().encryptor()
        encrypted = cipher.update(padder.update(text) + padder.finalize()) + cipher.finalize()
        return sha256(self._sign + self._packed_number() + encrypted).digest() + encrypted

    def decrypt(self, answer: bytes) -> bytes:
        """Return the text of the answer to the last request; ValueError if it is none."""
        unpadder, cipher = PKCS7(128).unpadder(), self._cipher().decryptor()
        padded = cipher.update(answer[HASH:]) + cipher.finalize()
        return unpadder.update(padded) + unpadder.finalize()

    def _cipher(self) -> Cipher[CBC]:
        return Cipher(AES128(self._key), CBC(self._iv + self._packed_number()))

    def _packed_number(self) -> bytes:
        return self.number.to_bytes(4, "big", signed=True)


class Klap:
    """A plug that speaks KLAP. A session that it has forgotten, by age or by a reboot, is begun anew."""

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        password: str,
        *,
        names: Names | None = None,
        clock: Clock = time.monotonic,
        new_seed: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._address = (host, port or PORT)
        self._auth = sha256(_sha1(user) + _sha1(password)).digest()
        self._names = names or Names()
        self._clock = clock
        self._new_seed = new_seed
        self._session: Session | None = None
        self._cookie = ""
        self.where = address(*self._address)

    def ask(self, text: bytes, end: float) -> bytes:
        """Return the answer to a request, told before the time ``end``."""
        if self._session is not None:
            status, answer = self._request(self._session, text, end)
            if status == HTTPStatus.OK:
                return self._decrypt(self._session, answer)
        self._session = session = self._handshake(end)
        status, answer = self._request(session, text, end)
        if status != HTTPStatus.OK:
            raise DeviceError(f"{self.where} answers a request with {status}")
        return self._decrypt(session, answer)

    def _handshake(self, end: float) -> Session:
        self._cookie, self._session = "", None
        ours = self._new_seed(SEED)
        status, answer = self._post("handshake1", ours, end)
        if status != HTTPStatus.OK or len(answer) != SEED + HASH:
            hint = FORBIDDEN if status == HTTPStatus.FORBIDDEN else "; it may not speak KLAP"
            raise DeviceError(f"{self.where} answers the handshake with {status} and {len(answer)} bytes{hint}")
        theirs, shown = answer[:SEED], answer[SEED:]
        if shown != sha256(ours + theirs + self._auth).digest():
            raise CredentialsRefused(
                f"{self.where} has another user or password: those of the app's account, where case matters"
            )
        status, _ = self._post("handshake2", sha256(theirs + ours + self._auth).digest(), end)
        if status != HTTPStatus.OK:
            raise DeviceError(f"{self.where} answers the second handshake with {status}")
        return Session(ours, theirs, self._auth)

    def _request(self, session: Session, text: bytes, end: float) -> tuple[int, bytes]:
        body = session.encrypt(text)
        return self._post(f"request?seq={session.number}", body, end)

    def _decrypt(self, session: Session, answer: bytes) -> bytes:
        try:
            return session.decrypt(answer)
        except ValueError as error:
            raise DeviceError(f"{self.where} sends what cannot be decrypted: {answer[:40]!r}") from error

    def _post(self, page: str, body: bytes, end: float) -> tuple[int, bytes]:
        """Return status and content; each request has a connection of its own, as plugs keep few and not for long."""
        head = f"POST /app/{page} HTTP/1.1\r\nHost: {self.where}\r\nConnection: close\r\n"
        head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n{self._cookie}\r\n"
        try:
            with Connection(*self._address, self._names, end, self._clock) as connection:
                connection.sendall(head.encode("latin-1") + body)
                with HTTPResponse(connection, method="POST") as response:
                    response.begin()
                    content = response.read(MAX_BYTES + 1)
        except TimeoutError as error:
            raise DeviceError(f"{self.where} has not answered in time") from error
        except OSError as error:
            raise DeviceError(f"{self.where}: {error}") from error
        except HTTPException as error:
            raise DeviceError(f"{self.where} answers no HTTP: {error!r:.100}") from error
        if len(content) > MAX_BYTES:
            raise DeviceError(f"{self.where} answers with more than {MAX_BYTES} bytes")
        if response.length:
            raise DeviceError(f"{self.where} closed the connection {response.length} bytes before the end")
        if cookie := response.getheader("Set-Cookie"):
            self._cookie = f"Cookie: {cookie.partition(';')[0]}\r\n"  # the rest, such as TIMEOUT=86400, is its age
        return response.status, content


def _sha1(text: str) -> bytes:
    return sha1(text.encode(), usedforsecurity=False).digest()
