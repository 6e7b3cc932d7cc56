"""``kwapi watch``: shows the bus live: what is measured, how fast, and what is rejected."""

import argparse
import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, Full, Queue
from typing import TextIO

from kwapi import service
from kwapi.cli.files import add_file_arguments
from kwapi.cli.table import cell, is_for_people, lines, show_text
from kwapi.config import Reader
from kwapi.errors import ConfigError
from kwapi.gate import Gate
from kwapi.measurement import QUANTITIES, Message, counted_probes
from kwapi.plugins.subscription import subscriber_of

HELP = "show the bus live"
HEADING = ("wattmeter", "probes", "W", "messages/s", "behind s")
HOME_AND_CLEAR = "\033[H\033[J"
REFRESH = 1.0  # seconds
PATIENCE = 10.0  # seconds without a message
WAITING = 10_000  # messages that wait for a slow reader of ours


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("prefix", nargs="?", default="", help="a wattmeter, or the first parts of its name")
    add_file_arguments(parser, "api", "says where the bus is and which key is trusted")
    parser.add_argument("--count", type=positive, metavar="N", help="end after N messages")


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


@dataclass(slots=True)
class _Watched:
    last: Message
    messages: int = 0
    behind: float = 0.0
    watts: float | None = None


class Board:
    """What was heard of each wattmeter since the last look."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._watched: dict[str, _Watched] = {}

    def add(self, message: Message) -> None:
        """Take a message of the bus."""
        watched = self._watched.setdefault(message.wattmeter, _Watched(message))
        watched.last = message
        watched.messages += 1
        watched.behind = self._clock() - message.timestamp
        if message.w is not None:
            watched.watts = total_watts(message)

    def look(self, seconds: float) -> list[list[object]]:
        """Return a row for each wattmeter, by name; the messages are those of the last so many seconds."""
        rows: list[list[object]] = []
        for name, watched in sorted(self._watched.items()):
            rate = round(watched.messages / seconds, 2)
            rows.append([name, len(watched.last.probes), watched.watts, rate, round(watched.behind, 3)])
            watched.messages = 0
        return rows

    def only(self) -> Message | None:
        """Return the last message of the only wattmeter, None if there are several."""
        watched = list(self._watched.values())
        return watched[0].last if len(watched) == 1 else None


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


def probe_lines(message: Message) -> list[str]:
    """Return a table of what a message says of each probe."""
    shown = {"probe": message.probes, "level": message.level}
    shown |= {name: getattr(message, name) for name, _ in QUANTITIES if name != "kwh_wrap"}
    columns = {name: column for name, column in shown.items() if column is not None}
    return lines(list(columns), list(zip(*columns.values(), strict=True)))


def print_message(message: Message) -> None:
    """Print a line for each probe: time, wattmeter, probe, watts."""
    for probe, watts in zip(message.probes, message.w or [None] * len(message.probes), strict=True):
        print_line(f"{message.timestamp:.3f}", message.wattmeter, probe, cell(watts))
    sys.stdout.flush()


def print_line(moment: str, wattmeter: str, probe: str, watts: str) -> None:
    """Print a line for whoever reads what is no terminal."""
    print(f"{moment:<14}  {wattmeter:<20}  {probe:<20}  {watts:>8}")


def run(arguments: argparse.Namespace) -> int:
    """Show the bus until Ctrl-C or --count; return the exit status."""
    try:
        reader = Reader("api", [arguments.config_file])
        conf = reader.finish()
        subscriber = subscriber_of(conf, [arguments.prefix])
    except ConfigError as error:
        return service.refuse(error)
    messages: Queue[Message] = Queue(WAITING)
    listener = service.Task("bus", lambda stop: subscriber.run(stop, partial(put, messages, stop)))
    listener.start()
    try:
        source = f"{arguments.prefix!r}, a name or its first parts, at " if arguments.prefix else ""
        return show(messages, listener, subscriber.gate, arguments.count, source + ", ".join(conf.probes_endpoint))
    except KeyboardInterrupt:
        return 0
    finally:
        listener.stopping.set()
        listener.join(1)


def put(messages: "Queue[Message]", stop: threading.Event, message: Message) -> None:
    """Hand over a message, waiting for whoever prints; what the bus holds no longer meanwhile is counted as lost."""
    while not stop.is_set():
        with suppress(Full):
            messages.put(message, timeout=0.1)
            return


def show(
    messages: "Queue[Message]",
    listener: threading.Thread,
    gate: Gate,
    count: int | None,
    source: str,
    *,
    patience: float = PATIENCE,
) -> int:
    """Draw the board each second, or print each message if no person looks on; return the exit status."""
    board, people = Board(), is_for_people(sys.stdout)
    shown, due = 0, time.monotonic() + REFRESH
    silent_at = time.monotonic() + patience
    if people:
        logging.getLogger(Gate.__module__).setLevel(logging.ERROR)  # what it warns of, the board shows
    else:
        print_line("timestamp", "wattmeter", "probe", "W")
        sys.stdout.flush()
    while not count or shown < count:
        with suppress(Empty):
            message = messages.get(timeout=max(due - time.monotonic(), 0))
            shown += 1
            if people:
                board.add(message)
            else:
                print_message(message)
        if time.monotonic() < due:
            continue
        due += REFRESH
        if people:
            draw(board, gate, source, sys.stdout)
        elif not shown and time.monotonic() > silent_at:
            silent_at = float("inf")  # once is enough
            print(f"nothing heard yet from {source}", file=sys.stderr)
        if not listener.is_alive():
            return service.EXIT_FAILED
    return 0


def draw(board: Board, gate: Gate, source: str, stream: TextIO) -> None:
    """Draw the board anew, no larger than the terminal."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(gate.rejected.items())) or "none"
    columns, height = shutil.get_terminal_size()
    text = lines(HEADING, board.look(REFRESH))
    if len(text) == 1:
        text = [f"nothing heard yet from {source}"]
    if (message := board.only()) is not None:
        text += ["", *probe_lines(message)]
    room = max(height - 3, 1)  # what is left by the two lines below, and by the cursor
    if len(text) > room:
        text[room - 1 :] = [f"and {len(text) - room + 1} more lines"]
    first, *others = [line[:columns] for line in [*text, "", f"lost: {gate.lost}   rejected: {reasons}"]]
    print(HOME_AND_CLEAR, end="", file=stream)
    show_text(first, *others, stream=stream)
