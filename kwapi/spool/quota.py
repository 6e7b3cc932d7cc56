"""How much of a segment each wattmeter may fill, since in a forwarder nobody verifies what passes. Pure: no I/O.

A wattmeter that has filled its share waits until a quarter of the segment's time is over; then there is a new segment.
So a flood under one name leaves the others a quarter of `spool_hours` at the least, and a large wattmeter in a spool
that is too small for it is kept for less long, without a hole.
"""

from collections.abc import Iterable

from kwapi.spool.segment import Row

SHARE = 0.25  # of a segment that one topic may fill in any case; more where there are fewer than four
WHILE = 0.25  # of a segment's time for which it waits then
MAX_SOURCES = 100_000  # runs of publishers in one segment
MAX_BOOTS = 1_000  # of them of one topic


class Quota:
    """Counts what each wattmeter has in one segment."""

    def __init__(self, size: int, *, sources: Iterable[tuple[bytes, int]] = (), before: Iterable[bytes] = ()) -> None:
        """``size`` in bytes, the (topic, boot) that are in it already, and the topics of the segment before."""
        self.is_full = False  # for one of them, so that a new segment is wanted
        self._size, self._share = size, SHARE * size
        self._wattmeters: dict[bytes, _Wattmeter] = {}  # by topic
        self._sources = 0
        self._expected = set(before)
        for topic, boot in sources:
            self._count(topic, boot)

    @property
    def topics(self) -> Iterable[bytes]:
        """Return the topics of the wattmeters that are in it."""
        return self._wattmeters.keys()

    def refuse(self, frame: Row, elapsed: float) -> str | None:
        """Return why a frame may not be kept, None if it may; ``elapsed`` of the segment's time, from 0 to 1."""
        topic, boot, _, _, content = frame
        wattmeter = self._wattmeters.get(topic)
        if wattmeter is None or boot not in wattmeter.boots:
            if self._sources >= MAX_SOURCES or (wattmeter is not None and len(wattmeter.boots) >= MAX_BOOTS):
                return "too many publishers"
            wattmeter = self._count(topic, boot)
        used = wattmeter.used + len(content)
        if used > self._share and used > self._size / len(self._expected):
            if elapsed < WHILE:
                return "its wattmeter has its share"
            self.is_full = True
        wattmeter.used = used
        return None

    def _count(self, topic: bytes, boot: int) -> "_Wattmeter":
        wattmeter = self._wattmeters.setdefault(topic, _Wattmeter())
        wattmeter.boots.add(boot)
        self._sources += 1
        self._expected.add(topic)
        return wattmeter


class _Wattmeter:
    """What a segment has of one wattmeter."""

    __slots__ = ("boots", "used")

    def __init__(self) -> None:
        self.boots: set[int] = set()
        self.used = 0  # bytes
