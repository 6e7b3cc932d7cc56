"""What BMCs answer, in bytes: DCMI's power reading, sensor records, sensor readings. No I/O.

Numbers of several bytes are little-endian. Nothing is made of DCMI's statistics: on many BMCs the minimum and the
maximum are not of the period, but of all the time since a reset.

Source: DCMI 1.5, 6.6.1 (power reading); IPMI 2.0 revision 1.1, 20.1 (device id), 35.14 (sensor reading), 36.3 (its
conversion), 43.1 (full sensor record), 43.14 (entities), 43.15 (names).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from kwapi.errors import DeviceError

DCMI = 0xDC  # the group's number, which begins each of its requests and answers
POWER_READING = struct.Struct("<BHHHHIIB")  # group; W now, least, most, average; s since 1970; ms of the period; state
ACTIVE = 0x40  # of the state
NO_TIMESTAMPS = (0, 0xFFFFFFFF)  # what stands for none
FULL_RECORD = 0x01  # the only type of sensor record with a conversion
UNIT_OFFSET = 21  # of the unit in a full record
NAME_OFFSET = 48
WATT = 6
BMC_ADDRESS = 0x20
POWER_SUPPLY = 0x0A  # an entity
MACHINE = {0x07, 0x13, 0x15, 0x17}  # entities: system board, power unit, power distribution board, system chassis
UNAVAILABLE, SCANNING = 0x20, 0x40  # of a sensor reading's flags
BCD_PLUS = "0123456789 -.:,_"


@dataclass(frozen=True, slots=True)
class PowerReading:
    """The power of a whole machine, W, and over how many seconds its statistics are; ``timestamp`` is the BMC's."""

    watts: int
    minimum: int
    maximum: int
    average: int
    timestamp: int
    seconds: float
    active: bool

    @property
    def is_measured(self) -> bool:
        """Whether the watts were measured: OpenBMC sends live watts as inactive, but no watts mean none were."""
        return self.active or self.watts > 0

    @property
    def taken(self) -> int | None:
        """The BMC's own time of the reading, None if it has none."""
        return None if self.timestamp in NO_TIMESTAMPS else self.timestamp


@dataclass(frozen=True, slots=True)
class Identity:
    """What a BMC says it is; ``maker`` is its enterprise number, as IANA gave it."""

    maker: int
    product: int
    firmware: str
    version: str  # of IPMI


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor of watts: ``factor`` and ``offset`` make watts of a raw reading."""

    name: str
    number: int
    lun: int
    entity: int
    signed: str  # "", "ones" or "twos": how negative readings are written
    factor: float
    offset: float


def parse_power_reading(answer: bytes) -> PowerReading:
    """Return the reading in an answer to DCMI's Get Power Reading."""
    if len(answer) < POWER_READING.size or answer[0] != DCMI:
        raise DeviceError(f"malformed DCMI power reading {answer!r}")
    _, watts, minimum, maximum, average, timestamp, period, state = POWER_READING.unpack_from(answer)
    return PowerReading(watts, minimum, maximum, average, timestamp, period / 1000, bool(state & ACTIVE))


def parse_identity(answer: bytes) -> Identity:
    """Return what an answer to Get Device ID says."""
    if len(answer) < 11:
        raise DeviceError(f"malformed device id {answer!r}")
    _, _, major, minor, version = answer[:5]  # the minor one in BCD, so that 0x09 is .09
    return Identity(
        maker=int.from_bytes(answer[6:9], "little") & 0xFFFFF,
        product=int.from_bytes(answer[9:11], "little"),
        firmware=f"{major & 0x7F}.{minor:02x}",
        version=f"{version & 0x0F}.{version >> 4}",
    )


def may_be_watts(record: bytes) -> bool:
    """Return whether a record, or as much of it as there is, is one of watts."""
    if len(record) <= UNIT_OFFSET or record[3] != FULL_RECORD or record[UNIT_OFFSET] != WATT:
        return False
    return not record[UNIT_OFFSET - 1] & 0b111111  # no rate, no second unit, no percentage


def parse_sensor(record: bytes) -> Sensor | None:
    """Return the sensor that a record describes; None unless it is one of watts that the BMC itself can read.

    Left out are records without a number or with one that is not linear, and sensors of other controllers.
    """
    if len(record) < NAME_OFFSET:
        raise DeviceError(f"malformed sensor record {record!r}")
    owner, lun, form, linearization = record[5], record[6], record[20] >> 6, record[23] & 0x7F
    if not may_be_watts(record) or owner != BMC_ADDRESS or lun & 0xF0 or form == 3 or linearization:
        return None
    m = _twos(record[24] | (record[25] & 0xC0) << 2, 10)
    b = _twos(record[26] | (record[27] & 0xC0) << 2, 10)
    result_exponent, b_exponent = _twos(record[29] >> 4, 4), _twos(record[29] & 0x0F, 4)
    return Sensor(
        name=parse_name(record[47], record[48:]),
        number=record[7],
        lun=lun & 0b11,
        entity=record[8],
        signed=("", "ones", "twos")[form],
        factor=m * 10.0**result_exponent,
        offset=b * 10.0 ** (b_exponent + result_exponent),
    )


def parse_name(type_and_length: int, octets: bytes) -> str:
    """Return a name that is written as Latin-1, UTF-8, packed six-bit ASCII or BCD."""
    octets = octets[: type_and_length & 0x1F]
    match type_and_length >> 6:
        case 0:
            text = octets.decode("utf-8", "replace")
        case 1:
            text = "".join(BCD_PLUS[octet >> 4] + BCD_PLUS[octet & 0x0F] for octet in octets)
        case 2:
            bits = int.from_bytes(octets, "little")
            text = "".join(chr(0x20 + (bits >> 6 * place & 0x3F)) for place in range(len(octets) * 8 // 6))
        case _:
            text = octets.decode("latin-1")
    return text.rstrip("\0").strip()


def parse_sensor_reading(sensor: Sensor, answer: bytes) -> float | None:
    """Return the watts in an answer to Get Sensor Reading, None while the sensor has none."""
    if len(answer) < 2:
        raise DeviceError(f"malformed reading of sensor {sensor.name!r}: {answer!r}")
    raw, flags = answer[0], answer[1]
    if flags & UNAVAILABLE or not flags & SCANNING:
        return None
    if sensor.signed:
        raw = _twos(raw, 8) + (sensor.signed == "ones" and raw > 0x7F)
    return round(raw * sensor.factor + sensor.offset, 6)


def choose_sensors(sensors: Sequence[Sensor], patterns: Sequence[str]) -> list[Sensor]:
    """Return the sensors whose sum is the machine's power: those the patterns name, or the one that must be it.

    Without patterns that is the only one of the machine as a whole, or else of its only power supply. LookupError says
    what is wrong.
    """
    if not patterns:
        whole = [sensor for sensor in sensors if sensor.entity in MACHINE]
        chosen = whole or [sensor for sensor in sensors if sensor.entity == POWER_SUPPLY]
        if len(chosen) != 1:
            raise LookupError(f"it is not clear which sensors are the machine's power: {_names(sensors)}; set sensor")
        return chosen
    for pattern in patterns:
        if not any(fnmatchcase(sensor.name, pattern) for sensor in sensors):
            raise LookupError(f"no sensor {pattern!r} of watts: {_names(sensors)}")
    return [sensor for sensor in sensors if any(fnmatchcase(sensor.name, pattern) for pattern in patterns)]


def _names(sensors: Sequence[Sensor]) -> str:
    return "there are " + ", ".join(repr(sensor.name) for sensor in sensors) if sensors else "there are none"


def _twos(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value
