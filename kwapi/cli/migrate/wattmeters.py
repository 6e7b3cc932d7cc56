"""The wattmeters of 2013: a class of a driver, a list of probes, a dictionary of parameters; and what they are now.

    Wattsup    device                                                  wattsup
    Ipmi       interface, host, username, password, sensor             ipmi
    Snmp       ip, protocol, community or user, oid, resolution        snmp, profile generic: whole watts in a column
    Eaton      ip, user: v3, the watts of 24 outlets                   the same
    Raritan    ip, user: v3, the watts of 20 outlets                   the same
    Json_url   url of {"taurus-1": {"watt": ..., "timestamp": ...}}    http_json, a section for each probe
    Dummy      min, max                                                dummy

Grid'5000 has ``probes_names`` and ``data_type`` beside, and drivers that count the bytes of a network.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from kwapi.cli.migrate.old import OldSection, Report, written
from kwapi.measurement import NAME_BYTES, RESERVED, name_problem

EATON_OID = "1.3.6.1.4.1.534.6.6.7.6.5.1.3"
RARITAN_OID = "1.3.6.1.4.1.13742.4.1.2.2.1.7"
NETWORK = "it counted the bytes of a network, and Kwapi measures power only"
SITE_KEYS = {  # of Grid'5000
    "probes_names": "a probe has one name, that of probes",
    "data_type": "every probe measures power",
}
Parameters = dict[str, Any]


class Plan(NamedTuple):
    """A section as it will be: what is added to its name, its options, and its probes by their old names."""

    suffix: str
    options: dict[str, str]
    probes: list[str | None]


class Wattmeters:
    """Converts the sections of one file, whose names of probes are unique afterwards."""

    def __init__(self, path: Path, report: Report) -> None:
        self.names: dict[str, str] = {}  # of each probe: the old one by the new one
        self._path = path
        self._report = report
        self._sections: set[str] = set()

    def convert(self, section: OldSection) -> str:
        """Return a section as it is now; as a comment where nothing takes its place."""
        as_it_was = [f"{key} = {value}" for key, values in section.values.items() for value in values]
        try:
            text = "".join(self._written(section, plan) for plan in self._plans(section))
        except ValueError as error:
            self._report.tell(self._path, section, "", f"not converted, a comment now: {error}")
            lines = [f"[{section.name}]", *(line for each in as_it_was for line in each.splitlines())]
            return f"# Not converted: {error}\n" + "".join(f"# {line}\n" for line in lines)
        for key in section.values:
            self._report.tell(self._path, section, key, SITE_KEYS.get(key, "an option that is not known; left out"))
        return text

    def _plans(self, section: OldSection) -> list[Plan]:
        """Return what a section becomes; ValueError if that is nothing."""
        driver = section.take("driver")
        if driver.lower() not in DRIVERS:
            raise ValueError(f"there is no driver {driver!r}{NOTES.get(driver.lower(), '')}")
        try:
            probes = section.take_python("probes", [])
            parameters = section.take_python("parameters", {})
        except ValueError as error:
            raise ValueError(f"probes or parameters {error}") from error
        if not any(probes):
            raise ValueError("it names no probe")
        rest = dict(parameters)
        tell = partial(self._report.tell, self._path, section, "parameters")
        plans = list(DRIVERS[driver.lower()](rest, probes, tell))
        for key in rest:
            tell(f"{key!r} has no counterpart; left out")
        return plans

    def _written(self, section: OldSection, plan: Plan) -> str:
        name = self._free(section, f"{section.name}{plan.suffix}", self._sections, "the wattmeter")
        self._sections.add(name)
        probes = []
        for old in plan.probes:
            new = "" if old is None else self._free(section, str(old), set(self.names), "the probe")
            if old is not None:
                self.names[new] = str(old)
            probes.append(new)
        return f"[{name}]\n" + "".join(written({**plan.options, "probes": ", ".join(probes)}))

    def _free(self, section: OldSection, name: str, taken: set[str], what: str) -> str:
        """Return a name that may be used and is not taken: the same, where that is possible."""
        found = usable(name)
        number = 1
        while found.lower() in {each.lower() for each in taken}:
            number += 1
            found = f"{usable(name)[: NAME_BYTES - 20]}-{number}"
        if found != name:
            why = "a name stands once" if number > 1 else name_problem(name) or "the name belongs to Kwapi itself"
            hint = "; [machine NAME] in api.conf shows the sum of several" if number > 1 and what == "the probe" else ""
            self._report.tell(self._path, section, "", f"{what} {name!r} is called {found!r} now: {why}{hint}")
        return found


def usable(name: str) -> str:
    """Return a name that a wattmeter or a probe may have, as much like the old one as possible."""
    name = unicodedata.normalize("NFC", name).strip()
    name = "".join("-" if each in "/,@" or unicodedata.category(each) in ("Cc", "Cs") else each for each in name)
    name = name.encode()[:NAME_BYTES].decode(errors="ignore").strip() or "unnamed"
    return f"old-{name}" if name in (".", "..") or name.startswith(RESERVED) or name.upper() == "DEFAULT" else name


def _text(parameters: Parameters, key: str, default: str = "") -> str:
    value = parameters.pop(key, default)
    return default if value is None else str(value)


def _required(parameters: Parameters, key: str) -> str:
    if not (value := _text(parameters, key)):
        raise ValueError(f"parameters lack {key!r}")
    return value


def _wattsup(parameters: Parameters, probes: list[str | None], tell: Callable[[str], None]) -> Iterator[Plan]:
    device = _text(parameters, "device", "/dev/ttyUSB0")
    yield Plan("", {"driver": "wattsup", "device": device}, _one(probes, tell))


def _one(probes: list[str | None], tell: Callable[[str], None]) -> list[str | None]:
    if len(probes) > 1:
        tell("it measures one probe only, and never measured the others")
    return probes[:1]


def _ipmi(parameters: Parameters, probes: list[str | None], tell: Callable[[str], None]) -> Iterator[Plan]:
    interface = _text(parameters, "interface", "lanplus")
    options = {"driver": "ipmi"}
    if interface == "open":
        options["device"] = "/dev/ipmi0"
        for key in ("host", "username", "password"):
            parameters.pop(key, None)
        tell("host, username and password are not needed with the interface open")
    else:
        options |= {"host": _required(parameters, "host"), "user": _text(parameters, "username")}
        options["password"] = _text(parameters, "password")
        if interface != "lanplus":
            tell(f"the interface {interface!r} is not spoken; IPMI 2.0 is, as by lanplus")
    if sensor := _text(parameters, "sensor"):
        options["sensor"] = sensor
    yield Plan("", options, _one(probes, tell))


def _snmp(parameters: Parameters, probes: list[str | None], tell: Callable[[str], None]) -> Iterator[Plan]:
    version = _text(parameters, "protocol", "2c")
    if version not in ("1", "2c", "3"):
        raise ValueError(f"there is no version {version!r} of SNMP")
    oid = re.sub(r"^(\.?iso)?\.", lambda begin: "1." if "iso" in begin[0] else "", _required(parameters, "oid"))
    who = {"user": _text(parameters, "user")} if version == "3" else {"community": _text(parameters, "community")}
    for key in {"user", "community"} & parameters.keys():
        parameters.pop(key)
        tell(f"{key!r} is of no use with version {version}; left out")
    options = {"driver": "snmp", "host": _required(parameters, "ip"), "version": version, **who}
    if resolution := _text(parameters, "resolution"):
        options["interval"] = resolution
    yield Plan("", {**options, "profile": "generic", "oid": oid, "unit": "W"}, probes)


def _pdu(oid: str) -> Callable[[Parameters, list[str | None], Callable[[str], None]], Iterator[Plan]]:
    def convert(parameters: Parameters, probes: list[str | None], tell: Callable[[str], None]) -> Iterator[Plan]:
        parameters |= {"protocol": "3", "oid": oid}
        yield from _snmp(parameters, probes, tell)

    return convert


def _json_url(parameters: Parameters, probes: list[str | None], tell: Callable[[str], None]) -> Iterator[Plan]:
    url = _required(parameters, "url")
    for place, probe in enumerate(probes, 1):
        if probe:
            key = re.sub(r"[\[\]]", "", str(probe).partition(".")[2] or str(probe))  # G5K: probes are SITE.HOST
            options = {"driver": "http_json", "url": url, "w": f"[{key}].watt W"}
            yield Plan(f".{place}" if len(probes) > 1 else "", options, [probe])


def _dummy(parameters: Parameters, probes: list[str | None], tell: Callable[[str], None]) -> Iterator[Plan]:
    try:
        least, most = float(_text(parameters, "min", "75")), float(_text(parameters, "max", "100"))
    except ValueError:
        raise ValueError("'min' or 'max' is no number") from None
    options = {"driver": "dummy", "watts": f"{(least + most) / 2:g}", "amplitude": f"{abs(most - least) / 2:g}"}
    yield Plan("", options, probes)


DRIVERS: dict[str, Callable[[Parameters, list[str | None], Callable[[str], None]], Iterator[Plan]]] = {
    "wattsup": _wattsup,
    "ipmi": _ipmi,
    "snmp": _snmp,
    "eaton": _pdu(EATON_OID),
    "raritan": _pdu(RARITAN_OID),
    "json_url": _json_url,
    "json": _json_url,
    "dummy": _dummy,
    "dummywatts": _dummy,
}
NOTES = dict.fromkeys(("dummynet", "snmpin", "snmpout"), f": {NETWORK}")
