"""``kwapi discover``: asks a device what it is and what it measures, and writes a section of drivers.conf for it.

What it prints is such a section, all else in comments: ``kwapi discover snmp pdu1 >> drivers.conf``. Secrets come from
a file, the environment (KWAPI_PASSWORD and the like) or a question at the terminal, and are not printed.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

import msgspec

from kwapi import service
from kwapi.cli.discover.arguments import Address, parse, read_values, usual_port
from kwapi.cli.discover.found import Found, as_object
from kwapi.cli.discover.section import section, wattmeter_name
from kwapi.cli.table import show_text
from kwapi.drivers import EXTRAS, find_driver
from kwapi.drivers.base import Driver
from kwapi.errors import ConfigError, DeviceError
from kwapi.libraries import how_to_install
from kwapi.plausibility import implausibilities

HELP = "ask a device what it measures and write its section"
PROTOCOLS = {  # by driver; imported when used, since a driver's library may be missing
    "ipmi": "kwapi.cli.discover.ipmi",
    "modbus": "kwapi.cli.discover.modbus",
    "redfish": "kwapi.cli.discover.redfish",
    "snmp": "kwapi.cli.discover.snmp",
}

Find = Callable[[type[Driver], dict[str, Any], Any], Iterator[Found | str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; those of a driver are added when it is chosen."""
    parser.add_argument("driver", choices=PROTOCOLS, help="what the device speaks")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="see: kwapi discover DRIVER --help")


def run(arguments: argparse.Namespace) -> int:
    """Discover each device; return 0, 1 if one of them gave nothing, 2 for wrong use."""
    name = arguments.driver
    try:
        driver, protocol = find_driver(name), import_module(PROTOCOLS[name])
    except ImportError as error:
        hint = f"; install it: {how_to_install(EXTRAS[name])}" if name in EXTRAS else ""
        print(f"the driver {name} cannot be loaded: {error}{hint}", file=sys.stderr)
        return service.EXIT_FAILED
    given = parse(name, driver, protocol.OPTIONS, arguments.rest)
    try:
        values, shown = read_values(driver, protocol.OPTIONS, given)
    except ConfigError as error:
        return service.refuse(error)
    shared = driver.open_shared()
    names, probes, status = set[str](), set[str](), 0
    try:
        for address, result in ask_each(protocol.find, driver, values, shared, given.addresses):
            place = address.get("host") or address["device"]
            if isinstance(result, DeviceError | OSError):
                status = service.EXIT_FAILED
                print(result if str(result).lstrip("[").startswith(place) else f"{place}: {result}", file=sys.stderr)
            elif isinstance(result, str):
                print(f"{place}: {result}", file=sys.stderr)
            elif given.json:
                print(msgspec.json.encode(as_object(address, result)).decode(), flush=True)
            else:
                port = address.get("port")
                port = None if port == usual_port(driver) else port
                wattmeter = wattmeter_name(place, port, names, given.name or result.name, result.part)
                text = section(wattmeter, place, {"driver": name, **address, **shown}, result, probes)
                show_text(*text, "")
            for sentence in implausibilities(result.measured.values()) if isinstance(result, Found) else ():
                print(f"{place}: implausible: {sentence}", file=sys.stderr)
    except ConfigError as error:  # in profiles
        return service.refuse(error)
    finally:
        driver.close_shared(shared)
    return status


def ask_each(
    find: Find, driver: type[Driver], values: dict[str, Any], shared: Any, addresses: Iterable[Address]
) -> Iterator[tuple[Address, Found | str | DeviceError | OSError]]:
    """Yield for each address what is found there, what is to be told of it, or why nothing is found.

    What a driver warns of is not logged: that it goes without a register says no more than that a profile does not fit.
    """
    log = logging.getLogger("kwapi.drivers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        for address in addresses:
            try:
                yield from ((address, found) for found in find(driver, values | address, shared))
            except (DeviceError, OSError) as error:
                yield address, error
    finally:
        log.setLevel(level)
