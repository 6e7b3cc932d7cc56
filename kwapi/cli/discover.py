"""``kwapi discover``: asks a device what it is and what it measures, and writes a section of drivers.conf for it.

What it prints is such a section, all else in comments: ``kwapi discover snmp pdu1 >> drivers.conf``. Secrets come from
a file or the environment (KWAPI_PASSWORD and the like) and are not printed.
"""

import argparse
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from oslo_config import cfg

from kwapi import service
from kwapi.cli.table import cell, lines
from kwapi.drivers import EXTRAS, find_driver
from kwapi.drivers.base import Driver
from kwapi.drivers.modbus import profile as meters
from kwapi.drivers.snmp import profile as profiles
from kwapi.drivers.snmp.client import Target, to_text
from kwapi.drivers.snmp.profile import KINDS
from kwapi.drivers.snmp.rows import choose_rows, find_rows, has_power
from kwapi.drivers.units import ATTRIBUTES
from kwapi.errors import ConfigError, DeviceError
from kwapi.measurement import NAME_BYTES, Measurement, name_problem
from kwapi.plausibility import implausibilities

HELP = "ask a device what it measures and write its section"
OPTIONS = {  # of each driver: those that matter for finding out
    "snmp": (
        *("version", "community", "user", "auth_protocol", "auth_key", "priv_protocol", "priv_key", "context_name"),
        *("timeout", "retries", "profile"),
    ),
    "redfish": ("user", "password", "auth", "verify", "ca_file", "timeout"),
    "modbus": ("unit", "rtu_over_tcp", "timeout", "profile"),
}
SHOWN_SECRETS = ("community",)  # is read by whoever reads the network, so it may stand on a command line
SYS_DESCR = "1.3.6.1.2.1.1.1.0"
PATIENCE = 60.0  # seconds; to look at all of a device takes longer than a poll
HERTZ, VOLTS = (45.0, 65.0), (80.0, 500.0)  # of mains; what a meter must read to be of a model

Row = tuple[str, str]  # level and index, as in id@level.index


