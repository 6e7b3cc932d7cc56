"""``kwapi keygen``: adds a signing key to a file, or makes a pair of keys that encrypt (CURVE).

It never shows a secret, and replaces none. docs/keys.md has the steps.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from zmq.auth import create_certificates

from kwapi import service
from kwapi.errors import ConfigError
from kwapi.keys import add_key, read
from kwapi.logs import counted
from kwapi.measurement import name_problem
from kwapi.signing import Key, written

HELP = "make keys that sign or encrypt"
TIME_TO_COPY = 15 * 60  # seconds until a key signs that is added to others


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("directory", nargs="?", type=Path, help="where the pair of keys goes")
    parser.add_argument("name", nargs="?", help="of the pair: NAME.key is public, NAME.key_secret is not")
    signing = parser.add_argument_group("a key that signs")
    signing.add_argument("--signing", type=Path, metavar="FILE", help="the file it is added to, signing_key_file")
    signing.add_argument(
        "--wattmeters", metavar="NAMES", help="those that it may speak for, or first parts of their names: lyon,paris"
    )
    signing.add_argument(
        "--from",
        dest="begins",
        metavar="TIME",
        help="when it begins, such as 2026-11-22T12:00:00Z; in 15 minutes, or at once if it is the first of its file",
    )
    signing.add_argument("--until", dest="ends", metavar="TIME", help="when it ends; without it, when its line goes")


def run(arguments: argparse.Namespace) -> int:
    """Make what was asked for; return the exit status."""
    is_pair = arguments.directory is not None and arguments.name is not None
    limits = (arguments.wattmeters, arguments.begins, arguments.ends)
    try:
        if arguments.signing is not None and arguments.directory is None:
            add_signing_key(arguments.signing, *limits)
        elif arguments.signing is None and is_pair and limits == (None, None, None):
            make_pair(arguments.directory, arguments.name)
        else:
            raise ValueError("either --signing FILE, and what limits the key, or DIRECTORY NAME")
    except ConfigError as error:
        return service.refuse(error)
    except ValueError as error:
        print(f"kwapi: {error}", file=sys.stderr)
        return service.EXIT_FAILED
    return 0


def add_signing_key(path: Path, wattmeters: str | None, begins: str | None, ends: str | None) -> None:
    """Add a key to a file and say what is to be done next."""
    try:
        others = len(read(path).keys) if path.exists() else 0
    except ConfigError as error:
        found = (mistake.removeprefix("signing_key_file: ") for mistake in error.mistakes)
        raise ConfigError(*found, f"{path}: no key was added; mend the file first, or move it away") from error
    if begins is None and others:
        # To the minute, for whoever reads it.
        begins = written(-(-(time.time() + TIME_TO_COPY) // 60) * 60)
    words = {"from": begins, "until": ends, "wattmeters": wattmeters}
    limits = [f"{name}={value}" for name, value in words.items() if value is not None]
    key = add_key(path, *limits)
    beside = f", beside {counted(others, 'older one')}" if others else ""
    print(f"{path}: added the signing key {key.id.hex()}{beside}")
    for line in next_steps(path, key, others, time.time()):
        print(line)


def next_steps(path: Path, key: Key, others: int, now: float) -> list[str]:
    """Return what is to be done with a file to which a key was added."""
    if not others:
        return [f"Copy {path.name}, mode 0600, to where kwapi-api, kwapi-rrd and kwapi-drivers run (signing_key_file)."]
    if key.begins <= now:
        first = "It signs at once, and is unknown wherever the file has not been copied to: copy it there now."
    else:
        first = f"It signs from {written(key.begins)} on. Copy the file before, and nothing is lost:"
    return [
        first,
        "1. to where kwapi-api and kwapi-rrd run, which believe it then; no restart is needed,",
        "2. to where kwapi-drivers runs, which signs with it.",
        "The older keys stay for what they have signed: take their lines out once no spool keeps that (spool_hours).",
    ]


def make_pair(directory: Path, name: str) -> None:
    """Make a pair of keys and say which of them is for whom; ConfigError if one is there already."""
    if problem := name_problem(name):
        raise ValueError(f"the name {problem}")
    places = [directory / f"{name}.key_secret", directory / f"{name}.key"]
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Others see a file only once it is private and whole.
        with tempfile.TemporaryDirectory(prefix=".keygen-", dir=directory) as hidden:
            create_certificates(hidden, name)
            for place, mode in zip(places, (0o600, 0o644), strict=True):
                made = Path(hidden, place.name)
                made.chmod(mode)
                os.link(made, place)  # unlike a rename this never replaces a key
    except FileExistsError as error:
        raise ConfigError(f"{error.filename2 or error.filename}: is there already, and stays as it is") from error
    except OSError as error:
        raise ConfigError(f"cannot make keys in {directory}: {error.strerror}") from error
    secret, public = places
    print(f"{secret}: the secret key, mode 0600; it stays on this machine")
    print(f"{public}: the public key, for those it talks to")
