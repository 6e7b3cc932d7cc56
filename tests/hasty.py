"""Threads that take turns all the time, to show what goes wrong between any two steps."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hasty() -> Iterator[None]:
    """Have Python's lock change hands as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
