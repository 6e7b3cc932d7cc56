"""Farms for tests: their loop in the test's thread, Kwapi's own drivers in another, time at the test's word."""

import asyncio
import contextlib
from pathlib import Path

from kwapi.config import Reader
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.errors import DeviceError
from kwapi.simulator.farm import Farm
from kwapi.simulator.sections import write_sections
from tests.clock import Clock


class Site:
    """A farm, and the drivers that read it as its drivers.conf says."""

    def __init__(self, farm, clock, directory: Path):
        self.farm, self.clock = farm, clock
        self.path = directory / "drivers.conf"
        self.drivers = {}
        self._shared = {}

    def write(self):
        """Write drivers.conf, and make the drivers."""
        write_sections(self.path, self.farm, "127.0.0.1")
        reader = Reader("drivers", [self.path], environ={})
        wattmeters = read_wattmeters(reader)
        reader.finish()
        for wattmeter in wattmeters:
            shared = self._shared.setdefault(wattmeter.driver, None) or wattmeter.driver.open_shared()
            self._shared[wattmeter.driver] = shared
            self.drivers[wattmeter.name] = wattmeter.new_driver(shared)

    async def open(self, name):
        await asyncio.to_thread(self.drivers[name].open)

    async def read(self, name):
        """Return what a wattmeter's driver reads, by probe."""
        return {each.probe: each for each in await asyncio.to_thread(self.drivers[name].read)}

    async def close_driver(self, name):
        with contextlib.suppress(DeviceError):  # as a worker does: the device may be out of order
            await asyncio.to_thread(self.drivers[name].close)

    async def close(self):
        for name in self.drivers:
            await self.close_driver(name)
        for driver, shared in self._shared.items():
            await asyncio.to_thread(driver.close_shared, shared)
        await self.farm.close()
        await asyncio.sleep(0.02)  # the loop closes sockets when it comes round

    async def pass_time(self, seconds):
        """Let time pass, and what is due happen."""
        self.clock.now += seconds
        self.farm.do_what_is_due()

    def energy(self):
        """Return the farm's energy by probe."""
        return {entry["probe"]: entry for entry in self.farm.energy()}


def run(conversation, plans, directory):
    """Return what a conversation with a site returns."""

    async def session():
        clock = Clock(0.0)
        site = Site(Farm(plans, directory, clock=clock, wall_clock=lambda: 1_800_000_000 + clock.now), clock, directory)
        try:
            await site.farm.open()
            site.write()
            return await conversation(site)
        finally:
            await site.close()

    return asyncio.run(session())
