"""``kwapi watch``: shows the bus live: what is measured, how fast, and what is rejected."""

import argparse
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from kwapi import service
from kwapi.bus import Subscriber
from kwapi.cli.table import is_for_people, lines
from kwapi.config import PATHS, Reader
from kwapi.errors import ConfigError
from kwapi.measurement import Message, counted_probes
from kwapi.plugins.subscription import subscriber_of

HELP = "show the bus live"
HEADING = ("wattmeter", "probes", "W", "messages/s", "behind s")
HOME_AND_CLEAR = "\033[H\033[J"
REFRESH = 1.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("prefix", nargs="?", default="", help="a wattmeter, or the first parts of its name")
    parser.add_argument(
        "--config-file",
        type=Path,
        metavar="FILE",
        default=PATHS / "api.conf",
        help="says where the bus is and which key is trusted (%(default)s)",
    )
    parser.add_argument("--count", type=int, metavar="N", help="end after N messages")


@dataclass(slots=True)
class _Watched:
    probes: int = 0
    watts: float | None = None
    messages: int = 0
    behind: float = 0.0


class Board:
    """What was heard of each wattmeter since the last look."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.messages = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._watched: dict[str, _Watched] = {}

    def add(self, message: Message) -> None:
        """Take a message of the bus."""
        with self._lock:
            self.messages += 1
            watched = self._watched.setdefault(message.wattmeter, _Watched())
            watched.probes = len(message.probes)
            watched.messages += 1
            watched.behind = self._clock() - message.timestamp
            if message.w is not None:
                watched.watts = total_watts(message)

    def look(self, seconds: float) -> list[list[object]]:
        """Return a row for each wattmeter, by name; the messages are those of the last so many seconds."""
        with self._lock:
            rows: list[list[object]] = []
            for name, watched in sorted(self._watched.items()):
                rate = round(watched.messages / seconds, 2)
                rows.append([name, watched.probes, watched.watts, rate, round(watched.behind, 3)])
                watched.messages = 0
            return rows


def total_watts(message: Message) -> float | None:
    """Return the watts of a message's outermost level, None if none are known."""
    levels = dict(zip(message.probes, message.level or ["device"] * len(message.probes), strict=True))
    counted = set(counted_probes(levels))
    known = [
        watts
        for probe, watts in zip(message.probes, message.w or (), strict=False)
        if watts is not None and probe in counted
    ]
    return round(sum(known), 3) if known else None


def print_message(message: Message) -> None:
    """Print a line for each probe: time, wattmeter, probe, watts."""
    for probe, watts in zip(message.probes, message.w or [None] * len(message.probes), strict=True):
        print(f"{message.timestamp:.3f}", message.wattmeter, probe, "" if watts is None else watts, sep="\t")
    sys.stdout.flush()


def run(arguments: argparse.Namespace) -> int:
    """Show the bus until Ctrl-C or --count; return the exit status."""
    try:
        reader = Reader("api", [arguments.config_file])
        subscriber = subscriber_of(reader.finish(), [arguments.prefix])
    except ConfigError as error:
        return service.refuse(error)
    board, stop = Board(), threading.Event()
    people = is_for_people(sys.stdout)

    def add(message: Message) -> None:
        board.add(message)
        if not people:
            print_message(message)
        if arguments.count and board.messages >= arguments.count:
            stop.set()

    listener = threading.Thread(target=subscriber.run, args=(stop, add), name="bus", daemon=True)
    listener.start()
    try:
        while not stop.wait(REFRESH):
            if people:
                draw(board, subscriber, sys.stdout)
    except KeyboardInterrupt:
        stop.set()
    listener.join(1)
    return 0


def draw(board: Board, subscriber: Subscriber, stream: TextIO) -> None:
    """Draw the board anew."""
    gate = subscriber.gate
    rejected = ", ".join(f"{count} {reason}" for reason, count in sorted(gate.rejected.items())) or "none"
    text = "\n".join(lines(HEADING, board.look(REFRESH)))
    print(HOME_AND_CLEAR + text, f"\nlost: {gate.lost}   rejected: {rejected}", sep="\n", file=stream, flush=True)
