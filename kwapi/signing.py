"""Signed frames: topic, NUL, key id (4 bytes), payload, HMAC-SHA256 of all before it (the last 32 bytes).

The id of a key is worked out from the key itself, so both ends agree on it without configuration.
"""

import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from kwapi.errors import BadMessage, ConfigError

KEY_ID_BYTES = 4
SIGNATURE_BYTES = 32
MIN_SECRET_BYTES = 16
MISSING = "; copy it from where kwapi-drivers runs, or let state_dir be the directory that has it"
PLACEHOLDERS = frozenset({"change me", "changeme", "change-me", "secret", "password", "replace me", "replace_me"})


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A signing key and its id."""

    id: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id.hex()})"


def key_from(secret: bytes) -> Key:
    """Return the key made of a secret."""
    return Key(sha256(b"kwapi key id\0" + secret).digest()[:KEY_ID_BYTES], secret)


class KeyRing:
    """The keys that a subscriber trusts, by id."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.id: key for key in keys}

    def verify(self, frame: bytes) -> tuple[bytes, bytes]:
        """Return (topic, payload) of a frame signed by one of the keys; raise BadMessage for any other bytes."""
        topic, key_id, payload = split(frame)
        key = self._keys.get(key_id)
        if key is None:
            raise BadMessage("unknown key", key_id.hex())
        signature = hmac.digest(key.secret, frame[:-SIGNATURE_BYTES], "sha256")
        if not hmac.compare_digest(signature, frame[-SIGNATURE_BYTES:]):
            raise BadMessage("bad signature")
        return topic, payload


def split(frame: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (topic, key id, payload) of a frame, unverified; raise BadMessage if it is too short for that."""
    topic, nul, rest = frame.partition(b"\0")
    if not nul or len(rest) <= KEY_ID_BYTES + SIGNATURE_BYTES:
        raise BadMessage("wrong size", f"{len(frame)} bytes")
    return topic, rest[:KEY_ID_BYTES], rest[KEY_ID_BYTES:-SIGNATURE_BYTES]


def sign(key: Key, topic: bytes, payload: bytes) -> bytes:
    """Return the frame of a payload."""
    unsigned = b"".join((topic, b"\0", key.id, payload))
    return unsigned + hmac.digest(key.secret, unsigned, "sha256")


def read_key(path: Path) -> Key:
    """Return the key in a file, blanks at its ends apart; raise ConfigError unless it is a private file with one."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            secret = file.read(4096).strip()
    except OSError as error:
        hint = MISSING if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"signing_key_file: cannot read {path}: {error.strerror}{hint}") from error
    if mode & 0o077:
        raise ConfigError(f"signing_key_file: {path} can be read by others (mode {mode:04o}); run chmod 600 {path}")
    if secret.decode("latin-1").lower() in PLACEHOLDERS or len(set(secret)) < 5:
        raise ConfigError(f"signing_key_file: {path} holds a placeholder, not a secret")
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(f"signing_key_file: the secret in {path} is shorter than {MIN_SECRET_BYTES} bytes")
    return key_from(secret)


def make_key_file(path: Path) -> bool:
    """Write a new random key to a file of mode 0600; return False and touch nothing if the file is there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists():
            return False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32) + "\n")
            os.link(temporary, path)  # unlike a rename this never replaces a key that somebody else just made
        finally:
            temporary.unlink()
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(f"signing_key_file: cannot make {path}: {error.strerror}") from error
    return True
