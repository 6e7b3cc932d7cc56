"""What a profile makes of the output of snmpbulkwalk -OnetU: fixtures that need no code.

A fixture is a TOML file: ``profile``, the name of the profile that must be found; ``origin``, which device said so and
when, or that it is made up; ``walk``, lines of the walk; ``expected``, what each row measures, and under its name and
@export what flows back.
"""

import re

from kwapi.drivers.snmp.driver import identify
from kwapi.drivers.snmp.rows import find_rows, measure
from kwapi.drivers.units import ATTRIBUTES
from tests.drivers.snmp.agents import Agent

NOTHING = re.compile(r".* = No (more variables left|Such (Object|Instance)) .*")
LINE = re.compile(r"\.?(?P<oid>[0-9.]+) = (?:(?P<kind>[A-Za-z][\w-]*): )?(?P<value>.*)")


def parse_walk(text):
    """Return the values of a walk by OID."""
    cells = {}
    for line in map(str.strip, text.splitlines()):
        if not line or NOTHING.fullmatch(line):
            continue
        if not (match := LINE.fullmatch(line)):
            raise ValueError(f"{line!r} is no line of snmpbulkwalk -OnetU")
        value = match["value"]
        if match["kind"] == "Hex-STRING":
            cells[match["oid"]] = bytes.fromhex(value)
        elif re.fullmatch(r"-?\d+", value):
            cells[match["oid"]] = int(value)
        else:
            cells[match["oid"]] = value.lstrip(".") if match["kind"] == "OID" else value.strip('"')
    return cells


def read_walk(text, known):
    """Return the name of the profile that is found, and what each row measures, by quantity."""
    agent = Agent(parse_walk(text))
    profile, _ = identify(agent, known)
    if profile is None:
        return None, {}
    columns = agent.columns(profile.oids())
    found = {}
    for (kind, index), cells in find_rows(profile, columns).items():
        row = f"{kind}.{'.'.join(map(str, index))}"
        ids = [row, f"{row}@export"] if any(cell.column.two_way for cell in cells) else [row]
        for one in measure(ids, kind, cells, columns):
            values = {quantity: getattr(one, attribute) for quantity, attribute in ATTRIBUTES.items()}
            found[one.probe] = {quantity: value for quantity, value in values.items() if value is not None}
    return profile.name, found
