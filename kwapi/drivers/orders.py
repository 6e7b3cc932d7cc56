"""What the daemon and its worker processes say to each other."""

from dataclasses import dataclass, field
from pathlib import Path

from kwapi.drivers.manager import Changes
from kwapi.health import Health
from kwapi.signing import Key

READY, GO, STOP = "ready", "go", "stop"


@dataclass(frozen=True, slots=True)
class Orders:
    """What a share needs to know beside its wattmeters."""

    program: str
    log_level: str
    endpoint: str  # where the parent collects what is published
    key: Key
    max_hung: int
    mutes: Path


@dataclass(slots=True)
class Report:
    """What a share tells its parent: health that has changed or is due, and whether it needs to be replaced."""

    healths: list[Health] = field(default_factory=list)
    changes: Changes | None = None  # after a reload
    is_usable: bool = True
