"""What a configuration refers to: files of keys, directories. Looked at as who runs the command; nothing changes."""

import os
import pwd
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from oslo_config import cfg

from kwapi.certificates import holds_secret, read_certificate, read_public_key
from kwapi.endpoints import TCP, endpoints_of, is_nats
from kwapi.errors import ConfigError
from kwapi.keys import read
from kwapi.nats.login import login_of
from kwapi.plugins.api.access import KEYSTONE
from kwapi.transport import Transport

WRITTEN = {
    "drivers": ("state_dir", "spool_dir"),
    "forwarder": ("spool_dir",),
    "api": ("state_dir",),
    "rrd": ("rrd_dir",),
}

AS_DAEMON = "check as the user that the daemon has: runuser -u kwapi -- kwapi check"


class Finding(NamedTuple):
    """Something that is to be told of an option; with what stops no daemon, or not surely, it is a warning."""

    option: str
    text: str
    is_mistake: bool = True


def look(daemon: str, conf: cfg.ConfigOpts, made: Collection[str] = ()) -> Iterator[Finding]:
    """Yield what is wrong with the files and directories of a daemon; ``made`` are signing keys that are still made."""
    if "signing_key_file" in conf:
        yield from _signing_key(conf.signing_key_file, made)
    if conf.curve_key_file:
        yield from _curve(conf)
    if any(is_nats(endpoint) for _, endpoint, _ in endpoints_of(conf)):
        yield from _nats(conf)
    for option in WRITTEN[daemon]:
        if conf[option]:
            yield from _writable(option, Path(conf[option]))
    if daemon == "api" and not conf.acl_enabled and KEYSTONE in conf.list_all_sections():
        yield Finding("acl_enabled", f"is false, so nobody asks the Keystone of [{KEYSTONE}]", is_mistake=False)
    if daemon == "api" and conf.tls_certificate_file:
        for option in ("tls_certificate_file", "tls_key_file"):
            yield from _readable(option, Path(conf[option]))


def _signing_key(name: str, made: Collection[str]) -> Iterator[Finding]:
    path = Path(name)
    if hidden := _hidden("signing_key_file", path):
        yield hidden
        return
    if name in made and not path.exists():
        return
    try:
        read(path)
    except ConfigError as error:
        yield from (Finding("signing_key_file", _without_option(each)) for each in error.mistakes)


def _curve(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    path = Path(conf.curve_key_file)
    if hidden := _hidden("curve_key_file", path):
        yield hidden
        return
    try:
        certificate = read_certificate(path)
    except ConfigError as error:
        yield Finding("curve_key_file", _without_option(str(error)))
        return
    ends = [(endpoint, is_bound) for _, endpoint, is_bound in endpoints_of(conf) if endpoint.startswith(TCP)]
    if any(is_bound for _, is_bound in ends):
        yield from _public_keys("curve_clients_dir", Path(conf.curve_clients_dir))
    connected = list(dict.fromkeys(endpoint for endpoint, is_bound in ends if not is_bound))
    if not connected:
        return
    servers = Path(conf.curve_servers_dir)
    transport = Transport(certificate, servers=servers)
    for endpoint in connected:
        try:
            transport.server_key(endpoint)
        except ConfigError as error:
            yield Finding("curve_servers_dir", _without_option(str(error)))
    if servers.is_dir():
        yield from _public_keys("curve_servers_dir", servers)


def _nats(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    login = login_of(conf)
    uses: tuple[tuple[Callable[[], object], Sequence[str]], ...] = (
        (login.credentials, ("nats_credentials_file",)),
        (login.trusted, ("nats_ca_file",)),
        (login.certified, ("nats_certificate_file", "nats_key_file")),
    )
    for use, options in uses:
        hidden = [found for option in options if conf[option] and (found := _hidden(option, Path(conf[option])))]
        if hidden:
            yield from hidden
            continue
        try:
            use()
        except ConfigError as error:
            option, _, text = str(error).partition(": ")
            yield Finding(option, text)


def _public_keys(option: str, directory: Path) -> Iterator[Finding]:
    """Yield what is wrong in a directory of public keys."""
    if hidden := _hidden(option, directory):
        yield hidden
        return
    try:
        paths = sorted(directory.iterdir())
    except OSError as error:
        yield Finding(option, f"cannot read {directory}: {error.strerror}")
        return
    for path in paths:
        if path.suffix not in (".key", ".key_secret") or not path.is_file():
            continue
        try:
            if holds_secret(path):
                text = f"{path} holds a secret key, which is for its own machine alone; only NAME.key belongs here"
                yield Finding(option, text, is_mistake=False)
            else:
                read_public_key(path)
        except (OSError, ValueError) as error:
            yield Finding(option, f"{path} lets nobody in: {error}", is_mistake=False)


def _writable(option: str, path: Path) -> Iterator[Finding]:
    """Yield what keeps who runs this from writing in a directory, or from making it."""
    there = path
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if there.exists() and not there.is_dir():
        yield Finding(option, f"{there} is no directory")
    elif not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        yield Finding(option, f"the user {_user()} cannot write in {there}; {AS_DAEMON}", is_mistake=False)


def _readable(option: str, path: Path) -> Iterator[Finding]:
    if hidden := _hidden(option, path):
        yield hidden
        return
    try:
        path.open("rb").close()
    except OSError as error:
        yield Finding(option, f"cannot read {path}: {error.strerror}")


def _hidden(option: str, path: Path) -> Finding | None:
    """Return that who runs this may not look at a file, where that is so."""
    try:
        if path.is_dir():
            os.listdir(path)
        elif path.stat():
            path.open("rb").close()
    except PermissionError:
        return Finding(option, f"the user {_user()} may not look at {path}; {AS_DAEMON}", is_mistake=False)
    except OSError:  # of which its reader tells
        pass
    return None


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _without_option(text: str) -> str:
    return text.partition(": ")[2]
