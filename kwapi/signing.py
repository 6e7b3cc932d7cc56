"""Signed frames: topic, NUL, key id (4 bytes), payload, HMAC-SHA256 of all before it (the last 32 bytes).

The id of a key is worked out from its secret, so both ends agree on it without configuration. A key may be limited in
time and to some wattmeters. Both ends judge that by the timestamp of what is signed, so that they always agree, and
what was signed before a key ended is believed after it too. Which file the keys stand in is told by keys.py.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from math import inf

from kwapi.errors import BadMessage, NoKey

KEY_ID_BYTES = 4
SIGNATURE_BYTES = 32
PIECE = 2047  # bytes, up to which hashlib keeps Python's lock


@dataclass(frozen=True, repr=False)
class Key:
    """A signing key, its id, and what it is limited to."""

    id: bytes
    secret: bytes
    begins: float = -inf  # Unix seconds
    ends: float = inf
    prefixes: tuple[bytes, ...] = ()  # of the topics of its wattmeters; none: all are

    def __repr__(self) -> str:
        return f"Key({self.id.hex()})"

    def __reduce__(self) -> tuple[type["Key"], tuple[object, ...]]:
        return Key, (self.id, self.secret, self.begins, self.ends, self.prefixes)  # what is begun goes to no process

    @cached_property
    def _begun(self) -> hmac.HMAC:
        return hmac.new(self.secret, digestmod="sha256")

    def is_for(self, topic: bytes) -> bool:
        """Return whether the key may speak for the wattmeter of a topic."""
        return not self.prefixes or topic.startswith(self.prefixes)

    def signature(self, content: bytes) -> bytes:
        """Return the HMAC of some bytes; hmac.digest() would begin with the secret and give Python's lock away."""
        mac = self._begun.copy()
        for begin in range(0, len(content), PIECE):
            mac.update(content[begin : begin + PIECE])
        return mac.digest()


def key_from(secret: bytes) -> Key:
    """Return the key made of a secret, without limits."""
    return Key(sha256(b"kwapi key id\0" + secret).digest()[:KEY_ID_BYTES], secret)


class KeyRing:
    """Some keys: the newest that may signs, and each is known by its id. For any thread."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._hold(keys)

    def look(self) -> None:
        """See to it that the keys are those of now; here they always are."""

    def ids(self) -> list[str]:
        """Return the ids of all keys, as they are told."""
        return [key_id.hex() for key_id in self._keys]

    def newest(self, topic: bytes, timestamp: float) -> Key:
        """Return the key that signs what a wattmeter says at a time; raise NoKey if none may."""
        for key in self._newest_first:
            if key.begins <= timestamp < key.ends and key.is_for(topic):
                return key
        raise NoKey(self._reason(topic, timestamp))

    def verify(self, frame: bytes) -> tuple[Key, bytes, bytes]:
        """Return (key, topic, payload) of a frame signed by one of the keys; raise BadMessage for any other bytes.

        Whether the key was allowed to is not looked at: that takes what the payload says.
        """
        topic, key_id, payload = split(frame)
        key = self._keys.get(key_id)
        if key is None:
            self.look()
            key = self._keys.get(key_id)
        if key is None:
            raise BadMessage("unknown key", key_id.hex())
        if not hmac.compare_digest(key.signature(frame[:-SIGNATURE_BYTES]), frame[-SIGNATURE_BYTES:]):
            raise BadMessage("bad signature")
        return key, topic, payload

    def _hold(self, keys: Iterable[Key]) -> None:
        """Have these keys from now on. Of those that begin together the last one is the newest."""
        self._keys = {key.id: key for key in keys}
        self._newest_first = sorted(self._keys.values(), key=lambda key: key.begins)[::-1]

    def _reason(self, topic: bytes, timestamp: float) -> str:
        own = [key for key in self._newest_first if key.is_for(topic)]
        if not own:
            return "no signing key is for this wattmeter"
        if begins := [key.begins for key in own if key.begins > timestamp]:
            return f"no signing key is valid until {written(min(begins))}"
        return f"its last signing key has ended at {written(max(key.ends for key in own))}"


def split(frame: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (topic, key id, payload) of a frame, unverified; raise BadMessage if it is too short for that."""
    topic, nul, rest = frame.partition(b"\0")
    if not nul or len(rest) <= KEY_ID_BYTES + SIGNATURE_BYTES:
        raise BadMessage("wrong size", f"{len(frame)} bytes")
    return topic, rest[:KEY_ID_BYTES], rest[KEY_ID_BYTES:-SIGNATURE_BYTES]


def sign(key: Key, topic: bytes, payload: bytes) -> bytes:
    """Return the frame of a payload."""
    unsigned = b"".join((topic, b"\0", key.id, payload))
    return unsigned + key.signature(unsigned)


def written(timestamp: float) -> str:
    """Return a time as it stands in a file of keys, to the second."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
