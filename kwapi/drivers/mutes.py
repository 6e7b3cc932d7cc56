"""Which wattmeters somebody has muted, and until when: a file that ``kwapi mute`` writes and kwapi-drivers watches.

It is JSON, ``{"lyon.pdu1": 1795309123.4, "lyon.pdu2": null}``: Unix seconds of the end, null for no end. Being a file,
it survives restarts, and who may mute is a matter of its directory's permissions.
"""

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from kwapi.drivers.base import Clock

LOG = logging.getLogger(__name__)
FILE_NAME = "muted.json"  # in state_dir
END_OF_TIME = 253402300800.0  # Unix seconds of the year 10000, of which there are no words


def read_mutes(path: Path) -> dict[str, float | None]:
    """Return the end of each mute by wattmeter; ValueError if the file holds something else, {} if there is none."""
    try:
        mutes = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(mutes, dict) or not all(end is None or _is_time(end) for end in mutes.values()):
        raise ValueError("it is no object of wattmeters and Unix seconds")
    return mutes


def _is_time(end: object) -> bool:
    return isinstance(end, int | float) and not isinstance(end, bool) and 0 <= end < END_OF_TIME


def write_mutes(path: Path, mutes: Mapping[str, float | None]) -> None:
    """Replace the file; kwapi-drivers can read it, whoever writes it and whatever their umask."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(mutes, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def moment(seconds: float) -> str:
    """Return Unix seconds as this machine's clock shows them."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


class Mutes:
    """The mutes as they stand in the file now; it is read again when it has changed."""

    def __init__(self, path: Path | None, *, wall_clock: Clock = time.time) -> None:
        self._path = path
        self._wall_clock = wall_clock
        self._seen: tuple[int, int] | None = (0, 0)  # what the file was when it was read; None: not to be seen
        self._ends: dict[str, float | None] = {}

    def look(self) -> None:
        """Read the file if it is another one than before; what cannot be read is logged once and changes nothing."""
        if self._path is None:
            return
        try:
            status = self._path.stat()
            seen = (status.st_ctime_ns, status.st_ino)  # the time changes with the permissions too
        except OSError:
            seen = None
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._ends = read_mutes(self._path)
        except (OSError, ValueError) as error:
            LOG.error("%s cannot be read, so that what was muted stays so: %s", self._path, error)

    def reason(self, wattmeter: str) -> str | None:
        """Return why a wattmeter is muted, None if it is not."""
        if wattmeter not in self._ends:
            return None
        end = self._ends[wattmeter]
        if end is None:
            return "by kwapi mute"
        if end <= self._wall_clock():
            return None
        return f"by kwapi mute until {moment(end)}"
