"""A collector with registers on disk, which a test feeds and kills."""

import os

from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.registers import Registers
from tests.clock import Clock
from tests.messages import message

PROBES = ["a", "b", "Ünï rack.1"]


def open_collector(directory, boot_id="boot one", of=Registers, **clocks):
    return Collector(of(directory, boot_id=boot_id), **{"clock": Clock(), "wall_clock": Clock(1010.0), **clocks})


def killed(collector):
    """Leave the files as kill -9 does."""
    registers = collector._registers
    for file in (registers._slots, registers.columns, registers.events):
        file.close()
    os.close(registers._lock)


def feed(collector, *rows, probes=PROBES, boot=1):
    """Add messages of (second, watts[, register])."""
    for second, watts, *register in rows:
        columns = {"w": [watts] * len(probes)} | ({"kwh": register * len(probes)} if register else {})
        collector.add(
            message(boot=boot, seq=int(second), timestamp=1000.0 + second, monotonic=second, probes=probes, **columns)
        )


def kwhs(collector):
    return {name: reading.kwh for name, reading in collector.readings().items()}
