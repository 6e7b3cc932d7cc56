"""Machines with several power supplies: sections ``[machine NAME]`` of api.conf, each with the probes that feed it.

A machine is shown wherever probes are, with the sum of its probes. Its level is "machine" and its wattmeter a name that
none can have, so that nobody adds it to a total, in which its probes are already.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from oslo_config import cfg

from kwapi.config import Reader
from kwapi.measurement import EXPORT, RESERVED, Message, name_problem, probe_problem
from kwapi.plugins.api.states import ProbeState, Reading
from kwapi.section_options import MACHINE

SECTION = "machine "  # and the name
LEVEL = "machine"
WATTMETER = f"{RESERVED}machine"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and the probes that feed it."""

    name: str
    probes: tuple[str, ...]


def read_machines(reader: Reader, owners: Mapping[str, str] | None = None) -> list[str]:
    """Return the sections of machines, what is wrong with them noted; ``owners`` are wattmeters by probe, if known."""
    sections = [section for section in reader.sections if section.startswith(SECTION)]
    names = [_name(section) for section in sections]
    for section, name in zip(sections, names, strict=True):
        probes = reader.values(section, MACHINE)["probes"] or []
        if problem := name_problem(name):
            reader.mistake(section, "", f"the machine's name {problem}")
        if names.count(name) > 1:  # as [machine web-1] and [machine  web-1]
            reader.mistake(section, "", f"{name!r} has another section")
        if owners and name in owners:
            reader.mistake(section, "", f"{name!r} is a probe of the wattmeter {owners[name]}")
        for problem in _probe_problems(name, probes, names):
            reader.mistake(section, "probes", problem)
    return sections


def machines_of(conf: cfg.ConfigOpts) -> list[Machine]:
    """Return the machines of a configuration."""
    sections = [section for section in conf.list_all_sections() if section.startswith(SECTION)]
    return [Machine(_name(section), tuple(conf[section].probes)) for section in sections]


def reading_of(probes: Sequence[Reading]) -> Reading:
    """Return the sum of readings, as old as the oldest of them."""
    return Reading(
        min(reading.timestamp for reading in probes),
        sum(reading.w for reading in probes),
        sum(reading.kwh for reading in probes),
    )


def state_of_machine(name: str, probes: Sequence[ProbeState]) -> ProbeState:
    """Return the sum of probes, of which the least known decides what is known of it."""
    watts = [probe.w for probe in probes if probe.w is not None]
    measured = min(probe.measured_seconds for probe in probes)
    unknown = max(probe.unknown_seconds for probe in probes)
    return ProbeState(
        id=name,
        wattmeter=WATTMETER,
        level=LEVEL,
        timestamp=min((probe.timestamp for probe in probes if probe.timestamp is not None), default=None),
        w=sum(watts) if len(watts) == len(probes) else None,
        v=None,
        a=None,
        va=None,
        kwh=sum(probe.kwh for probe in probes),
        kwh_since=min(probe.kwh_since for probe in probes),
        measured_seconds=measured,
        unknown_seconds=unknown,
        coverage=measured / (measured + unknown) if measured + unknown > 0 else None,
        interval=max(probe.interval for probe in probes),
        state="up" if all(probe.state == "up" for probe in probes) else "stale",
    )


def message_of(watts: Mapping[str, float | None], cause: Message) -> Message:
    """Return what machines draw, by name, as a message: of the same moment as the one that changed it."""
    return Message(
        version=cause.version,
        type=cause.type,
        wattmeter=WATTMETER,
        boot=cause.boot,
        seq=cause.seq,
        timestamp=cause.timestamp,
        monotonic=cause.monotonic,
        interval=cause.interval,
        probes=list(watts),
        level=[LEVEL] * len(watts),
        w=list(watts.values()),
    )


def _name(section: str) -> str:
    return section.removeprefix(SECTION).strip()


def _probe_problems(name: str, probes: Sequence[str], machines: Sequence[str]) -> Iterable[str]:
    for probe in probes:
        if problem := probe_problem(probe):
            yield problem
        elif probe.endswith(EXPORT):
            yield f"{probe!r} is what flows back, no part of what a machine draws"
        elif probe == name:
            yield f"{probe!r} is the name of the machine itself"
        elif probe in machines:
            yield f"{probe!r} is a machine, not a probe"
    for probe in sorted({probe for probe in probes if probes.count(probe) > 1}):
        yield f"{probe!r} stands there twice"
