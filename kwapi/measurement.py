"""The values that travel: Measurement as a driver gives it, Message as the bus carries it. No I/O.

A message is one poll of one wattmeter: its probes in columns, one timestamp. On the wire it is MessagePack with the
attributes of Message as keys; a column that no probe has is left out, unknown keys are ignored.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from kwapi.errors import BadMessage

VERSION = 1
MEASUREMENT, END = "measurement", "end"  # types of messages
LEVELS = ("device", "inlet", "phase", "bank", "outlet")  # outermost first
EXPORT = "@export"  # ends the id of a probe that counts what flows back into the grid
NAME_BYTES = 80
RESERVED = "kwapi."  # names that begin so belong to Kwapi itself
STALE_INTERVALS, STALE_SECONDS = 3, 10.0
MIN_INTERVAL, MAX_INTERVAL = 0.001, 1e6  # seconds

Column = list[float | None]


class Measurement(NamedTuple):
    """One probe's values at one instant; None is unknown.

    ``kwh`` is the device's own energy register and ``kwh_wrap`` the amount at which that register starts again at
    zero, if it does. It is a tuple, so that those of a poll are turned into columns at once; the order of the
    attributes is that of QUANTITIES, between the probe and its level.
    """

    probe: str
    watts: float | None = None
    volt_amperes: float | None = None
    volts: float | None = None
    amps: float | None = None
    power_factor: float | None = None
    hertz: float | None = None
    kwh: float | None = None
    kwh_wrap: float | None = None
    level: str = "device"


class Message(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What one wattmeter reports of one instant; or, of type END and without probes, that its publisher ends.

    ``timestamp`` is Unix seconds UTC, ``monotonic`` the seconds of a clock that never steps and is comparable within
    one ``boot``, ``interval`` the seconds expected between messages. Each column is as long as ``probes``.
    """

    version: int
    type: str
    wattmeter: str
    boot: int
    seq: int
    timestamp: float
    monotonic: float
    interval: float
    probes: list[str]
    level: list[str] | None = None
    w: Column | None = None
    va: Column | None = None
    v: Column | None = None
    a: Column | None = None
    pf: Column | None = None
    hz: Column | None = None
    kwh: Column | None = None
    kwh_wrap: Column | None = None


class _Wire(Message, frozen=True, kw_only=True, gc=False):
    """A message as it comes, its probes and their levels still packed."""

    probes: msgspec.Raw  # type: ignore[assignment]  # it is never taken for a message
    level: msgspec.Raw = msgspec.Raw()  # type: ignore[assignment]


QUANTITIES = (  # column of Message, attribute of Measurement
    ("w", "watts"),
    ("va", "volt_amperes"),
    ("v", "volts"),
    ("a", "amps"),
    ("pf", "power_factor"),
    ("hz", "hertz"),
    ("kwh", "kwh"),
    ("kwh_wrap", "kwh_wrap"),
)
_LEVELS = frozenset(LEVELS)
_COLUMNS = attrgetter(*(column for column, _ in QUANTITIES))
_pack = msgspec.msgpack.Encoder().encode
_read_wire = msgspec.msgpack.Decoder(_Wire).decode
_read_probes = msgspec.msgpack.Decoder(list[str]).decode
_read_levels = msgspec.msgpack.Decoder(list[str] | None).decode


def name_problem(name: str) -> str | None:
    """Return what is wrong with the name of a wattmeter or a probe, None if it may be used."""
    if not name:
        return "is empty"
    if name in (".", ".."):
        return f"{name!r} means something else in an address"
    if name != name.strip():
        return f"{name!r} has blanks at its edges"
    if not unicodedata.is_normalized("NFC", name):
        return f"{name!r} is not in the Unicode form NFC"
    if len(name.encode("utf-8", "replace")) > NAME_BYTES:
        return f"{name!r} is longer than {NAME_BYTES} bytes"
    if forbidden := [c for c in name if c in "/,@" or unicodedata.category(c) in ("Cc", "Cs")]:
        return f"{name!r} contains {forbidden[0]!r}"
    return None


def probe_problem(probe: str) -> str | None:
    """Return what is wrong with a probe's id, which may end in @export, None if it may be used."""
    return name_problem(probe.removesuffix(EXPORT))


def to_columns(measurements: Sequence[Measurement]) -> dict[str, list[Any]]:
    """Return measurements, one at least, as arguments of Message: ``probes`` and every column that any of them has."""
    probes, *quantities, levels = zip(*measurements, strict=True)
    columns: dict[str, list[Any]] = {"probes": list(probes)}
    if levels[0] != "device" or levels.count("device") != len(levels):
        columns["level"] = list(levels)
    for (name, _), column in zip(QUANTITIES, quantities, strict=True):
        if column[0] is not None or column.count(None) != len(column):
            columns[name] = list(column)
    return columns


def check_columns(message: Message) -> None:
    """Raise BadMessage unless the columns fit the probes, whose layout is checked, and every number is in range."""
    count = len(message.probes)
    if bool(count) == (message.type == END):
        raise BadMessage("malformed", f"{count} probes")
    for column in _COLUMNS(message):
        if column is None:
            continue
        if len(column) != count:
            raise BadMessage("malformed", f"{len(column)} values for {count} probes")
        if not isfinite(_sum(column)):  # in C; one bad value spoils the sum
            raise BadMessage("malformed", "a value that is not finite")
    if not (isfinite(message.timestamp) and isfinite(message.monotonic)):
        raise BadMessage("malformed", "a time that is not finite")
    if not MIN_INTERVAL <= message.interval <= MAX_INTERVAL:
        raise BadMessage("malformed", f"interval {message.interval!r}")


