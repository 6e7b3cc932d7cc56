"""The command ``kwapi``, for the person who sets this up."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from kwapi.cli import check, mute, read, status, watch
from kwapi.cli.discover import command as discover

COMMANDS = {"check": check, "discover": discover, "mute": mute, "read": read, "status": status, "watch": watch}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; return its exit status."""
    parser = argparse.ArgumentParser(prog="kwapi", description="Look after an installation of Kwapi.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('kwapi')}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except BrokenPipeError:  # as of "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
