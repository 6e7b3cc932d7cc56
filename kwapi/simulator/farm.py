"""A farm of wattmeters that answer on ports of their own, with true energy that is known and faults that are switched.

What a farm consists of, description.py reads. Everything runs in one event loop: the device's own server on a port of
loopback, and in front of it a relay on the public port.
"""

import hashlib
import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from kwapi.errors import ConfigError
from kwapi.libraries import how_to_install
from kwapi.simulator.description import KINDS, REBOOTS, Plan
from kwapi.simulator.device import Device, Fault, Shown, elapsed
from kwapi.simulator.load import LOADS, no_power, own_power, rack
from kwapi.simulator.relay import HERE, LINE_FAULTS, Line, TcpRelay, UdpRelay
from kwapi.simulator.servers import NewServers, Served, Servers
from kwapi.simulator.wattsup_meter import WattsupMeter

SILENT = Fault("silent")
UDP_KINDS = ("snmp", "ipmi")
SERVERS = {
    "snmp": "kwapi.simulator.snmp_pdu:Pdus",
    "modbus": "kwapi.simulator.modbus_meter:meters",
    "http": "kwapi.simulator.http_plug:plugs",
    "ipmi": "kwapi.simulator.ipmi_bmc:Bmcs",
    "redfish": "kwapi.simulator.redfish_chassis:chassis",
}


def find_servers(kind: str) -> NewServers:
    """Return what makes the servers of this kind; ConfigError if their library is not there."""
    module, _, name = SERVERS[kind].partition(":")
    try:
        servers: NewServers = getattr(import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"kind {kind} needs a library: {error}; install it: {how_to_install(kind)}") from error
    return servers


def made_up_secret(plan: Plan) -> str:
    """Return a community or password that is a wattmeter's own, and the same at each start; it guards nothing."""
    return hashlib.sha256(f"{plan.name} {plan.seed}".encode()).hexdigest()[:16]


