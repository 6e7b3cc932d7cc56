"""``kwapi status``: how every wattmeter is, as kwapi-drivers publishes it; with the exit status of a Nagios plugin.

0 when all are up or muted, 1 when one is starting or stale, 2 when one is down, hung or says nothing, 3 when nothing
can be known.
"""

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path

import msgspec

from kwapi import service
from kwapi.bus import Subscriber
from kwapi.cli.files import add_file_arguments
from kwapi.cli.table import show
from kwapi.config import Reader
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.errors import ConfigError
from kwapi.gate import Gate
from kwapi.health import DOWN, HUNG, MUTED, STALE, STARTING, STATES, UP, Health
from kwapi.keys import KeyFile
from kwapi.plugins.api.registers import DIRECTORY
from kwapi.plugins.positions import FILE_NAME, Positions
from kwapi.stream import Account
from kwapi.transport import transport_of

HELP = "show the state of every wattmeter"
HEADING = ("wattmeter", "state", "for", "polls", "failed", "missed", "poll s", "reason")
MESSAGES_HEADING = (
    "wattmeter", "produced", "delivered", "rejected", "lost", "awaited", "duplicates", "repaired", "unknown ends"
)  # fmt: skip
SILENT = "silent"  # configured, and nothing was heard of it
SEVERITY = {UP: 0, MUTED: 0, STARTING: 1, STALE: 1, DOWN: 2, HUNG: 2, SILENT: 2}
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
NOTHING_KNOWN = 3
LOOK = 0.1  # seconds
SLACK = 1.0  # seconds by which health may be told later than it should
LOOPBACK = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 -- read here, bound elsewhere


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("prefix", nargs="*", help="wattmeters, or the first parts of their names; all without it")
    about = "which wattmeters there should be, where the bus is and which key is trusted"
    add_file_arguments(parser, "drivers", about)
    parser.add_argument(
        "--wait",
        type=float,
        default=8.0,
        metavar="S",
        help="seconds to listen, if not all are heard before (%(default)s); more for thousands, of each of which less "
        "is told",
    )
    parser.add_argument("--json", action="store_true", help="print what was heard of each, as JSON")
    parser.add_argument(
        "--messages",
        nargs="?",
        const="",
        metavar="FILE",
        help="show also what became of the messages of each wattmeter, as the kwapi-api of this machine last saved it; "
        "energy/positions.json under its state_dir, unless a file is given",
    )


def is_meant(wattmeter: str, prefixes: Sequence[str]) -> bool:
    """Return whether one of the prefixes names a wattmeter or the first parts of its name."""
    return not prefixes or any(f"{wattmeter}.".startswith(f"{prefix}.") for prefix in prefixes)


def near(endpoint: str) -> str:
    """Return the endpoint at which this machine reaches who listens on all its addresses."""
    return re.sub(r"^tcp://(\*|0\.0\.0\.0|\[::\]):", lambda any_: f"tcp://{LOOPBACK[any_[1]]}:", endpoint)


def listen(subscriber: Subscriber, expected: Iterable[str], seconds: float) -> dict[str, Health]:
    """Return the last health of each wattmeter, as soon as all expected ones are heard or the time is over.

    It is not over before each should have been told of once more: of thousands that takes longer.
    """
    healths: dict[str, Health] = {}

    def add(health: Health) -> None:
        healths[health.wattmeter] = health

    listener = service.Task("bus", lambda stop: subscriber.run(stop, None, add))
    began, missing = time.monotonic(), set(expected)
    listener.start()
    while missing - healths.keys() and listener.is_alive():
        period = max((health.next_within for health in list(healths.values())), default=0.0)
        if time.monotonic() - began > max(seconds, period + SLACK):
            break
        time.sleep(LOOK)
    service.stop([listener])
    return healths


def severity(states: Mapping[str, str]) -> int:
    """Return the exit status for these states by wattmeter."""
    return max((SEVERITY[state] for state in states.values()), default=NOTHING_KNOWN)


