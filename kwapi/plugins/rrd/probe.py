"""What kwapi-rrd says of a probe: values, made by the store and read by every view. No I/O."""

import re

import msgspec


class Probe(msgspec.Struct, frozen=True, gc=False):
    """A probe as it stands now.

    ``number`` counts probes in the order in which they were first heard of and stays with the name, ``counted`` says
    that it is part of the total, ``broken`` that its file can't be used. The state is up, stale, down (``reason`` says
    why) or muted.
    """

    name: str
    number: int
    wattmeter: str
    site: str
    level: str
    interval: float
    watts: float | None
    timestamp: float | None
    first_seen: float | None
    state: str
    reason: str
    counted: bool
    broken: bool

    @property
    def stale(self) -> bool:
        """Whether it is not measured now, for whatever reason."""
        return self.state != "up"


def site_of(wattmeter: str) -> str:
    """Return the site of a wattmeter: the first part of a dotted name, "" of any other."""
    return wattmeter.partition(".")[0] if "." in wattmeter else ""


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts node-2 before node-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
