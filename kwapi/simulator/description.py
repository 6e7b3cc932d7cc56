"""The description of a farm of wattmeters: a file of TOML. docs/simulator.md has a whole one, and what faults mean.

[[wattmeter]]
name = "lyon.pdu"        of its section in drivers.conf; with count: lyon.pdu1, lyon.pdu2 and so on
kind = "snmp"            snmp (a PDU), modbus (a meter of up to 3 phases), http (a strip of up to 4 outlets), ipmi and
                         redfish (a BMC), wattsup (a meter on a line)
count = 50               how many of them; without it one
outlets = 4              what it measures; without it one
load = "mix"             idle, batch, web day, step, spiky, or a mix of these
seed = 7                 another number makes other servers; without it, its place in the farm
port = 10161             without it any free one; of several, the first
start_wh = 65000         first reading of its registers, 0 without it; if negative, so much before they wrap
wrap = "16 bit"          where they begin at zero again: 16, 24, 32 bit of its unit, or after 99999.9 kWh
interval = 1             seconds between polls; without it 1, of ipmi 5
options = {timeout = 2}  more lines of its section

[[wattmeter.fault]]      any number of them
kind = "slow"            silent, slow, refused, cut, garbage; frozen, wrong-unit, step-back, clock-step, reset,
                         reboot, power-loss
at = 30                  seconds after the start
for = 20                 seconds; without it to the end. A reboot takes 5
seconds = 3              of slow: how late answers are; of clock-step: how far the clock is off
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from kwapi.errors import ConfigError
from kwapi.measurement import name_problem
from kwapi.simulator.device import SHOWN_FAULTS, Fault
from kwapi.simulator.load import LOADS, MICROJOULES_PER_WH
from kwapi.simulator.relay import LINE_FAULTS

FAULTS = (*LINE_FAULTS, *SHOWN_FAULTS)
OF_SECONDS = ("slow", "clock-step")
REBOOTS = ("reboot", "power-loss")
REBOOT_SECONDS = 5.0
WIDTHS = {f"{bits} bit": 2**bits for bits in (16, 24, 32)}
MOST = 10_000  # wattmeters by one entry


@dataclass(frozen=True, slots=True)
class Kind:
    """How many outlets a kind of wattmeter has at most, and how much a count of its register is, if it has one.

    ``interval`` is how often it is polled if the description does not tell.
    """

    outlets: int
    microjoules: int | None
    interval: float = 1.0


KINDS = {
    "snmp": Kind(1000, MICROJOULES_PER_WH),
    "modbus": Kind(3, MICROJOULES_PER_WH),
    "http": Kind(4, MICROJOULES_PER_WH // 1000),
    "ipmi": Kind(1, None, interval=5.0),  # as often as the driver does it
    "redfish": Kind(1, MICROJOULES_PER_WH),
    "wattsup": Kind(1, MICROJOULES_PER_WH // 10),
}


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A fault from a second after the start on, for so many seconds; None for ever."""

    fault: Fault
    at: float
    lasts: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """One wattmeter of a farm; ``start`` and ``wrap`` of its registers are microjoules.

    ``secret`` is its community or password, made up if there is none here.
    """

    name: str
    kind: str
    outlets: int = 1
    load: str = "mix"
    seed: int = 0
    port: int = 0
    start: int = 0
    wrap: int | None = None
    interval: float = 1.0
    secret: str = field(default="", repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[Scheduled, ...] = ()


def read_description(path: Path) -> list[Plan]:
    """Return the wattmeters of a file; raise ConfigError with every mistake in it."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    entries = content.pop("wattmeter", [])
    mistakes = [f"{path}: {key}: unknown key" for key in content]
    if not isinstance(entries, list) or not entries:
        mistakes.append(f"{path}: there is no [[wattmeter]]")
        entries = []
    plans: list[Plan] = []
    for place, entry in enumerate(entries, 1):
        wrong = [f"{path}: wattmeter {place}: {mistake}" for mistake in _mistakes(entry)]
        mistakes += wrong
        plans += () if wrong else _plans(entry, len(plans))
    names = [plan.name for plan in plans]
    mistakes += [f"{path}: {name} is listed twice" for name in sorted(set(names)) if names.count(name) > 1]
    if mistakes:
        raise ConfigError(*mistakes)
    return plans


def parse_fault(entry: Mapping[str, Any]) -> tuple[Fault, float | None]:
    """Return a fault and for how many seconds it lasts; ValueError says what is wrong."""
    kind, seconds, lasts = entry.get("kind"), entry.get("seconds"), entry.get("for")
    if kind not in FAULTS:
        raise ValueError(f"{kind!r} is none of {', '.join(FAULTS)}")
    for name, value in (("seconds", seconds), ("for", lasts)):
        if value is not None and not _is_number(value):
            raise ValueError(f"{name}: {value!r} is no number")
    if lasts is not None and lasts < 0:
        raise ValueError(f"for: {lasts!r} is negative")
    if (kind in OF_SECONDS) != (seconds is not None):
        raise ValueError(f"{kind} needs seconds" if seconds is None else f"{kind} takes no seconds")
    if kind == "slow" and seconds is not None and seconds < 0:
        raise ValueError(f"seconds: {seconds!r} is negative")
    if kind in REBOOTS and lasts is None:
        lasts = REBOOT_SECONDS
    return Fault(str(kind), seconds or 0.0), lasts


def parse_wrap(text: str, count: int) -> int:
    """Return the microjoules at which a register wraps, given those of one count; ValueError says what is wrong."""
    if text in WIDTHS:
        return WIDTHS[text] * count
    number, _, unit = text.partition(" ")
    try:
        last = Decimal(number)
    except InvalidOperation:
        last = Decimal(0)
    exponent = last.as_tuple().exponent
    if unit != "kWh" or not isinstance(exponent, int) or set(number) - set("9.") or last <= 0:
        raise ValueError(f"{text!r} is none of {', '.join(WIDTHS)}, and no largest reading such as 99999.9 kWh")
    return int((last + Decimal(1).scaleb(exponent)) * 1000 * MICROJOULES_PER_WH)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plans(entry: Mapping[str, Any], place: int) -> Iterator[Plan]:
    """Yield the wattmeters of an entry without mistakes, the first of which has this place in the farm."""
    kind = KINDS[entry["kind"]]
    wrap = parse_wrap(entry["wrap"], kind.microjoules or 1) if "wrap" in entry else None
    start = int(Decimal(str(entry.get("start_wh", 0))) * MICROJOULES_PER_WH)
    faults = []
    for each in entry.get("fault", ()):
        fault, lasts = parse_fault(each)
        faults.append(Scheduled(fault, float(each["at"]), lasts))
    for number in range(entry.get("count", 1)):
        yield Plan(
            name=f"{entry['name']}{number + 1}" if "count" in entry else entry["name"],
            kind=entry["kind"],
            outlets=entry.get("outlets", 1),
            load=entry.get("load", "mix"),
            seed=entry.get("seed", place) + number,
            port=entry["port"] + number if entry.get("port") else 0,
            start=start if start >= 0 else (wrap or 0) + start,
            wrap=wrap,
            interval=entry.get("interval", kind.interval),
            options=entry.get("options", {}),
            faults=tuple(faults),
        )


def _mistakes(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "must be a table"
        return
    yield from (f"{key}: unknown key" for key in entry if key not in CHECKS)
    yield from (f"lacks {key}" for key in ("name", "kind") if key not in entry)
    wrong = [f"{key}: {problem}" for key, value in entry.items() if key in CHECKS and (problem := CHECKS[key](value))]
    yield from wrong
    if wrong or entry.get("kind") not in KINDS:
        return
    kind = KINDS[entry["kind"]]
    if entry.get("outlets", 1) > kind.outlets:
        yield f"outlets: {entry['kind']} has {kind.outlets} at most"
    if entry.get("start_wh", 0) < 0 and "wrap" not in entry:
        yield "start_wh: is negative, and there is no wrap"
    if "wrap" in entry:
        try:
            parse_wrap(entry["wrap"], kind.microjoules or 1)
        except ValueError as error:
            yield f"wrap: {error}"
    for each in entry.get("fault", ()):
        yield from (f"fault: {key}: unknown key" for key in each if key not in ("kind", "at", "for", "seconds"))
        if not _is_number(each.get("at")) or each["at"] < 0:
            yield f"fault: at: {each.get('at')!r} is no number of seconds"
        try:
            parse_fault(each)
        except ValueError as error:
            yield f"fault: {error}"


def _name(value: object) -> str | None:
    return name_problem(value) if isinstance(value, str) else f"{value!r} is no text"


def _among(*known: str) -> Any:
    return lambda value: None if value in known else f"{value!r} is none of {', '.join(known)}"


def _whole(low: int, high: int) -> Any:
    def problem(value: object) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return None
        return f"{value!r} is not a whole number from {low} to {high}"

    return problem


def _number(value: object) -> str | None:
    return None if _is_number(value) else f"{value!r} is no number"


def _text(value: object) -> str | None:
    return None if isinstance(value, str) else f"{value!r} is no text"


def _table(value: object) -> str | None:
    return None if isinstance(value, dict) else f"{value!r} is no table"


def _tables(value: object) -> str | None:
    is_list = isinstance(value, list) and all(isinstance(each, dict) for each in value)
    return None if is_list else f"{value!r} is no list of tables"


CHECKS = {
    "name": _name,
    "kind": _among(*KINDS),
    "count": _whole(1, MOST),
    "outlets": _whole(1, 1000),
    "load": _among(*LOADS),
    "seed": _whole(-(2**63), 2**63),
    "port": _whole(0, 65535),
    "start_wh": _number,
    "wrap": _text,
    "interval": _number,
    "options": _table,
    "fault": _tables,
}
