"""Which wattmeters a subscriber knows, and how many one key may introduce. Pure: no I/O, no clock.

What is kept of a wattmeter is kept for good, so whoever has a key could fill the memory with names of his own: each
key may introduce so many wattmeters, and so many probes of all of them together. A wattmeter that speaks by another
key counts for that one from then on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kwapi.errors import BadMessage
from kwapi.health import Health, health_topic
from kwapi.measurement import Message, check_names, topic_of
from kwapi.signing import Key

MAX_WATTMETERS, MAX_PROBES = 10_000, 100_000  # of each key


@dataclass(slots=True)
class _Known:
    """A wattmeter: the key that it spoke by last, the topics of what it says, and its probes."""

    key: Key
    begins: float  # of the key, with the slack
    ends: float
    topic: bytes
    health_topic: bytes
    listed: Sequence[str]  # in its last message
    probes: set[str]  # in all so far


class Admission:
    """Lets pass what a key may say. A message that is refused leaves no trace."""

    def __init__(
        self, *, max_wattmeters: int = MAX_WATTMETERS, max_probes: int = MAX_PROBES, slack: float = 60.0
    ) -> None:
        """A key is valid for so many seconds more at both ends of its time, since clocks differ."""
        self._max_wattmeters = max_wattmeters
        self._max_probes = max_probes
        self._slack = slack
        self._known: dict[str, _Known] = {}
        self._wattmeters: Counter[bytes] = Counter()  # by id of their key
        self._probes: Counter[bytes] = Counter()

    def check(self, key: Key, topic: bytes, message: Message) -> None:
        """Raise BadMessage unless a key may say a message, under that topic."""
        known = self._known.get(message.wattmeter)
        if known is None or known.key is not key or known.topic != topic or known.listed != message.probes:
            if topic != topic_of(message.wattmeter):
                raise BadMessage("wrong topic", f"{topic!r} for {message.wattmeter!r}")
            known = self._admit(key, message.wattmeter, message.timestamp, message.probes)
        if not known.begins <= message.timestamp < known.ends:
            raise self._not_valid(key, message.wattmeter, message.timestamp)

    def check_health(self, key: Key, topic: bytes, health: Health) -> None:
        """Raise BadMessage unless a key may say how a wattmeter is, under that topic."""
        known = self._known.get(health.wattmeter)
        if known is None or known.key is not key or known.health_topic != topic:
            if topic != health_topic(health.wattmeter):
                raise BadMessage("wrong topic", f"{topic!r} for {health.wattmeter!r}")
            known = self._admit(key, health.wattmeter, health.timestamp, known.listed if known else ())
        if not known.begins <= health.timestamp < known.ends:
            raise self._not_valid(key, health.wattmeter, health.timestamp)

    def _admit(self, key: Key, wattmeter: str, timestamp: float, listed: Sequence[str]) -> _Known:
        """Return what is known of a wattmeter now that a key speaks for it, and it lists these probes."""
        topic, known = topic_of(wattmeter), self._known.get(wattmeter)
        if not key.is_for(topic):
            raise BadMessage("key not allowed", f"{key.id.hex()} for {wattmeter!r}")
        begins, ends = key.begins - self._slack, key.ends + self._slack
        if not begins <= timestamp < ends:
            raise self._not_valid(key, wattmeter, timestamp)
        new = set(listed) - known.probes if known else set(listed)
        check_names(wattmeter, new)
        moved = known is None or known.key.id != key.id
        probes = len(new) + (len(known.probes) if known and moved else 0)
        if self._wattmeters[key.id] + moved > self._max_wattmeters:
            raise BadMessage("too many wattmeters", f"{wattmeter!r} of the key {key.id.hex()}")
        if self._probes[key.id] + probes > self._max_probes:
            raise BadMessage("too many probes", f"{wattmeter!r} of the key {key.id.hex()}")
        if known and moved:
            self._wattmeters[known.key.id] -= 1
            self._probes[known.key.id] -= len(known.probes)
        self._wattmeters[key.id] += moved
        self._probes[key.id] += probes
        if known is None:
            known = _Known(key, begins, ends, topic, health_topic(wattmeter), listed, new)
            self._known[wattmeter] = known
        else:
            known.key, known.begins, known.ends, known.listed = key, begins, ends, listed
            known.probes |= new
        return known

    def _not_valid(self, key: Key, wattmeter: str, timestamp: float) -> BadMessage:
        return BadMessage("key not valid", f"{key.id.hex()} for {wattmeter!r} at {timestamp:.0f}")
