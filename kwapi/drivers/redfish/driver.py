"""Servers, blade enclosures and rack PDUs with a Redfish service.

httpx speaks to them rather than sushy, which knows none of the resources that tell power, makes a connection for every
request and sleeps for seconds between tries.

A chassis is read where it tells most: EnvironmentMetrics, a sensor of the whole chassis, the inputs of its power
supplies (PowerSubsystem), and on old devices Power. A chassis inside one that is measured is no probe unless it is
named ``id@outlet.INDEX``, since the outer one has it counted; a power supply is ``id@inlet.INDEX``. Of a PDU the names
are the outlets in order, ``id@inlet`` is its mains, ``id@phase.L1`` a line of them, ``id@bank.A`` a branch and
``id@device`` the whole. All that is found out when the driver opens; a poll asks for what the names need.
Source: see resources.py.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.redfish.client import Loop, Service, Target
from kwapi.drivers.redfish.discovery import find_rows
from kwapi.drivers.redfish.resources import (
    Readings,
    Resource,
    choose_rows,
    list_rows,
    parse_probe,
    reading_time,
)
from kwapi.drivers.repetition import Repetition
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from kwapi.option_types import ReadableFile


class Redfish(Driver):
    options = (
        cfg.HostAddressOpt("host", required=True, help="Name or address of the device, IPv4 or IPv6."),
        cfg.PortOpt("port", default=443, min=1, help="TCP port of its Redfish service, which is HTTPS."),
        cfg.StrOpt("user", required=True, help="User of the device, who needs no more than the right to read."),
        cfg.StrOpt("password", required=True, secret=True, help="Password of the user."),
        cfg.StrOpt(
            "auth",
            default="session",
            choices=["session", "basic"],
            help="session: log in once; basic: send user and password with each request, for devices that have few "
            "sessions or lose them.",
        ),
        cfg.BoolOpt("verify", default=True, help="Check the device's certificate; without, anyone may answer for it."),
        cfg.Opt(
            "ca_file",
            type=ReadableFile(),
            help="Certificates to check it with instead of the system's: a CA's, or its own.",
        ),
        cfg.FloatOpt(
            "min_interval",
            default=5.0,
            min=0.0,
            help="Seconds between two polls of one device, at least; a BMC is slow, a PDU may bear less.",
        ),
        cfg.FloatOpt(
            "timeout", default=2.0, min=0.1, max=10.0, help="Seconds to wait for an answer, but for that to a login."
        ),
        cfg.FloatOpt(
            "deadline",
            default=3.5,
            min=0.1,
            max=60.0,
            help="Seconds for all requests of a poll, and as many for finding out what the device has before the "
            "first; for slow devices raise hang_timeout as well.",
        ),
    )

    shared: Loop
    host: str
    port: int
    user: str
    password: str
    auth: str
    verify: bool
    ca_file: str | None
    min_interval: float
    timeout: float
    deadline: float

    def __init__(self, *section: Any, **clocks: Any) -> None:
        super().__init__(*section, **clocks)
        self._closing = ExitStack()
        self._repetitions: defaultdict[str, Repetition] = defaultdict(Repetition)  # by probe

    @classmethod
    def open_shared(cls) -> Loop:
        """Return the loop that runs the requests of all Redfish wattmeters of the process."""
        return Loop()

    @classmethod
    def close_shared(cls, shared: Loop) -> None:
        """End the loop."""
        shared.close()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        if self.ca_file and not self.verify:
            yield "ca_file", "is of no use with verify = false"
        if self.auth == "basic" and ":" in (self.user or ""):
            yield "user", "cannot have a colon with auth = basic"
        for name in filter(None, self.probes):
            try:
                probe, _, _ = parse_probe(name)
            except ValueError as error:
                yield "probes", str(error)
            else:
                if not probe:
                    yield "probes", f"{name!r} names a row, but not the probe"

    def probe_names(self) -> list[str]:
        """Return the ids of the probes, in order: names without their rows, and without the places that are skipped."""
        return [probe for name in self.probes if (probe := _probe_of(name))]

    def open(self) -> None:
        """Find out which of the device's resources the names mean."""
        self._service = Service(self.shared, self._target(), names=self.names, clock=self.monotonic_clock)
        self._closing.callback(self._service.close)
        self._service.allow(self.deadline)
        rows, ordered_level = find_rows(self._service, {parse_probe(name)[1] for name in self.probes})
        try:
            self._bound = choose_rows(self.probes, rows, ordered_level)
        except LookupError as error:
            raise DeviceError(f"{error}; {self._service.target} has {list_rows(rows)}") from error

    def read(self) -> list[Measurement]:
        """Return what the device measures now, power first."""
        self._service.allow(self.deadline)
        rows = [row for _, row in self._bound]
        found = self._fetch([(path, row.collection) for row in rows for path in row.paths])
        self.mark_answer()
        found |= self._fetch([(row.energy, "") for row in rows if row.energy])
        told = [(probe, row, row.measure(found)) for probe, row in self._bound]
        if told and not any(readings for *_, readings in told):
            raise DeviceError(f"{self._service.target} answers, but without a usable value for any probe")
        return [
            Measurement(probe, level=row.level, **readings)
            for probe, row, readings in told
            if readings and not self._is_repeated(probe, found[row.paths[0]], readings)
        ]

    def close(self) -> None:
        """Log out."""
        self._closing.close()

    def _is_repeated(self, probe: str, resource: Resource, readings: Readings) -> bool:
        return self._repetitions[probe].is_repeated(reading_time(resource), readings.get("watts"))

    def _target(self) -> Target:
        return Target(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            basic=self.auth == "basic",
            verify=self.verify,
            ca_file=self.ca_file,
            timeout=self.timeout,
        )

    def _fetch(self, wanted: Sequence[tuple[str, str]]) -> dict[str, Resource]:
        """Return resources by address, given address and collection; several of one collection by one request."""
        found: dict[str, Resource] = {}
        collections = Counter(collection for _, collection in set(wanted))
        for collection, count in collections.items():
            if collection and count > 1 and self._service.expands:
                found |= self._service.members(collection)
        for path, _ in wanted:
            if path not in found:
                found[path] = self._service.find(path) or {}
        return found


def _probe_of(name: str) -> str:
    try:
        return parse_probe(name)[0]
    except ValueError:  # problems() tells of it
        return ""
