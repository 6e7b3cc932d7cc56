"""Which units of a Modbus line answer, and which profile reads like mains in each of them.

Every profile gets some numbers out of any meter. What speaks for one is how many of its voltages and frequencies are
such as mains has; a single one that is not, or watts beyond volt-amperes, speaks against it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, cast

from oslo_config import cfg, types

from kwapi.cli.discover.found import Found, Row, opened
from kwapi.drivers.base import Driver
from kwapi.drivers.modbus import profile as profiles
from kwapi.drivers.modbus.driver import Modbus
from kwapi.drivers.modbus.profile import Profile
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from kwapi.plausibility import implausibilities

HERTZ, VOLTS = (45.0, 65.0), (80.0, 300.0)  # of mains, between a phase and neutral
LAST_UNIT = 255  # 248 to 255 are not for serial lines, but for devices that are reached by TCP


class Units(types.Range):
    """Units of a line, such as 1-10, or one."""

    def __call__(self, value: object) -> range:
        try:
            units: range = super().__call__(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no number from 0 to {LAST_UNIT}, and no span such as 1-10") from error
        return units


OPTIONS = (
    *("rtu_over_tcp", "baudrate", "parity", "stop_bits", "timeout", "profile", "profile_dir"),
    cfg.Opt(
        "units",
        type=types.List(Units(0, LAST_UNIT)),
        default="1",
        help="Addresses on the line (slave or unit ids) that are asked, such as 1-10 or 3,7. One that is silent takes "
        "twice the timeout.",
    ),
)

Readings = dict[str, Measurement]  # by place of a profile
Fitness = tuple[int, int]

UNLIKE_MAINS: Fitness = (0, 0)


def find(driver: type[Driver], values: Mapping[str, Any], shared: Any) -> Iterator[Found | str]:
    """Yield the meter at each unit; DeviceError tells of units that answer and are none, or that nobody answers."""
    known = profiles.load(values["profile_dir"])
    if chosen := values["profile"]:
        known = {chosen: known[chosen]}
    units = list(dict.fromkeys(chain.from_iterable(values["units"])))
    heeds_units = values["device"] or values["rtu_over_tcp"]
    owners: dict[tuple[float, ...], int] = {}  # of registers of energy: their unit
    failures, answers = [], False
    for unit in units:
        at_unit = {**values, "unit": unit, "profile": next(iter(known)), "probes": []}
        with opened(driver, at_unit, shared) as one:  # so that the line stays open until the unit is known
            if not cast(Modbus, one).is_there():
                continue
            answers = True
            try:
                found = _identify(driver, at_unit, shared, known, is_chosen=bool(chosen))
            except DeviceError as error:
                failures.append(f"unit {unit} answers, but {error}")
                continue
        kwh = tuple(each.kwh for each in found.measured.values() if each.kwh)
        if kwh and not heeds_units and (owner := owners.setdefault(kwh, unit)) != unit:
            yield f"unit {unit} counts the same energy as unit {owner}: one meter, which heeds no unit"
            continue
        yield found if len(units) == 1 else replace(found, part=str(unit))
    if not answers:
        raise DeviceError(f"nothing answers at {'unit' if len(units) == 1 else 'the units'} {list_units(units)}")
    if failures:
        raise DeviceError("; ".join(failures))


def list_units(units: Sequence[int]) -> str:
    """Return the units as they are written, such as 1-10, 17."""
    spans: list[list[int]] = []
    for unit in units:
        if spans and unit == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], unit]
        else:
            spans.append([unit])
    return ", ".join("-".join(map(str, span)) for span in spans)


def _identify(
    driver: type[Driver], values: Mapping[str, Any], shared: Any, known: Mapping[str, Profile], *, is_chosen: bool
) -> Found:
    """Return the meter at a unit: the model whose registers read most like mains, or the one that was chosen."""
    readings: list[tuple[Fitness, Profile, Readings]] = []
    refusal = ""
    for name, profile in known.items():
        probes = [place.name for place in profile.places]
        try:
            with opened(driver, {**values, "profile": name, "probes": probes}, shared) as one:
                measured = {each.probe: each for each in one.read() if each.probe in probes}
        except DeviceError as error:
            refusal = refusal or str(error)
            continue
        readings.append((fitness(measured), profile, measured))
    fitting = [each for each in readings if each[0] > UNLIKE_MAINS]
    if is_chosen:
        fitting = readings
    if not fitting:
        raise DeviceError("no profile fits what it answers" if readings else refusal)
    most = max(degree for degree, *_ in fitting)
    best = [profile for degree, profile, _ in fitting if degree == most]
    if any((each.table, each.places) != (best[0].table, best[0].places) for each in best):
        raise DeviceError(f"{', '.join(each.name for each in best)} fit alike; choose by --profile")
    measured = next(measured for _, profile, measured in fitting if profile is best[0])
    rows: dict[str, Row] = {place.name: (place.level, place.name.removeprefix("device")) for place in best[0].places}
    return Found(
        profile=best[0].name,
        title="; or ".join(each.title for each in best),
        in_order=list(rows.values()),
        measured={rows[name]: each for name, each in measured.items()},
        settings={"unit": values["unit"], "profile": best[0].name},
        notes=list(_notes(most, [profile.name for _, profile, _ in fitting if profile not in best])),
        takes_rows=False,
    )


def fitness(measured: Readings) -> Fitness:
    """Return how much readings are like mains: how many of them are, less is better of phases without voltage."""
    told = [(each.hertz, HERTZ) for each in measured.values()] + [(each.volts, VOLTS) for each in measured.values()]
    like_mains = [low <= value <= high for value, (low, high) in told if value]
    checked = list(measured.values())
    if len(checked) == 1:  # there is one voltage and one current, and so their product is known as well
        checked = [checked[0]._replace(level="phase")]
    if not like_mains or not all(like_mains) or any(implausibilities(checked)):
        return UNLIKE_MAINS
    return len(like_mains), -sum(each.volts == 0 for each in checked)


def _notes(degree: Fitness, others: Sequence[str]) -> Iterator[str]:
    if degree == UNLIKE_MAINS:
        yield "What it reads is not like mains: is it this model?"
    if others:
        yield f"Read as {', '.join(others)} it looks like mains as well, but less so."
