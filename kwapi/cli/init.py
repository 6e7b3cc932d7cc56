"""``kwapi init``: writes a first configuration for one machine, with a new signing key; it asks nothing.

What is there stays as it is; a file that sets nothing yet, such as a package brings, is added to. In /etc/kwapi the
files are those of the daemons under systemd; in any other directory they keep their state in it as well.
"""

import argparse
import os
import shlex
import stat
import sys
from pathlib import Path
from pwd import struct_passwd

from kwapi import service
from kwapi.cli.ownership import give, make_directory, share, user_of_daemons
from kwapi.config import PATHS, default_state_dir
from kwapi.credentials import OTHERS
from kwapi.errors import ConfigError
from kwapi.keys import make_key_file

HELP = "write a first configuration"
KEY = "signing.key"
KEPT = "is there already, and stays as it is"
SECTION = "[DEFAULT]"
WATTMETER = """\
# Made up, so that there is something to see. A real one: kwapi discover snmp ADDRESS prints its section.
[first.meter]
driver = dummy
probes = web-1, web-2
"""
OPTIONS = {  # of [DEFAULT], where these are not their defaults
    "drivers": "",
    "forwarder": "",
    "api": "# Without Keystone; kwapi-api answers this machine only.\nacl_enabled = false\n",
    "rrd": "",
}
SECTIONS = {"drivers": WATTMETER}
PRIVATE = {"drivers": 0o640, "api": 0o640}  # they may hold passwords


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--directory", type=Path, metavar="DIR", default=PATHS, help="where it goes (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Write what is missing, and say what comes next; return the exit status."""
    directory = arguments.directory.absolute()
    try:
        for line in (*write_files(directory), *next_steps(directory)):
            print(line)
    except ConfigError as error:
        return service.refuse(error)
    except OSError as error:
        print(f"kwapi: {error.filename or directory}: {error.strerror}", file=sys.stderr)
        return service.EXIT_FAILED
    return 0


def write_files(directory: Path) -> list[str]:
    """Write the files that are missing; return what became of each."""
    is_installed, state, user = directory == PATHS, state_of(directory), heir_of(directory)
    make_directory(directory)
    said = []
    for daemon in OPTIONS:
        path = directory / f"{daemon}.conf"
        place = "" if is_installed else f"state_dir = {str(state).replace('$', '$$')}\n"
        did = write_file(path, place + OPTIONS[daemon], SECTIONS.get(daemon, ""), PRIVATE.get(daemon, 0o644), user)
        said.append(f"{path}: {did}")
    key = state / KEY
    is_new = not state.exists()
    if not make_key_file(key):
        return [*said, f"{key}: {KEPT}"]
    if user:
        give(user, *((state, key) if is_new else (key,)))
    return [*said, f"{key}: a new signing key, mode 0600"]


def state_of(directory: Path) -> Path:
    """Return where the daemons keep their state that have their configuration in a directory."""
    return Path(default_state_dir()) if directory == PATHS else directory / "state"


def heir_of(directory: Path) -> struct_passwd | None:
    """Return whose that is which root writes for the daemons under systemd; raise ConfigError if they have no user."""
    return user_of_daemons() if directory == PATHS and os.geteuid() == 0 else None


def write_file(path: Path, options: str, sections: str, mode: int, user: struct_passwd | None = None) -> str:
    """Write a file, or add to one that sets nothing yet; return what was done.

    One that is closed to others is read by the group of a user.
    """
    try:
        before = text_of(path)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                os.fchmod(descriptor, mode)  # whatever the umask, or the daemons could not read it
            file.write("\n".join(part for part in (f"{SECTION}\n{options}", sections) if part))
        if user and not mode & OTHERS:
            share(user, path)
        return "written"
    if not sets_nothing(before):
        return KEPT
    heading = "" if SECTION in before.split("\n") else f"{SECTION}\n"
    added = "\n".join(part for part in (heading + options, sections) if part)
    if not added:
        return "is there already, and nothing is missing"
    with path.open("a", encoding="utf-8") as file:
        _adapt(path, file.fileno(), mode, user)  # before a password stands there
        file.write(("" if before.endswith("\n") or not before else "\n") + added)
    return "added to, since it set nothing yet"


def _adapt(path: Path, descriptor: int, mode: int, user: struct_passwd | None) -> None:
    """Close a file to others if it should be; what is closed to them the group of a user may read."""
    status = os.fstat(descriptor)
    access = status.st_mode & 0o777
    if not mode & OTHERS:
        access &= ~OTHERS
    if user and not access & OTHERS and status.st_uid != user.pw_uid:
        share(user, path)
        access |= stat.S_IRGRP
    if access != status.st_mode & 0o777:
        os.fchmod(descriptor, access)


def text_of(path: Path) -> str:
    """Return what a file holds; raise ConfigError if that is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: byte {error.start}") from None


def sets_nothing(text: str) -> bool:
    """Return whether a file has neither an option nor a section beside [DEFAULT]."""
    lines = (line.strip() for line in text.split("\n"))
    return {line for line in lines if line and not line.startswith(("#", ";"))} <= {SECTION}


def next_steps(directory: Path) -> list[str]:
    """Return what to type next."""
    if directory == PATHS:
        commands = ["kwapi check", "systemctl enable --now kwapi.target", "kwapi status"]
    else:
        place = f"--config-dir {shlex.quote(str(directory))}"
        daemons = [f"kwapi-{daemon} {place}   # in a terminal of its own" for daemon in OPTIONS]
        commands = [f"kwapi check {place}", *daemons, f"kwapi status {place}"]
    pages = ["http://127.0.0.1:5000/v1/probes/", "http://127.0.0.1:8080/"]
    return ["", "Next:", *(f"    {line}" for line in commands), "Then open:", *(f"    {page}" for page in pages)]
