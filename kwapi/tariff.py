"""What energy costs: a price of a kWh that changes at times of the day, as clocks on the wall show them.

A price holds from its time on until the next one's, over midnight too. When clocks are set forward, a price whose time
is skipped holds from that moment on; when they are set back, the hour that comes twice has its prices twice. So a day
of 23 hours has an hour less of the night's price, one of 25 hours an hour more, as a switch with a clock would have it.

Energy whose course is not known more exactly, such as a row of an archive, is taken as even: it costs the mean of the
prices of its time, each weighted by the seconds that it held.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo

DAY = 86400


class Tariff:
    """Prices by second of the day; one price alone holds always. Without a zone the times are this machine's."""

    def __init__(self, prices: Sequence[tuple[int, float]], zone: tzinfo | None = None) -> None:
        self._prices = sorted(prices)
        self._seconds = [second for second, _ in self._prices]
        self._zone = zone

    def price(self, timestamp: float) -> float:
        """Return the price of a kWh at a time."""
        second = _second_of_day(self._local(timestamp))
        return self._prices[bisect_right(self._seconds, second) - 1][1]  # -1: the last of the day before

    def spans(self, start: int, end: int) -> Iterator[tuple[int, int, float]]:
        """Return begin, end and price of each stretch between two times, in whole Unix seconds."""
        while start < end:
            until = min(self._change_after(start), end) if len(self._prices) > 1 else end
            yield start, until, self.price(start)
            start = until

    def means(self, start: int, step: int, rows: int) -> list[float]:
        """Return the mean price of each of so many rows of ``step`` seconds from ``start`` on."""
        sums = [0.0] * rows
        for begin, end, price in self.spans(start, start + step * rows):
            first, last = (begin - start) // step, (end - 1 - start) // step
            for row in range(first, last + 1):
                edge = start + row * step
                sums[row] += price * (min(end, edge + step) - max(begin, edge))
        return [total / step for total in sums]

    def _change_after(self, start: int) -> int:
        """Return when the price changes after a time, or the clock does if that comes first."""
        local = self._local(start)
        second = _second_of_day(local)
        place = bisect_right(self._seconds, second)
        change = self._seconds[place] if place < len(self._seconds) else self._seconds[0] + DAY
        later = start + change - second
        if self._local(later).utcoffset() == local.utcoffset():
            return later
        before = start
        while later - before > 1:  # halve the time in which the clock is set
            middle = (before + later) // 2
            if self._local(middle).utcoffset() == local.utcoffset():
                before = middle
            else:
                later = middle
        return later

    def _local(self, timestamp: float) -> datetime:
        return datetime.fromtimestamp(timestamp, UTC).astimezone(self._zone)


def _second_of_day(local: datetime) -> int:
    return local.hour * 3600 + local.minute * 60 + local.second
