"""The options by which a section of the configuration says what is where in a JSON document, if no profile does."""

from collections.abc import Iterator

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.json import profile as profiles
from kwapi.drivers.json.channel import QUANTITIES, parse_line
from kwapi.errors import ConfigError
from kwapi.measurement import LEVELS

GENERIC = "generic"
LINES = (
    cfg.StrOpt("w", help="generic: path and unit of active power, such as meters[*].power W; a * counts channels."),
    cfg.StrOpt("va", help="generic: path and unit of apparent power, such as meters[*].apparent VA"),
    cfg.StrOpt("v", help="generic: path and unit of the voltage, such as meters[*].u 0.1 V"),
    cfg.StrOpt("a", help="generic: path and unit of the current, such as meters[*].i mA"),
    cfg.StrOpt("pf", help="generic: path and unit of the power factor, such as meters[*].pf 0.01"),
    cfg.StrOpt("hz", help="generic: path and unit of the frequency, such as grid.frequency Hz"),
    cfg.StrOpt("kwh", help="generic: path and unit of the energy register: kWh, 0.1 kWh, Wh, Wmin or J."),
    cfg.StrOpt("export_kwh", help="generic: path and unit of the register of what flows back into the grid."),
    cfg.StrOpt("level", default="outlet", choices=LEVELS, help="generic: where in the device they are measured."),
)


def lines_of(driver: Driver) -> dict[str, str]:
    """Return the lines of a table, by quantity, that stand in a driver's section."""
    return {quantity: line for quantity in QUANTITIES if (line := getattr(driver, quantity))}


def profile_problems(driver: Driver, folder: str, profile: str, profile_dir: str) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) with the choice of a profile and with the lines that replace one."""
    lines = lines_of(driver)
    if profile == GENERIC:
        if not lines:
            yield "w", "is empty, and profile = generic needs this or another quantity"
        for quantity, line in lines.items():
            try:
                parse_line(quantity, line)
            except ValueError as error:
                yield quantity, str(error)
        return
    yield from ((quantity, "is for profile = generic only") for quantity in lines)
    try:
        known = profiles.load(folder, profile_dir)
    except ConfigError as error:
        yield from (("profile", mistake) for mistake in error.mistakes)
        return
    if profile not in known:
        yield "profile", f"{profile!r} is unknown; there are {', '.join([GENERIC, *sorted(known)])}"
