"""What a device with a Redfish service has."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from kwapi.cli.discover.found import PATIENCE, Found, measure_rows, one_line
from kwapi.drivers.base import Driver
from kwapi.drivers.redfish.client import Service, Target
from kwapi.drivers.redfish.discovery import IN_ORDER, find_rows
from kwapi.drivers.redfish.resources import Resource
from kwapi.measurement import LEVELS

ABOUT = ("Vendor", "Product", "RedfishVersion")
OPTIONS = ("user", "password", "auth", "verify", "ca_file", "timeout")


def find(driver: type[Driver], values: Mapping[str, Any], shared: Any) -> Iterator[Found]:
    """Yield what the service has."""
    target = Target(
        basic=values["auth"] == "basic",
        **{name: values[name] for name in ("host", "port", "user", "password", "verify", "ca_file", "timeout")},
    )
    with closing(Service(shared, target)) as service:
        service.allow(PATIENCE)
        root = service.get_root()
        rows, ordered = find_rows(service, {IN_ORDER, *LEVELS})
    named = [(row.level, row.index) for row in rows]
    yield Found(
        profile="redfish",
        title=title_of(root),
        in_order=[row for row in named if row[0] == ordered],
        measured=measure_rows(driver, {**values, "deadline": PATIENCE}, shared, named),
        labels={(row.level, row.index): one_line(row.label) for row in rows if row.label},
    )


def title_of(root: Resource) -> str:
    """Return what a service says of itself; only its version is always there."""
    vendor, product, version = (one_line(root[key]) if isinstance(root.get(key), str) else "" for key in ABOUT)
    return f"{' '.join(filter(None, [vendor, product])) or 'device'} with Redfish {version}".rstrip()
