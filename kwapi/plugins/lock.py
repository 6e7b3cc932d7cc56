"""A directory that one process writes, and no other."""

import fcntl
import os
from pathlib import Path

from kwapi.errors import ConfigError


def lock(directory: Path, option: str, daemon: str) -> int:
    """Return the descriptor that holds the directory of an option for this process; ConfigError if another has it."""
    file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise ConfigError(f"{option}: another process, such as a {daemon}, uses {directory}") from error
    return file