def _sum(column: Column) -> float:
    """Return the sum of a column's values. Most have all of theirs, and to leave out None takes five times as long."""
    try:
        return sum(column)  # type: ignore[arg-type]  # which is what is tried
    except TypeError:
        return sum(filter(None, column))


def check_names(wattmeter: str, probes: Iterable[str]) -> None:
    """Raise BadMessage unless the name of a wattmeter and those of its probes may be used."""
    if problem := name_problem(wattmeter):
        raise BadMessage("malformed", f"wattmeter {problem}")
    for probe in probes:
        if problem := probe_problem(probe):
            raise BadMessage("malformed", f"probe {problem}")


class Layout(NamedTuple):
    """What most messages of a wattmeter have in common: its probes and their levels, and both as they are packed."""

    probes: list[str]
    level: list[str] | None
    packed: tuple[bytes, bytes]

    @classmethod
    def of(cls, probes: list[str], level: list[str] | None, packed: tuple[bytes, bytes] | None = None) -> "Layout":
        """Return that of some probes; raise BadMessage if there can be none. Names are not read."""
        if len(set(probes)) != len(probes):
            raise BadMessage("malformed", "a probe twice")
        if level is not None and (len(level) != len(probes) or not _LEVELS.issuperset(level)):
            raise BadMessage("malformed", f"levels {level!r}")
        return cls(probes, level, packed or (_pack(probes), b"" if level is None else _pack(level)))


def encode(message: Message, layout: Layout | None = None) -> bytes:
    """Return the message as the payload of a frame; its probes and levels are not packed again, given their layout."""
    if layout is None:
        return _pack(message)
    probes, level = layout.packed
    packed = msgspec.structs.replace(message, probes=msgspec.Raw(probes), level=msgspec.Raw(level) if level else None)
    return _pack(packed)


class Decoder:
    """Reads payloads, but not again the probes that a wattmeter named last; for one thread.

    Messages with the same probes share them, and they are not for changing.
    """

    def __init__(self) -> None:
        self._layouts: dict[str, Layout] = {}  # by wattmeter
        self._new: Layout | None = None  # of the message that was just read

    def decode(self, payload: bytes) -> Message:
        """Return the message of a payload, its values checked and its names not; BadMessage for any other bytes."""
        try:
            wire = _read_wire(payload)
            _check_kind(wire)
            layout = self._layout(wire)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise BadMessage("malformed", str(error)) from error
        message = Message(
            version=wire.version,
            type=wire.type,
            wattmeter=wire.wattmeter,
            boot=wire.boot,
            seq=wire.seq,
            timestamp=wire.timestamp,
            monotonic=wire.monotonic,
            interval=wire.interval,
            probes=layout.probes,
            level=layout.level,
            w=wire.w,
            va=wire.va,
            v=wire.v,
            a=wire.a,
            pf=wire.pf,
            hz=wire.hz,
            kwh=wire.kwh,
            kwh_wrap=wire.kwh_wrap,
        )
        check_columns(message)
        return message

    def keep(self, message: Message) -> None:
        """Remember the probes of the message that was just read: it is admitted, which bounds how many there are."""
        if self._new is not None:
            self._layouts[message.wattmeter], self._new = self._new, None

    def _layout(self, wire: _Wire) -> Layout:
        known, packed = self._layouts.get(wire.wattmeter), (bytes(wire.probes), bytes(wire.level))
        if known is not None and known.packed == packed:
            self._new = None
            return known
        level = _read_levels(packed[1]) if packed[1] else None
        self._new = layout = Layout.of(_read_probes(packed[0]), level, packed)
        return layout


def _check_kind(wire: _Wire) -> None:
    if wire.version != VERSION:
        raise BadMessage("unknown version", str(wire.version))
    if wire.type not in (MEASUREMENT, END):
        raise BadMessage("unknown type", wire.type)


def decode(payload: bytes) -> Message:
    """Return the message of a payload by itself, as a Decoder does."""
    return Decoder().decode(payload)


def topic_of(wattmeter: str) -> bytes:
    """Return the topic under which a wattmeter's messages travel: its name and a final dot."""
    return f"{wattmeter}.".encode()


def stale_after(interval: float) -> float:
    """Return the seconds after which a probe that is no longer measured is stale."""
    return max(STALE_INTERVALS * interval, STALE_SECONDS)


def outermost(levels: Iterable[str]) -> str:
    """Return the level, among those at which a wattmeter has probes, whose probes count to a total."""
    return min(levels, key=LEVELS.index)


def counted_probes(levels: Mapping[str, str]) -> list[str]:
    """Return the probes of one wattmeter that count to a total, given the level of each of its probes.

    Exported energy is never part of a total of what is consumed.
    """
    consuming = {probe: level for probe, level in levels.items() if not probe.endswith(EXPORT)}
    if not consuming:
        return []
    outer = outermost(consuming.values())
    return [probe for probe, level in consuming.items() if level == outer]
