"""The sections of drivers.conf by which Kwapi reads a farm, and the SNMP profiles that its registers' wraps need.

A farm that is started again is found where it was: its wattmeters take the ports that the file gives them, and what
else they need lies in a directory beside it. Of the file, only what stands between two lines of ours is written anew.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from stat import S_IMODE
from urllib.parse import urlsplit

from oslo_config import cfg

from kwapi.config import Reader
from kwapi.errors import ConfigError
from kwapi.simulator.description import Plan
from kwapi.simulator.farm import Farm, Wattmeter
from kwapi.simulator.load import MICROJOULES_PER_WH
from kwapi.simulator.servers import CERTIFICATE, USER

PROFILES = "profiles"
BEGIN = "# From here on kwapi-simulator writes anew at each start, with the same ports and secrets."
END = "# To here."
SECTION = re.compile(r"^\[(.+)\]", re.MULTILINE)


def with_ports(plans: Iterable[Plan], path: Path) -> list[Plan]:
    """Return the plans, those without a port with the one that a drivers.conf gives them, if there is such a file.

    ConfigError if the file has one of them outside of what was written for a farm.
    """
    plans = list(plans)
    if not path.exists():
        return plans
    foreign = {name.lower() for name in SECTION.findall("".join(_around(path)))}
    if twice := [plan.name for plan in plans if plan.name.lower() in foreign]:
        raise ConfigError(
            *(f"{path}: [{name}] is not of kwapi-simulator's; remove it, or write elsewhere" for name in twice)
        )
    reader = Reader("drivers", [path], environ={})
    names, given = {plan.name for plan in plans}, {plan.port for plan in plans}
    ports = {name: port for name in names.intersection(reader.sections) if (port := _port(reader, name)) not in given}
    return [plan if plan.port else replace(plan, port=ports.get(plan.name, 0)) for plan in plans]


@contextmanager
def directory_beside(path: Path | None) -> Iterator[Path]:
    """Give a directory for what a farm's readers need: with a drivers.conf always the same one; and remove it."""
    if path is None:
        with tempfile.TemporaryDirectory(prefix="kwapi-simulator-") as temporary:
            yield Path(temporary)
        return
    directory = path.with_name(f"{path.name}.farm")
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _empty(directory)  # of what one that was killed has left
        try:
            yield directory
        finally:
            shutil.rmtree(directory)
    except BlockingIOError:
        raise ConfigError(f"{path}: is written by another kwapi-simulator, which runs") from None
    finally:
        os.close(lock)


def write_sections(path: Path, farm: Farm, host: str) -> None:
    """Write a farm's part of a drivers.conf, at first for its owner alone, and profiles into the farm's directory."""
    directory = farm.directory.absolute()
    folder = directory / PROFILES
    wattmeters = list(farm.wattmeters.values())
    wraps = sorted({wattmeter.plan.wrap for wattmeter in wattmeters if wattmeter.plan.wrap and is_snmp(wattmeter)})
    if wraps:
        (folder / "snmp").mkdir(parents=True, exist_ok=True)
        _replace(folder / "snmp" / "simulated.toml", "\n".join(map(profile, wraps)))
    before, after = _around(path)
    sections = "\n".join("\n".join([*section(each, host, directory), ""]) for each in wattmeters)
    _replace(path, f"{before}{BEGIN}\n\n{sections}\n{END}\n{after}")


def is_snmp(wattmeter: Wattmeter) -> bool:
    return wattmeter.plan.kind == "snmp"


def section(wattmeter: Wattmeter, host: str, directory: Path) -> Iterator[str]:
    """Yield the lines of a wattmeter's section, given the farm's directory."""
    plan = wattmeter.plan
    yield f"[{wattmeter.name}]"
    match plan.kind:
        case "snmp":
            yield from ("driver = snmp", f"host = {host}", f"port = {wattmeter.port}")
            yield f"community = {wattmeter.secret}"
            if plan.wrap:
                yield from (f"profile = {profile_name(plan.wrap)}", f"profile_dir = {directory / PROFILES}")
            else:
                yield "profile = eaton-g3"
        case "modbus":
            yield from ("driver = modbus", f"host = {host}", f"port = {wattmeter.port}", "profile = iem3155")
        case "http":
            yield from ("driver = http_json", f"url = http://{host}:{wattmeter.port}", "profile = shelly2")
        case "ipmi":
            yield from ("driver = ipmi", f"host = {host}", f"port = {wattmeter.port}")
            yield from (f"user = {USER}", f"password = {wattmeter.secret}")
        case "redfish":
            yield from ("driver = redfish", f"host = {host}", f"port = {wattmeter.port}")
            yield from (f"user = {USER}", f"password = {wattmeter.secret}")
            yield f"ca_file = {directory / CERTIFICATE}"
        case "wattsup":
            yield from ("driver = wattsup", f"device = {directory / wattmeter.name}")
    yield f"interval = {plan.interval}"
    yield from (f"{key} = {value}" for key, value in plan.options.items())
    yield f"probes = {', '.join(name for name, _ in wattmeter.probes)}"


def profile_name(wrap: int) -> str:
    """Return the name of the profile of a PDU whose registers wrap there."""
    return f"simulated-{wrap // MICROJOULES_PER_WH}"


def profile(wrap: int) -> str:
    """Return the profile."""
    name, counts = profile_name(wrap), wrap // MICROJOULES_PER_WH
    return f"""[{name}]
title = "simulated PDU whose registers wrap at {counts} Wh"
source = "kwapi.simulator"
checked = "MIB"
base = "1.3.6.1.4.1.534.6.6.7"

[{name}.inlet]
w = {{oid = "3.5.1.4", unit = "W"}}
va = {{oid = "3.5.1.3", unit = "VA"}}
kwh = {{oid = "3.5.1.5", unit = "Wh", wrap = {counts}, slow = true}}

[{name}.outlet]
w = {{oid = "6.5.1.3", unit = "W"}}
va = {{oid = "6.5.1.2", unit = "VA"}}
a = {{oid = "6.4.1.3", unit = "mA"}}
kwh = {{oid = "6.5.1.4", unit = "Wh", wrap = {counts}, slow = true}}
"""


def _around(path: Path) -> tuple[str, str]:
    """Return what stands in a drivers.conf before a farm's part, and behind it."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return "", ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    before, begin, rest = text.partition(f"{BEGIN}\n")
    if not begin:
        return f"{text.rstrip()}\n\n" if text.strip() else "", ""
    return before, rest.partition(f"{END}\n")[2]


def _empty(directory: Path) -> None:
    for each in directory.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _port(reader: Reader, section: str) -> int:
    """Return the port that a section gives, by itself or in its URL, 0 if it has none."""
    url = reader.value(section, cfg.StrOpt("url")) or ""
    try:
        return reader.value(section, cfg.PortOpt("port")) or urlsplit(url).port or 0
    except ValueError:  # somebody edited it
        return 0


def _replace(path: Path, text: str) -> None:
    """Write a file, which stays whose it is: the user of kwapi-drivers may be another one."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:  # mode 0600
        with suppress(OSError):  # there was none, or only root may
            before = path.stat()
            os.fchown(file.fileno(), -1, before.st_gid)
            os.fchmod(file.fileno(), S_IMODE(before.st_mode))
            os.fchown(file.fileno(), before.st_uid, -1)
        file.write(text)
    os.replace(file.name, path)
