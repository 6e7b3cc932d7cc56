"""What a device with a Redfish service has."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from kwapi.cli.discover.found import PATIENCE, Found, measure_rows, one_line
from kwapi.drivers.base import Driver
from kwapi.drivers.redfish.client import Service, Target
from kwapi.drivers.redfish.discovery import IN_ORDER, find_rows
from kwapi.measurement import LEVELS

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
    about = [root.get(key) for key in ("Vendor", "Product", "RedfishVersion")]
    named = [(row.level, row.index) for row in rows]
    yield Found(
        profile="redfish",
        title=one_line(" ".join(text for text in about if isinstance(text, str))) or "Redfish service",
        in_order=[row for row in named if row[0] == ordered],
        measured=measure_rows(driver, {**values, "deadline": PATIENCE}, shared, named),
        labels={(row.level, row.index): one_line(row.label) for row in rows if row.label},
    )
