"""The command kwapi-simulator: wattmeters that answer on ports of this machine, for trying a site before it exists.

kwapi-simulator                                     a PDU on UDP port 16161
kwapi-simulator FARM.toml --write-config FILE       a farm, and the drivers.conf that reads it
kwapi-simulator ctl SOCKET fault lyon.pdu1 silent --for 20
"""

import asyncio
import ipaddress
import json
import logging
import resource
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kwapi import service
from kwapi.cli.table import show
from kwapi.errors import ConfigError
from kwapi.simulator.control import Control, ask
from kwapi.simulator.description import FAULTS, Plan, read_description
from kwapi.simulator.farm import Farm
from kwapi.simulator.load import MICROJOULES_PER_WH
from kwapi.simulator.sections import directory_beside, with_ports, write_sections

TICK = 0.1  # seconds between two looks at what is due
CATCH_UP = 60.0  # seconds


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return the argparse type of the whole numbers from low to high."""

    def convert(text: str) -> int:
        if not (text.isdecimal() and low <= int(text) <= high):
            raise ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return convert


def parse(arguments: Sequence[str]) -> Namespace:
    """Return the options; argparse ends the process when they are wrong."""
    parser = ArgumentParser(
        "kwapi-simulator",
        description="Simulate a farm of wattmeters, or without a description of one a PDU that answers SNMP.",
        epilog="kwapi-simulator ctl --help: switch the faults of a farm that runs",
    )
    add = parser.add_argument
    add(
        "farm", type=Path, nargs="?", metavar="FARM.toml", help="description of a farm, see kwapi.simulator.description"
    )
    add("--write-config", type=Path, metavar="FILE", help="write its sections into this drivers.conf")
    add("--control", type=Path, metavar="SOCKET", help="make a control socket")
    add("--address", type=ipaddress.IPv4Address, default="127.0.0.1", help="where it listens (default %(default)s)")
    add("--any-address", action="store_true", help="listen on an address that other machines reach")
    pdu = parser.add_argument_group("the PDU, where there is no farm")
    add = pdu.add_argument
    add("--port", type=whole(0, 65535), default=16161, help="UDP port, 0 for any free one (default %(default)s)")
    add("--outlets", type=whole(1, 1000), default=12, help="number of outlets (default %(default)s)")
    add("--seed", type=int, default=0, help="another number makes other servers (default %(default)s)")
    add("--register", type=whole(0, 2**32 - 1), default=0, metavar="WH", help="first energy reading of each outlet")
    add("--community", default="public", help="community of SNMP v1 and v2c (default %(default)s)")
    options = parser.parse_args(arguments)
    if not (options.address.is_loopback or options.any_address):
        parser.error(f"{options.address} is no loopback address; --any-address allows it")
    return options


def parse_control(arguments: Sequence[str]) -> tuple[Path, bool, dict[str, Any]]:
    """Return the socket, whether JSON is wanted and the command; argparse ends the process when they are wrong."""
    parser = ArgumentParser("kwapi-simulator ctl", description="Command a farm by its control socket.")
    parser.add_argument("socket", type=Path, metavar="SOCKET")
    does = parser.add_subparsers(dest="do", required=True)
    common = ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the answer as JSON, energy in microjoules")

    def add(name: str, about: str) -> ArgumentParser:
        return does.add_parser(name, help=about, description=about.capitalize(), parents=[common])

    add("list", "the wattmeters and their faults")
    add("energy", "true energy and what the registers show")
    add("pause", "let nothing be drawn")
    add("run", "let everything be drawn again")
    heal = add("heal", "end the faults of a wattmeter, or of all")
    heal.add_argument("wattmeter", nargs="?")
    fault = add("fault", "let a wattmeter misbehave")
    fault.add_argument("wattmeter")
    fault.add_argument("kind", choices=FAULTS)
    fault.add_argument("--for", type=float, metavar="SECONDS", help="how long; until it is healed without")
    fault.add_argument("--seconds", type=float, help="how late (slow), or by how much the clock is off (clock-step)")
    command = {key: value for key, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return command.pop("socket"), command.pop("json"), command


def control(arguments: Sequence[str]) -> int:
    """Send a command to a farm, print its answer and return the exit code."""
    path, wants_json, command = parse_control(arguments)
    try:
        answer = ask(path, command)
    except OSError as error:
        print(f"kwapi-simulator: {path}: {error.strerror or error}", file=sys.stderr)
        return 1
    if "error" in answer:
        print(f"kwapi-simulator: {answer['error']}", file=sys.stderr)
        return 1
    if wants_json:
        print(json.dumps(answer, indent=1))
    else:
        show_answer(answer)
    return 0


def show_answer(answer: Mapping[str, Any]) -> None:
    """Print an answer for people."""
    if "wattmeters" in answer:
        heading = ["wattmeter", "kind", "port", "probes", "faults"]
        rows = [[each[key] for key in heading] for each in answer["wattmeters"]]
        show(heading, [[*row[:2], row[2] or None, len(row[3]), ", ".join(row[4]) or None] for row in rows])
        if answer["paused"]:
            print("paused: nothing is drawn")
    elif "energy" in answer:
        kwh = 1000 * MICROJOULES_PER_WH
        rows = [
            [
                each["wattmeter"],
                each["probe"],
                each["true"] / kwh,
                None if each["register"] is None else each["register"] / kwh,
                each["milliwatts"] / 1000,
            ]
            for each in answer["energy"]
        ]
        show(["wattmeter", "probe", "true kWh", "register kWh", "W"], rows)
    else:
        print("done")


def plans_of(options: Namespace) -> list[Plan]:
    """Return the wattmeters that the options ask for."""
    if options.farm:
        return read_description(options.farm)
    return [
        Plan(
            name="simulated-pdu",
            kind="snmp",
            outlets=options.outlets,
            seed=options.seed,
            port=options.port,
            start=options.register * MICROJOULES_PER_WH,
            secret=options.community,
        )
    ]


def greeting(options: Namespace, farm: Farm) -> str:
    """Return the line that says that everything answers."""
    wattmeters = farm.wattmeters.values()
    if options.farm:
        reading = f"; {options.write_config} reads them" if options.write_config else ""
        return f"{len(wattmeters)} wattmeters answer on {options.address}{reading}"
    (pdu,) = wattmeters
    where = f"{options.address}:{pdu.port}"
    return f"PDU with {options.outlets} outlets answers SNMP on {where}, community {options.community}"


async def serve(options: Namespace, plans: Sequence[Plan], directory: Path) -> int:
    """Answer until SIGTERM or SIGINT, and return the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, stop.set)
    farm = Farm(plans, directory)
    try:
        await farm.open(str(options.address))
        return await serve_farm(options, farm, stop)
    except OSError as error:
        print(f"kwapi-simulator: {error.filename}: {error.strerror}", file=sys.stderr)
        return service.EXIT_FAILED
    finally:
        await farm.close()