@dataclass(frozen=True, slots=True)
class Found:
    """What a device is: its rows, those of them that names without a row mean in order, the names it has for them."""

    profile: str
    title: str
    rows: list[Row]
    in_order: list[Row]
    labels: Mapping[Row, str] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; those of a driver are added when it is chosen, since its library may be missing."""
    parser.add_argument("driver", choices=OPTIONS, help="what the device speaks")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="see: kwapi discover DRIVER --help")


def run(arguments: argparse.Namespace) -> int:
    """Discover each device; return 0, 1 if one of them gave nothing, 2 for wrong use."""
    try:
        driver = find_driver(arguments.driver)
    except ImportError as error:
        hint = f"; pip install 'kwapi[{arguments.driver}]'" if arguments.driver in EXTRAS else ""
        print(f"the driver {arguments.driver} cannot be loaded: {error}{hint}", file=sys.stderr)
        return service.EXIT_FAILED
    options = [option for option in driver.options if option.dest in OPTIONS[arguments.driver]]
    given = _parser(arguments.driver, driver, options).parse_args(arguments.rest)
    try:
        values, shown = _values(driver, options, given)
    except ConfigError as error:
        return service.refuse(error)
    shared = driver.open_shared()
    status, names, probes = 0, set[str](), set[str]()
    try:
        for host, port in given.hosts:
            address = {"host": host, **({} if port is None else {"port": port})}
            try:
                found, measured = discover(arguments.driver, driver, values | address, shared)
            except (DeviceError, OSError) as error:
                print(error if host in str(error) else f"{host}: {error}", file=sys.stderr)
                status = service.EXIT_FAILED
                continue
            if given.json:
                print(msgspec.json.encode(as_object(host, found, measured)).decode())
            else:
                wattmeter = wattmeter_name(host, port, names)
                settings = {"driver": arguments.driver, **address, **shown}
                if arguments.driver == "modbus":
                    settings["profile"] = found.profile
                print(section(wattmeter, settings, found, measured, probes))
            for sentence in implausibilities(measured.values()):
                print(f"{host}: implausible: {sentence}", file=sys.stderr)
    finally:
        driver.close_shared(shared)
    return status


def discover(
    name: str, driver: type[Driver], values: dict[str, Any], shared: Any
) -> tuple[Found, dict[Row, Measurement]]:
    """Return what a device is, and what its rows measure now."""
    if name == "modbus":
        return _find_modbus(driver, values, shared)
    found = _find_snmp(values, shared) if name == "snmp" else _find_redfish(values, shared)
    if name == "snmp":
        values = values | {"profile": found.profile}
    probes = {f"{level}.{index}": (level, index) for level, index in found.rows}
    measurements = poll(driver, values | {"probes": [f"{probe}@{probe}" for probe in probes]}, shared)
    return found, {probes[each.probe]: each for each in measurements if each.probe in probes}  # not what flows back


def poll(driver: type[Driver], values: Mapping[str, Any], shared: Any) -> list[Measurement]:
    """Return what a driver with these values measures."""
    one = driver("discover", values, shared)
    try:
        one.open()
        return one.read()
    finally:
        one.close()


def _find_snmp(values: Mapping[str, Any], shared: Any) -> Found:
    """Return what an SNMP agent has, by the profile that the driver would take."""
    from kwapi.drivers.snmp.driver import identify  # its library is an extra

    agent = shared.agent(Target(**{each.name: values[each.name] for each in fields(Target)}))
    known = profiles.load()
    system = agent.get([SYS_DESCR])
    found, calls_itself = known.get(values["profile"]), None
    if not found:
        found, calls_itself = identify(agent, known)
    if not found:
        raise DeviceError(
            f"answers, but no profile knows its sysObjectID {calls_itself!r}; --profile takes one of "
            f"{', '.join(sorted(known))}"
        )
    columns = agent.columns(found.oids())
    rows = find_rows(found, columns)
    if found.fallback and not has_power(rows, columns):
        found = known[found.fallback]
        columns = agent.columns(found.oids())
        rows = find_rows(found, columns)
    if not rows:
        raise DeviceError(f"answers as {found.title} (profile {found.name}), but measures nothing that is known of it")
    outlets = [row for row in rows if row[0] == "outlet"]
    try:
        choose_rows(["outlet"] * len(outlets), list(rows), "outlet")
    except LookupError:  # a hole in their numbers: each must be named with its row
        outlets = []
    tables = [table for table in found.tables if table.labels]
    texts = agent.columns([table.labels for table in tables])
    labels = {(table.kind, to_text(at)): text for table in tables for at, text in texts[table.labels].items()}
    return Found(
        profile=found.name,
        title=f"{found.title}, {one_line(system.get(SYS_DESCR, 'without a description'))}",
        rows=[(kind, to_text(index)) for kind, index in rows],
        in_order=[(kind, to_text(index)) for kind, index in outlets],
        labels={row: one_line(text) for row, text in labels.items()},
    )


def _find_redfish(values: Mapping[str, Any], shared: Any) -> Found:
    """Return what a Redfish service has."""
    from kwapi.drivers.redfish import client, discovery  # their library is an extra

    target = client.Target(
        basic=values["auth"] == "basic",
        **{name: values[name] for name in ("host", "port", "user", "password", "verify", "ca_file", "timeout")},
    )
    with closing(client.Service(shared, target)) as asked:
        asked.allow(PATIENCE)
        root = asked.get_root()
        rows, ordered = discovery.find_rows(asked, {discovery.IN_ORDER, *KINDS})
    about = [root.get(key) for key in ("Vendor", "Product", "RedfishVersion")]
    return Found(
        profile="redfish",
        title=one_line(" ".join(text for text in about if isinstance(text, str))) or "Redfish service",
        rows=[(row.level, row.index) for row in rows],
        in_order=[(row.level, row.index) for row in rows if row.level == ordered],
    )


def _find_modbus(driver: type[Driver], values: dict[str, Any], shared: Any) -> tuple[Found, dict[Row, Measurement]]:
    """Return the only model whose registers read like mains, and what they say."""
    known = meters.load()
    fitting: list[tuple[int, meters.Profile, dict[str, Measurement]]] = []
    refusal: DeviceError | None = None
    answers = False
    for name in [values["profile"]] if values["profile"] else known:
        probes = [place.name for place in known[name].places]
        try:
            measured = {each.probe: each for each in poll(driver, values | {"profile": name, "probes": probes}, shared)}
        except DeviceError as error:
            refusal = error
            continue
        answers = True
        if score := 1 if values["profile"] else _mains_readings(measured):
            fitting.append((score, known[name], measured))
    best = [each for each in fitting if each[0] == max(score for score, *_ in fitting)]
    if not best:
        raise refusal if refusal and not answers else DeviceError("no profile fits what it answers")
    if len(best) > 1:
        raise DeviceError(f"{', '.join(each.name for _, each, _ in best)} fit alike; choose by --profile")
    _, profile, measured = best[0]
    rows = {place.name: (place.level, place.name) for place in profile.places}
    ordered = list(rows.values())
    found = Found(profile.name, profile.title, ordered, ordered)
    return found, {rows[name]: each for name, each in measured.items() if name in rows}


def _mains_readings(measured: Mapping[str, Measurement]) -> int:
    """Return how many readings speak for mains, 0 if any speaks against: other models have other things there."""
    told = [(each.hertz, HERTZ) for each in measured.values()] + [(each.volts, VOLTS) for each in measured.values()]
    inside = [low <= value <= high for value, (low, high) in told if value is not None]
    return len(inside) if all(inside) and not any(implausibilities(measured.values())) else 0


def section(
    wattmeter: str, settings: Mapping[str, Any], found: Found, measured: Mapping[Row, Measurement], taken: set[str]
) -> str:
    """Return the section of a device; ``taken`` are the probes of the sections before, and gets those of this one."""
    named = rows_to_name(found, measured)
    names = probe_names(wattmeter, named, found.labels, taken)
    taken.update(names.values())
    used = [name for name in ATTRIBUTES.values() if any(getattr(each, name) is not None for each in measured.values())]
    rows = [
        [f"{level}.{index}", names.get((level, index)), *(getattr(each, name) for name in used)]
        for (level, index), each in measured.items()
    ]
    probes = [name if named == found.in_order else f"{name}@{row[0]}.{row[1]}" for row, name in names.items()]
    others = [row for row in measured if row not in names]
    text = [
        f"# {settings['host']}: {found.title} (profile {found.profile})",
        "#",
        *(f"#   {line}" for line in lines(["row", "probe", *used], rows)),
        f"[{wattmeter}]",
        *(f"{key} = {_shown(value)}".rstrip() for key, value in settings.items()),
        f"probes = {_shown(', '.join(probes))}",
    ]
    if others:
        text += ["# It also measures these, which may be added to the probes:"]
        text += [f"#   {_fallback(wattmeter, row)}@{row[0]}.{row[1]}" for row in others]
    return "\n".join([*text, ""])


def rows_to_name(found: Found, measured: Mapping[Row, Measurement]) -> list[Row]:
    """Return the rows that a section shall name: those in order, else the innermost or outermost ones with power."""
    with_power = {row for row, each in measured.items() if each.watts is not None}
    for candidates in (with_power, set(measured)):
        if not candidates.isdisjoint(found.in_order):
            return found.in_order
        for kind in ("outlet", *KINDS):
            if rows := [row for row in found.rows if row[0] == kind and row in candidates]:
                return rows
    return []


def probe_names(wattmeter: str, rows: Sequence[Row], labels: Mapping[Row, str], taken: set[str]) -> dict[Row, str]:
    """Return a name for each row: its label, unless that is empty or not its alone."""
    fallbacks = {
        row: f"{wattmeter}-outlet-{number}" if row[0] == "outlet" else _fallback(wattmeter, row)
        for number, row in enumerate(rows, 1)
    }
    if len(rows) == 1 and rows[0][0] != "outlet":
        fallbacks[rows[0]] = wattmeter
    cleaned = {row: clean(labels.get(row, "")) for row in rows}
    count = Counter([*cleaned.values(), *fallbacks.values(), *taken])
    return {row: name if name and count[name] == 1 else fallbacks[row] for row, name in cleaned.items()}


def _fallback(wattmeter: str, row: Row) -> str:
    return clean("-".join([wattmeter, *dict.fromkeys(row)]).replace(".", "-"))


def clean(label: str) -> str:
    """Return what can be a name of what an owner wrote on an outlet, "" for nothing."""
    text = unicodedata.normalize("NFC", one_line(label)).translate(str.maketrans("/,@", "---"))
    while len(text.encode()) > NAME_BYTES:
        text = text[:-1]
    text = text.strip(" \"'")  # quotes at both ends of a value are not part of it
    return "" if name_problem(text) else text


def one_line(value: object) -> str:
    """Return text from a device without line ends and control characters."""
    text = str(value)
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.decode("latin-1")
    return " ".join("".join(c if unicodedata.category(c) not in ("Cc", "Cs") else " " for c in text).split())


def wattmeter_name(host: str, port: int | None, taken: set[str]) -> str:
    """Return a name for the section of a device, without dots, which would group it; ``taken`` gets it."""
    label = host if re.fullmatch(r"[0-9.]+|.*:.*", host) else host.partition(".")[0]
    choices = [label, host, f"{host}-{port or len(taken) + 1}"]
    names = [re.sub(r"[^A-Za-z0-9_-]+", "-", choice)[:40].strip("-") for choice in choices]
    name = next((each for each in names if each not in taken), f"{names[-1]}-{len(taken)}")
    taken.add(name)
    return name


def as_object(host: str, found: Found, measured: Mapping[Row, Measurement]) -> dict[str, Any]:
    """Return what was found as one object of JSON."""
    rows = [
        {"level": level, "index": index, **{name: getattr(each, name) for name in ATTRIBUTES.values()}}
        for (level, index), each in measured.items()
    ]
    return {"host": host, "profile": found.profile, "rows": rows}


def _parser(name: str, driver: type[Driver], options: Sequence[cfg.Opt]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"kwapi discover {name}", description=driver.__doc__, allow_abbrev=False)
    parser.add_argument("hosts", type=_address, nargs="+" if name == "snmp" else 1, metavar="HOST[:PORT]")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each device")
    for option in options:
        flag = f"--{option.dest.replace('_', '-')}"
        about = (option.help or "").replace("%", "%%")
        if option.secret:
            hint = f"file with it, else from the environment: {_variable(option)}"
            parser.add_argument(f"{flag}-file", type=Path, metavar="FILE", help=f"{about} A {hint}.")
        if isinstance(option, cfg.BoolOpt):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=about)
        elif not option.secret or option.dest in SHOWN_SECRETS:
            parser.add_argument(flag, type=partial(_take, option), metavar="VALUE", help=f"{about} ({option.default})")
    return parser


def _take(option: cfg.Opt, text: str) -> Any:
    """Return a value as drivers.conf would take it."""
    try:
        return option.type(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _address(text: str) -> tuple[str, int | None]:
    match = re.fullmatch(
        r"\[(?P<v6>[^]]+)\](?::(?P<p6>\d+))?|(?P<host>[^:]+)(?::(?P<port>\d+))?|(?P<bare>.*:.*:.*)", text
    )
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST, HOST:PORT or [IPV6]:PORT")
    port = match["p6"] or match["port"]
    host = _take(cfg.HostAddressOpt("host"), match["v6"] or match["host"] or match["bare"])
    return host, _take(cfg.PortOpt("port", min=1), port) if port else None


def _variable(option: cfg.Opt) -> str:
    return f"KWAPI_{option.dest.upper()}"


def _values(
    driver: type[Driver], options: Sequence[cfg.Opt], given: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a value for each option of the driver, and those that a section shows; raise ConfigError for mistakes."""
    values = {option.dest: option.default for option in driver.options}
    shown: dict[str, Any] = {}
    for option in options:
        if (value := getattr(given, option.dest, None)) is not None:
            values[option.dest] = shown[option.dest] = value
        elif option.secret and (secret := _secret(option, getattr(given, f"{option.dest}_file"))):
            values[option.dest], shown[option.dest] = secret, ""  # for its owner to write there
    values |= {"probes": [], "interval": 1.0, "hang_timeout": 10.0, "host": "host"}
    mistakes = [
        f"{option.dest} is missing: {option.help}"
        for option in options
        if option.required and not values[option.dest] and option.dest != "profile"
    ]
    problems = driver("discover", values).problems()
    mistakes += [f"{key} {problem}" for key, problem in problems if key != "profile" or values[key]]
    if mistakes:
        raise ConfigError(*mistakes)
    return values | ({"deadline": PATIENCE} if "deadline" in values else {}), shown


def _secret(option: cfg.Opt, path: Path | None) -> str:
    if path is None:
        return os.environ.get(_variable(option), "")
    try:
        return path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _shown(value: object) -> str:
    return (cell(value).lower() if isinstance(value, bool) else str(value)).replace("$", "$$")
