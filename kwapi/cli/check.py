"""``kwapi check``: every mistake in the configuration of the daemons, and in the files and directories it refers to.

Of the files of one directory it warns where two daemons want one port, or one listens where no other publishes.

It checks the configurations that are there, or the files that are given; drop-in directories (drivers.conf.d) and the
environment (KWAPI_...) are read as the daemons read them. The exit status is 2 if a daemon would not start, or would
not do what is written there; warnings leave it 0.
"""

import argparse
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from oslo_config import cfg

from kwapi import service
from kwapi.cli.neighbours import compare
from kwapi.cli.surroundings import look
from kwapi.config import DEFAULT, PATHS, Problems, Reader, Sections, no_problems, no_sections, read
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.environment import unknown_variables
from kwapi.errors import ConfigError
from kwapi.mistakes import in_order
from kwapi.options import OPTIONS
from kwapi.plugins.api.app import problems, read_all_sections
from kwapi.plugins.rrd.app import problems as rrd_problems

HELP = "check the configuration files of all daemons"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        default=[],
        help="such as api.conf; the name says whose it is; or a directory",
    )
    either.add_argument("--config-dir", type=Path, metavar="DIR", default=PATHS, help="directory (%(default)s)")
    parser.add_argument("--only", choices=list(OPTIONS), metavar="NAME", help=f"of one daemon: {', '.join(OPTIONS)}")


def run(arguments: argparse.Namespace) -> int:
    """Print mistakes and warnings; return the exit status."""
    warnings: list[str] = []
    status = 0
    try:
        files = files_of(arguments)
        readers = readers_of(files)
        warnings += in_order(look_around(readers))
        warnings += unknown_variables({daemon: reader.conf for daemon, reader in readers.items()})
        configurations_of(readers)
        print(*files.values(), sep=", ", end=": no mistakes\n")
    except ConfigError as error:
        status = service.refuse(error)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return status


def files_of(arguments: argparse.Namespace) -> dict[str, Path]:
    """Return the files to check, by daemon; raise ConfigError if there are none."""
    only: str | None = arguments.only
    given: list[Path] = arguments.files
    is_directory = len(given) == 1 and given[0].is_dir()
    if is_directory or not given:
        directory: Path = given[0] if is_directory else arguments.config_dir
        named = {daemon: directory / f"{daemon}.conf" for daemon in OPTIONS if only in (None, daemon)}
        files = {daemon: path for daemon, path in named.items() if path.exists() or only}
        if not files:
            names = ", ".join(path.name for path in named.values())
            raise ConfigError(f"{directory}: there is none of {names}; kwapi init makes a first one")
        return files
    files = {}
    for path in given:
        daemon = only or path.stem
        if daemon not in OPTIONS:
            raise ConfigError(f"{path}: whose file is it? Say that with --only, one of {', '.join(OPTIONS)}")
        if daemon in files:
            raise ConfigError(f"{path}: one file of kwapi-{daemon} is enough, as {files[daemon]}")
        files[daemon] = path
    return files


def readers_of(files: Mapping[str, Path]) -> dict[str, Reader]:
    """Return the reader of each daemon's file, with all that is wrong noted."""
    readers: dict[str, Reader] = {}
    owners: dict[str, str] = {}  # wattmeters by probe
    if "drivers" in files:
        readers["drivers"] = reader = Reader("drivers", [files["drivers"]])
        wattmeters = read_wattmeters(reader)
        owners = {probe: one.name for one in wattmeters for probe in one.new_driver(None).probe_names()}
    further_of: dict[str, tuple[Problems, Sections]] = {  # what is found beside the options of [DEFAULT]
        "forwarder": (no_problems, no_sections),
        "api": (problems, partial(read_all_sections, owners=owners)),
        "rrd": (rrd_problems, no_sections),
    }
    for daemon, further in further_of.items():
        if daemon in files:
            readers[daemon] = read(daemon, [files[daemon]], *further)
    return readers


def look_around(readers: Mapping[str, Reader]) -> list[str]:
    """Note the mistakes in what sound configurations refer to; return the warnings."""
    made: set[str] = set()
    warnings = []
    sound = {daemon: reader.conf for daemon, reader in readers.items() if not reader.mistakes}
    if "drivers" in readers:
        with suppress(ValueError, cfg.Error):  # which its reader has noted
            made.add(readers["drivers"].conf.signing_key_file)
    alone = [(daemon, finding) for daemon, conf in sound.items() for finding in look(daemon, conf, made)]
    for daemon, finding in (*alone, *compare(sound)):
        reader = readers[daemon]
        if finding.is_mistake:
            reader.mistake(DEFAULT, finding.option, finding.text)
        else:
            warnings.append(reader.placed(DEFAULT, finding.option, finding.text))
    return warnings


def configurations_of(readers: Mapping[str, Reader]) -> dict[str, cfg.ConfigOpts]:
    """Return the configuration of each daemon; raise ConfigError with the mistakes of all files."""
    if mistakes := [mistake for reader in readers.values() for mistake in in_order(reader.mistakes)]:
        raise ConfigError(*mistakes)
    return {daemon: reader.finish() for daemon, reader in readers.items()}


def check(directory: Path) -> dict[str, cfg.ConfigOpts]:
    """Return the configurations of all four daemons, whose files all have to be there; raise ConfigError if not."""
    return configurations_of(readers_of({daemon: directory / f"{daemon}.conf" for daemon in OPTIONS}))
