"""``kwapi export``: prints the energy of every probe and machine as CSV, also of those that are no longer measured."""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from oslo_config import cfg

from kwapi import service
from kwapi.cli.energy import ABOUT, directory_of, read_api
from kwapi.cli.files import add_file_arguments
from kwapi.errors import ConfigError
from kwapi.plugins.api.machines import Machine, machines_of, state_of_machine
from kwapi.plugins.api.registers import read_registers
from kwapi.plugins.api.states import ProbeState

HELP = "print the energy of every probe as CSV"
HEADING = (
    *("probe", "wattmeter", "level", "kwh", "since", "until"),
    *("measured_seconds", "unknown_seconds", "coverage"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_file_arguments(parser, "api", ABOUT)


def states(conf: cfg.ConfigOpts) -> list[ProbeState]:
    """Return every probe in the register file, by id, and every machine whose probes are all there."""
    known: dict[str, ProbeState] = {}
    for name, probe in read_registers(directory_of(conf)).probes.items():
        probe.tell()
        if (state := probe.state(float("inf"))) is not None:
            known[name] = state
    machines = machines_of(conf)
    known = {name: state for name, state in known.items() if name not in {machine.name for machine in machines}}
    return sorted([*known.values(), *sums(machines, known)], key=lambda state: state.id)


def sums(machines: Sequence[Machine], known: dict[str, ProbeState]) -> Iterator[ProbeState]:
    """Yield the machines of which every probe is known."""
    for machine in machines:
        if all(probe in known for probe in machine.probes):
            yield state_of_machine(machine.name, [known[probe] for probe in machine.probes])


def row(state: ProbeState) -> list[str]:
    """Return a probe as its line has it: times in UTC, energy to the milliwatt-hour."""
    return [
        state.id,
        state.wattmeter,
        state.level,
        f"{state.kwh:.6f}",
        when(state.kwh_since),
        "" if state.timestamp is None else when(state.timestamp),
        f"{state.measured_seconds:.0f}",
        f"{state.unknown_seconds:.0f}",
        "" if state.coverage is None else f"{state.coverage:.6f}",
    ]


def when(timestamp: float) -> str:
    """Return a time as spreadsheets and people read it."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S")


def run(arguments: argparse.Namespace) -> int:
    """Print the lines; return the exit status."""
    try:
        lines = [row(state) for state in states(read_api(arguments.config_file))]
    except ConfigError as error:
        return service.refuse(error)
    csv.writer(sys.stdout, lineterminator="\n").writerows([HEADING, *lines])
    return 0
