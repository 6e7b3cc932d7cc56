"""What strangers may send, changed at random, and the judges of it: nothing is believed, nothing ends.

The code is that of the daemons: a subscriber's gate, the answers of a spool's replay service, the client that asks.
"""

import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, cast

import msgspec
import zmq

from kwapi.bus import Subscriber
from kwapi.errors import BadMessage
from kwapi.gate import Gate
from kwapi.health import STATES, Health, encode_health, health_topic
from kwapi.measurement import VERSION, Message, encode, topic_of
from kwapi.questions import NO_QUESTION, Runs, Since, Wanted, read_question
from kwapi.questions import Frames as Said
from kwapi.questions import encode as encode_question
from kwapi.replay import Client, answer_to
from kwapi.signing import SIGNATURE_BYTES, KeyRing, key_from, sign, split
from kwapi.spool.reader import Reader
from kwapi.spool.store import Spool
from kwapi.stream import Ask, Position
from kwapi.streams import Streams

KEY, STRANGER = key_from(b"the key that is trusted here...."), key_from(b"a key that nobody trusts........")
NAMES = ("lyon.pdu1", "lyon.pdu10", "paris.rack2.pdu1")
BOOT = 1_790_000_000_000_000_000
KINDS = 8
ANY = b"the number of a question"
VALUES: tuple[Any, ...] = (
    *(-1, 2**63 - 1, 2**63, 2**64 - 1, 1e308, float("nan"), float("inf"), True),
    *(None, "", b"", [], {}, "x" * 300, b"x" * 300, [None] * 50, [[]] * 3, {"w": [1.0]}),
)
Mutation = tuple[int, int, int]  # kind, and two numbers that say where and what


def mutate(original: bytes, mutations: Sequence[Mutation], others: Sequence[bytes]) -> bytes:
    """Return bytes changed in some ways, one after the other."""
    changed = bytearray(original)
    for kind, where, what in mutations:
        at = where % (len(changed) + 1)
        if kind == 0 and changed:  # a bit flipped
            changed[at % len(changed)] ^= 1 << what % 8
        elif kind == 1:  # bytes inserted
            changed[at:at] = bytes([what % 256]) * (1 + what % 9) if what % 50 else b"\x91" * 1200  # lists within lists
        elif kind == 2:  # removed
            del changed[at : at + 1 + what % 9]
        elif kind == 3:  # truncated
            del changed[at:]
        elif kind == 4:  # followed by another, or by itself
            changed += others[what % len(others)]
        elif kind == 5:  # begun as another: its topic, if it is a frame
            other = others[what % len(others)]
            changed[: changed.find(b"\0") + 1] = other[: other.find(b"\0") + 1]
        elif kind == 6:  # the payload decoded and encoded anew
            changed = bytearray(_encoded_anew(bytes(changed), what))
        else:  # a part of another in its place
            other = others[what % len(others)]
            changed[at : at + 16] = other[at : at + 16]
    return bytes(changed)


