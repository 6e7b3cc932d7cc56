"""The stream that messages are stored in: what it must be like, for nothing to be lost or counted twice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from kwapi.nats.subjects import EVERYTHING
from kwapi.sockets import MAX_FRAME

UNLIMITED = -1
LEAST_WINDOW = 10.0  # seconds; what got no answer is sent again after 3
HOUR, MEGABYTE = 3600.0, 1 << 20


@dataclass(frozen=True, slots=True)
class Layout:
    """What is asked of a stream."""

    name: str
    subjects: Sequence[str] = (EVERYTHING,)
    hours: float = 24.0
    megabytes: int = 10_240
    replicas: int = 1
    window: float = 120.0  # seconds in which the server drops what it has already, by Nats-Msg-Id

    def config(self) -> StreamConfig:
        """Return the configuration of the stream, as it is made."""
        return StreamConfig(
            name=self.name,
            description="Messages of Kwapi",
            subjects=list(self.subjects),
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            storage=StorageType.FILE,
            max_age=self.hours * HOUR,
            max_bytes=self.megabytes * MEGABYTE,
            num_replicas=self.replicas,
            duplicate_window=self.window,
        )

    def faults(self, found: StreamConfig) -> Iterator[str]:
        """Yield what keeps a stream that is there from being used: messages would be lost."""
        if missing := set(self.subjects) - set(found.subjects or ()):
            yield f"its subjects are {', '.join(found.subjects or ())}, without {', '.join(sorted(missing))}"
        if found.retention != RetentionPolicy.LIMITS:
            yield f"its retention is {found.retention}: each of several readers needs every message; limits"
        if found.discard != DiscardPolicy.OLD:
            yield "it refuses messages when it is full; discard old"
        if found.no_ack:
            yield "it does not say what it has stored (no_ack)"
        if (found.max_msgs_per_subject or UNLIMITED) > 0:
            yield f"it keeps {found.max_msgs_per_subject} messages of a wattmeter (max_msgs_per_subject)"
        if 0 < (found.max_msg_size or UNLIMITED) < MAX_FRAME:
            yield f"it takes messages of {found.max_msg_size} bytes only (max_msg_size), and one may have {MAX_FRAME}"
        if found.sealed:
            yield "it is sealed"

    def differences(self, found: StreamConfig) -> Iterator[str]:
        """Yield in what a stream that is there is not as asked for."""
        if found.storage != StorageType.FILE:
            yield "it is kept in memory, and lost when its server stops"
        if found.max_age != self.hours * HOUR:
            yield f"it keeps messages for {(found.max_age or 0) / HOUR:g} hours, not {self.hours:g}"
        if found.max_bytes != self.megabytes * MEGABYTE:
            yield f"it may have {(found.max_bytes or 0) // MEGABYTE} megabytes, not {self.megabytes}"
        if found.num_replicas != self.replicas:
            yield f"it has {found.num_replicas} replicas, not {self.replicas}"
        if found.duplicate_window < LEAST_WINDOW:
            yield f"it knows messages again for {found.duplicate_window:g} s, and needs {LEAST_WINDOW:g}"
        elif found.duplicate_window != self.window:
            yield f"it knows messages again for {found.duplicate_window:g} s, not {self.window:g}"
