"""Secrets in files: those that systemd hands to one daemon alone by LoadCredential=, and others.

A relative path is the name of such a credential: in the daemon it is in CREDENTIALS_DIRECTORY. Who runs a command in a
shell has none of that, and finds it where systemd takes it from (systemd.exec(5)).
"""

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus

DIRECTORY = Path("/run/credentials")
STORES = (Path("/etc/credstore"), Path("/run/credstore"), Path("/usr/lib/credstore"))
MAX_BYTES = 4096
OTHERS = 0o007
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


def read_secret(path: Path) -> str:
    """Return the one line of a file; raise OSError or, with nothing of what it holds, ValueError."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        content = file.read(MAX_BYTES + 1)
    if mode & OTHERS and not is_credential(path):
        raise ValueError(f"{path} can be read by everybody (mode {mode:04o}); run chmod o= {path}")
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES} bytes")
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:  # which holds what it could not decode
        raise ValueError(f"{path} is not UTF-8: byte {error.start}") from None
    if not text or len(text.splitlines()) != 1:
        raise ValueError(f"{path} has to hold one line, the secret")
    return text


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return a text that may quote what another was told, without these."""
    spellings = {each for secret in secrets for each in (secret, quote(secret, safe=""), quote_plus(secret))}
    for spelling in sorted(spellings, key=len, reverse=True):  # or of one that begins with another the rest would show
        text = text.replace(spelling, HIDDEN) if len(spelling) >= LEAST_HIDDEN else text
    return text
