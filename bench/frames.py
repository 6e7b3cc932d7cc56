"""Signed messages, as many wattmeters would have published them."""

from collections.abc import Sequence

from kwapi.measurement import VERSION, Message, encode, topic_of
from kwapi.signing import key_from, sign

KEY, BOOT = key_from(b"a signing key of the benchmark..."), 7


def names_of(wattmeters: int) -> list[str]:
    """Return the names of so many wattmeters, in a hundred racks."""
    return [f"lyon.rack{number % 100}.pdu{number}" for number in range(wattmeters)]


def frame_of(wattmeter: str, seq: int, timestamp: float, probes: Sequence[str], watts: Sequence[float]) -> bytes:
    """Return a signed message of a wattmeter that is read once a second."""
    message = Message(
        version=VERSION,
        type="measurement",
        wattmeter=wattmeter,
        boot=BOOT,
        seq=seq,
        timestamp=timestamp,
        monotonic=float(seq),
        interval=1.0,
        probes=list(probes),
        w=list(watts),
    )
    return sign(KEY, topic_of(wattmeter), encode(message))
