"""Power of machines by their BMC (IPMI 2.0, on the network or by the kernel's device): DCMI, or sensors of watts.

A BMC measures every 1 to 5 s at best and is slow, so that it is asked no more often than every ``min_interval``. An
answer that repeats an old reading, by its own timestamp, is not a measurement; timestamps of a BMC whose watts change
while they stand still tell nothing.

Source: DCMI 1.5, 6.6.1; IPMI 2.0 revision 1.1, 35.14 and table 5-2 (completion codes).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyghmi  # noqa: F401 -- used by pyghmi.py in a process of its own; a lack of it is to be told at start
from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.ipmi.client import Client, Target, to_key
from kwapi.drivers.ipmi.records import (
    DCMI,
    Identity,
    PowerReading,
    Sensor,
    choose_sensors,
    parse_identity,
    parse_power_reading,
    parse_sensor_reading,
)
from kwapi.drivers.ipmi.repository import Repository
from kwapi.drivers.repetition import Repetition
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement

APPLICATION, GET_DEVICE_ID = 0x06, 0x01
GROUP, GET_POWER_READING = 0x2C, 0x02
SENSOR, GET_SENSOR_READING = 0x04, 0x2D
SYSTEM_STATISTICS = bytes([DCMI, 0x01, 0x00, 0x00])
UNSUPPORTED = {0xC1, 0xC2, 0xCC, 0xD6}  # no such command, not here, no such group or mode, switched off
ABSENT = 0xCB
NO_PRIVILEGE = 0xD4
PRIVILEGES = {"user": 2, "operator": 3, "administrator": 4}
MAX_USER, MAX_PASSWORD, MAX_KEY = 16, 20, 20  # bytes
EARLY = 0.9  # seconds by which a reading may come before its time, as the one after a late one does
LISTING_SHARE = 0.5  # of the time of a poll, for listing sensors


class Ipmi(Driver):
    options = (
        cfg.HostAddressOpt("host", help="Name or address of the BMC, IPv4 or IPv6."),
        cfg.PortOpt("port", default=623, min=1, help="UDP port of the BMC."),
        cfg.StrOpt("user", default="", help="User, who needs no more than the right to read."),
        cfg.StrOpt("password", default="", secret=True, help="Password of the user, 20 bytes at most."),
        cfg.StrOpt("kg", default="", secret=True, help="Key of the BMC (K_g) where one was set; 0x for hexadecimal."),
        cfg.StrOpt(
            "privilege",
            default="user",
            choices=list(PRIVILEGES),
            help="Level asked for; a few BMCs give power to operators only.",
        ),
        cfg.StrOpt("device", help="Instead of a host: the device of this machine's own BMC, such as /dev/ipmi0."),
        cfg.ListOpt(
            "sensor",
            default=[],
            help="Sensors of watts whose sum is the power, such as PS1 Input, PS2 Input or PS? Input. Without: DCMI, "
            "and on a BMC that has none the sensor of the machine as a whole.",
        ),
        cfg.FloatOpt("min_interval", default=5.0, min=0.0, help="Seconds between two readings of one BMC, at least."),
        cfg.FloatOpt("timeout", default=5.0, min=1.0, max=7.0, help="Seconds for all answers of one poll."),
    )

    opens_a_second = 100.0  # a login takes milliseconds, and not of this process

    shared: Client
    host: str | None
    port: int
    user: str
    password: str
    kg: str
    privilege: str
    device: str | None
    sensor: list[str]
    min_interval: float
    timeout: float

    def __init__(self, wattmeter: str, values: Mapping[str, Any], shared: Any = None, **clocks: Any) -> None:
        super().__init__(wattmeter, values, shared, **clocks)
        self._repository = Repository(self.host or self.device or "", self._ask)
        self._repetition = Repetition()
        self._due = self._end = 0.0

    @classmethod
    def open_shared(cls) -> Client:
        """Return the client whose processes ask the BMCs; they start when first used."""
        return Client()

    @classmethod
    def close_shared(cls, shared: Client) -> None:
        """End the processes."""
        shared.close()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        if len(self.probe_names()) != 1:
            yield "probes", "must be one name: a BMC measures one machine"
        if bool(self.host) == bool(self.device):
            yield "host", "or device is needed, and not both"
        if self.host:
            yield from self._credential_problems()
        try:
            key = to_key(self.kg) or b""
        except ValueError:
            yield "kg", "is not hexadecimal, as its 0x says"
        else:
            if len(key) > MAX_KEY:
                yield "kg", f"is longer than {MAX_KEY} bytes, which is all that IPMI takes"

    def peer(self) -> str:
        """Return the BMC, whose one session several sections may share."""
        return f"{(self.host or self.device or '').lower()}:{self.port}"

    def open(self) -> None:
        """Find the BMC's address; it is asked later, in the session that is open perhaps."""
        self._target = self._new_target()
        self.shared.join(self._target, self.wattmeter)
        self._by_dcmi = not self.sensor
        self._sensors: list[Sensor] = []
        self._due = 0.0  # after a failure there is no need to wait

    def read(self) -> list[Measurement]:
        """Return the machine's power; [] if it is not measured now, or if it is too early to ask again."""
        now = self.monotonic_clock()
        if now < self._due:
            return []
        self._end = now + self.timeout
        watts = self._read_dcmi() if self._by_dcmi else None
        if not self._by_dcmi:  # as the BMC may just have told
            watts = self._read_sensors()
        self._due = max(self._due, now - EARLY) + self.min_interval * self.shared.readers(self._target)
        return [] if watts is None else [Measurement(self.probe_names()[0], watts=watts)]

    def survey(self, seconds: float) -> "Survey":
        """Return all that the BMC tells of power, within so many seconds, a poll's time for each answer."""
        end = self.monotonic_clock() + seconds

        def has_time() -> bool:
            self._end = min(self.monotonic_clock() + self.timeout, end)
            return self.monotonic_clock() < end

        has_time()
        code, answer = self._ask(APPLICATION, GET_DEVICE_ID, b"")
        if code:
            raise DeviceError(f"{self._target} answered Get Device ID with code {code:#04x}")
        survey = Survey(parse_identity(answer))
        try:
            has_time()
            code, answer = self._ask(GROUP, GET_POWER_READING, SYSTEM_STATISTICS)
            survey.dcmi = parse_power_reading(answer) if not code else None
            survey.refusal = "" if code in UNSUPPORTED or not code else f"code {code:#04x}"
        except CredentialsRefused as error:  # of DCMI alone, since it answered before
            survey.refusal = str(error)
        try:
            has_time()
            self._repository.refresh()
            self._repository.go_on(has_time)
            if not self._repository.is_complete:
                raise DeviceError(f"{self._target} takes longer than {seconds:g} s to list its sensors")
            for sensor in self._repository.sensors:
                has_time()
                survey.sensors += [(sensor, watts) for watts in self._read_sensor(sensor)]
        except DeviceError:
            if survey.dcmi is None:  # else it is enough
                raise
        return survey

    def _read_dcmi(self) -> float | None:
        code, answer = self._ask(GROUP, GET_POWER_READING, SYSTEM_STATISTICS)
        if code in UNSUPPORTED:
            self._by_dcmi = False
            return None
        if code:
            raise DeviceError(f"{self._target} answered Get Power Reading with code {code:#04x}")
        reading = parse_power_reading(answer)
        repeated = self._repetition.is_repeated(reading.taken, reading.watts)
        return reading.watts if reading.is_measured and not repeated else None

    def _read_sensors(self) -> float | None:
        """Return the sum of the sensors, None as long as one of them has no reading or they are still being listed."""
        if not self._sensors:
            self._repository.refresh()
            end = self._end - self.timeout * (1 - LISTING_SHARE)
            self._repository.go_on(lambda: self.monotonic_clock() < end)
            if not self._repository.is_complete:
                return None
            try:
                self._sensors = choose_sensors(self._repository.sensors, self.sensor)
            except LookupError as error:
                raise DeviceError(f"{self._target}: {error}") from error
        readings = [reading for sensor in self._sensors for reading in self._read_sensor(sensor)]
        known = [reading for reading in readings if reading is not None]
        return sum(known) if known and len(known) == len(readings) else None

    def _read_sensor(self, sensor: Sensor) -> list[float | None]:
        """Return the sensor's reading; none at all if what it measures is not there, such as a second power supply."""
        code, answer = self._ask(SENSOR, GET_SENSOR_READING, bytes([sensor.number]), sensor.lun)
        if code == ABSENT:
            return []
        if code:
            raise DeviceError(f"{self._target} answered for sensor {sensor.name!r} with code {code:#04x}")
        return [parse_sensor_reading(sensor, answer)]

    def _ask(self, netfn: int, command: int, payload: bytes, lun: int = 0) -> tuple[int, bytes]:
        left = self._end - self.monotonic_clock()
        if left <= 0:
            raise DeviceError(f"{self._target} took longer than {self.timeout:g} s to answer everything")
        code, answer = self.shared.ask(self._target, netfn, command, payload, lun=lun, seconds=left)
        if code == NO_PRIVILEGE:
            asked = f"{netfn:#04x} {command:#04x}"
            raise CredentialsRefused(f"{self._target} wants more than privilege = {self.privilege} for {asked}")
        return code, answer

    def _new_target(self) -> Target:
        if self.device:
            return Target(self.device, device=self.device)
        host = self.host or ""
        address = self.names.addresses(host)[0]
        level = PRIVILEGES[self.privilege]
        return Target(host, address, self.port, self.user, self.password, self.kg, level)

    def _credential_problems(self) -> Iterator[tuple[str, str]]:
        limits = (("user", self.user, MAX_USER), ("password", self.password, MAX_PASSWORD))
        for option, value, limit in limits:
            if not value:
                yield option, "is empty, and a BMC on the network needs one"
            elif len(value.encode()) > limit:
                yield option, f"is longer than {limit} bytes, which is all that IPMI takes"


@dataclass(slots=True)
class Survey:
    """What a BMC is and what it tells of power: by DCMI, or why not, and by its sensors of watts that are there."""

    identity: Identity
    dcmi: PowerReading | None = None
    refusal: str = ""
    sensors: list[tuple[Sensor, float | None]] = field(default_factory=list)
