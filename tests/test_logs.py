"""How daemons log, seen from outside: by processes whose standard error is read."""

import json
import logging
import os
import subprocess
import sys

import pytest

from kwapi import logs

PROGRAM = """
import logging, sys, threading, warnings
from kwapi import logs
logs.start("debug", sys.argv[1], "kwapi-test")
log = logging.getLogger("kwapi.test")
log.info("%s is back", "pdu", extra={"wattmeter": "pdu", "seconds": 1.5})
log.warning("a device says \\x1b[31mred\\nand more")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
warnings.warn("old")
thread = threading.Thread(target=lambda: int("x"), name="lost")
thread.start()
thread.join()
logs.hide(["5ecret"])
logging.getLogger("waitress").info("Client disconnected while serving /")  # which happens with every page
log.debug("%s", "last 5ecret")
raise RuntimeError("the\\n5ecret end")
"""


def lines_of(form, *, journal=False):
    """Return the lines of the program; to the journal if its standard error is what JOURNAL_STREAM names."""
    environ = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    reading, writing = os.pipe()
    if journal:
        status = os.fstat(writing)
        environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
    with open(reading, encoding="utf-8") as output, open(writing, "w") as errors:
        argv = [sys.executable, "-W", "always", "-c", PROGRAM, form]
        assert subprocess.run(argv, stderr=errors, env=environ, check=False).returncode == 1
        errors.close()
        return output.read().splitlines()


def test_every_event_is_one_line():
    lines = lines_of("plain")
    assert len(lines) == 7
    assert all(" kwapi-test " in line for line in lines)
    assert lines[0].endswith(" kwapi-test INFO kwapi.test: pdu is back")
    assert lines[1].endswith(" WARNING kwapi.test: a device says \\x1b[31mred | and more")
    assert "ERROR kwapi.test: failed | Traceback (most recent call last): | File " in lines[2]
    assert lines[2].endswith(" | ZeroDivisionError: division by zero")
    assert "WARNING py.warnings: " in lines[3]
    assert "the thread lost ended by an error of ours | Traceback" in lines[4]
    assert lines[5].endswith(" DEBUG kwapi.test: last ***")
    assert "CRITICAL kwapi.logs: ended by an error of ours | Traceback" in lines[6]
    assert lines[6].endswith("RuntimeError: the | *** end")


def test_the_journal_gets_priorities_and_no_time():
    lines = lines_of("plain", journal=True)
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<3>", "<4>", "<2>", "<7>", "<2>"]
    assert lines[0] == "<6>INFO kwapi.test: pdu is back"


@pytest.mark.parametrize("journal", [False, True])
def test_as_json_every_line_is_an_object_with_the_fields(journal):
    lines = lines_of("json", journal=journal)
    events = [json.loads(line[3:] if journal else line) for line in lines]
    assert [event["level"] for event in events] == [
        *("info", "warning", "error", "warning", "critical", "debug", "critical")
    ]
    assert events[0] == {
        "time": events[0]["time"],
        "level": "info",
        "logger": "kwapi.test",
        "message": "pdu is back",
        "program": "kwapi-test",
        "process": events[0]["process"],
        "thread": "MainThread",
        "wattmeter": "pdu",
        "seconds": 1.5,
    }
    assert events[0]["time"].endswith("+00:00")
    assert events[1]["message"] == "a device says \x1b[31mred\nand more"
    assert events[2]["exception"].endswith("\nZeroDivisionError: division by zero")
    assert events[4]["logger"] == "kwapi.logs"
    assert events[6]["exception"].endswith("\nRuntimeError: the\n*** end")


def test_a_stream_that_is_another_is_not_the_journal():
    assert not logs.goes_to_journal(sys.stdout, {"JOURNAL_STREAM": "1:1"})
    assert not logs.goes_to_journal(sys.stdout, {})


@pytest.mark.parametrize(("level", "priority"), [(logging.CRITICAL, 2), (35, 4), (logging.DEBUG, 7), (1, 7)])
def test_a_level_has_a_priority(level, priority):
    assert logs.priority_of(level) == priority
