"""The arguments of ``kwapi discover DRIVER``, made of the driver's options; secrets never stand among them."""

import argparse
import getpass
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from oslo_config import cfg

from kwapi.config import DEFAULT
from kwapi.drivers.base import Driver
from kwapi.errors import ConfigError
from kwapi.measurement import RESERVED, name_problem

SHOWN_SECRETS = ("community",)  # is read by whoever reads the network, so it may stand on a command line
PROMPTED = "password"
HELP = {"profile": "Family or model of the device, as docs/devices.md names it; without, it is found."}
HOST = re.compile(r"\[(?P<v6>[^]]+)\](?::(?P<p6>\d+))?|(?P<host>[^:]+)(?::(?P<port>\d+))?|(?P<bare>.*:.*:.*)")

Address = dict[str, Any]  # host and perhaps port, or device: options of a driver


class Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one line: the usage of a driver's many options has ten."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help tells more\n")


def parse(name: str, driver: type[Driver], options: Sequence[str | cfg.Opt], argv: Sequence[str]) -> argparse.Namespace:
    """Return what was given for a driver; wrong use ends the program as is usual."""
    given = make_parser(name, driver, options).parse_args(argv)
    if given.port is not None:
        given.addresses = [each if "device" in each else each | {"port": given.port} | each for each in given.addresses]
    return given


def make_parser(name: str, driver: type[Driver], options: Sequence[str | cfg.Opt]) -> Parser:
    """Return the parser for a driver: of the options, those that are no names are ours and not the driver's."""
    about = f"Ask devices that speak {name} what they measure, and write their sections of drivers.conf."
    parser = Parser(prog=f"kwapi discover {name}", description=about, allow_abbrev=False)
    places = "HOST[:PORT]"
    if any(option.dest == "device" for option in driver.options):
        places += "|/dev/NAME"
    parser.add_argument("addresses", type=partial(parse_address, driver), nargs="+", metavar=places)
    port = usual_port(driver)
    parser.add_argument("--port", type=parse_port, metavar="PORT", help=f"port of hosts given without one ({port})")
    parser.add_argument("--name", type=parse_name, metavar="NAME", help="name of the section; without, of the address")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each device")
    for option in _chosen(driver, options):
        flag = f"--{option.dest.replace('_', '-')}"
        about = HELP.get(option.dest, option.help or "").replace("%", "%%")
        if option.secret:
            hint = f"file with it, else from the environment: {_variable(option)}"
            parser.add_argument(f"{flag}-file", type=Path, metavar="FILE", help=f"{about} A {hint}.")
        if isinstance(option, cfg.BoolOpt):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=about)
        elif not option.secret or option.dest in SHOWN_SECRETS:
            default = "" if option.default in (None, "", []) else f" ({option.default})"
            values = "|".join(map(str, getattr(option.type, "choices", None) or ["VALUE"]))
            parser.add_argument(flag, type=partial(_take, option), metavar=values, help=about + default)
    return parser


def read_values(
    driver: type[Driver], options: Sequence[str | cfg.Opt], given: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a value for each option of the driver, and those that a section shows; raise ConfigError for mistakes."""
    values = {option.dest: option.default for option in driver.options}
    values |= {"probes": [], "interval": 1.0, "hang_timeout": 10.0}
    shown: dict[str, Any] = {}
    for option in _chosen(driver, options):
        value = getattr(given, option.dest, None)
        if option in options:  # ours
            values[option.dest] = _take(option, option.default) if value is None else value
        elif value is not None:
            values[option.dest] = shown[option.dest] = value
        elif option.secret and (secret := _secret(option, getattr(given, f"{option.dest}_file"), given.addresses)):
            values[option.dest], shown[option.dest] = secret, ""  # for its owner to write there
    if mistakes := dict.fromkeys(each for address in given.addresses for each in _mistakes(driver, values | address)):
        raise ConfigError(*mistakes)
    return values, shown


def parse_address(driver: type[Driver], text: str) -> Address:
    """Return what an address means for a driver: its options host and port, or device."""
    if text.startswith("/") and any(option.dest == "device" for option in driver.options):
        return {"device": text}
    if not (match := HOST.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST, HOST:PORT or [IPV6]:PORT")
    port = match["p6"] or match["port"]
    host = _take(cfg.HostAddressOpt("host"), match["v6"] or match["host"] or match["bare"])
    return {"host": host} | ({"port": parse_port(port)} if port else {})


def parse_port(text: str) -> int:
    """Return the number of a port."""
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 1 to 65535")
    return int(text)


def parse_name(text: str) -> str:
    """Return what can be the name of a wattmeter."""
    if problem := name_problem(text):
        raise argparse.ArgumentTypeError(problem)
    if text.startswith(RESERVED) or text.upper() == DEFAULT or set(text) & set("[]"):
        raise argparse.ArgumentTypeError(f"{text!r} can be no section of a wattmeter")
    return text


def usual_port(driver: type[Driver]) -> int | None:
    """Return the port that a section need not tell."""
    return next((option.default for option in driver.options if option.dest == "port"), None)


def _chosen(driver: type[Driver], options: Sequence[str | cfg.Opt]) -> list[cfg.Opt]:
    """Return the driver's options of these names, in its order, and then ours."""
    return [option for option in driver.options if option.dest in options] + [
        option for option in options if not isinstance(option, str)
    ]


def _take(option: cfg.Opt, text: str) -> Any:
    """Return a value as drivers.conf would take it."""
    try:
        return option.type(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _variable(option: cfg.Opt) -> str:
    return f"KWAPI_{option.dest.upper()}"


def _secret(option: cfg.Opt, path: Path | None, addresses: Sequence[Address]) -> str:
    """Return a secret from its file, the environment or, as a password for a host, from who sits at the terminal."""
    if path is not None:
        try:
            return path.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if (value := os.environ.get(_variable(option))) is not None:
        return value
    if option.dest == PROMPTED and any("host" in each for each in addresses) and sys.stdin.isatty():
        with suppress(EOFError):
            return getpass.getpass("Password: ")
    return ""


def _mistakes(driver: type[Driver], values: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the values, but for a profile and probes that are still to be found."""
    missing = [
        f"{option.dest} is missing: {option.help}"
        for option in driver.options
        if option.required and not values[option.dest] and option.dest != "profile"
    ]
    problems = driver("discover", values).problems()
    return missing + [
        f"{key} {problem}" for key, problem in problems if key not in ("profile", "probes") or values[key]
    ]
