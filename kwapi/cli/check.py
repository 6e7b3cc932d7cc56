"""``kwapi check``: every mistake in the files of all four daemons."""

import argparse
from functools import partial
from pathlib import Path

from oslo_config import cfg

from kwapi import service
from kwapi.config import PATHS, Problems, Reader, Sections, load, no_problems, no_sections
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.errors import ConfigError
from kwapi.plugins.api.app import problems, read_all_sections
from kwapi.plugins.rrd.app import problems as rrd_problems

HELP = "check the configuration files of all daemons"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--config-dir", type=Path, metavar="DIR", default=PATHS, help="directory (%(default)s)")


def check(directory: Path) -> dict[str, cfg.ConfigOpts]:
    """Return the configuration of each daemon; raise ConfigError with the mistakes of all files."""
    reader = Reader("drivers", [directory / "drivers.conf"])
    wattmeters = read_wattmeters(reader)
    owners = {probe: one.name for one in wattmeters for probe in one.new_driver(None).probe_names()}
    further_of: dict[str, tuple[Problems, Sections]] = {  # what is found beside the options of [DEFAULT]
        "forwarder": (no_problems, no_sections),
        "api": (problems, partial(read_all_sections, owners=owners)),
        "rrd": (rrd_problems, no_sections),
    }
    loads = {"drivers": reader.finish} | {
        daemon: partial(load, daemon, [directory / f"{daemon}.conf"], *further)
        for daemon, further in further_of.items()
    }
    mistakes: list[str] = []
    configurations: dict[str, cfg.ConfigOpts] = {}
    for daemon, finish in loads.items():
        try:
            configurations[daemon] = finish()
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(*mistakes)
    return configurations


def run(arguments: argparse.Namespace) -> int:
    """Print the mistakes and return 2, or 0 if there are none."""
    try:
        check(arguments.config_dir)
    except ConfigError as error:
        return service.refuse(error)
    print(f"{arguments.config_dir}: no mistakes")
    return 0
