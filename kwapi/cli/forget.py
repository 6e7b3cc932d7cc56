"""``kwapi forget``: forgets a probe that is no longer measured, and its energy, for good."""

import argparse
import sys

from kwapi import service
from kwapi.cli.energy import ABOUT, directory_of, read_api, warn_of_machines
from kwapi.cli.files import add_file_arguments
from kwapi.errors import ConfigError
from kwapi.plugins.api.orders import give

HELP = "forget a probe and its energy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("probe", help="its name")
    add_file_arguments(parser, "api", ABOUT)


def run(arguments: argparse.Namespace) -> int:
    """Have the probe forgotten; return the exit status."""
    try:
        conf = read_api(arguments.config_file)
        give(directory_of(conf), {"do": "forget", "probe": arguments.probe})
    except ConfigError as error:
        return service.refuse(error)
    except ValueError as error:
        print(f"kwapi: {error}", file=sys.stderr)
        return service.EXIT_FAILED
    print(f"{arguments.probe} is forgotten, and its energy")
    warn_of_machines(conf, arguments.probe)
    return 0
