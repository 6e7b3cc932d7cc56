"""The file of signing keys: read, read again when it has changed, and added to.

Each line is a key: its secret, one word, and what it is limited to, all of it optional and in any order:

    SECRET from=2026-11-22T12:00:00Z until=2027-01-01T00:00:00+01:00 wattmeters=lyon,grenoble.rack1

``from`` is the first instant at which it signs, ``until`` the first at which it does so no more; ``wattmeters`` are
those that it may speak for, by name or by the first parts of a dotted name; none of these may have a blank. Empty
lines, and all from a word on that begins with ``#``, mean nothing. What is wrong is told by line, and never by what
stands there: it may be a secret.
"""

import logging
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from kwapi.credentials import read_private
from kwapi.errors import ConfigError
from kwapi.measurement import name_problem, topic_of
from kwapi.signing import Key, KeyRing, key_from

LOG = logging.getLogger(__name__)
LOOK_AGAIN = 1.0  # seconds between two looks at the file
MAX_BYTES = 1 << 16
MIN_SECRET_BYTES = 16
PLACEHOLDERS = frozenset({"change me", "changeme", "change-me", "secret", "password", "replace me", "replace_me"})
MISSING = "; copy it from where kwapi-drivers runs, or let state_dir be the directory that has it"

Stamp = tuple[int, int, int, int]


class Read(NamedTuple):
    """What a file holds, and how it was told from others when that was read."""

    keys: list[Key]
    text: str
    stamp: Stamp


class KeyFile(KeyRing):
    """The keys of a file, which is read again when it has changed; one that cannot be used changes nothing.

    It may be pickled, so that another process begins with these keys whatever has become of the file.
    """

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file; raise ConfigError if it cannot be used."""
        self._path = Path(path)
        self._clock = clock
        keys, _, self._stamp = read(self._path)
        self._look_at = clock() + LOOK_AGAIN
        self._told = ""
        super().__init__(keys)

    def look(self) -> None:
        """Read the file again if it has changed, looking once a second at most."""
        if (now := self._clock()) < self._look_at:
            return
        self._look_at = now + LOOK_AGAIN
        try:
            if not self._told and stamp_of(self._path.stat()) == self._stamp:
                return
            keys, _, self._stamp = read(self._path)
        except (OSError, ConfigError) as error:
            if str(error) != self._told:
                self._told = str(error)
                LOG.error("the signing keys stay as they were: %s", error)
            return
        self._told = ""
        self._hold(keys)
        LOG.info("%s was read again; signing keys: %s", self._path, ", ".join(key.id.hex() for key in keys))


def read(path: Path) -> Read:
    """Return what a file of keys holds; raise ConfigError unless it is a private file and all its lines are right."""
    try:
        text, status = read_private(path, most=MAX_BYTES)
    except OSError as error:
        hint = MISSING if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"signing_key_file: cannot read {path}: {error.strerror}{hint}") from error
    except ValueError as error:
        raise ConfigError(f"signing_key_file: {error}") from None
    return Read(parse_keys(text, f"signing_key_file: {path}"), text, stamp_of(status))


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what tells a file from what it was before, be it that only its mode or its owner has changed."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def parse_keys(text: str, place: str) -> list[Key]:
    """Return the keys of a file by line; raise ConfigError with every mistake."""
    keys: dict[bytes, Key] = {}
    lines: dict[bytes, int] = {}
    mistakes: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = list(takewhile(lambda word: not word.startswith("#"), line.split()))
        if not words:
            continue
        try:
            key = parse_key(*words)
        except ValueError as error:
            mistakes.append(f"{place}:{number}: {error}")
            continue
        if key.id in keys:
            mistakes.append(f"{place}:{number}: is the key of line {lines[key.id]} once more")
        keys.setdefault(key.id, key)
        lines.setdefault(key.id, number)
    if not keys and not mistakes:
        mistakes.append(f"{place} holds no secret")
    if mistakes:
        raise ConfigError(*mistakes)
    return list(keys.values())


def parse_key(secret: str, *limits: str) -> Key:
    """Return the key of a line's words; ValueError, which shows none of them, if something is wrong."""
    if secret.partition("=")[0] in LIMITS:
        raise ValueError("begins with no secret")
    if " ".join((secret, *limits)).lower() in PLACEHOLDERS or len(set(secret)) < 5:
        raise ValueError("holds a placeholder, not a secret")
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"the secret is shorter than {MIN_SECRET_BYTES} bytes")
    if not secret.isprintable():
        raise ValueError("the secret has characters that cannot be printed")
    found: dict[str, Any] = {}
    for limit in limits:
        name, _, value = limit.partition("=")
        if name not in LIMITS:
            raise ValueError(f"a word after the secret begins with none of {'=, '.join(LIMITS)}=")
        attribute, meaning = LIMITS[name]
        if attribute in found:
            raise ValueError(f"{name}= stands twice")
        found[attribute] = meaning(name, value)
    key = replace(key_from(secret.encode()), **found)
    if key.begins >= key.ends:
        raise ValueError("until= is not after from=")
    return key


def _time(name: str, value: str) -> float:
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC).timestamp()
    raise ValueError(f"{name}= is no time with its zone, such as 2026-11-22T12:00:00Z")


def _prefixes(name: str, value: str) -> tuple[bytes, ...]:
    names = [each.removesuffix(".") for each in value.split(",")]
    if any(map(name_problem, names)):
        raise ValueError(f"{name}= is no list of names, or of first parts of names, such as lyon,grenoble.rack1")
    return tuple(map(topic_of, names))


LIMITS: dict[str, tuple[str, Callable[[str, str], object]]] = {  # attribute of the key, and what the words mean
    "from": ("begins", _time),
    "until": ("ends", _time),
    "wattmeters": ("prefixes", _prefixes),
}


def make_key_file(path: Path) -> bool:
    """Write a new random key to a file of mode 0600; return False and touch nothing if the file is there."""
    try:
        if path.exists():
            return False
        _write(path, secrets.token_hex(32), replaces=False)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(f"signing_key_file: cannot make {path}: {error.strerror}") from error
    return True


def add_key(path: Path, *limits: str) -> Key:
    """Return a new random key that was added to a file, made if there is none; ValueError for a limit that is none."""
    words = " ".join((secrets.token_hex(32), *limits)).split()  # as they will be read
    key, line = parse_key(*words), " ".join(words)
    path = path.resolve()  # a link stays one
    try:
        if path.exists():
            _write(path, read(path).text.rstrip("\n") + "\n" + line, replaces=True)
        else:
            _write(path, line, replaces=False)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return key


def _write(path: Path, text: str, *, replaces: bool) -> None:
    """Write a private file, and its directory; whoever reads it sees all of it as it was or all of it as it is."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(descriptor)
            if replaces:
                before = path.stat()
                os.fchown(descriptor, before.st_uid, before.st_gid)  # root may add a key to the file of the daemons
        if replaces:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)  # unlike a rename this never replaces a key that somebody else just made
    finally:
        temporary.unlink(missing_ok=True)
