"""``kwapi read``: polls one wattmeter of drivers.conf once and shows what it measures."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from kwapi import service
from kwapi.cli.files import add_file_arguments
from kwapi.cli.table import is_for_people, show
from kwapi.config import Reader
from kwapi.drivers.wattmeter import Wattmeter, read_wattmeters
from kwapi.errors import ConfigError, DeviceError
from kwapi.measurement import Measurement
from kwapi.plausibility import implausibilities

HELP = "poll one wattmeter once and show what it measures"
COLUMNS = (  # heading, attribute of a measurement
    ("probe", "probe"),
    ("level", "level"),
    ("W", "watts"),
    ("VA", "volt_amperes"),
    ("V", "volts"),
    ("A", "amps"),
    ("PF", "power_factor"),
    ("Hz", "hertz"),
    ("kWh register", "kwh"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("wattmeter", help="name of its section")
    add_file_arguments(parser, "drivers", "the wattmeters")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each probe")


def find(name: str, path: Path) -> Wattmeter:
    """Return a wattmeter of a file; raise ConfigError if there is none, or anything in the file is wrong."""
    reader = Reader("drivers", [path])
    wattmeters = {wattmeter.name: wattmeter for wattmeter in read_wattmeters(reader)}
    reader.finish()
    if name not in wattmeters:
        raise ConfigError(f"{path}: there is no wattmeter {name!r}; there are {', '.join(wattmeters) or 'none'}")
    return wattmeters[name]


def poll(wattmeter: Wattmeter) -> list[Measurement]:
    """Return what a wattmeter measures; for a device that has nothing at first it waits as long as a poll may last."""
    shared = wattmeter.driver.open_shared()
    driver = wattmeter.new_driver(shared)
    end = time.monotonic() + wattmeter.hang_timeout
    try:
        driver.open()
        while not (measurements := driver.read()) and time.monotonic() < end:
            time.sleep(min(wattmeter.interval, 1.0))
        return wattmeter.calibrated(measurements)
    finally:
        driver.close()
        wattmeter.driver.close_shared(shared)


def run(arguments: argparse.Namespace) -> int:
    """Show the measurements; return 0, or 1 if the device gave none, 2 for a wrong configuration."""
    try:
        wattmeter = find(arguments.wattmeter, arguments.config_file)
        measurements = poll(wattmeter)
    except ConfigError as error:
        return service.refuse(error)
    except (DeviceError, OSError) as error:
        print(f"{wattmeter.name}: {wattmeter.without_secrets(str(error))}", file=sys.stderr)
        return service.EXIT_FAILED
    if not measurements:
        print(f"{wattmeter.name} has nothing to tell", file=sys.stderr)
        return service.EXIT_FAILED
    print_measurements(measurements, as_json=arguments.json)
    sentences = list(implausibilities(measurements))
    for sentence in sentences:
        print(f"implausible: {sentence}", file=sys.stderr)
    if not sentences and not arguments.json and is_for_people(sys.stdout):
        print("no two values contradict each other")
    return 0


def print_measurements(measurements: Sequence[Measurement], *, as_json: bool) -> None:
    """Print a table, or a JSON object a line."""
    if as_json:
        for measurement in measurements:
            print(msgspec.json.encode(measurement._asdict()).decode())
        return
    used = [
        (heading, attribute)
        for heading, attribute in COLUMNS
        if any(getattr(measurement, attribute) is not None for measurement in measurements)
    ]
    rows = [[getattr(measurement, attribute) for _, attribute in used] for measurement in measurements]
    show([heading for heading, _ in used], rows)
