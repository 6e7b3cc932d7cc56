"""``kwapi mute``: stops polling a wattmeter, for some hours or until ``--off``; it is shown as muted, not as down."""

import argparse
import sys
import time
from pathlib import Path

from kwapi import service
from kwapi.cli.files import add_file_arguments
from kwapi.config import Reader
from kwapi.drivers.mutes import FILE_NAME, moment, read_mutes, write_mutes
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.errors import ConfigError

HELP = "do not poll a wattmeter for some hours"
HOUR = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("wattmeter", help="its name")
    parser.add_argument("hours", nargs="?", type=float, help="how long; without it until --off")
    parser.add_argument("--off", action="store_true", help="poll it again")
    add_file_arguments(parser, "drivers", "the wattmeters, and the directory where mutes are kept")


def run(arguments: argparse.Namespace) -> int:
    """Note the mute where kwapi-drivers looks; return the exit status."""
    try:
        reader = Reader("drivers", [arguments.config_file])
        names = [wattmeter.name for wattmeter in read_wattmeters(reader)]
        path = Path(reader.finish().state_dir) / FILE_NAME
        if not path.parent.is_dir():
            raise ConfigError(f"there is no directory {path.parent}; let state_dir be the one that kwapi-drivers has")
        if arguments.wattmeter not in names:
            raise ConfigError(f"{arguments.config_file}: there is no wattmeter {arguments.wattmeter!r}")
        if arguments.hours is not None and (arguments.off or not 0 < arguments.hours < 1e6):
            raise ConfigError("hours are a positive number, and not for --off")
        mutes = read_mutes(path)
        mutes.pop(arguments.wattmeter, None)
        now = time.time()
        if not arguments.off:
            mutes[arguments.wattmeter] = None if arguments.hours is None else now + arguments.hours * HOUR
        write_mutes(path, {name: end for name, end in mutes.items() if end is None or end > now})
    except ConfigError as error:
        return service.refuse(error)
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return service.EXIT_FAILED
    except ValueError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return service.EXIT_FAILED
    end = mutes.get(arguments.wattmeter)
    muted = f"is muted until {'--off' if end is None else moment(end)}"
    print(f"{arguments.wattmeter} {'is polled again' if arguments.off else muted}; noted in {path}")
    return 0
