"""PDUs and other devices with an SNMP agent, read by profile (profile.py) or by OIDs of the configuration.

Names become rows of the device's tables (rows.py says how) when the driver opens, so that a row that vanishes for
a while does not shift the others. Columns that change slowly are read less often; between, their values are unknown.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.profiles import PROFILE_DIR
from kwapi.drivers.repetition import Repetition
from kwapi.drivers.snmp import profile as profiles
from kwapi.drivers.snmp.client import AUTH_PROTOCOLS, PRIV_PROTOCOLS, Agent, Client, Index, Target, Value
from kwapi.drivers.snmp.profile import OID, Profile
from kwapi.drivers.snmp.pysnmp import PysnmpLoop
from kwapi.drivers.snmp.rows import (
    Cell,
    Columns,
    Row,
    add_exports,
    choose_rows,
    find_rows,
    has_power,
    list_rows,
    measure,
    parse_probe,
    taken_at,
    two_way_kinds,
)
from kwapi.drivers.units import UNITS, parse_unit
from kwapi.errors import ConfigError, DeviceError
from kwapi.measurement import LEVELS, Measurement

SYS_OBJECT_ID = "1.3.6.1.2.1.1.2.0"
SYS_UP_TIME = "1.3.6.1.2.1.1.3"  # as a column
AUTO, GENERIC = "auto", "generic"
LOG = logging.getLogger(__name__)
HAS_GUFO = find_spec("gufo") is not None  # gufo-snmp is optional
MIN_KEY = 8  # characters; RFC 3414, 11.2

if TYPE_CHECKING:
    from kwapi.drivers.snmp.gufo import GufoAgent, GufoClient


class Snmp(Driver):
    options = (
        cfg.HostAddressOpt("host", required=True, help="Name or address of the device, IPv4 or IPv6."),
        cfg.PortOpt("port", default=161, min=1, help="UDP port of the device's SNMP agent."),
        cfg.StrOpt("version", default="2c", choices=["1", "2c", "3"], help="Version of SNMP."),
        cfg.StrOpt("community", default="public", secret=True, help="What v1 and v2c have for a password."),
        cfg.StrOpt("user", default="", help="User of v3, who needs no more than the right to read."),
        cfg.StrOpt("auth_protocol", default="SHA", choices=AUTH_PROTOCOLS, help="How v3 signs, given an auth_key."),
        cfg.StrOpt("auth_key", default="", secret=True, help="Passphrase for signing, 8 characters or more."),
        cfg.StrOpt(
            "priv_protocol",
            default="AES-128",
            choices=PRIV_PROTOCOLS,
            help="How v3 encrypts if there is a priv_key. AES-192-C and AES-256-C make their keys Cisco's way.",
        ),
        cfg.StrOpt("priv_key", default="", secret=True, help="Passphrase for encryption, 8 characters or more."),
        cfg.StrOpt("context_name", default="", help="Context of v3; few devices have any but the empty one."),
        cfg.FloatOpt("timeout", default=1.0, min=0.1, max=10.0, help="Seconds to wait for an answer."),
        cfg.IntOpt("retries", default=2, min=0, max=5, help="How often to ask again when no answer came."),
        cfg.FloatOpt(
            "slow_interval",
            default=10.0,
            min=0.0,
            help="Seconds between readings of the columns that change slowly, such as energy registers. Power is read "
            "at each poll.",
        ),
        cfg.StrOpt(
            "profile",
            default=AUTO,
            help="Device family. auto: found by what the device calls itself (sysObjectID), or has; "
            "generic: the OIDs below.",
        ),
        PROFILE_DIR,
        cfg.ListOpt("oid", default=[], help="generic: columns or single values; the i-th name is the i-th row."),
        cfg.StrOpt("quantity", default="w", choices=list(UNITS), help="generic: what they are."),
        cfg.StrOpt("unit", help="generic: what one count is worth, such as W, 0.1 W, mW, 0.1 kWh; 0.01 for a pf."),
        cfg.IntOpt("wrap", min=1, help="generic, kwh: the count at which the register starts again at zero."),
        cfg.BoolOpt("signed", default=False, help="generic: negative values are true; else they mean no value."),
        cfg.StrOpt("level", default="outlet", choices=LEVELS, help="generic: where in the device they are measured."),
    )  # fmt: skip

    opens_a_second = 100.0 if HAS_GUFO else 20.0  # to open a PDU takes 8 to 10 ms of CPU, without gufo-snmp 25

    shared: "Client | GufoClient"
    _bound: Sequence[tuple[Sequence[str], str, Sequence[Cell]]] = ()  # ids, kind and cells of each row with a name
    host: str
    port: int
    version: str
    community: str
    user: str
    auth_protocol: str
    auth_key: str
    priv_protocol: str
    priv_key: str
    context_name: str
    timeout: float
    retries: int
    address: str  # of the host, from open() on
    slow_interval: float
    profile: str
    profile_dir: str
    oid: list[str]
    quantity: str
    unit: str | None
    wrap: int | None
    signed: bool
    level: str

    @classmethod
    def open_shared(cls) -> "Client | GufoClient":
        """Return the client that all SNMP wattmeters of the process share; its loop starts when first used."""
        client = Client(PysnmpLoop)
        if not HAS_GUFO:
            return client
        from kwapi.drivers.snmp.gufo import GufoClient

        return GufoClient(client)

    @classmethod
    def close_shared(cls, shared: "Client | GufoClient") -> None:
        """End the loop."""
        shared.close()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        if (patience := self.timeout * (self.retries + 1)) >= self.hang_timeout:
            yield "timeout", f"a silent device is given up after {patience:g} s, not within hang_timeout"
        yield from self._credential_problems()
        yield from self._profile_problems()
        yield from self._probe_problems()

    def probe_names(self) -> list[str]:
        """Return the ids of the probes, in order, each with its @export after it where what flows back is told apart.

        Whether it is, is a matter of the profile: with ``profile = auto`` it is known once the device was asked.
        """
        if self._bound:
            return [each for ids, *_ in self._bound for each in ids]
        probes = [(probe, kind or self._ordered_kind) for probe, kind in map(_probe_of, self.probes) if probe]
        return [each for ids in add_exports(probes, self._two_way()) for each in ids]

    def open(self) -> None:
        """Find out what the device is and which of its rows the names mean."""
        self.address = self.names.addresses(self.host)[0]
        self._agent = self.shared.agent(self._target())
        profile, rows = self._find_rows()
        first = next((table.first for table in profile.tables if table.kind == self._ordered_kind), None)
        try:
            chosen = choose_rows(self.probes, list(rows), self._ordered_kind, first)
        except LookupError as error:
            raise DeviceError(f"{error}; {self.host} has {list_rows(list(rows))}") from error
        ids = add_exports([(probe, kind) for probe, (kind, _) in chosen], two_way_kinds(rows))
        self._bound = [(each, row[0], rows[row]) for each, (_, row) in zip(ids, chosen, strict=True)]
        self._power, self._others, self._slow = split_oids([cell for *_, cells in self._bound for cell in cells])
        self._slow.append(SYS_UP_TIME)
        self._slow_at = self.monotonic_clock()
        self._up_time = 0
        self._repetitions: defaultdict[str, Repetition] = defaultdict(Repetition)  # by probe
        self._others_fail = False
        self._unanswered: set[str] = set()  # columns that failed when they were last read

    def read(self) -> list[Measurement]:
        """Return what the device measures now, power first."""
        columns: Columns = self._agent.columns(self._power)
        self.mark_answer()
        now = self.monotonic_clock()
        is_slow = now >= self._slow_at - self.interval / 2  # polls may come a little early
        if is_slow:
            self._slow_at = now + self.slow_interval
        columns = {**columns, **self._read_others(self._slow if is_slow else [], columns)}
        if self._has_restarted(columns):
            raise DeviceError(f"{self.host} has restarted, and may have numbered its rows anew")
        rows = [(measure(ids, kind, cells, columns), taken_at(cells, columns)) for ids, kind, cells in self._bound]
        if self._bound and not any(measurements for measurements, _ in rows):
            raise DeviceError(f"{self.host} answers, but without a usable value for any probe")
        return [each for measurements, taken in rows if self._is_new(measurements, taken) for each in measurements]

    def _is_new(self, measurements: Sequence[Measurement], taken: Value | None) -> bool:
        """Return whether these, of one row, were not there before."""
        if taken is None or not measurements:
            return True
        return not self._repetitions[measurements[0].probe].is_repeated(taken, measurements[0].watts)

    def _read_others(self, slow: Sequence[str], power: Columns) -> Columns:
        """Return the columns that are read after power; none if they fail, for power that was read is published.

        Those that failed are not tried again before slow ones are due, lest each poll waits for them in vain.
        """
        oids = [*self._others, *slow]
        if not oids or (self._others_fail and not slow):
            return {}
        try:
            columns = self._agent.columns(oids)
        except (DeviceError, OSError) as error:
            if not any(cell.value(power) is not None for *_, cells in self._bound for cell in cells):
                raise
            if not self._unanswered:
                self._partial_since = self.monotonic_clock()
                LOG.warning("%s answers in part: %s", self.wattmeter, error)
            self._unanswered.update(oids)
            self._others_fail = self._others_fail or not slow  # if slow: maybe only these
            return {}
        self._others_fail = False
        if self._unanswered and self._unanswered.issubset(oids):
            LOG.info("%s answers in full after %.0f s", self.wattmeter, self.monotonic_clock() - self._partial_since)
            self._unanswered.clear()
        return columns

    def _has_restarted(self, columns: Columns) -> bool:
        ticks = columns.get(SYS_UP_TIME, {}).get((0,))
        if not isinstance(ticks, int):  # not read this time, or the device has none
            return False
        before, self._up_time = self._up_time, ticks
        return ticks < before  # also after 497 days, when the counter starts again: one poll is no great loss

    @property
    def _ordered_kind(self) -> str:
        return self.level if self.profile == GENERIC else "outlet"

    def _two_way(self) -> set[str]:
        """Return the kinds of rows that tell what flows back, as far as the configuration says."""
        if self.profile == GENERIC:
            return {self.level} if self.signed and self.quantity == "w" else set()
        try:
            found = None if self.profile == AUTO else self._known.get(self.profile)
        except ConfigError:  # problems() tells of it
            found = None
        return {table.kind for table in found.tables if table.two_way} if found else set()

    def _target(self) -> Target:
        return Target(**{field.name: getattr(self, field.name) for field in fields(Target)})

    def _find_rows(self) -> tuple[Profile, dict[Row, tuple[Cell, ...]]]:
        if self.profile == GENERIC:
            generic = self._generic()
            return generic, find_rows(generic, self._agent.columns(generic.oids()))
        try:
            return find_device(self._agent, self._known, self.profile)
        except LookupError as error:
            raise DeviceError(f"{self.host} has {error}; set profile in its section") from error

    @cached_property
    def _known(self) -> dict[str, Profile]:
        return profiles.load(self.profile_dir)

    def _generic(self) -> Profile:
        cells = self._agent.get(self.oid)
        columns = self._agent.columns([oid for oid in self.oid if oid not in cells])
        if missing := [oid for oid, rows in columns.items() if not rows]:
            # To go on without would give the names of the missing ones to others.
            raise DeviceError(f"{self.host} has nothing at {', '.join(missing)}")
        return profiles.generic(
            self.oid,
            cells,
            quantity=self.quantity,
            unit=self.unit or UNITS[self.quantity] or "1",
            signed=self.signed,
            wrap=self.wrap,
            level=self.level,
        )

    def _credential_problems(self) -> Iterator[tuple[str, str]]:
        if self.version != "3":
            if not self.community:
                yield "community", "is empty"
            return
        if not self.user:
            yield "user", "is empty, and version 3 needs one"
        for option, key in (("auth_key", self.auth_key), ("priv_key", self.priv_key)):
            if key and len(key) < MIN_KEY:
                yield option, f"is shorter than {MIN_KEY} characters"
        if self.priv_key and not self.auth_key:
            yield "priv_key", "needs an auth_key as well"

    def _profile_problems(self) -> Iterator[tuple[str, str]]:
        try:
            known = self._known
        except ConfigError as error:
            yield from (("profile", mistake) for mistake in error.mistakes)
            return
        if self.profile != GENERIC:
            if self.oid:
                yield "oid", "is for profile = generic only"
            if self.profile != AUTO and self.profile not in known:
                yield "profile", f"{self.profile!r} is unknown; there are {', '.join([AUTO, GENERIC, *sorted(known)])}"
            return
        if not self.oid:
            yield "oid", "is empty, and profile = generic needs one"
        yield from (("oid", f"{oid!r} is no OID") for oid in self.oid if not OID.fullmatch(oid))
        if self.unit is not None:
            try:
                parse_unit(self.unit, self.quantity)
            except ValueError as error:
                yield "unit", str(error)

    def _probe_problems(self) -> Iterator[tuple[str, str]]:
        rows: dict[tuple[str, Index], str] = {}
        for name in filter(None, self.probes):
            try:
                probe, level, index = parse_probe(name)
            except ValueError as error:
                yield "probes", str(error)
                continue
            if not probe:
                yield "probes", f"{name!r} names a row, but not the probe"
            if level is not None and rows.setdefault((level, index), name) != name:
                yield "probes", f"{name!r} and {rows[level, index]!r} name the same row"


def _probe_of(name: str) -> tuple[str, str | None]:
    """Return id and kind of a name, with an empty id for one that problems() tells of."""
    try:
        return parse_probe(name)[:2]
    except ValueError:
        return "", None


def identify(agent: "Agent | GufoAgent", known: Mapping[str, Profile]) -> tuple[Profile | None, Value | None]:
    """Return the profile that fits a device, if there is one, and what the device calls itself."""
    name = agent.get([SYS_OBJECT_ID]).get(SYS_OBJECT_ID)
    if found := profiles.detect(known, str(name)):
        return found, name
    columns = agent.columns([profile.known_by for profile in known.values() if profile.known_by])
    answering = (profile for profile in known.values() if profile.known_by and columns[profile.known_by])
    return next(answering, None), name


def find_device(
    agent: "Agent | GufoAgent", known: Mapping[str, Profile], name: str
) -> tuple[Profile, dict[Row, tuple[Cell, ...]]]:
    """Return the profile of an agent's device, by what it calls itself if the name is auto, and the rows it has.

    LookupError says what it calls itself if no profile knows that.
    """
    if name == AUTO:
        found, calls_itself = identify(agent, known)
        if found is None:
            raise LookupError(f"the sysObjectID {calls_itself!r}, which no profile knows")
    else:
        found = known[name]
    columns = agent.columns(found.oids())
    rows = find_rows(found, columns)
    if found.fallback and not has_power(rows, columns):
        found = known[found.fallback]
        rows = find_rows(found, agent.columns(found.oids()))
    return found, rows


def split_oids(cells: Sequence[Cell]) -> tuple[list[str], list[str], list[str]]:
    """Return the columns to read first, the others of each poll, and those that need not be read at each."""

    def columns(chosen: Iterable[Cell], *known: list[str]) -> list[str]:
        oids = dict.fromkeys(oid for cell in chosen for oid in cell.oids())
        return [oid for oid in oids if not any(oid in others for others in known)]

    power = columns(cell for cell in cells if cell.column.quantity == "w")
    others = columns((cell for cell in cells if not cell.column.slow), power)
    slow = columns(cells, power, others)
    if not power:  # a device without active power: whatever else it has
        power, others = others, []
    if not power:
        power, slow = slow, []
    return power, others, slow
