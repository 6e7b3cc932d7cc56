"""Messages for tests: as a driver would publish them, and signed as they travel."""

import time
from typing import Any

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
