"""``kwapi nats``: makes the stream of a NATS server that messages are stored in, or checks the one that is there.

It changes none; ``nats stream edit`` does. The exit status is 1 if the stream is not as asked for, 2 if it cannot be
used or nobody can say.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from kwapi import service
from kwapi.config import PATHS, Reader
from kwapi.endpoints import is_nats
from kwapi.errors import ConfigError
from kwapi.measurement import topic_of
from kwapi.nats.login import Login, login_of
from kwapi.nats.opening import needed
from kwapi.nats.subjects import EVERYTHING, filters_of
from kwapi.options import OPTIONS

HELP = "make or check the stream at a NATS server"
DIFFERENT, UNUSABLE = 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    init = actions.add_parser("init", help="make the stream, or check the one that is there")
    init.add_argument(
        "--config-file",
        type=Path,
        metavar="FILE",
        default=PATHS / "api.conf",
        help="says where the servers are and what the stream is called: drivers.conf, forwarder.conf, rrd.conf, or "
        "%(default)s",
    )
    init.add_argument("--hours", type=float, default=24.0, help="how long a message is kept (%(default)g)")
    init.add_argument("--megabytes", type=int, default=10_240, help="how much all may have (%(default)s)")
    init.add_argument("--replicas", type=int, default=1, choices=(1, 3, 5), help="servers that have each (%(default)s)")
    init.add_argument(
        "--window",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="for which the server knows a message again, and drops it (%(default)g)",
    )
    init.add_argument(
        "--wattmeters",
        default="",
        metavar="NAMES",
        help="those that it is for, or first parts of their names: lyon,paris; all without it",
    )


def endpoint_of(path: Path) -> tuple[str, Login]:
    """Return the servers that a daemon's file names, and how to log in."""
    daemon = path.stem if path.stem in OPTIONS else "api"
    conf = Reader(daemon, [path]).finish()
    listed = [conf.probes_endpoint] if isinstance(conf.probes_endpoint, str) else [*conf.probes_endpoint]
    listed += [conf.forwarder_endpoint] if "forwarder_endpoint" in conf else []
    found = [endpoint for endpoint in listed if is_nats(endpoint)]
    if not found:
        raise ConfigError(f"{path}: probes_endpoint names no NATS server, such as nats://127.0.0.1:4222")
    return found[0], login_of(conf)


def run(arguments: argparse.Namespace) -> int:
    """Make or check the stream; return the exit status."""
    try:
        endpoint, login = endpoint_of(arguments.config_file)
        with needed(endpoint):
            from kwapi.nats.admin import init
            from kwapi.nats.layout import Layout
    except ConfigError as error:
        return service.refuse(error)
    names = [name.strip() for name in arguments.wattmeters.split(",") if name.strip()]
    subjects = filters_of(map(topic_of, names)) or [EVERYTHING]
    layout = Layout(login.stream, subjects, arguments.hours, arguments.megabytes, arguments.replicas, arguments.window)
    made, faults, differences = asyncio.run(init(endpoint, login, layout))
    if made:
        print(f"made the stream {login.stream} for {', '.join(subjects)}")
    elif not faults and not differences:
        print(f"the stream {login.stream} is as it should be")
    for problem in (*faults, *differences):
        print(f"kwapi: the stream {login.stream}: {problem}", file=sys.stderr)
    return UNUSABLE if faults else DIFFERENT if differences else 0
