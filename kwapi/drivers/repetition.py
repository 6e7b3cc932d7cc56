"""Readings that a device repeats: one that was there before is not a measurement. Pure: no I/O, no clock."""


class Repetition:
    """Knows a repeated reading by the device's own time of it; not where that stands still while the watts change."""

    def __init__(self) -> None:
        self._last: tuple[object, float | None] = (None, None)
        self._stands_still = False

    def is_repeated(self, taken: object, watts: float | None) -> bool:
        """Return whether the reading taken at this time, None if the device does not say, was there before."""
        (last_taken, last_watts), self._last = self._last, (taken, watts)
        if taken is None or taken != last_taken:
            return False
        self._stands_still = self._stands_still or watts != last_watts
        return not self._stands_still
