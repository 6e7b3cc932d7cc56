"""What the variables of a NUT server say of power; pure: no I/O.

ups.realpower is W and ups.power VA, or kVA in some drivers; the two are never mixed up: VA are given only where watts,
or volts times amperes, vouch for them. Many drivers fill a variable that their UPS does not have with 0, or with a
number that cannot be (9812.0 V): those are no values.

Source: networkupstools/nut docs/nut-names.txt (names, units); networkupstools/nut-ddl 1644b56c (what devices send).
"""

import math
import re
from collections.abc import Mapping

from kwapi.measurement import Measurement

WHOLE = ""  # the prefix of the whole device, which is looked for under several
SAME_AS_WHOLE = ("ups", "output")  # prefixes
PHASES = ("L1", "L2", "L3")
PREFIX = re.compile(r"(ups|output|input)(\.L[123])?|outlet(\.group)?\.\d+")
DISTRIBUTORS = ("pdu", "ats")  # device.type of what has outlets and nothing between them and the mains
MAX_VOLTS = 1000.0
MIN_HERTZ, MAX_HERTZ = 40.0, 70.0  # liebert-esp2 2.4.3 has sent 5.0 for 50
IDLE_LOAD, IDLE_AMPS = 1.0, 0.5  # % and A up to which 0 W may be true
NEARLY = 0.9  # of the power that is known for sure: apparent power below it is in kVA, or another phase's

Variables = Mapping[str, str]


def number(variables: Variables, name: str) -> float | None:
    """Return the value of a variable if it is a finite number and not negative."""
    try:
        value = float(variables.get(name, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def level(prefix: str) -> str:
    """Return where in the device the variables with this prefix are measured."""
    if prefix.startswith("outlet.group."):
        return "bank"
    if prefix.startswith("outlet."):
        return "outlet"
    if prefix[-2:] in PHASES:
        return "phase"
    return "inlet" if prefix == "input" else "device"


def is_busy(variables: Variables) -> bool:
    """Return whether load or current say that the device feeds something."""
    is_distributor = variables.get("device.type") in DISTRIBUTORS
    names = ("input.load", "input.current") if is_distributor else ("ups.load", "output.current")
    load, amps = (number(variables, name) for name in names)
    return bool((load and load > IDLE_LOAD) or (amps and amps > IDLE_AMPS))


def whole_watts(variables: Variables, estimate: bool = False) -> float | None:
    """Return the active power of the whole device: what a UPS gives out, what a PDU takes in."""
    sides = ("input", "outlet") if variables.get("device.type") in DISTRIBUTORS else ("ups", "output")
    found = [number(variables, f"{side}.realpower") for side in sides]
    for side in sides:
        phases = [number(variables, f"{side}.{phase}.realpower") for phase in PHASES]
        found.append(None if None in phases else math.fsum(filter(None, phases)))
    for watts in found:
        if watts or (watts == 0 and not is_busy(variables)):
            return watts
    load, nominal = number(variables, "ups.load"), number(variables, "ups.realpower.nominal")
    return load / 100 * nominal if estimate and load is not None and nominal else None


def measure(probe: str, prefix: str, variables: Variables, estimate: bool = False) -> Measurement | None:
    """Return what the variables with a prefix say, None if that is nothing of power or energy."""
    side = prefix
    if prefix == WHOLE:
        watts = whole_watts(variables, estimate)
        side = "input" if variables.get("device.type") in DISTRIBUTORS else "output"
    else:
        watts = number(variables, f"{prefix}.realpower")
    volts = number(variables, f"{side}.voltage") or number(variables, f"{side}-N.voltage")
    volts = volts if volts and volts <= MAX_VOLTS else None
    amps = number(variables, f"{side}.current")
    if amps == 0 and (watts or (prefix == WHOLE and is_busy(variables))):  # too coarse a register, or none
        amps = None
    power_factor = number(variables, f"{side}.powerfactor") or math.nan
    power_factor /= 100 if power_factor > 1 else 1  # usbhid-ups and others send percent
    hertz = number(variables, f"{side}.frequency") or 0.0
    wh = number(variables, f"experimental.{side}.energy")  # of apc_modbus
    measurement = Measurement(
        probe,
        watts=watts,
        volt_amperes=_volt_amperes(variables, side, watts if watts is not None else volts and amps and volts * amps),
        volts=volts,
        amps=amps,
        power_factor=power_factor if 0 < power_factor <= 1 else None,
        hertz=hertz if MIN_HERTZ <= hertz <= MAX_HERTZ else None,
        kwh=None if wh is None else wh / 1000,
        level=level(prefix),
    )
    known = (watts, measurement.volt_amperes, amps, measurement.kwh)
    return measurement if any(value is not None for value in known) else None


def _volt_amperes(variables: Variables, side: str, known: float | None) -> float | None:
    """Return the apparent power if it is not below the power that is known; without such there is no telling."""
    apparent = number(variables, f"{side}.power")
    if apparent is None and side == "output":
        apparent = number(variables, "ups.power")
    return apparent if apparent is not None and known is not None and apparent >= NEARLY * known else None


def outlets(variables: Variables) -> list[str]:
    """Return the prefixes of the outlets there are, in numerical order."""
    numbers = {int(match[1]) for name in variables if (match := re.match(r"outlet\.(\d+)\.", name))}
    return [f"outlet.{each}" for each in sorted(numbers) if each]
