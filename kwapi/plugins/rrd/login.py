"""Who may look at the pages: anybody who reaches them, users of a password file, or whom a reverse proxy lets in.

A line of the password file is ``NAME:$scrypt$ln=N,r=R,p=P$SALT$KEY``, as ``kwapi password`` prints it: scrypt of
RFC 7914, 2**N times, salt and key in base64 without padding (the notation of the PHC string format).
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from flask import request
from oslo_config import cfg
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from kwapi.errors import ConfigError
from kwapi.plugins.rrd.words import say

LOG = logging.getLogger(__name__)

COST, BLOCK, PARALLEL = 14, 8, 1  # 16 MiB and some 40 ms of CPU for each guess
MOST_COST, MOST_BLOCK = 17, 16  # of a line that somebody else has written
MEMORY = 1 << 29  # bytes that scrypt may take
REMEMBERED = 1000  # passwords that were right, so that they are not computed anew for every picture
LINE = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
PUBLIC = ("healthz",)  # endpoints that need no login
REALM = 'realm="Kwapi", charset="UTF-8"'  # in quotes, as the standard wants it and werkzeug does not write it

Key = tuple[int, int, int, bytes, bytes]


def password_line(name: str, password: str, salt: bytes = b"") -> str:
    """Return the line of a password file for a user; ValueError if the name cannot be one."""
    if not name or ":" in name or not name.isprintable() or name != name.strip() or name.startswith("#"):
        raise ValueError(f"{name!r} cannot be a name here: no colon, no blanks at the edges, no # in front")
    if not password:
        raise ValueError("the password is empty")
    salt = salt or secrets.token_bytes(16)
    key = _derive(password, (COST, BLOCK, PARALLEL, salt, b""))
    return f"{name}:$scrypt$ln={COST},r={BLOCK},p={PARALLEL}${_text(salt)}${_text(key)}"


def read_passwords(path: Path) -> dict[str, Key]:
    """Return the key of each user of a password file; ConfigError with every line that is none."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error
    keys: dict[str, Key] = {}
    mistakes = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, hashed = line.rstrip().partition(":")
        try:
            keys[name] = _key(hashed)
        except ValueError:
            mistakes.append(f"{path}:{number}: is no line that kwapi password has made")
    if not keys and not mistakes:
        mistakes.append(f"{path}: has no user; kwapi password NAME makes a line for one")
    if mistakes:
        raise ConfigError(*mistakes)
    return keys


def _key(hashed: str) -> Key:
    match = LINE.fullmatch(hashed)
    if not match:
        raise ValueError(hashed)
    cost, block, parallel = (int(match[group]) for group in (1, 2, 3))
    if not (1 <= cost <= MOST_COST and 1 <= block <= MOST_BLOCK and parallel):
        raise ValueError(hashed)
    return cost, block, parallel, _bytes(match[4]), _bytes(match[5])


def _derive(password: str, key: Key) -> bytes:
    cost, block, parallel, salt, expected = key
    size = len(expected) or 32
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << cost, r=block, p=parallel, maxmem=MEMORY, dklen=size
    )  # fmt: skip


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error


class Passwords:
    """The users of a password file, read again when it changes; for any thread."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._salt = secrets.token_bytes(32)
        self._lock = threading.Lock()  # one guess is computed at a time: guessing must not take all cores
        self._stamp: tuple[int, int, int] | None = None
        self._right: dict[bytes, None] = {}  # fingerprints of what was right
        self._keys = read_passwords(self._path)
        self._stamp = self._stamp_of_file()

    def accept(self, name: str, password: str) -> bool:
        """Return whether this is the password of a user."""
        self._read_again()
        fingerprint = hmac.digest(self._salt, f"{name}:{password}".encode("utf-8", "replace"), "sha256")
        if fingerprint in self._right:
            return True
        with self._lock:
            keys = self._keys
            # A name that is not known takes as long as a wrong password.
            key = keys.get(name) or (COST, BLOCK, PARALLEL, self._salt, bytes(32))
            if not hmac.compare_digest(_derive(password, key), key[-1]):
                return False
            if len(self._right) >= REMEMBERED:
                self._right.clear()
            self._right[fingerprint] = None
        return True

    def _stamp_of_file(self) -> tuple[int, int, int]:
        status = os.stat(self._path)
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read_again(self) -> None:
        """Read the file if it has changed; what cannot be read leaves the users as they were, and is said once."""
        try:
            if (stamp := self._stamp_of_file()) == self._stamp:
                return
        except OSError:
            stamp = (0, 0, 0)
        with self._lock:
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                self._keys = read_passwords(self._path)
            except ConfigError as error:
                LOG.warning("the users stay as they were: %s", "; ".join(error.mistakes))
            else:
                self._right.clear()


class Login:
    """Who may look: whom ``passwords`` know, or whom a reverse proxy names in a ``header``.

    A header counts only from this machine, where the proxy is.
    """

    def __init__(self, passwords: Passwords | None = None, header: str = "") -> None:
        self._passwords = passwords
        self._header = header

    def check(self) -> None:
        """Refuse the request that Flask is about to answer, unless its user may look."""
        if request.endpoint in PUBLIC:
            return
        if self._header and not (request.headers.get(self._header) and is_loopback(request.remote_addr or "")):
            raise Forbidden(say("no_user"))
        given = request.authorization
        if self._passwords is not None and not (
            given is not None
            and given.type == "basic"
            and self._passwords.accept(given.username or "", given.password or "")
        ):
            raise Unauthorized(say("login"), www_authenticate=WWWAuthenticate("basic", token=REALM))


def login_of(conf: cfg.ConfigOpts) -> Login | None:
    """Return the login of a configuration, None where there is none; ConfigError if its file can't be used."""
    if conf.password_file:
        return Login(Passwords(conf.password_file))
    return Login(header=conf.login_header) if conf.login_header else None


def login_problems(conf: cfg.ConfigOpts) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) unless it is settled who may look."""
    if conf.password_file and conf.login_header:
        yield "login_header", "a login is by password_file or by a proxy's header, not by both"
    if conf.password_file:
        try:
            read_passwords(Path(conf.password_file))
        except ConfigError as error:
            for mistake in error.mistakes:
                yield "password_file", mistake
    if is_loopback(conf.host):
        return
    if conf.login_header:
        yield "host", f"login_header is for a proxy on this machine, so listen on 127.0.0.1, not on {conf.host}"
    elif not conf.password_file and not conf.anybody_may_read:
        yield (
            "host",
            f"without password_file anybody could look on {conf.host}; if they shall, set anybody_may_read = true",
        )


def is_loopback(host: str) -> bool:
    """Return whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
