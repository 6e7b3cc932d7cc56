"""``kwapi password``: prints the line of a user for the password_file of rrd.conf; asks for the password twice.

Where nobody sits at a terminal it is the first line of standard input.
"""

import argparse
import getpass
import sys

from kwapi import service
from kwapi.plugins.rrd.login import password_line

HELP = "make a login for the pages of kwapi-rrd"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", help="who logs in")


def run(arguments: argparse.Namespace) -> int:
    """Print the line; return the exit status."""
    try:
        print(password_line(arguments.name, _asked()))
    except (ValueError, EOFError) as error:
        print(f"kwapi: {error}", file=sys.stderr)
        return service.EXIT_FAILED
    return 0


def _asked() -> str:
    """Return the password; ValueError if it was typed differently the second time."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise ValueError("these were two different passwords")
    return password
