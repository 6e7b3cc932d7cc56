"""Tests while threads are held up, which shows what hangs on which of two comes first: ``tox -e races``.

A plugin of pytest. ``--hold-up`` says whom: ``starters``, everyone who has started a thread; ``threads``, each before
it begins; ``tests``, at each of their first lines; ``lines``, threads at some lines of Kwapi's.
"""

import os
import random
import sys
import threading
import time

import pytest

LONG, SHORT = 0.1, 0.03  # seconds
MOST = 20  # times that the lines of one test are held up
SHARE = 0.1  # of Kwapi's lines

chance = random.Random()  # not that of the tests
left = 0  # times, of the test under way


def pytest_addoption(parser):
    parser.addoption("--hold-up", choices=["starters", "threads", "tests", "lines"], required=True)


def pytest_configure(config):
    start = threading.Thread.start

    def start_and_wait(thread):
        start(thread)
        time.sleep(LONG)

    def start_late(thread):
        run = thread.run
        thread.run = lambda: (time.sleep(LONG), run())
        start(thread)

    starts = {"starters": start_and_wait, "threads": start_late}
    threading.Thread.start = starts.get(config.getoption("hold_up"), start)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    global left
    left = MOST
    held_up = item.config.getoption("hold_up")
    if held_up == "tests":
        sys.settrace(tracing("tests", 1.0))
    if held_up == "lines":
        threading.settrace(tracing("kwapi", SHARE))
    try:
        return (yield)
    finally:
        sys.settrace(None)
        threading.settrace(None)


def tracing(package, share):
    """Return what holds up who runs the lines of a package, that share of them."""

    def line(frame, event, arg):
        global left
        if event == "line" and left > 0 and chance.random() < share:
            left -= 1
            time.sleep(SHORT)
        return line

    folder = f"{os.sep}{package}{os.sep}"
    return lambda frame, event, arg: line if left > 0 and folder in frame.f_code.co_filename else None
