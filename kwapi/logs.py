"""How a daemon logs: one line on standard error for each event, whatever the event says; plain, or as JSON.

Under systemd a line begins with its priority, such as <4>, which the journal takes off again, and a plain one has no
time and no program, since the journal has both.
"""

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from kwapi.credentials import without_secrets

LOG = logging.getLogger(__name__)
PLAIN, JSON = "plain", "json"
PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}  # of every record


def counted(number: int, noun: str) -> str:
    """Return so many of something in words, such as 1 message."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Plain(logging.Formatter):
    """An event as a person reads it; a traceback is in the same line, between bars."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return one_line(super().format(record))


class Json(logging.Formatter):
    """An event as a program reads it, with all fields that were logged with it."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        event: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "program": self._program,
            "process": record.process,
            "thread": record.threadName,
        }
        event |= {name: value for name, value in vars(record).items() if name not in STANDARD}
        if trace := trace_of(record):
            event["exception"] = trace
        return json.dumps(event, default=str)


class Prioritized(logging.Formatter):
    """The line of another formatter, after its priority."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return f"<{priority_of(record.levelno)}>{self._formatter.format(record)}"


class Veil(logging.Filter):
    """Keeps secrets out of what libraries log, who may quote what another answered."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the message and the traceback if they have one of them."""
        if trace := trace_of(record):
            record.exc_info, record.exc_text = None, without_secrets(trace, self._secrets)
        if (veiled := without_secrets(message := record.getMessage(), self._secrets)) != message:
            record.msg, record.args = veiled, ()
        return True


def trace_of(record: logging.LogRecord) -> str:
    """Return the traceback of an event, empty if there is none."""
    if record.exc_info:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return record.exc_text or ""


def start(level: str, form: str = PLAIN, program: str = "") -> None:
    """Log to standard error from here on, uncaught exceptions and warnings of Python too."""
    program = program or Path(sys.argv[0]).name
    is_journal = goes_to_journal(sys.stderr)
    stamp = "" if is_journal else f"%(asctime)s {program} "
    formatter = Json(program) if form == JSON else Plain(f"{stamp}%(levelname)s %(name)s: %(message)s")
    handler = logging.StreamHandler()
    handler.setFormatter(Prioritized(formatter) if is_journal else formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _tell_end
    threading.excepthook = _tell_end_of_thread
    # A page asks for all its images at once: each that waits for a thread would be a warning, and each that nobody
    # wants any more, since somebody has left the page, a line.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    logging.getLogger("waitress").setLevel(max(logging.getLogger().level, logging.WARNING))


def hide(secrets: Sequence[str]) -> None:
    """Show none of these from here on."""
    for handler in _handlers():
        handler.addFilter(Veil(secrets))


def is_started() -> bool:
    """Return whether this process logs as a daemon."""
    return bool(_handlers())


def _handlers() -> list[logging.Handler]:
    formatters = (Plain, Json, Prioritized)
    return [handler for handler in logging.getLogger().handlers if isinstance(handler.formatter, formatters)]


def goes_to_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream is connected to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def priority_of(level: int) -> int:
    """Return the priority that syslog has for a level."""
    return min((priority for least, priority in PRIORITIES.items() if level >= least), default=7)


def one_line(text: str) -> str:
    """Return a text in one line, without what a terminal would obey."""
    if text.isprintable():
        return text
    joined = " | ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in joined)


def _tell_end(_kind: type[BaseException], error: BaseException, _trace: object) -> None:
    LOG.critical("ended by an error of ours", exc_info=error)


def _tell_end_of_thread(end: threading.ExceptHookArgs) -> None:
    if end.exc_type is not SystemExit:
        name = end.thread.name if end.thread else "?"
        LOG.critical("the thread %s ended by an error of ours", name, exc_info=end.exc_value)
