"""What a BMC is, whether DCMI tells its machine's power, and which of its sensors of watts would do instead.

A section of a BMC has one probe: the machine. Where DCMI measures it, that is taken; else the one sensor of the whole
machine; else the sum of what goes into the power supplies, if their names tell it from what comes out.
"""

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from kwapi.cli.discover.found import PATIENCE, Found, Row, label_of, one_line, opened
from kwapi.drivers.base import Driver
from kwapi.drivers.ipmi.driver import Ipmi, Survey
from kwapi.drivers.ipmi.records import MACHINE, POWER_SUPPLY, Identity, Sensor, choose_sensors
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement

OPTIONS = ("user", "password", "kg", "privilege", "sensor", "timeout")
MAKERS = {  # of BMCs, by the enterprise number that IANA gave them
    2: "IBM",
    11: "Hewlett-Packard",
    42: "Sun Microsystems",
    119: "NEC",
    343: "Intel",
    674: "Dell",
    2011: "Huawei",
    2623: "ASUSTek",
    5771: "Cisco",
    6653: "Tyan",
    7244: "Quanta",
    10368: "Fujitsu",
    10876: "Supermicro",
    15370: "Gigabyte",
    19046: "Lenovo",
    20301: "IBM eServer X",
    20974: "American Megatrends",
    37945: "Inspur",
    40092: "Wiwynn",
    42817: "IBM OpenPOWER",
    47196: "Hewlett Packard Enterprise",
    49622: "ASRock Rack",
}
Rows = dict[Row, float | None]  # their watts

DCMI_ROW: Row = ("device", "dcmi")
OUTPUT = re.compile(r"out", re.IGNORECASE)  # in the name of what a power supply gives, not takes: PS1 Output, POUT1
NO_PATTERN = re.compile(r"[][*?,$\"']")  # what means something else in a pattern of a name, or in a list of them


def find(driver: type[Driver], values: Mapping[str, Any], shared: Any) -> Iterator[Found]:
    """Yield what the BMC has."""
    with opened(driver, values, shared) as one:
        survey = cast(Ipmi, one).survey(PATIENCE)
    rows = {row_of(sensor): watts for sensor, watts in survey.sensors}
    if survey.dcmi:
        rows = {DCMI_ROW: survey.dcmi.watts if survey.dcmi.is_measured else None, **rows}
    power, settings = DCMI_ROW, {}
    notes = [f"DCMI: {survey.refusal}"] if survey.refusal else []
    if values["sensor"] or rows.get(DCMI_ROW) is None:
        sensors = choose(survey, values["sensor"])
        settings = {"sensor": ", ".join(NO_PATTERN.sub("?", sensor.name) for sensor in sensors)}
        power, rows = add_up(sensors, settings["sensor"], rows)
        notes += _notes(survey, sensors)
    yield Found(
        profile="dcmi" if power == DCMI_ROW else "sensors",
        title=title_of(survey.identity),
        in_order=[power],
        measured={row: Measurement("server", watts=watts, level=row[0]) for row, watts in rows.items()},
        settings=settings,
        notes=notes,
        name=label_of(socket.gethostname()) if values["device"] else "",
        takes_rows=False,
    )


def add_up(sensors: Sequence[Sensor], names: str, rows: Rows) -> tuple[Row, Rows]:
    """Return the row of the machine's power, and the rows with it before all others."""
    used = [row_of(sensor) for sensor in sensors]
    if len(used) == 1:
        return used[0], {used[0]: rows[used[0]], **rows}
    known = [watts for row in used if (watts := rows[row]) is not None]
    power = ("device", names)
    return power, {power: sum(known) if len(known) == len(used) else None, **rows}


def _notes(survey: Survey, taken: Sequence[Sensor]) -> Iterator[str]:
    if len(taken) > 1:
        yield "The sum of several sensors is taken for the machine's power: see that they are its inputs."
    if any(sensor.entity == POWER_SUPPLY for sensor in taken):
        for sensor, watts in survey.sensors:
            if watts is None and sensor.entity == POWER_SUPPLY and sensor not in taken:
                yield f"{one_line(sensor.name)!r} has no reading now; if it will have one, add it to sensor."


def choose(survey: Survey, patterns: Sequence[str]) -> list[Sensor]:
    """Return the sensors whose sum is the machine's power; DeviceError lists all if that is not clear."""
    there = [sensor for sensor, watts in survey.sensors if watts is not None]
    try:
        return choose_sensors(there, patterns)
    except LookupError as error:
        inputs = [sensor for sensor in there if sensor.entity == POWER_SUPPLY and not OUTPUT.search(sensor.name)]
        is_clear = not any(sensor.entity in MACHINE for sensor in there)
        if patterns or not inputs or not is_clear:
            dcmi = "DCMI measures nothing now" if survey.dcmi else "no DCMI"
            hint = ", by --sensor" if there and not patterns else ""
            raise DeviceError(f"{title_of(survey.identity)}: {survey.refusal or dcmi}, and {error}{hint}") from error
        return inputs


def row_of(sensor: Sensor) -> Row:
    """Return the row of a sensor."""
    return ("inlet" if sensor.entity == POWER_SUPPLY else "device", one_line(sensor.name))


def title_of(identity: Identity) -> str:
    """Return what a BMC is, in a few words."""
    maker = MAKERS.get(identity.maker, f"maker {identity.maker}")
    return f"BMC of {maker}, product {identity.product:#06x}, firmware {identity.firmware}, IPMI {identity.version}"
