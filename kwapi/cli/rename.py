"""``kwapi rename``: gives the energy of a probe to a new name, once it is no longer measured under the old one."""

import argparse
import sys

from kwapi import service
from kwapi.cli.energy import ABOUT, directory_of, read_api, warn_of_machines
from kwapi.cli.files import add_file_arguments
from kwapi.errors import ConfigError
from kwapi.plugins.api.orders import give

HELP = "let a probe keep its energy under a new name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("old", help="the name until now")
    parser.add_argument("new", help="the name from now on; if it has energy already, the two are added")
    add_file_arguments(parser, "api", ABOUT)


def run(arguments: argparse.Namespace) -> int:
    """Have the probe renamed; return the exit status."""
    try:
        conf = read_api(arguments.config_file)
        give(directory_of(conf), {"do": "rename", "old": arguments.old, "new": arguments.new})
    except ConfigError as error:
        return service.refuse(error)
    except ValueError as error:
        print(f"kwapi: {error}", file=sys.stderr)
        return service.EXIT_FAILED
    print(f"{arguments.old} is called {arguments.new} from now on, which has its energy")
    warn_of_machines(conf, arguments.old)
    return 0
