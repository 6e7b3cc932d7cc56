"""Secrets in files: those that systemd hands to one daemon alone by LoadCredential=, and others.

A relative path is the name of such a credential: in the daemon it is in CREDENTIALS_DIRECTORY. Who runs a command in a
shell has none of that, and finds it where systemd takes it from (systemd.exec(5)).
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, quote_plus

DIRECTORY = Path("/run/credentials")
STORES = (Path("/etc/credstore"), Path("/run/credstore"), Path("/usr/lib/credstore"))
MAX_BYTES = 4096
OTHERS, ALL_BUT_OWNER = 0o007, 0o077  # in the mode of a file
HIDDEN = "***"
LEAST_HIDDEN = 4  # characters; what is shorter stands in too many words


def is_credential(path: Path) -> bool:
    """Return whether systemd says who may read a file; where it does so by an ACL the mode seems to let a group."""
    own = os.environ.get("CREDENTIALS_DIRECTORY")
    return path.is_relative_to(DIRECTORY) or (own is not None and path.is_relative_to(own))


def located(path: Path, stores: tuple[Path, ...] = STORES) -> Path:
    """Return where a file is: a relative path among the credentials, any other as it is.

    One of a daemon that does not run, or of a name that nothing is found by, is where systemd would take it from.
    """
    own = os.environ.get("CREDENTIALS_DIRECTORY")
    if not path.is_absolute() and own is not None:
        return Path(own, path)
    if path.is_absolute() and (not path.is_relative_to(DIRECTORY) or path.exists()):
        return path
    name = path.name if path.is_absolute() else path
    return next((store / name for store in stores if (store / name).exists()), path)


class Private(NamedTuple):
    """What a private file holds, and its status when it was read."""

    text: str
    status: os.stat_result


def read_private(path: Path, *, closed_to: int = ALL_BUT_OWNER, most: int = MAX_BYTES) -> Private:
    """Return what a file of so many bytes at most holds that is closed to others, and its status.

    Raise OSError or, with nothing of what it holds, ValueError.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        content = file.read(most + 1)
    if problem := exposure(path, status.st_mode, closed_to):
        raise ValueError(problem)
    if len(content) > most:
        raise ValueError(f"{path} is larger than {most} bytes")
    try:
        return Private(content.decode(), status)
    except UnicodeDecodeError as error:  # which holds what it could not decode
        raise ValueError(f"{path} is not UTF-8: byte {error.start}") from None


def exposure(path: Path, mode: int, closed_to: int = ALL_BUT_OWNER) -> str | None:
    """Return what is to be done about a file of a mode that lets those read it to whom it is to be closed."""
    if not mode & closed_to or is_credential(path):
        return None
    who, cure = ("everybody", "o=") if closed_to == OTHERS else ("others", "600")
    return f"{path} can be read by {who} (mode {mode & 0o777:04o}); run chmod {cure} {path}"


def read_secret(path: Path) -> str:
    """Return the one line of a file; raise OSError or, with nothing of what it holds, ValueError."""
    text = read_private(path, closed_to=OTHERS).text.removesuffix("\n").removesuffix("\r")
    if not text or len(text.splitlines()) != 1:
        raise ValueError(f"{path} has to hold one line, the secret")
    return text


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return a text that may quote what another was told, without these."""
    spellings = {each for secret in secrets for each in (secret, quote(secret, safe=""), quote_plus(secret))}
    for spelling in sorted(spellings, key=len, reverse=True):  # or of one that begins with another the rest would show
        text = text.replace(spelling, HIDDEN) if len(spelling) >= LEAST_HIDDEN else text
    return text
