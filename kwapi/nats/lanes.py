"""What waits to be stored by a NATS server, in order per wattmeter. Pure: no I/O, no clock.

Each wattmeter has a lane, of which one message at a time is on its way: whatever becomes of it, none that came later is
stored before it. Thousands of lanes make up for the wait. When memory is full, or after a restart, a lane is behind:
what comes is in the spool only, and is read from there, page by page, until the lane has met what is newest.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kwapi.stream import Position

MOST_LANES = 100_000  # nobody has verified the topics


class Parcel(NamedTuple):
    """A frame on its way, and what it says of itself."""

    topic: bytes
    boot: int
    seq: int
    frame: bytes
    is_kept: bool = True  # a spool may have it


class Lane:
    """What waits of one wattmeter."""

    __slots__ = ("is_behind", "newest", "on_its_way", "stored", "waiting")

    def __init__(self, stored: Position | None) -> None:
        self.stored = stored  # up to where
        self.waiting: deque[Parcel] = deque()
        self.on_its_way = False  # the first of those that wait
        self.is_behind = False
        self.newest: Position | None = None  # the last that is to be read from the spool


class Lanes:
    """The lanes of one daemon; for one thread."""

    def __init__(self, most_bytes: int, *, has_spool: bool, stored: Mapping[bytes, Position] | None = None) -> None:
        self.count = self.size = 0  # messages that wait, and their bytes
        self.stored = self.dropped = self.drained = 0  # messages that are stored, lost, and came out of the spool
        self._most_bytes = most_bytes
        self._has_spool = has_spool
        self._lanes = {topic: Lane(position) for topic, position in (stored or {}).items()}
        self._ready: deque[bytes] = deque()
        self._behind: OrderedDict[bytes, Lane] = OrderedDict()

    def positions(self) -> dict[bytes, Position]:
        """Return up to where each wattmeter's messages are stored."""
        return {topic: lane.stored for topic, lane in self._lanes.items() if lane.stored is not None}

    def hand(self, key: bytes, parcel: Parcel) -> None:
        """Have a message stored; ``key`` is the wattmeter's topic, also of its health."""
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= MOST_LANES:
                self.dropped += 1
                return
            lane = self._lanes[key] = Lane(None)
        if lane.is_behind:
            if parcel.is_kept:
                lane.newest = Position(parcel.boot, parcel.seq)
            return
        if self.size + len(parcel.frame) > self._most_bytes and not self._make_room(key, lane, parcel):
            return
        self._append(key, lane, parcel)

    def fall_behind(self, key: bytes, newest: Position) -> None:
        """Have what the spool has of a wattmeter read, up to a message, or to the last that waits: it has that too."""
        lane = self._lanes.setdefault(key, Lane(None))
        if lane.is_behind:
            return
        while len(lane.waiting) > lane.on_its_way:
            parcel = lane.waiting.pop()
            self._forget(parcel)  # health is no loss: it is told again in a moment
            if parcel.is_kept:
                newest = max(newest, Position(parcel.boot, parcel.seq))
        lane.newest = newest
        lane.is_behind = True
        self._behind[key] = lane

    def ready(self, most: int) -> Iterator[tuple[bytes, Parcel]]:
        """Yield what is to be sent now, the next of each lane, so many at most; each is on its way from now on."""
        for _ in range(min(most, len(self._ready))):
            key = self._ready.popleft()
            lane = self._lanes[key]
            if lane.waiting and not lane.on_its_way:
                lane.on_its_way = True
                yield key, lane.waiting[0]

    def done(self, key: bytes, *, is_stored: bool = True) -> None:
        """Take note that what was on its way is stored, or that it never can be."""
        lane = self._lanes[key]
        if not lane.on_its_way:
            return
        parcel = lane.waiting.popleft()
        lane.on_its_way = False
        self._forget(parcel)
        self.stored += is_stored
        self.dropped += not is_stored
        if parcel.is_kept:
            lane.stored = Position(parcel.boot, parcel.seq + 1)
            if lane.is_behind and lane.newest is not None and lane.newest < lane.stored:
                self._meet(key, lane)
        if lane.waiting:
            self._ready.append(key)

    def again(self, key: bytes) -> None:
        """Have what was on its way sent once more."""
        lane = self._lanes[key]
        lane.on_its_way = False
        self._ready.append(key)

    def all_again(self) -> None:
        """Have all that was on its way sent once more."""
        for key, lane in self._lanes.items():
            if lane.waiting:
                lane.on_its_way = False
                self._ready.append(key)

    def behind(self) -> Iterator[tuple[bytes, Position | None]]:
        """Yield the lanes for which a page is to be read now, and from where on; the longest waiting first."""
        for key, lane in list(self._behind.items()):
            if lane.is_behind and not lane.waiting:
                self._behind.move_to_end(key)
                yield key, lane.stored

    def is_behind(self, key: bytes) -> bool:
        """Return whether a wattmeter's messages are in the spool only."""
        return key in self._behind

    def add_page(self, key: bytes, parcels: list[Parcel]) -> None:
        """Take what the spool has next for a lane that is behind."""
        lane = self._lanes[key]
        self.drained += len(parcels)
        for parcel in parcels:
            self._append(key, lane, parcel)

    def give_up(self, key: bytes) -> None:
        """Go on with what comes: the spool has not what was left of a lane."""
        lane = self._lanes[key]
        if lane.newest is not None and (lane.stored is None or lane.stored.boot == lane.newest.boot):
            self.dropped += lane.newest.seq + 1 - (0 if lane.stored is None else lane.stored.seq)
        if lane.newest is not None:
            lane.stored = Position(lane.newest.boot, lane.newest.seq + 1)
        self._meet(key, lane)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read from the spool yet, which leaves half of the memory to what comes."""
        return self.size > self._most_bytes // 2

    @property
    def late(self) -> int:
        """Return how many lanes are behind."""
        return len(self._behind)

    def _append(self, key: bytes, lane: Lane, parcel: Parcel) -> None:
        lane.waiting.append(parcel)
        self.count += 1
        self.size += len(parcel.frame)
        if len(lane.waiting) == 1:
            self._ready.append(key)

    def _forget(self, parcel: Parcel) -> None:
        """Take note that a message waits no more."""
        self.count -= 1
        self.size -= len(parcel.frame)

    def _make_room(self, key: bytes, lane: Lane, parcel: Parcel) -> bool:
        """Return whether a message may wait in memory although that is full: its lane falls behind, or loses."""
        kept = [each for each in (*lane.waiting, parcel) if each.is_kept]
        if self._has_spool and kept:
            self.fall_behind(key, Position(kept[-1].boot, kept[-1].seq))
            return False
        while len(lane.waiting) > lane.on_its_way and self.size + len(parcel.frame) > self._most_bytes:
            first = lane.waiting[lane.on_its_way]
            del lane.waiting[lane.on_its_way]
            self._forget(first)
            self.dropped += 1
        if self.size + len(parcel.frame) <= self._most_bytes:
            return True
        self.dropped += 1
        return False

    def _meet(self, key: bytes, lane: Lane) -> None:
        lane.is_behind, lane.newest = False, None
        self._behind.pop(key, None)
