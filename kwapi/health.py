"""How a wattmeter is: the state that kwapi-drivers publishes of each, beside what it measures. No I/O.

On the wire a health message is MessagePack with the attributes of Health as keys, under the topic
``kwapi.health.<wattmeter>.``, signed and numbered (boot, seq) as every message. Unknown keys are ignored.
"""

from math import isfinite

import msgspec

from kwapi.errors import BadMessage
from kwapi.measurement import RESERVED, VERSION, name_problem

UP, STARTING, STALE, DOWN, HUNG, MUTED = STATES = ("up", "starting", "stale", "down", "hung", "muted")
TOPIC = f"{RESERVED}health."


class Health(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What is known of one wattmeter at one instant; times are Unix seconds UTC.

    up: its last poll gave measurements. starting: not polled yet. stale: it answers, and has given no measurement for
    three intervals and at least 10 s. down: its last poll failed, for ``reason``. hung: a poll has not ended within
    ``hang_timeout``. muted: not polled because somebody wants it so.

    ``polls`` ended so far or were given up, ``failures`` of them without an answer, ``in_a_row`` of these since the
    last good one; ``missed`` beats passed while a poll took longer than the interval; ``poll_seconds`` is the duration
    of the last poll; ``next_within`` the seconds in which the next health message is to be expected; ``last_seq`` that
    of the last measurement of this boot.
    """

    version: int
    type: str
    wattmeter: str
    driver: str
    boot: int
    seq: int
    timestamp: float
    state: str
    since: float
    interval: float
    next_within: float
    reason: str = ""
    last_success: float | None = None
    poll_seconds: float | None = None
    polls: int = 0
    failures: int = 0
    in_a_row: int = 0
    missed: int = 0
    restarts: int = 0
    last_seq: int | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Health)


def health_topic(wattmeter: str) -> bytes:
    """Return the topic of a wattmeter's health messages; of "" the prefix of all."""
    return f"{TOPIC}{wattmeter}.".encode() if wattmeter else TOPIC.encode()


def encode_health(health: Health) -> bytes:
    """Return the health message as the payload of a frame."""
    return _encoder.encode(health)


def decode_health(payload: bytes) -> Health:
    """Return the health message of a payload; raise BadMessage for any other bytes."""
    try:
        health = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadMessage("malformed", str(error)) from error
    if health.version != VERSION:
        raise BadMessage("unknown version", str(health.version))
    if health.type != "health":
        raise BadMessage("unknown type", health.type)
    if health.state not in STATES:
        raise BadMessage("malformed", f"state {health.state!r}")
    numbers = (health.timestamp, health.since, health.interval, health.next_within)
    if not all(map(isfinite, (*numbers, health.last_success or 0.0, health.poll_seconds or 0.0))):
        raise BadMessage("malformed", "a number that is not finite")
    if problem := name_problem(health.wattmeter):
        raise BadMessage("malformed", f"wattmeter {problem}")
    return health
