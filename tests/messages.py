"""Messages for tests: as a driver would publish them, and signed as they travel."""

import time
from typing import Any

from kwapi.health import Health
from kwapi.measurement import Message, encode, topic_of
from kwapi.signing import key_from, sign

KEY = key_from(b"a signing key of the tests, 32 B")


def message(wattmeter: str = "lyon.pdu1", seq: int = 0, **fields: Any) -> Message:
    """Return a message of one probe that draws 100 W, with any field replaced."""
    values: dict[str, Any] = {
        "version": 1,
        "type": "measurement",
        "boot": 1,
        "timestamp": time.time(),
        "monotonic": float(seq),
        "interval": 1.0,
        "probes": ["taurus-1"],
    }
    if not {"w", "kwh"} & set(fields):
        fields["w"] = [100.0] * len(fields.get("probes", ["taurus-1"]))
    return Message(wattmeter=wattmeter, seq=seq, **{**values, **fields})


def frame(key: Any = KEY, **fields: Any) -> bytes:
    """Return a signed message as it travels."""
    built = message(**fields)
    return sign(key, topic_of(built.wattmeter), encode(built))


def health(**fields: Any) -> Health:
    """Return a health message, its fields replaced by those given."""
    given: dict[str, Any] = {"wattmeter": "lyon.pdu1", "driver": "snmp", "boot": 7, "seq": 0, "state": "up"}
    given |= {"version": 1, "type": "health", "timestamp": 1_800_000_000.0, "since": 1_799_999_000.0}
    return Health(**{**given, "interval": 1.0, "next_within": 5.0, **fields})
