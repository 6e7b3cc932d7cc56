"""What the daemon and its worker processes say to each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kwapi.drivers.wattmeter import Wattmeter
from kwapi.health import Health
from kwapi.logs import PLAIN
from kwapi.signing import Key, KeyRing

READY, GO, STOP = "ready", "go", "stop"


@dataclass(frozen=True, slots=True)
class Orders:
    """What a share needs to know once."""

    program: str
    endpoint: str  # where the parent collects what is published
    keys: KeyRing | Key
    max_hung: int
    mutes: Path
    boots: Path
    log_format: str = PLAIN


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a share is told at its start, and again when a reload has changed it."""

    wattmeters: Sequence[Wattmeter]
    log_level: str


@dataclass(slots=True)
class Report:
    """What a share tells its parent: health that has changed or is due, and whether it needs to be replaced."""

    healths: list[Health] = field(default_factory=list)
    is_usable: bool = True
