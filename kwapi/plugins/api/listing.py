"""The readings of one wattmeter's probes, and the same as JSON, of which /v1 makes its answer.

Of probes that go in step they are made for who asks first after a message. Of others they are encoded when they are
measured, 6 us for 48 probes that are at hand then: a request that seeks 10 000 of them all over the memory takes ten
times as long.
"""

from collections.abc import Collection, Mapping

import msgspec

from kwapi.plugins.api.columns import Columns, Now
from kwapi.plugins.api.probe import Probe
from kwapi.plugins.api.states import Reading

_encode = msgspec.json.Encoder().encode


class Listing:
    """The thread of the bus changes it, any other may ask; times are of our clock."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self.readings: dict[str, Reading] = {}
        self._probes = probes  # of all wattmeters
        self._heard_at = float("-inf")  # when the one was heard that is silent for the longest
        self._members: bytes | None = None  # None if they are to be encoded for each who asks
        self._columns: Columns | None = None  # while all of them go in step
        self._encoded: tuple[Now | None, bytes] = (None, b"")  # of columns

    def take(self, readings: dict[str, Reading], heard_at: float, since: float) -> None:
        """Show readings in place of those that their probes had, and none of a probe that was not heard since."""
        if self._heard_at < since:
            self.readings = self.live(since)
            self._heard_at = min((self._probes[name].heard_at for name in self.readings), default=heard_at)
        if self.readings.keys() <= readings.keys():
            self.readings, self._heard_at, self._members = readings, heard_at, members_of(readings)
        else:  # only some of them: to encode all again for each message might take long
            self.readings.update(readings)
            self._heard_at, self._members = min(heard_at, self._heard_at), None
        self._columns = None

    def has_all(self, names: Collection[str]) -> bool:
        """Return whether these are all that is shown."""
        return self.readings.keys() == set(names)

    def follow(self, columns: Columns) -> None:
        """Show what columns say, which are of all that is shown, until readings are taken."""
        self._columns = columns

    def drop(self, name: str) -> None:
        """Show a probe no longer."""
        self.readings.pop(name, None)
        self._members = None

    def reading(self, name: str, since: float) -> Reading | None:
        """Return the reading of a probe that was heard since a time, None if it was not."""
        if (columns := self._columns) is not None:
            return columns.reading(name) if columns.now.heard_at >= since else None
        probe = self._probes.get(name)
        return self.readings.get(name) if probe is not None and probe.heard_at >= since else None

    def live(self, since: float) -> dict[str, Reading]:
        """Return the readings of probes that were heard since a time; they are not for changing."""
        if (columns := self._columns) is not None:
            return columns.readings() if columns.now.heard_at >= since else {}
        if self._heard_at >= since:
            return self.readings
        return {
            name: reading
            for name, reading in self.readings.copy().items()
            if (probe := self._probes.get(name)) is not None and probe.heard_at >= since
        }

    def live_members(self, since: float) -> bytes:
        """Return them as members of a JSON object."""
        if (columns := self._columns) is not None:
            return self._members_in_step(columns, since)
        members = self._members
        return members if members is not None and self._heard_at >= since else members_of(self.live(since))

    def _members_in_step(self, columns: Columns, since: float) -> bytes:
        now, (encoded_of, members) = columns.now, self._encoded
        if now.heard_at < since:
            return b""
        if encoded_of is not now:
            members = members_of(columns.readings())
            self._encoded = now, members
        return members


def members_of(readings: Mapping[str, Reading]) -> bytes:
    """Return readings as members of a JSON object, by the names of their probes."""
    return _encode(readings)[1:-1]