async def serve_farm(options: Namespace, farm: Farm, stop: asyncio.Event) -> int:
    """Let a farm that answers be controlled until the end."""
    if options.write_config:
        write_sections(options.write_config, farm, str(options.address))
    socket = Control(farm, options.control) if options.control else None
    if socket:
        await socket.open()
    try:
        print(greeting(options, farm), flush=True)
        service.notify("READY=1")
        await do_what_is_due(farm, stop)
    finally:
        if socket:
            socket.close()
    return 0


async def do_what_is_due(farm: Farm, stop: asyncio.Event) -> None:
    """Switch the faults of the schedule until the end."""
    loop = asyncio.get_running_loop()
    catch_up_at = loop.time() + CATCH_UP
    while not stop.is_set():
        farm.do_what_is_due()
        if loop.time() >= catch_up_at:
            farm.catch_up()
            catch_up_at += CATCH_UP
        try:
            await asyncio.wait_for(stop.wait(), TICK)
        except TimeoutError:
            continue


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "ctl":
        return control(arguments[1:])
    options = parse(arguments)
    # pymodbus's server logs a traceback of its own for each request to a unit that is not there.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each wattmeter takes several
    try:
        plans = plans_of(options)
        if options.write_config:
            plans = with_ports(plans, options.write_config)
        with directory_beside(options.write_config) as directory:
            return asyncio.run(serve(options, plans, directory))
    except ConfigError as error:
        return service.refuse(error)
