"""The command ``kwapi``, for the person who sets this up."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from kwapi.cli import check, export, forget, init, keygen, mute, nats, password, read, rename, status, watch
from kwapi.cli.discover import command as discover
from kwapi.cli.migrate import command as migrate
from kwapi.service import EXIT_FAILED

COMMANDS = {
    "check": check,
    "discover": discover,
    "export": export,
    "forget": forget,
    "init": init,
    "keygen": keygen,
    "migrate": migrate,
    "mute": mute,
    "nats": nats,
    "password": password,
    "read": read,
    "rename": rename,
    "status": status,
    "watch": watch,
}

EXIT_INTERRUPTED = 130  # 128 and the number of the signal, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; return its exit status."""
    parser = argparse.ArgumentParser(prog="kwapi", description="Look after an installation of Kwapi.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('kwapi')}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=module.HELP, description=describe(module.__doc__ or ""))
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()  # here, where it may fail
        return status
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        if error.errno == errno.EPIPE:  # as of "| head"
            return 0
        print(f"kwapi: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def describe(docstring: str) -> str:
    """Return the sentences of a command's module, which begins with the command's name, as its help shows them."""
    text = docstring.partition(": ")[2].replace("``", "")
    return text[:1].upper() + text[1:]
