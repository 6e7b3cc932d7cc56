"""The command kwapi-simulator: a PDU on a UDP port, for demonstrations and tests without any hardware."""

import asyncio
import ipaddress
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence

from kwapi import service
from kwapi.simulator.device import Device, elapsed
from kwapi.simulator.load import MICROJOULES_PER_WH, rack
from kwapi.simulator.snmp_pdu import Agent

CATCH_UP = 60  # seconds


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return the argparse type of the whole numbers from low to high."""

    def convert(text: str) -> int:
        if not (text.isdecimal() and low <= int(text) <= high):
            raise ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return convert


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Return the options; argparse ends the process when they are wrong."""
    parser = ArgumentParser("kwapi-simulator", description="Simulate a PDU that answers SNMP.")
    add = parser.add_argument
    add("--address", type=ipaddress.IPv4Address, default="127.0.0.1", help="where it listens (default %(default)s)")
    add("--port", type=whole(0, 65535), default=16161, help="UDP port, 0 for any free one (default %(default)s)")
    add("--any-address", action="store_true", help="listen on an address that other machines reach")
    add("--outlets", type=whole(1, 1000), default=12, help="number of outlets (default %(default)s)")
    add("--seed", type=int, default=0, help="another number makes other servers (default %(default)s)")
    add("--register", type=whole(0, 2**32 - 1), default=0, metavar="WH", help="first energy reading of each outlet")
    add("--community", default="public", help="community of SNMP v1 and v2c (default %(default)s)")
    options = parser.parse_args(arguments)
    if not (options.address.is_loopback or options.any_address):
        parser.error(f"{options.address} is no loopback address; --any-address allows it")
    return options


async def serve(options: Namespace) -> int:
    """Answer until SIGTERM or SIGINT, and return the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, stop.set)
    start = options.register * MICROJOULES_PER_WH
    pdu = Device(rack(options.outlets, options.seed), start=start, clock=elapsed())
    agent = Agent()
    agent.add(pdu, options.community)
    try:
        port = await agent.open(str(options.address), options.port)
    except OSError as error:
        print(f"kwapi-simulator: {options.address}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    print(
        f"PDU with {options.outlets} outlets answers SNMP on {options.address}:{port}, community {options.community}",
        flush=True,
    )
    service.notify("READY=1")
    while not stop.is_set():
        pdu.advance()
        try:
            await asyncio.wait_for(stop.wait(), CATCH_UP)
        except TimeoutError:
            continue
    agent.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return asyncio.run(serve(parse(arguments)))
