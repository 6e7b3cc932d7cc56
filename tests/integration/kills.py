"""kwapi-api under load, killed at random moments, and what its energy must be all the time."""

import random
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from tests.integration.daemons import Site
from tests.integration.listener import Listener
from tests.waiting import eventually

WATTMETERS, PROBES = 4, 35  # of each kind, so many that the register file grows
WATTS = 3600.0
STAMPING = 0.05  # seconds, half an interval, between a driver's clocks on a machine that is busy; registers are exact
LONGEST_LIFE = 2.5  # seconds; it takes about one until the first request is answered
COMMON = f"driver = dummy\nload = steady\nwatts = {WATTS}\ninterval = 0.1\n"


@dataclass(frozen=True)
class Result:
    """What the API said, as (timestamp, kwh) by probe, and the registers on the bus, by probe and timestamp."""

    said: dict[str, list[tuple[float, float]]]
    registers: dict[str, dict[float, float]]
    answers: int
    lives_that_answered: int


def sections() -> str:
    """Return the wattmeters: meter0.0 has probes without a register, meter1.0 with one."""
    text = ""
    for kind in (0, 1):
        for number in range(WATTMETERS):
            name = f"meter{kind}.{number}"
            probes = ", ".join(f"{name}-{place}" for place in range(PROBES))
            text += f"[{name}]\n{COMMON}register = {bool(kind)}\nprobes = {probes}\n"
    return text


def run(directory: Path, kills: int, seed: int) -> Result:
    """Kill kwapi-api so many times while it is asked without rest."""
    chance = random.Random(seed)
    said: dict[str, list[tuple[float, float]]] = defaultdict(list)
    answers = lives = 0
    with Site(directory, sections()) as site:
        site.start("drivers", "forwarder")
        gate = Gate(KeyFile(directory / "state" / "signing.key"))
        with Listener(Subscriber([site.forwarded], [""], gate)) as bus:
            eventually(lambda: len(bus.wattmeters()) == 2 * WATTMETERS)
            for life in range(kills + 1):
                site.start("api")
                end = time.monotonic() + chance.uniform(0, LONGEST_LIFE)
                answered = False
                while time.monotonic() < end or (life == kills and not answered):
                    probes = site.probes()
                    for name, reading in probes.items():
                        said[name].append((reading["timestamp"], reading["kwh"]))
                    answers += bool(probes)
                    answered |= bool(probes)
                    time.sleep(0.01)
                lives += answered
                site.kill("api")
            # The API may have heard a message that has yet to reach our own thread.
            newest = max(rows[-1][0] for rows in said.values())
            eventually(lambda: all(bus.of(name)[-1].timestamp > newest for name in bus.wattmeters()))
            registers: dict[str, dict[float, float]] = defaultdict(dict)
            for message in bus.messages:
                for probe, kwh in zip(message.probes, message.kwh or (), strict=False):
                    if kwh is not None:
                        registers[probe][message.timestamp] = kwh
        assert "Traceback" not in site.log("api")
        assert "damaged" not in site.log("api")
    return Result(said, registers, answers, lives)


def energy_never_decreases(result: Result) -> None:
    """Fail if a probe had less energy, or an older measurement, in one answer than in the one before."""
    for probe, rows in result.said.items():
        for earlier, later in pairwise(rows):
            assert later[0] >= earlier[0] and later[1] >= earlier[1], f"{probe}: {earlier} and then {later}"


def energy_never_jumps(result: Result) -> None:
    """Fail if a probe's energy rose by more than was drawn between two measurements, or by less.

    A register is read some time before its message is stamped; energy_is_the_register() looks at those, exactly.
    """
    for probe, rows in result.said.items():
        if probe in result.registers:
            continue
        for earlier, later in pairwise(rows):
            rise, true = later[1] - earlier[1], WATTS * (later[0] - earlier[0]) / 3.6e6
            assert abs(rise - true) < WATTS * STAMPING / 3.6e6, f"{probe}: {earlier} and then {later}"


def energy_is_the_register(result: Result) -> None:
    """Fail if the energy of a probe that has a register is not the register, less what that was at first."""
    with_register = [probe for probe in result.said if probe in result.registers]
    assert len(with_register) == WATTMETERS * PROBES
    for probe in with_register:
        register = result.registers[probe]
        offsets = [register[timestamp] - kwh for timestamp, kwh in result.said[probe] if timestamp in register]
        assert len(offsets) > 0.9 * len(result.said[probe])
        assert max(offsets) - min(offsets) < 1e-9, probe
