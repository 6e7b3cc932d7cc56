"""The table of drivers: built-in ones as strings, imported when used, others by the entry point ``kwapi.drivers``."""

from importlib import import_module
from importlib.metadata import entry_points

from kwapi.drivers.base import Driver
from kwapi.mistakes import nearest

BUILT_IN = {
    "dummy": "kwapi.drivers.dummy:Dummy",
    "http_json": "kwapi.drivers.json.http:HttpJson",
    "hwmon": "kwapi.drivers.hwmon:Hwmon",
    "ipmi": "kwapi.drivers.ipmi.driver:Ipmi",
    "kasa": "kwapi.drivers.kasa.driver:Kasa",
    "modbus": "kwapi.drivers.modbus.driver:Modbus",
    "mqtt": "kwapi.drivers.json.mqtt:Mqtt",
    "nut": "kwapi.drivers.nut.driver:Nut",
    "nvml": "kwapi.drivers.nvml:Nvml",
    "p1": "kwapi.drivers.p1:P1",
    "rapl": "kwapi.drivers.rapl:Rapl",
    "redfish": "kwapi.drivers.redfish.driver:Redfish",
    "sml": "kwapi.drivers.sml:Sml",
    "snmp": "kwapi.drivers.snmp.driver:Snmp",
    "wattsup": "kwapi.drivers.wattsup:Wattsup",
}
EXTRAS = {  # of the distribution, which brings the driver's library; of one word, since pips differ on a _ in it
    "http_json": "http",
    "modbus": "modbus",
    "mqtt": "mqtt",
    "nvml": "nvml",
    "p1": "p1",
    "redfish": "redfish",
    "sml": "sml",
}


def driver_names() -> list[str]:
    """Return the names of all drivers there are, sorted."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group="kwapi.drivers"))})


def find_driver(name: str) -> type[Driver]:
    """Return the driver of a name; LookupError if there is none, ImportError if its library is missing."""
    if target := BUILT_IN.get(name):
        module, _, attribute = target.partition(":")
        driver = getattr(import_module(module), attribute)
    else:
        points = entry_points(group="kwapi.drivers", name=name)
        if not points:
            names = driver_names()
            raise LookupError(f"unknown driver {name!r}{nearest(name, names)}; there are {', '.join(names)}")
        driver = next(iter(points)).load()
    if not (isinstance(driver, type) and issubclass(driver, Driver)):
        raise LookupError(f"{driver!r} is not a driver")
    return driver