def summary(states: Mapping[str, str], status: int, dropped: Mapping[str, int]) -> str:
    """Return one line for people and for Nagios, whose figures follow a bar; dropped are messages by reason."""
    counts = Counter(states.values())
    words = ", ".join(f"{counts[state]} {state}" for state in (*STATES, SILENT) if counts[state])
    words += "".join(f"; messages dropped: {count} {reason}" for reason, count in sorted(dropped.items()))
    figures = " ".join(f"{state}={counts[state]}" for state in (*STATES, SILENT))
    return f"KWAPI {WORDS[status]} - {words or 'no wattmeter was heard of'} | {figures}"


def rows(states: Mapping[str, str], healths: Mapping[str, Health], now: float) -> list[list[object]]:
    """Return a row for each wattmeter, the worst first."""
    found: list[list[object]] = []
    for name in sorted(states, key=lambda name: (-SEVERITY[states[name]], name)):
        if (health := healths.get(name)) is None:
            found.append([name, SILENT, None, None, None, None, None, "nothing was heard of it"])
            continue
        seconds = None if health.poll_seconds is None else round(health.poll_seconds, 4)
        since = duration(now - health.since)
        counts = (health.polls, health.failures, health.missed)
        found.append([name, health.state, since, *counts, seconds, health.reason])
    return found


def duration(seconds: float) -> str:
    """Return a stretch of time as people read it, such as 3d 4h."""
    rest = max(int(seconds), 0)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def message_rows(accounts: Mapping[str, Account]) -> list[list[object]]:
    """Return a row for each wattmeter, those that lack something first."""
    names = sorted(accounts, key=lambda name: (accounts[name].produced == accounts[name].delivered, name))
    return [[name, accounts[name].produced, *astuple(accounts[name])] for name in names]


def read_accounts(path: Path, prefixes: Sequence[str]) -> dict[str, Account]:
    """Return what became of the messages of each wattmeter that is meant; ConfigError if it was not saved there."""
    saved = Positions(path).load()
    if saved is None:
        raise ConfigError(f"there are no accounts of messages in {path}; name the file of a kwapi-api")
    accounts = {topic[:-1].decode(): account for topic, account in saved.accounts.items()}
    return {name: account for name, account in accounts.items() if is_meant(name, prefixes)}


def run(arguments: argparse.Namespace) -> int:
    """Print how the wattmeters are; return the exit status."""
    try:
        reader = Reader("drivers", [arguments.config_file])
        names = [wattmeter.name for wattmeter in read_wattmeters(reader)]
        conf = reader.finish()
        strange = [prefix for prefix in arguments.prefix if not any(is_meant(name, [prefix]) for name in names)]
        if strange:
            raise ConfigError(f"{arguments.config_file}: there is no wattmeter {', '.join(map(repr, strange))}")
        gate = Gate(KeyFile(conf.signing_key_file), health=True)
        transport = transport_of(conf).towards_itself()
        accounts, path = {}, Path(arguments.messages or Path(conf.state_dir) / DIRECTORY / FILE_NAME)
        if arguments.messages is not None:
            accounts = read_accounts(path, arguments.prefix)
    except ConfigError as error:
        service.refuse(error)
        return NOTHING_KNOWN
    expected = [name for name in names if is_meant(name, arguments.prefix)]
    endpoint = near(conf.probes_endpoint)
    subscriber = Subscriber([endpoint], arguments.prefix, gate, transport=transport)
    if sys.stderr.isatty():
        print(f"listening to kwapi-drivers at {endpoint}, {arguments.wait:g} s if need be", file=sys.stderr)
    try:
        healths = listen(subscriber, expected, arguments.wait)
    except KeyboardInterrupt:
        return NOTHING_KNOWN
    states = dict.fromkeys(expected, SILENT) | {name: health.state for name, health in healths.items()}
    status = severity(states) if healths else NOTHING_KNOWN
    if arguments.json:
        told = [
            msgspec.to_builtins(healths[name]) | ({"messages": accounts[name]} if name in accounts else {})
            for name in sorted(healths)
        ]
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        return status
    print(summary(states, status, gate.rejected))
    show(HEADING, rows(states, healths, time.time()))
    if accounts:
        print(f"\nmessages, as they were saved {duration(time.time() - path.stat().st_mtime)} ago")
        show(MESSAGES_HEADING, message_rows(accounts))
    return status
