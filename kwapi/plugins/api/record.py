"""A probe as the record of a slot: everything that its energy needs to go on after a restart.

A name stands as its length and its bytes, what is not known as NaN, an instant that is not known with boot 0 and NaN.
"""

from collections.abc import Sequence
from math import isnan, nan
from struct import Struct
from typing import Any

from kwapi.energy import EnergyRegister, Instant, Span
from kwapi.errors import KwapiError
from kwapi.measurement import EXPORT, LEVELS, NAME_BYTES, name_problem, probe_problem
from kwapi.plugins.api.probe import Probe

VERSION = 1
_NAME_BYTES = NAME_BYTES + len(EXPORT)
_IDENTITY = Struct(f"<BBBB{_NAME_BYTES}s{NAME_BYTES}s")  # version, lengths of the names, level, probe, wattmeter
_COUNTS = Struct("<5d 9d Qdd d d Qdd 6d ?")
_NOWHERE = Instant(0, nan, nan)
_BOOT = (1 << 64) - 1


class Unreadable(KwapiError):
    """A record holds something else than a probe of this version."""


def _identity(probe: Probe) -> bytes:
    name, wattmeter = probe.name.encode(), probe.wattmeter.encode()
    return _IDENTITY.pack(VERSION, len(name), len(wattmeter), LEVELS.index(probe.level), name, wattmeter)


def pack(probe: Probe) -> bytes:
    """Return the record of a probe."""
    if not probe.identity:
        probe.identity = _identity(probe)
    energy = probe.energy
    total, pending, ahead = energy.total, energy.pending, energy.ahead
    watts_boot, watts_timestamp, watts_monotonic = energy.watts_at or _NOWHERE
    register_boot, register_timestamp, register_monotonic = energy.register_at or _NOWHERE
    return probe.identity + _COUNTS.pack(
        probe.since,
        probe.interval,
        probe.timestamp,
        nan if probe.watts_timestamp is None else probe.watts_timestamp,
        nan if probe.watts is None else probe.watts,
        total.kwh,
        total.measured,
        total.unknown,
        pending.kwh,
        pending.measured,
        pending.unknown,
        ahead.kwh,
        ahead.measured,
        ahead.unknown,
        watts_boot & _BOOT,  # compared for equality only
        watts_timestamp,
        watts_monotonic,
        energy.peak_watts,
        nan if energy.register is None else energy.register,
        register_boot & _BOOT,
        register_timestamp,
        register_monotonic,
        energy.register_period,
        energy.register_step,
        energy.register_left,
        energy.register_leapt,
        energy.register_lag,
        energy.register_owed,
        energy.stepped_back,
    )


def unpack(record: bytes, now: float, wall_now: float) -> Probe:
    """Return the probe of a record, as long silent as its last measurement is old; raise Unreadable."""
    if len(record) != _IDENTITY.size + _COUNTS.size or record[0] != VERSION:
        raise Unreadable(f"{len(record)} bytes of version {record[:1]!r}")
    _, name_length, wattmeter_length, level, name_bytes, wattmeter_bytes = _IDENTITY.unpack_from(record)
    try:
        name, wattmeter = name_bytes[:name_length].decode(), wattmeter_bytes[:wattmeter_length].decode()
    except UnicodeDecodeError as error:
        raise Unreadable(str(error)) from error
    problem = probe_problem(name) or name_problem(wattmeter)
    if problem or level >= len(LEVELS):
        raise Unreadable(problem or f"level {level}")
    since, interval, timestamp, watts_timestamp, watts, *counts = _COUNTS.unpack_from(record, _IDENTITY.size)
    return Probe(
        name=name,
        wattmeter=wattmeter,
        level=LEVELS[level],
        interval=interval,
        heard_at=now - max(wall_now - timestamp, 0.0),
        since=since,
        timestamp=timestamp,
        energy=_energy(counts),
        watts=_known(watts),
        watts_timestamp=_known(watts_timestamp),
        identity=record[: _IDENTITY.size],
    )


def _energy(counts: Sequence[Any]) -> EnergyRegister:
    return EnergyRegister(
        Span(*counts[0:3]),
        Span(*counts[3:6]),
        Span(*counts[6:9]),
        _instant(*counts[9:12]),
        counts[12],
        _known(counts[13]),
        _instant(*counts[14:17]),
        *counts[17:],
    )


def _instant(boot: int, timestamp: float, monotonic: float) -> Instant | None:
    return None if isnan(timestamp) else Instant(boot, timestamp, monotonic)


def _known(value: float) -> float | None:
    return None if isnan(value) else value
