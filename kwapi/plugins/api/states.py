"""What the energy API says of a probe: values, made by the collector and read by every view. No I/O."""

import msgspec


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A probe as /v1 shows it: Unix seconds of the last watts, those watts, and kWh since we know the probe."""

    timestamp: float
    w: float
    kwh: float


class ProbeState(msgspec.Struct, frozen=True, gc=False):
    """A probe as it is now; w, v, a and va are None rather than old, and all of them are when its state is stale.

    ``timestamp`` is that of the last measurement, Unix seconds; kWh count since ``kwh_since``.
    """

    id: str
    wattmeter: str
    level: str
    timestamp: float | None
    w: float | None
    v: float | None
    a: float | None
    va: float | None
    kwh: float
    kwh_since: float
    measured_seconds: float
    unknown_seconds: float
    coverage: float | None
    interval: float
    state: str  # up or stale


class Snapshot(msgspec.Struct, frozen=True):
    """All probes that are not silent, by id, as they were at one time (Unix seconds)."""

    generation: int
    taken_at: float
    probes: tuple[ProbeState, ...]


class Event(msgspec.Struct, frozen=True, gc=False):
    """What an energy register did other than count on; values in kWh, None where they are not known.

    Of a device's register: wrap, reset, step back, jump, replaced (another wattmeter measures the probe). Of our own:
    power loss.
    """

    timestamp: float
    kind: str
    before: float | None
    after: float | None
