"""Whose what a command writes is: under systemd the daemons are a user of their own, who has to be able to read it."""

import os
import pwd
from pathlib import Path

from kwapi.errors import ConfigError

USER = "kwapi"  # as whom systemd runs the daemons


def user_of_daemons(name: str = USER) -> pwd.struct_passwd:
    """Return the user of the daemons; raise ConfigError if there is none."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(
            f"there is no user {name}, whose the files would be: the package makes it, or systemd-sysusers as "
            "docs/installation.md says; daemons of another user have their files in a directory of their own"
        ) from None


def give(user: pwd.struct_passwd, *paths: Path) -> None:
    """Let a user have what is there of these."""
    for path in paths:
        if os.path.lexists(path):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def share(user: pwd.struct_passwd, path: Path) -> None:
    """Let the group of a user have a file, whose owner stays."""
    os.chown(path, -1, user.pw_gid, follow_symlinks=False)


def make_directory(path: Path) -> None:
    """Make a directory, and those above it; where root does, everybody can look into these whatever the umask."""
    made = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in made if os.geteuid() == 0 else ():
        each.chmod(0o755)