class Wattmeter:
    """One wattmeter of the farm, and the faults it has now."""

    def __init__(self, plan: Plan, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self.plan = plan
        self.name = plan.name
        self.port = 0
        self.secret = plan.secret or made_up_secret(plan)
        own = own_power if plan.kind == "snmp" else no_power
        self.device = Device(
            rack(plan.outlets, plan.seed, mix=LOADS[plan.load], own=own),
            name=plan.name,
            start=plan.start,
            wrap=plan.wrap,
            clock=clock,
            wall_clock=wall_clock,
        )
        self.line: Line | None = None
        self.faults: dict[str, Fault] = {}

    @property
    def probes(self) -> list[tuple[str, Shown]]:
        """Names of the probes, in their order, and what each of them shows."""
        outlets = self.device.outlets
        if len(outlets) == 1:
            return [(self.name, outlets[0])]
        if self.plan.kind == "modbus":
            phases = [(f"{self.name}-L{number}", phase) for number, phase in enumerate(outlets, 1)]
            return [(self.name, self.device.whole), *phases]
        return [(f"{self.name}-{number}", outlet) for number, outlet in enumerate(outlets, 1)]

    def begin(self, fault: Fault) -> None:
        """Misbehave so from now on, beside what is wrong already; of the line's faults there is one at a time."""
        if fault.kind in LINE_FAULTS:
            for kind in LINE_FAULTS:
                self.faults.pop(kind, None)
        self.device.begin(fault)
        if fault.kind != "reset":  # which is over at once
            self.faults[fault.kind] = fault
        self._switch_line()

    def end(self, kind: str) -> None:
        """Misbehave no more in this way."""
        if self.faults.pop(kind, None) is None:
            return
        self.device.end(kind)
        if kind in REBOOTS and self.line is not None:
            self.line.drop()
        self._switch_line()

    def heal(self) -> None:
        """Misbehave no more."""
        for kind in list(self.faults):
            self.end(kind)

    def energy(self) -> list[dict[str, Any]]:
        """Return of each probe what is true, and what its register shows; microjoules and milliwatts."""
        self.device.advance()
        unit = KINDS[self.plan.kind].microjoules
        return [
            {
                "wattmeter": self.name,
                "probe": probe,
                "true": shown.source.microjoules,
                "register": shown.microjoules // unit * unit if unit else None,
                "milliwatts": shown.source.reading.milliwatts,
            }
            for probe, shown in self.probes
        ]

    def _switch_line(self) -> None:
        if self.line is None:
            return
        if any(kind in self.faults for kind in REBOOTS):
            self.line.switch(SILENT)
        else:
            self.line.switch(next((self.faults[kind] for kind in LINE_FAULTS if kind in self.faults), None))


class Farm:
    """The wattmeters of some plans, and what is to happen to them.

    ``directory`` is for what Kwapi needs to reach them; ``clock`` is one that never steps.
    """

    def __init__(
        self,
        plans: Iterable[Plan],
        directory: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self._clock = elapsed(clock)
        self.wattmeters = {plan.name: Wattmeter(plan, self._clock, wall_clock) for plan in plans}
        self.is_paused = False
        self._servers: list[Servers] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        for wattmeter in self.wattmeters.values():
            for each in wattmeter.plan.faults:
                self._at(each.at, self._beginning(wattmeter, each.fault, each.lasts))

    async def open(self, address: str = HERE) -> None:
        """Start to answer; OSError, with the port as its ``filename``, if that is taken."""
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.close)
            for kind in SERVERS:
                if wattmeters := [each for each in self.wattmeters.values() if each.plan.kind == kind]:
                    await self._open(kind, wattmeters, address)
            for wattmeter in self.wattmeters.values():
                if wattmeter.plan.kind == "wattsup":
                    self._plug_in(wattmeter)
            undo.pop_all()

    async def close(self) -> None:
        """Answer no more."""
        for wattmeter in self.wattmeters.values():
            if wattmeter.line is not None:
                wattmeter.line.close()
        for servers in self._servers:
            await servers.close()

    def fault(self, name: str, fault: Fault, lasts: float | None) -> None:
        """Let a wattmeter misbehave from now on, for so many seconds or until it is healed; KeyError if unknown."""
        self._beginning(self.wattmeters[name], fault, lasts)()

    def heal(self, name: str) -> None:
        """Let a wattmeter misbehave no more; KeyError if unknown."""
        self.wattmeters[name].heal()

    def pause(self) -> None:
        """Let nothing be drawn any more, while time goes on."""
        self._switch(on=False)

    def run(self) -> None:
        """Let everything be drawn again."""
        self._switch(on=True)

    def energy(self) -> list[dict[str, Any]]:
        """Return the energy of every probe."""
        return [entry for wattmeter in self.wattmeters.values() for entry in wattmeter.energy()]

    def catch_up(self) -> None:
        """Let all devices catch up with the clock, so that a request after hours has not to wait for it."""
        for wattmeter in self.wattmeters.values():
            wattmeter.device.advance()

    def do_what_is_due(self) -> None:
        """Begin and end the faults whose time has come."""
        while self._agenda and self._agenda[0][0] <= self._clock():
            heapq.heappop(self._agenda)[2]()

    def _switch(self, on: bool) -> None:
        self.is_paused = not on
        for wattmeter in self.wattmeters.values():
            wattmeter.device.switch(on)

    def _at(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (seconds, next(self._numbers), do))

    def _beginning(self, wattmeter: Wattmeter, fault: Fault, lasts: float | None) -> Callable[[], None]:
        def begin() -> None:
            wattmeter.begin(fault)
            if lasts is not None:
                self._at(self._clock() + lasts, end)

        def end() -> None:
            if wattmeter.faults.get(fault.kind) is fault:  # and not a later one
                wattmeter.end(fault.kind)

        return begin

    async def _open(self, kind: str, wattmeters: Sequence[Wattmeter], address: str) -> None:
        served = [Served(wattmeter.device, wattmeter.secret) for wattmeter in wattmeters]
        servers = find_servers(kind)(served, self.directory)
        self._servers.append(servers)
        for wattmeter, port in zip(wattmeters, await servers.open(), strict=True):
            relay = UdpRelay() if kind in UDP_KINDS else TcpRelay()
            wattmeter.line = relay
            try:
                wattmeter.port = relay.open(port, address, wattmeter.plan.port)
            except OSError as error:
                raise OSError(error.errno, error.strerror, f"{address}:{wattmeter.plan.port}") from error

    def _plug_in(self, wattmeter: Wattmeter) -> None:
        meter = WattsupMeter(wattmeter.device, self.directory / wattmeter.name)
        meter.open()
        wattmeter.line = meter
