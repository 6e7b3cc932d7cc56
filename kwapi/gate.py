"""What a subscriber believes: frames that are signed, new and well formed. The rest is counted."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from kwapi.admission import Admission
from kwapi.errors import BadMessage
from kwapi.health import TOPIC, Health, decode_health
from kwapi.logs import counted
from kwapi.losses import Losses
from kwapi.measurement import END, RESERVED, Decoder, Message, topic_of
from kwapi.signing import Key, KeyRing
from kwapi.sockets import MAX_FRAME
from kwapi.stream import Account, Ask, Verdict
from kwapi.streams import Streams

LOG = logging.getLogger(__name__)
OWN_TOPICS, HEALTH_TOPICS = RESERVED.encode(), TOPIC.encode()  # of Kwapi itself


class Early(NamedTuple):
    """A message that is believed and came before its turn: it will come once more, after those that are missing."""

    message: Message


class Gate:
    """Decides frame by frame what a subscriber believes; counts the rest by reason, the lost ones too."""

    def __init__(
        self,
        keys: KeyRing,
        *,
        max_age: float = 600.0,
        max_skew: float = 60.0,
        since: float = 0.0,
        health: bool = False,
        streams: Streams | None = None,
        admission: Admission | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Of runs of publishers that are new to us, believe what is younger than max_age and not from before a time."""
        self.streams = streams or Streams()
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.skew: dict[str, float] = {}  # seconds that our clock is ahead of a wattmeter's timestamps
        self._keys = keys
        self._admission = admission or Admission(slack=max_skew)
        self._max_age = max_age
        self._max_skew = max_skew
        self.health = health  # whether health messages are taken
        self._since = since
        self._clock = clock
        self._health_streams = Streams()
        self._decoder = Decoder()
        self._losses = Losses(self.streams.losses)

    @property
    def lost(self) -> int:
        """Return how many messages are known to be lost."""
        return sum(account.lost for account in self.streams.accounts().values())

    def look(self) -> None:
        """Read the keys again if their file has changed, and tell what was lost; not for each message."""
        self._keys.look()
        self._losses.look()

    def close(self) -> None:
        """Tell what was lost and is not told yet."""
        self._losses.tell()

    def take(self, frame: bytes, *, is_stored: bool = False) -> Message | Early | Health | None:
        """Return the message of a frame that is signed, new and well formed, None for any other bytes.

        Health messages too are taken by a gate that was made for them. The end of a publisher's run is for us only.
        One that was stored, and comes in its turn, may be old.
        """
        try:
            if len(frame) > MAX_FRAME:
                raise BadMessage("wrong size", f"{len(frame)} bytes")
            key, topic, payload = self._keys.verify(frame)
            if topic.startswith(OWN_TOPICS):
                wanted = self.health and topic.startswith(HEALTH_TOPICS)
                return self._check_health(key, topic, payload, is_stored) if wanted else None
            message = self._check(key, topic, payload)
            self.skew[message.wattmeter] = age = self._clock() - message.timestamp
            is_next = self._meet(self.streams, key, topic, message, age, is_stored)
        except BadMessage as error:
            self._count(error)
            return None
        if is_next:
            self.accepted += 1
        if not is_next:  # the end too where it is stored, and comes a second time only if it is held
            return Early(message) if is_stored or message.type != END else None
        if message.type == END:
            self.streams.end(topic, message.boot)
            return None
        return message

    def believe(self, frame: bytes, ask: Ask) -> Message | None:
        """Return the message of a frame that was asked for, if it is signed and well formed."""
        try:
            if len(frame) > MAX_FRAME:
                raise BadMessage("wrong size", f"{len(frame)} bytes")
            key, topic, payload = self._keys.verify(frame)
            message = self._decoder.decode(payload)
            self._admission.check(key, topic, message)
            self._decoder.keep(message)
            if (topic, message.boot) != (ask.topic, ask.boot):
                raise BadMessage("not asked for", f"{message.wattmeter} {message.seq}")
            if message.timestamp < self._since and self.streams.is_hearsay(topic):
                raise BadMessage("too old", f"{self._clock() - message.timestamp:.0f} s")
        except BadMessage as error:
            self._count(error)
            return None
        return message

    def take_again(self, message: Message, ask: Ask) -> bool:
        """Return whether a message that is believed is the next one."""
        is_next = self.streams.repair(ask, message.seq)
        self.accepted += is_next
        if is_next and message.type == END:
            self.streams.end(ask.topic, ask.boot)
        return is_next

    def account(self, wattmeter: str) -> Account | None:
        """Return what became of a wattmeter's messages, None if nothing was heard of it; for any thread."""
        return self.streams.account(topic_of(wattmeter))

    def counts(self) -> dict[str, object]:
        """Return what was accepted, lost and rejected, and how many seconds each wattmeter's clock is behind ours."""
        return {
            "accepted": self.accepted,
            "lost": self.lost,
            "rejected": dict(self.rejected),
            "skew": {name: round(seconds, 3) for name, seconds in self.skew.copy().items()},
        }

    def _count(self, error: BadMessage) -> None:
        """Count a drop, and log the first, the tenth, the hundredth ... of its reason."""
        self.rejected[error.reason] += 1
        count = self.rejected[error.reason]
        if count == 10 ** (len(str(count)) - 1):
            LOG.warning("%s dropped so far, the last one: %s", counted(count, "message"), error)
            if error.reason == "unknown key":
                ours = ", ".join(self._keys.ids())
                LOG.warning("is signing_key_file here the same as where kwapi-drivers runs? Here it has %s", ours)

    def _check(self, key: Key, topic: bytes, payload: bytes) -> Message:
        try:
            message = self._decoder.decode(payload)
            self._admission.check(key, topic, message)
            self._decoder.keep(message)
        except BadMessage:
            if key.is_for(topic):
                self.streams.refuse(topic)  # what is missing then is not lost
            raise
        return message

    def _check_health(self, key: Key, topic: bytes, payload: bytes, is_stored: bool) -> Health | None:
        health = decode_health(payload)
        self._admission.check_health(key, topic, health)
        self._meet(self._health_streams, key, topic, health, self._clock() - health.timestamp, is_stored)
        if health.last_seq is not None:
            self.streams.told(topic_of(health.wattmeter), health.boot, health.last_seq)
        return health

    def _meet(
        self, streams: Streams, key: Key, topic: bytes, message: Message | Health, age: float, is_stored: bool
    ) -> bool:
        """Return whether a message is to be taken now; raise BadMessage if it is a replay or too far from our time.

        A boot that is known may have a clock that is wrong, but not by a key that has ended: it could be anybody's.
        What was stored may have any age if its boot follows those that are known, or is since the time from which on
        we want what is new to us.
        """
        boot, seq = message.boot, message.seq
        is_new = not streams.knows(topic, boot)
        is_heard_of = streams.is_known(topic)
        follows = is_stored and is_new and streams.may_begin(topic, boot) and (is_heard_of or self._since > 0)
        if is_new and message.timestamp < self._since and not (follows and is_heard_of):
            raise BadMessage("too old", f"{age:.0f} s")
        is_doubtful = is_new and not follows if is_stored else is_new or key.ends <= self._clock()
        if is_doubtful and not -self._max_skew <= age <= self._max_age:
            raise BadMessage("too old" if age > 0 else "from the future", f"{abs(age):.0f} s")
        verdict = streams.meet(topic, boot, seq, is_stored=is_stored)
        if verdict is Verdict.SEEN:
            raise BadMessage("seen before", f"{message.wattmeter} {seq}")
        return verdict is Verdict.TAKE
