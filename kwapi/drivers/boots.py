"""Boots that rise from one run of a publisher to the next, also where the clock was set back between them.

A subscriber that was away finds several boots in a spool, and tells their order by nothing else.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

LOG = logging.getLogger(__name__)
FILE_NAME = "boot"  # in state_dir
DIGITS = 20  # always, so that one number replaces another whole


def next_boot(path: Path, *, clock: Callable[[], int] = time.time_ns) -> int:
    """Return a boot above all that were made with this file: the time in ns, or a little more; for any process."""
    now = clock()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            boot = max(now, _last(path, os.pread(descriptor, DIGITS, 0)) + 1)
            os.pwrite(descriptor, b"%0*d\n" % (DIGITS, boot), 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        LOG.warning("cannot keep the boot in %s, setting the clock back may cost messages: %s", path, error.strerror)
        return now
    return boot


def _last(path: Path, content: bytes) -> int:
    """Return the number in the file, 0 where there is none yet."""
    if content.isdigit():
        return int(content)
    if content:
        LOG.warning("%s is damaged: %r", path, content)
    return 0
