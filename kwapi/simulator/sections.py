"""The sections of drivers.conf by which Kwapi reads a farm, and the SNMP profiles that its registers' wraps need."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kwapi.simulator.farm import Farm, Wattmeter
from kwapi.simulator.load import MICROJOULES_PER_WH
from kwapi.simulator.servers import CERTIFICATE, USER

PROFILES = "profiles"


def write_sections(path: Path, farm: Farm, host: str) -> None:
    """Write a drivers.conf for its owner alone, and profiles into the farm's directory."""
    directory = farm.directory.absolute()
    folder = directory / PROFILES
    wattmeters = list(farm.wattmeters.values())
    wraps = sorted({wattmeter.plan.wrap for wattmeter in wattmeters if wattmeter.plan.wrap and is_snmp(wattmeter)})
    if wraps:
        (folder / "snmp").mkdir(parents=True, exist_ok=True)
        _replace(folder / "snmp" / "simulated.toml", "\n".join(map(profile, wraps)))
    _replace(path, "\n".join("\n".join([*section(each, host, directory), ""]) for each in wattmeters))


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


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:  # mode 0600
        file.write(text)
    os.replace(file.name, path)
