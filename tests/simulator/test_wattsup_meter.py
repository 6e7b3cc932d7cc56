"""The Watts Up? on its pty, read byte by byte."""

import asyncio
import gc
import os
import tty

import pytest

from kwapi.drivers.wattsup import START, parse_packet
from kwapi.errors import DeviceError
from kwapi.simulator.device import Device, Fault
from kwapi.simulator.load import no_power, rack
from kwapi.simulator.wattsup_meter import WattsupMeter, packet
from tests.clock import Clock

PERIOD = 0.02  # seconds between packets
SOON, LONG = 0.1, 10.0


@pytest.fixture
def device():
    return Device(rack(1, own=no_power), clock=Clock(0.0))


class Reader:
    """What a driver's end of the line is."""

    def __init__(self, link):
        self._end = os.open(link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._end)

    def start(self):
        os.write(self._end, START)

    async def received(self, seconds=LONG):
        """Return what comes next, b"" if nothing does in so many seconds."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._end, readable.set)
        try:
            await asyncio.wait_for(readable.wait(), seconds)
            return os.read(self._end, 4096)
        except TimeoutError:
            return b""
        finally:
            loop.remove_reader(self._end)

    def flush(self):
        try:
            while os.read(self._end, 4096):
                continue
        except BlockingIOError:
            return

    def close(self):
        os.close(self._end)


@pytest.fixture
def converse(device, tmp_path):
    """Return what runs a conversation with the meter."""

    def converse(conversation):
        async def session():
            meter = WattsupMeter(device, tmp_path / "meter", period=PERIOD, draw=lambda count: b"?" * count)
            meter.open()
            reader = Reader(tmp_path / "meter")
            try:
                return await conversation(meter, reader)
            finally:
                reader.close()
                meter.close()
                assert not os.path.lexists(tmp_path / "meter")

        return asyncio.run(session())

    return converse


def test_packet_is_what_the_driver_understands(device):
    values = parse_packet(packet(device))
    reading = device.outlets[0].reading
    assert values["watts"] == pytest.approx(reading.milliwatts / 1000, abs=0.1)
    assert values["volts"] == pytest.approx(reading.millivolts / 1000, abs=0.1)
    assert values["volt_amperes"] == pytest.approx(values["volts"] * values["amps"], abs=0.2)
    assert values["power_factor"] == pytest.approx(values["watts"] / values["volt_amperes"], abs=0.011)
    assert 49.9 <= values["hertz"] <= 50.1
    assert values["kwh"] == 0


def test_nothing_is_pushed_before_it_is_asked_for(converse):
    async def conversation(meter, reader):
        early = await reader.received(SOON)
        reader.start()
        return early, await reader.received(), await reader.received()

    early, first, second = converse(conversation)
    assert early == b""
    assert parse_packet(first[: first.index(b";") + 1])["watts"] > 0
    assert second.startswith(b"#d,")


@pytest.mark.parametrize("fault", [Fault("silent"), Fault("slow", 5)])
def test_silence_is_followed_by_packets(converse, fault):
    async def conversation(meter, reader):
        reader.start()
        await reader.received()
        meter.switch(fault)
        reader.flush()
        during = await reader.received(SOON)
        meter.switch(None)
        return during, await reader.received()

    during, after = converse(conversation)
    assert during == b""
    assert after.startswith(b"#d,")


@pytest.mark.parametrize(("kind", "start"), [("cut", b"#d,-,18,"), ("garbage", b"????????")])
def test_packet_is_spoiled(converse, device, kind, start):
    async def conversation(meter, reader):
        meter.switch(Fault(kind))
        reader.start()
        return await reader.received()

    received = converse(conversation)
    assert received.startswith(start)
    with pytest.raises(DeviceError):
        parse_packet(received)


def test_refused_meter_is_unplugged_and_plugged_in_again(converse, tmp_path):
    async def conversation(meter, reader):
        reader.start()
        await reader.received()
        meter.switch(Fault("refused"))
        is_there = (tmp_path / "meter").exists()
        meter.switch(None)
        again = Reader(tmp_path / "meter")
        try:
            before = await again.received(SOON)
            again.start()
            return is_there, before, await again.received()
        finally:
            again.close()

    is_there, before, after = converse(conversation)
    assert (is_there, before) == (False, b"")
    assert after.startswith(b"#d,")


def test_meter_that_lost_its_power_waits_to_be_told_again(converse):
    async def conversation(meter, reader):
        reader.start()
        await reader.received()
        meter.drop()
        reader.flush()
        during = await reader.received(SOON)
        reader.start()
        return during, await reader.received()

    during, after = converse(conversation)
    assert during == b""
    assert after.startswith(b"#d,")


def test_line_that_nobody_reads_does_no_harm(device, tmp_path):
    async def session():
        meter = WattsupMeter(device, tmp_path / "meter", period=0.0005)
        meter.open()
        reader = Reader(tmp_path / "meter")
        reader.start()
        await asyncio.sleep(0.1)
        received = await reader.received()
        reader.close()
        meter.close()
        return received

    assert asyncio.run(session()).startswith(b"#d,")


def test_place_that_is_taken_is_told_and_left_as_it_is(device, tmp_path):
    taken = tmp_path / "meter"
    taken.write_text("somebody else's")
    gc.collect()  # what other tests left, which the collector may find at any moment
    before = os.listdir("/proc/self/fd")

    async def session():
        meter = WattsupMeter(device, taken)
        with pytest.raises(FileExistsError):
            meter.open()
        meter.close()

    asyncio.run(session())
    assert taken.read_text() == "somebody else's"
    assert os.listdir("/proc/self/fd") == before
