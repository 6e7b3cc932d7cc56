"""Endpoints: which leave the machine, which are NATS servers, and how a Unix socket gets its mode and owner."""

import ipaddress
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kwapi.errors import ConfigError

TCP, IPC = "tcp://", "ipc://"
NATS, TLS = "nats://", "tls://"
MAX_PATH = 107  # bytes, of the kernel
BACKLOG = 100  # as ZeroMQ has it
OPTIONS = ("probes_endpoint", "forwarder_endpoint", "replay_endpoint", "replay_upstream")


@dataclass(frozen=True, slots=True)
class Ipc:
    """Who may connect to the Unix sockets of a daemon; -1 leaves an owner as it is."""

    mode: int = 0o600
    uid: int = -1
    gid: int = -1


def host_and_port(endpoint: str) -> tuple[str, str]:
    """Return host and port of a tcp:// endpoint, without the address that it may leave from (SOURCE;HOST:PORT)."""
    host, _, port = endpoint.removeprefix(TCP).rpartition(";")[2].rpartition(":")
    return host, port


def addresses_of(endpoint: str) -> set[tuple[str, str]]:
    """Return the addresses that a tcp:// endpoint stands for, each with the port; empty if its name is not known."""
    host, port = host_and_port(endpoint)
    host = host.removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        names = {str(address[0]).partition("%")[0] for *_, address in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
    addresses = (ipaddress.ip_address(name) for name in names)
    return {(str(getattr(address, "ipv4_mapped", None) or address), port) for address in addresses}


def is_nats(endpoint: str) -> bool:
    """Return whether an endpoint is a NATS server, or several of one cluster."""
    return endpoint.startswith((NATS, TLS))


def servers_of(endpoint: str) -> list[str]:
    """Return the servers of an endpoint of NATS, nats://HOST:PORT;HOST:PORT, each as an endpoint of its own."""
    scheme, _, places = endpoint.partition("://")
    return [f"{scheme}://{place}" for place in places.split(";")]


def stays_here(endpoint: str, *, is_bound: bool) -> bool:
    """Return whether what passes an endpoint never leaves this machine. A host name is trusted if it is localhost."""
    if is_nats(endpoint):
        return all(stays_here(TCP + server.partition("://")[2], is_bound=False) for server in servers_of(endpoint))
    if not endpoint.startswith(TCP):
        return True
    host, _ = host_and_port(endpoint)
    if host == "localhost" or (is_bound and host == "lo"):
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:  # a host name, an interface, or *
        return False


def endpoints_of(conf: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Yield (option, endpoint, whether it is listened on) for all that a daemon uses; lists are connected to."""
    for option in OPTIONS:
        if option not in conf or (option.startswith("replay_") and "spool_dir" in conf and not conf["spool_dir"]):
            continue
        value = conf[option]
        if isinstance(value, list):
            yield from ((option, endpoint, False) for endpoint in value)
        elif value:
            yield option, value, True


def plaintext_problems(conf: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) for each endpoint that others could listen to."""
    if conf["allow_plaintext"]:
        return
    for option, endpoint, is_bound in endpoints_of(conf):
        if endpoint.startswith(TLS) or stays_here(endpoint, is_bound=is_bound):
            continue
        if endpoint.startswith(NATS):
            yield option, f"{endpoint} leaves this machine unencrypted; make it tls://, which the server has to offer"
        elif not conf["curve_key_file"]:
            yield (
                option,
                (
                    f"{endpoint} leaves this machine unencrypted; set curve_key_file (kwapi keygen makes the file), or "
                    "allow_plaintext = true if the network may read it"
                ),
            )


def listen_at(path: Path, ipc: Ipc) -> socket.socket:
    """Return a Unix socket that listens at a path; raise ConfigError if that cannot be.

    Nobody can connect before it has its mode and owner, since it does not listen yet.
    """
    if (length := len(os.fsencode(path))) > MAX_PATH:
        raise ConfigError(f"cannot listen on {path}: its path is {length} bytes long, {MAX_PATH} at most are possible")
    listener = socket.socket(socket.AF_UNIX)
    try:
        _clear(path)
        listener.setblocking(False)
        listener.bind(os.fspath(path))
        os.chown(path, ipc.uid, ipc.gid, follow_symlinks=False)
        path.chmod(ipc.mode)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {path}: {error.strerror}") from error
    return listener


def _clear(path: Path) -> None:
    """Remove a socket that a daemon has left behind; raise OSError if it is in use, or something else."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(0, "there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)
        try:
            caller.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # many wait to be accepted
            pass
    raise FileExistsError(0, "another process listens there")
