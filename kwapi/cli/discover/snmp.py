"""What a device with an SNMP agent is, by the profile that the driver would take."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from kwapi.cli.discover.found import Found, measure_rows, one_line
from kwapi.drivers.base import Driver
from kwapi.drivers.names import Names
from kwapi.drivers.snmp import profile as profiles
from kwapi.drivers.snmp.client import Target, to_text
from kwapi.drivers.snmp.driver import find_device
from kwapi.drivers.snmp.rows import choose_rows
from kwapi.errors import DeviceError

OPTIONS = (  # of the driver: those that matter for finding out
    *("version", "community", "user", "auth_protocol", "auth_key", "priv_protocol", "priv_key", "context_name"),
    *("timeout", "retries", "profile", "profile_dir"),
)
SYS_DESCR = "1.3.6.1.2.1.1.1.0"


def find(driver: type[Driver], values: Mapping[str, Any], shared: Any) -> Iterator[Found]:
    """Yield what the agent has."""
    values = {**values, "address": Names().addresses(values["host"])[0]}
    agent = shared.agent(Target(**{each.name: values[each.name] for each in fields(Target)}))
    known = profiles.load(values["profile_dir"])
    try:
        profile, rows = find_device(agent, known, values["profile"])
    except LookupError as error:
        raise DeviceError(f"has {error}; --profile takes one of {', '.join(sorted(known))}") from error
    about = f"{profile.title} (profile {profile.name})"
    if not rows:
        raise DeviceError(f"answers as {about}, but measures nothing that is known of it")
    outlets = [row for row in rows if row[0] == "outlet"]
    try:
        choose_rows(["outlet"] * len(outlets), list(rows), "outlet")
    except LookupError:  # a hole in their numbers: each must be named with its row
        outlets = []
    tables = [table for table in profile.tables if table.labels]
    texts = agent.columns([table.labels for table in tables])
    labels = {(table.kind, at): text for table in tables for at, text in texts[table.labels].items()}
    description = agent.get([SYS_DESCR]).get(SYS_DESCR, "without a description")
    named = [(kind, to_text(index)) for kind, index in rows]
    yield Found(
        profile=profile.name,
        title=f"{profile.title}, {one_line(description)}",
        in_order=[(kind, to_text(index)) for kind, index in outlets],
        measured=measure_rows(driver, {**values, "profile": profile.name}, shared, named),
        labels={(kind, to_text(index)): one_line(text) for (kind, index), text in labels.items()},
    )
