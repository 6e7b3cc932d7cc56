"""CURVE keys in files, in the format of pyzmq's zmq.auth: NAME.key_secret has both keys, NAME.key the public one.

Keys are Z85 here, 40 characters, as in the files.
"""

import logging
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import zmq

from kwapi.credentials import exposure
from kwapi.errors import ConfigError

LOG = logging.getLogger(__name__)
LINE = re.compile(rb"""^\s*(public|secret)-key\s*=\s*["']([!-~]{40})["']\s*$""", re.MULTILINE)
MAX_FILE = 4096  # bytes
LOOK = 1.0  # seconds until a change of a directory is noticed
QUICK_LOOK = 0.1  # the same when somebody comes who is not known


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """The keys of a daemon, and the name of their file."""

    name: str
    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"Certificate({self.name})"


def read_certificate(path: Path) -> Certificate:
    """Return the keys in a file that nobody else may read; raise ConfigError if it is none."""
    try:
        keys, mode = _read(path)
    except OSError as error:
        raise ConfigError(f"curve_key_file: cannot read {path}: {error.strerror}") from error
    secret, public = keys.get("secret"), keys.get("public")
    if secret is None and public is not None and path.suffix == ".key":
        hint = f"{path.stem}.key_secret, beside it on the machine that they were made on, has the secret one too"
        raise ConfigError(f"curve_key_file: {path} has a public key only; {hint}")
    if problem := exposure(path, mode):
        raise ConfigError(f"curve_key_file: {problem}")
    if secret is None or public is None:
        raise ConfigError(f"curve_key_file: {path} has no public-key and secret-key, such as kwapi keygen makes")
    if _public_of(secret) != public:
        raise ConfigError(f"curve_key_file: the keys in {path} do not belong together")
    return Certificate(path.stem, public, secret)


def holds_secret(path: Path) -> bool:
    """Return whether a file has a secret key."""
    keys, _ = _read(path)
    return "secret" in keys


def read_public_key(path: Path) -> bytes:
    """Return the public key in a file; raise OSError or ValueError if there is none."""
    keys, _ = _read(path)
    if "public" not in keys:
        raise ValueError("it has no public-key of 40 characters in quotes")
    return keys["public"]


class Clients:
    """Who may connect: those whose public keys are files NAME.key in a directory, read again when it changes.

    For several threads.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory = directory
        self.removals = 0  # how often somebody was removed
        self._clock = clock
        self._lock = Lock()
        self._seen: dict[str, tuple[int, ...]] = {}
        self._keys: dict[str, bytes] = {}  # by name
        self._names: dict[bytes, str] = {}  # by key
        self._is_readable = True
        try:
            self._read(self._files())
        except OSError as error:
            raise ConfigError(f"curve_clients_dir: cannot read {directory}: {error.strerror}") from error
        self._looked_at = clock()

    def name_of(self, key: bytes) -> str | None:
        """Return the name of who has a public key, None if they may not connect."""
        self.look(LOOK if key in self._names else QUICK_LOOK)
        return self._names.get(key)

    def look(self, period: float = LOOK) -> None:
        """Read what has changed, if the last look is so many seconds ago."""
        with self._lock:
            if self._clock() - self._looked_at < period:
                return
            self._looked_at = self._clock()
            try:
                files = self._files()
            except OSError as error:
                if self._is_readable:
                    LOG.warning("%s cannot be read again: %s; who was let in still is", self.directory, error.strerror)
                self._is_readable = False
                return
            self._is_readable = True
            if files != self._seen:
                before = set(self._names)
                self._read(files)
                gone = before - self._names.keys()
                self.removals += bool(gone)
                LOG.info("%s has changed: %d may connect, %d no more", self.directory, len(self._names), len(gone))

    def _files(self) -> dict[str, tuple[int, ...]]:
        """Return what tells whether each file has changed, by name."""
        found: dict[str, tuple[int, ...]] = {}
        for path in self.directory.iterdir():
            if path.suffix != ".key":
                continue
            try:
                status = path.stat()
            except OSError:  # removed just now, or a link to nothing
                continue
            if stat.S_ISREG(status.st_mode):
                found[path.stem] = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        return found

    def _read(self, files: dict[str, tuple[int, ...]]) -> None:
        """Read the files that are new or have changed."""
        keys: dict[str, bytes] = {}
        for name, state in files.items():
            if self._seen.get(name) == state:
                if name in self._keys:
                    keys[name] = self._keys[name]
                continue
            path = self.directory / f"{name}.key"
            try:
                keys[name] = read_public_key(path)
            except (OSError, ValueError) as error:
                LOG.warning("%s lets nobody in: %s", path, error)
        self._seen, self._keys = files, keys
        self._names = {key: name for name, key in keys.items()}


def _read(path: Path) -> tuple[dict[str, bytes], int]:
    """Return the keys in a file, public and secret, and its mode."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        return {kind.decode(): key for kind, key in LINE.findall(file.read(MAX_FILE))}, mode


def _public_of(secret: bytes) -> bytes | None:
    try:
        return zmq.curve_public(secret)
    except (ValueError, zmq.ZMQError):  # no Z85
        return None
