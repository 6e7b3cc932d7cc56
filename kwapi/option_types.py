"""What the value of an option may be, beside the types of oslo.config."""

import grp
import os
import pwd
import re
import zoneinfo
from pathlib import Path

from oslo_config import types

from kwapi.credentials import located
from kwapi.endpoints import MAX_PATH, is_nats

PRICE_FROM = re.compile(r"([01]\d|2[0-3]):([0-5]\d) +(\d+(?:\.\d+)?)")
RRDCACHED = re.compile(r"unix:/.+|(?!unix:)[^/\s]+:\d{1,5}")
HEADER = re.compile(r"[A-Za-z0-9-]+")  # of what RFC 9110 allows, what names in use consist of
MODE = re.compile(r"0?[0-7]{3}")
ENDPOINT = re.compile(r"tcp://[^/\s]+:(\d{1,5})")
SERVERS = re.compile(r"(?:nats|tls)://[^/\s;@]+:\d{1,5}(?:;[^/\s;@]+:\d{1,5})*")


class ReadableFile(types.String):
    """The path of a file that can be read; or empty."""

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        try:
            if text:
                Path(text).open("rb").close()
        except OSError as error:
            raise ValueError(f"{text} cannot be read: {error.strerror}") from error
        return text


class PrivateFile(types.String):
    """The path of a file that holds secrets, or the name of a credential that systemd hands over; or empty."""

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        return str(located(Path(text))) if text else ""


class RrdcachedAddress(types.String):
    """Where rrdcached listens: unix:/PATH or HOST:PORT; or empty."""

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        if text and not RRDCACHED.fullmatch(text):
            raise ValueError(f"{text!r} is no address such as unix:/run/rrdcached.sock or 127.0.0.1:42217")
        return text


class HeaderName(types.String):
    """The name of a header of HTTP; or empty."""

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        if text and not HEADER.fullmatch(text):
            raise ValueError(f"{text!r} is no name of a header, such as X-Remote-User")
        return text


class Endpoint(types.String):
    """The address of a ZeroMQ socket: tcp://HOST:PORT or ipc://PATH."""

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        tcp = ENDPOINT.fullmatch(text)
        if not (text.startswith("ipc://") and len(text) > 6) and not (tcp and int(tcp[1]) <= 65535):
            raise ValueError(f"{text!r} is no endpoint such as tcp://127.0.0.1:5555 or ipc:///run/kwapi/drivers")
        if not tcp and (length := len(os.fsencode(text[6:]))) > MAX_PATH:
            raise ValueError(f"the path of {text!r} is {length} bytes long; that of a socket is {MAX_PATH} at most")
        return text


class EndpointOrNone(Endpoint):
    """The address of a ZeroMQ socket; or empty."""

    def __call__(self, value: object) -> str:
        return super().__call__(value) if value else ""


class BusEndpoint(Endpoint):
    """The address of a ZeroMQ socket, or of NATS servers of one cluster: nats:// or tls://HOST:PORT;HOST:PORT."""

    def __call__(self, value: object) -> str:
        text = types.String.__call__(self, value)
        if not is_nats(text):
            return super().__call__(value)
        if "@" in text:  # and what is before it is nobody's business
            raise ValueError("an endpoint has no login; it stands in nats_credentials_file")
        ports = [int(place.rpartition(":")[2]) for place in text.split(";")] if SERVERS.fullmatch(text) else [65536]
        if max(ports) > 65535:
            raise ValueError(f"{text!r} is no endpoint such as nats://127.0.0.1:4222 or tls://nats1:4222;nats2:4222")
        return text


class Mode(types.ConfigType):
    """The mode of a file in octal, such as 0660; as a number."""

    def __call__(self, value: object) -> int:
        if not MODE.fullmatch(text := str(value)):
            raise ValueError(f"{text!r} is no mode such as 0660")
        return int(text, 8)

    def __repr__(self) -> str:
        return "Octal"

    def _formatter(self, value: int) -> str:
        return f"{value:04o}"


class Owner(types.ConfigType):
    """USER, USER:GROUP or :GROUP of this machine; as (uid, gid), where -1 stands for none."""

    def __call__(self, value: object) -> tuple[int, int]:
        user, _, group = str(value).partition(":")
        try:
            return pwd.getpwnam(user).pw_uid if user else -1, grp.getgrnam(group).gr_gid if group else -1
        except KeyError as error:
            raise ValueError(f"{value!r} is no USER:GROUP of this machine: {error.args[0]}") from error

    def __repr__(self) -> str:
        return "USER:GROUP"

    def _formatter(self, value: object) -> str:
        return str(value)


class PriceFrom(types.ConfigType):
    """A time of the day and the price of a kWh from then on: HH:MM PRICE; as (second of the day, price)."""

    def __call__(self, value: object) -> tuple[int, float]:
        found = PRICE_FROM.fullmatch(str(value).strip())
        if found is None:
            raise ValueError(f"{value!r} is no time of the day with a price, such as 22:00 0.15")
        return int(found[1]) * 3600 + int(found[2]) * 60, float(found[3])

    def __repr__(self) -> str:
        return "HH:MM PRICE"

    def _formatter(self, value: object) -> str:
        return str(value)


class Timezone(types.String):
    """The name of a time zone that this machine has a file of; or empty.

    That Python has one elsewhere is not enough: rrdtool asks the C library.
    """

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        if text and not any(is_file(Path(root), text) for root in zoneinfo.TZPATH):
            raise ValueError(f"{text!r} is no time zone that this machine knows")
        return text


def is_file(root: Path, name: str) -> bool:
    """Return whether there is a file of that name below a directory."""
    path = Path(os.path.normpath(root / name))
    return path.is_relative_to(root) and path.is_file()
