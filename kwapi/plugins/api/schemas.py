"""What version 2 of the API answers, as types: views encode them and the OpenAPI document is made of them. No I/O."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Timestamp = Annotated[float, Meta(description="Unix seconds UTC.")]
ProbeId = Annotated[str, Meta(description="Id of the probe, unique in the whole installation.")]
Wattmeter = Annotated[str, Meta(description="Name of the wattmeter that measures the probe.")]
Level = Annotated[
    str,
    Meta(
        description="Where the probe sits in its device: inlet, phase, bank, outlet or device; "
        "machine for the sum of several probes, which belongs into no total."
    ),
]
Watts = Annotated[float | None, Meta(description="Power in W, null if it is not known now.")]
Volts = Annotated[float | None, Meta(description="Voltage in V, null if it is not known now.")]
Amps = Annotated[float | None, Meta(description="Current in A, null if it is not known now.")]
VoltAmperes = Annotated[float | None, Meta(description="Apparent power in VA, null if it is not known now.")]


class Probe(msgspec.Struct, frozen=True, gc=False):
    """A probe: what it measures now, and its energy."""

    id: ProbeId
    wattmeter: Wattmeter
    level: Level
    timestamp: Annotated[float | None, Meta(description="Unix seconds UTC of the last measurement.")]
    w: Watts
    v: Volts
    a: Amps
    va: VoltAmperes
    kwh: Annotated[float, Meta(description="Energy in kWh since kwh_since; it never decreases.")]
    kwh_since: Annotated[float, Meta(description="Unix seconds UTC when the energy began to be counted.")]
    unknown_seconds: Annotated[float, Meta(description="Seconds since then of which the energy is not known.")]
    coverage: Annotated[
        float | None, Meta(description="Share of the time since then that was measured, 0 to 1; null before any was.")
    ]
    state: Annotated[
        Literal["up", "stale"],
        Meta(description="stale: not measured for three intervals, and at least 10 s; its w, v, a and va are null."),
    ]


class Messages(msgspec.Struct, frozen=True, gc=False):
    """What became of a wattmeter's messages on the bus, since the first that was heard of.

    produced = delivered + rejected + lost + awaited.
    """

    produced: Annotated[int, Meta(description="Messages that were sent, as far as anybody knows.")]
    delivered: Annotated[int, Meta(description="Those that were taken.")]
    rejected: Annotated[int, Meta(description="Those that were signed, and held nothing that could be taken.")]
    lost: Annotated[int, Meta(description="Those that nobody has any more.")]
    awaited: Annotated[int, Meta(description="Those that were missed, and are asked for.")]
    duplicates: Annotated[int, Meta(description="Messages that came again; they count nowhere else.")]
    repaired: Annotated[int, Meta(description="Those delivered that had been missed.")]
    unknown_ends: Annotated[
        int, Meta(description="Times that kwapi-drivers ended without a word, so that what it sent last is not known.")
    ]


class ProbePage(msgspec.Struct, frozen=True):
    """Some probes in the order of their ids, the messages of their wattmeters, and where to find those that follow."""

    probes: list[Probe]
    messages: Annotated[dict[str, Messages], Meta(description="By wattmeter, of those that were heard of.")]
    next: Annotated[str | None, Meta(description="Path and query of the next page, null on the last one.")]


class Event(msgspec.Struct, frozen=True):
    """Something that an energy register did other than count on."""

    timestamp: Timestamp
    kind: Annotated[str, Meta(description="wrap, reset, step back, jump, replaced or power loss.")]
    before: Annotated[float | None, Meta(description="The register before, in kWh; null if it is not known.")]
    after: Annotated[float | None, Meta(description="The register after, in kWh; null if it is not known.")]


class EventList(msgspec.Struct, frozen=True):
    """What the energy register of a probe did other than count on, the oldest first."""

    events: list[Event]


class Measurement(msgspec.Struct, frozen=True, gc=False):
    """What one probe measured."""

    id: ProbeId
    level: Level
    w: Watts
    v: Volts
    a: Amps
    va: VoltAmperes


class Measurements(msgspec.Struct, frozen=True):
    """What the probes of one wattmeter measured at one instant: one event of the stream."""

    wattmeter: Wattmeter
    timestamp: Timestamp
    measurements: list[Measurement]


class Gap(msgspec.Struct, frozen=True):
    """Messages of the bus that a reader of the stream does not get: they are gone, or it was too slow for them."""

    missed: Annotated[int | None, Meta(description="How many, of all wattmeters; null if that is not known.")]


class Problem(msgspec.Struct, frozen=True):
    """Why there is no answer (RFC 9457)."""

    type: Annotated[str, Meta(description="about:blank: the status says it all.")]
    title: Annotated[str, Meta(description="The status in words.")]
    status: Annotated[int, Meta(ge=400, le=599, description="The status of the answer.")]
    detail: Annotated[str, Meta(description="What is wrong with this request.")]


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the daemon can do its work, and what is missing."""

    ready: bool
    bus: Annotated[bool, Meta(description="A measurement has come of late: at most three intervals, or 10 s, ago.")]
    keystone: Annotated[bool | None, Meta(description="Keystone is configured; left out where it is not used.")] = None
