"""``kwapi migrate``: takes over the configuration of the Kwapi of 2013, and with --rrd the history of its probes.

Nothing of the old is changed, and nothing that is there is overwritten. What cannot be taken over is told, by file and
line; sections of wattmeters that nothing reads any more become comments.
"""

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from kwapi import service
from kwapi.cli.check import configurations_of, readers_of
from kwapi.cli.init import KEY, PRIVATE, heir_of, sets_nothing, state_of, text_of, write_file
from kwapi.cli.migrate.daemons import convert, keystone, lacks, report_rest
from kwapi.cli.migrate.history import old_name, take_over
from kwapi.cli.migrate.old import OldSection, Report, is_true, read_old, written
from kwapi.cli.migrate.wattmeters import Wattmeters
from kwapi.cli.ownership import give, make_directory
from kwapi.config import DEFAULT
from kwapi.errors import ConfigError
from kwapi.keys import make_key_file
from kwapi.options import OPTIONS
from kwapi.plugins.rrd.tool import ERRORS

HELP = "take over the configuration of the Kwapi of 2013"
KEYSTONE = "keystone_authtoken"
OTHERS = {
    "hdf5.conf": "there is no such plugin; /metrics and GET /v2/stream feed other stores",
    "ganglia.conf": "there is no such plugin; /metrics feeds Prometheus",
    "live.conf": "its pages are those of kwapi-rrd; see rrd.conf",
    "policy.json": "its rules are not converted; policy.yaml beside api.conf says who may read",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "old", type=Path, metavar="OLD_DIR", help="with drivers.conf, forwarder.conf, api.conf, rrd.conf"
    )
    parser.add_argument("new", type=Path, metavar="NEW_DIR", help="where the new ones go, such as /etc/kwapi")
    parser.add_argument("--rrd", type=Path, metavar="OLD_RRD_DIR", help="the old RRD files, such as .../kwapi-rrd")


def run(arguments: argparse.Namespace) -> int:
    """Take over what can be, and tell of the rest; return the exit status."""
    report = Report()
    new = arguments.new.absolute()
    try:
        files, names = converted(arguments.old, new, report)
        refuse_to_replace(files)
        user = heir_of(new)
        make_directory(new)
        for path, (options, sections) in files.items():
            write_file(path, options, sections, PRIVATE.get(path.stem, 0o644), user)
        state = state_of(new)
        make_key_file(state / KEY)
        taken = histories(arguments.rrd, state / "rrd", names, report) if arguments.rrd else 0
        if user:
            give(user, state, state / KEY, state / "rrd", *(state / "rrd").glob("*.rrd"))
    except ConfigError as error:
        return service.refuse(error)
    except OSError as error:
        print(f"kwapi: {error.filename}: {error.strerror}", file=sys.stderr)
        return service.EXIT_FAILED
    print(*report.lines, sep="\n")
    print(f"\nWritten: {', '.join(map(str, files))}; {len(names)} probes, {taken} of them with their history")
    try:
        configurations_of(readers_of({path.stem: path for path in files}))
    except ConfigError as error:
        return service.refuse(error)
    print(f"Next: kwapi check --config-dir {new}, then kwapi read of each wattmeter")
    return 0


def converted(old: Path, new: Path, report: Report) -> tuple[dict[Path, tuple[str, str]], dict[str, str]]:
    """Return for each new file its options and its sections, and the old names of the probes by the new ones."""
    here = {daemon: read_old(path) for daemon in OPTIONS if (path := old / f"{daemon}.conf").exists()}
    if not here:
        raise ConfigError(f"{old}: there is none of {', '.join(f'{daemon}.conf' for daemon in OPTIONS)}")
    wattmeters = Wattmeters(old / "drivers.conf", report)
    files: dict[Path, tuple[str, str]] = {}
    place = {} if state_of(new) != new / "state" else {"state_dir": str(new / "state")}
    for daemon, sections in here.items():
        path = old / f"{daemon}.conf"
        default = sections.pop(DEFAULT, OldSection(DEFAULT))
        tell = partial(report.tell, path, default)
        options = place | convert(daemon, default, tell, list(here.get("drivers", {})))
        text = ""
        if daemon == "drivers":
            text = "\n".join(wattmeters.convert(section) for section in sections.values())
        elif daemon == "api":
            text = read_access(path, default, sections, options, report)
        if daemon != "drivers":
            for section in sections.values():
                report.tell(path, section, "", "a section that is not known; left out")
        report_rest(path, default, report)
        files[new / path.name] = ("".join(written(options)), text)
    for name in sorted(OPTIONS.keys() - here.keys()):
        report.say(f"{old}: there is no {name}.conf, and so no new one; kwapi-{name} is not to be started")
    for path in sorted(old.iterdir()):
        if path.name in OTHERS:
            report.say(f"{path}: {OTHERS[path.name]}")
    return files, wattmeters.names


def read_access(
    path: Path, default: OldSection, sections: dict[str, OldSection], options: dict[str, str], report: Report
) -> str:
    """Return the section about Keystone, and set who may read."""
    section = sections.pop(KEYSTONE, OldSection(KEYSTONE))
    values = keystone(section, partial(report.tell, path, section))
    report_rest(path, section, report)
    wanted = is_true(default.take("acl_enabled", "true" if values else "false"))
    if wanted and not lacks(values):
        options |= {"acl_enabled": "true", "host": "0.0.0.0"}  # noqa: S104 -- as it was
        told = "listens on all addresses (host = 0.0.0.0), as it did; who may read is asked of Keystone"
        report.tell(path, default, "acl_enabled", told)
    else:
        options["acl_enabled"] = "false"
        why = f"[{KEYSTONE}] lacks {', '.join(lacks(values))}; " if wanted else ""
        report.tell(path, default, "acl_enabled", f"{why}without Keystone the API answers on this machine only (host)")
        values = {key: value for key, value in values.items() if not wanted}
    return f"[{KEYSTONE}]\n" + "".join(written(values)) if values else ""


def refuse_to_replace(files: Mapping[Path, object]) -> None:
    """Raise ConfigError if a file is there that sets anything."""
    there = [path for path in files if path.exists() and not sets_nothing(text_of(path))]
    if there:
        raise ConfigError(*(f"{path}: is there already; give another directory, or move it away" for path in there))


def histories(old: Path, directory: Path, names: Mapping[str, str], report: Report) -> int:
    """Take over the history of each probe that has one; return how many have."""
    taken = 0
    known: set[str] = set()
    for new, name in names.items():
        path = old / old_name(name)
        if path.name in known or not path.exists():
            why = "is taken over for another" if path.name in known else "is not there"
            report.say(f"{path}: of the probe {name!r}, {why}")
            continue
        known.add(path.name)
        try:
            take_over(path, directory, new)
            taken += 1
        except ERRORS as error:
            report.say(f"{path}: of the probe {name!r}, not taken over: {getattr(error, 'strerror', None) or error}")
    for path in sorted(old.glob("*.rrd")):
        if path.name not in known:
            report.say(f"{path}: is of no probe of drivers.conf; left where it is")
    return taken