def _encoded_anew(frame: bytes, what: int) -> bytes:
    """Return a frame, or a question, of which one value is another; a frame signed by a stranger, or as it was."""
    try:
        topic, key_id, payload = split(frame)
    except BadMessage:
        topic, key_id, payload = b"", b"", frame
    try:
        fields = msgspec.msgpack.decode(payload)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return frame
    if not isinstance(fields, dict) or not fields:
        return frame
    fields[sorted(fields, key=str)[what % len(fields)]] = VALUES[what // 7 % len(VALUES)]
    changed = msgspec.msgpack.encode(fields)
    if not topic:
        return changed
    if what % 2:
        return sign(STRANGER, topic, changed)
    return b"".join((topic, b"\0", key_id, changed, frame[-SIGNATURE_BYTES:]))


def measurements(count: int) -> list[bytes]:
    """Return signed frames of each wattmeter, from one probe to many."""
    frames = []
    for seq, name in product(range(count), NAMES):
        probes = [f"{name}-{number}" for number in range(1 + 7 * seq % 49)]
        message = Message(
            version=VERSION,
            type="measurement",
            wattmeter=name,
            boot=BOOT,
            seq=seq,
            timestamp=time.time(),
            monotonic=float(seq),
            interval=1.0,
            probes=probes,
            w=[100.5 + seq] * len(probes),
            kwh=[None, *[3.25] * (len(probes) - 1)],
        )
        frames.append(sign(KEY, topic_of(name), encode(message)))
    return frames


def healths() -> list[bytes]:
    """Return signed health messages."""
    now = time.time()
    told = [
        Health(
            version=VERSION,
            type="health",
            wattmeter=name,
            driver="snmp",
            boot=BOOT,
            seq=seq,
            timestamp=now,
            state=state,
            since=now,
            interval=1.0,
            next_within=5.0,
        )
        for name in NAMES
        for seq, state in enumerate(STATES)
    ]
    return [sign(KEY, health_topic(health.wattmeter), encode_health(health)) for health in told]


class Frames:
    """A gate that has heard nothing: of what was changed it takes nothing, and it remembers nothing."""

    def __init__(self) -> None:
        self.originals = measurements(8) + healths()
        self._gate = Gate(KeyRing([KEY]), health=True)
        self._signed = set(self.originals)

    def judge(self, changed: bytes) -> None:
        """Fail if a frame is believed that nobody has signed."""
        if changed in self._signed:
            return
        assert self._gate.take(changed) is None
        for name in NAMES:
            assert self._gate.believe(changed, Ask(topic_of(name), BOOT, 0, None)) is None
        assert (self._gate.accepted, self._gate.streams.accounts(), self._gate.skew) == (0, {}, {})

    def close(self) -> None:
        """Nothing is open."""


class Questions:
    """A spool of a few messages, and what its replay service answers."""

    def __init__(self, directory: Path) -> None:
        spool = Spool(directory / "spool", max_bytes=16 << 20, max_age=3600.0)
        self._frames = measurements(40)
        for frame in self._frames:
            spool.hand(frame)
        spool.flush()
        spool.close()
        self._reader = Reader(directory / "spool")
        wanted = [Wanted(topic_of(name), BOOT, first, last) for name in NAMES for first, last in ((0, None), (3, 7))]
        since = [Since(prefix, at) for prefix in (b"", b"lyon.", b"\0") for at in (0.0, time.time())]
        self.originals = [encode_question(question) for question in (*wanted, *since)]

    def judge(self, changed: bytes) -> None:
        """Fail unless it is answered with frames that are kept, or refused as no question."""
        try:
            question = read_question(changed)
        except NO_QUESTION:
            return
        said, frames = answer_to(question, self._reader)
        assert len(encode_question(said)) < 1000
        assert set(frames) <= set(self._frames)

    def close(self) -> None:
        """Close the spool."""
        self._reader.close()


class Wire:
    """Takes the place of a socket and of its context: what is sent is forgotten, what is to be received is put in."""

    def __init__(self) -> None:
        self.coming: list[list[bytes]] = []

    def socket(self, _: int) -> "Wire":
        return self

    def setsockopt(self, *_: object) -> None: ...
    def connect(self, _: str) -> None: ...
    def close(self, *, linger: int) -> None: ...
    def send_multipart(self, *_: object) -> None: ...

    def recv_multipart(self, _: int) -> list[bytes]:
        if not self.coming:
            raise zmq.Again
        return self.coming.pop(0)


class Answers:
    """A subscriber that asks for what it missed, and is answered by somebody else than its spool."""

    def __init__(self) -> None:
        self._good = measurements(4)[:: len(NAMES)]
        self._signed = set(self._good)
        self._said = encode_question(Said(3, [BOOT]))
        runs = encode_question(Runs([(topic_of(NAMES[0]), BOOT, 0)]))
        self.originals = [self._said, runs, *self._good]

    def judge(self, changed: bytes) -> None:
        """Fail if the subscriber takes what nobody has signed, or takes it twice or in another order."""
        streams = Streams({topic_of(NAMES[0]): Position(BOOT, 0)}, spools=1)
        gate, wire = Gate(KeyRing([KEY]), streams=streams), Wire()
        client: Any = Client(cast(Any, wire), ["inproc://spool"], streams)
        subscriber, taken = Subscriber([], [], gate), []
        first, second, *rest = self._good
        for parts in (
            [changed],
            [changed, self._said, *self._good],
            [ANY, changed, *self._good],
            [ANY, self._said, changed],
            [ANY, self._said, first, changed, second],
            [ANY, self._said, *rest, changed, changed],
        ):
            client.ask()
            for number in range(4):
                wire.coming.append([part if part is not ANY else number.to_bytes(8, "big") for part in parts])
            subscriber._repair(client, taken.append)
        client.close()
        assert [message.seq for message in taken] == list(range(len(taken)))
        assert all(sign(KEY, topic_of(message.wattmeter), encode(message)) in self._signed for message in taken)
        assert gate.accepted == len(taken) <= len(self._good)

    def close(self) -> None:
        """Nothing is open."""
