"""What kwapi-drivers last said of each wattmeter, for plugins that show how probes are. Pure: no I/O, no clock."""

from kwapi.health import DOWN, HUNG, MUTED, Health

SLACK = 3.0  # times that it should be heard of again until it is no longer believed


class Healths:
    """The newest health of each wattmeter; ``now`` is of one clock that never steps."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[Health, float]] = {}

    def add(self, health: Health, now: float) -> None:
        """Take a health message."""
        self._heard[health.wattmeter] = (health, now)

    def of(self, wattmeter: str, now: float) -> Health | None:
        """Return the health of a wattmeter, None if nothing current is known."""
        health, heard_at = self._heard.get(wattmeter, (None, 0.0))
        return health if health is not None and now - heard_at <= SLACK * health.next_within else None

    def away(self, wattmeter: str, measured_at: float, now: float) -> tuple[str, str] | None:
        """Return why a probe that was last measured at that time (Unix seconds) is not: down or muted, and the reason.

        None if its wattmeter says no such thing, or said it before.
        """
        health = self.of(wattmeter, now)
        if health is None or health.timestamp < measured_at:
            return None
        if health.state == MUTED:
            return MUTED, ""
        return (DOWN, health.reason) if health.state in (DOWN, HUNG) else None
