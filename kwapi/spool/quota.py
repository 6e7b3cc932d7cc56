"""How much of a segment each wattmeter may fill, since in a forwarder nobody verifies what passes. Pure: no I/O.

A wattmeter that has filled its share waits until a quarter of the segment's time is over; then there is a new segment.
So a flood under one name leaves the others a quarter of `spool_hours` at the least, and a large wattmeter in a spool
that is too small for it is kept for less long, without a hole.
"""

from collections import Counter
from collections.abc import Iterable

from kwapi.spool.segment import Frame

SHARE = 0.25  # of a segment that one topic may fill in any case; more where there are fewer than four
WHILE = 0.25  # of a segment's time for which it waits then
MAX_SOURCES = 100_000  # runs of publishers in one segment
MAX_BOOTS = 1_000  # of them of one topic


class Quota:
    """Counts what each wattmeter has in one segment."""

    def __init__(self, size: int, *, sources: Iterable[tuple[bytes, int]] = (), before: Iterable[bytes] = ()) -> None:
        """``size`` in bytes, the (topic, boot) that are in it already, and the topics of the segment before."""
        self.topics: Counter[bytes] = Counter()  # how many boots of each
        self.is_full = False  # for one of them, so that a new segment is wanted
        self._size, self._share = size, SHARE * size
        self._sources: set[tuple[bytes, int]] = set()
        self._expected = set(before)
        self._used: dict[bytes, int] = {}  # bytes, by topic
        for topic, boot in sources:
            self._count(topic, boot)

    def refuse(self, frame: Frame, elapsed: float) -> str | None:
        """Return why a frame may not be kept, None if it may; ``elapsed`` of the segment's time, from 0 to 1."""
        topic, boot, _, _, content = frame
        if (topic, boot) not in self._sources:
            if len(self._sources) >= MAX_SOURCES or self.topics[topic] >= MAX_BOOTS:
                return "too many publishers"
            self._count(topic, boot)
        used = self._used.get(topic, 0) + len(content)
        if used > self._share and used > self._size / len(self._expected):
            if elapsed < WHILE:
                return "its wattmeter has its share"
            self.is_full = True
        self._used[topic] = used
        return None

    def _count(self, topic: bytes, boot: int) -> None:
        self._sources.add((topic, boot))
        self.topics[topic] += 1
        self._expected.add(topic)
