"""Waiting for what other threads and processes do, without guessing how long it takes."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], timeout: float = 30.0) -> None:
    """Return as soon as the condition holds, asked every 20 ms; fail when it does not within the time-out."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"did not happen within {timeout} s: {condition}"
        time.sleep(0.02)
